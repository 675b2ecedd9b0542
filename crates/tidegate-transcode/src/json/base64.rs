//! Base64 in JSON: any alphabet and padding in, the standard padded form out.

/// Appends what `text` decodes to: standard or URL alphabet, even mixed, padded or not. `None` for any other character,
/// or wrong padding; `out` then has a part of the result. Spare bits of the last character are not looked at, as in the reference implementation.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let unpadded = match text {
        [head @ .., b'=', b'='] if text.len().is_multiple_of(4) => head,
        [head @ .., b'='] if text.len().is_multiple_of(4) => head,
        _ => text,
    };
    out.reserve(unpadded.len() / 4 * 3 + 2);
    let (quads, tail) = unpadded.as_chunks::<4>();
    for [a, b, c, d] in quads {
        let (a, b, c, d) = (sextet(*a), sextet(*b), sextet(*c), sextet(*d));
        if (a | b | c | d) > 0x3f {
            return None;
        }
        let word = a << 18 | b << 12 | c << 6 | d;
        let [_, x, y, z] = word.to_be_bytes();
        out.extend_from_slice(&[x, y, z]);
    }
    let (a, b, c) = match *tail {
        [] => return Some(()),
        [a, b] => (sextet(a), sextet(b), 0),
        [a, b, c] => (sextet(a), sextet(b), sextet(c)),
        _ => return None,
    };
    if (a | b | c) > 0x3f {
        return None;
    }
    let [_, x, y, _] = (a << 18 | b << 12 | c << 6).to_be_bytes();
    out.push(x);
    if tail.len() == 3 {
        out.push(y);
    }
    Some(())
}

/// The six bits of a character; a value above 63 for one that is not in either alphabet.
#[inline]
fn sextet(character: u8) -> u32 {
    const TABLE: [u8; 256] = table();
    u32::from(TABLE.get(usize::from(character)).copied().unwrap_or(0xff))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const fn table() -> [u8; 256] {
    let mut table = [0xff; 256];
    let mut i = 0;
    while i < 64 {
        table[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
}

/// Appends `bytes` in the standard alphabet with padding.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3).saturating_mul(4));
    let (triples, tail) = bytes.as_chunks::<3>();
    for [x, y, z] in triples {
        let word = u32::from(*x) << 16 | u32::from(*y) << 8 | u32::from(*z);
        out.extend_from_slice(&[letter(word >> 18), letter(word >> 12), letter(word >> 6), letter(word)]);
    }
    match *tail {
        [x] => {
            let word = u32::from(x) << 16;
            out.extend_from_slice(&[letter(word >> 18), letter(word >> 12), b'=', b'=']);
        }
        [x, y] => {
            let word = u32::from(x) << 16 | u32::from(y) << 8;
            out.extend_from_slice(&[letter(word >> 18), letter(word >> 12), letter(word >> 6), b'=']);
        }
        _ => {}
    }
}

#[inline]
fn letter(word: u32) -> u8 {
    ALPHABET.get((word & 0x3f) as usize).copied().unwrap_or(b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lengths_round_trip() {
        for len in 0..40u8 {
            let bytes: Vec<u8> = (0..len).map(|i| i.wrapping_mul(151)).collect();
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            assert_eq!(text.len() % 4, 0);
            let unpadded: Vec<u8> = text.iter().copied().filter(|c| *c != b'=').collect();
            for form in [text, unpadded] {
                let mut back = Vec::new();
                assert_eq!(decode(&form, &mut back), Some(()), "{form:?}");
                assert_eq!(back, bytes);
            }
        }
    }

    #[test]
    fn both_alphabets_are_read() {
        for text in ["-_-_", "+/+/", "+_-/"] {
            let mut out = Vec::new();
            assert!(decode(text.as_bytes(), &mut out).is_some(), "{text}");
            assert_eq!(out, [0xfb, 0xff, 0xbf], "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["A", "AAAAA", "AA=", "A===", "=AAA", "AA=A", "AA==AA==", "A A=", "AAA*", "AAé", "===="] {
            assert!(decode(text.as_bytes(), &mut Vec::new()).is_none(), "{text}");
        }
    }
}
