//! How long to wait before the next attempt, and what a backend may say about that.

use std::time::Duration;

use crate::nanos::nanoseconds;
use crate::random::scale;

/// Exponential back-off with full jitter.
///
/// Full jitter (anything between nothing and the bound) spreads retries of requests that failed together better than
/// a wait around the bound. Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait of all.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

/// What a backend said about being asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    /// Not before this much time has passed.
    After(Duration),
    /// Not at all.
    Never,
}

impl Backoff {
    /// The wait before retry number `retry`, counted from 0: between nothing and `base` × 2^`retry`, at most `max`.
    #[must_use]
    pub fn delay(&self, retry: u32, random: u64) -> Duration {
        let max = nanoseconds(self.max);
        let base = nanoseconds(self.base);
        let bound = base.saturating_mul(2_u64.saturating_pow(retry)).min(max);
        Duration::from_nanos(scale(random, bound.saturating_add(1)))
    }

    /// The wait before retry number `retry` after what the backend said, or `None` if it must not be asked again.
    ///
    /// A backend's own wait is kept as it is, even above `max`: whether there is time for it, the deadline knows.
    #[must_use]
    pub fn next(&self, retry: u32, pushback: Option<Pushback>, random: u64) -> Option<Duration> {
        match pushback {
            None => Some(self.delay(retry, random)),
            Some(Pushback::After(wait)) => Some(wait),
            Some(Pushback::Never) => None,
        }
    }
}

impl Pushback {
    /// Reads the value of `grpc-retry-pushback-ms`, a decimal number of milliseconds.
    ///
    /// What is negative or no number means: not at all. Source: gRFC A6, "Pushback".
    #[must_use]
    pub fn from_grpc(value: &[u8]) -> Self {
        let text = std::str::from_utf8(value).unwrap_or("");
        // The standard says a signed number of 32 bits; a longer one is no number.
        let milliseconds = text.parse::<i32>().ok().and_then(|number| u64::try_from(number).ok());
        milliseconds.map_or(Self::Never, |milliseconds| Self::After(Duration::from_millis(milliseconds)))
    }

    /// Reads `Retry-After` in its form of whole seconds.
    ///
    /// `None` for a date, which takes a clock to understand, and for what is neither. Source: RFC 9110, section
    /// 10.2.3.
    #[must_use]
    pub fn from_retry_after(value: &[u8]) -> Option<Self> {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = std::str::from_utf8(value).ok()?.parse().unwrap_or(u64::MAX);
        Some(Self::After(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_bound_doubles_up_to_its_end() {
        let longest = |retry| Backoff::default().delay(retry, u64::MAX);
        assert_eq!([0, 1, 2, 3, 4, 63, 64, u32::MAX].map(longest), [25, 50, 100, 200, 250, 250, 250, 250].map(ms));
        assert_eq!(Backoff::default().delay(3, 0), Duration::ZERO);
        assert_eq!(Backoff { base: Duration::MAX, max: ms(7) }.delay(0, u64::MAX), ms(7));
        assert_eq!(Backoff { base: ms(0), max: ms(7) }.delay(64, u64::MAX), ms(0), "twice nothing is nothing");
    }

    #[test]
    fn the_backend_has_the_last_word() {
        let backoff = Backoff::default();
        assert_eq!(backoff.next(0, Some(Pushback::After(ms(900))), 5), Some(ms(900)));
        assert_eq!(backoff.next(0, Some(Pushback::Never), 5), None);
        assert_eq!(backoff.next(1, None, u64::MAX), Some(ms(50)));
    }

    #[test]
    fn pushback_is_read_as_its_standards_say() {
        for (value, expected) in [
            ("0", Pushback::After(ms(0))),
            ("1500", Pushback::After(ms(1500))),
            ("-1", Pushback::Never),
            ("", Pushback::Never),
            ("1s", Pushback::Never),
            ("99999999999", Pushback::Never),
        ] {
            assert_eq!(Pushback::from_grpc(value.as_bytes()), expected, "{value}");
        }
        assert_eq!(Pushback::from_grpc(b"\xff"), Pushback::Never);
        for (value, expected) in [
            ("120", Some(Pushback::After(ms(120_000)))),
            ("99999999999999999999999", Some(Pushback::After(Duration::from_secs(u64::MAX)))),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ] {
            assert_eq!(Pushback::from_retry_after(value.as_bytes()), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(base in 0..10_000_u64, max in 0..10_000_u64, retry in 0..80_u32, random: u64) {
            let delay = Backoff { base: ms(base), max: ms(max) }.delay(retry, random);
            let exact = u128::from(base) << retry.min(64);
            prop_assert!(delay.as_millis() <= exact.min(u128::from(max)));
        }
    }
}
