//! What providers have decided, and how fetching their keys goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::reject::Reason;

/// Series of one provider; lives as long as the provider is in the configuration, across reloads.
#[derive(Debug)]
pub struct AuthSeries {
    pub(super) name: Arc<str>,
    allowed: AtomicU64,
    /// In the order of [`AuthSeries::REASONS`].
    denied: [AtomicU64; 6],
    /// Whether keys are fetched at all.
    fetches: AtomicBool,
    fetched: AtomicU64,
    failed: AtomicU64,
    last_success_unix_ms: AtomicU64,
}

impl AuthSeries {
    /// Why requests are denied.
    pub(super) const REASONS: [Reason; 6] = [
        Reason::AuthMissing,
        Reason::AuthInvalid,
        Reason::AuthExpired,
        Reason::Forbidden,
        Reason::BadRequest,
        Reason::ConnectFailed,
    ];

    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            allowed: AtomicU64::new(0),
            denied: Default::default(),
            fetches: AtomicBool::new(false),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_success_unix_ms: AtomicU64::new(0),
        }
    }

    /// A request was let in.
    pub fn allowed(&self) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused; without any credential it is counted at the first provider of its route.
    pub fn denied(&self, reason: Reason) {
        let cells = Self::REASONS.iter().zip(&self.denied);
        if let Some((_, cell)) = cells.into_iter().find(|(of, _)| **of == reason) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keys were fetched at `unix_ms`, or could not be.
    pub fn refreshed(&self, is_fresh: bool, unix_ms: u64) {
        self.fetches.store(true, Ordering::Relaxed);
        if is_fresh {
            self.fetched.fetch_add(1, Ordering::Relaxed);
            self.last_success_unix_ms.store(unix_ms, Ordering::Relaxed);
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn allowed_count(&self) -> u64 {
        self.allowed.load(Ordering::Relaxed)
    }

    /// Words of the reasons with their counts.
    pub(super) fn denied_counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::REASONS
            .iter()
            .map(|reason| reason.word())
            .zip(self.denied.iter().map(|cell| cell.load(Ordering::Relaxed)))
    }

    /// Successes and failures; `None` if nothing is ever fetched.
    pub(super) fn refreshes(&self) -> Option<[(&'static str, u64); 2]> {
        let count = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        self.fetches
            .load(Ordering::Relaxed)
            .then(|| [("success", count(&self.fetched)), ("failure", count(&self.failed))])
    }

    /// 0 if there was none.
    pub(super) fn last_success_unix_ms(&self) -> u64 {
        self.last_success_unix_ms.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.allowed_count() == 0
            && self.denied_counts().all(|(_, count)| count == 0)
            && !self.fetches.load(Ordering::Relaxed)
    }
}
