//! Slow start: an endpoint that comes, or comes back, gets its share of requests little by little.

use std::time::Duration;

use crate::nanos::{Nanos, nanoseconds};

/// The part of its weight that an endpoint has, in 65,536ths: never nothing, at most the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self(1 << 16);

    /// What an endpoint begins with: a tenth, so that it is seen to work before much depends on it.
    const FIRST: Self = Self(Self::WHOLE.0 / 10);

    /// In 65,536ths.
    pub(crate) fn get(self) -> u64 {
        u64::from(self.0)
    }
}

/// For how long the share grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// From a tenth to the whole, evenly; zero switches it off.
    pub window: Duration,
}

impl SlowStart {
    /// The share at `now` of an endpoint that came, or came back, at `since`.
    #[must_use]
    pub fn share(&self, since: Nanos, now: Nanos) -> Share {
        let (elapsed, window) = (nanoseconds(now.since(since)), nanoseconds(self.window));
        if elapsed >= window {
            return Share::WHOLE;
        }
        let part = u128::from(elapsed) * u128::from(Share::WHOLE.0) / u128::from(window);
        Share(u32::try_from(part).unwrap_or(Share::WHOLE.0)).max(Share::FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_a_tenth_to_the_whole() {
        let slow_start = SlowStart { window: Duration::from_secs(10) };
        let percent = |ms: u64| {
            let share = slow_start.share(Nanos::new(7), Nanos::new(7 + ms * 1_000_000));
            share.get() * 100 / Share::WHOLE.get()
        };
        assert_eq!([0, 500, 2_000, 5_000, 9_990, 10_000, 99_000].map(percent), [9, 9, 19, 50, 99, 100, 100]);
        assert_eq!(slow_start.share(Nanos::new(9), Nanos::ZERO), Share::FIRST, "a clock that is behind");
        assert_eq!(SlowStart { window: Duration::ZERO }.share(Nanos::ZERO, Nanos::ZERO), Share::WHOLE);
    }
}
