//! Connections of one worker to one endpoint that wait for a request, newest first, and whether there can be any.
//!
//! After a failed connect the endpoint is down for a moment, during which requests fail at once; then one request tries
//! again for all. The lock is never held across an await. In `per_core` only its own worker takes it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::wire::Wire;
use crate::dial::DialError;
use crate::ids::WorkerId;
use crate::upstream::endpoint::{Endpoint, EndpointState};
use crate::upstream::resilience::Record;
use crate::{tasks, time};

/// Connections that wait, per worker and endpoint, at the most. Under load many wait for a moment, and closing those would
/// cost a handshake each.
const MAX_IDLE: usize = 1_024;

/// Connections that stay when the load has gone.
const KEPT_IDLE: usize = 64;

/// How long one waits. Backends close theirs after 60 to 75 s most often, and the first to close loses no request.
const MAX_IDLE_TIME: Duration = Duration::from_secs(55);

/// How often waiting connections are looked at. What has waited that long beyond [`KEPT_IDLE`] is closed.
const SWEEP: Duration = Duration::from_secs(5);

/// How long an endpoint is left alone after a failed connect. The longest bounds how late one that came up is noticed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));

/// See the module.
pub(in crate::upstream) struct Pool {
    state: Mutex<State>,
    in_flight: AtomicU32,
}

#[derive(Default)]
struct State {
    idle: VecDeque<Idle>,
    /// Connections that carry a request.
    busy: usize,
    connecting: usize,
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
    /// No stream became free in time.
    Full,
}

impl Pool {
    pub(in crate::upstream) fn new() -> Self {
        Self { state: Mutex::default(), in_flight: AtomicU32::new(0) }
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
        if let Some(down) = &mut state.down {
            if down.tried || time::now() < down.until {
                return Way::Down(Arc::clone(&down.error));
            }
            down.tried = true;
            record.is_down_until(Some(time::now() + connect_timeout));
        }
        state.connecting += 1;
        Way::Connect
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
        let mut state = self.endpoint.h1(self.worker).state.lock();
        state.busy = state.busy.saturating_sub(1);
        if state.shutdown {
            return;
        }
        let surplus = if state.idle.len() >= MAX_IDLE { state.idle.pop_front() } else { None };
        state.idle.push_back(Idle { wire, since: time::now() });
        let sweep = !std::mem::replace(&mut state.sweeping, true);
        drop(state);
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
        }
    }
}

/// A connection of `worker` to `endpoint`: the one that waited last, or a new one. `fresh`: a new one.
///
/// # Errors
/// None can be made, or none may be. Dropping the future leaves nothing behind.
pub(super) async fn lease(endpoint: &Arc<Endpoint>, worker: WorkerId, fresh: bool) -> Result<Lease, NoWire> {
    match endpoint.h1(worker).way(fresh, endpoint.record(), endpoint.connect_timeout) {
        Way::Idle(wire) => Ok(Lease::new(endpoint, worker, wire, true)),
        Way::Down(error) => Err(NoWire::Down { error, dialled: false, known: true }),
        Way::Shutdown => Err(NoWire::Shutdown),
        // Rare, and large: boxed, so that the future of every request stays small.
        Way::Connect => Box::pin(connect(endpoint, worker)).await,
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
        let mut state = endpoint.h1(worker).state.lock();
        let now = time::now();
        let mut gone = Vec::new();
        // The oldest come first.
        let mut surplus = state.idle.len().saturating_sub(KEPT_IDLE);
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
