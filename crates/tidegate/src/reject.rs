//! Refusals made by the gateway: one closed list of reasons, and what each one means on every wire.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tidegate_transcode::{Code, Status, Violation};

use crate::body::BodyError;

/// Why the gateway refused. The same word reaches the body, the log and the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No route has this host and path.
    RouteNotFound,
    /// The path is known, the method is not.
    MethodNotAllowed,
    /// The HTTP framing, path, query or JSON of the request is wrong.
    BadRequest,
    /// The body, a message or what had to be buffered is too large.
    PayloadTooLarge,
    /// Content type, charset or content coding cannot be read.
    UnsupportedMediaType,
    /// A credential is needed.
    AuthMissing,
    /// The credential is wrong.
    AuthInvalid,
    /// The credential was good once.
    AuthExpired,
    /// Whoever asks may not.
    Forbidden,
    /// Asked too often.
    RateLimited,
    /// The request is not what the route demands: its headers, or its JSON by the route's schema.
    ValidationFailed,
    /// The circuit breaker of the service is open.
    BreakerOpen,
    /// Every endpoint of the service is out, or nothing is known of the service yet.
    NoHealthyEndpoint,
    /// No connection to a backend could be made.
    ConnectFailed,
    /// The backend's connection was lost before its answer began.
    UpstreamReset,
    /// The deadline passed before the backend had answered.
    UpstreamTimeout,
    /// The backend answered with an error of its own.
    UpstreamError,
    /// The backend's answer cannot become JSON.
    TranscodeFailed,
    /// Queues are full.
    Overloaded,
    /// The gateway is about to stop.
    Draining,
    /// The client went away; only seen in the log.
    ClientClosed,
    /// A fault of the gateway itself.
    Internal,
}

