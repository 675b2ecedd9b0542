//! Connections of one worker to one endpoint that wait for a request, newest first, and whether there can be any.
//!
//! Where the service bounds its connections, a request that finds all of them in use waits for one, briefly. After a failed
//! connect the endpoint is down for a moment, during which requests fail at once; then one request tries again for all. The
//! lock is never held across an await. In `per_core` only its own worker takes it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::wire::Wire;
use crate::dial::DialError;
use crate::ids::WorkerId;
use crate::upstream::endpoint::{Endpoint, EndpointState};
use crate::upstream::pool_limits::PoolLimits;
use crate::upstream::resilience::Record;
use crate::{tasks, time};

/// Connections that wait, per worker and endpoint, at the most. Under load many wait for a moment, and closing those would
/// cost a handshake each.
const MAX_IDLE: usize = 1_024;

/// The limits of a service that has none: as many connections as requests, which `max_concurrent` bounds; and these stay
/// when the load has gone.
const UNBOUNDED: PoolLimits = PoolLimits { min: 64, max: usize::MAX };

/// Requests that may wait for a connection, per worker and endpoint.
const MAX_WAITING: usize = 1_024;

/// How long a request waits for a connection where all are in use.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// How long one waits. Backends close theirs after 60 to 75 s most often, and the first to close loses no request.
const MAX_IDLE_TIME: Duration = Duration::from_secs(55);

/// How often waiting connections are looked at. What has waited that long, and need not stay, is closed.
const SWEEP: Duration = Duration::from_secs(5);

/// How long an endpoint is left alone after a failed connect. The longest bounds how late one that came up is noticed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));

/// See the module.
pub(in crate::upstream) struct Pool {
    limits: PoolLimits,
    state: Mutex<State>,
    in_flight: AtomicU32,
    /// A connection is free, or may be made.
    freed: Notify,
}

#[derive(Default)]
struct State {
    idle: VecDeque<Idle>,
    /// Connections that carry a request.
    busy: usize,
    connecting: usize,
    /// Requests that wait for a connection.
    waiting: usize,
    down: Option<Down>,
    shutdown: bool,
    sweeping: bool,
}

struct Idle {
    wire: Wire,
    since: Instant,
}

struct Down {
    error: Arc<DialError>,
    failures: u32,
    until: Instant,
    /// A request is trying.
    tried: bool,
}

/// A way to the endpoint, or why there is none.
enum Way {
    Idle(Wire),
    Connect,
    /// All connections are in use, and there may be no more.
    Full,
    Down(Arc<DialError>),
    Shutdown,
}

/// Why there is no connection. Nothing has been sent.
#[derive(Debug)]
pub(in crate::upstream) enum NoWire {
    /// `dialled`: it was tried for this request. `known`: it was down before, so that nobody waits for it to be back but
    /// who comes later.
    Down {
        error: Arc<DialError>,
        dialled: bool,
        known: bool,
    },
    Shutdown,
    /// No connection, or stream of one, became free in time.
    Full,
}

impl Pool {
    /// `None`: without a bound.
    pub(in crate::upstream) fn new(limits: Option<PoolLimits>) -> Self {
        Self {
            limits: limits.unwrap_or(UNBOUNDED),
            state: Mutex::default(),
            in_flight: AtomicU32::new(0),
            freed: Notify::new(),
        }
    }

    /// Requests that have not ended.
    pub(in crate::upstream) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The state, and how many connections there are.
    pub(in crate::upstream) fn state(&self) -> (EndpointState, usize) {
        let state = self.state.lock();
        let connections = state.idle.len() + state.busy;
        let word = match &state.down {
            _ if state.shutdown => EndpointState::Shutdown,
            _ if connections > 0 => EndpointState::Ready,
            Some(_) => EndpointState::TransientFailure,
            None if state.connecting > 0 => EndpointState::Connecting,
            None => EndpointState::Idle,
        };
        (word, connections)
    }

    /// Why the last connect failed, while none has worked since.
    pub(in crate::upstream) fn failure(&self) -> Option<Arc<DialError>> {
        self.state.lock().down.as_ref().map(|down| Arc::clone(&down.error))
    }

    /// No requests any more; connections that carry one close after it.
    pub(in crate::upstream) fn shutdown(&self) {
        let mut state = self.state.lock();
        state.shutdown = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
        self.freed.notify_waiters();
    }

    /// `record` is told that others need not try while somebody does.
    fn way(&self, fresh: bool, record: &Record, connect_timeout: Duration) -> Way {
        let mut state = self.state.lock();
        if state.shutdown {
            return Way::Shutdown;
        }
        while let Some(mut newest) = if fresh { None } else { state.idle.pop_back() } {
            if newest.wire.is_fresh() {
                state.busy += 1;
                return Way::Idle(newest.wire);
            }
        }
        if let Some(down) = &mut state.down
            && (down.tried || time::now() < down.until)
        {
            return Way::Down(Arc::clone(&down.error));
        }
        if state.open() >= self.limits.max && state.idle.pop_front().is_none() {
            return Way::Full;
        }
        if let Some(down) = &mut state.down {
            down.tried = true;
            record.is_down_until(Some(time::now() + connect_timeout));
        }
        state.connecting += 1;
        Way::Connect
    }

