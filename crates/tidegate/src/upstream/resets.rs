//! Resets of streams to a backend, spread over time.
//!
//! A client that leaves takes its requests with it, and a hostile one begins hundreds to leave at once. Passed on as they
//! come, that many resets look like an attack of ours: what is built on the h2 crate (tonic, hyper) closes the connection at
//! the 21st stream that is reset before it was looked at, others count resets in a second, and the streams of everybody else
//! go with the connection. So a connection resets a few streams at once and then one after the other, those sooner that the
//! backend has certainly looked at; the rest run on until it is their turn, and what they bring is thrown away.
//!
//! Pure: the time is passed in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What each reset takes of the allowance, which grows with time: of a stream that the backend may not have looked at, and
/// of another.
const COST: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(20));

/// The most that can be saved up: ten streams that were not looked at, half of what the strictest backend that we know
/// takes; a hundred others.
const SAVED: Duration = Duration::from_secs(2);

/// The longest that a stream runs on for nobody.
const LONGEST: Duration = Duration::from_secs(2);

/// The resets of one connection.
#[derive(Debug)]
pub(super) struct Resets {
    begun: Instant,
    /// Until when the resets so far have spent what time brings, in nanoseconds after `begun`.
    spent: AtomicU64,
}

impl Resets {
    pub(super) fn new(begun: Instant) -> Self {
        Self { begun, spent: AtomicU64::new(0) }
    }

    /// When one more stream may be reset; `None`: at once. `looked_at`: the backend has seen more of it than bytes.
    pub(super) fn due(&self, looked_at: bool, now: Instant) -> Option<Instant> {
        let cost = nanos(if looked_at { COST.1 } else { COST.0 });
        let time = nanos(now.saturating_duration_since(self.begun));
        let wait = |spent: u64| (spent.max(time) + cost).saturating_sub(time + nanos(SAVED));
        // Beyond the longest wait there is nothing to give: all go when they have waited that long.
        let take = |spent: u64| (wait(spent) < nanos(LONGEST)).then(|| spent.max(time) + cost);
        let (Ok(spent) | Err(spent)) = self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let wait = Duration::from_nanos(wait(spent)).min(LONGEST);
        (!wait.is_zero()).then(|| now + wait)
    }
}

/// Five hundred years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each of `count` streams waits that are given up at the same time.
    fn waits(resets: &Resets, looked_at: bool, now: Instant, count: usize) -> Vec<Duration> {
        (0..count).map(|_| resets.due(looked_at, now).map_or(Duration::ZERO, |due| due - now)).collect()
    }

    #[test]
    fn a_few_streams_are_reset_at_once_and_then_one_after_the_other() {
        for (looked_at, at_once, pace) in [(false, 10, COST.0), (true, 100, COST.1)] {
            let begun = Instant::now();
            let resets = Resets::new(begun);
            let expected = [vec![Duration::ZERO; at_once], vec![pace, pace * 2, pace * 3]].concat();
            assert_eq!(waits(&resets, looked_at, begun, at_once + 3), expected);
            assert_eq!(
                waits(&resets, looked_at, begun + pace * 3, 2),
                [pace, pace * 2],
                "the turns of the others are kept"
            );
            let later = begun + Duration::from_secs(9);
            assert_eq!(
                waits(&resets, looked_at, later, at_once + 1),
                [vec![Duration::ZERO; at_once], vec![pace]].concat()
            );
        }
    }

    #[test]
    fn no_stream_runs_on_for_more_than_two_seconds() {
        let begun = Instant::now();
        let resets = Resets::new(begun);
        let all = waits(&resets, false, begun, 5_000);
        assert_eq!(all.iter().max(), Some(&LONGEST));
        assert_eq!(all.iter().filter(|wait| **wait < LONGEST).count(), 19);
        assert!(resets.due(false, begun + LONGEST * 2).is_none(), "those beyond it have taken no turns");
    }
}
