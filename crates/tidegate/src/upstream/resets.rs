//! Resets of streams to a backend, spread over time.
//!
//! A client that leaves takes its requests with it, and a hostile one begins hundreds to leave at once. Passed on as they
//! come, that many resets look like an attack of ours: what is built on the h2 crate (tonic, hyper) closes the connection at
//! the 21st stream that is reset before it was looked at, others count resets in a second, and the streams of everybody else
//! go with the connection. So a connection resets a few streams at once and then one after the other, those sooner that the
//! backend has certainly looked at; the rest run on until it is their turn, and what they bring is thrown away.
//!
//! These leftovers are open streams for the backend, so they could take the places of calls: hence at most half of the
//! streams that it allows are leftovers, and the next is reset at once. In between both harms are possible, and the bound
//! weighs them: a smaller share would end connections that a larger one saves, while places are not lost for calls anyway,
//! because leftovers count where it is decided whether another connection is needed, and go before their turn when a
//! call finds none (`h2_pool`).
//!
//! Pure: the time is passed in.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What each reset takes of the allowance, which grows with time: of a stream that the backend may not have looked at, and
/// of another.
const COST: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(20));

/// The most that can be saved up: ten streams that were not looked at, half of what the strictest backend that we know
/// takes; a hundred others.
const SAVED: Duration = Duration::from_secs(2);

/// The longest that a stream runs on for nobody.
const LONGEST: Duration = Duration::from_secs(2);

/// Of the streams that the backend allows at once, one in so many may run on for nobody.
const SHARE: u32 = 2;

/// The same where it allows any number: they take memory.
const MOST_LEFTOVERS: u32 = 500;

/// The last streams whose reset is counted are known, so that the two halves of an upload count once.
const REMEMBERED: usize = 64;

/// The resets of one connection.
#[derive(Debug)]
pub(super) struct Resets {
    begun: Instant,
    /// Until when the resets so far have spent what time brings, in nanoseconds after `begun`.
    spent: AtomicU64,
    /// Streams that run on for nobody.
    leftovers: AtomicU32,
    /// Numbers of streams, each in its place by remainder. One that another has taken the place of counts again, at worst.
    counted: [AtomicU32; REMEMBERED],
}

/// What becomes of a stream that nobody wants any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is reset at once.
    Now,
    /// It is a leftover until then, or until [`Resets::is_gone`].
    At(Instant),
    /// Its other half was told before, and sees to it.
    Counted,
}

impl Resets {
    pub(super) fn new(begun: Instant) -> Self {
        let counted = std::array::from_fn(|_| AtomicU32::new(0));
        Self { begun, spent: AtomicU64::new(0), leftovers: AtomicU32::new(0), counted }
    }

    /// When the stream with this `number`, which is not 0, may be reset. `looked_at`: the backend has seen more of it than
    /// bytes. `allowed`: how many streams the backend takes at once.
    pub(super) fn turn(&self, number: u32, looked_at: bool, allowed: u32, now: Instant) -> Turn {
        if self.is_counted(number) {
            return Turn::Counted;
        }
        match self.due(looked_at, now) {
            Some(due) if self.may_run_on(allowed) => Turn::At(due),
            Some(_) | None => Turn::Now,
        }
    }

    /// A leftover has ended or was reset.
    pub(super) fn is_gone(&self) {
        self.leftovers.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn leftovers(&self) -> u32 {
        self.leftovers.load(Ordering::Relaxed)
    }

    /// Whether it is; from now on it is.
    fn is_counted(&self, number: u32) -> bool {
        let place = usize::try_from(number).unwrap_or(0) % REMEMBERED;
        self.counted.get(place).is_some_and(|last| last.swap(number, Ordering::Relaxed) == number)
    }

    /// Counts one more leftover if the bound allows it.
    fn may_run_on(&self, allowed: u32) -> bool {
        let most = (allowed / SHARE).min(MOST_LEFTOVERS);
        let one_more = |leftovers: u32| (leftovers < most).then(|| leftovers + 1);
        self.leftovers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// When one more stream may be reset; `None`: at once.
    fn due(&self, looked_at: bool, now: Instant) -> Option<Instant> {
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

    /// What becomes of each of `numbers`, which are given up at the same time.
    fn turns(resets: &Resets, numbers: std::ops::Range<u32>, allowed: u32, now: Instant) -> (usize, usize) {
        let turns: Vec<_> = numbers.map(|number| resets.turn(number, false, allowed, now)).collect();
        let at_once = turns.iter().filter(|turn| **turn == Turn::Now).count();
        (at_once, turns.len() - at_once)
    }

    #[test]
    fn no_more_than_half_of_the_streams_of_a_backend_are_leftovers() {
        // Ten at once, as many leftovers as may be, and the rest at once.
        for (allowed, most) in [(0, 0), (1, 0), (2, 1), (5, 2), (100, 50), (1_000, 500), (u32::MAX, 500)] {
            let begun = Instant::now();
            let resets = Resets::new(begun);
            assert_eq!(turns(&resets, 1..1_001, allowed, begun), (1_000 - most, most), "{allowed}");
            assert_eq!(usize::try_from(resets.leftovers()).unwrap(), most);
        }
    }

    #[test]
    fn a_leftover_that_is_gone_makes_room_for_another_and_a_lower_bound_holds_at_once() {
        let begun = Instant::now();
        let resets = Resets::new(begun);
        assert_eq!(turns(&resets, 1..101, 40, begun), (80, 20));
        resets.is_gone();
        assert_eq!(turns(&resets, 101..103, 40, begun), (1, 1));
        resets.is_gone();
        assert_eq!(turns(&resets, 103..105, 20, begun), (2, 0), "19 are there, and ten are allowed");
    }

    #[test]
    fn a_stream_that_is_given_up_in_two_halves_counts_once() {
        let begun = Instant::now();
        let resets = Resets::new(begun);
        for number in 1..11 {
            assert_eq!(resets.turn(number, false, 100, begun), Turn::Now);
            assert_eq!(resets.turn(number, false, 100, begun), Turn::Counted);
        }
        assert_eq!(resets.turn(11, false, 100, begun), Turn::At(begun + COST.0), "ten at once, whatever their halves");
        for number in 1..12 {
            assert_eq!(resets.turn(number, false, 100, begun), Turn::Counted, "halves of others in between");
        }
        assert_eq!(resets.leftovers(), 1);
    }
}
