//! Numbers out of JSON text: integers exactly, floating point by the standard library's correctly rounding parser.

/// Why a text is not a number of the wanted type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Not an integer, or not a number at all.
    Form,
    /// An integer, but too large or too small.
    Range,
}

/// An integer with its sign apart, so that all of `i64` and `u64` fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer {
    negative: bool,
    magnitude: u64,
}

impl Integer {
    pub(crate) fn to_i64(self) -> Result<i64, Bad> {
        let signed =
            if self.negative { 0i64.checked_sub_unsigned(self.magnitude) } else { self.magnitude.try_into().ok() };
        signed.ok_or(Bad::Range)
    }

    pub(crate) fn to_i32(self) -> Result<i32, Bad> {
        self.to_i64()?.try_into().map_err(|_| Bad::Range)
    }

    pub(crate) fn to_u64(self) -> Result<u64, Bad> {
        if self.negative && self.magnitude != 0 { Err(Bad::Range) } else { Ok(self.magnitude) }
    }

    pub(crate) fn to_u32(self) -> Result<u32, Bad> {
        self.to_u64()?.try_into().map_err(|_| Bad::Range)
    }
}

/// Reads a plain run of digits at the start of `bytes`, with an optional minus sign, at most 18 digits long. `None` if
/// it is longer, has a leading zero, or goes on as something else; the general way then decides.
#[inline]
pub(crate) fn short_integer(bytes: &[u8]) -> Option<(Integer, usize)> {
    let (negative, start) = if bytes.first() == Some(&b'-') { (true, 1) } else { (false, 0) };
    let digits = bytes.get(start..).unwrap_or_default();
    let (magnitude, len) = match up_to_seven_digits(digits) {
        Some(found) => found,
        None => digit_by_digit(digits),
    };
    let goes_on = matches!(digits.get(len), Some(b'.' | b'e' | b'E'));
    if len == 0 || len > 18 || goes_on || (len > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    Some((Integer { negative, magnitude }, start + len))
}

/// The digits at the start of `bytes` as a number, and how many there are; wraps around after nineteen.
fn digit_by_digit(bytes: &[u8]) -> (u64, usize) {
    let mut magnitude = 0u64;
    let mut len = 0;
    while let Some(digit) = bytes.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        magnitude = magnitude.wrapping_mul(10).wrapping_add(u64::from(digit));
        len += 1;
    }
    (magnitude, len)
}

/// The same without a loop, for the common case: `None` if there are eight digits or more, or fewer than eight bytes.
///
/// Source of the arithmetic: Daniel Lemire, "Quickly parsing eight digits", 2018.
#[inline]
fn up_to_seven_digits(bytes: &[u8]) -> Option<(u64, usize)> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let values = u64::from_le_bytes(*bytes.first_chunk::<8>()?) ^ ZEROS;
    // The high bit of each byte that is no digit. A carry can only disturb bytes behind the first of them.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let bits = others.trailing_zeros() & !7;
    if others == 0 || bits == 0 {
        return (bits == 0).then_some((0, 0));
    }
    // Leading zeros in front, then pairs, fours and all eight digits are joined.
    let digits = values << (64 - bits);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let even = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let odd = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    Some((even.wrapping_add(odd) >> 32, (bits / 8) as usize))
}

/// Reads a whole JSON number as an integer. A fraction or an exponent is fine as long as the value is whole: `1.0`,
/// `1e5`, `1200e-2`. Linear in the length of `text`, which must follow the JSON grammar.
pub(crate) fn integer(text: &[u8]) -> Result<Integer, Bad> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (text.get(..at).unwrap_or_default(), decimal_exponent(text.get(at + 1..).unwrap_or_default())),
        None => (text, 0),
    };
    let fraction = mantissa.iter().position(|byte| *byte == b'.').map_or(0, |dot| mantissa.len() - dot - 1);
    let digits = || mantissa.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0');
    let Some(last) = digits().rev().position(|digit| digit != 0) else {
        return Ok(Integer { negative, magnitude: 0 });
    };
    // The value is the digits without their trailing zeros, times ten to the power `scale`.
    let significant = digits().count() - last;
    let scale = exponent
        .saturating_sub(i64::try_from(fraction).unwrap_or(i64::MAX))
        .saturating_add(i64::try_from(last).unwrap_or(i64::MAX));
    let power = match u32::try_from(scale) {
        Ok(power) => power,
        Err(_) if scale < 0 => return Err(Bad::Form),
        Err(_) => return Err(Bad::Range),
    };
    let value =
        digits().take(significant).try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(digit.into()));
    let magnitude = 10u64.checked_pow(power).zip(value).and_then(|(power, value)| value.checked_mul(power));
    Ok(Integer { negative, magnitude: magnitude.ok_or(Bad::Range)? })
}

