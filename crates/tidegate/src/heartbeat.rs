//! The sign of life of the data plane: each worker's loop notes that it turns, and the others read it.
//!
//! Liveness is this and nothing else. A loop that is stuck answers nobody, so its own listener cannot say so; every
//! other worker and the admin listener can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::ids::{PerWorker, WorkerId};
use crate::time;

/// Between two beats. Four a second cost nothing that could be measured.
const INTERVAL: Duration = Duration::from_millis(250);

/// A loop that has not turned for so long does not serve.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// See the module. One slot for each worker.
#[derive(Debug)]
pub struct Heartbeat {
    begun: Instant,
    /// Milliseconds from `begun` to the last beat.
    beats: PerWorker<AtomicU64>,
}

impl Heartbeat {
    /// The hearts of `workers`, which beat from this moment on.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { begun: time::now(), beats: PerWorker::new(workers, |_| AtomicU64::new(0)) })
    }

    /// Beats for `worker`, on whose runtime this must run, until it is dropped. `lag` hears how much later than asked
    /// for the loop came round.
    pub async fn beat(self: Arc<Self>, worker: WorkerId, lag: impl Fn(Duration)) {
        let mut due = time::now();
        loop {
            due += INTERVAL;
            tokio::time::sleep_until(due.into()).await;
            let now = time::now();
            lag(now.saturating_duration_since(due));
            // A loop that was stuck does not make up for the beats that it has missed.
            due = due.max(now);
            self.beats.get(worker).store(self.milliseconds(now), Ordering::Relaxed);
        }
    }

    /// `worker` has ended as it should; nobody waits for its beats any more.
    pub fn rest(&self, worker: WorkerId) {
        self.beats.get(worker).store(u64::MAX, Ordering::Relaxed);
    }

    /// How long the loop that is furthest behind has not turned.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let last = self.beats.iter().map(|beat| beat.load(Ordering::Relaxed)).min().unwrap_or(0);
        Duration::from_millis(self.milliseconds(time::now()).saturating_sub(last))
    }

    /// All loops turn.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.silence() < STUCK_AFTER
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    #[tokio::test(start_paused = true)]
    async fn one_stuck_loop_is_enough_to_be_dead() {
        let heart = Heartbeat::new(2);
        let first = tasks::spawn("first", Arc::clone(&heart).beat(WorkerId::new(0), |_| {}));
        let second = tasks::spawn("second", Arc::clone(&heart).beat(WorkerId::new(1), |_| {}));
        tokio::time::sleep(STUCK_AFTER * 2).await;
        assert!(heart.is_alive(), "both turn");
        second.abort();
        tokio::time::sleep(STUCK_AFTER * 2).await;
        assert!(!heart.is_alive(), "the second does not turn, though the first does");
        first.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn loops_that_have_just_begun_are_alive() {
        assert!(Heartbeat::new(2).is_alive());
    }
}
