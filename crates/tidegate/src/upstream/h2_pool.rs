//! HTTP/2 connections of one worker to one endpoint.
//!
//! ```text
//!            first call            handshake done
//!   Idle ───────────────▶ First ──────────────────▶ connections serve; Idle again
//!    ▲                      │ failed                      │ 80 % of the streams in use
//!    │ nobody asks          ▼                             ▼
//!    └────────────────── Down ◀───────────────────── Growing
//!                 (tried again with back-off)  failed, and no connection is left
//! ```
//! - Connections are made by one task per pool at a time (single flight). Calls wait only for the first; while an
//!   endpoint is known to be down they fail at once, and the task goes on trying for as long as calls come.
//! - A new stream goes to the connection with the fewest; its own limit is the one that the peer announced. Without
//!   room a call waits, briefly and in a bounded queue.
//! - A connection that said GOAWAY or was closed takes no new streams; those that it has may end.
//! - Each connection is one task: frames, keepalive and age are handled there, and it writes once per turn of the loop
//!   however many calls have queued frames.
//!
//! The lock of a pool is never held across an await. In `per_core` only its own worker takes it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong, Reason};
use http::Request;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep, timeout};

use super::endpoint::{Endpoint, EndpointState, Keepalive};
use super::h2_stream::{H2Stream, Permit};
use crate::dial::{self, DialError, Stream};
use crate::ids::WorkerId;
use crate::{tasks, time};

/// What may wait per stream before the backend has to stop.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Room for 256 streams whose clients take nothing, before they hold up the others of the connection.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// As large as a stream's window: a message in one frame is passed on without a copy.
const MAX_FRAME_SIZE: u32 = STREAM_WINDOW;

/// Metadata of an answer, decoded.
const MAX_HEADER_LIST: u32 = 32 * 1024;

/// Unread small frames that a connection may hold: each of fewer than 256 bytes costs what it lacks. A stream window
/// full of frames of 10 bytes is 6 MiB, and must not close the connection for the other streams.
const DATA_FRAME_BUDGET: usize = 16 * 1024 * 1024;

/// Streams that we reset are remembered this long and up to this number, so that late frames are not taken for faults.
const REMEMBERED_RESETS: usize = 1024;

/// Bytes of one stream that wait for the backend's window.
const SEND_BUFFER: usize = 256 * 1024;

/// Length of a frame's head: with it the server's first frame, SETTINGS, has begun to arrive.
const FRAME_HEAD: u64 = 9;

/// Streams from which on another connection helps although the peer announced no limit.
const USUAL_STREAM_LIMIT: u32 = 100;

/// Calls that may wait for a stream, per worker and endpoint.
const MAX_WAITING: u32 = 1024;

/// How long a call waits for a stream.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// An unused connection above the minimum is closed after this time.
const SHRINK_AFTER: Duration = Duration::from_secs(60);

/// How often a connection without keepalive looks at itself.
const REVIEW: Duration = Duration::from_secs(10);

/// Nobody has asked for an endpoint that is down for this long: stop trying.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Waits between attempts to connect. The longest bounds how late a backend that came up is noticed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));

/// How many connections a worker may have to an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolLimits {
    min: usize,
    max: usize,
}

impl PoolLimits {
    /// The share of `worker` in `(min, max)`, which count for the process. At least one of each.
    pub(super) fn deal_out((min, max): (u32, u32), worker: WorkerId, workers: usize) -> Self {
        let share = |all: u32| {
            let (all, workers) = (usize::try_from(all).unwrap_or(usize::MAX), workers.max(1));
            let extra = usize::from(worker.index() < all % workers);
            (all / workers).saturating_add(extra).max(1)
        };
        let max = share(max);
        Self { min: share(min).min(max), max }
    }
}

/// See the module.
pub(super) struct Pool {
    limits: PoolLimits,
    state: Mutex<PoolState>,
    demand: Arc<Demand>,
}

