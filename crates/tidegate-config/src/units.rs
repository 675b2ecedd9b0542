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
    use super::{UnitError, bytes, duration};
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
}
