//! Is a request body JSON? Reads the `content-type` header of a request.
//!
//! Source: RFC 9110 section 8.3.1 (grammar), RFC 6839 section 3.1 (`+json`).

use crate::error::Fault;

/// Checks the value of `content-type` of a body that is to be read as JSON. `None` is JSON as well.
///
/// `application/json` and `application/*+json` pass, unless there is a `charset` other than UTF-8. That there is at
/// most one header is the caller's to check.
///
/// # Errors
/// `ContentType` or `Charset`, both 415.
pub fn check_json(value: Option<&[u8]>) -> Result<(), Fault> {
    let Some(value) = value else {
        return Ok(());
    };
    if value == b"application/json" {
        return Ok(());
    }
    check(value, is_json)
}

/// As [`check_json`], for a body that may be a sequence of JSON values: the types of NDJSON pass as well.
///
/// # Errors
/// As [`check_json`].
pub fn check_json_sequence(value: Option<&[u8]>) -> Result<(), Fault> {
    let is_sequence = |media: &[u8]| {
        let named = |name: &[u8]| media.eq_ignore_ascii_case(name);
        is_json(media) || named(b"application/x-ndjson") || named(b"application/ndjson")
    };
    value.map_or(Ok(()), |value| check(value, is_sequence))
}

fn check(value: &[u8], is_right: impl Fn(&[u8]) -> bool) -> Result<(), Fault> {
    let (media, mut parameters) = match memchr::memchr(b';', value) {
        Some(at) => value.split_at(at),
        None => (value, &[][..]),
    };
    if !is_right(media.trim_ascii()) {
        return Err(Fault::ContentType);
    }
    while let [b';', rest @ ..] = parameters {
        let (parameter, left) = split_parameter(rest);
        parameters = left;
        let Some((name, value)) = name_and_value(parameter) else {
            continue;
        };
        let utf8 = value.eq_ignore_ascii_case(b"utf-8") || value.eq_ignore_ascii_case(b"utf8");
        if name.eq_ignore_ascii_case(b"charset") && !utf8 {
            return Err(Fault::Charset);
        }
    }
    Ok(())
}

fn is_json(media: &[u8]) -> bool {
    const TREE: &[u8] = b"application/";
    const SUFFIX: &[u8] = b"+json";
    let Some((tree, subtype)) = media.split_at_checked(TREE.len()) else {
        return false;
    };
    if !tree.eq_ignore_ascii_case(TREE) || subtype.iter().any(|byte| !is_token(*byte)) {
        return false;
    }
    if subtype.eq_ignore_ascii_case(b"json") {
        return true;
    }
    match subtype.len().checked_sub(SUFFIX.len()) {
        Some(at) if at > 0 => subtype.get(at..).is_some_and(|suffix| suffix.eq_ignore_ascii_case(SUFFIX)),
        _ => false,
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// The first parameter, and what is left from the next semicolon on. A semicolon inside quotes does not count.
fn split_parameter(text: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return text.split_at(at),
            _ => {}
        }
    }
    (text, &[])
}

fn name_and_value(parameter: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'=', parameter)?;
    let (name, value) = parameter.split_at(at);
    let value = value.get(1..)?.trim_ascii();
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    };
    Some((name.trim_ascii(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf8_is_json() {
        let cases: [(&str, Result<(), Fault>); 22] = [
            ("application/json", Ok(())),
            ("Application/JSON", Ok(())),
            (" application/json ", Ok(())),
            ("application/json; charset=utf-8", Ok(())),
            ("application/json;charset=UTF-8", Ok(())),
            ("application/json; charset=\"utf-8\"", Ok(())),
            ("application/json; charset=utf8; v=1", Ok(())),
            ("application/json;", Ok(())),
            ("application/json; version=1", Ok(())),
            ("application/json; x=\"a;charset=latin1\"", Ok(())),
            ("application/vnd.api+json", Ok(())),
            ("application/merge-patch+JSON", Ok(())),
            ("application/json; charset=latin1", Err(Fault::Charset)),
            ("application/json; v=1; Charset=utf-16", Err(Fault::Charset)),
            ("application/json; charset=", Err(Fault::Charset)),
            ("", Err(Fault::ContentType)),
            ("text/json", Err(Fault::ContentType)),
            ("application/+json", Err(Fault::ContentType)),
            ("application/jsonp", Err(Fault::ContentType)),
            ("application/json, application/json", Err(Fault::ContentType)),
            ("application/x-www-form-urlencoded", Err(Fault::ContentType)),
            ("multipart/form-data; boundary=x", Err(Fault::ContentType)),
        ];
        for (value, expected) in cases {
            assert_eq!(check_json(Some(value.as_bytes())), expected, "{value}");
        }
        assert_eq!(check_json(None), Ok(()));
        assert_eq!(check_json(Some(b"application/x-ndjson")), Err(Fault::ContentType));
    }

    #[test]
    fn a_sequence_may_be_called_ndjson() {
        let good: [Option<&[u8]>; 4] =
            [None, Some(b"application/json"), Some(b"application/x-ndjson;charset=utf-8"), Some(b"Application/NDJSON")];
        for value in good {
            assert_eq!(check_json_sequence(value), Ok(()), "{value:?}");
        }
        assert_eq!(check_json_sequence(Some(b"text/plain")), Err(Fault::ContentType));
        assert_eq!(check_json_sequence(Some(b"application/x-ndjson;charset=latin1")), Err(Fault::Charset));
    }
}
