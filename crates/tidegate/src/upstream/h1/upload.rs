//! A request on its way to a backend: its head, and its body in the framing that the head announced.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};

use super::replay::{BadBody, Replay};
use super::wire::Wire;
use crate::body::BodyError;
use crate::exchange::Exchange;

/// A chunk's size in hexadecimal digits and its line end.
const MAX_SIZE_LINE: usize = 18;

/// How the body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, or its length stands in the head.
    Plain,
    Chunked,
}

/// Why sending ended.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The backend takes no more; it may have answered.
    Wire,
    /// The client's body cannot be sent, so the request must not be completed.
    Body(BadBody),
}

/// See the module. What is being written stands in four parts, so that a small request is one system call.
pub(super) struct Upload {
    head: Bytes,
    size: SizeLine,
    data: Bytes,
    tail: &'static [u8],
    framing: Framing,
    /// Bytes that the head announced and that have not come yet.
    announced: Option<u64>,
    ended: bool,
    flushed: bool,
}

impl Upload {
    pub(super) fn new(head: Bytes, framing: Framing, announced: Option<u64>) -> Self {
        Self {
            head,
            size: SizeLine::default(),
            data: Bytes::new(),
            tail: b"",
            framing,
            announced,
            ended: false,
            flushed: false,
        }
    }

    /// Sends until all of it is out.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
        body: &mut Replay,
        exchange: &Exchange,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            let waits = self.data.is_empty() && self.tail.is_empty() && !self.ended && self.load(cx, body, exchange)?;
            let slices = [
                IoSlice::new(&self.head),
                IoSlice::new(self.size.rest()),
                IoSlice::new(&self.data),
                IoSlice::new(self.tail),
            ];
            if slices.iter().all(|slice| slice.is_empty()) {
                if !self.flushed {
                    ready!(wire.poll_flush(cx)).map_err(|_| Stopped::Wire)?;
                    self.flushed = true;
                }
                match (self.ended, waits) {
                    (true, _) => return Poll::Ready(Ok(())),
                    (false, true) => return Poll::Pending,
                    (false, false) => continue,
                }
            }
            self.flushed = false;
            let written = ready!(wire.poll_write(cx, &slices)).map_err(|_| Stopped::Wire)?;
            if written == 0 {
                return Poll::Ready(Err(Stopped::Wire));
            }
            self.advance(written);
        }
    }

    /// Puts the next piece of the body in place; `true` if the client has to send more first.
    fn load(&mut self, cx: &mut Context<'_>, body: &mut Replay, exchange: &Exchange) -> Result<bool, Stopped> {
        match body.poll_data(cx, exchange) {
            Poll::Pending => return Ok(true),
            Poll::Ready(Some(Err(bad))) => return Err(Stopped::Body(bad)),
            Poll::Ready(Some(Ok(data))) => {
                self.counts(data.len())?;
                if self.framing == Framing::Chunked {
                    self.size = SizeLine::of(data.len());
                    self.tail = b"\r\n";
                }
                self.data = data;
                if self.framing == Framing::Plain && body.is_end() {
                    self.is_whole()?;
                    self.ended = true;
                }
            }
            Poll::Ready(None) => {
                self.is_whole()?;
                self.ended = true;
                if self.framing == Framing::Chunked {
                    self.tail = b"0\r\n\r\n";
                }
            }
        }
        Ok(false)
    }

    /// More than the head announced would be read as the next request.
    fn counts(&mut self, bytes: usize) -> Result<(), Stopped> {
        if let Some(announced) = &mut self.announced {
            *announced = announced.checked_sub(bytes as u64).ok_or(WRONG_LENGTH)?;
        }
        Ok(())
    }

    /// Less would make the backend take the next request for the rest of this one.
    fn is_whole(&self) -> Result<(), Stopped> {
        if self.announced.unwrap_or(0) == 0 { Ok(()) } else { Err(WRONG_LENGTH) }
    }

    fn advance(&mut self, mut written: usize) {
        let mut share = |length: usize| {
            let part = written.min(length);
            written -= part;
            part
        };
        let part = share(self.head.len());
        self.head.advance(part);
        self.size.from += share(self.size.rest().len());
        let part = share(self.data.len());
        self.data.advance(part);
        self.tail = self.tail.get(share(self.tail.len())..).unwrap_or_default();
    }
}

/// The listeners hold clients to what they announce; this keeps requests on a backend's connection apart all the same.
const WRONG_LENGTH: Stopped = Stopped::Body(BadBody::Broken(BodyError::Malformed));

/// `1f4\r\n`.
#[derive(Default)]
struct SizeLine {
    text: [u8; MAX_SIZE_LINE],
    from: usize,
    to: usize,
}

impl SizeLine {
    fn of(size: usize) -> Self {
        let mut text = [0; MAX_SIZE_LINE];
        let mut rest = text.as_mut_slice();
        // 16 digits hold every size.
        let _fits = io::Write::write_fmt(&mut rest, format_args!("{size:x}\r\n"));
        let left = rest.len();
        Self { text, from: 0, to: MAX_SIZE_LINE - left }
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.from..self.to).unwrap_or_default()
    }
}
