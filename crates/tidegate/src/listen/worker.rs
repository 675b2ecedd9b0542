//! One worker's side of listening: takes up the lanes that it is given, at the start and later, until it is told that
//! there will be no more.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::ids::WorkerId;
use crate::overload::Overload;
use crate::tasks;

use super::accept::Descriptors;
use super::date::DateCache;
use super::drain::Lane;
use super::{Handle, accept};

/// Listeners that a worker has been given and has not taken up. A worker that turns takes them up at once; one that is
/// stuck gets no more.
const MAX_WAITING: usize = 1024;

/// What belongs to a worker, whatever it listens on. Aligned, so that workers do not share its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct WorkerState {
    pub(super) id: WorkerId,
    pub(super) date: DateCache,
    /// Of the whole process.
    pub(super) descriptors: Arc<Descriptors>,
    /// The same.
    pub(super) overload: Arc<Overload>,
    waiting: Mutex<Vec<Start>>,
    /// No more lanes will come.
    last: AtomicBool,
    changed: Notify,
}

/// A lane, and the sockets that feed it. At least one.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) lane: Arc<Lane>,
    pub(super) sockets: Vec<TcpListener>,
}

impl WorkerState {
    pub(super) fn new(id: WorkerId, descriptors: &Arc<Descriptors>, overload: &Arc<Overload>) -> Arc<Self> {
        Arc::new(Self {
            id,
            date: DateCache::new(),
            descriptors: Arc::clone(descriptors),
            overload: Arc::clone(overload),
            waiting: Mutex::new(Vec::new()),
            last: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Whether more lanes can be given.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.lock().len() < MAX_WAITING
    }

    /// Has the worker accept from `start`. The caller has asked [`WorkerState::has_room`].
    pub(super) fn give(&self, start: Start) {
        self.waiting.lock().push(start);
        self.changed.notify_one();
    }

    /// What was given is the last.
    pub(super) fn give_no_more(&self) {
        self.last.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }
}

/// The sockets of one worker.
pub struct WorkerListeners {
    worker: Arc<WorkerState>,
}

/// A lane that is being served.
struct Serving {
    lane: Arc<Lane>,
    loops: Vec<JoinHandle<()>>,
}

impl Serving {
    /// A loop waits for the connections of its lane, unless it panicked.
    fn is_going_on(&self) -> bool {
        self.lane.open_connections() > 0 || !self.loops.iter().all(JoinHandle::is_finished)
    }
}

impl WorkerListeners {
    pub(super) fn new(worker: Arc<WorkerState>) -> Self {
        Self { worker }
    }

    /// Serves until [`Control::drain`](super::Control::drain), and then until the last connection has gone or
    /// [`Control::cut`](super::Control::cut). Must run inside the worker's runtime.
    ///
    /// # Errors
    /// A socket of the start that cannot be registered with the runtime. Later ones are logged.
    pub async fn run<H: Handle>(self, handler: Arc<H>) -> std::io::Result<()> {
        let mut serving = Vec::new();
        for start in self.take() {
            serving.push(begin(start, &handler)?);
        }
        loop {
            // Read first: what was given before it is taken up below.
            let last = self.worker.last.load(Ordering::SeqCst);
            for start in self.take() {
                let lane = Arc::clone(&start.lane);
                match begin(start, &handler) {
                    Ok(begun) => serving.push(begun),
                    Err(error) => tracing::error!(listener = &*lane.listener.name, %error, "a worker cannot accept"),
                }
            }
            serving.retain(Serving::is_going_on);
            if last {
                break;
            }
            self.worker.changed.notified().await;
        }
        for Serving { lane, loops } in serving {
            for accepting in loops {
                // A panic has been counted and logged; the other listeners go on.
                let _ended = accepting.await;
            }
            lane.ended().await;
        }
        Ok(())
    }

    fn take(&self) -> Vec<Start> {
        std::mem::take(&mut *self.worker.waiting.lock())
    }
}

/// Accepts from all sockets of a lane.
fn begin<H: Handle>(start: Start, handler: &Arc<H>) -> std::io::Result<Serving> {
    let Start { lane, sockets } = start;
    let sockets: Vec<_> = sockets.into_iter().map(tokio::net::TcpListener::from_std).collect::<Result<_, _>>()?;
    lane.begin(sockets.len());
    let mut loops = Vec::with_capacity(sockets.len());
    for socket in sockets {
        loops.push(tasks::spawn("accept", accept::accept(socket, Arc::clone(&lane), Arc::clone(handler))));
    }
    Ok(Serving { lane, loops })
}

impl std::fmt::Debug for WorkerListeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerListeners").field("worker", &self.worker.id).finish_non_exhaustive()
    }
}
