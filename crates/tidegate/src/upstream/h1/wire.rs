//! One connection to a backend, and what was read from it and not used yet.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};

use crate::dial::Stream;

/// Room for one read. Of a large answer no more than this waits for the client.
const READ: usize = 16 * 1024;

/// A first read goes through so much of the stack, which is always in the processor's cache, and leaves an allocation of the
/// size of what came. Buffers for the largest read, one for each connection, would be memory that is cold when it is needed.
const FIRST_READ: usize = 4 * 1024;

/// See the module.
pub(super) struct Wire {
    stream: Stream,
    pub(super) input: BytesMut,
    /// The last read filled its room, so more waits most probably.
    large: bool,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), large: false }
    }

    /// The stream, and what was read ahead of its use.
    pub(super) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.input)
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer()
    }

    /// Reads what has come into `input`; 0 is the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.large {
            self.input.reserve(READ);
            let read = pin!(self.stream.read_buf(&mut self.input));
            let read = read.poll(cx);
            self.large = matches!(read, Poll::Ready(Ok(bytes)) if bytes >= FIRST_READ);
            return read;
        }
        let mut room = [MaybeUninit::uninit(); FIRST_READ];
        let mut room = ReadBuf::uninit(&mut room);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        self.input.extend_from_slice(room.filled());
        self.large = room.remaining() == 0;
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Writes some of `slices`. A head alone, as of most requests, goes the shorter way of a plain write.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut full = slices.iter().filter(|slice| !slice.is_empty());
        match (full.next(), full.next()) {
            (Some(only), None) => Pin::new(&mut self.stream).poll_write(cx, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    /// Sends what TLS holds back.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Nothing has come since the last answer. A backend that closed has said so by now, most often; and bytes that
    /// nobody asked for belong to no request. Costs no system call while nothing has come.
    pub(super) fn is_fresh(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        read.is_pending() && self.input.is_empty()
    }
}
