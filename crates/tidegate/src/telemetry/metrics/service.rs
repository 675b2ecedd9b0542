//! What attempts at the backends of one service came to, and how its descriptors are kept up to date.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_transcode::Code;

use crate::ids::{PerWorker, WorkerId};
use crate::reject::Reason;

use super::budget::{Admission, Budget};
use super::histogram::Histogram;
use super::table::DURATIONS;

/// gRPC status codes.
const CODES: usize = 17;

/// What asking a backend for its descriptors came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaRefresh {
    /// They are the known ones.
    Unchanged,
    /// New ones serve now.
    Applied,
    /// New ones do not fit the routes.
    Rejected,
    /// The backend did not answer, or not with descriptors.
    Failed,
}

impl SchemaRefresh {
    pub(super) const WORDS: [&'static str; 4] = ["unchanged", "applied", "rejected", "failed"];
}

/// What an attempt at an HTTP backend came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpOutcome {
    /// An answer with this status.
    Status(u16),
    /// None, or not the whole of one.
    Failed(Reason),
}

/// What a circuit breaker has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerTurn {
    /// Lets everything through.
    Closed,
    /// Lets a few requests through.
    HalfOpen,
    /// Refuses everything.
    Open,
}

impl BreakerTurn {
    pub(super) const WORDS: [&'static str; 3] = ["closed", "half_open", "open"];
}

/// Why an endpoint gets no requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    /// It failed too often in a row.
    ConsecutiveErrors,
    /// Checks of its health failed.
    HealthCheck,
}

impl Ejection {
    pub(super) const WORDS: [&'static str; 2] = ["consecutive_errors", "health_check"];
}

/// What has to be admitted before it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Code(usize),
    Http(HttpOutcome),
    Requests,
    Connects,
    Refresh(usize),
    Turn(usize),
    Ejection(usize),
    Retried(usize),
    Hedged(usize),
    BudgetExhausted,
    Tunnels,
}

/// The numbers of one worker, or the sum of all.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// By number of the code.
    pub(super) codes: [u64; CODES],
    /// A list, because a service answers with few different statuses.
    pub(super) outcomes: Vec<(HttpOutcome, u64)>,
    pub(super) requests: Histogram<14>,
    pub(super) connects: Histogram<14>,
}

/// Counts of what is rare.
pub(super) struct Rare {
    pub(super) turns: Vec<u64>,
    pub(super) ejections: Vec<u64>,
    pub(super) retried: Vec<u64>,
    pub(super) hedged: Vec<u64>,
    pub(super) budget_exhausted: u64,
}

/// Different outcomes of one service: all statuses and all reasons there are.
const MAX_OUTCOMES: usize = 600;

impl Cells {
    fn count(&mut self, outcome: HttpOutcome, more: u64) {
        if let Some((_, count)) = self.outcomes.iter_mut().find(|(known, _)| *known == outcome) {
            *count += more;
        } else if self.outcomes.len() < MAX_OUTCOMES {
            self.outcomes.push((outcome, more));
        }
    }
}

/// Series of one service; lives as long as the service is in the configuration, across reloads.
#[derive(Debug)]
pub struct ServiceSeries {
    pub(super) name: Arc<str>,
    workers: PerWorker<Mutex<Option<Box<Cells>>>>,
    refreshes: [AtomicU64; 4],
    /// In the order of [`BreakerTurn::WORDS`].
    turns: [AtomicU64; 3],
    /// In the order of [`Ejection::WORDS`].
    ejections: [AtomicU64; 2],
    /// Requests that were retried, and then recovered or failed.
    retried: [AtomicU64; 2],
    /// Requests that were hedged, and whose answer was that of a later attempt or not.
    hedged: [AtomicU64; 2],
    budget_exhausted: AtomicU64,
    /// Tunnels that have begun, and that have ended.
    tunnels: [AtomicU64; 2],
    admission: Admission<Key>,
}

/// A tunnel that is open until this is dropped.
#[derive(Debug)]
pub struct OpenTunnel(Arc<ServiceSeries>);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let [_, ended] = &self.0.tunnels;
        ended.fetch_add(1, Ordering::Release);
    }
}

impl ServiceSeries {
    pub(super) fn new(name: Arc<str>, slots: usize, budget: Arc<Budget>) -> Self {
        let workers = PerWorker::new(slots, |_| Mutex::new(None));
        Self {
            name,
            workers,
            refreshes: Default::default(),
            turns: Default::default(),
            ejections: Default::default(),
            retried: Default::default(),
            hedged: Default::default(),
            budget_exhausted: AtomicU64::new(0),
            tunnels: Default::default(),
            admission: Admission::new(budget),
        }
    }

