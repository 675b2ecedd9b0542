//! Appending short texts without a call to `memcpy`.
//!
//! A copy of constant length is two or four instructions; one of variable length is a function call, which costs more
//! than the copy itself for the few bytes of a key or a number. So more bytes than needed are appended, and the surplus
//! is cut off again, which only moves the end of the `Vec`. Halves the time of printing small messages.

use crate::plan::Text;

/// Bytes that must follow the last text of an arena so that any text can be copied in one piece.
pub(crate) const PADDING: usize = LONG;
/// Texts up to this length are copied in one piece.
const LONG: usize = 32;

/// Appends a text of the arena.
#[inline]
pub(super) fn arena_text(arena: &str, text: Text, out: &mut Vec<u8>) {
    let rest = arena.as_bytes().get(text.start as usize..).unwrap_or_default();
    let len = usize::from(text.len);
    match rest.first_chunk::<LONG>() {
        Some(piece) if len <= LONG => {
            let end = out.len() + len;
            out.extend_from_slice(piece);
            out.truncate(end);
        }
        _ => out.extend_from_slice(rest.get(..len).unwrap_or_default()),
    }
}

/// True if `json` begins with a text of the arena.
#[inline]
pub(super) fn starts_with(json: &[u8], arena: &str, text: Text) -> bool {
    let rest = arena.as_bytes().get(text.start as usize..).unwrap_or_default();
    let len = u32::from(text.len);
    if let (Some(a), Some(b)) = (json.first_chunk::<16>(), rest.first_chunk::<16>())
        && (1..=16).contains(&len)
    {
        let difference = u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b);
        return difference << (128 - 8 * len) == 0;
    }
    json.starts_with(rest.get(..usize::from(text.len)).unwrap_or_default())
}

/// Appends a number in decimal digits.
#[inline]
pub(super) fn decimal(magnitude: u64, out: &mut Vec<u8>) {
    match u32::try_from(magnitude) {
        Ok(small) if small < 100_000_000 => eight_digits(small, out),
        _ => out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes()),
    }
}

/// Appends a number below 10^8. All eight digits are computed at once, in the bytes of one word, and those in front that
/// are zero are shifted out.
///
/// Source of the arithmetic: Paul Khuong, "How to print integers really fast", 2017.
#[inline]
fn eight_digits(value: u32, out: &mut Vec<u8>) {
    let halves = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (pairs - 10 * tens) << 8;
    // The last digit is kept even if it is zero.
    let leading = (digits.trailing_zeros() / 8).min(7);
    let text = (digits | 0x3030_3030_3030_3030) >> (8 * leading);
    let end = out.len() + 8 - leading as usize;
    out.extend_from_slice(&text.to_le_bytes());
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_digits() {
        let powers = (0..20).map(|power| 10u64.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power.wrapping_mul(7) + 3]);
        for value in around.chain([u64::MAX]).chain((0..100_000_000).step_by(9_973)) {
            let mut out = b"x".to_vec();
            decimal(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{value}"));
        }
    }

    #[test]
    fn texts_are_copied_and_compared_whatever_their_length() {
        let arena = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for start in 0..arena.len() {
            for len in 0..=arena.len() - start {
                let text = Text { start: start as u32, len: len as u16 };
                let mut out = Vec::new();
                arena_text(arena, text, &mut out);
                assert_eq!(out, arena.as_bytes()[start..start + len]);
                assert!(starts_with(&out, arena, text));
                out.extend_from_slice(b"!!!!!!!!!!!!!!!!");
                assert!(starts_with(&out, arena, text));
                if len > 0 {
                    out[len - 1] ^= 1;
                    assert!(!starts_with(&out, arena, text));
                    assert!(!starts_with(&out[..len - 1], arena, text));
                }
            }
        }
    }
}
