//! Where the process stands between start and end: what readiness still waits for, and whether it drains.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::time;

/// Shared by the whole process; read by the health paths and by drain.
#[derive(Debug)]
pub struct Lifecycle {
    started: Instant,
    loaded_at_ms: u64,
    draining: AtomicBool,
    /// At most one entry per listener and service of the configuration.
    pending: Mutex<BTreeSet<String>>,
}

impl Lifecycle {
    /// A process that has just started and is ready.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: time::now(),
            loaded_at_ms: time::unix_ms(),
            draining: AtomicBool::new(false),
            pending: Mutex::new(BTreeSet::new()),
        }
    }

    /// Readiness waits for `what`, for example `descriptors:order-service`, until [`Lifecycle::settle`].
    pub fn wait_for(&self, what: &str) {
        self.pending.lock().insert(what.to_owned());
    }

    /// `what` is there.
    pub fn settle(&self, what: &str) {
        self.pending.lock().remove(what);
    }

    /// What readiness waits for, sorted; empty when ready.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        let mut pending: Vec<String> = self.pending.lock().iter().cloned().collect();
        if self.is_draining() {
            pending.push("draining".to_owned());
        }
        pending
    }

    /// Readiness fails from now on.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The process is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whole seconds since the start.
    #[must_use]
    pub fn uptime_s(&self) -> u64 {
        time::now().saturating_duration_since(self.started).as_secs()
    }

    /// When the configuration was loaded, RFC 3339.
    #[must_use]
    pub fn loaded_at(&self) -> String {
        time::rfc3339(self.loaded_at_ms)
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}
