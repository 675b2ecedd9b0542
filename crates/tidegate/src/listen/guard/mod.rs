//! The adapter between a connection's plain bytes and its HTTP parser: checks framing, keeps deadlines, refuses.
//!
//! It sits below hyper or h2 and above TCP or TLS. Reading, it lets [`framing::Follower`] see each byte first;
//! when that finds a fault, the guard waits until the requests before it are answered, writes the refusal itself and
//! closes. It holds all deadlines of an idle, slow or stuck client in *one* lazily moved timer, so that the
//! usual request costs no timer operation: a deadline that moved on is only noticed when the timer fires.
//!
//! Behind a request for a tunnel no byte is judged or handed out before its answer says what it is ([`Guarded::into_raw`]).
//!
//! Invariants: no byte is changed, though one of an incomplete line waits for the rest; after a fault nothing more reaches the parser; what the parser writes after
//! a fault is dropped. The guard must be polled by one task all its life, for a timer keeps its first waker.

pub(crate) mod frames;
pub mod framing;
mod interim;
mod line;
mod refusal;
mod whole;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use crate::hints::Hints;
use crate::time::now;

use frames::FrameMeter;
use framing::{Fault, Follower, HeadLimits, Place};
use refusal::Farewell;

/// How long a client may take over each part of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake.
    pub handshake: Duration,
    /// A head, in total: from accept for the first one, then from its first byte.
    pub head: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// Time for a body that is free of the rate below.
    pub body_grace: Duration,
    /// Slowest body that is taken, in bytes per second, after `body_grace`.
    pub body_bytes_per_second: u32,
    /// For the client to take any byte of what waits for it.
    pub write: Duration,
    /// Without a request.
    pub idle: Duration,
    /// For an HTTP/2 client's answer to a PING.
    pub ping: Duration,
    /// After which an HTTP/2 client that sends nothing is asked for a sign of life.
    pub ping_interval: Duration,
    /// Age after which a connection is closed at the next opportunity; spread by ± 10 %.
    pub age: Duration,
    /// For reading what a refused client still sends, so that it gets the refusal and not a reset.
    pub linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body_idle: Duration::from_secs(15),
            body_grace: Duration::from_secs(5),
            body_bytes_per_second: 1024,
            write: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            ping: Duration::from_secs(10),
            ping_interval: Duration::from_secs(30),
            age: Duration::from_secs(3600),
            linger: Duration::from_secs(1),
        }
    }
}

/// What the guard and the protocol above it tell each other. Both run in one task; atomics because that task may move.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Requests that are being answered, answers' bodies included; kept by the protocol.
    pub(crate) answering: AtomicUsize,
    /// There has been a request.
    pub(crate) used: AtomicBool,
    /// The request that is being answered has arrived to its last byte.
    pub(crate) whole: AtomicBool,
    /// The last write found the socket full.
    pub(crate) write_blocked: AtomicBool,
    /// Something was read since the flag was cleared.
    pub(crate) heard: AtomicBool,
    /// An HTTP/2 client sends too many frames.
    pub(crate) flood: AtomicBool,
    /// The connection is old enough to be closed.
    pub(crate) aged: AtomicBool,
    /// The handler let go of the request's body before its end.
    pub(crate) abandoned: AtomicBool,
    /// Requests that the protocol has begun to answer; kept by it.
    pub(crate) begun: AtomicU64,
    /// The number of the request that asks for a tunnel, counted as `begun`, until it is answered otherwise; 0: there is
    /// none. What comes behind it is kept back so long.
    pub(crate) asks_tunnel: AtomicU64,
}

/// Bytes that a client may send ahead of the answer to its request for a tunnel.
const MAX_EARLY_BYTES: usize = 16 * 1024;

/// Writes a refusal as the bytes of an HTTP/1.1 answer.
pub(crate) trait Render: Send + Sync {
    /// The complete answer, head and body.
    fn render(&self, fault: Fault) -> Bytes;
}

