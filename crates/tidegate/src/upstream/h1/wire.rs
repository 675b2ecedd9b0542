//! One connection to a backend, and what was read from it and not used yet.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::dial::Stream;
use crate::fill::Fill;

/// See the module.
pub(super) struct Wire {
    stream: Stream,
    pub(super) input: BytesMut,
    fill: Fill,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), fill: Fill::default() }
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
        self.fill.poll_passing(&mut self.stream, &mut self.input, cx)
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
