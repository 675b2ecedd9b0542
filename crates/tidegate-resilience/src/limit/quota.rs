//! The generic cell rate algorithm: never more than `burst + rate × time`, with one number for each bucket and no window
//! at whose edge twice the rate would pass.

use std::time::Duration;

use crate::nanos::Nanos;

/// How much may pass: a bucket of `burst` requests that fills at a steady rate.
///
/// The state of a bucket is the moment at which it will be full again (the theoretical arrival time, TAT). Whatever lies
/// between now and then is its [`Debt`]; each request adds the time that its place takes to come back, and may pass if the
/// debt stays within what a full bucket holds.
///
/// Source: virtual scheduling form of GCRA (ITU-T I.371, annex A), with `increment = period / requests` and
/// `limit = burst × increment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    interval_ns: u64,
    capacity_ns: u64,
}

/// What a bucket lacks, as the time until it is full: nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Debt(u64);

impl Debt {
    /// Of a full bucket.
    pub const NONE: Self = Self(0);

    /// From nanoseconds.
    #[must_use]
    pub const fn new(nanos: u64) -> Self {
        Self(nanos)
    }

    /// In nanoseconds.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// When nothing would be lacking any more.
    #[must_use]
    pub const fn full_in(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Quota {
    /// `requests` in `per_ns` nanoseconds, `burst` of them at once. What is zero counts as one.
    ///
    /// The time of one request is rounded up to a nanosecond, so that never more than the rate passes: at a million a
    /// second that is less than 0.1 %.
    #[must_use]
    pub fn new(requests: u64, per_ns: u64, burst: u64) -> Self {
        let interval_ns = per_ns.max(1).div_ceil(requests.max(1));
        Self { interval_ns, capacity_ns: interval_ns.saturating_mul(burst.max(1)) }
    }

    /// Time until the place of one request has come back, in nanoseconds; at least 1.
    #[must_use]
    pub const fn interval_ns(self) -> u64 {
        self.interval_ns
    }

    /// Time in which an empty bucket fills, in nanoseconds; at least the interval.
    #[must_use]
    pub const fn capacity_ns(self) -> u64 {
        self.capacity_ns
    }

    /// What a request of so many places costs, in nanoseconds.
    #[must_use]
    pub const fn price_ns(self, cost: u32) -> u64 {
        // Widening; `From` is not const.
        self.interval_ns.saturating_mul(cost as u64)
    }

    /// The debt at `now` of a bucket that is full at `tat`. Never more than an empty bucket has: after a change of the
    /// quota, or a jump of the clock of whoever keeps the bucket, nobody waits longer than for one filling.
    #[must_use]
    pub fn debt(self, tat: Nanos, now: Nanos) -> Debt {
        Debt(tat.get().saturating_sub(now.get()).min(self.capacity_ns))
    }

    /// The debt after a request of so many places.
    ///
    /// # Errors
    /// The bucket has no room for it: the time until it has. It never has if the cost is above the burst.
    pub const fn take(self, debt: Debt, cost: u32) -> Result<Debt, Duration> {
        let after = debt.0.saturating_add(self.price_ns(cost));
        match after.checked_sub(self.capacity_ns) {
            None | Some(0) => Ok(Debt(after)),
            Some(over) => Err(Duration::from_nanos(over)),
        }
    }

    /// How many requests could pass at once with this debt.
    #[must_use]
    pub const fn remaining(self, debt: Debt) -> u64 {
        match self.capacity_ns.saturating_sub(debt.0).checked_div(self.interval_ns) {
            Some(remaining) => remaining,
            // The interval is at least 1.
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_the_rate() {
        let quota = Quota::new(10, SECOND, 3);
        let mut debt = Debt::NONE;
        for left in [2, 1, 0] {
            debt = quota.take(debt, 1).unwrap();
            assert_eq!(quota.remaining(debt), left);
        }
        assert_eq!(quota.take(debt, 1), Err(Duration::from_millis(100)));
        assert_eq!(debt.full_in(), Duration::from_millis(300));
        // A tenth of a second later one has come back.
        let later = quota.debt(Nanos::new(debt.get()), Nanos::new(SECOND / 10));
        assert_eq!(quota.remaining(later), 1);
        assert!(quota.take(later, 1).is_ok() && quota.take(later, 2).is_err());
    }

    #[test]
    fn rates_that_do_not_divide_are_rounded_to_the_strict_side() {
        for (requests, per, interval) in [
            (3, SECOND, 333_333_334),
            (7, SECOND, 142_857_143),
            (1_000_000, SECOND, 1_000),
            (999_999, SECOND, 1_001),
            (1, 86_400 * SECOND, 86_400 * SECOND),
            (0, 0, 1),
        ] {
            assert_eq!(Quota::new(requests, per, 1).interval_ns(), interval, "{requests} in {per}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_for_one_filling() {
        let quota = Quota::new(1, SECOND, 5);
        let debt = quota.debt(Nanos::new(u64::MAX), Nanos::ZERO);
        assert_eq!(debt.full_in(), Duration::from_secs(5));
        assert_eq!(quota.take(debt, 1), Err(Duration::from_secs(1)));
        assert_eq!(quota.remaining(debt), 0);
    }

    #[test]
    fn extremes_neither_overflow_nor_divide_by_zero() {
        let quota = Quota::new(1, u64::MAX, u64::MAX);
        assert_eq!(quota.capacity_ns(), u64::MAX);
        assert!(quota.take(Debt::new(u64::MAX), u32::MAX).is_ok(), "saturated: as full as a number can be");
        assert_eq!(Quota::new(u64::MAX, 1, 1).remaining(Debt::NONE), 1);
    }
}