/// Which protocol the bytes belong to.
#[derive(Debug)]
enum Protocol {
    Http1(Follower),
    Http2(FrameMeter),
    /// A tunnel: any bytes, with no deadline of ours but that for writing.
    Raw,
}

impl Protocol {
    fn place(&self) -> Place {
        match self {
            Self::Http1(follower) => follower.place(),
            Self::Http2(meter) => meter.place(),
            Self::Raw => Place::Between,
        }
    }

    /// What follows is HTTP or is not.
    fn waits(&self) -> bool {
        matches!(self, Self::Http1(follower) if follower.waits())
    }
}

/// A connection under guard.
pub(crate) struct Guarded<Io> {
    io: Io,
    /// Bytes that were read before the protocol was known.
    prefix: Bytes,
    protocol: Protocol,
    timeouts: Timeouts,
    traffic: Arc<Traffic>,
    render: Arc<dyn Render>,
    clock: Clock,
    /// The beginning of a line of a head whose end has not come. Empty nearly always, as is the next.
    held: Vec<u8>,
    /// Checked bytes that the parser has not taken yet.
    ready: BytesMut,
    /// Found, and still to be told.
    fault: Option<Fault>,
    farewell: Option<Farewell>,
    hints: Arc<Hints>,
    /// What is left of interim answers that are being written; nothing else is written before it.
    interim: BytesMut,
    /// The reader has been woken for a deadline or a refusal, and has not read since.
    nudged: bool,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Guarded<Io> {
    /// Guards HTTP/1. `prefix` is what has been read already, `deadline` the time by which a head must be there.
    pub(crate) fn http1(io: Io, prefix: Bytes, limits: HeadLimits, setup: Setup) -> Self {
        Self::new(io, prefix, Protocol::Http1(Follower::new(limits)), setup)
    }

    /// Guards HTTP/2. `frames` is how many may come in a second beside those of requests and bodies.
    pub(crate) fn http2(io: Io, prefix: Bytes, frames: u32, setup: Setup) -> Self {
        Self::new(io, prefix, Protocol::Http2(FrameMeter::new(now(), frames)), setup)
    }

    fn new(io: Io, prefix: Bytes, protocol: Protocol, setup: Setup) -> Self {
        let Setup { timeouts, traffic, hints, render, deadline, close_at } = setup;
        let clock = Clock::new(deadline, close_at);
        Self {
            io,
            prefix,
            protocol,
            timeouts,
            traffic,
            render,
            clock,
            held: Vec::new(),
            ready: BytesMut::new(),
            fault: None,
            farewell: None,
            hints,
            interim: BytesMut::new(),
            nudged: false,
        }
    }

    /// Refuses the connection as a whole: the next read writes the refusal.
    pub(crate) fn refuse(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Lets `bytes`, which have just been read, be checked; how many of them may pass.
    fn check(&mut self, bytes: &[u8]) -> usize {
        self.traffic.heard.store(true, Ordering::Relaxed);
        match &mut self.protocol {
            Protocol::Http1(follower) => {
                let heads = follower.heads();
                let followed = follower.follow(bytes);
                self.clock.heard(bytes.len(), follower.heads() != heads);
                self.fault = followed.fault;
                self.traffic.whole.store(follower.place() == Place::Between, Ordering::Relaxed);
                if follower.waits() {
                    self.traffic.asks_tunnel.store(follower.heads(), Ordering::Relaxed);
                }
                followed.pass
            }
            Protocol::Http2(meter) => {
                if !meter.follow(bytes, now) {
                    self.traffic.flood.store(true, Ordering::Relaxed);
                }
                self.clock.heard(bytes.len(), meter.place() != Place::Head);
                bytes.len()
            }
            Protocol::Raw => bytes.len(),
        }
    }

    /// Keeps of `read` what may not pass yet, and joins what was kept before with what may. How many of the bytes of
    /// `read`, from the first, can be handed out as they are.
    fn hold_back(&mut self, read: &[u8], pass: usize) -> usize {
        let (passing, rest) = read.split_at_checked(pass).unwrap_or((read, &[]));
        let joined = !passing.is_empty() && !self.held.is_empty();
        if joined {
            self.ready.extend_from_slice(&self.held);
            self.ready.extend_from_slice(passing);
        }
        if !passing.is_empty() || self.fault.is_some() {
            self.held.clear();
        }
        if self.protocol.waits() {
            self.unread(rest);
        } else if self.fault.is_none() {
            self.held.extend_from_slice(rest);
        }
        if joined { 0 } else { passing.len() }
    }

    /// Puts `bytes`, which have been read, before those that are still to be read.
    fn unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.prefix = [bytes, &self.prefix].concat().into();
        }
    }

