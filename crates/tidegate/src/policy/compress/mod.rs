//! Compression of answers, for clients that ask for it.
//!
//! What may be compressed is a matter of the answer (`apply`), with what is one of the client (`accept`), and how one of
//! the body: a small one at once (`encoder`), everything else in slices as it is sent (`body`), so that no turn of a
//! worker's loop compresses more than [`SLICE`].

mod accept;
mod body;
mod encoder;
#[cfg(test)]
mod tests;

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, VARY,
};
use http::{Response, StatusCode};
use http_body::Body as _;
use tidegate_config::valid::{self, Compression};

use self::accept::negotiate;
pub use self::accept::{Coding, Taken};
use self::body::Compressed;
use crate::body::{AnyBody, ResponseBody};

/// Smaller answers stay as they are: they fit into one packet all the same.
const MIN_SIZE: u64 = 1024;

/// Bytes that are compressed before others get their turn: well below a millisecond with every coding.
const SLICE: usize = 32 * 1024;

/// Digests of the bytes that are sent (RFC 9530, RFC 1864, RFC 3230). Whoever made one can compress by itself.
pub(super) const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// The compiled `compress` of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compress {
    /// Streams are compressed, too.
    streams: bool,
    /// Bodies come from a backend over HTTP: only their type says which of them are streams.
    proxied: bool,
}

impl Compress {
    /// Compiles the setting of a route that is `proxied` or whose answers the gateway writes; `None`: nothing is ever
    /// compressed.
    #[must_use]
    pub fn compile(policy: &valid::Policy, proxied: bool) -> Option<Self> {
        let streams = policy.compression(proxied)? == Compression::Stream;
        Some(Self { streams, proxied })
    }

    /// What a client with these headers takes.
    #[must_use]
    pub fn taken(headers: &HeaderMap) -> Taken {
        let mut taken = negotiate(headers);
        // Whoever says it wants the bytes of the origin (RFC 9111, section 5.2.1.6).
        if taken.coding.is_some() && says_no_transform(headers) {
            taken.coding = None;
        }
        taken
    }

    /// The answer as its client takes it. `head`: it answers a `HEAD`, and says what the answer to a `GET` would.
    #[must_use]
    pub fn apply(self, taken: Taken, head: bool, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        // The client that cannot do without a coding gets one for small answers, too.
        let least = if taken.identity { MIN_SIZE } else { 1 };
        if !self.is_fit(&response, head, least) {
            return response;
        }
        vary(response.headers_mut());
        let Some(coding) = taken.coding else { return response };
        let body = std::mem::take(response.body_mut());
        let (body, compressed) = match body {
            AnyBody::Full(Some(bytes)) if bytes.len() <= SLICE => match encoder::at_once(coding, &bytes) {
                Some(smaller) => (AnyBody::full(smaller), true),
                None => (AnyBody::full(bytes), false),
            },
            AnyBody::Empty => (AnyBody::Empty, true),
            // Its bytes are sent to nobody.
            AnyBody::Full(_) | AnyBody::Stream(_) if head => (AnyBody::Empty, true),
            other => {
                let has_end = other.size_hint().exact().is_some() || response.headers().contains_key(CONTENT_LENGTH);
                match Compressed::begin(other, coding, !has_end) {
                    Ok(body) => (AnyBody::stream(body), true),
                    Err(body) => (body, false),
                }
            }
        };
        *response.body_mut() = body;
        if compressed {
            encoded(coding, response.headers_mut());
        }
        response
    }

    /// Whether it would be compressed for a client that takes that.
    fn is_fit(self, response: &Response<ResponseBody>, head: bool, least: u64) -> bool {
        let headers = response.headers();
        let told = || headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let length: Option<u64> = match response.body() {
            AnyBody::Socket(_) => return false,
            AnyBody::Empty if !head => return false,
            AnyBody::Empty => told(),
            AnyBody::Full(bytes) => bytes.as_ref().map(|bytes| bytes.len() as u64),
            AnyBody::Stream(stream) => stream.size_hint().exact().or_else(told),
        };
        if length.is_some_and(|length| length < least) {
            return false;
        }
        let status = response.status();
        if status.is_informational()
            || matches!(
                status,
                StatusCode::NO_CONTENT
                    | StatusCode::RESET_CONTENT
                    | StatusCode::PARTIAL_CONTENT
                    | StatusCode::NOT_MODIFIED
            )
        {
            return false;
        }
        let kind = headers.get(CONTENT_TYPE).map_or(Kind::Other, |kind| Kind::of(kind.as_bytes()));
        let is_stream = kind == Kind::Events || (!self.proxied && matches!(response.body(), AnyBody::Stream(_)));
        kind != Kind::Other
            && (self.streams || !is_stream)
            && !headers.contains_key(CONTENT_ENCODING)
            && !headers.contains_key(CONTENT_RANGE)
            && !says_no_transform(headers)
            && !DIGESTS.iter().any(|digest| headers.contains_key(digest))
    }
}

/// What a content type means for compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A text with an end.
    Text,
    /// Texts, one after the other, for as long as there are any.
    Events,
    /// Anything else: most of it is compressed already, or has rules of its own (gRPC).
    Other,
}

/// Types of texts beside `text/*`, `*+json`, `*+xml` and `*+yaml`.
const TEXTS: [&[u8]; 10] = [
    b"application/graphql",
    b"application/javascript",
    b"application/json",
    b"application/sql",
    b"application/toml",
    b"application/x-javascript",
    b"application/x-www-form-urlencoded",
    b"application/x-yaml",
    b"application/xml",
    b"application/yaml",
];

/// Types of texts without end.
const EVENTS: [&[u8]; 6] = [
    b"application/json-seq",
    b"application/jsonl",
    b"application/ndjson",
    b"application/stream+json",
    b"application/x-ndjson",
    b"text/event-stream",
];

impl Kind {
    fn of(content_type: &[u8]) -> Self {
        let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |listed: &&[u8]| kind.eq_ignore_ascii_case(listed);
        let begins = |with: &[u8]| kind.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
        let ends = |with: &[u8]| {
            let start = kind.len().checked_sub(with.len());
            start.and_then(|start| kind.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(with))
        };
        if EVENTS.iter().any(is) {
            return Self::Events;
        }
        // gRPC compresses its messages by itself, if at all.
        if begins(b"application/grpc") {
            return Self::Other;
        }
        if begins(b"text/") || TEXTS.iter().any(is) || ends(b"+json") || ends(b"+xml") || ends(b"+yaml") {
            return Self::Text;
        }
        Self::Other
    }
}

fn says_no_transform(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().any(|value| {
        let mut directives = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
    })
}

/// Says that the answer depends on what its client takes, unless that is said already.
fn vary(headers: &mut HeaderMap) {
    let says = headers.get_all(VARY).iter().any(|value| {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    });
    if !says {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// What the head of an answer says once its body is in `coding`.
fn encoded(coding: Coding, headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, coding.value());
    headers.remove(CONTENT_LENGTH);
    // Ranges would be those of the bytes that the backend has.
    headers.remove(ACCEPT_RANGES);
    // Other bytes of the same meaning (RFC 9110, section 8.8.1).
    let strong = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
}
