//! How listening ends: stop accepting, let running requests finish, cut what is left.
//!
//! ```text
//!   Serving ──drain──▶ Draining ──cut──▶ Cut
//! ```
//! The stage belongs to a [`Lane`], so that one listener can end while the others serve. A connection watches it ([`Watchers`]),
//! so that being ready to drain costs a request nothing but a look at an atomic.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ending::Ending;

use super::listener::Listener;
use super::watchers::Watchers;
use super::worker::WorkerState;

const SERVING: u8 = 0;
const DRAINING: u8 = 1;
const CUT: u8 = 2;

/// One listener on one worker, as its connections see it. Aligned, so that workers do not share its cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Lane {
    pub(super) listener: Arc<Listener>,
    pub(super) worker: Arc<WorkerState>,
    stage: AtomicU8,
    /// The worker takes connections from the sockets.
    accepting: AtomicBool,
    /// Sockets that are still accepted from, or whose queues are being emptied.
    loops: AtomicUsize,
    /// Nothing is accepted any more, and the last connection has gone.
    ended: AtomicBool,
    /// For the loops that accept.
    changed: Notify,
    /// The connections.
    watchers: Watchers,
    /// How often idle connections were asked to go.
    asked: AtomicUsize,
    /// The last connection has gone while draining.
    empty: Notify,
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// For streams, which would not end by themselves.
    pub(super) ending: Arc<Ending>,
    /// When a listener that was taken out of the configuration is cut.
    cut_at: Mutex<Option<Instant>>,
}

impl Lane {
    pub(super) fn new(listener: Arc<Listener>, worker: Arc<WorkerState>) -> Arc<Self> {
        Arc::new(Self {
            listener,
            worker,
            stage: AtomicU8::new(SERVING),
            accepting: AtomicBool::new(false),
            loops: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            changed: Notify::new(),
            watchers: Watchers::default(),
            asked: AtomicUsize::new(0),
            empty: Notify::new(),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            ending: Arc::default(),
            cut_at: Mutex::new(None),
        })
    }

    /// No new connections, and no further request on the present ones.
    pub(super) fn is_draining(&self) -> bool {
        self.stage.load(Ordering::Relaxed) != SERVING
    }

    /// Ends this lane; what is left at `cut_at` is cut, which is up to [`Lane::ended`]. Without a time it lasts until
    /// [`Lane::cut`].
    pub(super) fn drain(&self, cut_at: Option<Instant>) {
        if cut_at.is_some() {
            *self.cut_at.lock() = cut_at;
        }
        self.set(DRAINING);
    }

    /// Drops every connection with the requests on it.
    pub(super) fn cut(&self) {
        self.ending.cut();
        self.set(CUT);
    }

    /// Asks the connections that are idle now to go.
    pub(super) fn close_idle(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.watchers.wake();
    }

    /// How often idle connections were asked to go: who is idle when it changes goes.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn set(&self, stage: u8) {
        self.stage.fetch_max(stage, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.watchers.wake();
    }

    /// The worker has begun to accept from so many sockets.
    pub(super) fn begin(&self, sockets: usize) {
        self.loops.store(sockets, Ordering::SeqCst);
        self.accepting.store(true, Ordering::SeqCst);
    }

    /// Whether the worker has begun to accept.
    pub(super) fn has_begun(&self) -> bool {
        self.accepting.load(Ordering::SeqCst)
    }

    /// Whether nothing will come of this lane any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn open_connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn open_requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_closed(&self) {
        if self.connections.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_draining() {
            // One is stored for whoever comes late; more than one may wait, and each passes it on.
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
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_draining() {
                return;
            }
            changed.await;
        }
    }

    /// One of the sockets has given its last connection.
    pub(super) fn socket_emptied(&self) {
        self.loops.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until no connection is left, and cuts what is when the lane's own time has come. To be called while
    /// draining, after the last connection has been accepted.
    pub(super) async fn ended(&self) {
        let cut_at = *self.cut_at.lock();
        if let Some(cut_at) = cut_at
            && tokio::time::timeout_at(cut_at.into(), self.emptied()).await.is_err()
        {
            let (listener, left) = (&*self.listener.name, self.open_connections());
            tracing::warn!(listener, left, "the listener has drained for long enough: what is left is cut");
            self.cut();
        }
        self.emptied().await;
        // Another socket may still give connections; its own loop comes by here later.
        if self.loops.load(Ordering::SeqCst) == 0 {
            self.ended.store(true, Ordering::SeqCst);
        }
    }

    async fn emptied(&self) {
        while self.open_connections() > 0 {
            self.empty.notified().await;
        }
        self.empty.notify_one();
    }

    /// Runs `connection` to its end or until everything is cut, and polls it once at each change of stage and whenever
    /// idle connections are asked to go.
    pub(super) async fn run_until_cut(&self, mut connection: Pin<&mut impl Future<Output = ()>>) {
        let mut watch = self.watchers.watch();
        poll_fn(|cx| {
            watch.stay(cx);
            if self.stage.load(Ordering::SeqCst) == CUT { Poll::Ready(()) } else { connection.as_mut().poll(cx) }
        })
        .await;
    }
}
