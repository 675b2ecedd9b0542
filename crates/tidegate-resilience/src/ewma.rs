//! Peak EWMA: what an endpoint costs, by its latency and by what it already has to do.
//!
//! The average follows a worse latency at once and a better one slowly, and forgets with time, so that an endpoint
//! that was slow is tried again. The weight of the past is e^(−t / decay) for the time t since the last step, so the
//! average does not depend on how often it is fed.
//!
//! Source: the load metric of Finagle's `PeakEwma` balancer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::nanos::{Nanos, nanoseconds};

/// Bits of a nanosecond time stamp that are dropped: one step is about a millisecond (1.05 ms). In a step the average
/// changes only for the worse after its first latency, so most latencies of a busy endpoint cost no write.
const STEP_BITS: u32 = 20;

/// By how many steps the clock of a thread may be behind: a second. More is taken for time that has passed.
const BEHIND_MAX: u32 = 1000;

/// What one request in flight costs at an endpoint of which nothing is known yet: more than any latency. So a new
/// endpoint gets one request at once, and the next when that one is answered.
const UNKNOWN: u64 = 1 << 40;

/// The moving latency of one endpoint, shared by all cores: one atomic word.
#[derive(Debug)]
pub struct PeakEwma {
    decay_steps: f32,
    /// Above: the step of the last change, modulo 2^32, which lasts 52 days. Below: the average in nanoseconds as the
    /// bits of an `f32`; 0 is unknown.
    word: AtomicU64,
}

impl PeakEwma {
    /// Nothing is known yet. After `decay` without a latency, 37 % of the average are left; at least a millisecond.
    #[must_use]
    pub fn new(decay: Duration) -> Self {
        let steps = (nanoseconds(decay) >> STEP_BITS).max(1);
        Self { decay_steps: float(steps), word: AtomicU64::new(0) }
    }

    /// Takes in the latency of one attempt.
    ///
    /// Failures should be told with the time that they would have cost a client, not with the one in which they came
    /// to be: an endpoint that fails fast must not look attractive. One load, and an exchange if anything changes.
    pub fn observe(&self, latency: Duration, now: Nanos) {
        let latency = float(nanoseconds(latency)).max(1.0);
        // Whoever loses the race for the word tries again: somebody else has got on.
        let _ = self.word.fetch_update(Relaxed, Relaxed, |word| {
            let Average { step, nanos } = Average::from(word);
            let elapsed = elapsed(step, now);
            if latency >= nanos {
                return Some(Average { step: step.wrapping_add(elapsed), nanos: latency }.into());
            }
            if elapsed == 0 {
                return None;
            }
            let past = self.past(elapsed);
            let nanos = nanos * past + latency * (1.0 - past);
            Some(Average { step: step.wrapping_add(elapsed), nanos }.into())
        });
    }

    /// The average in nanoseconds as it stands at `now`, or `None` if there was no latency yet.
    #[must_use]
    pub fn latency_ns(&self, now: Nanos) -> Option<u64> {
        let Average { step, nanos } = Average::from(self.word.load(Relaxed));
        if nanos <= 0.0 {
            return None;
        }
        let elapsed = elapsed(step, now);
        let nanos = if elapsed == 0 { nanos } else { nanos * self.past(elapsed) };
        // Something known is never free of charge.
        Some(whole(nanos).max(1))
    }

    /// What one more request would cost: the average times the requests that it would share the endpoint with, itself
    /// included, in nanoseconds. Unknown and idle is 0. One load, and an exponential if a step has passed.
    #[must_use]
    pub fn cost(&self, in_flight: u32, now: Nanos) -> u64 {
        let Some(latency) = self.latency_ns(now) else {
            return UNKNOWN.saturating_mul(u64::from(in_flight));
        };
        latency.saturating_mul(u64::from(in_flight) + 1)
    }

    /// The weight of the past after so many steps.
    fn past(&self, steps: u32) -> f32 {
        (-float(u64::from(steps)) / self.decay_steps).exp()
    }
}

/// Steps from then to now; none if the clock of this thread is behind.
fn elapsed(step: u32, now: Nanos) -> u32 {
    let elapsed = current_step(now).wrapping_sub(step);
    if elapsed > u32::MAX - BEHIND_MAX { 0 } else { elapsed }
}

