//! What a new configuration does to the listeners, worked out and bound before anything changes.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use super::control::Entry;
use super::drain::Lane;
use super::inherit::{InheritError, Inherited};
use super::listener::{Listener, Live};
use super::worker::{Start, WorkerState};
use super::{BindOptions, ListenError, Settings, accept};

/// How long the connections of a listener that is gone may last, unless the plan is told.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What [`Control::apply`](super::Control::apply) will do. Dropping it closes what was bound for it.
#[derive(Debug)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) drain_timeout: Duration,
    changes: ListenerChanges,
}

/// One listener of the new configuration.
pub(super) enum Step {
    /// It stays as it is.
    Keep(Arc<Listener>),
    /// It stays where it is; new connections see this.
    Change(Arc<Listener>, Arc<Live>),
    /// It is served from now on.
    Open(Entry, Vec<Start>),
}

/// What has become of the listeners, by name. One that moves to another address is in `changed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerChanges {
    /// New ones.
    pub added: Vec<Arc<str>>,
    /// Those that are no longer there; their connections drain.
    pub removed: Vec<Arc<str>>,
    /// Those with other settings, another certificate or another address.
    pub changed: Vec<Arc<str>>,
}

impl ListenerChanges {
    /// Nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Plan {
    /// Compares `settings` with the `present` listeners, loads certificates and binds what is new.
    pub(super) fn new(
        settings: Vec<Settings>,
        present: &[Entry],
        workers: &[Arc<WorkerState>],
        options: &BindOptions,
        inherited: &Inherited,
    ) -> Result<Self, ListenError> {
        if let Some(stuck) = workers.iter().find(|worker| !worker.has_room()) {
            return Err(ListenError::Stuck { worker: stuck.id.index() });
        }
        // Those whose address becomes free: their sockets go to whoever has that address now.
        let is_kept = |entry: &Entry| settings.iter().any(|settings| entry.is_for(settings));
        let leaving: Vec<&Entry> = present.iter().filter(|entry| !is_kept(entry)).collect();
        let mut changes = ListenerChanges::default();
        let mut steps = Vec::with_capacity(settings.len());
        let shares = inherited.share_out(&settings).map_err(InheritError::Share)?;
        for (settings, inherited) in settings.into_iter().zip(shares) {
            let name = Arc::clone(&settings.name);
            let known = present.iter().find(|entry| entry.listener.name == name);
            let before = known.map(|entry| entry.listener.live());
            let stays = known.filter(|entry| entry.is_for(&settings));
            let directory = options.certificate_directory.as_deref();
            let live = Live::load(settings, directory, before.as_deref())
                .map_err(|source| ListenError::Certificate { listener: Arc::clone(&name), source: Box::new(source) })?;
            let step = match (stays, before) {
                (Some(entry), Some(before)) if before.is_same(&live) => Step::Keep(Arc::clone(&entry.listener)),
                (Some(entry), _) => Step::Change(Arc::clone(&entry.listener), live),
                (None, _) => open(live, inherited, &leaving, workers, options)?,
            };
            match (&step, known) {
                (Step::Keep(_), _) => {}
                (Step::Open(..), None) => changes.added.push(name),
                (Step::Change(..) | Step::Open(..), _) => changes.changed.push(name),
            }
            steps.push(step);
        }
        let gone = leaving.iter().map(|entry| &entry.listener.name).filter(|name| !changes.changed.contains(name));
        changes.removed = gone.cloned().collect();
        Ok(Self { steps, drain_timeout: DRAIN_TIMEOUT, changes })
    }

    /// What will be different.
    #[must_use]
    pub fn changes(&self) -> &ListenerChanges {
        &self.changes
    }

    /// How long the connections of listeners that are gone may last before they are cut.
    #[must_use]
    pub fn drain_within(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }
}

