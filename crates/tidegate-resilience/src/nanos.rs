//! The one form of time in this crate.
//!
//! `std::time::Instant` would do for the arithmetic, but it neither fits into an atomic nor can a test or a model make
//! one up. A number does both.

use std::time::Duration;

/// A moment: nanoseconds since a start that the caller chooses once for the whole process.
///
/// Monotonic per thread; two threads may disagree a little, so every algorithm here takes a moment that lies before
/// the last one it saw as equally good, and no subtraction goes below zero. Lasts 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(u64);

impl Nanos {
    /// The start itself.
    pub const ZERO: Self = Self(0);

    /// The moment `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn new(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment that long after the start; the last one there is if that is too long.
    #[must_use]
    pub fn after_start(elapsed: Duration) -> Self {
        Self::ZERO.after(elapsed)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The moment that much later; the last one there is if that is too late.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The length of a duration, 584 years at most.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_neither_overflow_nor_go_below_zero() {
        let (early, late) = (Nanos::new(5), Nanos::new(9));
        assert_eq!((late.since(early), early.since(late)), (Duration::from_nanos(4), Duration::ZERO));
        assert_eq!(late.after(Duration::MAX), Nanos::new(u64::MAX));
        assert_eq!(Nanos::after_start(Duration::from_secs(2)).get(), 2_000_000_000);
    }
}
