//! How long answers took of late, as a distribution that can be asked for a percentile.
//!
//! Two windows of counts by duration: the one that is being filled and the one before. Buckets are a quarter of an octave
//! apart, so a percentile is right within a fifth.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::nanos::Nanos;

/// What is looked back on: at least this, at most twice as much.
const WINDOW_NANOS: u64 = 30_000_000_000;

/// Fewer answers say nothing of a percentile.
const MIN_ANSWERS: u64 = 50;

/// Buckets of an octave.
const STEPS: u32 = 4;

/// The first octave begins at 2^16 ns, 65 µs; below it nobody waits for anything.
const FIRST_OCTAVE: u32 = 16;

/// The last one ends at 2^37 ns, more than two minutes.
const OCTAVES: u32 = 21;

/// One more for all that is longer.
const BUCKETS: usize = (OCTAVES * STEPS) as usize + 1;

/// Durations of answers; see the module. Shared by all cores.
#[derive(Debug)]
pub struct Latencies {
    /// The number of the window that is being filled, counted from the start.
    current: AtomicU64,
    windows: [[AtomicU32; BUCKETS]; 2],
}

impl Default for Latencies {
    fn default() -> Self {
        Self { current: AtomicU64::new(0), windows: [(); 2].map(|()| [(); BUCKETS].map(|()| AtomicU32::new(0))) }
    }
}

impl Latencies {
    /// Counts an answer that took so long. Takes no lock; what two cores count while a window is begun anew may be lost.
    pub fn record(&self, now: Nanos, took: Duration) {
        let number = self.turn(now);
        if let Some(count) = self.window(number).get(bucket(took)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The duration that so many percent of the answers did not exceed; `None` if there were too few to tell. Reads some
    /// 170 counts.
    #[must_use]
    pub fn percentile(&self, now: Nanos, percent: u8) -> Option<Duration> {
        self.turn(now);
        let [one, other] = &self.windows;
        let counts = || {
            let both = one.iter().zip(other);
            both.map(|(one, other)| u64::from(one.load(Ordering::Relaxed)) + u64::from(other.load(Ordering::Relaxed)))
        };
        let all: u64 = counts().sum();
        if all < MIN_ANSWERS {
            return None;
        }
        let wanted = (all * u64::from(percent)).div_ceil(100);
        let mut seen = 0;
        let found = counts().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map(end_of)
    }

    fn window(&self, number: u64) -> &[AtomicU32; BUCKETS] {
        let [even, odd] = &self.windows;
        if number.is_multiple_of(2) { even } else { odd }
    }

    /// The number of the window of `now`, which is begun if nobody has done so.
    fn turn(&self, now: Nanos) -> u64 {
        let number = now.get() / WINDOW_NANOS;
        let before = self.current.load(Ordering::Relaxed);
        // Two clocks may disagree a little.
        if number <= before {
            return before;
        }
        if self.current.compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let forget =
                |window: &[AtomicU32; BUCKETS]| window.iter().for_each(|count| count.store(0, Ordering::Relaxed));
            forget(self.window(number));
            if number > before + 1 {
                forget(self.window(number + 1));
            }
        }
        number
    }
}

/// Where a duration is counted.
fn bucket(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let octave = nanos.checked_ilog2().unwrap_or(0);
    if octave < FIRST_OCTAVE {
        return 0;
    }
    let step = (nanos >> (octave - 2)) & 3;
    let place = usize::try_from((octave - FIRST_OCTAVE) * STEPS).unwrap_or(BUCKETS);
    place.saturating_add(usize::try_from(step).unwrap_or(0)).min(BUCKETS - 1)
}

/// What no duration in a bucket exceeds, but in the last one.
fn end_of(bucket: usize) -> Duration {
    let bucket = u32::try_from(bucket).unwrap_or(0) + 1;
    let (octave, step) = (FIRST_OCTAVE + bucket / STEPS, bucket % STEPS);
    Duration::from_nanos((1_u64 << octave) + (u64::from(step) << (octave - 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Nanos {
        Nanos::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_percentile_is_right_within_a_fifth() {
        let latencies = Latencies::default();
        for ms in 1..=1_000 {
            latencies.record(at(1), Duration::from_millis(ms));
        }
        for percent in [50, 90, 95, 99] {
            let exact = Duration::from_millis(10) * u32::from(percent);
            let told = latencies.percentile(at(1), percent).unwrap();
            assert!(told >= exact && told <= exact.mul_f64(1.25), "{percent}: {told:?} for {exact:?}");
        }
    }

    #[test]
    fn too_few_answers_say_nothing_and_old_ones_are_forgotten() {
        let latencies = Latencies::default();
        (0..49).for_each(|_| latencies.record(at(1), Duration::from_millis(5)));
        assert_eq!(latencies.percentile(at(1), 50), None);
        latencies.record(at(1), Duration::from_millis(5));
        assert!(latencies.percentile(at(1), 50).is_some());
        assert!(latencies.percentile(at(59), 50).is_some(), "the window before counts");
        assert_eq!(latencies.percentile(at(61), 50), None);
        (0..50).for_each(|_| latencies.record(at(61), Duration::from_millis(5)));
        assert_eq!(latencies.percentile(at(200), 50), None, "however long nothing came");
    }

    #[test]
    fn no_duration_is_beyond_the_buckets() {
        for took in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(10_000), Duration::MAX] {
            let latencies = Latencies::default();
            (0..50).for_each(|_| latencies.record(at(0), took));
            assert!(latencies.percentile(at(0), 99).is_some(), "{took:?}");
        }
        for nanos in [65_536_u64, 81_920, 100_000, 1_000_000, 999_999_999] {
            let end = end_of(bucket(Duration::from_nanos(nanos)));
            assert!(end > Duration::from_nanos(nanos) && end <= Duration::from_nanos(nanos + nanos / 4 + 1));
        }
    }
}
