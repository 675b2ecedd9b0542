//! Where the process stands between start and end: what readiness still waits for, whether it drains, which
//! configuration is in force and how reloads went.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::time;

/// Shared by the whole process; read by the health paths and by drain.
#[derive(Debug)]
pub struct Lifecycle {
    started: Instant,
    draining: AtomicBool,
    in_force: Mutex<InForce>,
    /// At most one entry per listener and service of the configuration.
    pending: Mutex<BTreeSet<String>>,
}

/// The configuration that is in force.
#[derive(Debug)]
struct InForce {
    hash: Arc<str>,
    loaded_at_ms: u64,
    last_reload: ReloadResult,
}

/// How a reload ended. The words are an interface: metrics and the health path use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// What was read is what is in force.
    Unchanged,
    /// Another configuration is in force.
    Applied,
    /// It has problems.
    Rejected,
    /// It is good, and changes what only a new process can.
    NeedsRestart,
}

impl ReloadResult {
    /// In the order of the metric.
    pub const ALL: [Self; 4] = [Self::Unchanged, Self::Applied, Self::Rejected, Self::NeedsRestart];

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::NeedsRestart => "needs_restart",
        }
    }

    /// What is in force is what is wanted.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Unchanged | Self::Applied)
    }
}

impl Lifecycle {
    /// A process that has just started and is ready.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: time::now(),
            draining: AtomicBool::new(false),
            in_force: Mutex::new(InForce {
                hash: "".into(),
                loaded_at_ms: time::unix_ms(),
                last_reload: ReloadResult::Applied,
            }),
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

    /// What readiness waits for, in no order; empty when ready.
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

    /// Readiness waits for nothing any more that `keep` does not want.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.pending.lock().retain(|what| keep(what));
    }

    /// Another configuration is in force from now on.
    pub fn put_in_force(&self, hash: &Arc<str>) {
        let mut in_force = self.in_force.lock();
        in_force.hash = Arc::clone(hash);
        in_force.loaded_at_ms = time::unix_ms();
    }

    /// A reload has ended.
    pub fn reloaded(&self, result: ReloadResult) {
        self.in_force.lock().last_reload = result;
    }

    /// The hash of the configuration in force; empty before there is one.
    #[must_use]
    pub fn config_hash(&self) -> Arc<str> {
        Arc::clone(&self.in_force.lock().hash)
    }

    /// `ok`, or what was wrong with the last reload: `rejected`, `needs_restart`.
    #[must_use]
    pub fn last_reload(&self) -> &'static str {
        let last = self.in_force.lock().last_reload;
        if last.is_success() { "ok" } else { last.word() }
    }

    /// When the configuration in force was loaded, RFC 3339.
    #[must_use]
    pub fn loaded_at(&self) -> String {
        time::rfc3339(self.in_force.lock().loaded_at_ms)
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}
