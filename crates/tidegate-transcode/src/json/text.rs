//! JSON string literals: finding the bytes that need attention eight at a time, and writing literals.

/// The first index at or after `from` whose byte is a quote, a backslash or a control character below 0x20; the length
/// of `bytes` if there is none.
///
/// Looks at eight bytes per step with ordinary integer arithmetic, which is what a vector unit would do and needs no
/// unsafe code.
#[inline]
pub(crate) fn find_special(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let found = special_mask(u64::from_le_bytes(*word));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            break;
        }
        at += 1;
    }
    at
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
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let to = find_special(bytes, from);
        out.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        let Some(&byte) = bytes.get(to) else { break };
        write_escape(byte, out);
        from = to + 1;
    }
    out.push(b'"');
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
        assert_eq!(find_special(&[0x80; 17], 3), 17);
    }

    #[test]
    fn literals_read_back() {
        let text = "plain \"quoted\" \\ \n\r\t\u{8}\u{c}\u{1}\u{1f} é 😀 and then a longer tail without anything";
        let mut out = Vec::new();
        write_string(text, &mut out);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
