//! The `Date` of answers, formatted once a second.

use http::HeaderValue;
use parking_lot::Mutex;

use crate::time::unix_ms;

/// Remembers the value of the present second; one for each worker, so its lock is never contended.
#[derive(Debug)]
pub(super) struct DateCache {
    last: Mutex<(u64, HeaderValue)>,
}

impl DateCache {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new((u64::MAX, HeaderValue::from_static(""))) }
    }

    /// The value for now. Formats in the first call of a second only.
    pub(super) fn now(&self) -> HeaderValue {
        let second = unix_ms() / 1000;
        let mut last = self.last.lock();
        if last.0 != second {
            let value = HeaderValue::from_str(&imf_fixdate(second)).unwrap_or(HeaderValue::from_static(""));
            *last = (second, value);
        }
        last.1.clone()
    }
}

/// A time in the one format that senders use (RFC 9110, section 5.6.7). `unix_s` is in seconds since 1970.
fn imf_fixdate(unix_s: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = unix_s / 86_400;
    let second = unix_s % 86_400;
    let (year, month, day) = civil_date(days);
    let index = |number: u64| usize::try_from(number).unwrap_or(0);
    let weekday = WEEKDAYS.get(index(days % 7)).unwrap_or(&"");
    let month = MONTHS.get(index(month.saturating_sub(1))).unwrap_or(&"");
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hours:02}:{minutes:02}:{seconds:02} GMT")
}

/// Year, month (from 1) and day (from 1) of a day counted from 1970-01-01 in the Gregorian calendar.
///
/// Counts from a 1 March, so that the leap day is the last of its year.
pub(super) fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096;
    let year_of_era = (day_of_era + day_of_era / 36_524 - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era.saturating_mul(400) + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (second, expected) in cases {
            assert_eq!(imf_fixdate(second), expected);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = civil_date(0);
        for days in 1..200_000 {
            let (year, month, day) = civil_date(days);
            let next_day = (year, month, day) == (before.0, before.1, before.2 + 1);
            let next_month = day == 1 && before.2 >= 28 && (year, month) == (before.0, before.1 + 1);
            let next_year = (month, day) == (1, 1) && (before.1, before.2) == (12, 31) && year == before.0 + 1;
            assert!(next_day || next_month || next_year, "{before:?} → {year}-{month}-{day}");
            before = (year, month, day);
        }
    }
}
