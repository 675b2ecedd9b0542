//! The lines of an HTTP/1 head: request line, fields, and those fields that a connection itself must understand. Pure.
//!
//! The `usual_…` functions read a line in one pass and never refuse: whatever they do not understand, or is not complete, is
//! left to the careful ones beside them, which name the fault.

use super::framing::Fault;

/// What a request line holds beside its target: a method, two spaces and the version.
pub(super) const REQUEST_LINE_EXTRA: usize = MAX_METHOD_LEN + " HTTP/1.1".len() + 2;

/// No method of any registered extension is half as long.
pub(super) const MAX_METHOD_LEN: usize = 32;

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
pub(super) fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// A byte of a field value: visible, space, tab, or above ASCII.
#[inline]
pub(super) fn is_value_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & VALUE != 0
}

/// A byte of a target that needs no second look: all but the backquote.
#[inline]
pub(super) fn is_plain_target_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & PLAIN_TARGET != 0
}

/// What stands behind the method and the target of a usual request line, and the space between them.
pub(super) const REQUEST_LINE_REST: usize = " ".len() + USUAL_VERSION.len();

const USUAL_VERSION: &[u8] = b" HTTP/1.1\r\n";

/// The lengths of method and target at the beginning of `bytes`, of HTTP/1.1 and with a path as target.
pub(super) fn usual_request_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let method_len = bytes.iter().position(|byte| !is_token_byte(*byte))?;
    let rest = bytes.get(method_len..)?.strip_prefix(b" ")?;
    let target_len = rest.iter().position(|byte| !is_plain_target_byte(*byte))?;
    let usual = (1..=MAX_METHOD_LEN).contains(&method_len) && rest.first() == Some(&b'/');
    (usual && rest.get(target_len..)?.starts_with(USUAL_VERSION)).then_some((method_len, target_len))
}

/// The lengths of name and value, white space included, of the field at the beginning of `bytes`.
pub(super) fn usual_field(bytes: &[u8]) -> Option<(usize, usize)> {
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

/// What a request line is made of: method, one space, target, one space, version.
#[derive(Debug)]
pub(super) struct RequestLine {
    /// Length of the method in bytes.
    pub(super) method_len: usize,
    /// Length of the target in bytes.
    pub(super) target_len: usize,
    /// HTTP/1.0, not 1.1.
    pub(super) http_10: bool,
}

/// Whether a request line that has not ended has a method of a permitted length.
pub(super) fn has_method(begun: &[u8]) -> bool {
    let most = MAX_METHOD_LEN.saturating_add(1);
    memchr::memchr(b' ', begun.get(..most).unwrap_or(begun)).is_some()
}

/// Reads `METHOD target HTTP/1.x`, without its line end.
pub(super) fn request_line(line: &[u8]) -> Result<RequestLine, Fault> {
    let method_len = line.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(line.len());
    let (method, rest) = line.split_at_checked(method_len).ok_or(Fault::RequestLine)?;
    let rest = rest.strip_prefix(b" ").ok_or(Fault::RequestLine)?;
    if method.is_empty() || method.len() > MAX_METHOD_LEN {
        return Err(Fault::RequestLine);
    }
    let (target, http_10) = if let Some(target) = rest.strip_suffix(b" HTTP/1.1") {
        (target, false)
    } else if let Some(target) = rest.strip_suffix(b" HTTP/1.0") {
        (target, true)
    } else {
        return Err(unknown_version(rest));
    };
    check_target(target)?;
    Ok(RequestLine { method_len, target_len: target.len(), http_10 })
}

/// Tells another version of HTTP from something else at the end of a request line.
fn unknown_version(rest: &[u8]) -> Fault {
    match rest.rsplit(|byte| *byte == b' ').next() {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Fault::Version
        }
        Some(_) | None => Fault::RequestLine,
    }
}

fn check_target(target: &[u8]) -> Result<(), Fault> {
    if target.is_empty() {
        return Err(Fault::RequestLine);
    }
    if !target.iter().all(|byte| CLASSES[usize::from(*byte)] & TARGET != 0) {
        return Err(Fault::Target);
    }
    // The URI type takes a raw backquote in a query only. And of the forms other than `/path` it knows best itself.
    let backquote = memchr::memchr(b'`', target);
    if (backquote.is_some() || target.first() != Some(&b'/')) && http::Uri::try_from(target).is_err() {
        return Err(Fault::Target);
    }
    Ok(())
}

/// Checks a field line, without its line end; the length of its name, which a colon follows.
pub(super) fn field_name_len(line: &[u8]) -> Result<usize, Fault> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Fault::Fold);
    }
    // One loop finds the end of the name and checks it.
    let name_len = line.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(line.len());
    let value = line.get(name_len..).and_then(|rest| rest.strip_prefix(b":"));
    let value = value.filter(|_| name_len > 0).ok_or(Fault::FieldName)?;
    if !value.iter().all(|byte| is_value_byte(*byte)) {
        return Err(Fault::FieldValue);
    }
    Ok(name_len)
}

/// The fields that a connection itself must understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    Te,
}

/// Which of them a name is.
#[inline]
pub(super) fn special(name: &[u8]) -> Option<Special> {
    let (special, full) = match name.len() {
        2 => (Special::Te, &b"te"[..]),
        6 => (Special::Expect, &b"expect"[..]),
        7 => (Special::Upgrade, &b"upgrade"[..]),
        10 => (Special::Connection, &b"connection"[..]),
        14 => (Special::ContentLength, &b"content-length"[..]),
        17 => (Special::TransferEncoding, &b"transfer-encoding"[..]),
        _ => return None,
    };
    name.eq_ignore_ascii_case(full).then_some(special)
}

/// Whether a list names `option`. What an element says behind a semicolon does not matter.
pub(super) fn names(list: &[u8], option: &[u8]) -> bool {
    let elements = list.split(|byte| *byte == b',');
    let mut names = elements.map(|element| element.split(|byte| *byte == b';').next().unwrap_or_default());
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(option))
}

/// The value of `Content-Length`: digits, below 2^63.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() {
        return Err(Fault::Length);
    }
    let mut length = 0_u64;
    for byte in value {
        if !byte.is_ascii_digit() {
            return Err(Fault::Length);
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
            .filter(|length| i64::try_from(*length).is_ok())
            .ok_or(Fault::Length)?;
    }
    Ok(length)
}

/// Accepts exactly `chunked`. Every other spelling is where two parsers may part.
pub(super) fn transfer_encoding(value: &[u8]) -> Result<(), Fault> {
    match value {
        b"chunked" => Ok(()),
        b"gzip" | b"x-gzip" | b"deflate" | b"compress" | b"x-compress" | b"identity" => Err(Fault::UnknownCoding),
        _ => Err(Fault::Coding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_lines_are_read_and_others_are_left() {
        assert_eq!(usual_request_line(b"GET /a?b HTTP/1.1\r\nmore"), Some((3, 4)));
        let left: [&[u8]; 9] = [
            b"",
            b"GET",
            b"GET / HTTP/1.1\r",
            b"GET / HTTP/1.0\r\n",
            b"GET * HTTP/1.1\r\n",
            b"GET /` HTTP/1.1\r\n",
            b"GET / HTTP/1.1\n",
            b" / HTTP/1.1\r\n",
            b"GET  / HTTP/1.1\r\n",
        ];
        for line in left {
            assert_eq!(usual_request_line(line), None, "{line:?}");
        }
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
