//! How listeners end: stop accepting, let running requests finish, cut what is left.
//!
//! ```text
//!   Serving ──drain()──▶ Draining ──cut()──▶ Cut
//! ```
//! A connection registers for a change once and then looks at an atomic whenever it is polled, so that being ready
//! to drain costs a request nothing.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::ids::WorkerId;

use super::date::DateCache;

const SERVING: u8 = 0;
const DRAINING: u8 = 1;
const CUT: u8 = 2;

/// The listeners of one worker as seen by its connections. Aligned, so that workers do not share its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct WorkerState {
    pub(super) id: WorkerId,
    pub(super) date: DateCache,
    stage: AtomicU8,
    changed: Notify,
    /// The last connection has gone while draining.
    empty: Notify,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl WorkerState {
    fn new(id: WorkerId) -> Self {
        Self {
            id,
            date: DateCache::new(),
            stage: AtomicU8::new(SERVING),
            changed: Notify::new(),
            empty: Notify::new(),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        }
    }

    /// No new connections, and no further request on the present ones.
    pub(super) fn is_draining(&self) -> bool {
        self.stage.load(Ordering::Relaxed) != SERVING
    }

    fn set(&self, stage: u8) {
        self.stage.fetch_max(stage, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_closed(&self) {
        if self.connections.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_draining() {
            self.empty.notify_one();
        }
    }

    pub(super) fn request_begun(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request_ended(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits for the end of serving.
    pub(super) async fn draining(&self) {
        let mut changed = pin!(self.changed.notified());
        changed.as_mut().enable();
        if !self.is_draining() {
            changed.await;
        }
    }

    /// Waits until no connection is left. To be called while draining.
    pub(super) async fn emptied(&self) {
        while self.connections.load(Ordering::SeqCst) > 0 {
            self.empty.notified().await;
        }
    }

    /// Runs `connection` to its end or until everything is cut, and polls it once at each change of stage.
    pub(super) async fn run_until_cut(&self, mut connection: Pin<&mut impl Future<Output = ()>>) {
        let mut changed = pin!(self.changed.notified());
        let mut registered_in = None;
        poll_fn(|cx| {
            let stage = self.stage.load(Ordering::SeqCst);
            if stage == CUT {
                return Poll::Ready(());
            }
            if registered_in != Some(stage) {
                // A notification has been used up, or this is the first time. The stage is read once more at the next
                // poll, which a change between the two lines causes.
                registered_in = Some(stage);
                register(changed.as_mut(), &self.changed, cx);
            }
            connection.as_mut().poll(cx)
        })
        .await;
    }
}

/// Waits for the next change with the task's own waker.
fn register<'a>(mut changed: Pin<&mut Notified<'a>>, notify: &'a Notify, cx: &mut std::task::Context<'_>) {
    while changed.as_mut().poll(cx).is_ready() {
        changed.set(notify.notified());
    }
}

/// Ends and observes all listeners of the process. Cheap to share.
#[derive(Debug)]
pub struct Control {
    workers: Vec<Arc<WorkerState>>,
}

impl Control {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        let count = u16::try_from(workers.max(1)).unwrap_or(u16::MAX);
        Arc::new(Self { workers: (0..count).map(|index| Arc::new(WorkerState::new(WorkerId::new(index)))).collect() })
    }

    pub(super) fn worker(&self, index: usize) -> Option<&Arc<WorkerState>> {
        self.workers.get(index)
    }

    /// Stops accepting after the accept queues have been emptied, closes idle connections, and tells the others to
    /// close after what they are doing: `Connection: close`, GOAWAY in two steps. May be called again.
    pub fn drain(&self) {
        self.workers.iter().for_each(|worker| worker.set(DRAINING));
    }

    /// Drops every connection with the requests on it.
    pub fn cut(&self) {
        self.workers.iter().for_each(|worker| worker.set(CUT));
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.connections.load(Ordering::Relaxed)).sum()
    }

    /// Requests that are being answered now, bodies included.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.workers.iter().map(|worker| worker.requests.load(Ordering::Relaxed)).sum()
    }
}
