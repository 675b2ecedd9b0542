//! Interim answers of HTTP/1.1, which hyper has no word for: they are written between its own bytes.
//!
//! That is safe at one moment only: when hyper flushes and has nothing left to write, while a request is being answered and
//! its answer has not begun. Whoever leaves a hint waits for an answer, so the second holds; hyper asks for a flush in each
//! turn, after it has polled the request, so the first comes by at once. What waits when hyper has bytes of its own is too
//! late, and dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Guarded, Protocol};

impl<Io: AsyncRead + AsyncWrite + Unpin> Guarded<Io> {
    /// Writes the interim answers that wait: hyper has nothing of its own to write.
    pub(super) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hints.any() && matches!(self.protocol, Protocol::Http1(_)) {
            for hint in self.hints.take_all() {
                self.write_head(&hint);
            }
        }
        self.poll_rest(cx)
    }

    /// hyper has bytes to write: those of an interim answer that has begun go first, others are too late.
    pub(super) fn poll_before_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hints.any() && matches!(self.protocol, Protocol::Http1(_)) {
            drop(self.hints.take_all());
        }
        self.poll_rest(cx)
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let poll = Pin::new(&mut self.io).poll_write(cx, &self.interim);
            match ready!(self.wrote(poll, cx))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.interim.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_head(&mut self, fields: &HeaderMap) {
        self.interim.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
        for (name, value) in fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.interim.extend_from_slice(part);
            }
        }
        self.interim.extend_from_slice(b"\r\n");
    }
}