    /// Says that a request that waits may look again.
    fn free(&self, state: MutexGuard<'_, State>) {
        let waited_for = state.waiting > 0;
        drop(state);
        if waited_for {
            self.freed.notify_one();
        }
    }

    fn connected(&self, record: &Record) {
        record.is_up();
        let mut state = self.state.lock();
        state.connecting = state.connecting.saturating_sub(1);
        state.busy += 1;
        state.down = None;
    }

    /// The failure for the request that has tried, and whether it was known before.
    fn failed(&self, error: DialError, record: &Record) -> (Arc<DialError>, bool) {
        let error = Arc::new(error);
        let mut state = self.state.lock();
        state.connecting = state.connecting.saturating_sub(1);
        let known = state.down.is_some();
        let failures = state.down.as_ref().map_or(0, |down| down.failures);
        let pause = BACKOFF.0.saturating_mul(1 << failures.min(8)).min(BACKOFF.1).mul_f64(0.8 + 0.4 * fastrand::f64());
        let until = time::now() + pause;
        record.is_down_until(Some(until));
        state.down =
            Some(Down { error: Arc::clone(&error), failures: failures.saturating_add(1), until, tried: false });
        drop(state);
        // They fail as well.
        self.freed.notify_waiters();
        (error, known)
    }

    /// Whoever was connecting has gone.
    fn abandoned(&self, record: &Record) {
        record.is_up();
        let mut state = self.state.lock();
        state.connecting = state.connecting.saturating_sub(1);
        if let Some(down) = &mut state.down {
            down.tried = false;
        }
        self.free(state);
    }
}

impl State {
    /// Connections that there are or will be.
    fn open(&self) -> usize {
        self.idle.len() + self.busy + self.connecting
    }
}

/// A connection that carries a request, or its answer. Counts as in flight until it is dropped.
pub(super) struct Lease {
    endpoint: Arc<Endpoint>,
    worker: WorkerId,
    /// `None` once it went back.
    wire: Option<Wire>,
    /// It has carried a request before.
    pub(super) reused: bool,
    /// The connection was taken out for good, and is in use all the same.
    taken: bool,
}

impl Lease {
    fn new(endpoint: &Arc<Endpoint>, worker: WorkerId, wire: Wire, reused: bool) -> Self {
        endpoint.h1(worker).in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint: Arc::clone(endpoint), worker, wire: Some(wire), reused, taken: false }
    }

    /// The connection; `None` after [`Lease::give_back`].
    pub(super) fn wire(&mut self) -> Option<&mut Wire> {
        self.wire.as_mut()
    }

    /// The connection, which will carry no requests any more. It counts until the lease is dropped.
    pub(super) fn take(&mut self) -> Option<Wire> {
        let wire = self.wire.take();
        self.taken |= wire.is_some();
        wire
    }

    /// The answer is complete and nothing is left over: another request may use it.
    pub(super) fn give_back(&mut self) {
        let Some(wire) = self.wire.take() else { return };
        let pool = self.endpoint.h1(self.worker);
        let mut state = pool.state.lock();
        state.busy = state.busy.saturating_sub(1);
        if state.shutdown {
            return;
        }
        let surplus = if state.idle.len() >= MAX_IDLE { state.idle.pop_front() } else { None };
        state.idle.push_back(Idle { wire, since: time::now() });
        let sweep = !std::mem::replace(&mut state.sweeping, true);
        pool.free(state);
        drop(surplus);
        if sweep {
            tasks::spawn("upstream sweep", sweep_until_empty(Arc::downgrade(&self.endpoint), self.worker));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let pool = self.endpoint.h1(self.worker);
        pool.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.wire.take().is_some() || self.taken {
            let mut state = pool.state.lock();
            state.busy = state.busy.saturating_sub(1);
            pool.free(state);
        }
    }
}

/// A connection of `worker` to `endpoint`: the one that waited last, or a new one. `fresh`: a new one.
///
/// # Errors
/// None can be made, or none may be. Dropping the future leaves nothing behind.
pub(super) async fn lease(endpoint: &Arc<Endpoint>, worker: WorkerId, fresh: bool) -> Result<Lease, NoWire> {
    match look(endpoint, worker, fresh) {
        Look::Over(ended) => ended,
        // Both are rare, and large: boxed, so that the future of every request stays small.
        Look::Connect => Box::pin(connect(endpoint, worker)).await,
        Look::Full => Box::pin(wait(endpoint, worker, fresh)).await,
    }
}

