//! One attempt to get an answer from an endpoint, as it is counted: what it came to and how long it took.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use tidegate_config::valid::ServiceProtocol;
use tidegate_resilience::{Outcome, Permit};
use tidegate_transcode::Code;

use super::Asked;
use super::bulkhead::Place;
use super::call::{Call, CallError};
use super::endpoint::Endpoint;
use crate::exchange::Exchange;
use crate::ids::WorkerId;
use crate::reject::Reason;
use crate::telemetry::metrics::HttpOutcome;
use crate::time::now;
use crate::trace::Record;

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

    /// `endpoint` is about to be asked with `metadata`, which is asked for if there is something to say in it.
    pub(super) fn attempts<'m>(self, endpoint: &Endpoint, now: Instant, metadata: impl FnOnce() -> &'m mut HeaderMap) {
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

impl Caller<'_> {
    /// A backend has got the call: tells the exchange which.
    pub(super) fn reached(self, call: &Call) -> Asked {
        let asked = Asked { endpoint: Arc::clone(call.endpoint()), peer: call.peer() };
        if let Self::Exchange(exchange) = self {
            exchange.facts.endpoint_is(&asked.endpoint);
        }
        if let Some(record) = self.record() {
            record.reached(&asked.endpoint, asked.peer);
        }
        asked
    }

    /// Attempts so far that are recorded.
    pub(super) fn begun(self) -> usize {
        self.record().map_or(0, Record::attempts)
    }

    /// Of the attempts after the first `from` the one at `endpoint` counts: those beside it were cancelled.
    pub(super) fn cancelled(self, from: usize, endpoint: &str) {
        if let Some(record) = self.record() {
            record.cancelled(from, endpoint, now());
        }
    }

    fn record(&self) -> Option<&Record> {
        match self {
            Self::Exchange(exchange) => exchange.record(),
            Self::Gateway(_) => None,
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
    /// Of the endpoint among those that it was chosen from.
    place: usize,
    worker: WorkerId,
    begun: Instant,
    /// Of the breaker.
    permit: Option<Permit>,
    /// That its time is over is no fault of the backend: its client gives it less than the route, or its answer waits
    /// here to be read.
    short: bool,
    /// What it counts as if nobody says a word.
    otherwise: Came,
    counted: bool,
    /// What breaker and ejection know.
    settled: Option<Came>,
    /// Of the bulkhead, until the answer begins.
    seat: Option<Place>,
}

impl Attempt {
    /// `short`: the client waits less than the route would.
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        worker: WorkerId,
        begun: Instant,
        permit: Option<Permit>,
        short: bool,
    ) -> Self {
        endpoint.record().entered();
        let otherwise = match endpoint.speaks {
            ServiceProtocol::Grpc => Came::Grpc(Code::Cancelled),
            ServiceProtocol::Http => Came::Nothing(Reason::ClientClosed),
        };
        Self {
            endpoint: Arc::clone(endpoint),
            place: 0,
            worker,
            begun,
            permit,
            short,
            otherwise,
            counted: false,
            settled: None,
            seat: None,
        }
    }

    /// Its endpoint was chosen by this place.
    pub(super) fn at(mut self, place: usize) -> Self {
        self.place = place;
        self
    }

    /// The place that its endpoint was chosen by.
    pub(super) fn place(&self) -> usize {
        self.place
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
        let now = now();
        let duration = now.saturating_duration_since(self.begun);
        self.settle_at(came, now);
        let (series, worker) = (&self.endpoint.series, self.worker);
        match came {
            Came::Grpc(code) => series.attempted(worker, code, duration),
            Came::Http(status) => series.attempted_http(worker, HttpOutcome::Status(status), duration),
            Came::Nothing(reason) => series.attempted_http(worker, HttpOutcome::Failed(reason), duration),
        }
    }

    /// Tells breaker and ejection what it has come to, as soon as that is known: how long an answer takes its client says
    /// nothing about the backend, and a probe must not wait for it. An answer that breaks off afterwards is one more word,
    /// against the backend.
    pub(super) fn settle(&mut self, came: Came) {
        self.settle_at(came, now());
    }

    fn settle_at(&mut self, came: Came, now: Instant) {
        let before = self.settled.replace(came);
        self.seat = None;
        let Some(outcome) = outcome(came, self.short) else { return };
        if before.is_none_or(|before| before != came && outcome == Outcome::Failure) {
            let took = now.saturating_duration_since(self.begun);
            self.endpoint.resilience().ended(self.endpoint.record(), self.permit.take(), outcome, took, now);
        }
    }

    /// Its time is over while its answer waits here to be read.
    pub(super) fn cut_short(&mut self) {
        self.short = true;
    }

    /// Keeps the request's place at the service until its answer begins.
    pub(super) fn holds(&mut self, seat: Place) {
        self.seat = Some(seat);
    }

    /// Nothing was sent, or the backend is not to blame: it says nothing.
    pub(super) fn void(&mut self) {
        self.settled = Some(self.otherwise);
        self.counted = true;
        self.permit = None;
    }

    /// It has come to nothing.
    pub(super) fn failed(&mut self, error: CallError) -> CallError {
        self.ended(error.code());
        error
    }
}

/// Whether an attempt speaks for or against its endpoint; `None` if it says nothing about it. `short`: the client waited
/// less than the route would have, and could open the breaker for others if that counted.
fn outcome(came: Came, short: bool) -> Option<Outcome> {
    let failed = match came {
        Came::Grpc(Code::Cancelled) => return None,
        Came::Grpc(Code::DeadlineExceeded) | Came::Nothing(Reason::UpstreamTimeout) if short => return None,
        Came::Grpc(code) => {
            matches!(code, Code::DeadlineExceeded | Code::Internal | Code::Unavailable | Code::DataLoss)
        }
        Came::Http(status) => status >= 500,
        Came::Nothing(
            Reason::ConnectFailed
            | Reason::NoHealthyEndpoint
            | Reason::UpstreamReset
            | Reason::UpstreamTimeout
            | Reason::UpstreamError,
        ) => true,
        Came::Nothing(_) => return None,
    };
    Some(if failed { Outcome::Failure } else { Outcome::Success })
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoint.record().left();
        self.came(self.otherwise);
    }
}
