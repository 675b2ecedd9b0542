//! What became of the configuration each time that it was read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

pub use crate::lifecycle::ReloadResult as Reload;

/// Series of the configuration.
#[derive(Debug)]
pub struct ConfigSeries {
    reloads: [AtomicU64; 4],
    last_successful: AtomicBool,
    last_success_unix_ms: AtomicU64,
    hash: Mutex<Option<Arc<str>>>,
}

impl ConfigSeries {
    pub(super) fn new() -> Self {
        Self {
            reloads: Default::default(),
            last_successful: AtomicBool::new(true),
            last_success_unix_ms: AtomicU64::new(0),
            hash: Mutex::new(None),
        }
    }

    /// The configuration with this hash serves since `unix_ms`: at the start, and after each reload that was applied.
    pub fn serves(&self, hash: &Arc<str>, unix_ms: u64) {
        *self.hash.lock() = Some(Arc::clone(hash));
        self.last_success_unix_ms.store(unix_ms, Ordering::Relaxed);
        self.last_successful.store(true, Ordering::Relaxed);
    }

    /// Counts a reload, not the start.
    pub fn reloaded(&self, result: Reload, unix_ms: u64) {
        let [unchanged, applied, rejected, needs_restart] = &self.reloads;
        let cell = match result {
            Reload::Unchanged => unchanged,
            Reload::Applied => applied,
            Reload::Rejected => rejected,
            Reload::NeedsRestart => needs_restart,
        };
        cell.fetch_add(1, Ordering::Relaxed);
        self.last_successful.store(result.is_success(), Ordering::Relaxed);
        if result.is_success() {
            self.last_success_unix_ms.store(unix_ms, Ordering::Relaxed);
        }
    }

    /// In the order of [`Reload::ALL`].
    pub(super) fn reloads(&self) -> impl Iterator<Item = u64> {
        self.reloads.iter().map(|count| count.load(Ordering::Relaxed))
    }

    pub(super) fn last_successful(&self) -> bool {
        self.last_successful.load(Ordering::Relaxed)
    }

    /// 0 until a configuration serves.
    pub(super) fn last_success_unix_ms(&self) -> u64 {
        self.last_success_unix_ms.load(Ordering::Relaxed)
    }

    pub(super) fn hash(&self) -> Option<Arc<str>> {
        self.hash.lock().clone()
    }
}