/// A listener at an address that it did not have before.
fn open(
    live: Arc<Live>,
    inherited: Vec<TcpListener>,
    leaving: &[&Entry],
    workers: &[Arc<WorkerState>],
    options: &BindOptions,
) -> Result<Step, ListenError> {
    let name = Arc::clone(&live.settings.name);
    let address = live.settings.address;
    let failed = |source: std::io::Error| {
        let listener = Arc::clone(&name);
        match source.kind() {
            std::io::ErrorKind::AddrInUse => ListenError::Taken { listener, address },
            _ => ListenError::Bind { listener, address, source },
        }
    };
    let sockets = match inherited {
        none if none.is_empty() => sockets(address, leaving, workers.len(), options).map_err(failed)?,
        inherited => inherited,
    };
    let local = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
    let listener = Listener::new(live, local, &options.telemetry);
    let mut entry = Entry { listener, lanes: Vec::with_capacity(workers.len()), sockets };
    let mut starts = Vec::with_capacity(workers.len());
    for (worker, sockets) in workers.iter().zip(deal(&entry.sockets, workers.len()).map_err(failed)?) {
        let lane = Lane::new(Arc::clone(&entry.listener), Arc::clone(worker));
        entry.lanes.push(Arc::clone(&lane));
        starts.push(Start { lane, sockets });
    }
    Ok(Step::Open(entry, starts))
}

fn sockets(
    address: SocketAddr,
    leaving: &[&Entry],
    workers: usize,
    options: &BindOptions,
) -> std::io::Result<Vec<TcpListener>> {
    let fixed = address.port() != 0;
    // The same sockets under another name: nothing is bound, and no connection in their queues is lost.
    if let Some(before) = leaving.iter().find(|entry| fixed && entry.listener.local == address) {
        return before.sockets.iter().map(TcpListener::try_clone).collect();
    }
    // From `0.0.0.0:80` to `127.0.0.1:80`, say: it is ours that has the port.
    let ours = leaving.iter().any(|entry| fixed && entry.listener.local.port() == address.port());
    accept::bind(address, workers, options.share_ports || ours)
}

/// Shares out `sockets` such that each worker has one at least and each socket has a worker: connections wait in the
/// queue of one socket, and nobody else would take them from there.
fn deal(sockets: &[TcpListener], workers: usize) -> std::io::Result<Vec<Vec<TcpListener>>> {
    let shares = (0..workers).map(|worker| {
        let own = sockets.iter().skip(worker).step_by(workers.max(1)).map(TcpListener::try_clone);
        let mut own = own.collect::<std::io::Result<Vec<_>>>()?;
        if own.is_empty()
            && let Some(shared) = sockets.get(worker % sockets.len().max(1))
        {
            own.push(shared.try_clone()?);
        }
        Ok(own)
    });
    shares.collect()
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, listener) = match self {
            Self::Keep(listener) => ("Keep", listener),
            Self::Change(listener, _) => ("Change", listener),
            Self::Open(entry, _) => ("Open", &entry.listener),
        };
        f.debug_tuple(what).field(&listener.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn each_worker_has_a_socket_and_each_socket_a_worker() {
        let bound: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |socket: &TcpListener| socket.local_addr().unwrap().port();
        for (sockets, workers) in [(1, 1), (1, 4), (4, 1), (3, 2), (2, 3), (4, 4)] {
            let shares = deal(&bound[..sockets], workers).unwrap();
            assert_eq!(shares.len(), workers);
            assert!(shares.iter().all(|share| !share.is_empty()), "{sockets} {workers}");
            let mut served: Vec<_> = shares.iter().flatten().map(port).collect();
            served.sort_unstable();
            served.dedup();
            let mut all: Vec<_> = bound[..sockets].iter().map(port).collect();
            all.sort_unstable();
            assert_eq!(served, all, "{sockets} sockets on {workers} workers");
            assert!(shares.iter().flatten().all(|share| bound.iter().all(|own| own.as_raw_fd() != share.as_raw_fd())));
        }
    }
}