    /// The bytes of a tunnel, from where the parser stopped; it has read `read` already. `write`: how long they may wait
    /// for a client that takes nothing, if that is not for the listener to say.
    pub(crate) fn into_raw(mut self, read: &[u8], write: Option<Duration>) -> Self {
        self.timeouts.write = write.unwrap_or(self.timeouts.write);
        self.protocol = Protocol::Raw;
        self.unread(read);
        self
    }

    /// Keeps what the client sends ahead, within bounds, so that its going away is seen.
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.prefix.len() < MAX_EARLY_BYTES {
            let mut space = [0; 2048];
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.prefix = [&self.prefix, buf.filled()].concat().into();
        }
        Poll::Pending
    }

    /// When the client, having sent nothing, is late; `None`: it owes nothing now.
    fn deadline(&mut self) -> Option<Instant> {
        let answering = self.traffic.answering.load(Ordering::Relaxed) > 0;
        let http2 = matches!(self.protocol, Protocol::Http2(_));
        let deadline = self.clock.read_deadline(&self.timeouts, self.protocol.place(), answering, http2);
        if self.clock.aged {
            self.traffic.aged.store(true, Ordering::Relaxed);
        }
        deadline
    }

    /// Nothing to read: is the client late?
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.deadline() else {
            return Poll::Pending;
        };
        if self.clock.poll(deadline, cx).is_pending() {
            return Poll::Pending;
        }
        match (self.protocol.place(), &self.protocol) {
            // Nothing has come that could be answered: the end of the stream, as if the client had closed.
            (Place::Between, _) => Poll::Ready(Ok(())),
            (Place::Head, Protocol::Http1(_)) => {
                self.fault = Some(Fault::HeadTimeout);
                self.poll_refusal(cx)
            }
            (Place::Head | Place::Body, _) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Everything is written. If that was the end of an answer the client owes us something again, but the parser above
    /// does not read in this turn: it knows that the last read found nothing. So what a read would have done about
    /// deadlines and refusals is done here.
    fn flushed(&mut self, cx: &mut Context<'_>) {
        if matches!(self.protocol, Protocol::Raw) {
            return;
        }
        let goes_on = self.protocol.waits() && self.traffic.asks_tunnel.load(Ordering::Relaxed) == 0;
        if goes_on && !self.prefix.is_empty() && !self.nudged {
            self.nudged = true;
            cx.waker().wake_by_ref();
        }
        if self.traffic.answering.load(Ordering::Relaxed) > 0 {
            return;
        }
        let due =
            self.fault.is_some() || self.deadline().is_some_and(|deadline| self.clock.poll(deadline, cx).is_ready());
        if due && !self.nudged {
            self.nudged = true;
            cx.waker().wake_by_ref();
        }
    }

    /// Tells the client what was wrong, as soon as the answers before it are out. Never ready with success.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(fault) = self.fault else {
            return Poll::Pending;
        };
        if self.farewell.is_none() {
            if self.protocol.place() == Place::Body {
                // The request is being handled: its handler learns it from the body and answers.
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            let busy = self.traffic.answering.load(Ordering::Relaxed) > 0;
            if busy || self.traffic.write_blocked.load(Ordering::Relaxed) {
                // `flushed` wakes the reader when the answer is out.
                return Poll::Pending;
            }
        }
        let render = &self.render;
        let farewell = self
            .farewell
            .get_or_insert_with(|| Farewell::with_answer(render.render(fault), now() + self.timeouts.linger));
        if farewell.poll(&mut self.io, cx).is_pending() && self.clock.poll(farewell.deadline(), cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    /// Notes whether the socket takes bytes; a client that takes none for too long is given up.
    fn wrote<T>(&mut self, poll: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let blocked = poll.is_pending();
        if blocked || self.clock.blocked_since.is_some() {
            self.traffic.write_blocked.store(blocked, Ordering::Relaxed);
        }
        if !blocked {
            self.clock.blocked_since = None;
            return poll;
        }
        let deadline = *self.clock.blocked_since.get_or_insert_with(now) + self.timeouts.write;
        match self.clock.poll(deadline, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

/// An answer up to this size, head and body, is copied together: a plain write is a shorter way through the kernel than one
/// of several parts, by more than the copy costs.
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

/// What every guard needs.
pub(crate) struct Setup {
    /// How patient to be.
    pub(crate) timeouts: Timeouts,
    /// Shared with the protocol.
    pub(crate) traffic: Arc<Traffic>,
    /// Where interim answers wait.
    pub(crate) hints: Arc<Hints>,
    /// Renders refusals.
    pub(crate) render: Arc<dyn Render>,
    /// By when the first head must be complete.
    pub(crate) deadline: Instant,
    /// When the connection is so old that it is closed after the next answer.
    pub(crate) close_at: Instant,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.nudged = false;
        if this.traffic.flood.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        // Again as long as all that has come is part of a line: without a byte this would be the end of the stream.
        loop {
            if !this.ready.is_empty() {
                let taken = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready.split_to(taken));
                return Poll::Ready(Ok(()));
            }
            if this.fault.is_some() {
                return this.poll_refusal(cx);
            }
            if this.protocol.waits() {
                if this.traffic.asks_tunnel.load(Ordering::Relaxed) != 0 {
                    return this.poll_early(cx);
                }
                if let Protocol::Http1(follower) = &mut this.protocol {
                    follower.resume();
                }
            }
            if this.prefix.is_empty() {
                match Pin::new(&mut this.io).poll_read(cx, buf) {
                    Poll::Pending if matches!(this.protocol, Protocol::Raw) => return Poll::Pending,
                    Poll::Pending => return this.poll_late(cx),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => {}
                }
            } else {
                let taken = this.prefix.len().min(buf.remaining());
                buf.put_slice(&this.prefix.split_to(taken));
            }
            let read = buf.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let pass = this.check(read);
            if this.traffic.flood.load(Ordering::Relaxed) {
                // The owner of the connection must look at the flag before anything else is read.
                cx.waker().wake_by_ref();
            }
            let filled = this.hold_back(read, pass);
            buf.set_filled(before.saturating_add(filled));
            if filled > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(this.poll_before_answer(cx))?;
        let poll = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.wrote(poll, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        ready!(this.poll_before_answer(cx))?;
        let mut room = [0; SMALL_WRITE];
        let poll = match joined(slices, &mut room) {
            Some(bytes) => Pin::new(&mut this.io).poll_write(cx, bytes),
            None => Pin::new(&mut this.io).poll_write_vectored(cx, slices),
        };
        this.wrote(poll, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_interim(cx))?;
        let poll = Pin::new(&mut this.io).poll_flush(cx);
        if matches!(poll, Poll::Ready(Ok(()))) {
            this.flushed(cx);
        }
        this.wrote(poll, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_none() && this.protocol.place() != Place::Body {
            let poll = Pin::new(&mut this.io).poll_shutdown(cx);
            return this.wrote(poll, cx);
        }
        // The client is still sending what nobody will read. Closing now would reset the connection and could
        // destroy the answer on its way.
        let farewell = this.farewell.get_or_insert_with(|| Farewell::without_answer(now() + this.timeouts.linger));
        if farewell.poll(&mut this.io, cx).is_pending() && this.clock.poll(farewell.deadline(), cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io> std::fmt::Debug for Guarded<Io> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("protocol", &self.protocol).field("fault", &self.fault).finish_non_exhaustive()
    }
}

/// How long one body has been waited for, and what came of it. Pure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    waited: Duration,
    bytes: u64,
}

impl Patience {
    /// Some of the body has come.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// It had been waited for that long.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// How long the next piece may take: bounded by itself, and by the rate over the whole body. Only time that we
    /// waited counts, so a slow backend is never blamed on the client.
    pub(crate) fn left(&self, timeouts: &Timeouts) -> Duration {
        let earned = self.bytes / u64::from(timeouts.body_bytes_per_second.max(1));
        let allowed = timeouts.body_grace.saturating_add(Duration::from_secs(earned));
        allowed.saturating_sub(self.waited).min(timeouts.body_idle)
    }
}

/// The deadlines of one client, and the one timer that wakes for whichever is next.
struct Clock {
    /// By when the first head must be complete; `None` once a head was.
    first_head: Option<Instant>,
    /// Since when the present state has been waiting for bytes.
    waiting_since: Option<(Place, Instant)>,
    /// What the present body has used up.
    patience: Patience,
    /// When the connection is old enough to be closed, and whether that time has been passed.
    close_at: Instant,
    aged: bool,
    /// Since when the socket has taken nothing.
    blocked_since: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    /// The timer has been started with the task's waker.
    started: bool,
}

impl Clock {
    fn new(first_head: Instant, close_at: Instant) -> Self {
        Self {
            close_at,
            aged: false,
            first_head: Some(first_head),
            waiting_since: None,
            patience: Patience::default(),
            blocked_since: None,
            sleep: Box::pin(tokio::time::sleep_until(first_head.into())),
            started: false,
        }
    }

    /// Bytes have come; perhaps the last ones of a head.
    fn heard(&mut self, bytes: usize, head_done: bool) {
        if head_done {
            self.first_head = None;
            self.waiting_since = None;
            self.patience = Patience::default();
            return;
        }
        self.patience.took(bytes);
        // The deadline of a head is total, so bytes do not move it.
        if let Some((Place::Body, since)) = self.waiting_since.take_if(|(place, _)| *place != Place::Head) {
            self.patience.waited(now().saturating_duration_since(since));
        }
    }

    /// When the client is late, given where it stands. `None`: it owes nothing.
    fn read_deadline(&mut self, timeouts: &Timeouts, place: Place, answering: bool, http2: bool) -> Option<Instant> {
        // While we answer, the client owes nothing but the rest of its body. Idle HTTP/2 connections are the business
        // of `listen::http2`, which knows the streams.
        if (answering && place != Place::Body) || (http2 && place == Place::Between) {
            self.waiting_since = None;
            return None;
        }
        if let Some(first) = self.first_head
            && place != Place::Body
        {
            return Some(first);
        }
        let since = match self.waiting_since {
            Some((waiting_at, since)) if waiting_at == place => since,
            _ => {
                let since = now();
                self.waiting_since = Some((place, since));
                self.aged |= since >= self.close_at;
                since
            }
        };
        Some(match place {
            Place::Between => since + timeouts.idle,
            Place::Head => since + timeouts.head,
            Place::Body => since + self.patience.left(timeouts),
        })
    }

    /// Ready once `deadline` has passed. While the timer is set for the same or an earlier time this is two loads;
    /// it is moved only when it fires too early or a nearer deadline comes.
    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.started && !self.sleep.is_elapsed() && self.sleep.deadline().into_std() <= deadline {
            return Poll::Pending;
        }
        if now() >= deadline {
            return Poll::Ready(());
        }
        self.sleep.as_mut().reset(deadline.into());
        self.started = true;
        // Whatever the task has done in this turn: tokio's budget would keep a task that has worked much from leaving its
        // waker, and as this is not asked again before the deadline, nobody would wake it then.
        pin!(unconstrained(self.sleep.as_mut())).poll(cx)
    }
}

#[cfg(test)]
mod tests;
