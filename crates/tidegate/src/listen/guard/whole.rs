//! Reads a head that is all at hand and has nothing unusual about it, in one pass. Pure.
//!
//! Nearly every head is of that kind, and going line by line costs three times as much. This never refuses: whatever
//! it does not understand is left to the careful reader, which then names the fault.

use super::framing::HeadLimits;
use super::line::{self, FieldName};

/// What framing needs to know of a head, as far as this reader takes it over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// Length in bytes, with the empty line.
    pub(super) len: usize,
    pub(super) fields: usize,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
}

/// The head at the beginning of `bytes`, of HTTP/1.1 and with a path as target; `None` if it is not complete, breaks
/// a rule or a limit, or is merely rare.
pub(super) fn read(bytes: &[u8], limits: &HeadLimits) -> Option<Whole> {
    let method_len = bytes.iter().position(|byte| !line::is_token_byte(*byte))?;
    let rest = bytes.get(method_len..)?.strip_prefix(b" ")?;
    let target_len = rest.iter().position(|byte| !line::is_plain_target_byte(*byte))?;
    let is_path = rest.first() == Some(&b'/') && target_len <= limits.uri_bytes;
    if method_len == 0 || method_len > line::MAX_METHOD_LEN || !is_path {
        return None;
    }
    let mut rest = rest.get(target_len..)?.strip_prefix(b" HTTP/1.1\r\n")?;
    let mut whole = Whole { len: 0, fields: 0, length: None, chunked: false };
    loop {
        if let Some(after) = rest.strip_prefix(b"\r\n") {
            whole.len = bytes.len().saturating_sub(after.len());
            let permitted = whole.len <= limits.head_bytes && whole.fields <= limits.fields;
            let one_framing = whole.length.is_none() || !whole.chunked;
            return (permitted && one_framing).then_some(whole);
        }
        rest = field(rest, &mut whole)?;
    }
}

/// Reads one field and its line end; what follows.
fn field<'a>(bytes: &'a [u8], whole: &mut Whole) -> Option<&'a [u8]> {
    let name_len = bytes.iter().position(|byte| !line::is_token_byte(*byte))?;
    let (name, rest) = bytes.split_at_checked(name_len)?;
    let rest = rest.strip_prefix(b":")?;
    if name.is_empty() {
        return None;
    }
    let value_len = value_len(rest)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    whole.fields = whole.fields.saturating_add(1);
    match line::field_name(name) {
        FieldName::Other => {}
        FieldName::ContentLength if whole.length.is_none() => {
            whole.length = Some(line::content_length(value.trim_ascii()).ok()?);
        }
        FieldName::TransferEncoding if !whole.chunked => {
            line::transfer_encoding(value.trim_ascii()).ok()?;
            whole.chunked = true;
        }
        FieldName::ContentLength | FieldName::TransferEncoding | FieldName::Upgrade => return None,
    }
    rest.strip_prefix(b"\r\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_heads_are_read_and_unusual_ones_are_left() {
        let read = |head: &str| read(head.as_bytes(), &HeadLimits::default());
        let whole = |len, fields, length, chunked| Some(Whole { len, fields, length, chunked });
        assert_eq!(read("GET / HTTP/1.1\r\n\r\nmore"), whole(18, 0, None, false));
        assert_eq!(read("GET /a?b HTTP/1.1\r\nA: b\tc\r\nD:\r\n\r\n"), whole(33, 2, None, false));
        assert_eq!(read("PUT / HTTP/1.1\r\ncontent-length:\t7 \r\n\r\n"), whole(38, 1, Some(7), false));
        assert_eq!(read("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), whole(46, 1, None, true));
        let left = [
            "",
            "GET",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nA: b",
            "GET / HTTP/1.1\r\nA: b\r\n\r",
            "GET / HTTP/1.0\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
            "GET /` HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \x7f\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ];
        for head in left {
            assert_eq!(read(head), None, "{head:?}");
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
}
