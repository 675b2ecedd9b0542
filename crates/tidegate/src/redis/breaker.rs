//! When Redis is not asked: after three failures in a row for a second, then one question decides.
//!
//! Not the breaker of services: this one has no ratio and no growing pauses, and what probes is no request.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Failures in a row before nobody asks any more.
const FAILURES: u32 = 3;

/// How long nobody asks then, in nanoseconds.
const PAUSE_NS: u64 = 1_000_000_000;

/// See the module. Moments are nanoseconds since a start.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// Means something only after [`FAILURES`].
    ask_at: AtomicU64,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Ask.
    Call,
    /// Do without, and have somebody ask whether Redis is back.
    Probe,
    /// Do without.
    Refused,
}

impl Breaker {
    /// One load while nothing is wrong.
    pub(super) fn admit(&self, now: u64) -> Admission {
        if self.failures.load(Ordering::Relaxed) < FAILURES {
            return Admission::Call;
        }
        let ask_at = self.ask_at.load(Ordering::Relaxed);
        if now < ask_at {
            return Admission::Refused;
        }
        // Whoever moves the moment is the one that probes.
        let next = now.saturating_add(PAUSE_NS);
        match self.ask_at.compare_exchange(ask_at, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Admission::Probe,
            Err(_) => Admission::Refused,
        }
    }

    /// `true` if nobody was asking before.
    pub(super) fn succeeded(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0 && self.failures.swap(0, Ordering::Relaxed) >= FAILURES
    }

    /// `true` if this was the one too many.
    pub(super) fn failed(&self, now: u64) -> bool {
        let more = |failures: u32| Some(failures.saturating_add(1));
        let before = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).unwrap_or(FAILURES);
        if before.saturating_add(1) >= FAILURES {
            self.ask_at.store(now.saturating_add(PAUSE_NS), Ordering::Relaxed);
        }
        before.saturating_add(1) == FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn three_failures_in_a_row_stop_the_questions_for_a_second() {
        let breaker = Breaker::default();
        assert!(!breaker.failed(0) && !breaker.failed(0));
        assert!(!breaker.succeeded(), "nothing had stopped");
        assert!(!breaker.failed(0) && !breaker.failed(0));
        assert_eq!(breaker.admit(1), Admission::Call);
        assert!(breaker.failed(1));
        assert_eq!(breaker.admit(1), Admission::Refused);
        assert_eq!(breaker.admit(SECOND), Admission::Refused);
        assert_eq!(breaker.admit(SECOND + 1), Admission::Probe);
    }

    #[test]
    fn one_probes_at_a_time_and_decides() {
        let breaker = Breaker::default();
        assert_eq!([0; 3].map(|now| breaker.failed(now)), [false, false, true]);
        assert_eq!(breaker.admit(SECOND), Admission::Probe);
        assert_eq!(breaker.admit(SECOND), Admission::Refused);
        assert!(!breaker.failed(SECOND), "it had been too many already");
        assert_eq!(breaker.admit(2 * SECOND), Admission::Probe);
        assert!(breaker.succeeded());
        assert_eq!(breaker.admit(2 * SECOND), Admission::Call);
        assert!(!breaker.succeeded());
    }

    #[test]
    fn a_probe_that_never_ends_does_not_stay_the_last() {
        let breaker = Breaker::default();
        assert_eq!([0; 3].map(|now| breaker.failed(now)), [false, false, true]);
        assert_eq!(breaker.admit(SECOND), Admission::Probe);
        assert_eq!(breaker.admit(2 * SECOND), Admission::Probe);
    }
}
