//! Refusals made by the gateway: one closed list of reasons, and what each one means on every wire.

use std::time::Duration;

use http::StatusCode;
use smallvec::SmallVec;

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

/// What a reason means: word, HTTP status, gRPC code, text for the client.
struct Meaning {
    word: &'static str,
    status: StatusCode,
    grpc_code: u8,
    detail: &'static str,
}

const fn meaning(
    word: &'static str,
    status: StatusCode,
    grpc_code: u8,
    detail: &'static str,
) -> Meaning {
    Meaning {
        word,
        status,
        grpc_code,
        detail,
    }
}

impl Reason {
    const fn meaning(self) -> Meaning {
        match self {
            Self::RouteNotFound => meaning(
                "route_not_found",
                StatusCode::NOT_FOUND,
                5,
                "no route for this path",
            ),
            Self::MethodNotAllowed => meaning(
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                12,
                "method not allowed for this path",
            ),
            Self::BadRequest => meaning(
                "bad_request",
                StatusCode::BAD_REQUEST,
                3,
                "malformed request",
            ),
            Self::PayloadTooLarge => meaning(
                "payload_too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                8,
                "request body too large",
            ),
            Self::UnsupportedMediaType => meaning(
                "unsupported_media_type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                3,
                "content type not supported",
            ),
            Self::NoHealthyEndpoint => meaning(
                "no_healthy_endpoint",
                StatusCode::SERVICE_UNAVAILABLE,
                14,
                "no healthy endpoint",
            ),
            Self::ConnectFailed => meaning(
                "connect_failed",
                StatusCode::SERVICE_UNAVAILABLE,
                14,
                "the service cannot be reached",
            ),
            Self::UpstreamReset => meaning(
                "upstream_reset",
                StatusCode::BAD_GATEWAY,
                14,
                "connection to the service lost",
            ),
            Self::UpstreamTimeout => meaning(
                "upstream_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                4,
                "the service did not answer in time",
            ),
            Self::UpstreamError => meaning(
                "upstream_error",
                StatusCode::INTERNAL_SERVER_ERROR,
                2,
                "the service failed",
            ),
            Self::TranscodeFailed => meaning(
                "transcode_failed",
                StatusCode::BAD_GATEWAY,
                13,
                "the service's answer cannot be converted",
            ),
            Self::Overloaded => meaning(
                "overloaded",
                StatusCode::SERVICE_UNAVAILABLE,
                14,
                "too busy",
            ),
            Self::Draining => meaning(
                "draining",
                StatusCode::SERVICE_UNAVAILABLE,
                14,
                "shutting down",
            ),
            Self::ClientClosed => meaning(
                "client_closed",
                status_client_closed(),
                1,
                "client closed the request",
            ),
            Self::Internal => meaning(
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                13,
                "internal error",
            ),
        }
    }

    /// The word of the closed list.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.meaning().word
    }

    /// The usual HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.meaning().status
    }

    /// The gRPC code, 0 to 16.
    #[must_use]
    pub const fn grpc_code(self) -> u8 {
        self.meaning().grpc_code
    }

    /// A constant sentence for the client where nothing more precise is known.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        self.meaning().detail
    }
}

/// 499, which the `http` crate has no name for.
const fn status_client_closed() -> StatusCode {
    match StatusCode::from_u16(499) {
        Ok(status) => status,
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// One field of the request that is wrong. Neither text holds a value that the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// Path of the field, as far as it is known: `shelf.id`.
    pub field: String,
    /// What is wrong: `expected int64`.
    pub message: String,
}

/// A status that the backend sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendStatus {
    /// gRPC code, 0 to 16; anything else was mapped to 2.
    pub code: u8,
    /// Percent-decoded and made safe to show.
    pub message: String,
    /// `google.rpc.Status` in wire form (`grpc-status-details-bin`, decoded), or empty.
    pub details: bytes::Bytes,
}

/// A refusal, before it is written in the client's format.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The word.
    pub reason: Reason,
    /// Where the status differs from the reason's usual one (408, 414, 426, 431, 505).
    pub status: Option<StatusCode>,
    /// May be shown to a client: never holds what a client or backend sent, an address or a library's text.
    pub detail: &'static str,
    /// For the log alone.
    pub cause: Option<String>,
    /// `Allow` of a 405.
    pub allow: Option<String>,
    /// `Retry-After` of a 503.
    pub retry_after: Option<Duration>,
    /// At most ten.
    pub fields: SmallVec<[FieldFault; 1]>,
    /// What the backend said, for `upstream_error` and `upstream_timeout`.
    pub backend: Option<Box<BackendStatus>>,
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
            detail: reason.detail(),
            cause: None,
            allow: None,
            retry_after: None,
            fields: SmallVec::new(),
            backend: None,
            close: false,
        }
    }

    /// Says it more precisely; `detail` is a constant text.
    #[must_use]
    pub fn detail(mut self, detail: &'static str) -> Self {
        self.detail = detail;
        self
    }

    /// With a status that differs from the reason's usual one.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds what only the log may tell.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
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
