//! The thread that writes. It alone touches the file; everybody else touches what waits, for a moment.
//!
//! ```text
//!            something waits, 500 ms passed, or a flush             committed
//!   waiting ─────────────────────────────────────────────► writing ───────────► waiting
//!      ▲                                                      │ failed: what was to be written waits again,
//!      └──────────── the file is opened again, later ◄────────┘ the error is counted
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

use super::disk::{Disk, Written};
use super::pending::{Pending, PendingCounts, PendingLimits};
use super::{StoreError, StoreLimits};
use crate::clock::Clock;

/// The longest time from a put to its commit, but for the commit itself.
pub(super) const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// Between commits that only take out what is too old.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);
/// After a failure; doubles with each one more.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Opens the file, at the start and after a failure.
pub(super) type Opener = Box<dyn Fn() -> Result<Disk, StoreError> + Send>;

/// Between the writer and everybody else.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: StoreLimits,
    pub(super) state: Mutex<State>,
    /// Something is to be done at once.
    pub(super) wake: Condvar,
    /// An attempt has ended.
    pub(super) done: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) pending: Pending,
    pub(super) pending_limits: PendingLimits,
    pub(super) counts: PendingCounts,
    pub(super) refused: u64,
    /// Puts so far, and up to which of them everything is durable.
    pub(super) puts: u64,
    pub(super) durable: u64,
    pub(super) flush: bool,
    pub(super) stop: bool,
    pub(super) stopped: bool,
    pub(super) tally: Tally,
}

/// What the writer did.
#[derive(Clone, Default, Debug)]
pub(super) struct Tally {
    pub(super) held: Written,
    pub(super) expired: u64,
    pub(super) commits: u64,
    pub(super) last_commit: Option<Timestamp>,
    pub(super) last_commit_took: Duration,
    pub(super) failures: u64,
    /// In a row.
    pub(super) failing: u32,
    pub(super) last_failure: Option<(Timestamp, String)>,
}

/// The writer's own.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) open: Opener,
    pub(super) disk: Option<Disk>,
}

impl Writer {
    /// Works until it is told to stop, and then writes what waits.
    pub(super) fn run(mut self) {
        let mut next = Instant::now() + COMMIT_INTERVAL;
        let mut next_retention = Instant::now();
        loop {
            let mut state = self.shared.state.lock();
            while !state.stop && !state.flush && !self.shared.wake.wait_until(&mut state, next).timed_out() {}
            let started = Instant::now();
            next = started + COMMIT_INTERVAL;
            if !state.stop && !state.flush && state.pending.is_empty() && started < next_retention {
                continue;
            }
            state.flush = false;
            let (pending, upto, stop) = (std::mem::take(&mut state.pending), state.puts, state.stop);
            drop(state);

            let outcome = self.attempt(&pending);
            let removed = outcome.as_ref().map_or(0, |written| written.expired);
            next_retention = started + if removed > 0 { COMMIT_INTERVAL } else { RETENTION_INTERVAL };
            if outcome.is_err() || stop {
                // After an error of the system, redb wants the file to be opened again.
                self.disk = None;
            }
            let mut state = self.shared.state.lock();
            state.settle(outcome, pending, upto, self.clock.now(), started.elapsed());
            next = started + state.tally.pause();
            state.stopped = stop;
            drop(state);
            self.shared.done.notify_all();
            if stop {
                return;
            }
        }
    }

    /// One commit. A panic in it counts as a failure: the store must not take the engine down.
    fn attempt(&mut self, pending: &Pending) -> Result<Written, String> {
        let work = || {
            if self.disk.is_none() {
                self.disk = Some((self.open)().map_err(|error| error.to_string())?);
            }
            let disk = self.disk.as_ref().ok_or("the file is not open")?;
            disk.write(pending, self.clock.now(), &self.shared.limits).map_err(|error| error.to_string())
        };
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the library of the store panicked".to_owned()))
    }
}

impl Tally {
    /// From one attempt to the next.
    fn pause(&self) -> Duration {
        match self.failing {
            0 => COMMIT_INTERVAL,
            failing => RETRY_MIN.saturating_mul(1 << failing.min(8)).min(RETRY_MAX),
        }
    }
}

impl State {
    fn settle(
        &mut self,
        outcome: Result<Written, String>,
        pending: Pending,
        upto: u64,
        now: Timestamp,
        took: Duration,
    ) {
        let tally = &mut self.tally;
        match outcome {
            Ok(written) => {
                if tally.failing > 0 {
                    tracing::info!("the store is written again");
                }
                self.durable = upto;
                tally.held = written;
                tally.expired = tally.expired.saturating_add(written.expired);
                tally.commits = tally.commits.saturating_add(1);
                (tally.last_commit, tally.last_commit_took, tally.failing) = (Some(now), took, 0);
            }
            Err(error) => {
                if tally.failing == 0 {
                    tracing::error!(%error, "the store cannot be written; the engine goes on without it and tries again");
                }
                tally.failures = tally.failures.saturating_add(1);
                tally.failing = tally.failing.saturating_add(1);
                tally.last_failure = Some((now, error));
                self.pending.put_back(pending, &self.pending_limits, &mut self.counts);
            }
        }
    }
}
