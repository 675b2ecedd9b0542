//! A client's connection as bytes: what has come and was not taken, and how patient to be with either direction.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outgoing::Outgoing;
use crate::fill::Fill;
use crate::listen::guard::clock::{Clock, Place};
use crate::listen::guard::farewell::Farewell;
use crate::listen::listener::Live;
use crate::listen::transport::Transport;
use crate::time::now;

/// See the module.
pub(in crate::listen) struct Wire<Io> {
    io: Io,
    /// What has come and was not taken.
    pub(super) input: BytesMut,
    fill: Fill,
    pub(super) clock: Clock,
    live: Arc<Live>,
    /// How long bytes may wait for a client that takes none.
    write: Duration,
}

impl<Io: Transport> Wire<Io> {
    /// `read` has been read already. The first head must be complete by `deadline`; at `close_at` the connection is old.
    pub(in crate::listen) fn new(
        io: Io,
        read: BytesMut,
        live: Arc<Live>,
        deadline: Instant,
        close_at: Instant,
    ) -> Self {
        let mut clock = Clock::new(deadline, close_at);
        clock.heard(read.len());
        let write = live.settings.timeouts.write;
        Self { io, input: read, fill: Fill::default(), clock, live, write }
    }

    /// Reads what has come; 0 is the end. `owes`: what the client is waited for.
    ///
    /// # Errors
    /// `TimedOut`: it is late.
    pub(super) fn poll_fill(&mut self, owes: Option<Place>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self.fill.poll(&mut self.io, &mut self.input, cx) {
            Poll::Ready(Ok(bytes)) => {
                self.clock.heard(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let Some(place) = owes else {
                    self.clock.owes_nothing();
                    return Poll::Pending;
                };
                let deadline = self.clock.read_deadline(&self.live.settings.timeouts, place);
                self.clock.poll(deadline, cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// See [`Transport::breaks_on_close`].
    pub(super) fn breaks_on_close(&self, breaks: bool) {
        self.io.breaks_on_close(breaks);
    }

    /// Writes all of `out`.
    ///
    /// # Errors
    /// `TimedOut`: the client has taken nothing for too long.
    pub(super) fn poll_send(&mut self, out: &mut Outgoing, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let poll = out.poll_write(&mut self.io, cx);
            ready!(self.wrote(poll, cx))?;
        }
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(poll, cx)
    }

    /// A client that takes nothing for too long is given up.
    fn wrote<T>(&mut self, poll: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.clock.wrote(poll.is_pending(), self.write, cx) {
            Poll::Pending => poll,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// A last answer to a client that may still be sending. The owner of the connection polls [`Wire::poll_farewell`].
    pub(super) fn farewell(&self, answer: Bytes) -> Farewell {
        Farewell::new(answer, now() + self.live.settings.timeouts.linger)
    }

    /// Ready when the connection may be dropped.
    pub(super) fn poll_farewell(&mut self, farewell: &mut Farewell, cx: &mut Context<'_>) -> Poll<()> {
        if farewell.poll(&mut self.io, cx).is_ready() {
            return Poll::Ready(());
        }
        self.clock.poll(farewell.deadline(), cx)
    }

    /// Ends our direction of a connection whose client has nothing more to say.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_shutdown(cx);
        self.wrote(poll, cx)
    }

    /// What is no HTTP any more. `write`: how long bytes may wait for a client that takes none, if that is not for the
    /// listener to say.
    pub(super) fn into_raw(mut self, write: Option<Duration>) -> Raw<Io> {
        self.write = write.unwrap_or(self.write);
        Raw(self)
    }
}

/// The bytes of a connection that has become a tunnel, from the first that was not taken. No deadline of ours holds but that
/// for writing.
pub(super) struct Raw<Io>(Wire<Io>);

impl<Io: Transport> AsyncRead for Raw<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut self.get_mut().0;
        if wire.input.is_empty() {
            return Pin::new(&mut wire.io).poll_read(cx, buf);
        }
        let taken = wire.input.len().min(buf.remaining());
        buf.put_slice(&wire.input.split_to(taken));
        if wire.input.is_empty() {
            wire.input = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: Transport> AsyncWrite for Raw<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &mut self.get_mut().0;
        let poll = Pin::new(&mut wire.io).poll_write(cx, bytes);
        wire.wrote(poll, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = &mut self.get_mut().0;
        let poll = Pin::new(&mut wire.io).poll_flush(cx);
        wire.wrote(poll, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_shutdown(cx)
    }
}
