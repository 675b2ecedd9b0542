//! What a request must be before anything is sent: headers, content type, and JSON by the route's schema.
//!
//! A body that has a schema is read as a whole, looked through without building anything (depth, number of values),
//! built with no key twice in one object, and validated. What is passed on are the bytes that the client sent.

mod json;
mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http_body::Body as _;
use tidegate_config::valid;
use tidegate_transcode::{Violation, check_json};

pub use schema::{BadSchema, Schema};

use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::ids::PerWorker;
use crate::reject::{Reason, Reject};
use crate::time::Wheel;

/// Most violations that a client is told.
const MAX_VIOLATIONS: usize = 10;

/// The timer wheels of all threads.
type Wheels = std::sync::Arc<PerWorker<std::sync::Arc<Wheel>>>;

/// The compiled demands of a route.
#[derive(Debug)]
pub struct Validate {
    /// In lower case, without parameters; one that ends in `/` is for all of a kind.
    content_types: Option<Vec<Box<str>>>,
    required: Vec<HeaderName>,
    body: Option<BodyRule>,
}

/// What the body of a route must be, and how it is read.
#[derive(Debug)]
struct BodyRule {
    schema: std::sync::Arc<Schema>,
    max_depth: u32,
    max_body: u64,
    timeout: Option<Duration>,
    wheels: Wheels,
}

impl Validate {
    /// Compiles the demands of a route; `None` if there are none. `schema` is the one that the route names, `None` for a
    /// route that looks into no body.
    #[must_use]
    pub fn compile(
        policy: &valid::Policy,
        schema: Option<std::sync::Arc<Schema>>,
        types: bool,
        wheels: &Wheels,
    ) -> Option<Self> {
        let rules = &policy.validate;
        let listed = rules.content_types.value.as_ref().filter(|_| types);
        let kind = |text: &String| text.strip_suffix('*').unwrap_or(text).into();
        let required = rules.required_headers.value.iter();
        let compiled = Self {
            content_types: listed.map(|list| list.iter().map(kind).collect()),
            required: required.filter_map(|name| HeaderName::try_from(name.as_str()).ok()).collect(),
            body: schema.map(|schema| BodyRule {
                schema,
                max_depth: rules.max_json_depth.value,
                max_body: policy.max_body.value,
                timeout: policy.timeout.value,
                wheels: wheels.clone(),
            }),
        };
        let demands = compiled.content_types.is_some() || !compiled.required.is_empty() || compiled.body.is_some();
        demands.then_some(compiled)
    }

    /// Checks a request, and gives its body back: as it came, or read as a whole.
    ///
    /// # Errors
    /// `validation_failed`, `unsupported_media_type`, `payload_too_large`, or what kept the body from being read.
    pub async fn check(&self, exchange: &Exchange, parts: &Parts, body: RequestBody) -> Result<RequestBody, Reject> {
        let has_body = !body.is_end_stream();
        self.head(&parts.headers, has_body)?;
        let Some(rule) = &self.body else { return Ok(body) };
        if !has_body {
            return nothing(&parts.method);
        }
        // With two of them, or none, the next reader may see something else in the bytes than this one.
        let kind = single(&parts.headers)?.ok_or_else(|| Reject::new(Reason::UnsupportedMediaType))?;
        check_json(Some(kind.as_bytes())).map_err(|_| Reject::new(Reason::UnsupportedMediaType))?;
        let deadline = rule.timeout.map(|timeout| rule.wheels.get(exchange.worker()).at(exchange.started + timeout));
        let bytes = read::whole(exchange, body, rule.max_body, deadline).await?;
        if bytes.is_empty() {
            return nothing(&parts.method);
        }
        rule.judge(&bytes)?;
        Ok(RequestBody::full(bytes))
    }

    /// What the head alone decides of a request that nobody has sent.
    ///
    /// # Errors
    /// As [`Validate::check`].
    pub fn announced(&self, parts: &Parts) -> Result<(), Reject> {
        let length = parts.headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
        let has_body = length.map_or_else(|| parts.headers.contains_key(TRANSFER_ENCODING), |length| length != b"0");
        self.head(&parts.headers, has_body)
    }

    /// What the head decides.
    ///
    /// # Errors
    /// As [`Validate::check`].
    fn head(&self, headers: &HeaderMap, has_body: bool) -> Result<(), Reject> {
        let absent = |name: &&HeaderName| {
            let mut values = headers.get_all(*name).iter();
            !values.any(|value| !value.as_bytes().trim_ascii().is_empty())
        };
        let missing: Vec<Violation> = self
            .required
            .iter()
            .filter(absent)
            .take(MAX_VIOLATIONS)
            .map(|name| Violation::new(name.as_str(), "this header is required"))
            .collect();
        if !missing.is_empty() {
            return Err(Reject::new(Reason::ValidationFailed).violations(missing));
        }
        let Some(types) = self.content_types.as_ref().filter(|_| has_body) else { return Ok(()) };
        let sent = single(headers)?.map(|value| value.as_bytes()).unwrap_or_default();
        let sent = sent.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if types.iter().any(|listed| is_of(sent, listed.as_bytes())) {
            return Ok(());
        }
        Err(Reject::new(Reason::UnsupportedMediaType))
    }
}

impl BodyRule {
    fn judge(&self, bytes: &Bytes) -> Result<(), Reject> {
        let value = json::read(bytes, self.max_depth).map_err(|fault| {
            let reason = if fault.is_syntax() { Reason::BadRequest } else { Reason::ValidationFailed };
            Reject::new(reason).detail(fault.text())
        })?;
        let violations = self.schema.violations(&value, MAX_VIOLATIONS);
        if violations.is_empty() {
            return Ok(());
        }
        Err(Reject::new(Reason::ValidationFailed).violations(violations))
    }
}

/// A request without a body: right for methods that need none.
fn nothing(method: &Method) -> Result<RequestBody, Reject> {
    if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        return Err(Reject::new(Reason::ValidationFailed).detail("a body is needed"));
    }
    Ok(RequestBody::Empty)
}

/// `listed` ends with `/` if it is for all of a kind.
fn is_of(sent: &[u8], listed: &[u8]) -> bool {
    if !listed.ends_with(b"/") {
        return sent.eq_ignore_ascii_case(listed);
    }
    sent.len() > listed.len() && sent.get(..listed.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(listed))
}

fn single(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Reject> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Reject::new(Reason::BadRequest).detail("more than one content-type")),
        None => Ok(first),
    }
}
