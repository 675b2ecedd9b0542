//! Quantities with units. A bare number is never one: whether `30` is seconds or milliseconds is the reader's guess.

use std::time::Duration;

/// Why a text is not a quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnitError {
    /// A number and nothing behind it.
    #[error("the unit is missing")]
    MissingUnit,
    /// Something behind the number that is no unit of this kind.
    #[error("unknown unit")]
    UnknownUnit,
    /// No number at the front.
    #[error("not a number with a unit")]
    NotANumber,
    /// More than the type can hold, or a fraction of the smallest unit.
    #[error("out of range")]
    OutOfRange,
}

/// Units of time in nanoseconds.
const TIME: [(&str, u64); 5] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of time of a rate, in nanoseconds.
const PERIODS: [(&str, u64); 4] =
    [("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000), ("d", 86_400_000_000_000)];

/// Units of size in bytes.
const SIZE: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a duration: digits, at most one decimal point, and `ms`, `s`, `m`, `h` or `d`; `0s` is allowed.
///
/// Exact to the nanosecond, at most about 584 years.
///
/// # Errors
/// See [`UnitError`].
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    quantity(text, &TIME).map(Duration::from_nanos)
}

/// Reads a size in bytes: digits, at most one decimal point, and `B`, `KiB`, `MiB` or `GiB`. The result is a whole
/// number of bytes.
///
/// # Errors
/// See [`UnitError`].
pub fn bytes(text: &str) -> Result<u64, UnitError> {
    quantity(text, &SIZE)
}

/// So many requests in a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many.
    pub requests: u64,
    /// In which time: a second, a minute, an hour or a day.
    pub per: Duration,
}

/// As [`rate`] reads it.
impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = PERIODS.iter().find(|(_, nanos)| u128::from(*nanos) == self.per.as_nanos());
        match unit {
            Some((unit, _)) => write!(f, "{}/{unit}", self.requests),
            None => write!(f, "{}/{}", self.requests, duration_text(self.per)),
        }
    }
}

/// Reads a rate: digits, `/`, and `s`, `m`, `h` or `d`.
///
/// # Errors
/// See [`UnitError`].
pub fn rate(text: &str) -> Result<Rate, UnitError> {
    let (number, unit) = text.split_once('/').map_or((text, None), |(number, unit)| (number, Some(unit)));
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UnitError::NotANumber);
    }
    let unit = unit.ok_or(UnitError::MissingUnit)?;
    let (_, nanos) = PERIODS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::UnknownUnit)?;
    let requests = number.parse().map_err(|_| UnitError::OutOfRange)?;
    Ok(Rate { requests, per: Duration::from_nanos(*nanos) })
}

/// Writes a duration so that [`duration`] reads the same one: in the largest unit that leaves no fraction, and below a
/// millisecond as a fraction of it.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    text(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), &TIME, 6)
}

/// Writes a size so that [`bytes`] reads the same one, in the largest unit that leaves no fraction.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    text(bytes, &SIZE, 0)
}