fn decimal_exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let value = digits.iter().fold(0i64, |value, digit| value.saturating_mul(10).saturating_add((digit - b'0').into()));
    if negative { -value } else { value }
}

/// Reads a JSON number as a double; an overflow is out of range, an underflow is zero.
pub(crate) fn double(text: &[u8]) -> Result<f64, Bad> {
    let value: f64 = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Bad::Form)?;
    if value.is_finite() { Ok(value) } else { Err(Bad::Range) }
}

/// As [`double`], rounded once, to single precision.
pub(crate) fn float(text: &[u8]) -> Result<f32, Bad> {
    let value: f32 = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Bad::Form)?;
    if value.is_finite() { Ok(value) } else { Err(Bad::Range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_exact_in_every_notation() {
        let cases: [(&str, i64); 12] = [
            ("0", 0),
            ("-0", 0),
            ("1.0", 1),
            ("1e5", 100_000),
            ("1.5e1", 15),
            ("100000e-5", 1),
            ("-12.00", -12),
            ("0.000e99999999999999999999", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("9.223372036854775807e18", i64::MAX),
            ("92233720368547758070e-1", i64::MAX),
        ];
        for (text, value) in cases {
            assert_eq!(integer(text.as_bytes()).and_then(Integer::to_i64), Ok(value), "{text}");
        }
        assert_eq!(integer(b"18446744073709551615").and_then(Integer::to_u64), Ok(u64::MAX));
    }

    #[test]
    fn others_are_refused() {
        let cases = [
            ("0.5", Bad::Form),
            ("1e-1", Bad::Form),
            ("1e-99999999999999999999", Bad::Form),
            ("9223372036854775808", Bad::Range),
            ("-9223372036854775809", Bad::Range),
            ("1e400", Bad::Range),
            ("1e99999999999999999999", Bad::Range),
            ("100000000000000000000", Bad::Range),
        ];
        for (text, expected) in cases {
            assert_eq!(integer(text.as_bytes()).and_then(Integer::to_i64), Err(expected), "{text}");
        }
        assert_eq!(integer(b"-1").and_then(Integer::to_u64), Err(Bad::Range));
        assert_eq!(integer(b"4294967296").and_then(Integer::to_u32), Err(Bad::Range));
        assert_eq!(integer(b"-2147483649").and_then(Integer::to_i32), Err(Bad::Range));
    }

    #[test]
    fn a_million_digits_are_linear() {
        let long = "1".repeat(1_000_000);
        assert_eq!(integer(long.as_bytes()), Err(Bad::Range));
        let zeros = format!("1{}e-1000000", "0".repeat(1_000_000));
        assert_eq!(integer(zeros.as_bytes()).and_then(Integer::to_i64), Ok(1));
    }

    #[test]
    fn short_integers_stop_where_they_should() {
        let cases: [(&str, Option<(i64, usize)>); 8] = [
            ("12,", Some((12, 2))),
            ("-7]", Some((-7, 2))),
            ("0", Some((0, 1))),
            ("012", None),
            ("1.0", None),
            ("1e5", None),
            ("-", None),
            ("1234567890123456789", None),
        ];
        for (text, expected) in cases {
            let found = short_integer(text.as_bytes()).map(|(integer, len)| (integer.to_i64().unwrap(), len));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn digits_at_once_are_the_digits_one_by_one() {
        for len in 0..12 {
            for seed in 0..500u64 {
                let number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000_000;
                let digits = format!("{number:012}");
                for after in [",", "]", ".", "/", ":", "é", "\u{0}"] {
                    let text = format!("{}{after}12345678", &digits[..len]);
                    let expected = digit_by_digit(text.as_bytes());
                    assert!(up_to_seven_digits(text.as_bytes()).is_none_or(|found| found == expected), "{text}");
                }
            }
        }
        assert_eq!(up_to_seven_digits(b"1234567,"), Some((1_234_567, 7)));
        assert_eq!(up_to_seven_digits(b"12345678,"), None);
    }

    #[test]
    fn floats_round_once_and_stay_finite() {
        assert_eq!(float(b"3.4028235e38"), Ok(f32::MAX));
        assert_eq!(float(b"3.5e38"), Err(Bad::Range));
        assert_eq!(double(b"1e400"), Err(Bad::Range));
        assert_eq!(double(b"1e-400"), Ok(0.0));
        assert_eq!(double(b"-0.0").map(f64::to_bits), Ok((-0.0f64).to_bits()));
    }
}
