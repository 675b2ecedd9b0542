//! Bytes on their way to a client: heads and small pieces are gathered, a large piece goes as it is, and all leaves by one
//! system call.

use std::cell::Cell;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRANSFER_ENCODING};
use tokio::io::AsyncWrite;

use crate::listen::date::DateCache;

/// A piece up to this size is copied behind what waits: a plain write is a shorter way through the kernel than one of several
/// parts, by more than the copy costs.
const COPIED: usize = 4 * 1024;

/// What waits is written when it is as large as this, before more is asked for.
const GATHERED: usize = 16 * 1024;

/// A buffer that has grown beyond this is not kept for the next answer.
const SPARED: usize = 2 * GATHERED;

/// Room for a usual head with a small body.
const ROOM: usize = 1024;

const END_OF_CHUNK: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const END_AND_LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

thread_local! {
    /// Where the next answer of this worker is gathered: most are written at once, so that one place serves them all, and stays
    /// in the processor's cache.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Written first, from `from` on.
    gathered: Vec<u8>,
    from: usize,
    /// Then this large piece, if there is one; nothing is gathered behind it.
    piece: Bytes,
    /// And its end.
    tail: &'static [u8],
}

/// How the head of an answer frames its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Without a word: there is none, or it ends with the connection.
    Untold,
    /// So many bytes.
    Told(u64),
    /// In chunks.
    Chunked,
}

/// What the head of an answer says of the connection, if it must say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Nothing, since it is what the client expects, or the answer says it itself.
    Untold,
    Close,
    KeepAlive,
}

impl Outgoing {
    /// Everything has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Some of it must be written before more is added.
    pub(super) fn is_full(&self) -> bool {
        !self.piece.is_empty() || !self.tail.is_empty() || self.gathered.len() >= GATHERED
    }

    /// Makes room for something to be gathered, if there is none.
    fn room(&mut self) {
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.take();
            self.gathered.reserve(ROOM);
        }
    }

    /// Adds the head of an answer.
    pub(super) fn head(
        &mut self,
        response: &http::response::Parts,
        length: Length,
        persistence: Persistence,
        date: &DateCache,
    ) {
        self.room();
        self.gathered.reserve(ROOM);
        self.status_line(response.status);
        let mut dated = false;
        for (name, value) in &response.headers {
            if *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING {
                continue;
            }
            dated |= *name == DATE;
            self.field(name.as_str(), value.as_bytes());
        }
        match length {
            Length::Untold => {}
            Length::Told(length) => self.field("content-length", itoa::Buffer::new().format(length).as_bytes()),
            Length::Chunked => self.gathered.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        match persistence {
            Persistence::Untold => {}
            Persistence::Close => self.gathered.extend_from_slice(b"connection: close\r\n"),
            Persistence::KeepAlive => self.gathered.extend_from_slice(b"connection: keep-alive\r\n"),
        }
        if !dated {
            self.field("date", date.now().as_bytes());
        }
        self.gathered.extend_from_slice(b"\r\n");
    }

    fn status_line(&mut self, status: http::StatusCode) {
        if status == http::StatusCode::OK {
            return self.gathered.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        }
        let reason = status.canonical_reason().unwrap_or("");
        for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
            self.gathered.extend_from_slice(part.as_bytes());
        }
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.gathered.extend_from_slice(part);
        }
    }

    /// Adds an interim answer: early hints (RFC 8297).
    pub(super) fn hint(&mut self, fields: &HeaderMap) {
        self.room();
        self.gathered.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
        for (name, value) in fields {
            self.field(name.as_str(), value.as_bytes());
        }
        self.gathered.extend_from_slice(b"\r\n");
    }

    /// Adds an interim answer: the body of the request is wanted (RFC 9110, section 10.1.1).
    pub(super) fn go_on(&mut self) {
        self.room();
        self.gathered.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Adds some of a body, not to be called while it is full. With `last` it is the end, too.
    pub(super) fn data(&mut self, data: Bytes, chunked: bool, last: bool) {
        if data.is_empty() {
            if chunked && last {
                self.room();
                self.gathered.extend_from_slice(LAST_CHUNK);
            }
            return;
        }
        if chunked || data.len() <= COPIED {
            self.room();
        }
        if chunked {
            // Into memory, which takes everything.
            let _written = write!(self.gathered, "{:x}\r\n", data.len());
        }
        let tail = match (chunked, last) {
            (false, _) => b"",
            (true, false) => END_OF_CHUNK,
            (true, true) => END_AND_LAST_CHUNK,
        };
        if data.len() <= COPIED {
            self.gathered.extend_from_slice(&data);
            self.gathered.extend_from_slice(tail);
        } else {
            self.piece = data;
            self.tail = tail;
        }
    }

    /// Adds the end of a chunked body that has trailers, not to be called while it is full.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.room();
        self.gathered.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().filter(|(name, _)| !FRAMING.contains(name)) {
            self.field(name.as_str(), value.as_bytes());
        }
        self.gathered.extend_from_slice(b"\r\n");
    }

    /// Writes some of it to `io`.
    ///
    /// # Errors
    /// Those of writing; `WriteZero` if it takes nothing.
    pub(super) fn poll_write<Io>(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        Io: AsyncWrite + Unpin,
    {
        let gathered = self.gathered.get(self.from..).unwrap_or_default();
        let written = if self.piece.is_empty() && self.tail.is_empty() {
            ready!(Pin::new(io).poll_write(cx, gathered))?
        } else {
            let slices = [IoSlice::new(gathered), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            ready!(Pin::new(io).poll_write_vectored(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let mut share = |length: usize| {
            let part = written.min(length);
            written -= part;
            part
        };
        self.from += share(self.gathered.len() - self.from);
        if self.from == self.gathered.len() {
            // An idle connection holds no buffer.
            let mut written = std::mem::take(&mut self.gathered);
            self.from = 0;
            if (ROOM..=SPARED).contains(&written.capacity()) {
                written.clear();
                SPARE.set(written);
            }
        }
        let part = share(self.piece.len());
        self.piece.advance(part);
        self.tail = self.tail.get(share(self.tail.len())..).unwrap_or_default();
    }

    /// All of it, for who writes it otherwise.
    pub(super) fn into_bytes(self) -> Bytes {
        let mut bytes = self.gathered;
        bytes.extend_from_slice(&self.piece);
        bytes.extend_from_slice(self.tail);
        bytes.into()
    }
}

/// What cannot be said by trailers any more: how the message is framed, and what is of the connection.
const FRAMING: [HeaderName; 3] = [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn the_place_of_a_worker_serves_all_of_its_answers() {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut out = Outgoing::default();
        let mut places = Vec::new();
        for _ in 0..3 {
            for piece in [Bytes::from_static(b"small"), Bytes::from(vec![b'x'; 3 * COPIED])] {
                out.data(piece, true, false);
                places.push(out.gathered.as_ptr());
                let mut written = Vec::new();
                while !out.is_empty() {
                    assert!(matches!(out.poll_write(&mut written, cx), Poll::Ready(Ok(()))));
                }
                // What is left of a large piece is written without anything that was gathered.
                out.piece = Bytes::from_static(b"rest");
                out.advance(4);
            }
        }
        places.dedup();
        assert_eq!(places.len(), 1, "one buffer for all: {places:?}");
    }
}
