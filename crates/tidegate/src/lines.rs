//! What lines of HTTP/1 heads are made of, whether a client or a backend sends them. Pure.

/// Classes of bytes, so that each is looked up once.
const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const VALUE: u8 = 4;
const PLAIN_TARGET: u8 = 8;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let token = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        // A fragment never travels, and the URI type behind us knows no raw quotes and angle brackets.
        let target = byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>');
        let plain_target = target && byte != b'`';
        let value = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        classes[byte as usize] = ((token as u8) * TOKEN)
            | ((target as u8) * TARGET)
            | ((value as u8) * VALUE)
            | ((plain_target as u8) * PLAIN_TARGET);
        if byte == u8::MAX {
            return classes;
        }
        byte += 1;
    }
}

/// A byte of a method, a field name or a chunk extension (RFC 9110, section 5.6.2).
#[inline]
#[must_use]
pub fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// A byte of a field value: visible, space, tab, or above ASCII.
#[inline]
#[must_use]
pub fn is_value_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & VALUE != 0
}

/// A byte of a request's target.
#[inline]
#[must_use]
pub fn is_target_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TARGET != 0
}

/// A byte of a target that needs no second look: all but the backquote.
#[inline]
#[must_use]
pub fn is_plain_target_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & PLAIN_TARGET != 0
}

/// The lengths of name and value, white space included, of the field at the beginning of `bytes`, in one pass. `None`: it is not
/// complete, or breaks a rule (RFC 9112, section 5).
#[must_use]
pub fn usual_field(bytes: &[u8]) -> Option<(usize, usize)> {
    let name_len = bytes.iter().position(|byte| !is_token_byte(*byte))?;
    let value = bytes.get(name_len..)?.strip_prefix(b":")?;
    let value_len = value_len(value)?;
    (name_len > 0 && value.get(value_len..)?.starts_with(b"\r\n")).then_some((name_len, value_len))
}

/// Where the first control character other than a tab stands.
#[inline]
fn value_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        at = at.checked_add(first_control(bytes.get(at..)?)?)?;
        if bytes.get(at) != Some(&b'\t') {
            return Some(at);
        }
        at = at.checked_add(1)?;
    }
}

/// Where the first byte below space or DEL stands. Looks at eight bytes at a time.
#[inline]
fn first_control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The subtractions borrow from higher bytes only, so the lowest marked byte is truly one.
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let del = word ^ (ONES * 0x7f);
        let is_del = del.wrapping_sub(ONES) & !del;
        let marked = (below_space | is_del) & HIGH_BITS;
        if marked != 0 {
            return Some(index * 8 + (marked.trailing_zeros() / 8) as usize);
        }
    }
    let tail = rest.iter().position(|byte| *byte < b' ' || *byte == 0x7f)?;
    Some(words.len() * 8 + tail)
}

/// A number of decimal digits and nothing else, if it fits.
#[must_use]
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether a list names `option`. What an element says behind a semicolon does not matter.
#[must_use]
pub fn names(list: &[u8], option: &[u8]) -> bool {
    let elements = list.split(|byte| *byte == b',');
    let mut names = elements.map(|element| element.split(|byte| *byte == b';').next().unwrap_or_default());
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_fields_are_read_and_others_are_left() {
        assert_eq!(usual_field(b"A: b\tc\r\nmore"), Some((1, 4)));
        assert_eq!(usual_field(b"D:\r\n"), Some((1, 0)));
        for line in ["", "A: b", "A: b\r", "A: b\n", "A : b\r\n", " A: b\r\n", ": b\r\n", "A: \x7f\r\n", "A: b\r\r\n"] {
            assert_eq!(usual_field(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn controls_are_found_at_every_place() {
        for len in 0..40 {
            for control in [0, b'\t', b'\r', 0x1f, 0x7f] {
                for filler in [b' ', b'~', 0x80, 0xff, b'a'] {
                    let mut bytes = vec![filler; len];
                    assert_eq!(first_control(&bytes), None);
                    bytes.extend_from_slice(&[control, filler, b'\n']);
                    assert_eq!(first_control(&bytes), Some(len), "{control:x} after {len} of {filler:x}");
                }
            }
        }
    }

    #[test]
    fn lists_name_their_elements() {
        for list in ["close", "Keep-Alive, Close", " close ;q=1", "a,close"] {
            assert!(names(list.as_bytes(), b"close"), "{list}");
        }
        for list in ["", "closed", "close x", "a;close"] {
            assert!(!names(list.as_bytes(), b"close"), "{list}");
        }
    }
}