/// What a reason means: word, HTTP status, gRPC code.
struct Meaning(&'static str, StatusCode, Code);

impl Reason {
    const fn meaning(self) -> Meaning {
        match self {
            Self::RouteNotFound => Meaning("route_not_found", StatusCode::NOT_FOUND, Code::NotFound),
            Self::MethodNotAllowed => {
                Meaning("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented)
            }
            Self::BadRequest => Meaning("bad_request", StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Self::PayloadTooLarge => {
                Meaning("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted)
            }
            Self::UnsupportedMediaType => {
                Meaning("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument)
            }
            Self::AuthMissing => Meaning("auth_missing", StatusCode::UNAUTHORIZED, Code::Unauthenticated),
            Self::AuthInvalid => Meaning("auth_invalid", StatusCode::UNAUTHORIZED, Code::Unauthenticated),
            Self::AuthExpired => Meaning("auth_expired", StatusCode::UNAUTHORIZED, Code::Unauthenticated),
            Self::Forbidden => Meaning("forbidden", StatusCode::FORBIDDEN, Code::PermissionDenied),
            Self::RateLimited => Meaning("rate_limited", StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            Self::ValidationFailed => Meaning("validation_failed", StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Self::BreakerOpen => Meaning("breaker_open", StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::NoHealthyEndpoint => {
                Meaning("no_healthy_endpoint", StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable)
            }
            Self::ConnectFailed => Meaning("connect_failed", StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::UpstreamReset => Meaning("upstream_reset", StatusCode::BAD_GATEWAY, Code::Unavailable),
            Self::UpstreamTimeout => Meaning("upstream_timeout", StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
            Self::UpstreamError => Meaning("upstream_error", StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown),
            Self::TranscodeFailed => Meaning("transcode_failed", StatusCode::BAD_GATEWAY, Code::Internal),
            Self::Overloaded => Meaning("overloaded", StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::Draining => Meaning("draining", StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::ClientClosed => Meaning("client_closed", status_client_closed(), Code::Cancelled),
            Self::Internal => Meaning("internal", StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }

    /// The word of the closed list.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.meaning().0
    }

    /// The usual HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.meaning().1
    }

    /// The gRPC code that says the same.
    #[must_use]
    pub const fn code(self) -> Code {
        self.meaning().2
    }

    /// A constant sentence for the client where nothing more precise is known.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::RouteNotFound => "no route for this path",
            Self::MethodNotAllowed => "method not allowed for this path",
            Self::BadRequest => "malformed request",
            Self::PayloadTooLarge => "request body too large",
            Self::UnsupportedMediaType => "content type not supported",
            Self::AuthMissing => "a credential is needed",
            Self::AuthInvalid => "the credential is not valid",
            Self::AuthExpired => "the credential has expired",
            Self::Forbidden => "not allowed",
            Self::RateLimited => "too many requests",
            Self::ValidationFailed => "the request is not what this path takes",
            Self::BreakerOpen => "the service fails at the moment",
            Self::NoHealthyEndpoint => "no healthy endpoint",
            Self::ConnectFailed => "the service cannot be reached",
            Self::UpstreamReset => "connection to the service lost",
            Self::UpstreamTimeout => "the service did not answer in time",
            Self::UpstreamError => "the service failed",
            Self::TranscodeFailed => "the service's answer cannot be converted",
            Self::Overloaded => "too busy",
            Self::Draining => "shutting down",
            Self::ClientClosed => "client closed the request",
            Self::Internal => "internal error",
        }
    }
}

/// 499, which the `http` crate has no name for.
const fn status_client_closed() -> StatusCode {
    match StatusCode::from_u16(499) {
        Ok(status) => status,
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// When clients should come back after a failure that may pass.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Most steps of a request can end in one, so it is kept below the size at which moving it would cost something.
const _: () = assert!(size_of::<Reject>() < 128);

/// A refusal, before it is written in the client's format.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The word.
    pub reason: Reason,
    /// Where the status differs from the reason's usual one (408, 414, 426, 431, 505).
    pub status: Option<StatusCode>,
    /// May be shown to a client: never holds what a client or backend sent, an address or a library's text.
    pub detail: Cow<'static, str>,
    /// For the log alone.
    pub cause: Option<Box<str>>,
    /// `Allow` of a 405.
    pub allow: Option<Box<str>>,
    /// `WWW-Authenticate` of a 401.
    pub challenge: Option<Arc<str>>,
    /// `Retry-After` of a 429 or 503.
    pub retry_after: Option<Duration>,
    /// A 415 because of the body's coding: the answer says which would have been taken (RFC 9110, section 12.5.3).
    pub coding: bool,
    /// Fields of the request that are wrong; at most ten.
    pub violations: Box<[Violation]>,
    /// What the backend said, for `upstream_error` and `upstream_timeout`.
    pub backend: Option<Box<Status>>,
    /// The connection must close after the answer: its framing cannot be trusted any more.
    pub close: bool,
}

impl Reject {
    /// A refusal with the usual status and text of `reason`.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            status: None,
            detail: Cow::Borrowed(reason.detail()),
            cause: None,
            allow: None,
            challenge: None,
            retry_after: (reason.status().as_u16() == 503).then_some(RETRY_AFTER),
            coding: false,
            violations: Box::default(),
            backend: None,
            close: false,
        }
    }

    /// The path, or the value of a variable in it, is malformed.
    #[must_use]
    pub fn bad_path(error: &tidegate_route::PathError) -> Self {
        Self::new(Reason::BadRequest).detail("malformed path").cause(error.to_string())
    }

    /// The client did not finish the body of its request.
    #[must_use]
    pub fn broken_body(error: BodyError) -> Self {
        let reject = Self::new(Reason::BadRequest).cause(error.to_string()).close();
        match error {
            BodyError::Stalled => reject.status(StatusCode::REQUEST_TIMEOUT).detail("the request body came too slowly"),
            BodyError::Malformed => reject.detail("malformed request body"),
            BodyError::Undecodable => reject.detail("the request body is not what its content coding says"),
            BodyError::TooLarge => Self::new(Reason::PayloadTooLarge).close(),
            BodyError::Closed | BodyError::BrokenOff => Self::new(Reason::ClientClosed),
        }
    }

    /// Says it more precisely; `detail` is a constant text.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// With a status that differs from the reason's usual one.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// With the faults of single fields.
    #[must_use]
    pub fn violations(mut self, violations: Vec<Violation>) -> Self {
        self.violations = violations.into();
        self
    }

    /// With what the backend said.
    #[must_use]
    pub fn backend(mut self, status: Status) -> Self {
        self.backend = Some(Box::new(status));
        self
    }

    /// Adds what only the log may tell.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Closes the connection after the answer.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }
}

impl Reject {
    /// The gRPC code: the backend's own, or that of the reason.
    #[must_use]
    pub fn code(&self) -> Code {
        self.backend.as_ref().map_or(self.reason.code(), |status| status.code)
    }

    /// The text for the client: the backend's own message, or the constant one.
    #[must_use]
    pub fn message(&self) -> &str {
        match &self.backend {
            Some(status) if !status.message.is_empty() => &status.message,
            Some(_) | None => &self.detail,
        }
    }
}
