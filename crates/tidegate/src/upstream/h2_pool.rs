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
//!   room a call waits, briefly and in a bounded queue, and a stream that runs on for nobody goes.
//! - A connection that said GOAWAY or was closed takes no new streams; those that it has may end.
//! - Each connection is one task (`connection`).
//!
//! The lock of a pool is never held across an await. In `per_core` only its own worker takes it.

mod connection;
mod leftover;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

pub(super) use self::leftover::GivenUp;
use super::endpoint::{Endpoint, EndpointState};
use super::h2_stream::{H2Stream, Permit};
use super::pool_limits::PoolLimits;
use super::resets::Resets;
use crate::dial::DialError;
use crate::ids::WorkerId;
use crate::{tasks, time};

/// Streams from which on another connection helps although the peer announced no limit.
const USUAL_STREAM_LIMIT: u32 = 100;

/// Calls that may wait for a stream, per worker and endpoint.
const MAX_WAITING: u32 = 1024;

/// How long a call waits for a stream of a connection that is full.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// The same where the backend takes fewer calls at once than [`USUAL_STREAM_LIMIT`], on all connections together: to wait
/// in line is the usual course there, and no sign that there is too much to do.
const MAX_WAIT_IN_LINE: Duration = Duration::from_secs(1);

/// Nobody has asked for an endpoint that is down for this long: stop trying.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Waits between attempts to connect. The longest bounds how late a backend that came up is noticed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));

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
    /// Streams ever opened: HTTP/2 has numbers for 2^30.
    total: AtomicU32,
    /// The last of them that has the head of its answer.
    answered: AtomicU32,
    bytes_in: AtomicU64,
    /// The other end of the connection, once there is one.
    peer: OnceLock<SocketAddr>,
    resets: Resets,
    /// One leftover goes before its turn: a call needs its place.
    give_way: Notify,
    demand: Arc<Demand>,
}

impl Gauge {
    /// Who is at the other end of the connection.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer.get().copied()
    }

    /// The backend has answered the stream that was opened as `number`.
    pub(super) fn answered(&self, number: u32) {
        self.answered.fetch_max(number, Ordering::Relaxed);
    }

    /// Counts a stream and gives its number on the connection.
    pub(super) fn opened(&self) -> u32 {
        self.takes_place();
        self.total.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    fn takes_place(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
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
    /// The endpoint prefers HTTP/1.1.
    Http1,
    /// The head of the request is not valid in HTTP/2.
    Head(h2::Error),
}

enum Try {
    Opened(H2Stream),
    /// Connections exist, none has room; how long to wait for it.
    Full(Duration),
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

    /// Why the last attempt to connect failed, while that is what calls get.
    pub(super) fn failure(&self) -> Option<Arc<DialError>> {
        match &self.state.lock().dial {
            Dial::Down(error) => Some(Arc::clone(error)),
            Dial::Idle | Dial::First | Dial::Growing | Dial::Shutdown => None,
        }
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
                    let busy = least.gauge.is_busy();
                    let grow = (busy || state.connections.len() < self.limits.min) && state.may_grow(self.limits);
                    (Try::Opened(stream), grow)
                }
                Err(error) => (Try::Failed(OpenError::Head(error)), false),
            };
        }
        if !state.connections.is_empty() {
            let grow = state.may_grow(self.limits);
            return (Try::Full(state.patience()), grow);
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

    /// Lets go of one leftover, of those that wait for their turn, for a call that finds no room.
    fn make_room(&self) {
        let state = self.state.lock();
        if let Some(full) = state.connections.iter().find(|each| each.gauge.resets.leftovers() > 0) {
            full.gauge.give_way.notify_one();
        }
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

    /// How long a call that finds no room waits for it.
    fn patience(&self) -> Duration {
        let limits = self.connections.iter().map(|each| each.gauge.limit.load(Ordering::Relaxed));
        let streams = limits.fold(0, u32::saturating_add);
        if streams < USUAL_STREAM_LIMIT { MAX_WAIT_IN_LINE } else { MAX_WAIT }
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
            answered: AtomicU32::new(0),
            bytes_in: AtomicU64::new(0),
            peer: OnceLock::new(),
            resets: Resets::new(time::now()),
            give_way: Notify::new(),
            demand,
        })
    }

    fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Streams that may still be opened.
    fn room(&self) -> u32 {
        self.limit.load(Ordering::Relaxed).saturating_sub(self.open.load(Ordering::SeqCst))
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
        Try::Full(_) | Try::Connecting => Box::pin(wait_open(endpoint, worker, request, end)).await,
    }
}

/// One look at the pool; starts a connection attempt if one is wanted.
fn look(endpoint: &Arc<Endpoint>, worker: WorkerId, request: &mut Option<Request<()>>, end: bool) -> Try {
    if endpoint.prefers_http1() {
        return Try::Failed(OpenError::Http1);
    }
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
            Try::Full(patience) => {
                endpoint.pool(worker).make_room();
                let until = *full_until.get_or_insert_with(|| time::now() + patience);
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
        match connection::establish(&target, worker).await {
            Ok((fresh, driver)) => {
                tracing::debug!(endpoint = %target.name(), "connected");
                target.record().is_up();
                pool.admit(fresh);
                tasks::spawn("upstream connection", driver.run());
                return;
            }
            // Whoever waits looks again, and sees it.
            Err(DialError::NoHttp2) if target.prefers_http1() => return,
            Err(error) => {
                tracing::debug!(endpoint = %target.name(), %error, "connecting failed");
                if !pool.attempt_failed(error) {
                    // The others still serve. Not at once again, though they are busy.
                    drop(target);
                    sleep(jitter(BACKOFF.1)).await;
                    return;
                }
                target.record().is_down_until(None);
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
            endpoint.record().is_up();
            endpoint.pool(self.worker).dial_ended();
        }
    }
}

/// `pause` ± 20 %, so that workers and gateways do not knock together.
fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * fastrand::f64())
}
