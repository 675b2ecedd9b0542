//! Text forms of `Timestamp`, `Duration` and `FieldMask`: pure conversions, both ways, without schema and without JSON
//! quotes.
//!
//! Source: the JSON section of <https://protobuf.dev/programming-guides/json/>; the calendar is the proleptic Gregorian
//! one, computed with the era arithmetic of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".

/// 0001-01-01T00:00:00Z, in seconds since 1970.
const MIN_TIMESTAMP: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const MAX_TIMESTAMP: i64 = 253_402_300_799;
/// Ten thousand years of seconds, the bound of `Duration`.
const MAX_DURATION: i64 = 315_576_000_000;
const NANOS_PER_SECOND: i32 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Reads RFC 3339 with capital `T` and `Z` or a numeric offset: seconds since 1970 and nanoseconds in 0..1e9. At most
/// nine digits of fraction; years 1 to 9999 after the offset is applied; no leap seconds. `None` for anything else.
pub fn parse_timestamp(text: &[u8]) -> Option<(i64, i32)> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2] = *date_time else {
        return None;
    };
    let year = two_digits(y1, y2)? * 100 + two_digits(y3, y4)?;
    let (month, day) = (two_digits(m1, m2)?, two_digits(d1, d2)?);
    let (hour, minute, second) = (two_digits(h1, h2)?, two_digits(i1, i2)?, two_digits(s1, s2)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let (nanos, zone) = match rest.strip_prefix(b".") {
        Some(fraction) => split_fraction(fraction)?,
        None => (0, rest),
    };
    let offset = match *zone {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two_digits(h1, h2)?, two_digits(m1, m2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            if sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let local = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    let seconds = local - offset;
    (MIN_TIMESTAMP..=MAX_TIMESTAMP).contains(&seconds).then_some((seconds, nanos))
}

/// Appends a timestamp in UTC with 0, 3, 6 or 9 digits of fraction. `None` if it is outside the years 1 to 9999 or
/// `nanos` outside 0..1e9.
pub fn write_timestamp(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> Option<()> {
    if !(MIN_TIMESTAMP..=MAX_TIMESTAMP).contains(&seconds) || !(0..NANOS_PER_SECOND).contains(&nanos) {
        return None;
    }
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let [y1, y2] = digits_of(year / 100);
    let [y3, y4] = digits_of(year % 100);
    let [m1, m2] = digits_of(month);
    let [d1, d2] = digits_of(day);
    let [h1, h2] = digits_of(second_of_day / 3600);
    let [i1, i2] = digits_of(second_of_day / 60 % 60);
    let [s1, s2] = digits_of(second_of_day % 60);
    out.extend_from_slice(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2]);
    write_fraction(nanos.unsigned_abs(), out);
    out.push(b'Z');
    Some(())
}

/// Reads `3s`, `-0.5s`, `1.000340012s`: seconds and nanoseconds of the same sign. At most nine digits of fraction, at
/// most 315,576,000,000 whole seconds either way.
pub fn parse_duration(text: &[u8]) -> Option<(i64, i32)> {
    let text = text.strip_suffix(b"s")?;
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let whole_len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = text.split_at_checked(whole_len)?;
    if whole.is_empty() {
        return None;
    }
    let seconds = whole
        .iter()
        .try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))
        .filter(|seconds| *seconds <= MAX_DURATION)?;
    let (nanos, rest) = match rest.strip_prefix(b".") {
        Some(fraction) => split_fraction(fraction)?,
        None => (0, rest),
    };
    if !rest.is_empty() {
        return None;
    }
    Some(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// Appends a duration with 0, 3, 6 or 9 digits of fraction. `None` if it is out of range or the signs differ.
pub fn write_duration(seconds: i64, nanos: i32, out: &mut Vec<u8>) -> Option<()> {
    let signs_differ = (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0);
    let out_of_range =
        seconds.unsigned_abs() > MAX_DURATION.unsigned_abs() || nanos.unsigned_abs() >= NANOS_PER_SECOND.unsigned_abs();
    if signs_differ || out_of_range {
        return None;
    }
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(seconds.unsigned_abs()).as_bytes());
    write_fraction(nanos.unsigned_abs(), out);
    out.push(b's');
    Some(())
}

/// Appends the fields of a `FieldMask` message for `a.b,c`. Paths in lowerCamelCase are turned into the names of the
/// `.proto` file; an underscore is only accepted if `proto_names`, because the JSON form has none. The text is UTF-8.
pub fn parse_field_mask(text: &[u8], proto_names: bool, out: &mut Vec<u8>) -> Option<()> {
    if text.is_empty() {
        return Some(());
    }
    for path in text.split(|byte| *byte == b',') {
        if path.is_empty() {
            return None;
        }
        out.push(0x0a);
        let open = crate::wire::open_len(out);
        for &byte in path {
            match byte {
                b'A'..=b'Z' => out.extend_from_slice(&[b'_', byte.to_ascii_lowercase()]),
                b'_' if !proto_names => return None,
                // What needs an escape could not be printed again, and no path has spaces. Everything else may stand in
                // one: `*`, a map key.
                b'"' | b'\\' | 0..=b' ' => return None,
                _ => out.push(byte),
            }
        }
        crate::wire::close_len(out, open);
    }
    Some(())
}

/// Appends one path of a `FieldMask` in lowerCamelCase. `None` if that would not read back as the same path: a capital
/// letter, a comma, an underscore before anything but a small letter, what [`parse_field_mask`] does not take.
pub(crate) fn write_mask_path(path: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if path.is_empty() {
        return None;
    }
    let mut after_underscore = false;
    for &byte in path {
        match (byte, after_underscore) {
            (b'a'..=b'z', true) => out.push(byte.to_ascii_uppercase()),
            (_, true) | (b'A'..=b'Z' | b',' | b'"' | b'\\' | 0..=b' ', _) => return None,
            (b'_', false) => {}
            (_, false) => out.push(byte),
        }
        after_underscore = byte == b'_';
    }
    (!after_underscore).then_some(())
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn digits_of(value: i64) -> [u8; 2] {
    let digit = |value: i64| b'0' + u8::try_from(value % 10).unwrap_or(0);
    [digit(value / 10), digit(value)]
}

/// One to nine digits as nanoseconds, and what follows them.
fn split_fraction(text: &[u8]) -> Option<(i32, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&len) {
        return None;
    }
    let (digits, rest) = text.split_at_checked(len)?;
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some((padded.fold(0, |value, digit| value * 10 + i32::from(digit - b'0')), rest))
}

fn write_fraction(nanos: u32, out: &mut Vec<u8>) {
    let (mut value, digits) = match nanos {
        0 => return,
        _ if nanos.is_multiple_of(1_000_000) => (nanos / 1_000_000, 3),
        _ if nanos.is_multiple_of(1_000) => (nanos / 1_000, 6),
        _ => (nanos, 9),
    };
    let mut text = [b'0'; 9];
    for slot in text.iter_mut().take(digits).rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    out.push(b'.');
    out.extend_from_slice(text.get(..digits).unwrap_or(&text));
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years begin in March here, so that the leap day is the last one; an era is 400 years.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(seconds: i64, nanos: i32) -> Option<String> {
        let mut out = Vec::new();
        write_timestamp(seconds, nanos, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    fn duration(seconds: i64, nanos: i32) -> Option<String> {
        let mut out = Vec::new();
        write_duration(seconds, nanos, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn timestamps_are_read_and_written() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2026-11-20T10:00:00.500Z", 1_795_168_800, 500_000_000),
            ("2000-02-29T23:59:59.000001Z", 951_868_799, 1_000),
            ("0001-01-01T00:00:00Z", MIN_TIMESTAMP, 0),
            ("9999-12-31T23:59:59.999999999Z", MAX_TIMESTAMP, 999_999_999),
            ("1969-12-31T23:59:59.001Z", -1, 1_000_000),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(parse_timestamp(text.as_bytes()), Some((seconds, nanos)), "{text}");
            assert_eq!(timestamp(seconds, nanos).as_deref(), Some(text));
        }
        let zones = [("2000-01-01T00:00:00+01:30", 946_679_400), ("2000-01-01T00:00:00.1-23:59", 946_771_140)];
        for (text, seconds) in zones {
            assert_eq!(parse_timestamp(text.as_bytes()).map(|(s, _)| s), Some(seconds), "{text}");
        }
    }

    #[test]
    fn every_day_of_the_calendar_goes_both_ways() {
        let mut expected = (1, 1, 1);
        for days in MIN_TIMESTAMP / SECONDS_PER_DAY..=MAX_TIMESTAMP / SECONDS_PER_DAY {
            assert_eq!(civil_from_days(days), expected);
            let (year, month, day) = expected;
            assert_eq!(days_from_civil(year, month, day), days);
            expected = if day < days_in_month(year, month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
    }

    #[test]
    fn other_timestamps_are_refused() {
        let cases = [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01t00:00:00Z",
            "1970-01-01T00:00:00z",
            "1970-01-01 00:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:60Z",
            "1970-13-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00+01:60",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00Zx",
            "+1970-01-01T00:00:00Z",
        ];
        for text in cases {
            assert_eq!(parse_timestamp(text.as_bytes()), None, "{text}");
        }
        for (seconds, nanos) in [(MIN_TIMESTAMP - 1, 0), (MAX_TIMESTAMP + 1, 0), (0, -1), (0, NANOS_PER_SECOND)] {
            assert_eq!(timestamp(seconds, nanos), None);
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        let cases = [
            ("0s", 0, 0),
            ("3s", 3, 0),
            ("3.500s", 3, 500_000_000),
            ("-0.500s", 0, -500_000_000),
            ("-1.000000001s", -1, -1),
            ("1.000340s", 1, 340_000),
            ("315576000000s", MAX_DURATION, 0),
            ("315576000000.999999999s", MAX_DURATION, 999_999_999),
            ("-315576000000s", -MAX_DURATION, 0),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(parse_duration(text.as_bytes()), Some((seconds, nanos)), "{text}");
            assert_eq!(duration(seconds, nanos).as_deref(), Some(text));
        }
        assert_eq!(parse_duration(b"3.5s"), Some((3, 500_000_000)));
        for text in ["", "s", "3", ".5s", "3.s", "+3s", "3.1234567890s", "315576000001s", "3 s", "--3s"] {
            assert_eq!(parse_duration(text.as_bytes()), None, "{text}");
        }
        for (seconds, nanos) in
            [(1, -1), (-1, 1), (MAX_DURATION + 1, 0), (i64::MIN, 0), (0, NANOS_PER_SECOND), (0, i32::MIN)]
        {
            assert_eq!(duration(seconds, nanos), None, "{seconds} {nanos}");
        }
    }

    #[test]
    fn masks_change_their_case_and_back() {
        let mut out = Vec::new();
        parse_field_mask(b"a,fooBar.bazQux", false, &mut out).unwrap();
        assert_eq!(out, b"\x0a\x01a\x0a\x0ffoo_bar.baz_qux");
        for text in ["foo_bar", "a,", ",", "a b", "a\"b", "a\nb", "a\\b"] {
            assert!(parse_field_mask(text.as_bytes(), false, &mut Vec::new()).is_none(), "{text}");
        }
        for text in ["foo_bar", "*", "labels.`a-b`", "\u{e9}"] {
            assert!(parse_field_mask(text.as_bytes(), true, &mut Vec::new()).is_some(), "{text}");
        }
        let mut out = Vec::new();
        write_mask_path(b"foo_bar.baz_qux", &mut out).unwrap();
        assert_eq!(out, b"fooBar.bazQux");
        for path in ["fooBar", "foo__bar", "foo_", "foo_3", "foo_.bar", "a\"b", "a b", "a,b", ""] {
            assert!(write_mask_path(path.as_bytes(), &mut Vec::new()).is_none(), "{path}");
        }
    }
}