#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32")]
const fn current_step(now: Nanos) -> u32 {
    (now.get() >> STEP_BITS) as u32
}

#[expect(clippy::cast_precision_loss, reason = "24 bits are more than a latency has")]
const fn float(nanos: u64) -> f32 {
    nanos as f32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float ends at the bounds")]
const fn whole(nanos: f32) -> u64 {
    nanos as u64
}

/// The word, taken apart.
struct Average {
    step: u32,
    nanos: f32,
}

impl From<u64> for Average {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn from(word: u64) -> Self {
        Self { step: (word >> 32) as u32, nanos: f32::from_bits(word as u32) }
    }
}

impl From<Average> for u64 {
    fn from(average: Average) -> Self {
        Self::from(average.step) << 32 | Self::from(average.nanos.to_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at(ms: u64) -> Nanos {
        Nanos::new(ms << STEP_BITS)
    }

    fn latency_ms(ewma: &PeakEwma, now: u64) -> f64 {
        ewma.latency_ns(at(now)).unwrap() as f64 / 1e6
    }

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let ewma = PeakEwma::new(DECAY);
        ewma.observe(ms(10), at(0));
        ewma.observe(ms(500), at(1));
        assert!((latency_ms(&ewma, 1) - 500.0).abs() < 0.01);
        ewma.observe(ms(10), at(2));
        assert!((499.0..500.0).contains(&latency_ms(&ewma, 2)));
        // Fed with ten milliseconds for a whole decay time, it is near 10 + 490 / e.
        (3..9537).for_each(|step| ewma.observe(ms(10), at(step)));
        assert!((latency_ms(&ewma, 9536) - 190.3).abs() < 1.0, "{}", latency_ms(&ewma, 9536));
    }

    #[test]
    fn without_requests_it_forgets() {
        let ewma = PeakEwma::new(DECAY);
        ewma.observe(ms(1000), at(0));
        assert!((latency_ms(&ewma, 9536) - 367.9).abs() < 1.0);
        assert_eq!(ewma.latency_ns(at(1_000_000)), Some(1));
    }

    #[test]
    fn cost_grows_with_what_is_in_flight_and_unknown_endpoints_are_tried_once() {
        let ewma = PeakEwma::new(DECAY);
        assert_eq!(ewma.cost(0, at(0)), 0);
        assert!(ewma.cost(1, at(0)) > nanoseconds(ms(1_000_000)));
        ewma.observe(ms(2), at(0));
        assert_eq!((ewma.cost(0, at(0)), ewma.cost(4, at(0))), (2_000_000, 10_000_000));
        assert_eq!(PeakEwma::new(Duration::ZERO).cost(u32::MAX, at(0)), u64::MAX);
    }

    #[test]
    fn a_thread_whose_clock_is_behind_does_no_harm() {
        let ewma = PeakEwma::new(DECAY);
        ewma.observe(ms(8), at(100));
        ewma.observe(ms(2), at(90));
        assert_eq!(ewma.latency_ns(at(80)), Some(8_000_000));
        ewma.observe(Duration::MAX, at(90));
        assert!(ewma.cost(u32::MAX, at(90)) > 1 << 60);
        ewma.observe(ms(2), at(90 + (1 << 31)));
        assert_eq!(ewma.latency_ns(at(90 + (1 << 31))), Some(2_000_000), "26 days later");
    }

    proptest! {
        /// The same in `f64` and without packing.
        #[test]
        fn it_follows_the_formula(steps in prop::collection::vec((0..5_000_u64, 1..10_000_u64), 1..100)) {
            let ewma = PeakEwma::new(DECAY);
            let decay = (10_000_000_000_u64 >> STEP_BITS) as f64;
            let (mut now, mut model, mut last) = (0, 0.0_f64, 0);
            for (step, latency_us) in steps {
                now += step;
                let latency = latency_us as f64 * 1000.0;
                let past = (-((now - last) as f64) / decay).exp();
                model = if latency >= model { latency } else { model * past + latency * (1.0 - past) };
                last = now;
                ewma.observe(Duration::from_micros(latency_us), at(now));
                let got = ewma.latency_ns(at(now)).unwrap() as f64;
                prop_assert!((got - model).abs() <= model * 1e-3 + 2.0, "{} for {}", got, model);
            }
        }
    }
}
