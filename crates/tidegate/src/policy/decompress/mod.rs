//! Bodies of requests that come compressed, for routes that look into them and those that are told to.
//!
//! One layer is undone, while the body is read: what has been inflated counts against `max_body` before more of it is,
//! so a body that would become huge costs what one of the allowed size does.

mod body;
mod decoder;
#[cfg(test)]
mod tests;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use http_body::Body as _;

use self::body::Decoded;
use self::decoder::Coding;
use super::compress::DIGESTS;
use crate::body::RequestBody;
use crate::reject::{Reason, Reject};

/// The codings that can be undone, as an answer names them that refuses another one.
pub const ACCEPTED: &str = "gzip, zstd, deflate";

/// The compiled rule of a route whose bodies are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decompress {
    /// Most bytes of a body, before and after; `None` for one that is a sequence of messages, each of which is bounded.
    max_body: Option<u64>,
}

impl Decompress {
    /// For bodies of at most so many bytes.
    #[must_use]
    pub fn new(max_body: Option<u64>) -> Self {
        Self { max_body }
    }

    /// The body without its coding, and `headers` that say so.
    ///
    /// # Errors
    /// `unsupported_media_type` for a coding that cannot be undone, or more than one.
    pub fn apply(self, headers: &mut HeaderMap, body: RequestBody) -> Result<RequestBody, Reject> {
        if !headers.contains_key(CONTENT_ENCODING) {
            return Ok(body);
        }
        let Some(coding) = take_coding(headers)? else { return Ok(body) };
        if body.is_end_stream() {
            return Ok(body);
        }
        if self.max_body.is_some_and(|max| body.size_hint().lower() > max) {
            return Err(Reject::new(Reason::PayloadTooLarge).close());
        }
        Ok(RequestBody::stream(Decoded::new(body, coding, self.max_body)))
    }
}

/// Takes the coding out of `headers`, and the length that is not that of what is left; `None` if there is none to undo.
fn take_coding(headers: &mut HeaderMap) -> Result<Option<Coding>, Reject> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let members = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    let mut coding = None;
    for member in members.filter(|member| !member.is_empty() && !member.eq_ignore_ascii_case(b"identity")) {
        let known = Coding::named(member).filter(|_| coding.is_none());
        coding = Some(known.ok_or_else(unsupported)?);
    }
    headers.remove(CONTENT_ENCODING);
    if coding.is_some() {
        headers.remove(CONTENT_LENGTH);
        // They are of the bytes as they came.
        for digest in DIGESTS {
            headers.remove(digest);
        }
    }
    Ok(coding)
}

/// Whether a request with these headers has a body in a coding, which is taken out of them.
///
/// # Errors
/// As [`Decompress::apply`].
pub fn preflight(headers: &mut HeaderMap) -> Result<bool, Reject> {
    if !headers.contains_key(CONTENT_ENCODING) {
        return Ok(false);
    }
    take_coding(headers).map(|coding| coding.is_some())
}

fn unsupported() -> Reject {
    let mut reject = Reject::new(Reason::UnsupportedMediaType).detail("content coding not supported");
    reject.coding = true;
    reject
}
