//! The lines of an HTTP/1 head: request line, fields, and the two fields that frame the body. Pure.

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

/// What framing needs to know of a request line.
#[derive(Debug)]
pub(super) struct RequestLine {
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
    Ok(RequestLine { target_len: target.len(), http_10 })
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

/// The fields that framing depends on, and what follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldName {
    ContentLength,
    TransferEncoding,
    /// Its value says whether what follows is HTTP.
    Upgrade,
    Other,
}

/// Splits a field line, without its line end, into name and trimmed value.
pub(super) fn field(line: &[u8]) -> Result<(FieldName, &[u8]), Fault> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Fault::Fold);
    }
    // One loop finds the end of the name and checks it.
    let name_len = line.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(line.len());
    let (name, value) = line.split_at_checked(name_len).ok_or(Fault::FieldName)?;
    let Some(value) = value.strip_prefix(b":") else {
        return Err(Fault::FieldName);
    };
    if name.is_empty() {
        return Err(Fault::FieldName);
    }
    if !value.iter().all(|byte| is_value_byte(*byte)) {
        return Err(Fault::FieldValue);
    }
    Ok((field_name(name), value.trim_ascii()))
}

/// Whether a name is one of the two that frame a body, or the one that asks for another protocol behind the head.
#[inline]
pub(super) fn field_name(name: &[u8]) -> FieldName {
    match name.len() {
        7 if name.eq_ignore_ascii_case(b"upgrade") => FieldName::Upgrade,
        14 if name.eq_ignore_ascii_case(b"content-length") => FieldName::ContentLength,
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => FieldName::TransferEncoding,
        _ => FieldName::Other,
    }
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

/// Whether a value of `Upgrade` names WebSocket.
pub(super) fn asks_for_websocket(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Accepts exactly `chunked`. Every other spelling is where two parsers may part.
pub(super) fn transfer_encoding(value: &[u8]) -> Result<(), Fault> {
    match value {
        b"chunked" => Ok(()),
        b"gzip" | b"x-gzip" | b"deflate" | b"compress" | b"x-compress" | b"identity" => Err(Fault::UnknownCoding),
        _ => Err(Fault::Coding),
    }
}
