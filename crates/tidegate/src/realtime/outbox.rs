//! What a session has to say, as frames, until the transport takes it.

use bytes::Bytes;
use tidegate_ws::{Opcode, write_close, write_frame};

use crate::telemetry::metrics::Traffic;

/// Nothing is asked for any more while this much waits; a session that is full is taken from before it is asked again.
const FULL: usize = 64 * 1024;

/// Room that is kept between two turns.
const KEPT: usize = 4 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: Vec<u8>,
    /// The message that is being written: how long it is stands before it.
    message: Vec<u8>,
    sent: Traffic,
}

impl Outbox {
    /// Adds a message in text that `write` writes, which must be UTF-8. Nothing is added if that fails.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn text<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.message.clear();
        write(&mut self.message)?;
        write_frame(Opcode::Text, &self.message, &mut self.frames);
        self.sent.messages += 1;
        self.sent.raw += self.message.len() as u64;
        if self.message.capacity() > KEPT {
            self.message = Vec::new();
        }
        Ok(())
    }

    /// Adds a ping without a payload.
    pub fn ping(&mut self) {
        write_frame(Opcode::Ping, b"", &mut self.frames);
    }

    /// Adds the answer to a ping.
    pub fn pong(&mut self, payload: &[u8]) {
        write_frame(Opcode::Pong, payload, &mut self.frames);
    }

    /// Adds a close frame; `None` has no code.
    pub fn close(&mut self, code: Option<u16>, reason: &str) {
        match code {
            Some(code) => write_close(code, reason, &mut self.frames),
            None => write_frame(Opcode::Close, b"", &mut self.frames),
        }
    }

    /// Whether no more should be asked for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.frames.len() >= FULL
    }

    /// Takes all that waits, with what it is; `None` if that is nothing.
    pub fn take(&mut self) -> Option<(Bytes, Traffic)> {
        if self.frames.is_empty() {
            return None;
        }
        let frames = Bytes::from(std::mem::take(&mut self.frames));
        let sent = Traffic { wire: frames.len() as u64, ..std::mem::take(&mut self.sent) };
        Some((frames, sent))
    }
}
