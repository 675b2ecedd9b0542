//! What the control thread holds of the listeners: opens them, exchanges them, ends them, and tells what is open.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ending::Window;
use crate::ids::WorkerId;
use crate::time::{TICK, now};

use super::accept::Descriptors;
use super::connection::UNUSED_GRACE;
use super::drain::Lane;
use super::inherit::Inherited;
use super::listener::{Listener, ListenerView};
use super::plan::{ListenerChanges, Plan, Step};
use super::worker::{WorkerListeners, WorkerState};
use super::{BindOptions, ListenError, Settings};

/// Longer than connections that carry nothing are let be while draining ([`UNUSED_GRACE`]): what is still there is a
/// handshake, or a client of HTTP/2 that does not answer.
const QUIET_AFTER: Duration = UNUSED_GRACE.saturating_mul(2);

/// How long the last bytes of an answer may be on their way: a request has ended once they are handed over, and its
/// connection, which ends after them, may have a client that does not close.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// All listeners, bound and not yet served.
pub struct Listeners {
    /// The workers whose part has not been taken.
    untaken: Vec<Option<Arc<WorkerState>>>,
    control: Arc<Control>,
}

impl Listeners {
    /// Loads certificates and binds all sockets. Blocks on files; to be called before workers run.
    ///
    /// # Errors
    /// The first listener that cannot be opened; nothing stays bound then.
    pub fn bind(settings: Vec<Settings>, options: &BindOptions) -> Result<Self, ListenError> {
        let control = Control::new(options.clone());
        let state = control.state.lock();
        let plan = Plan::new(settings, &state.serving, &control.workers, &control.options, &options.inherited)?;
        drop(state);
        control.apply(plan);
        let untaken = control.workers.iter().cloned().map(Some).collect();
        Ok(Self { untaken, control })
    }

    /// Name and real address of each listener, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.control.listeners().into_iter().map(|view| (view.name, view.address)).collect()
    }

    /// Ends, exchanges and observes all listeners.
    #[must_use]
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// The part of `worker`. `None` if it was taken before or there is no such worker.
    pub fn take(&mut self, worker: WorkerId) -> Option<WorkerListeners> {
        self.untaken.get_mut(worker.index())?.take().map(WorkerListeners::new)
    }
}

/// A listener that is being served.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) listener: Arc<Listener>,
    /// One for each worker, in their order.
    pub(super) lanes: Vec<Arc<Lane>>,
    /// Those that the lanes accept from, to be handed on. The kernel stops listening when the last copy is closed.
    pub(super) sockets: Vec<TcpListener>,
}

/// A listening socket for another process.
#[derive(Debug)]
pub(super) struct HandedOver {
    /// Name of the listener.
    pub(super) name: Arc<str>,
    /// Its address in the configuration.
    pub(super) configured: SocketAddr,
    pub(super) socket: TcpListener,
}

impl Entry {
    /// Whether `settings` are for this very listener.
    pub(super) fn is_for(&self, settings: &Settings) -> bool {
        self.listener.name == settings.name && self.listener.configured == settings.address
    }
}

/// Exchanges, ends and observes all listeners of the process. Cheap to share.
#[derive(Debug)]
pub struct Control {
    options: BindOptions,
    workers: Vec<Arc<WorkerState>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of the configuration.
    serving: Vec<Entry>,
    /// Lanes of listeners that were taken out of the configuration. Each goes when it has ended, which has a deadline.
    leaving: Vec<Arc<Lane>>,
    /// Sockets of the service manager, for listeners that come back.
    passed: Inherited,
    /// What is handed over beside the listeners.
    others: Vec<HandedOver>,
    /// The process drains: nothing is opened any more.
    ending: bool,
}

impl State {
    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.serving.iter().flat_map(|entry| &entry.lanes).chain(&self.leaving)
    }
}

impl Control {
    pub(super) fn new(mut options: BindOptions) -> Arc<Self> {
        let count = u16::try_from(options.workers.max(1)).unwrap_or(u16::MAX);
        options.workers = usize::from(count);
        let passed = std::mem::take(&mut options.inherited).for_reloads();
        let descriptors = Arc::new(Descriptors::of_this_process());
        let workers =
            (0..count).map(|index| WorkerState::new(WorkerId::new(index), &descriptors, &options.overload)).collect();
        Arc::new(Self { options, workers, state: Mutex::new(State { passed, ..State::default() }) })
    }

    /// Has `listener` belong to the first worker.
    #[cfg(test)]
    pub(super) fn serve_without_sockets(&self, listener: &Arc<Listener>) -> Arc<Lane> {
        let lane = Lane::new(Arc::clone(listener), Arc::clone(&self.workers[0]));
        let entry = Entry { listener: Arc::clone(listener), lanes: vec![Arc::clone(&lane)], sockets: Vec::new() };
        self.state.lock().serving.push(entry);
        lane
    }

    /// Works out what `settings`, all listeners of a new configuration, would change; binds what is new and loads
    /// certificates. Changes nothing that serves; dropping the plan undoes it. Blocks on files. One plan at a time.
    ///
    /// # Errors
    /// The first listener that cannot be opened or has no usable certificate.
    pub fn plan(&self, settings: Vec<Settings>) -> Result<Plan, ListenError> {
        let state = self.state.lock();
        Plan::new(settings, &state.serving, &self.workers, &self.options, &state.passed)
    }