    /// Counts an attempt that has ended; `duration` is from sending to the end of the answer.
    pub fn attempted(&self, worker: WorkerId, code: Code, duration: Duration) {
        let mut slot = self.workers.get(worker).lock();
        let cells = slot.get_or_insert_default();
        if let Some(count) = cells.codes.get_mut(usize::from(code.number())) {
            *count += 1;
        }
        cells.requests.observe(DURATIONS, duration, None);
    }

    /// The same for an HTTP backend.
    pub fn attempted_http(&self, worker: WorkerId, outcome: HttpOutcome, duration: Duration) {
        let mut slot = self.workers.get(worker).lock();
        let cells = slot.get_or_insert_default();
        cells.count(outcome, 1);
        cells.requests.observe(DURATIONS, duration, None);
    }

    /// Counts a connection that was made, and how long that took.
    pub fn connected(&self, worker: WorkerId, duration: Duration) {
        let mut slot = self.workers.get(worker).lock();
        slot.get_or_insert_default().connects.observe(DURATIONS, duration, None);
    }

    /// Counts that descriptors were asked for.
    pub fn schema_refreshed(&self, result: SchemaRefresh) {
        let [unchanged, applied, rejected, failed] = &self.refreshes;
        let cell = match result {
            SchemaRefresh::Unchanged => unchanged,
            SchemaRefresh::Applied => applied,
            SchemaRefresh::Rejected => rejected,
            SchemaRefresh::Failed => failed,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that the circuit breaker has changed.
    pub fn breaker_turned(&self, to: BreakerTurn) {
        let [closed, half_open, open] = &self.turns;
        let cell = match to {
            BreakerTurn::Closed => closed,
            BreakerTurn::HalfOpen => half_open,
            BreakerTurn::Open => open,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that an endpoint is left out.
    pub fn ejected(&self, cause: Ejection) {
        let [errors, checks] = &self.ejections;
        let cell = match cause {
            Ejection::ConsecutiveErrors => errors,
            Ejection::HealthCheck => checks,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was sent more than once.
    pub fn retried(&self, recovered: bool) {
        let [good, bad] = &self.retried;
        (if recovered { good } else { bad }).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was sent to another endpoint beside the first one.
    pub fn hedged(&self, won: bool) {
        let [good, bad] = &self.hedged;
        (if won { good } else { bad }).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that the budget allowed no retry.
    pub fn budget_exhausted(&self) {
        self.budget_exhausted.fetch_add(1, Ordering::Relaxed);
    }

    /// A client and a backend have been joined.
    #[must_use]
    pub fn tunnel(self: &Arc<Self>) -> OpenTunnel {
        let [begun, _] = &self.tunnels;
        begun.fetch_add(1, Ordering::Relaxed);
        OpenTunnel(Arc::clone(self))
    }

    /// Tunnels that are open; `None` if there was never one.
    pub(super) fn tunnels(&self) -> Option<u64> {
        // The ends first, so that what is open is never taken for less than it is.
        let [begun, ended] = &self.tunnels;
        let ended = ended.load(Ordering::Acquire);
        let begun = begun.load(Ordering::Acquire);
        (begun > 0).then(|| begun.saturating_sub(ended))
    }

    /// Everything that is rare, as key, the last label, and count.
    pub(super) fn rare(&self) -> Rare {
        let load = |cells: &[AtomicU64]| cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        Rare {
            turns: load(&self.turns),
            ejections: load(&self.ejections),
            retried: load(&self.retried),
            hedged: load(&self.hedged),
            budget_exhausted: self.budget_exhausted.load(Ordering::Relaxed),
        }
    }

    /// The sum over all workers.
    pub(super) fn sum(&self) -> Cells {
        let mut sum = Cells::default();
        for slot in self.workers.iter() {
            if let Some(cells) = &*slot.lock() {
                for (count, more) in sum.codes.iter_mut().zip(cells.codes) {
                    *count += more;
                }
                for (outcome, more) in &cells.outcomes {
                    sum.count(*outcome, *more);
                }
                sum.requests.add(&cells.requests);
                sum.connects.add(&cells.connects);
            }
        }
        sum
    }

    /// In the order of [`SchemaRefresh::WORDS`].
    pub(super) fn refreshes(&self) -> impl Iterator<Item = u64> {
        self.refreshes.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// Whether what had an event may be shown. Asked at each scrape and not at the event: there are few of these series,
    /// and their cells are there anyway.
    pub(super) fn admit(&self, key: Key) -> bool {
        let series = match key {
            Key::Code(_)
            | Key::Http(_)
            | Key::Refresh(_)
            | Key::Turn(_)
            | Key::Ejection(_)
            | Key::Retried(_)
            | Key::Hedged(_)
            | Key::BudgetExhausted
            | Key::Tunnels => 1,
            Key::Requests | Key::Connects => Histogram::<14>::SERIES,
        };
        self.admission.admit(key, series)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.workers.iter().all(|slot| slot.lock().is_none()) && self.refreshes().all(|count| count == 0)
    }
}
