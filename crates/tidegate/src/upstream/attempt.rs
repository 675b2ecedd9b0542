//! One attempt to get an answer from an endpoint, as it is counted: what it came to and how long it took.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use tidegate_transcode::Code;

use super::call::CallError;
use super::endpoint::Endpoint;
use crate::exchange::Exchange;
use crate::ids::WorkerId;
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
    pub(super) fn failed(self, error: &CallError, now: Instant) {
        if let Self::Exchange(exchange) = self
            && let Some(record) = exchange.record()
        {
            let reason = error.reason();
            record.failed(now, reason.code(), reason.word());
        }
    }
}

/// Dropped without a word it counts as cancelled: whoever waited for it has gone.
pub(super) struct Attempt {
    endpoint: Arc<Endpoint>,
    worker: WorkerId,
    begun: Instant,
    counted: bool,
}

impl Attempt {
    pub(super) fn new(endpoint: &Arc<Endpoint>, worker: WorkerId, begun: Instant) -> Self {
        Self { endpoint: Arc::clone(endpoint), worker, begun, counted: false }
    }

    /// Who is asked.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// It has come to `code`. Only the first word counts.
    pub(super) fn ended(&mut self, code: Code) {
        if !std::mem::replace(&mut self.counted, true) {
            self.endpoint.series.attempted(self.worker, code, now().saturating_duration_since(self.begun));
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
        self.ended(Code::Cancelled);
    }
}
