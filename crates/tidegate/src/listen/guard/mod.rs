//! What stands between a client's connection and its protocol: deadlines, and for HTTP/2 a look at the frames.
//!
//! [`clock`] and [`farewell`] serve both protocols. [`Guarded`] is the adapter below h2 and above TCP or TLS: it lets
//! [`frames::FrameMeter`] see each byte first ([`flood`] says how many frames are too many) and keeps the deadlines of a
//! client that is slow or stuck. HTTP/1 has a codec of its own (`listen::http1`), which asks the clock itself.
//!
//! Invariants: no byte is changed. The guard must be polled by one task all its life, for a timer keeps its first waker.

pub mod clock;
pub(super) mod farewell;
pub(crate) mod flood;
mod frames;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::telemetry::metrics::Flood;
use crate::time::now;

use clock::{Clock, Place, Timeouts};
use frames::FrameMeter;

/// What the guard, the protocol above it and its requests tell each other. Atomics, because requests have tasks of their own.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Requests that are being answered, answers' bodies included; kept by the protocol.
    pub(crate) answering: AtomicUsize,
    /// There has been a request.
    pub(crate) used: AtomicBool,
    /// The last write found the socket full.
    pub(crate) write_blocked: AtomicBool,
    /// Something was read since the flag was cleared.
    pub(crate) heard: AtomicBool,
    /// The client does too much of this: nothing more of it is read.
    pub(crate) flood: OnceLock<Flood>,
}

/// A connection of HTTP/2 under guard.
pub(crate) struct Guarded<Io> {
    io: Io,
    /// Bytes that were read before the protocol was known.
    prefix: Bytes,
    meter: FrameMeter,
    timeouts: Timeouts,
    traffic: Arc<Traffic>,
    clock: Clock,
}

/// What a guard needs.
pub(crate) struct Setup {
    /// How patient to be.
    pub(crate) timeouts: Timeouts,
    /// Shared with the protocol.
    pub(crate) traffic: Arc<Traffic>,
    /// By when the first frame must be complete.
    pub(crate) deadline: Instant,
    /// When the connection is old.
    pub(crate) close_at: Instant,
    /// How many frames may come in a second beside those of requests and bodies.
    pub(crate) frames: u32,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Guarded<Io> {
    /// `prefix` is what has been read already.
    pub(crate) fn new(io: Io, prefix: Bytes, setup: Setup) -> Self {
        let Setup { timeouts, traffic, deadline, close_at, frames } = setup;
        let (meter, clock) = (FrameMeter::new(now(), frames), Clock::new(deadline, close_at));
        Self { io, prefix, meter, timeouts, traffic, clock }
    }

    /// Lets `bytes`, which have just been read, be counted.
    fn check(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        self.traffic.heard.store(true, Ordering::Relaxed);
        if let Err(flood) = self.meter.follow(bytes, now) {
            let _first = self.traffic.flood.set(flood);
            // The owner of the connection must look at the flag before anything else is read.
            cx.waker().wake_by_ref();
        }
        self.clock.heard(bytes.len());
        if self.meter.place() != Place::Head {
            self.clock.head_done(false);
        }
    }

    /// Nothing to read: is the client late? Idle connections are the business of `listen::http2`, which knows the streams.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answering = self.traffic.answering.load(Ordering::Relaxed) > 0;
        let place = self.meter.place();
        if answering || place == Place::Between {
            self.clock.owes_nothing();
            return Poll::Pending;
        }
        let deadline = self.clock.read_deadline(&self.timeouts, place);
        self.clock.poll(deadline, cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Notes how many bytes the socket took.
    fn sent(&mut self, poll: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = poll {
            self.meter.sent(bytes);
        }
        self.wrote(poll, cx)
    }

    /// Notes whether the socket takes bytes; a client that takes none for too long is given up.
    fn wrote<T>(&mut self, poll: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let blocked = poll.is_pending();
        if blocked || self.clock.is_blocked() {
            self.traffic.write_blocked.store(blocked, Ordering::Relaxed);
        }
        match self.clock.wrote(blocked, self.timeouts.write, cx) {
            Poll::Pending => poll,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Frames up to this size are copied together: a plain write is a shorter way through the kernel than one of several parts,
/// by more than the copy costs.
const SMALL_WRITE: usize = 1_024;

/// The bytes of `slices` one behind the other, if there is room for them.
fn joined<'a>(slices: &[io::IoSlice<'_>], room: &'a mut [u8; SMALL_WRITE]) -> Option<&'a [u8]> {
    let mut end = 0;
    for slice in slices {
        room.get_mut(end..end + slice.len())?.copy_from_slice(slice);
        end += slice.len();
    }
    room.get(..end)
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.traffic.flood.get().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.prefix.is_empty() {
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Pending => return this.poll_late(cx),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
        } else {
            let taken = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix.split_to(taken));
        }
        let read = buf.filled().get(before..).unwrap_or_default();
        if !read.is_empty() {
            this.check(read, cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.sent(poll, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut room = [0; SMALL_WRITE];
        let poll = match joined(slices, &mut room) {
            Some(bytes) => Pin::new(&mut this.io).poll_write(cx, bytes),
            None => Pin::new(&mut this.io).poll_write_vectored(cx, slices),
        };
        this.sent(poll, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_flush(cx);
        this.wrote(poll, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_shutdown(cx);
        this.wrote(poll, cx)
    }
}

impl<Io> std::fmt::Debug for Guarded<Io> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("meter", &self.meter).finish_non_exhaustive()
    }
}
