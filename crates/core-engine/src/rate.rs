//! How many a second: a count for each of the last sixty seconds.

use jiff::Timestamp;

/// Seconds that are remembered.
const SECONDS: usize = 60;
/// The shorter of the two spans that are told.
const SHORT: usize = 10;

/// Counts by second. Takes half a kilobyte and no allocation for each count.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    counts: [u64; SECONDS],
    /// The second of the newest count, since 1970.
    newest: i64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { counts: [0; SECONDS], newest: 0 }
    }
}

impl Rate {
    /// Counts what came now. A clock that goes back counts for the newest second.
    pub(crate) fn add(&mut self, now: Timestamp, count: u64) {
        let second = now.as_second().max(self.newest);
        if second != self.newest {
            self.forget(second);
        }
        if let Some(place) = self.counts.get_mut(place(second)) {
            *place = place.saturating_add(count);
        }
    }

    /// Per second over the last ten seconds and over the last minute, without the one that is not over yet.
    pub(crate) fn per_second(&self, now: Timestamp) -> (f64, f64) {
        let mut known = self.clone();
        let second = now.as_second().max(known.newest);
        if second != known.newest {
            known.forget(second);
        }
        let sum = |seconds: usize| -> u64 {
            (1..=seconds)
                .filter_map(|back| known.counts.get(place(second - i64::try_from(back).unwrap_or(i64::MAX))))
                .fold(0, |sum: u64, count| sum.saturating_add(*count))
        };
        // The minute has sixty places, and one of them is the second that is not over.
        let (short, long) = (sum(SHORT), sum(SECONDS - 1));
        (short as f64 / SHORT as f64, long as f64 / (SECONDS - 1) as f64)
    }

    fn forget(&mut self, second: i64) {
        let passed = usize::try_from(second - self.newest).unwrap_or(SECONDS).min(SECONDS);
        for back in 0..passed {
            if let Some(place) = self.counts.get_mut(place(second - i64::try_from(back).unwrap_or(0))) {
                *place = 0;
            }
        }
        self.newest = second;
    }
}

fn place(second: i64) -> usize {
    usize::try_from(second.rem_euclid(60)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn a_rate_follows_what_came_and_fades() {
        let mut rate = Rate::default();
        (0..10).for_each(|second| rate.add(at(second), 100));
        assert_eq!(rate.per_second(at(10)), (100.0, 1_000.0 / 59.0));
        assert_eq!(rate.per_second(at(15)), (50.0, 1_000.0 / 59.0));
        assert_eq!(rate.per_second(at(300)), (0.0, 0.0));
        // The clock goes back.
        rate.add(at(3), 5);
        assert_eq!(rate.per_second(at(10)).0, 100.5);
        rate.add(at(200), 7);
        assert_eq!(rate.per_second(at(201)), (0.7, 7.0 / 59.0));
    }
}