struct PoolState {
    connections: SmallVec<[Pooled; 2]>,
    dial: Dial,
    /// A call came while the endpoint was down.
    asked: bool,
}

enum Dial {
    Idle,
    /// No connection yet: calls wait.
    First,
    /// One more is being made.
    Growing,
    /// The last attempt failed; the task is trying again.
    Down(Arc<DialError>),
    Shutdown,
}

/// A connection that takes new streams.
struct Pooled {
    sender: SendRequest<Bytes>,
    gauge: Arc<Gauge>,
}

/// Calls of a pool: open ones and waiting ones.
#[derive(Debug, Default)]
struct Demand {
    in_flight: AtomicU32,
    waiting: AtomicU32,
    /// A stream became free (one waits less), or connections changed (all look again).
    changed: Notify,
}

/// Streams of one connection.
#[derive(Debug)]
pub(super) struct Gauge {
    open: AtomicU32,
    /// The peer's `MAX_CONCURRENT_STREAMS`; 0 until its SETTINGS came.
    limit: AtomicU32,
    /// Streams ever opened; wraps.
    total: AtomicU32,
    bytes_in: AtomicU64,
    demand: Arc<Demand>,
}

impl Gauge {
    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        self.demand.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.demand.in_flight.fetch_sub(1, Ordering::Relaxed);
        // Sequential with the waiter, who counts itself before it looks: one of the two sees the other.
        self.open.fetch_sub(1, Ordering::SeqCst);
        if self.demand.waiting.load(Ordering::SeqCst) > 0 {
            self.demand.changed.notify_one();
        }
    }
}

/// Why a stream could not be opened. Nothing has been sent.
#[derive(Debug)]
pub(super) enum OpenError {
    /// No connection can be made.
    Down(Arc<DialError>),
    /// All connections are full, and so is the queue, or the wait was too long.
    Full,
    /// The pool was shut down.
    Shutdown,
    /// The head of the request is not valid in HTTP/2.
    Head(h2::Error),
}

enum Try {
    Opened(H2Stream),
    /// Connections exist, none has room.
    Full,
    /// A connection is being made.
    Connecting,
    Failed(OpenError),
}

