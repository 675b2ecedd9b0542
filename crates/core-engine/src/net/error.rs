//! What can go wrong on the way to another server and back.

use std::time::Duration;

/// Which wait was too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// From the name to the end of the answer's head, connection and TLS included.
    Head,
    /// Between two pieces of a body.
    Progress,
    /// The whole exchange.
    Total,
    /// From the name to the end of a WebSocket handshake.
    Handshake,
    /// Between two messages of a WebSocket.
    Silence,
    /// Writing to a WebSocket.
    Write,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Head => "no answer",
            Self::Progress => "the answer stopped half way",
            Self::Total => "the answer took too long",
            Self::Handshake => "no handshake",
            Self::Silence => "silence",
            Self::Write => "nothing was taken",
        }
    }
}

/// An exchange that came to nothing. The texts name no address, path, header or body: they go to clients.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// The URL is none, or of a scheme that does not fit.
    #[error("the address cannot be used: {0}")]
    Address(String),
    /// Name, connection, TLS, or a connection that broke before the head of an answer.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// It hangs.
    #[error("{} within {} ms", .stage.as_str(), .patience.as_millis())]
    Timeout { stage: Stage, patience: Duration },
    /// Said or found to be longer than we take.
    #[error("the answer is larger than {max_bytes} bytes")]
    TooLarge { max_bytes: usize },
    /// The connection ended before the body did.
    #[error("the answer was cut off")]
    Truncated,
    /// It is not compressed as it says.
    #[error("the answer cannot be decompressed")]
    Compression,
    /// 429, or 503 with `Retry-After`: we are too many or too fast.
    #[error("the server asks for a pause (status {status})")]
    Throttled { status: u16, retry_after: Option<Duration> },
    /// 403, 418 or 451: we are not wanted.
    #[error("the server refuses us (status {status})")]
    Banned { status: u16, retry_after: Option<Duration> },
    /// Any other status that is no success. The start of its body is kept for the parser of error bodies.
    #[error("the server answers with status {status}")]
    Status { status: u16, body: Vec<u8> },
    /// A chain of redirects that does not end.
    #[error("the server redirects too often")]
    Redirects,
    /// A WebSocket that was closed, with the code if there was one.
    #[error("the connection was closed{}", closed_with(*.code))]
    Closed { code: Option<u16> },
    /// Bytes that are no WebSocket.
    #[error("the connection broke: {0}")]
    Broken(String),
}

fn closed_with(code: Option<u16>) -> String {
    code.map(|code| format!(" with code {code}")).unwrap_or_default()
}

impl NetError {
    /// Whether the next exchange may well succeed: the other side lives and understood us.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Status { status, .. } if (400..500).contains(status))
    }
}

/// What a status asks of us, if it asks for anything but another request.
pub(super) fn of_status(status: u16, retry_after: Option<Duration>) -> Option<NetError> {
    match status {
        429 => Some(NetError::Throttled { status, retry_after }),
        503 if retry_after.is_some() => Some(NetError::Throttled { status, retry_after }),
        403 | 418 | 451 => Some(NetError::Banned { status, retry_after }),
        _ => None,
    }
}