/// `digits` is how many decimal digits the smallest unit may need.
fn text(value: u64, units: &[(&str, u64)], digits: usize) -> String {
    let whole = units.iter().filter(|(_, scale)| value.is_multiple_of(*scale)).max_by_key(|(_, scale)| *scale);
    let (Some((smallest, scale)), false) = (units.first(), value == 0) else {
        // Zero is a multiple of everything; a second and a byte are what people write.
        return format!("0{}", units.get(usize::from(digits > 0)).map_or("", |(unit, _)| unit));
    };
    match whole {
        Some((unit, scale)) => format!("{}{unit}", value.checked_div(*scale).unwrap_or(0)),
        None => {
            let fraction = format!("{:0digits$}", value.checked_rem(*scale).unwrap_or(0));
            let whole = value.checked_div(*scale).unwrap_or(0);
            format!("{whole}.{}{smallest}", fraction.trim_end_matches('0'))
        }
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(UnitError::NotANumber);
    }
    if unit.is_empty() {
        return Err(UnitError::MissingUnit);
    }
    let (_, scale) = units.iter().find(|(name, _)| *name == unit).ok_or(UnitError::UnknownUnit)?;
    let whole: u64 = whole.parse().map_err(|_| UnitError::OutOfRange)?;
    let fraction = fraction.trim_end_matches('0');
    let part = if fraction.is_empty() {
        0
    } else {
        // 10^12 times the largest unit stays within u128, and more digits than that cannot be exact.
        let exponent = u32::try_from(fraction.len()).ok().filter(|n| *n <= 12).ok_or(UnitError::OutOfRange)?;
        let fraction: u128 = fraction.parse().map_err(|_| UnitError::OutOfRange)?;
        let scaled = fraction * u128::from(*scale);
        let divisor = 10_u128.pow(exponent);
        if !scaled.is_multiple_of(divisor) {
            return Err(UnitError::OutOfRange);
        }
        u64::try_from(scaled / divisor).map_err(|_| UnitError::OutOfRange)?
    };
    whole.checked_mul(*scale).and_then(|n| n.checked_add(part)).ok_or(UnitError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::{UnitError, bytes, bytes_text, duration, duration_text, rate};
    use std::time::Duration;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Result<u64, UnitError>| {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        };
        check("10s", Ok(10_000));
        check("0s", Ok(0));
        check("250ms", Ok(250));
        check("1.5s", Ok(1_500));
        check("0.5s", Ok(500));
        check("2m", Ok(120_000));
        check("1h", Ok(3_600_000));
        check("1d", Ok(86_400_000));
        check("5.0s", Ok(5_000));
        check("10", Err(UnitError::MissingUnit));
        check("1.5", Err(UnitError::MissingUnit));
        check("10 s", Err(UnitError::UnknownUnit));
        check("10S", Err(UnitError::UnknownUnit));
        check("10KiB", Err(UnitError::UnknownUnit));
        check("s", Err(UnitError::NotANumber));
        check("", Err(UnitError::NotANumber));
        check("-1s", Err(UnitError::NotANumber));
        check(".5s", Err(UnitError::NotANumber));
        check("1.s", Err(UnitError::NotANumber));
        check("1.2.3s", Err(UnitError::NotANumber));
        check("0.0000000001s", Err(UnitError::OutOfRange));
        check("99999999999999999999s", Err(UnitError::OutOfRange));
        check("999999999d", Err(UnitError::OutOfRange));
    }

    #[test]
    fn rates() {
        let check = |text: &str, expected: Result<(u64, u64), UnitError>| {
            let found = rate(text);
            assert_eq!(found.map(|rate| (rate.requests, rate.per.as_secs())), expected, "{text}");
            if let Ok(rate) = found {
                assert_eq!(rate.to_string(), text);
            }
        };
        check("100/s", Ok((100, 1)));
        check("1/m", Ok((1, 60)));
        check("1000/h", Ok((1_000, 3_600)));
        check("5/d", Ok((5, 86_400)));
        check("0/s", Ok((0, 1)));
        check("100", Err(UnitError::MissingUnit));
        check("100/", Err(UnitError::UnknownUnit));
        check("100/ms", Err(UnitError::UnknownUnit));
        check("1.5/s", Err(UnitError::NotANumber));
        check("/s", Err(UnitError::NotANumber));
        check("-1/s", Err(UnitError::NotANumber));
        check("99999999999999999999/s", Err(UnitError::OutOfRange));
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Result<u64, UnitError>| assert_eq!(bytes(text), expected, "{text}");
        check("8B", Ok(8));
        check("64KiB", Ok(65_536));
        check("1MiB", Ok(1_048_576));
        check("1.5KiB", Ok(1_536));
        check("2GiB", Ok(2_147_483_648));
        check("1.5B", Err(UnitError::OutOfRange));
        check("64", Err(UnitError::MissingUnit));
        check("64KB", Err(UnitError::UnknownUnit));
        check("64k", Err(UnitError::UnknownUnit));
        check("KiB", Err(UnitError::NotANumber));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let check = |nanos: u64, expected: &str| {
            assert_eq!(duration_text(Duration::from_nanos(nanos)), expected);
            assert_eq!(duration(expected), Ok(Duration::from_nanos(nanos)));
        };
        check(0, "0s");
        check(15_000_000_000, "15s");
        check(1_500_000_000, "1500ms");
        check(60_000_000_000, "1m");
        check(90_000_000_000, "90s");
        check(172_800_000_000_000, "2d");
        check(5_000, "0.005ms");
        check(1_000_001, "1.000001ms");
        for (size, expected) in [(0, "0B"), (1 << 20, "1MiB"), (1_536, "1536B"), (10 << 30, "10GiB")] {
            assert_eq!(bytes_text(size), expected);
            assert_eq!(bytes(expected), Ok(size));
        }
    }
}
