//! Active health checks: what a row of results says about an endpoint, and when to check again.
//!
//! One task checks an endpoint; every core reads what it found.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use crate::nanos::{Nanos, nanoseconds};
use crate::outcome::Outcome;
use crate::random::{jittered, scale};

/// By how much the time between checks differs, so that the checks of many endpoints and gateways spread.
const JITTER_PERCENT: u8 = 10;

/// When an endpoint is taken for well or ill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    /// Time between two checks, ± 10 %.
    pub interval: Duration,
    /// Good checks in a row that make it healthy again; 0 counts as 1.
    pub healthy_threshold: u32,
    /// Bad checks in a row that make it unhealthy; 0 counts as 1.
    pub unhealthy_threshold: u32,
}

impl HealthSettings {
    /// The wait before the first check: somewhere in the first tenth of the interval, so that a start knows soon and a
    /// thousand endpoints are not checked in the same moment.
    #[must_use]
    pub fn first_wait(&self, random: u64) -> Duration {
        Duration::from_nanos(scale(random, nanoseconds(self.interval) / 10))
    }

    /// The wait between the end of a check and the next one.
    #[must_use]
    pub fn wait(&self, random: u64) -> Duration {
        jittered(self.interval, JITTER_PERCENT, random)
    }
}

/// What the checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There was no check yet.
    Unknown,
    /// It answers as it should.
    Healthy,
    /// It does not.
    Unhealthy,
}

/// The health of one endpoint. Written by its checker alone, read by all cores.
#[derive(Debug, Default)]
pub struct Health {
    /// [`Word`].
    word: AtomicU64,
    /// When it last became healthy after it was not; 0 if it never did. Written before the word.
    back_at: AtomicU64,
}

impl Health {
    /// Takes in a check. Returns the new status if it is another one.
    ///
    /// The first check counts at once; after that it takes as many in a row as the settings say.
    pub fn record(&self, outcome: Outcome, settings: &HealthSettings, now: Nanos) -> Option<Status> {
        let word = Word::from(self.word.load(Relaxed));
        let (says, threshold) = match outcome {
            Outcome::Success => (Status::Healthy, settings.healthy_threshold),
            Outcome::Failure => (Status::Unhealthy, settings.unhealthy_threshold),
        };
        let against = if says == word.status { 0 } else { word.against.saturating_add(1) };
        let changes = says != word.status && (word.status == Status::Unknown || against >= threshold);
        if !changes {
            self.word.store(Word { against, ..word }.into(), Relaxed);
            return None;
        }
        // One that nothing was known of has had requests all along: its first good check brings nobody back.
        if says == Status::Healthy && word.status == Status::Unhealthy {
            self.back_at.store(now.get(), Relaxed);
        }
        self.word.store(Word { status: says, against: 0 }.into(), Release);
        Some(says)
    }

    /// What the checks say. One load.
    #[must_use]
    pub fn status(&self) -> Status {
        Word::from(self.word.load(Acquire)).status
    }

    /// Since when it is back, for [`SlowStart`](crate::SlowStart); `None` if it is not healthy, or was never anything else.
    #[must_use]
    pub fn back_since(&self) -> Option<Nanos> {
        let back_at = (self.status() == Status::Healthy).then(|| self.back_at.load(Relaxed))?;
        (back_at > 0).then(|| Nanos::new(back_at))
    }
}

/// Status, and the checks in a row that speak against it.
#[derive(Clone, Copy)]
struct Word {
    status: Status,
    against: u32,
}

impl From<u64> for Word {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn from(word: u64) -> Self {
        let status = match word >> 32 {
            0 => Status::Unknown,
            1 => Status::Healthy,
            _ => Status::Unhealthy,
        };
        Self { status, against: word as u32 }
    }
}

impl From<Word> for u64 {
    fn from(word: Word) -> Self {
        let status = match word.status {
            Status::Unknown => 0,
            Status::Healthy => 1,
            Status::Unhealthy => 2,
        };
        status << 32 | Self::from(word.against)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: HealthSettings =
        HealthSettings { interval: Duration::from_secs(5), healthy_threshold: 2, unhealthy_threshold: 3 };

    /// Checks, `+` for good and `-` for bad ones, and the status after each: `u`nknown, `h`ealthy, `i`ll.
    fn check(checks: &str, expected: &str) {
        let health = Health::default();
        assert_eq!((health.status(), health.back_since()), (Status::Unknown, None));
        let mut last = Status::Unknown;
        let mut letter = |(now, check): (u64, char)| {
            let outcome = if check == '+' { Outcome::Success } else { Outcome::Failure };
            let change = health.record(outcome, &SETTINGS, Nanos::new(now));
            assert_eq!(change, (health.status() != last).then_some(health.status()));
            last = health.status();
            match last {
                Status::Unknown => 'u',
                Status::Healthy => 'h',
                Status::Unhealthy => 'i',
            }
        };
        assert_eq!((0..).zip(checks.chars()).map(&mut letter).collect::<String>(), expected, "{checks}");
    }

    #[test]
    fn the_first_check_counts_at_once_and_then_it_takes_a_row() {
        check("+", "h");
        check("-", "i");
        check("+--+---", "hhhhhhi");
        check("-+-++-", "iiiihh");
    }

    #[test]
    fn it_is_known_since_when_an_endpoint_is_back() {
        let health = Health::default();
        let (good, bad) = (Outcome::Success, Outcome::Failure);
        let mut now = 0;
        let mut back_since = |outcome| {
            now += 1;
            health.record(outcome, &SETTINGS, Nanos::new(now));
            health.back_since().map(Nanos::get)
        };
        assert_eq!([good, good, bad, bad].map(&mut back_since), [None; 4], "it was never away");
        assert_eq!([bad, good].map(&mut back_since), [None; 2], "it is away");
        assert_eq!([good, good, bad].map(&mut back_since), [Some(7); 3]);
        assert_eq!([bad, bad].map(&mut back_since), [Some(7), None]);
    }

    proptest! {
        /// The status is what the last row that was long enough says, the very first check being long enough.
        #[test]
        fn the_status_is_what_the_last_row_says(checks in prop::collection::vec(any::<bool>(), 1..60)) {
            let health = Health::default();
            for end in 1..=checks.len() {
                let seen = &checks[..end];
                let outcome = if seen[end - 1] { Outcome::Success } else { Outcome::Failure };
                health.record(outcome, &SETTINGS, Nanos::ZERO);
                let decides = |at: usize| {
                    let needed = if seen[at] { 2 } else { 3 };
                    at == 0 || (at + 1 >= needed && seen[at + 1 - needed..=at].iter().all(|check| *check == seen[at]))
                };
                let decided = (0..end).rev().find(|at| decides(*at)).unwrap();
                prop_assert_eq!(health.status() == Status::Healthy, seen[decided]);
            }
        }

        #[test]
        fn waits_are_near_the_interval(random: u64) {
            prop_assert!((4500..=5500).contains(&SETTINGS.wait(random).as_millis()));
            prop_assert!(SETTINGS.first_wait(random) < Duration::from_millis(500));
        }
    }
}
