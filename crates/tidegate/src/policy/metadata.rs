//! Which headers of a request become gRPC metadata, and which headers of an answer reach the client.
//!
//! What only the gateway may say (identity, forwarding, path variables) is stripped from the client first and added
//! last, so it cannot be forged.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use tidegate_config::valid::MetadataPolicy;

use super::forwarded::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, forwarded, forwarded_for};
use super::headers::HeaderRules;
use super::hygiene::{connection_names, is_stripped};
use super::timeout;
use crate::exchange::{Exchange, REQUEST_ID};
use crate::reject::{Reason, Reject};
use crate::trace::{BAGGAGE, Sent};

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
const X_FORWARDED_USER_AGENT: HeaderName = HeaderName::from_static("x-forwarded-user-agent");

/// What is percent-encoded in values that need it; bytes above ASCII always are.
const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');

/// How many names are added to those of the client, at most: by [`MetadataRules::sort`], and `traceparent` by each attempt.
const OUR_NAMES: usize = 8;

/// A client's timeout that is shorter, and not zero, is passed over.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// The most metadata that is sent, in bytes of names and values.
pub const MAX_METADATA_BYTES: usize = 32 * 1024;

/// A route's compiled rules.
#[derive(Debug)]
pub struct MetadataRules {
    allow: Option<Vec<String>>,
    deny: Vec<String>,
    allow_binary: bool,
    prefix: Option<String>,
    /// `x-path-<variable>`, in the order of the template's variables.
    path_names: Vec<HeaderName>,
    /// What the route does to headers on their way to the backend.
    headers: HeaderRules,
}

/// A request's head, sorted.
#[derive(Debug)]
pub struct Sorted {
    /// What the backend gets, without what every call carries.
    pub metadata: HeaderMap,
    /// The shortest timeout that the client asks for.
    pub timeout: Option<Duration>,
}

impl MetadataRules {
    /// Compiles `policy` for a template whose variables have these field paths.
    #[must_use]
    pub fn compile(policy: &MetadataPolicy, variables: &[String]) -> Self {
        let path_name = |variable: &String| {
            // A field path is made of letters, digits, `_` and `.`, all of which a header name may hold.
            HeaderName::try_from(format!("x-path-{}", variable.to_ascii_lowercase())).unwrap_or(X_FORWARDED_PATH)
        };
        Self {
            allow: policy.allow.value.clone(),
            deny: policy.deny.value.clone(),
            allow_binary: policy.allow_binary.value,
            prefix: policy.prefix.value.clone(),
            path_names: variables.iter().map(path_name).collect(),
            headers: HeaderRules::default(),
        }
    }

    /// The same, with what a route does to headers on their way to the backend. It is done to what a client may say, before
    /// what only the gateway may.
    #[must_use]
    pub fn with_headers(self, headers: HeaderRules) -> Self {
        Self { headers, ..self }
    }

    /// The same rules for calls that pass through: `-bin` metadata is their clients' own.
    #[must_use]
    pub fn with_binary(mut self) -> Self {
        self.allow_binary = true;
        self
    }

