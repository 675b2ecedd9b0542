//! `google.api.HttpBody`: bodies that are not JSON.
//!
//! On the way out its data is a range of the message, so that the caller can send a slice of the frame. On the way in
//! the raw body is written behind a tag; nothing is looked at.

use std::ops::Range;

use crate::error::ResponseError;
use crate::wire::{self, Cursor, Malformed, WireType};

/// Numbers of the fields of `google.api.HttpBody`.
pub(crate) const CONTENT_TYPE: u32 = 1;
pub(crate) const DATA: u32 = 2;

/// The content type of an answer that names none.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// An answer that is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpBody<'a> {
    /// A valid value for `content-type`: visible ASCII, spaces and tabs.
    pub content_type: &'a str,
    /// Where the data lies in the message that was read.
    pub data: Range<usize>,
}

/// Finds content type and data in `message`, which is an `HttpBody`, or has one in its field number `field`.
///
/// As protobuf wants it, the last value of a field counts, also over several pieces of the sub-message.
///
/// # Errors
/// `Malformed`; `NotUtf8` and `ContentType` if the content type is no text or no header value.
pub(crate) fn read(message: &[u8], field: Option<u32>) -> Result<HttpBody<'_>, ResponseError> {
    let mut found = Found { content_type: &[], data: 0..0 };
    match field {
        None => found.collect(message, 0)?,
        Some(number) => {
            let mut cursor = Cursor::new(message);
            while !cursor.is_empty() {
                let (at, wire_type) = cursor.tag()?;
                if at != number || wire_type != WireType::Len {
                    cursor.skip(at, wire_type)?;
                    continue;
                }
                let inner = cursor.len_prefixed()?;
                found.collect(inner, position(message, &cursor).saturating_sub(inner.len()))?;
            }
        }
    }
    let content_type = std::str::from_utf8(found.content_type).map_err(|_| ResponseError::NotUtf8)?;
    if !content_type.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Err(ResponseError::ContentType);
    }
    let content_type = if content_type.is_empty() { DEFAULT_CONTENT_TYPE } else { content_type };
    Ok(HttpBody { content_type, data: found.data })
}

/// Appends the `data` field of an `HttpBody`.
pub(crate) fn write_data(data: &[u8], out: &mut Vec<u8>) {
    wire::put_tag(out, DATA, WireType::Len);
    wire::put_varint(out, data.len() as u64);
    out.extend_from_slice(data);
}

struct Found<'a> {
    content_type: &'a [u8],
    data: Range<usize>,
}

impl<'a> Found<'a> {
    /// Reads one `HttpBody` that begins at `offset` of the whole message.
    fn collect(&mut self, body: &'a [u8], offset: usize) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(body);
        while !cursor.is_empty() {
            let (number, wire_type) = cursor.tag()?;
            match (number, wire_type) {
                (CONTENT_TYPE, WireType::Len) => self.content_type = cursor.len_prefixed()?,
                (DATA, WireType::Len) => {
                    let data = cursor.len_prefixed()?;
                    let end = offset.saturating_add(position(body, &cursor));
                    self.data = end.saturating_sub(data.len())..end;
                }
                _ => cursor.skip(number, wire_type)?,
            }
        }
        Ok(())
    }
}

fn position(whole: &[u8], cursor: &Cursor<'_>) -> usize {
    whole.len().saturating_sub(cursor.rest().len())
}

impl From<Malformed> for ResponseError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content_type: Option<&str>, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(text) = content_type {
            wire::put_tag(&mut out, CONTENT_TYPE, WireType::Len);
            wire::put_varint(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        write_data(data, &mut out);
        out
    }

    fn nested(number: u32, inner: &[u8]) -> Vec<u8> {
        let mut out = vec![0x08, 0x07];
        wire::put_tag(&mut out, number, WireType::Len);
        wire::put_varint(&mut out, inner.len() as u64);
        out.extend_from_slice(inner);
        out
    }

    fn check(message: &[u8], field: Option<u32>, content_type: &str, data: &[u8]) {
        let found = read(message, field).unwrap();
        assert_eq!((found.content_type, &message[found.data.clone()]), (content_type, data));
    }

    #[test]
    fn data_is_a_range_of_the_message() {
        check(&body(Some("image/png"), b"\x89PNG"), None, "image/png", b"\x89PNG");
        check(&body(None, b"x"), None, "application/octet-stream", b"x");
        check(&[], None, "application/octet-stream", b"");
        check(&nested(3, &body(Some("a/b"), &[7; 300])), Some(3), "a/b", &[7; 300]);
        check(&nested(4, &body(Some("a/b"), b"x")), Some(3), "application/octet-stream", b"");
    }

    #[test]
    fn the_last_value_counts() {
        let twice = [body(Some("a/b"), b"first"), body(None, b"second")].concat();
        check(&twice, None, "a/b", b"second");
        let pieces = [nested(3, &body(Some("a/b"), b"first")), nested(3, &body(Some("c/d"), b"2"))].concat();
        check(&pieces, Some(3), "c/d", b"2");
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let cases: [(&[u8], ResponseError); 4] = [
            (&body(Some("a/b\r\nx: y"), b""), ResponseError::ContentType),
            (&body(Some("t\u{e9}xt"), b""), ResponseError::ContentType),
            (&[0x0a, 0x01, 0xff], ResponseError::NotUtf8),
            (&[0x12, 0x05, 0x00], ResponseError::Malformed),
        ];
        for (message, error) in cases {
            assert_eq!(read(message, None), Err(error), "{message:?}");
        }
    }
}
