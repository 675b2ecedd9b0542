//! A bar as bytes: about 60 of them instead of 150.
//!
//! ```text
//!   1   format of the value, 1
//!   6×  open, high, low, close, volume, turnover:
//!         1      scale, 0 to 28; the highest bit is the sign
//!         1      length of the mantissa, 0 to 12
//!         0-12   mantissa, the lowest byte first
//!   8   count
//!   2×  first, last: 8 seconds since 1970, 4 nanoseconds, 8 sequence
//! ```
//!
//! All numbers are little-endian. What does not fit exactly is unreadable.

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::market::ohlcv::{Moment, Ohlcv};

const FORMAT: u8 = 1;
const SIGN: u8 = 0x80;
/// Of 96 bits.
const MANTISSA_MAX_BYTES: usize = 12;

/// The bytes of a bar.
pub(super) fn encode(bar: &Ohlcv) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    bytes.push(FORMAT);
    for number in [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.turnover] {
        let mantissa = number.mantissa().unsigned_abs().to_le_bytes();
        let len = mantissa.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let sign = if number.is_sign_negative() { SIGN } else { 0 };
        // Both fit: a scale is at most 28, a mantissa has at most 12 bytes.
        bytes.push(number.scale() as u8 | sign);
        bytes.push(len as u8);
        bytes.extend(mantissa.iter().take(len));
    }
    bytes.extend(bar.count.to_le_bytes());
    for moment in [bar.first, bar.last] {
        bytes.extend(moment.at.as_second().to_le_bytes());
        bytes.extend(moment.at.subsec_nanosecond().to_le_bytes());
        bytes.extend(moment.sequence.to_le_bytes());
    }
    bytes
}

/// The bar of these bytes; `None` if they are not exactly one.
pub(super) fn decode(bytes: &[u8]) -> Option<Ohlcv> {
    let mut rest = Rest(bytes);
    if rest.byte()? != FORMAT {
        return None;
    }
    let [open, high, low, close, volume, turnover] = [(); 6].map(|()| rest.decimal());
    let count = u64::from_le_bytes(rest.array()?);
    let (first, last) = (rest.moment()?, rest.moment()?);
    let bar = Ohlcv {
        open: open?,
        high: high?,
        low: low?,
        close: close?,
        volume: volume?,
        turnover: turnover?,
        count,
        first,
        last,
    };
    rest.0.is_empty().then_some(bar)
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self) -> Option<u8> {
        let [byte] = self.array()?;
        Some(byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn decimal(&mut self) -> Option<Decimal> {
        let [scale, len] = self.array()?;
        let len = usize::from(len);
        if len > MANTISSA_MAX_BYTES {
            return None;
        }
        let (digits, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        let mantissa = digits.iter().rev().fold(0_i128, |sum, byte| (sum << 8) | i128::from(*byte));
        let signed = if scale & SIGN == 0 { mantissa } else { -mantissa };
        Decimal::try_from_i128_with_scale(signed, u32::from(scale & !SIGN)).ok()
    }

    fn moment(&mut self) -> Option<Moment> {
        let (second, nanosecond) = (i64::from_le_bytes(self.array()?), i32::from_le_bytes(self.array()?));
        let sequence = u64::from_le_bytes(self.array()?);
        Some(Moment { at: Timestamp::new(second, nanosecond).ok()?, sequence })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal() -> impl Strategy<Value = Decimal> {
        let mantissa = prop_oneof![-1_000_000_i128..1_000_000, -(1_i128 << 96) + 1..1_i128 << 96];
        (mantissa, 0_u32..29).prop_map(|(mantissa, scale)| Decimal::from_i128_with_scale(mantissa, scale))
    }

    fn moment() -> impl Strategy<Value = Moment> {
        (-377_705_023_201_i64..253_402_207_200, 0..1_000_000_000, any::<u64>())
            .prop_map(|(second, nano, sequence)| Moment { at: Timestamp::new(second, nano).unwrap(), sequence })
    }

    proptest! {
        #[test]
        fn a_bar_comes_back_digit_by_digit(
            numbers in proptest::array::uniform6(decimal()),
            count in any::<u64>(),
            (first, last) in (moment(), moment()),
        ) {
            let [open, high, low, close, volume, turnover] = numbers;
            let bar = Ohlcv { open, high, low, close, volume, turnover, count, first, last };
            let bytes = encode(&bar);
            let back = decode(&bytes).unwrap();
            // Written out, because equal numbers may have different scales.
            prop_assert_eq!(format!("{back:?}"), format!("{bar:?}"));
            for len in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..len]), None);
            }
            prop_assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 1..120)) {
            decode(&bytes);
            bytes[0] = FORMAT;
            decode(&bytes);
        }
    }

    #[test]
    fn an_ordinary_bar_is_short() {
        let bar = crate::market::ohlcv::samples::bar(1_700_000_000, "64012.50");
        assert_eq!(encode(&bar).len(), 1 + 4 * (2 + 3) + (2 + 1) + (2 + 3) + 8 + 2 * 20);
    }
}