/// What one look at a pool comes to.
enum Look {
    Over(Result<Lease, NoWire>),
    Connect,
    Full,
}

fn look(endpoint: &Arc<Endpoint>, worker: WorkerId, fresh: bool) -> Look {
    match endpoint.h1(worker).way(fresh, endpoint.record(), endpoint.connect_timeout) {
        Way::Idle(wire) => Look::Over(Ok(Lease::new(endpoint, worker, wire, true))),
        Way::Down(error) => Look::Over(Err(NoWire::Down { error, dialled: false, known: true })),
        Way::Shutdown => Look::Over(Err(NoWire::Shutdown)),
        Way::Connect => Look::Connect,
        Way::Full => Look::Full,
    }
}

/// Waits in line for a connection.
async fn wait(endpoint: &Arc<Endpoint>, worker: WorkerId, fresh: bool) -> Result<Lease, NoWire> {
    let pool = endpoint.h1(worker);
    let waiting = Waiting::begin(pool)?;
    let latest = time::now() + MAX_WAIT;
    loop {
        let mut freed = pin!(pool.freed.notified());
        // In the queue before the look, so that no connection becomes free unseen in between.
        freed.as_mut().enable();
        match look(endpoint, worker, fresh) {
            Look::Over(ended) => return ended,
            Look::Connect => break,
            Look::Full => {
                let left = latest.saturating_duration_since(time::now());
                timeout(left, freed).await.map_err(|_| NoWire::Full)?;
            }
        }
    }
    drop(waiting);
    connect(endpoint, worker).await
}

/// Counts a request that waits.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn begin(pool: &'a Pool) -> Result<Self, NoWire> {
        let mut state = pool.state.lock();
        if state.waiting >= MAX_WAITING {
            return Err(NoWire::Full);
        }
        state.waiting += 1;
        Ok(Self(pool))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

async fn connect(endpoint: &Arc<Endpoint>, worker: WorkerId) -> Result<Lease, NoWire> {
    let begun = time::now();
    let mut dialling = Dialling { endpoint: Some(endpoint), worker, begun };
    let attempt = endpoint.dial(endpoint.tls_http1(), endpoint.connect_timeout);
    let connected = match timeout(endpoint.connect_timeout, attempt).await {
        Ok(connected) => connected,
        Err(_) if !endpoint.is_resolved() => Err(DialError::Unresolved),
        Err(_) => Err(DialError::TimedOut),
    };
    dialling.endpoint = None;
    match connected {
        Ok(stream) => {
            endpoint.series.connected(worker, time::now().saturating_duration_since(begun));
            endpoint.h1(worker).connected(endpoint.record());
            Ok(Lease::new(endpoint, worker, Wire::new(stream), false))
        }
        Err(error) => {
            tracing::debug!(endpoint = %endpoint.name(), %error, "connecting failed");
            let (error, known) = endpoint.h1(worker).failed(error, endpoint.record());
            Err(NoWire::Down { error, dialled: true, known })
        }
    }
}

/// A connect that has lasted this long when its request gives up says that nobody answers.
const LONG: Duration = Duration::from_millis(250);

/// Says that nobody is connecting any more, if the request is dropped meanwhile; otherwise nobody would try again.
struct Dialling<'a> {
    endpoint: Option<&'a Arc<Endpoint>>,
    worker: WorkerId,
    begun: Instant,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        let Some(endpoint) = self.endpoint else { return };
        let pool = endpoint.h1(self.worker);
        if time::now().saturating_duration_since(self.begun) >= LONG {
            let _known = pool.failed(DialError::TimedOut, endpoint.record());
        } else {
            pool.abandoned(endpoint.record());
        }
    }
}

/// Closes what has waited too long or was closed by the backend, for as long as anything waits.
async fn sweep_until_empty(endpoint: Weak<Endpoint>, worker: WorkerId) {
    loop {
        sleep(SWEEP).await;
        let Some(endpoint) = endpoint.upgrade() else { return };
        let pool = endpoint.h1(worker);
        let mut state = pool.state.lock();
        let now = time::now();
        let mut gone = Vec::new();
        // The oldest come first.
        let mut surplus = state.idle.len().saturating_sub(pool.limits.min);
        for mut idle in std::mem::take(&mut state.idle) {
            let waited = now.saturating_duration_since(idle.since);
            let is_old = waited > MAX_IDLE_TIME || (surplus > 0 && waited > SWEEP);
            surplus = surplus.saturating_sub(1);
            if is_old || !idle.wire.is_fresh() {
                gone.push(idle);
            } else {
                state.idle.push_back(idle);
            }
        }
        state.sweeping = !state.idle.is_empty();
        let ends = !state.sweeping;
        drop(state);
        drop(gone);
        if ends {
            return;
        }
    }
}
