//! What can go wrong with a request. How it looks on the wire is decided in [`crate::status`].

use std::time::Duration;

/// A request that could not be answered.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// A field of the request is at fault.
    #[error("{field} {problem}")]
    InvalidField { field: String, problem: String },
    /// A symbol that the source does not cover, or without a source, that nobody does.
    #[error("symbol {symbol} is unknown{}", of_source(.source_id.as_deref()))]
    UnknownSymbol { symbol: String, source_id: Option<String> },
    /// A source id that does not exist.
    #[error("source {source_id} is unknown; known are {}", .known.join(", "))]
    UnknownSource { source_id: String, known: Vec<String> },
    /// A source that exists but cannot deliver now.
    #[error("source {source_id} is down: {reason}")]
    SourceDown { source_id: String, reason: String, retry_after: Duration },
    /// A source that is there but wants to be asked less.
    #[error("source {source_id} is throttled: {reason}")]
    SourceThrottled { source_id: String, reason: String, retry_after: Duration },
    /// The source was connected again while a stream was open.
    #[error("source {source_id} was connected again; open the stream again")]
    SourceReplaced { source_id: String },
    /// The source was disconnected while a stream was open.
    #[error("source {source_id} was disconnected")]
    SourceDisconnected { source_id: String },
    /// The bound on sources is reached.
    #[error("there are {max} sources already, which is the most")]
    TooManySources { max: usize },
    /// The bound on streams is reached.
    #[error("too many streams are open, the most is {max_open}")]
    TooManyStreams { max_open: usize },
    /// The client's deadline passes.
    #[error("the deadline is exceeded")]
    DeadlineExceeded,
    /// The engine stops.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

impl EngineError {
    /// A fault of one field.
    pub(crate) fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::InvalidField { field: field.to_owned(), problem: problem.into() }
    }
}

fn of_source(source: Option<&str>) -> String {
    source.map(|source| format!(" to source {source}")).unwrap_or_default()
}
