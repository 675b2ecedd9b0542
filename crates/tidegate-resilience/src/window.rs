//! A sliding window of successes and failures, shared by all cores.
//!
//! The window is ten buckets of equal length: the one that time stands in and the nine before it. A bucket is one
//! atomic word: two counts and the turn of the ring that they belong to. So a bucket that has gone round is emptied by
//! the first result that enters it, in the same step as that result is counted: nothing is lost, nothing is counted
//! twice, and there is neither a lock nor a sweep.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::nanos::{Nanos, nanoseconds};
use crate::outcome::Outcome;

/// Buckets of a window.
const BUCKETS: usize = 10;
const RING: u64 = 10;

/// Bits of a count in a bucket.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// The turns that fit into the rest of the word: five years of windows of ten seconds. A bucket that nothing entered for
/// that long, up to [`AHEAD_MAX`] windows less, is taken for one that somebody else has just begun.
const TURNS: u64 = 1 << (64 - 2 * COUNT_BITS);

/// By how many turns a bucket may be ahead of a thread whose clock is behind.
const AHEAD_MAX: u64 = 255;

/// Counts of the last while.
///
/// Recording is one load and one exchange of a word that all cores share. Has a cache line or two of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct Window {
    bucket_ns: u64,
    buckets: [AtomicU64; BUCKETS],
}

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Good results.
    pub successes: u64,
    /// Bad results.
    pub failures: u64,
}

impl Counts {
    /// Results of both kinds.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.successes.saturating_add(self.failures)
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            successes: self.successes.saturating_add(other.successes),
            failures: self.failures.saturating_add(other.failures),
        }
    }
}

impl Window {
    /// An empty window of that length; it moves on by a tenth at a time, at least by a nanosecond.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        let bucket_ns = (nanoseconds(length) / RING).max(1);
        Self { bucket_ns, buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    /// Counts one result.
    ///
    /// Exact up to a million results of one outcome in a tenth of the window; beyond that both counts of the tenth are
    /// halved, which keeps their ratio. A `now` that is at most 255 windows behind those of other threads is as good.
    pub fn record(&self, now: Nanos, outcome: Outcome) {
        let place = self.place(now);
        // Whoever loses the race for the word tries again: somebody else has got on.
        let _ = place.word.fetch_update(Relaxed, Relaxed, |word| Some(place.current(word).counted(outcome)));
    }

    /// Counts one result if the window allows it, as it was before.
    ///
    /// Decision and count are one step for everybody whose clock stands in the same tenth. Reads all ten buckets.
    pub fn record_if(&self, now: Nanos, outcome: Outcome, allows: impl Fn(Counts) -> bool) -> bool {
        let place = self.place(now);
        let decide = |word: u64| {
            let bucket = place.current(word);
            let others = self.sum(place.tick, Some(place.index));
            allows(others.plus(bucket.counts())).then(|| bucket.counted(outcome))
        };
        place.word.fetch_update(Relaxed, Relaxed, decide).is_ok()
    }

    /// What the window holds at `now`.
    #[must_use]
    pub fn counts(&self, now: Nanos) -> Counts {
        self.sum(now.get() / self.bucket_ns, None)
    }

    /// Forgets everything. A result that another thread records at the same moment may stay.
    pub fn clear(&self) {
        for word in &self.buckets {
            word.store(0, Relaxed);
        }
    }

    fn place(&self, now: Nanos) -> Place<'_> {
        let tick = now.get() / self.bucket_ns;
        let index = usize::try_from(tick % RING).unwrap_or(0);
        // The remainder of a division by ten is below ten.
        let word = self.buckets.get(index).unwrap_or(&self.buckets[0]);
        Place { tick, index, word }
    }

    /// The counts of all buckets that belong to the window which ends with `tick`, but for one.
    fn sum(&self, tick: u64, except: Option<usize>) -> Counts {
        let mut counts = Counts::default();
        for (slot, (index, word)) in (0..RING).zip(self.buckets.iter().enumerate()) {
            // How many ticks ago this slot's turn was, if time has come that far.
            let age = (tick + RING - slot) % RING;
            if except == Some(index) || age > tick {
                continue;
            }
            let bucket = Bucket(word.load(Relaxed));
            if bucket.is_of((tick - age) / RING) {
                counts = counts.plus(bucket.counts());
            }
        }
        counts
    }
}

/// Where a moment is counted.
struct Place<'w> {
    tick: u64,
    index: usize,
    word: &'w AtomicU64,
}

impl Place<'_> {
    /// What `word` holds for this moment: itself, or nothing if it is from an earlier turn.
    fn current(&self, word: u64) -> Bucket {
        let turn = self.tick / RING;
        let bucket = Bucket(word);
        if bucket.is_of(turn) { bucket } else { Bucket::empty(turn) }
    }
}

