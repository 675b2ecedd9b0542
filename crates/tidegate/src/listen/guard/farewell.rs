//! The end of a connection whose client is still sending: the last answer, then silence, then the close.
//!
//! A socket that is closed with unread bytes resets the connection, and a reset may overtake the answer. So our
//! side is shut down first, and what still comes is read and dropped, within bounds (RFC 9112, section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of a refused client's bytes is read and dropped.
const MAX_DROPPED_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(in crate::listen) struct Farewell {
    answer: Bytes,
    deadline: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Write,
    ShutDown,
    Drain { left: usize },
    Done,
}

impl Farewell {
    /// Writes `answer` first, if there is one. The owner gives up at `deadline`.
    pub(in crate::listen) fn new(answer: Bytes, deadline: Instant) -> Self {
        Self { answer, deadline, stage: Stage::Write }
    }

    pub(in crate::listen) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Ready when the connection may be dropped. A failure on the way is the same as success: there is nobody to tell.
    pub(in crate::listen) fn poll<Io: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            self.stage = match self.stage {
                Stage::Write if self.answer.is_empty() => Stage::ShutDown,
                Stage::Write => match std::task::ready!(Pin::new(&mut *io).poll_write(cx, &self.answer)) {
                    Ok(0) | Err(_) => Stage::Done,
                    Ok(written) => {
                        self.answer.advance(written.min(self.answer.len()));
                        Stage::Write
                    }
                },
                Stage::ShutDown => match std::task::ready!(Pin::new(&mut *io).poll_shutdown(cx)) {
                    Ok(()) => Stage::Drain { left: MAX_DROPPED_BYTES },
                    Err(_) => Stage::Done,
                },
                Stage::Drain { left: 0 } => Stage::Done,
                Stage::Drain { left } => {
                    let mut scratch = [0; 2048];
                    let mut buf = ReadBuf::new(&mut scratch);
                    match std::task::ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)) {
                        Ok(()) if buf.filled().is_empty() => Stage::Done,
                        Ok(()) => Stage::Drain { left: left.saturating_sub(buf.filled().len()) },
                        Err(_) => Stage::Done,
                    }
                }
                Stage::Done => return Poll::Ready(()),
            };
        }
    }
}
