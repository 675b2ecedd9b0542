//! What goes wrong with a source, and how it is booked and told.

use std::sync::Arc;
use std::time::Duration;

use crate::feed::Feed;
use crate::ledger::ErrorKind;
use crate::net::{NetError, Refusal};

use super::SYMBOLS_MAX;

/// First pause before a source that is down is tried again, if nothing else is known.
pub(crate) const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Why a source cannot deliver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the file {path} cannot be read: {cause}")]
    Unreadable { path: String, cause: std::io::Error },
    #[error("the file {path} has no record that can be used; {problem}")]
    NoRecords { path: String, problem: String },
    #[error("the file {path} has more than {SYMBOLS_MAX} symbols")]
    TooManySymbols { path: String },
    /// A secret that the environment should hold.
    #[error("the environment variable {variable} is not set")]
    NoKey { variable: String },
    /// The network, or who is behind it.
    #[error(transparent)]
    Net(#[from] NetError),
    /// It is left alone for a while.
    #[error("{}", refusal_text(*.0))]
    Refused(Refusal),
    /// It answers, but not what was asked for.
    #[error("the server answers: {0}")]
    Answer(String),
    /// Its answer cannot be understood.
    #[error("the answer cannot be understood: {0}")]
    Malformed(String),
    /// A fault of ours.
    #[error("the engine failed to read it")]
    Panicked,
}

/// Why a request to a source came to nothing.
#[derive(Debug)]
pub(crate) enum FetchError {
    /// The source does not know it.
    UnknownSymbol(Arc<str>),
    /// The source failed, or must be left alone.
    Source(SourceError),
}

impl From<SourceError> for FetchError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<NetError> for FetchError {
    fn from(error: NetError) -> Self {
        Self::Source(error.into())
    }
}

impl SourceError {
    /// Its kind in the books.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreadable { .. } | Self::NoRecords { .. } | Self::TooManySymbols { .. } | Self::NoKey { .. } => {
                ErrorKind::Unavailable
            }
            Self::Net(error) => kind_of(error),
            Self::Refused(Refusal::Throttled(_) | Refusal::Rate(_)) => ErrorKind::Throttled,
            Self::Refused(Refusal::Banned(_)) => ErrorKind::Banned,
            Self::Refused(Refusal::Failing(_)) | Self::Panicked => ErrorKind::Unavailable,
            Self::Answer(_) => ErrorKind::Refused,
            Self::Malformed(_) => ErrorKind::MalformedAnswer,
        }
    }

    /// When it is worth to ask again, if that is known.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => Some(refusal.retry_after()),
            Self::Net(NetError::Throttled { retry_after, .. } | NetError::Banned { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// Whether the source lives and only wants to be asked less.
    pub(crate) fn is_throttled(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Throttled(_) | Refusal::Rate(_)) | Self::Net(NetError::Throttled { .. }))
    }
}

fn kind_of(error: &NetError) -> ErrorKind {
    match error {
        NetError::Address(_) | NetError::Unreachable(_) | NetError::Closed { .. } | NetError::Broken(_) => {
            ErrorKind::Unavailable
        }
        NetError::Timeout { .. } => ErrorKind::Timeout,
        NetError::TooLarge { .. } => ErrorKind::TooLarge,
        NetError::Truncated => ErrorKind::Truncated,
        NetError::Compression => ErrorKind::MalformedAnswer,
        NetError::Throttled { .. } => ErrorKind::Throttled,
        NetError::Banned { .. } => ErrorKind::Banned,
        NetError::Status { .. } | NetError::Redirects => ErrorKind::Refused,
    }
}

fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Rate(_) => "it is asked as often as its rate limit allows",
        Refusal::Throttled(_) => "it asked for a pause",
        Refusal::Banned(_) => "it refuses us and is left alone",
        Refusal::Failing(_) => "it failed too often and is left alone",
    }
}

/// Books an error in the words that clients are told.
pub(super) fn book(feed: &Feed, error: &SourceError) {
    feed.error(error.kind(), error.to_string());
}
