//! What the limits of one name decided.
//!
//! Names come from the configuration, so there is no bound beside it: a client adds no series.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::{PerWorker, WorkerId};

/// What a limit said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitDecision {
    /// There is room, and the request took it.
    Allow,
    /// There is none, and the request was refused.
    Deny,
    /// There is none, and the limit has no say: `shadow: true`.
    WouldDeny,
}

/// Where a limit was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitCounter {
    /// In this process; also a limit of Redis while that does not answer.
    Local,
    /// In Redis.
    Redis,
}

pub(super) const DECISIONS: [&str; 3] = ["allow", "deny", "would_deny"];
pub(super) const STORES: [&str; 2] = ["local", "redis"];

/// Series of one name; survives reloads.
#[derive(Debug)]
pub struct LimitSeries {
    pub(super) name: Arc<str>,
    cells: PerWorker<[[AtomicU64; 3]; 2]>,
    store_errors: AtomicU64,
}

impl LimitSeries {
    pub(super) fn new(name: Arc<str>, slots: usize) -> Self {
        Self { name, cells: PerWorker::new(slots, |_| Default::default()), store_errors: AtomicU64::new(0) }
    }

    /// Counts a decision made on `worker`.
    pub fn decided(&self, worker: WorkerId, counter: LimitCounter, decision: LimitDecision) {
        let [local, redis] = self.cells.get(worker);
        let [allow, deny, would_deny] = match counter {
            LimitCounter::Local => local,
            LimitCounter::Redis => redis,
        };
        let cell = match decision {
            LimitDecision::Allow => allow,
            LimitDecision::Deny => deny,
            LimitDecision::WouldDeny => would_deny,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// Redis was needed and did not answer.
    pub fn store_failed(&self) {
        self.store_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// By store and decision.
    pub(super) fn sums(&self) -> [[u64; 3]; 2] {
        let mut sums = [[0; 3]; 2];
        for slot in self.cells.iter() {
            for (sum, cell) in sums.iter_mut().flatten().zip(slot.iter().flatten()) {
                *sum += cell.load(Ordering::Relaxed);
            }
        }
        sums
    }

    pub(super) fn store_errors(&self) -> u64 {
        self.store_errors.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.store_errors() == 0 && self.sums().iter().flatten().all(|count| *count == 0)
    }
}
