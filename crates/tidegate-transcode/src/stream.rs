//! Streams of messages as one HTTP body: JSON array, NDJSON, server-sent events, raw `HttpBody` data.
//!
//! An encoder frames messages that are JSON already and writes the end, so that a client can always tell a good end
//! from a bad one. It does not print messages, set headers or decide when to flush. Heartbeats are bytes of the format
//! ([`StreamFormat::heartbeat`]); the caller has the clock.
//!
//! ```text
//!            message             message
//!   idle ───────────────► open ──────────┐
//!     │                    │  ▲──────────┘
//!     └──── finish/error ──┴──────────────► ended     (nothing is written any more)
//! ```
//! The caller sends the response head with the first bytes, so a failure while the encoder [is idle](StreamEncoder::is_idle)
//! should become an ordinary error answer instead of going through [`StreamEncoder::error`].
//!
//! Source: NDJSON 1.0.0; WHATWG HTML, "Server-sent events".

mod accept;

pub use accept::negotiate;

use std::time::Duration;

use crate::status::Status;

/// How the messages of a streaming answer are framed in the HTTP body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamFormat {
    /// One JSON array over the whole stream.
    Array,
    /// One JSON object per line.
    Ndjson,
    /// Server-sent events.
    Sse,
}

impl StreamFormat {
    /// The value of `content-type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Array => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Sse => "text/event-stream",
        }
    }

    /// Bytes that may be sent between two messages to keep a silent connection open; `None` if the format has none.
    #[must_use]
    pub const fn heartbeat(self) -> Option<&'static [u8]> {
        match self {
            Self::Array | Self::Ndjson => None,
            Self::Sse => Some(b": ping\n\n"),
        }
    }
}

/// Choices of a route about the framing; the default is the behaviour without any option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// `array_error: close`: an array that fails ends with `]` and cleanly, its last element being the error.
    pub close_failed_array: bool,
    /// `ndjson_envelope`: a message is wrapped as `{"result":…}`.
    pub ndjson_envelope: bool,
    /// `sse.end_event`: a good end is announced by `event: end`, so that an `EventSource` can stop reconnecting.
    pub sse_end_event: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { close_failed_array: false, ndjson_envelope: false, sse_end_event: true }
    }
}

/// What the caller does with the connection after the last bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum End {
    /// The body ends as HTTP wants it.
    Clean,
    /// The stream is broken off after these bytes: no last chunk on HTTP/1.1, `RST_STREAM` on HTTP/2. An ordinary end
    /// would let a client take half an answer for a whole one.
    BreakOff,
}

/// Frames the messages of one streaming answer.
#[derive(Debug)]
pub struct StreamEncoder {
    framing: Framing,
    options: StreamOptions,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Json(StreamFormat),
    /// The bytes of `HttpBody.data`, one message after the other.
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    Ended,
}

impl StreamEncoder {
    /// An encoder for one answer whose messages are JSON.
    #[must_use]
    pub const fn new(format: StreamFormat, options: StreamOptions) -> Self {
        Self { framing: Framing::Json(format), options, state: State::Idle }
    }

    /// An encoder for one answer whose messages are `google.api.HttpBody`: their data, concatenated.
    #[must_use]
    pub fn raw() -> Self {
        Self { framing: Framing::Raw, options: StreamOptions::default(), state: State::Idle }
    }

    /// Whether nothing was written yet, so that an error can still be an answer of its own.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Appends one message; `json` is its text on one line (or raw data, for [`raw`](Self::raw)).
    pub fn message(&mut self, json: &[u8], out: &mut Vec<u8>) {
        let printed: Result<(), std::convert::Infallible> = self.message_with(out, |out| {
            out.extend_from_slice(json);
            Ok(())
        });
        match printed {
            Ok(()) => {}
        }
    }

    /// Appends one message that `print` writes straight into `out`, which saves a copy.
    ///
    /// `print` appends exactly one JSON value without line breaks.
    ///
    /// # Errors
    /// Those of `print`; then `out` and the encoder are as they were before.
    pub fn message_with<E>(
        &mut self,
        out: &mut Vec<u8>,
        print: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        debug_assert!(self.state != State::Ended, "a message after the end");
        let (before, after) = self.around();
        let start = out.len();
        out.extend_from_slice(before);
        if let Err(error) = print(out) {
            out.truncate(start);
            return Err(error);
        }
        out.extend_from_slice(after);
        self.state = State::Open;
        Ok(())
    }

    /// Appends the good end. Writes nothing the second time.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> End {
        let idle = self.is_idle();
        if std::mem::replace(&mut self.state, State::Ended) == State::Ended {
            return End::Clean;
        }
        match self.framing {
            Framing::Json(StreamFormat::Array) if idle => out.extend_from_slice(b"[]"),
            Framing::Json(StreamFormat::Array) => out.push(b']'),
            Framing::Json(StreamFormat::Sse) if self.options.sse_end_event => {
                out.extend_from_slice(b"event: end\ndata: {}\n\n");
            }
            Framing::Json(StreamFormat::Sse | StreamFormat::Ndjson) | Framing::Raw => {}
        }
        End::Clean
    }

    /// Asks a client of server-sent events to wait for `after` before it connects again. Writes nothing in other
    /// formats and after an end.
    pub fn retry(&self, after: Duration, out: &mut Vec<u8>) {
        if self.framing == Framing::Json(StreamFormat::Sse) && self.state != State::Ended {
            out.extend_from_slice(format!("retry: {}\n\n", after.as_millis()).as_bytes());
        }
    }

    /// Appends the bad end: the error object, as far as the format has a place for it.
    ///
    /// `reason` is the reason word of the failure. Writes nothing after an end.
    pub fn error(&mut self, status: &Status, reason: &str, out: &mut Vec<u8>) -> End {
        let idle = self.is_idle();
        if std::mem::replace(&mut self.state, State::Ended) == State::Ended {
            return End::BreakOff;
        }
        let (before, after, end): (&[u8], &[u8], End) = match self.framing {
            Framing::Raw => return End::BreakOff,
            Framing::Json(StreamFormat::Sse) => {
                out.extend_from_slice(b"event: error\ndata: ");
                status.write_json_with_reason(reason, out);
                out.extend_from_slice(b"\n\n");
                return End::Clean;
            }
            Framing::Json(StreamFormat::Ndjson) => (b"", b"\n", End::Clean),
            Framing::Json(StreamFormat::Array) => {
                let before: &[u8] = if idle { b"[" } else { b"," };
                if self.options.close_failed_array { (before, b"]", End::Clean) } else { (before, b"", End::BreakOff) }
            }
        };
        out.extend_from_slice(before);
        out.extend_from_slice(b"{\"error\":");
        status.write_json_with_reason(reason, out);
        out.push(b'}');
        out.extend_from_slice(after);
        end
    }

    fn around(&self) -> (&'static [u8], &'static [u8]) {
        match self.framing {
            Framing::Raw => (b"", b""),
            Framing::Json(StreamFormat::Array) if self.is_idle() => (b"[", b""),
            Framing::Json(StreamFormat::Array) => (b",", b""),
            Framing::Json(StreamFormat::Ndjson) if self.options.ndjson_envelope => (b"{\"result\":", b"}\n"),
            Framing::Json(StreamFormat::Ndjson) => (b"", b"\n"),
            Framing::Json(StreamFormat::Sse) => (b"data: ", b"\n\n"),
        }
    }
}

#[cfg(test)]
mod tests;
