//! JSON string literals: finding the bytes that need attention eight at a time, and writing literals.

/// The first index at or after `from` whose byte is a quote, a backslash or a control character below 0x20; the length
/// of `bytes` if there is none.
///
/// Looks at eight bytes per step with ordinary integer arithmetic, which is what a vector unit would do and needs no
/// unsafe code.
#[inline]
pub(crate) fn find_special(bytes: &[u8], from: usize) -> usize {
    scan(bytes, from).0
}

/// As [`find_special`], and whether a byte of 0x80 or more was met. A byte behind the place that was found may count.
#[inline]
fn scan(bytes: &[u8], from: usize) -> (usize, bool) {
    let mut at = from;
    let mut seen = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let found = special_mask(word);
        seen |= word;
        if found != 0 {
            return (at + (found.trailing_zeros() / 8) as usize, seen & HIGH_BITS != 0);
        }
        at += 8;
    }
    // Fewer than eight bytes are left. They are looked at as one word whose other bytes are zero: the first of those
    // counts as a control character, at the place where the text ends.
    let word = short_word(bytes.get(at..).unwrap_or_default());
    seen |= word;
    let found = special_mask(word);
    ((at + (found.trailing_zeros() / 8) as usize).min(bytes.len()), seen & HIGH_BITS != 0)
}

/// Up to seven bytes as a little-endian number.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (first, last) = (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)));
        return first | last << (8 * (len - 4));
    }
    let byte = |at: usize| bytes.get(at).map_or(0, |byte| u64::from(*byte));
    byte(0) | byte(1) << 8 | byte(2) << 16
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// High bit set in each byte that is a quote, a backslash or below 0x20. Exact up to and including the lowest such byte,
/// which is all that is asked: a borrow can only disturb bytes above a hit.
#[inline]
fn special_mask(word: u64) -> u64 {
    let quote = word ^ (LOW_BITS * 0x22);
    let backslash = word ^ (LOW_BITS * 0x5c);
    let is_quote = quote.wrapping_sub(LOW_BITS) & !quote;
    let is_backslash = backslash.wrapping_sub(LOW_BITS) & !backslash;
    let is_control = word.wrapping_sub(LOW_BITS * 0x20) & !word;
    (is_quote | is_backslash | is_control) & HIGH_BITS
}

/// Appends `text` as a JSON string literal with its quotes. Only what must be escaped is.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    let end = find_special(text.as_bytes(), 0);
    write_from(text.as_bytes(), end, out);
}

/// As [`write_string`], for bytes that may not be UTF-8; `None` if they are not. Text of ASCII alone is looked at once.
#[inline]
pub(crate) fn write_bytes_as_string(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (end, beyond_ascii) = scan(bytes, 0);
    // A special byte ends the look ahead, so nothing is known of what follows it.
    if (beyond_ascii || end < bytes.len()) && simdutf8::basic::from_utf8(bytes).is_err() {
        return None;
    }
    write_from(bytes, end, out);
    Some(())
}

/// `end` is the first special byte.
#[inline]
fn write_from(bytes: &[u8], end: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    if end == bytes.len() {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(bytes, end, out);
    }
    out.push(b'"');
}

#[cold]
fn write_escaped(bytes: &[u8], first: usize, out: &mut Vec<u8>) {
    let (mut from, mut to) = (0, first);
    loop {
        out.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        let Some(&byte) = bytes.get(to) else { break };
        write_escape(byte, out);
        from = to + 1;
        to = find_special(bytes, from);
    }
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let hex = |nibble: u8| {
                if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
            };
            out.extend_from_slice(b"\\u00");
            out.push(hex(byte >> 4));
            out.push(hex(byte & 0xf));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for special in (0..0x20).chain([b'"', b'\\']) {
            for at in 0..20 {
                for filler in [b'a', 0x20, 0x21, 0x23, 0x7f, 0x80, 0xff] {
                    let mut bytes = [filler; 20];
                    bytes[at] = special;
                    assert_eq!(find_special(&bytes, 0), at, "{special:#x} among {filler:#x}");
                }
            }
        }
        for len in 0..20 {
            assert_eq!(find_special(&vec![0x80; len], 0), len);
        }
    }

    #[test]
    fn literals_read_back() {
        let text = "plain \"quoted\" \\ \n\r\t\u{8}\u{c}\u{1}\u{1f} é 😀 and then a longer tail without anything";
        for from in (0..text.len()).filter(|from| text.is_char_boundary(*from)) {
            let text = &text[from..];
            let (mut out, mut same) = (Vec::new(), Vec::new());
            write_string(text, &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            write_bytes_as_string(text.as_bytes(), &mut same).unwrap();
            assert_eq!(same, out);
        }
    }

    #[test]
    fn bytes_beyond_utf8_are_found_at_every_place() {
        for at in 0..20 {
            for text in [*b"abcdefghijklmnopqrst", *b"\"bcdefghi\njklmnopqrs"] {
                let mut bytes = text;
                bytes[at] = 0xff;
                assert!(write_bytes_as_string(&bytes, &mut Vec::new()).is_none(), "{at}");
            }
        }
    }
}
