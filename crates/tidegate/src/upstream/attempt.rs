//! One attempt to get an answer from an endpoint, as it is counted: what it came to and how long it took.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use tidegate_config::valid::ServiceProtocol;
use tidegate_transcode::Code;

use super::call::CallError;
use super::endpoint::Endpoint;
use crate::exchange::Exchange;
use crate::ids::WorkerId;
use crate::reject::Reason;
use crate::telemetry::metrics::HttpOutcome;
use crate::time::now;

/// On whose behalf a backend is called.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// A client's request. It is told of each attempt.
    Exchange(&'a Exchange),
    /// The gateway itself, on this slot.
    Gateway(WorkerId),
}

impl Caller<'_> {
    pub(super) fn worker(self) -> WorkerId {
        match self {
            Self::Exchange(exchange) => exchange.worker(),
            Self::Gateway(worker) => worker,
        }
    }

    /// `endpoint` is about to be asked with `metadata`.
    pub(super) fn attempts(self, endpoint: &Endpoint, now: Instant, metadata: &mut HeaderMap) {
        if let Self::Exchange(exchange) = self {
            exchange.attempt(endpoint.name(), now, metadata);
        }
    }

    /// The attempt came to nothing, and another one may follow.
    pub(super) fn failed(self, reason: Reason, now: Instant) {
        if let Self::Exchange(exchange) = self
            && let Some(record) = exchange.record()
        {
            record.failed(now, reason.code(), reason.word());
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// A gRPC status.
    Grpc(Code),
    /// An HTTP status.
    Http(u16),
    /// No answer, or not the whole of one, from an HTTP backend.
    Nothing(Reason),
}

/// Dropped without a word it counts as cancelled: whoever waited for it has gone.
pub(super) struct Attempt {
    endpoint: Arc<Endpoint>,
    worker: WorkerId,
    begun: Instant,
    /// What it counts as if nobody says a word.
    otherwise: Came,
    counted: bool,
}

impl Attempt {
    pub(super) fn new(endpoint: &Arc<Endpoint>, worker: WorkerId, begun: Instant) -> Self {
        let otherwise = match endpoint.speaks {
            ServiceProtocol::Grpc => Came::Grpc(Code::Cancelled),
            ServiceProtocol::Http => Came::Nothing(Reason::ClientClosed),
        };
        Self { endpoint: Arc::clone(endpoint), worker, begun, otherwise, counted: false }
    }

    /// Who is asked.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// It has come to `code`. Only the first word counts.
    pub(super) fn ended(&mut self, code: Code) {
        self.came(Came::Grpc(code));
    }

    /// What it has come to. Only the first word counts.
    pub(super) fn came(&mut self, came: Came) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        let duration = now().saturating_duration_since(self.begun);
        let (series, worker) = (&self.endpoint.series, self.worker);
        match came {
            Came::Grpc(code) => series.attempted(worker, code, duration),
            Came::Http(status) => series.attempted_http(worker, HttpOutcome::Status(status), duration),
            Came::Nothing(reason) => series.attempted_http(worker, HttpOutcome::Failed(reason), duration),
        }
    }

    /// It has come to nothing.
    pub(super) fn failed(&mut self, error: CallError) -> CallError {
        self.ended(error.code());
        error
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.came(self.otherwise);
    }
}