impl Pool {
    pub(super) fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            state: Mutex::new(PoolState { connections: SmallVec::new(), dial: Dial::Idle, asked: false }),
            demand: Arc::default(),
        }
    }

    /// Calls that have not ended.
    pub(super) fn in_flight(&self) -> u32 {
        self.demand.in_flight.load(Ordering::Relaxed)
    }

    /// The state, and how many connections take calls.
    pub(super) fn state(&self) -> (EndpointState, usize) {
        let state = self.state.lock();
        let connections = state.connections.len();
        let word = match state.dial {
            Dial::Shutdown => EndpointState::Shutdown,
            _ if connections > 0 => EndpointState::Ready,
            Dial::Idle => EndpointState::Idle,
            Dial::First | Dial::Growing => EndpointState::Connecting,
            Dial::Down(_) => EndpointState::TransientFailure,
        };
        (word, connections)
    }

    /// The endpoint is down as far as this worker knows.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state.lock().dial, Dial::Down(_) | Dial::Shutdown)
    }

    /// No new streams; connections close when their streams have ended.
    pub(super) fn shutdown(&self) {
        let mut state = self.state.lock();
        state.connections.clear();
        state.dial = Dial::Shutdown;
        drop(state);
        self.demand.changed.notify_waiters();
    }

    fn admit(&self, fresh: Pooled) {
        let mut state = self.state.lock();
        if !matches!(state.dial, Dial::Shutdown) {
            state.connections.push(fresh);
            state.dial = Dial::Idle;
        }
        drop(state);
        self.demand.changed.notify_waiters();
    }

    /// Takes the connection out; its streams may end.
    fn retire(&self, gauge: &Arc<Gauge>) {
        let mut state = self.state.lock();
        let found = state.connections.iter().position(|each| Arc::ptr_eq(&each.gauge, gauge));
        let retired = found.map(|index| state.connections.remove(index));
        drop(state);
        drop(retired);
        self.demand.changed.notify_waiters();
    }

    /// Takes the connection out if there are more than need be.
    fn retire_surplus(&self, gauge: &Arc<Gauge>) {
        if self.state.lock().connections.len() > self.limits.min {
            self.retire(gauge);
        }
    }

    /// Opens a stream without waiting. `request` is taken only if one was opened or its head was refused.
    fn try_open(&self, request: &mut Option<Request<()>>, end: bool) -> (Try, bool) {
        let mut state = self.state.lock();
        while let Some(least) = state.least_loaded() {
            // Never sleeps on it: a connection that is not ready has a stream of ours that is not on the wire yet, and
            // a fresh handle may queue behind it. Our own count keeps to the peer's limit.
            let ready = least.sender.poll_ready(&mut Context::from_waker(Waker::noop()));
            match ready {
                Poll::Ready(Ok(())) => {}
                Poll::Pending => least.sender = least.sender.clone(),
                Poll::Ready(Err(_)) => {
                    let gauge = Arc::clone(&least.gauge);
                    state.connections.retain(|each| !Arc::ptr_eq(&each.gauge, &gauge));
                    continue;
                }
            }
            let Some(head) = request.take() else {
                return (Try::Failed(OpenError::Full), false);
            };
            return match least.sender.send_request(head, end) {
                Ok((response, sender)) => {
                    let stream = H2Stream::new(response, sender, Permit::new(Arc::clone(&least.gauge)));
                    let grow = least.gauge.is_busy() && state.may_grow(self.limits);
                    (Try::Opened(stream), grow)
                }
                Err(error) => (Try::Failed(OpenError::Head(error)), false),
            };
        }
        if !state.connections.is_empty() {
            let grow = state.may_grow(self.limits);
            return (Try::Full, grow);
        }
        match &state.dial {
            Dial::Idle => {
                state.dial = Dial::First;
                (Try::Connecting, true)
            }
            Dial::First | Dial::Growing => (Try::Connecting, false),
            Dial::Down(error) => {
                let error = Arc::clone(error);
                state.asked = true;
                (Try::Failed(OpenError::Down(error)), false)
            }
            Dial::Shutdown => (Try::Failed(OpenError::Shutdown), false),
        }
    }

    /// After a failed attempt: whether to try again.
    fn attempt_failed(&self, error: DialError) -> bool {
        let mut state = self.state.lock();
        let again = match state.dial {
            Dial::Shutdown => false,
            Dial::Growing if !state.connections.is_empty() => false,
            Dial::Idle | Dial::First | Dial::Growing | Dial::Down(_) => {
                state.dial = Dial::Down(Arc::new(error));
                true
            }
        };
        drop(state);
        self.demand.changed.notify_waiters();
        again
    }

    /// Nobody is dialling any more.
    fn dial_ended(&self) {
        let mut state = self.state.lock();
        if !matches!(state.dial, Dial::Shutdown) {
            state.dial = Dial::Idle;
        }
        drop(state);
        self.demand.changed.notify_waiters();
    }
}

impl PoolState {
    fn least_loaded(&mut self) -> Option<&mut Pooled> {
        self.connections
            .iter_mut()
            .filter(|each| each.gauge.has_room())
            .min_by_key(|each| each.gauge.open.load(Ordering::Relaxed))
    }

    /// Whether to make one more connection; if so, it is being made.
    fn may_grow(&mut self, limits: PoolLimits) -> bool {
        let may = self.connections.len() < limits.max && matches!(self.dial, Dial::Idle);
        if may {
            self.dial = Dial::Growing;
        }
        may
    }
}

