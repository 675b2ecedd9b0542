//! A request up to the moment in which it would be sent: the same checks as [`Transcode::run`], in the same order, and
//! nothing behind them.
//!
//! Only the head of the request is known, so what a body says is not judged: whether there may be one, its type and
//! its announced length are.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use tidegate_route::Captures;
use tidegate_transcode::{RequestParts, StreamFormat, check_json};

use super::{Asked, Transcode, refused, single_content_type};
use crate::exchange::Exchange;
use crate::policy::decompress;
use crate::policy::metadata::client_timeout;
use crate::reject::{Reason, Reject};

/// What the head of a request decides.
#[derive(Debug, Default)]
pub struct Preflight {
    /// How a streamed answer would be written.
    pub format: Option<StreamFormat>,
    /// What the client would wait at most, if it says so.
    pub client_timeout: Option<Duration>,
    /// The refusal that would come before anything is sent.
    pub refusal: Option<(Step, Box<Reject>)>,
}

/// The step that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Who asks.
    Authentication,
    /// Whether whoever asks may.
    Authorisation,
    /// A page of another origin asks for what it may not have.
    Cors,
    /// Values of the path cannot be decoded.
    Path,
    /// Content type, content coding, length or presence of a body.
    Validation,
    /// The client's own deadline.
    Deadline,
    /// Headers that would become metadata.
    Metadata,
    /// Path or query do not become the message.
    Binding,
    /// No endpoint can be reached.
    Service,
}

/// The longest body that may still say nothing (`{}`) on a route that takes none.
const EMPTY_OBJECT_LEN: u64 = 2;

/// A body as the head announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Nothing,
    Length(u64),
    Unknown,
}

impl Transcode {
    /// Does with the head of a request what [`run`](Self::run) would do before it sends anything. `path` is the
    /// canonical path that `captures` point into.
    #[must_use]
    pub fn preflight(&self, exchange: &Exchange, parts: Box<Parts>, path: &str, captures: &Captures) -> Preflight {
        let mut flight = Preflight::default();
        flight.refusal = self.fly(exchange, parts, path, captures, &mut flight).err();
        flight
    }

    fn fly(
        &self,
        exchange: &Exchange,
        mut parts: Box<Parts>,
        path: &str,
        captures: &Captures,
        flight: &mut Preflight,
    ) -> Result<(), (Step, Box<Reject>)> {
        let at = |step: Step| move |reject: Reject| (step, Box::new(reject));
        let values =
            captures.decode_all(path, self.escape).map_err(|error| at(Step::Path)(Reject::bad_path(&error)))?;
        // `ask` checks these too; asked for one by one they tell which policy it is that refuses.
        single_content_type(&parts.headers).map_err(at(Step::Validation))?;
        flight.client_timeout = shortest_timeout(&parts.headers).map_err(at(Step::Deadline))?;
        let announced = Announced::by(&parts.headers);
        let is_coded = decompress::preflight(&mut parts.headers).map_err(at(Step::Validation))?;
        self.check_size(announced).map_err(at(Step::Validation))?;
        // What the length of the other form is, nobody has said.
        let announced = if is_coded && announced != Announced::Nothing { Announced::Unknown } else { announced };
        let asked = self.ask(exchange, &mut parts, &values).map_err(at(Step::Metadata))?;
        flight.format = self.plan.method().is_server_streaming().then_some(asked.format);
        self.check_body(announced, &asked).map_err(at(Step::Validation))?;
        self.bind(&asked, &values, parts.uri.query()).map_err(at(Step::Binding))?;
        if asked.deadline.is_some_and(|deadline| deadline <= exchange.started) {
            return Err((Step::Deadline, Box::new(Reject::new(Reason::UpstreamTimeout))));
        }
        match self.cluster.down() {
            Some(reject) => Err((Step::Service, Box::new(reject))),
            None => Ok(()),
        }
    }

    /// An upload has no length of its own: each of its messages is bounded.
    fn check_size(&self, announced: Announced) -> Result<(), Reject> {
        match announced {
            Announced::Length(length) if length > self.max_body && !self.plan.method().is_client_streaming() => {
                Err(Reject::new(Reason::PayloadTooLarge).close())
            }
            Announced::Nothing | Announced::Length(_) | Announced::Unknown => Ok(()),
        }
    }

    fn check_body(&self, announced: Announced, asked: &Asked) -> Result<(), Reject> {
        let whole = !self.plan.method().is_client_streaming();
        match announced {
            Announced::Length(1..) | Announced::Unknown if whole && self.plan.takes_body() => {
                if self.plan.takes_raw_body() {
                    return Ok(());
                }
                let content_type = asked.content_type.as_ref().map(HeaderValue::as_bytes);
                let fault = check_json(content_type);
                fault.map_err(|fault| Reject::new(Reason::UnsupportedMediaType).detail(fault.to_string()))
            }
            Announced::Length(length) if length > EMPTY_OBJECT_LEN && !self.plan.takes_body() => {
                let fault = tidegate_transcode::Fault::UnexpectedBody;
                Err(Reject::new(Reason::BadRequest).detail(fault.to_string()))
            }
            Announced::Nothing | Announced::Length(_) | Announced::Unknown => Ok(()),
        }
    }

    /// Path and query alone; what a body would add cannot mend them.
    fn bind(&self, asked: &Asked, captures: &[Cow<'_, str>], query: Option<&str>) -> Result<(), Reject> {
        let content_type = asked.content_type.as_ref().map(HeaderValue::as_bytes);
        let parts = RequestParts { captures, query, body: b"", content_type };
        if self.plan.method().is_client_streaming() {
            return self.plan.upload(&parts).map(drop).map_err(refused);
        }
        self.plan.encode_unary(&parts, &mut Vec::new()).map(drop).map_err(refused)
    }
}

impl Announced {
    fn by(headers: &HeaderMap) -> Self {
        if headers.contains_key(header::TRANSFER_ENCODING) {
            return Self::Unknown;
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match length {
            None | Some(0) => Self::Nothing,
            Some(length) => Self::Length(length),
        }
    }
}

fn shortest_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Reject> {
    let mut shortest: Option<Duration> = None;
    for (name, value) in headers {
        if let Some(asked) = client_timeout(name.as_str(), value)? {
            shortest = Some(shortest.map_or(asked, |shorter| shorter.min(asked)));
        }
    }
    Ok(shortest)
}
