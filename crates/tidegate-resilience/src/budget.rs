//! The retry budget: how much load retries may add to a service.
//!
//! Retries are allowed while those of the last ten seconds are at most a part of the requests of the same time, plus
//! so many a second whatever happens. So a backend that fails everything sees a bounded multiple of its load, and a
//! service with hardly any requests can still retry.

use std::time::Duration;

use crate::nanos::Nanos;
use crate::outcome::Outcome;
use crate::ratio::Ratio;
use crate::window::Window;

/// What is looked back on.
const SPAN: Duration = Duration::from_secs(10);
const SPAN_SECONDS: u64 = 10;

/// How much may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Retries per request.
    pub ratio: Ratio,
    /// Retries per second that are always allowed, ten seconds' worth of them at once.
    pub min_per_second: u32,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { ratio: Ratio::percent(20), min_per_second: 10 }
    }
}

/// The retry budget of one service, shared by all cores.
#[derive(Debug)]
pub struct Budget {
    settings: BudgetSettings,
    /// Requests are its successes, retries its failures.
    window: Window,
}

impl Budget {
    /// A budget that has seen nothing yet.
    #[must_use]
    pub fn new(settings: BudgetSettings) -> Self {
        Self { settings, window: Window::new(SPAN) }
    }

    /// Counts a request: its first attempt, whatever comes of it.
    ///
    /// One load and one exchange; neither lock nor allocation.
    pub fn request(&self, now: Nanos) {
        self.window.record(now, Outcome::Success);
    }

    /// Takes one retry out of the budget, if there is one. It is not given back.
    ///
    /// Takes no lock. However many threads ask at once, together they get what is there.
    pub fn try_take(&self, now: Nanos) -> bool {
        let always = u64::from(self.settings.min_per_second).saturating_mul(SPAN_SECONDS);
        let ratio = self.settings.ratio;
        self.window.record_if(now, Outcome::Failure, |counts| {
            counts.failures < ratio.of(counts.successes).saturating_add(always)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Nanos {
        Nanos::new(ms * 1_000_000)
    }

    #[test]
    fn retries_stop_at_the_ratio_and_come_back_with_time() {
        let budget = Budget::new(BudgetSettings { ratio: Ratio::new(0.2), min_per_second: 0 });
        assert!(!budget.try_take(ms(0)));
        (0..10).for_each(|_| budget.request(ms(0)));
        assert!(budget.try_take(ms(500)) && budget.try_take(ms(9_999)));
        assert!(!budget.try_take(ms(9_999)));
        assert!(!budget.try_take(ms(10_000)), "the requests are gone as well");
    }

    #[test]
    fn some_retries_are_always_allowed() {
        let budget = Budget::new(BudgetSettings::default());
        assert_eq!((0..200).filter(|_| budget.try_take(ms(1))).count(), 100);
    }

    proptest! {
        /// The promise of the budget: over any time, retries ≤ ratio × requests + min_per_second × (time + 10 s).
        #[test]
        fn load_stays_within_the_promise(
            percent in 0..150_u32,
            min_per_second in 0..5_u32,
            steps in prop::collection::vec((0..400_u64, 0..4_u8), 1..400),
        ) {
            let budget = Budget::new(BudgetSettings { ratio: Ratio::percent(percent), min_per_second });
            let (mut now, mut requests, mut retries) = (0, Vec::<u64>::new(), Vec::<u64>::new());
            for (step, what) in steps {
                now += step;
                if what == 0 {
                    budget.request(ms(now));
                    requests.push(now);
                    continue;
                }
                let recent = |list: &[u64]| list.iter().filter(|at| now / 1000 - **at / 1000 < 10).count();
                let allowed = recent(&requests) * percent as usize / 100 + min_per_second as usize * 10;
                let taken = budget.try_take(ms(now));
                prop_assert_eq!(taken, recent(&retries) < allowed);
                retries.extend(taken.then_some(now));
            }
            let seconds = now.div_ceil(1000) as usize + 10;
            prop_assert!(retries.len() <= requests.len() * percent as usize / 100 + min_per_second as usize * seconds);
        }
    }
}