impl Gauge {
    fn new(demand: Arc<Demand>) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU32::new(0),
            limit: AtomicU32::new(0),
            total: AtomicU32::new(0),
            bytes_in: AtomicU64::new(0),
            demand,
        })
    }

    fn has_room(&self) -> bool {
        self.open.load(Ordering::SeqCst) < self.limit.load(Ordering::Relaxed)
    }

    /// At least 80 % of the streams are in use.
    fn is_busy(&self) -> bool {
        let limit = u64::from(self.limit.load(Ordering::Relaxed).min(USUAL_STREAM_LIMIT));
        u64::from(self.open.load(Ordering::Relaxed)) * 5 >= limit * 4
    }
}

/// Opens a stream to `endpoint` from `worker`; connects if there is no connection, waits if all are full.
///
/// `request` is left in place when nothing was sent. `end` ends the stream with the head.
///
/// # Errors
/// See [`OpenError`]. Dropping the future leaves nothing behind but a connection attempt that others may use.
pub(super) async fn open(
    endpoint: &Arc<Endpoint>,
    worker: WorkerId,
    request: &mut Option<Request<()>>,
    end: bool,
) -> Result<H2Stream, OpenError> {
    match look(endpoint, worker, request, end) {
        Try::Opened(stream) => Ok(stream),
        Try::Failed(error) => Err(error),
        // Rare, and large: boxed, so that the future of every call stays small.
        Try::Full | Try::Connecting => Box::pin(wait_open(endpoint, worker, request, end)).await,
    }
}

/// One look at the pool; starts a connection attempt if one is wanted.
fn look(endpoint: &Arc<Endpoint>, worker: WorkerId, request: &mut Option<Request<()>>, end: bool) -> Try {
    let (outcome, connect) = endpoint.pool(worker).try_open(request, end);
    if connect {
        tasks::spawn("upstream connect", connect_until_done(Arc::downgrade(endpoint), worker));
    }
    outcome
}

async fn wait_open(
    endpoint: &Arc<Endpoint>,
    worker: WorkerId,
    request: &mut Option<Request<()>>,
    end: bool,
) -> Result<H2Stream, OpenError> {
    let demand = Arc::clone(&endpoint.pool(worker).demand);
    let _waiting = Waiting::begin(&demand)?;
    let mut full_until: Option<Instant> = None;
    loop {
        let changed = demand.changed.notified();
        tokio::pin!(changed);
        // In the queue before the look, so that no stream becomes free unseen in between.
        changed.as_mut().enable();
        match look(endpoint, worker, request, end) {
            Try::Opened(stream) => return Ok(stream),
            Try::Failed(error) => return Err(error),
            // Bounded by the connect timeout: it ends in a connection or in `Down`.
            Try::Connecting => changed.await,
            Try::Full => {
                let until = *full_until.get_or_insert_with(|| time::now() + MAX_WAIT);
                let left = until.saturating_duration_since(time::now());
                if timeout(left, changed).await.is_err() {
                    return Err(OpenError::Full);
                }
            }
        }
    }
}

/// Counts a waiting call.
struct Waiting<'a>(&'a Demand);

