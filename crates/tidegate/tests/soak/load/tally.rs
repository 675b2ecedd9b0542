//! What clients have seen.

use std::fmt;
use std::time::Duration;

/// Failures and repetitions whose text is kept.
const SAMPLES: usize = 5;

/// Counts, and the time that each answer took.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    microseconds: Vec<u32>,
    failed: usize,
    samples: Vec<String>,
    /// Connections that were closed between two requests.
    pub(crate) replaced: usize,
    /// Streams that the gateway had named as not begun.
    pub(crate) retried: usize,
    /// Clients that found nobody, while the gateway was ending for good.
    pub(crate) turned_away: usize,
    pub(crate) seconds: f64,
}

impl Tally {
    pub(crate) fn answered(&self) -> usize {
        self.microseconds.len()
    }

    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    pub(super) fn answer(&mut self, time: Duration) {
        self.microseconds.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub(super) fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(why);
        }
    }

    pub(super) fn retry(&mut self, why: String) {
        self.retried += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(why);
        }
    }

    /// Adds what others saw.
    pub(crate) fn join(&mut self, other: Self) {
        self.microseconds.extend(other.microseconds);
        self.failed += other.failed;
        self.samples.extend(other.samples);
        self.samples.truncate(SAMPLES);
        self.replaced += other.replaced;
        self.retried += other.retried;
        self.turned_away += other.turned_away;
        self.seconds += other.seconds;
    }

    /// # Panics
    /// If something failed, or nothing happened.
    pub(crate) fn assert_good(&self) {
        assert!(self.failed == 0 && self.answered() > 0, "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.microseconds.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
            sorted.get(index).map_or(0.0, |time| f64::from(*time) / 1000.0)
        };
        let rate = if self.seconds > 0.0 { self.answered() as f64 / self.seconds } else { 0.0 };
        write!(
            f,
            "{} answers ({rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms), {} failed, {} connections \
             replaced, {} streams retried, {} clients turned away",
            self.answered(),
            at(0.5),
            at(0.99),
            at(1.0),
            self.failed,
            self.replaced,
            self.retried,
            self.turned_away
        )?;
        self.samples.iter().try_for_each(|sample| write!(f, "\n  {sample}"))
    }
}