    /// Sorts the headers of `parts` (which are taken out of it) into metadata; `captures` are the decoded path
    /// variables in the order of the template. `room` is for fields that the caller adds later, without growing the map.
    ///
    /// # Errors
    /// `bad_request`: a malformed timeout, broken base64 in a `-bin` header, or more than [`MAX_METADATA_BYTES`].
    pub fn sort(
        &self,
        exchange: &Exchange,
        parts: &mut Parts,
        captures: &[Cow<'_, str>],
        room: usize,
    ) -> Result<Sorted, Reject> {
        let headers = std::mem::take(&mut parts.headers);
        let named_by_connection = connection_names(&headers);
        let host = headers.get(http::header::HOST).cloned();
        let told = exchange.facts.identity().map_or(0, |identity| identity.forward.len());
        let mut sorted = Sorted {
            metadata: HeaderMap::with_capacity(
                headers.len() + OUR_NAMES + told + self.path_names.len() + self.headers.adds() + room,
            ),
            timeout: None,
        };
        let mut bytes = 0_usize;
        let mut trace = Sent::default();
        let mut current = None;
        for (name, value) in headers {
            // A further value of the same name comes without the name.
            let first = name.is_some();
            let Some(name) = name.or_else(|| current.clone()) else { continue };
            if first {
                current = Some(name.clone());
            }
            let text = name.as_str();
            if let Some(asked) = client_timeout(text, &value)? {
                sorted.timeout = Some(sorted.timeout.map_or(asked, |shorter| shorter.min(asked)));
                continue;
            }
            if named_by_connection.iter().any(|hop| hop == text) {
                continue;
            }
            let value = match trace.take_context(&name, value) {
                Ok(()) => continue,
                Err(value) => value,
            };
            let Some(name) = self.passes(name, &value)? else { continue };
            if name == BAGGAGE {
                trace.take_baggage(value);
                continue;
            }
            bytes = bytes.saturating_add(name.as_str().len()).saturating_add(value.len());
            sorted.metadata.append(name, ascii(value));
        }
        self.headers.apply(&mut sorted.metadata);
        bytes = bytes.saturating_add(trace.forward(exchange.trace.as_ref(), &mut sorted.metadata));
        if bytes > MAX_METADATA_BYTES {
            return Err(Reject::new(Reason::BadRequest).status(http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        self.add_ours(exchange, parts, host, captures, &mut sorted.metadata);
        Ok(sorted)
    }

    /// The name under which a client's header is passed on, if it is.
    fn passes(&self, name: HeaderName, value: &HeaderValue) -> Result<Option<HeaderName>, Reject> {
        let name = match &self.prefix {
            Some(prefix) => match name.as_str().strip_prefix(prefix.as_str()).map(HeaderName::try_from) {
                Some(Ok(stripped)) => stripped,
                Some(Err(_)) => return Ok(None),
                None => name,
            },
            None => name,
        };
        let text = name.as_str();
        let listed = |list: &Vec<String>| list.iter().any(|entry| fits(entry, text));
        if is_reserved(text) || listed(&self.deny) || self.allow.as_ref().is_some_and(|allow| !listed(allow)) {
            return Ok(None);
        }
        if text.ends_with("-bin") {
            if !self.allow_binary {
                return Ok(None);
            }
            check_base64(value)?;
        }
        if text == "user-agent" {
            return Ok(Some(X_FORWARDED_USER_AGENT));
        }
        Ok(Some(name))
    }

    fn add_ours(
        &self,
        exchange: &Exchange,
        parts: &Parts,
        host: Option<HeaderValue>,
        captures: &[Cow<'_, str>],
        metadata: &mut HeaderMap,
    ) {
        let conn = &exchange.conn;
        metadata.insert(REQUEST_ID, changing(exchange.request_id_value()));
        metadata.insert(X_FORWARDED_FOR, forwarded_for(exchange));
        let authority = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        if let Some(host) = authority.or(host) {
            metadata.insert(X_FORWARDED_HOST, host);
        }
        metadata.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if conn.tls { "https" } else { "http" }));
        if exchange.client.forwarded {
            metadata.insert(FORWARDED, forwarded(exchange));
        }
        metadata.insert(X_FORWARDED_METHOD, method_value(&parts.method));
        if let Ok(path) = HeaderValue::from_str(parts.uri.path()) {
            metadata.insert(X_FORWARDED_PATH, changing(path));
        }
        for (name, value) in exchange.facts.identity().iter().flat_map(|identity| &identity.forward) {
            metadata.insert(name.clone(), value.clone());
        }
        for (name, value) in self.path_names.iter().zip(captures) {
            metadata.insert(name.clone(), changing(printable(value)));
        }
    }
}

/// Removes what a client must not be told from a backend's metadata and keeps the rest: an allow list.
///
/// `set-cookie`, `location`, `etag`, `last-modified`, `cache-control`, `content-language`, `content-disposition`,
/// `retry-after`, `link` and `x-*`, minus the names that the gateway sets itself.
pub fn to_response_headers(metadata: &HeaderMap, headers: &mut HeaderMap) {
    const ALLOWED: [&str; 9] = [
        "set-cookie",
        "location",
        "etag",
        "last-modified",
        "cache-control",
        "content-language",
        "content-disposition",
        "retry-after",
        "link",
    ];
    for (name, value) in metadata {
        let text = name.as_str();
        let ours = text == REQUEST_ID.as_str() || text.starts_with("x-tidegate-") || text.starts_with("x-ratelimit-");
        let binary = text.ends_with("-bin");
        if !binary && !ours && (text.starts_with("x-") || ALLOWED.contains(&text)) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Whether an entry of a list, which may end in `*`, means `name`.
fn fits(entry: &str, name: &str) -> bool {
    entry.strip_suffix('*').map_or(entry == name, |prefix| name.starts_with(prefix))
}

/// Names that a client's header must not have on its way to a gRPC backend: what never passes, and what describes the
/// HTTP body or is of HTTP alone.
fn is_reserved(name: &str) -> bool {
    let plain = if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) };
    let of_http = matches!(&*plain, "content-type" | "content-encoding" | "accept-encoding" | "cookie");
    of_http || plain.starts_with("grpc-") || is_stripped(&plain)
}

/// How long the client waits, if this header says so.
///
/// # Errors
/// `bad_request`: it says so in no form that is known.
pub fn client_timeout(name: &str, value: &HeaderValue) -> Result<Option<Duration>, Reject> {
    let source = match name {
        "grpc-timeout" => timeout::Source::Grpc,
        "x-server-timeout" | "request-timeout" => timeout::Source::Seconds,
        _ => return Ok(None),
    };
    let asked = timeout::parse(source, value.as_bytes())?;
    // Zero is a wish that can be met. Less than the clock of deadlines can tell is none: it would only send backends
    // calls that are over before they begin.
    Ok(Some(asked).filter(|asked| asked.is_zero() || *asked >= SHORTEST_TIMEOUT))
}

fn check_base64(value: &HeaderValue) -> Result<(), Reject> {
    let mut parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if parts.all(|part| STANDARD.decode(part).or_else(|_| STANDARD_NO_PAD.decode(part)).is_ok()) {
        return Ok(());
    }
    Err(Reject::new(Reason::BadRequest).detail("broken base64 in a binary header"))
}

/// A client's value as it is, unless it holds bytes that metadata cannot (gRPC over HTTP/2, `ASCII-Value`): those are
/// percent-encoded. A backend may end the whole connection for one of them, and with it the calls of other clients.
fn ascii(value: HeaderValue) -> HeaderValue {
    // Without a branch for each byte, for the vector instructions: a token has hundreds.
    if value.as_bytes().iter().fold(true, |plain, byte| plain & (0x20..0x7f).contains(byte)) {
        return value;
    }
    let encoded = percent_encoding::percent_encode(value.as_bytes(), ENCODED).to_string();
    HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static(""))
}

/// A value that differs from request to request: kept out of the connection's header table (HPACK), where it would only
/// push out what repeats. Measured at 0.1 to 0.4 µs per call.
fn changing(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn method_value(method: &http::Method) -> HeaderValue {
    match method.as_str() {
        "GET" => HeaderValue::from_static("GET"),
        "POST" => HeaderValue::from_static("POST"),
        other => HeaderValue::from_str(other).unwrap_or(HeaderValue::from_static("OTHER")),
    }
}

/// Visible ASCII as it is, every other byte and `%` percent-encoded. A value that begins or ends with a space is
/// malformed in HTTP/2 (RFC 9113, section 8.2.1) and would cost the backend's stream, so there spaces are encoded too.
fn printable(text: &str) -> HeaderValue {
    const WITH_SPACES: &percent_encoding::AsciiSet = &ENCODED.add(b' ');
    if text.starts_with(' ') || text.ends_with(' ') {
        let encoded = percent_encoding::utf8_percent_encode(text, WITH_SPACES).to_string();
        return HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static(""));
    }
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    }
    let encoded = percent_encoding::utf8_percent_encode(text, ENCODED).to_string();
    HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static(""))
}
