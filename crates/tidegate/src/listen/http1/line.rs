//! The lines of an HTTP/1 head: request line, fields, and those fields that a connection itself must understand. Pure.
//!
//! [`usual_request_line`] reads in one pass and never refuses: whatever it does not understand, or is not complete, is left to
//! the careful [`request_line`], which names the fault. `crate::lines` does the same for fields.

use super::framing::Fault;
use crate::lines::{self, is_plain_target_byte, is_target_byte, is_token_byte, is_value_byte};

/// What a request line holds beside its target: a method, two spaces and the version.
pub(super) const REQUEST_LINE_EXTRA: usize = MAX_METHOD_LEN + " HTTP/1.1".len() + 2;

/// No method of any registered extension is half as long.
pub(super) const MAX_METHOD_LEN: usize = 32;

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
    if !target.iter().copied().all(is_target_byte) {
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

/// The value of `Content-Length`: digits, below 2^63.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Fault> {
    lines::decimal(value).filter(|length| i64::try_from(*length).is_ok()).ok_or(Fault::Length)
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
    }
}
