//! Why a call came to nothing, as data: what decides (a retry, a reason) matches on variants, never on text.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tidegate_transcode::{Code, FrameError, Status};

use crate::dial::DialError;
use crate::reject::{Reason, Reject};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The cluster takes no calls (any more).
    #[error("the service has no endpoint that takes calls")]
    NoEndpoint,
    /// No connection could be made; nothing was sent.
    #[error("{endpoint}: {error}")]
    ConnectFailed {
        /// As written in the configuration.
        endpoint: Arc<str>,
        /// The last failure.
        error: Arc<DialError>,
    },
    /// The circuit breaker is open; nothing was sent.
    #[error("the circuit breaker is open")]
    BreakerOpen {
        /// When it may be closed again.
        retry_after: Duration,
    },
    /// Every connection is full, and so is the queue, or the wait for a stream was too long; nothing was sent.
    #[error("no stream became free in time")]
    Overloaded,
    /// The stream or its connection was lost before the call had ended.
    #[error("{endpoint}: {error}")]
    Reset {
        /// As written in the configuration.
        endpoint: Arc<str>,
        /// What HTTP/2 said.
        error: h2::Error,
        /// The backend has declared that it did not act on the call.
        unprocessed: bool,
    },
    /// The deadline passed; the call was cancelled.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// The backend ended the call with a status other than OK, or did not answer with gRPC at all.
    #[error("status {}", .0.status.code.name())]
    Status(Box<Failure>),
    /// The answer is gRPC, but cannot be read.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The metadata or the path of the call is not valid in HTTP/2; nothing was sent.
    #[error("the head of the call is invalid: {0}")]
    Head(String),
}

/// A status that is not OK, with what came along with it.
#[derive(Debug)]
pub struct Failure {
    /// Code and text; the details are still in the metadata.
    pub status: Status,
    /// Trailers, or the head of an answer that has nothing else.
    pub metadata: HeaderMap,
    /// For the log, if the answer was not gRPC: HTTP status and content type.
    pub cause: Option<String>,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A frame is too large, broken or cut off.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A message is compressed with a coding that we did not offer.
    #[error("a message is compressed with an unknown coding")]
    UnknownCoding,
    /// A compressed message is not valid in its coding.
    #[error("a compressed message is damaged")]
    BadCompression,
    /// A message is larger than allowed once it is inflated.
    #[error("a message exceeds the limit of {limit} bytes when inflated")]
    InflatedTooLarge {
        /// `max_message`, in bytes.
        limit: usize,
    },
    /// A unary call succeeded without a message.
    #[error("the answer has no message")]
    NoMessage,
    /// A unary call was answered with more than one message.
    #[error("the answer has more than one message")]
    ExtraMessage,
}

impl CallError {
    /// No backend can have acted on the call, so it may be sent again whatever its method is.
    #[must_use]
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Self::NoEndpoint | Self::ConnectFailed { .. } | Self::BreakerOpen { .. } | Self::Overloaded => true,
            Self::Reset { unprocessed, .. } => *unprocessed,
            Self::DeadlineExceeded | Self::Status(_) | Self::Malformed(_) | Self::Head(_) => false,
        }
    }

    /// The code by which the attempt is counted.
    pub(in crate::upstream) fn code(&self) -> Code {
        match self {
            Self::Status(failure) => failure.status.code,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::NoEndpoint
            | Self::ConnectFailed { .. }
            | Self::BreakerOpen { .. }
            | Self::Overloaded
            | Self::Reset { .. } => Code::Unavailable,
            Self::Malformed(_) | Self::Head(_) => Code::Internal,
        }
    }

    /// The word for what a client is told.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoEndpoint => Reason::NoHealthyEndpoint,
            Self::ConnectFailed { error, .. } if matches!(**error, DialError::Unresolved) => Reason::NoHealthyEndpoint,
            Self::ConnectFailed { .. } => Reason::ConnectFailed,
            Self::BreakerOpen { .. } => Reason::BreakerOpen,
            Self::Overloaded => Reason::Overloaded,
            Self::Reset { .. } => Reason::UpstreamReset,
            Self::DeadlineExceeded => Reason::UpstreamTimeout,
            Self::Status(failure) if failure.status.code == Code::DeadlineExceeded => Reason::UpstreamTimeout,
            Self::Status(_) => Reason::UpstreamError,
            Self::Malformed(_) => Reason::TranscodeFailed,
            Self::Head(_) => Reason::Internal,
        }
    }

    /// The refusal that a client gets, with the cause for the log.
    #[must_use]
    pub fn into_reject(self) -> Reject {
        let mut reject = Reject::new(self.reason());
        match self {
            Self::Status(failure) => {
                let Failure { status, cause, .. } = *failure;
                reject.cause = cause.map(String::into_boxed_str);
                reject.backend = Some(Box::new(status));
                reject
            }
            Self::BreakerOpen { retry_after } => {
                reject.retry_after = Some(retry_after);
                reject
            }
            other => reject.cause(other.to_string()),
        }
    }
}

impl From<CallError> for Reject {
    fn from(error: CallError) -> Self {
        error.into_reject()
    }
}