impl<'a> Waiting<'a> {
    fn begin(demand: &'a Demand) -> Result<Self, OpenError> {
        let waiting = Self(demand);
        if demand.waiting.fetch_add(1, Ordering::SeqCst) >= MAX_WAITING {
            return Err(OpenError::Full);
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes one connection. Tries again, with back-off, while the pool has none and calls keep coming.
async fn connect_until_done(endpoint: Weak<Endpoint>, worker: WorkerId) {
    let _ended = DialEnded { endpoint: Weak::clone(&endpoint), worker };
    let mut pause = BACKOFF.0;
    let mut last_asked = time::now();
    loop {
        let Some(target) = endpoint.upgrade() else { return };
        let pool = target.pool(worker);
        match establish(&target, worker).await {
            Ok((fresh, driver)) => {
                tracing::debug!(endpoint = %target.name(), "connected");
                pool.admit(fresh);
                tasks::spawn("upstream connection", driver.run());
                return;
            }
            Err(error) => {
                tracing::debug!(endpoint = %target.name(), %error, "connecting failed");
                if !pool.attempt_failed(error) {
                    // The others still serve. Not at once again, though they are busy.
                    drop(target);
                    sleep(jitter(BACKOFF.1)).await;
                    return;
                }
            }
        }
        drop(target);
        sleep(jitter(pause)).await;
        pause = (pause * 2).min(BACKOFF.1);
        let Some(target) = endpoint.upgrade() else { return };
        if std::mem::take(&mut target.pool(worker).state.lock().asked) {
            last_asked = time::now();
        } else if time::now().saturating_duration_since(last_asked) > GIVE_UP_AFTER {
            return;
        }
    }
}

/// Says that nobody dials any more, even if the task panicked; otherwise calls would wait for ever.
struct DialEnded {
    endpoint: Weak<Endpoint>,
    worker: WorkerId,
}

impl Drop for DialEnded {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.upgrade() {
            endpoint.pool(self.worker).dial_ended();
        }
    }
}

/// `pause` ± 20 %, so that workers and gateways do not knock together.
fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * fastrand::f64())
}

/// Connects, and waits until the server's SETTINGS begin to arrive: only then it is known to speak HTTP/2.
async fn establish(endpoint: &Arc<Endpoint>, worker: WorkerId) -> Result<(Pooled, Driver), DialError> {
    let gauge = Gauge::new(Arc::clone(&endpoint.pool(worker).demand));
    let attempt = async {
        let addresses = endpoint.addresses().await;
        let stream = dial::connect(&addresses, endpoint.tls(), endpoint.connect_timeout).await?;
        let metered = Metered { stream, gauge: Arc::clone(&gauge) };
        let http2 = |error: h2::Error| DialError::Http2(error.to_string());
        let (sender, mut connection) = settings().handshake::<_, Bytes>(metered).await.map_err(http2)?;
        std::future::poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(DialError::Http2("closed in the handshake".to_owned()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(http2(error))),
            Poll::Pending if gauge.bytes_in.load(Ordering::Relaxed) >= FRAME_HEAD => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        Ok((sender, connection))
    };
    let (sender, mut connection) = match timeout(endpoint.connect_timeout, attempt).await {
        Ok(made) => made?,
        Err(_) if !endpoint.is_resolved() => return Err(DialError::Unresolved),
        Err(_) => return Err(DialError::TimedOut),
    };
    gauge.limit.store(announced_limit(&connection), Ordering::Relaxed);
    let ping = connection.ping_pong();
    let driver = Driver::new(connection, ping, Arc::clone(&gauge), endpoint, worker);
    Ok((Pooled { sender, gauge }, driver))
}

fn settings() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_SIZE)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        // Nothing is sent before the peer has said how many streams it takes.
        .initial_max_send_streams(0)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        // Clients that leave make us reset streams. Over a connection's life that is no sign of an attack by the
        // backend, which is what the default of 1,024 guards against.
        .max_local_error_reset_streams(None)
        .data_frame_budget(DATA_FRAME_BUDGET);
    builder
}

fn announced_limit(connection: &Connection<Metered, Bytes>) -> u32 {
    u32::try_from(connection.max_concurrent_send_streams()).unwrap_or(u32::MAX)
}

/// Why a connection ended other than in good order.
enum Lost {
    Http2(h2::Error),
    /// No answer to a ping. Dropping the connection closes the socket and fails its streams.
    Silent,
}

/// The task of one connection.
struct Driver {
    connection: Connection<Metered, Bytes>,
    ping: Option<PingPong>,
    /// An answer to a ping is due when the timer fires.
    pinged: bool,
    keepalive: Option<Keepalive>,
    timer: Pin<Box<Sleep>>,
    gauge: Arc<Gauge>,
    endpoint: Weak<Endpoint>,
    worker: WorkerId,
    /// `Gauge::total` at the last review, and since when it has not changed.
    unused: (u32, Instant),
}