    /// Makes `plan` true. Cannot fail: new listeners are served, changed ones have their new settings and certificates
    /// for new connections, vanished ones drain. While the process drains nothing is changed.
    pub fn apply(&self, plan: Plan) -> ListenerChanges {
        let mut state = self.state.lock();
        if state.ending {
            return ListenerChanges::default();
        }
        let changes = plan.changes().clone();
        let mut before = std::mem::take(&mut state.serving);
        for step in plan.steps {
            let (kept, live) = match step {
                Step::Keep(listener) => (listener, None),
                Step::Change(listener, live) => (listener, Some(live)),
                Step::Open(entry, starts) => {
                    for start in starts {
                        let worker = Arc::clone(&start.lane.worker);
                        worker.give(start);
                    }
                    state.serving.push(entry);
                    continue;
                }
            };
            if let Some(live) = live {
                kept.exchange(live);
            }
            if let Some(index) = before.iter().position(|entry| Arc::ptr_eq(&entry.listener, &kept)) {
                state.serving.push(before.remove(index));
            }
        }
        state.leaving.retain(|lane| !lane.has_ended());
        let window = Window { from: now(), length: plan.drain_timeout };
        let cut_at = window.from + window.length;
        for Entry { lanes, .. } in before {
            for lane in &lanes {
                lane.drain(Some(cut_at));
                lane.ending.begin(window);
            }
            state.leaving.extend(lanes);
        }
        changes
    }

    /// Stops accepting after the accept queues have been emptied, tells connections to close after what they are doing
    /// (`Connection: close`, GOAWAY in two steps), and closes those that do nothing. May be called again.
    pub fn drain(&self) {
        let mut state = self.state.lock();
        state.ending = true;
        // The kernel must not queue connections for sockets that nobody accepts from.
        state.serving.iter_mut().for_each(|entry| entry.sockets.clear());
        state.others.clear();
        state.passed = Inherited::default();
        state.lanes().for_each(|lane| lane.drain(None));
        self.workers.iter().for_each(|worker| worker.give_no_more());
    }

    /// Closes the connections that carry no request now; those that have not carried one yet keep their time for it.
    pub fn close_idle(&self) {
        self.state.lock().lanes().for_each(|lane| lane.close_idle());
    }

    /// Tells running streams, after [`Control::drain`], that what is left after `length` will be cut. They end before.
    pub fn end_streams(&self, length: Duration) {
        let window = Window { from: now(), length };
        self.state.lock().lanes().for_each(|lane| lane.ending.begin(window));
    }

    /// Waits, after [`Control::drain`], until the last connection has gone; or until nothing has been answered, and nobody
    /// has had a reason to begin, for a while; at the latest until `deadline`.
    pub async fn drained(&self, deadline: Instant) {
        let mut quiet_from = now() + QUIET_AFTER;
        loop {
            {
                let state = self.state.lock();
                if state.lanes().all(|lane| lane.has_ended()) {
                    return;
                }
                if state.lanes().any(|lane| lane.open_requests() > 0) {
                    quiet_from = quiet_from.max(now() + LAST_BYTES);
                }
            }
            if now() >= quiet_from.min(deadline) {
                return;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Drops every connection with the requests on it, and ends accepting if nothing has yet.
    pub fn cut(&self) {
        self.drain();
        self.state.lock().lanes().for_each(|lane| lane.cut());
    }

    /// Whether every worker accepts from every listener.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        let state = self.state.lock();
        !state.ending && state.serving.iter().flat_map(|entry| &entry.lanes).all(|lane| lane.has_begun())
    }

    /// Has `socket`, which is none of the listeners', handed over with theirs; see [`Inherited::take`].
    pub fn hand_over_also(&self, name: &str, configured: SocketAddr, socket: TcpListener) {
        self.state.lock().others.push(HandedOver { name: name.into(), configured, socket });
    }

    /// Copies of all listening sockets, for another process. None while this one drains.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<HandedOver>> {
        let state = self.state.lock();
        let sockets = state.serving.iter().flat_map(|Entry { listener, sockets, .. }| {
            let (name, configured) = (&listener.name, listener.configured);
            sockets
                .iter()
                .map(move |socket| Ok(HandedOver { name: Arc::clone(name), configured, socket: socket.try_clone()? }))
        });
        let others = state.others.iter().map(|HandedOver { name, configured, socket }| {
            Ok(HandedOver { name: Arc::clone(name), configured: *configured, socket: socket.try_clone()? })
        });
        sockets.chain(others).collect()
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.state.lock().lanes().map(|lane| lane.open_connections()).sum()
    }

    /// Requests that are being answered now, bodies included.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.state.lock().lanes().map(|lane| lane.open_requests()).sum()
    }

    /// The listeners as they are now, in the order of the configuration; those that leave are not among them.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerView> {
        self.state.lock().serving.iter().map(|entry| entry.listener.view()).collect()
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.addresses()).finish()
    }
}