/// From the top: turn, successes, failures.
#[derive(Clone, Copy)]
struct Bucket(u64);

impl Bucket {
    const fn empty(turn: u64) -> Self {
        Self((turn % TURNS) << (2 * COUNT_BITS))
    }

    const fn counts(self) -> Counts {
        Counts { successes: (self.0 >> COUNT_BITS) & COUNT_MAX, failures: self.0 & COUNT_MAX }
    }

    /// Whether this is of that turn, or of a later one by somebody whose clock is ahead.
    const fn is_of(self, turn: u64) -> bool {
        let own = self.0 >> (2 * COUNT_BITS);
        own.wrapping_sub(turn) % TURNS <= AHEAD_MAX
    }

    /// The word with one result more.
    const fn counted(self, outcome: Outcome) -> u64 {
        let mut word = self.0;
        let counts = self.counts();
        if counts.successes == COUNT_MAX || counts.failures == COUNT_MAX {
            let turn = word >> (2 * COUNT_BITS) << (2 * COUNT_BITS);
            word = turn | ((counts.successes / 2) << COUNT_BITS) | (counts.failures / 2);
        }
        match outcome {
            Outcome::Success => word + (1 << COUNT_BITS),
            Outcome::Failure => word + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Nanos {
        Nanos::after_start(Duration::from_secs(seconds))
    }

    /// Every result with its moment; the window is the current tenth and the nine before it.
    #[derive(Default)]
    struct Model(Vec<(u64, Outcome)>);

    impl Model {
        fn counts(&self, now: u64) -> Counts {
            let inside = |at: u64| at / 1000 <= now / 1000 && now / 1000 - at / 1000 < 10;
            let count = |outcome| self.0.iter().filter(|(at, other)| *other == outcome && inside(*at)).count();
            Counts {
                successes: u64::try_from(count(Outcome::Success)).unwrap(),
                failures: u64::try_from(count(Outcome::Failure)).unwrap(),
            }
        }
    }

    fn step() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0..50_u64, 4 => 0..3_000_u64, 1 => 0..30_000_u64]
    }

    proptest! {
        #[test]
        fn the_window_counts_as_a_list_of_all_results_does(
            start in prop_oneof![Just(0_u64), 0..100_000_u64, Just((TURNS - 300) * 10_000)],
            steps in prop::collection::vec((step(), any::<bool>()), 0..200),
        ) {
            let window = Window::new(Duration::from_millis(10_000));
            let mut model = Model::default();
            let mut now = start;
            let first_round = (0..10).map(|_| (1000, true));
            for (step, success) in first_round.chain(steps) {
                now += step;
                let outcome = if success { Outcome::Success } else { Outcome::Failure };
                window.record(Nanos::new(now * 1_000_000), outcome);
                model.0.push((now, outcome));
                prop_assert_eq!(window.counts(Nanos::new(now * 1_000_000)), model.counts(now));
                let later = now + step / 2;
                prop_assert_eq!(window.counts(Nanos::new(later * 1_000_000)), model.counts(later));
            }
        }
    }

    #[test]
    fn results_of_a_thread_whose_clock_is_behind_are_counted() {
        let window = Window::new(LENGTH);
        window.record(seconds(25), Outcome::Failure);
        window.record(seconds(14), Outcome::Success);
        window.record(seconds(15), Outcome::Success);
        assert_eq!(window.counts(seconds(15)), Counts { successes: 2, failures: 1 });
        assert_eq!(window.counts(seconds(25)), Counts { successes: 1, failures: 1 }, "25 s and 15 s share a bucket");
        window.clear();
        assert_eq!(window.counts(seconds(25)).total(), 0);
    }

    #[test]
    fn a_full_bucket_keeps_the_ratio() {
        let full = Bucket(Bucket::empty(3).0 | (COUNT_MAX << COUNT_BITS) | 1000);
        let next = Bucket(full.counted(Outcome::Failure));
        assert_eq!(next.counts(), Counts { successes: COUNT_MAX / 2, failures: 501 });
        assert!(next.is_of(3));
    }

    #[test]
    fn a_count_with_a_condition_stops_where_the_condition_does() {
        let window = Window::new(LENGTH);
        for second in 0..10 {
            assert!(window.record_if(seconds(second), Outcome::Failure, |counts| counts.failures < 10));
        }
        assert!(!window.record_if(seconds(9), Outcome::Failure, |counts| counts.failures < 10));
        assert!(window.record_if(seconds(10), Outcome::Failure, |counts| counts.failures < 10));
        assert!(!window.record_if(seconds(10), Outcome::Failure, |counts| counts.failures < 10));
    }
}