impl Driver {
    fn new(
        connection: Connection<Metered, Bytes>,
        ping: Option<PingPong>,
        gauge: Arc<Gauge>,
        endpoint: &Arc<Endpoint>,
        worker: WorkerId,
    ) -> Self {
        let keepalive = endpoint.keepalive();
        Self {
            connection,
            ping,
            pinged: false,
            keepalive,
            timer: Box::pin(sleep(keepalive.map_or(REVIEW, |ping| ping.interval))),
            gauge,
            endpoint: Arc::downgrade(endpoint),
            worker,
            unused: (0, time::now()),
        }
    }

    /// Until the connection is closed, by whichever side.
    async fn run(mut self) {
        let ended = std::future::poll_fn(|cx| self.poll(cx)).await;
        let Some(endpoint) = self.endpoint.upgrade() else { return };
        match ended {
            Ok(()) => {}
            Err(Lost::Silent) => {
                tracing::debug!(endpoint = %endpoint.name(), "connection lost: no answer to a ping");
            }
            Err(Lost::Http2(error)) => {
                tracing::debug!(endpoint = %endpoint.name(), %error, "connection lost");
                if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                    endpoint.ping_less_often();
                }
            }
        }
        endpoint.pool(self.worker).retire(&self.gauge);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(ended.map_err(Lost::Http2));
            }
            self.note_limit();
            if self.pinged && self.poll_pong(cx)?.is_ready() {
                self.pinged = false;
                self.rest();
            }
            ready!(self.timer.as_mut().poll(cx));
            self.review()?;
        }
    }

    /// The peer may change its limit at any time.
    fn note_limit(&self) {
        let limit = announced_limit(&self.connection);
        if self.gauge.limit.swap(limit, Ordering::SeqCst) < limit {
            self.gauge.demand.changed.notify_waiters();
        }
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Lost> {
        match &mut self.ping {
            Some(ping) => match ping.poll_pong(cx) {
                Poll::Ready(answer) => answer.map(|_| Poll::Ready(())).map_err(Lost::Http2),
                Poll::Pending => Ok(Poll::Pending),
            },
            None => Ok(Poll::Ready(())),
        }
    }

    /// The timer fired: an answer is overdue, or it is time to look whether the connection is alive and needed.
    fn review(&mut self) -> Result<(), Lost> {
        if self.pinged {
            return Err(Lost::Silent);
        }
        self.shrink();
        match (self.keepalive, &mut self.ping) {
            (Some(keepalive), Some(ping)) if self.gauge.open.load(Ordering::Relaxed) > 0 => {
                ping.send_ping(Ping::opaque()).map_err(Lost::Http2)?;
                self.pinged = true;
                self.wake_in(keepalive.timeout);
            }
            _ => self.rest(),
        }
        Ok(())
    }

    fn shrink(&mut self) {
        let total = self.gauge.total.load(Ordering::Relaxed);
        let now = time::now();
        if total != self.unused.0 || self.gauge.open.load(Ordering::Relaxed) > 0 {
            self.unused = (total, now);
            return;
        }
        if now.saturating_duration_since(self.unused.1) >= SHRINK_AFTER
            && let Some(endpoint) = self.endpoint.upgrade()
        {
            endpoint.pool(self.worker).retire_surplus(&self.gauge);
        }
    }

    fn rest(&mut self) {
        self.wake_in(self.keepalive.map_or(REVIEW, |keepalive| keepalive.interval));
    }

    fn wake_in(&mut self, pause: Duration) {
        self.timer.as_mut().reset(tokio::time::Instant::now() + pause);
    }
}

/// Counts what is read, for the handshake.
struct Metered {
    stream: Stream,
    gauge: Arc<Gauge>,
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = buf.filled().len().saturating_sub(before);
        this.gauge.bytes_in.fetch_add(u64::try_from(read).unwrap_or(0), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
