//! One request to an HTTP service, as bytes of its head and a body that flows both ways.
//!
//! It knows nothing of routes. A request is sent again only if no backend can have acted on it: none could be connected
//! to, or a connection that had waited was closed before a byte of an answer came and the method is idempotent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Response};

use super::attempt::{Attempt, Caller, Came};
use super::call::CallDeadline;
use super::endpoint::Endpoint;
use super::h1::{self, BadBody, Begun, Download, Fault, NoWire, Outcome, Replay, Sent, Watch};
use super::{Cluster, balance};
use crate::body::{RequestBody, ResponseBody};
use crate::dial::DialError;
use crate::exchange::Exchange;
use crate::ids::WorkerId;
use crate::reject::{Reason, Reject};
use crate::time::now;

/// How often a request is sent once more because its connection was closed before the backend saw it.
const MAX_RESENT: u32 = 2;

/// A request to an HTTP service.
#[derive(Debug)]
pub struct Outgoing {
    /// As the client sent it.
    pub method: Method,
    /// Request line and fields, each with its line end. `content-length` and `transfer-encoding` are not among them.
    pub head: Vec<u8>,
    /// Trace context of the client; an attempt puts its own in the place of it.
    pub trace: HeaderMap,
    /// The length of the body, if the client told it.
    pub length: Option<u64>,
    /// Bytes that the body may have.
    pub max_body: u64,
    /// Until the head of the answer is there.
    pub deadline: Option<Instant>,
    /// How long the answer may be silent afterwards.
    pub idle_timeout: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The cluster takes no requests (any more).
    #[error("the service has no endpoint that takes requests")]
    NoEndpoint,
    /// No connection could be made; nothing was sent.
    #[error("{endpoint}: {error}")]
    ConnectFailed {
        /// As written in the configuration.
        endpoint: Arc<str>,
        /// The last failure.
        error: Arc<DialError>,
    },
    /// The service has too many requests at once.
    #[error("the service has too many requests at once")]
    Overloaded,
    /// The connection was lost before the answer began.
    #[error("{endpoint}: {error}")]
    Lost {
        /// As written in the configuration.
        endpoint: Arc<str>,
        /// What the system said.
        error: std::io::Error,
    },
    /// What came is no answer.
    #[error("{endpoint}: {fault}")]
    Malformed {
        /// As written in the configuration.
        endpoint: Arc<str>,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The deadline passed; the request was cancelled.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// The client's body cannot be sent; the backend did not get all of it.
    #[error("the body of the request cannot be sent")]
    Body(BadBody),
}

impl ForwardError {
    /// The word for what a client is told.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoEndpoint => Reason::NoHealthyEndpoint,
            Self::ConnectFailed { error, .. } if matches!(**error, DialError::Unresolved) => Reason::NoHealthyEndpoint,
            Self::ConnectFailed { .. } => Reason::ConnectFailed,
            Self::Overloaded => Reason::Overloaded,
            Self::Lost { .. } => Reason::UpstreamReset,
            Self::Malformed { .. } => Reason::UpstreamError,
            Self::DeadlineExceeded => Reason::UpstreamTimeout,
            Self::Body(BadBody::TooLarge) => Reason::PayloadTooLarge,
            Self::Body(BadBody::Broken(error)) => Reject::broken_body(*error).reason,
        }
    }

    /// The refusal that a client gets, with the cause for the log.
    #[must_use]
    pub fn into_reject(self) -> Reject {
        let reject = Reject::new(self.reason());
        match self {
            Self::Body(BadBody::TooLarge) => reject.close(),
            Self::Body(BadBody::Broken(error)) => Reject::broken_body(error),
            Self::Malformed { .. } => {
                let reject = reject.status(http::StatusCode::BAD_GATEWAY);
                reject.detail("the service's answer cannot be read").cause(self.to_string())
            }
            other => reject.cause(other.to_string()),
        }
    }
}

impl Cluster {
    /// Sends a request and waits for the head of its answer, connecting first if no connection waits. The body of the
    /// answer holds the connection until it has ended or is dropped. Must run on the runtime of the exchange's worker.
    ///
    /// An endpoint that cannot be connected to is replaced by another one: nothing was sent to it. Each is an attempt,
    /// which the exchange is told.
    ///
    /// # Errors
    /// There is no answer. Dropping the future cancels the request.
    pub async fn forward(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: Outgoing,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ForwardError> {
        let permit = self.bulkhead.enter().await.ok_or(ForwardError::Overloaded)?;
        let worker = exchange.worker();
        let caller = Caller::Exchange(exchange);
        let mut body = Replay::new(body, outgoing.max_body, outgoing.method.is_idempotent());
        let mut more = outgoing.trace.clone();
        let mut tries = Tries::default();
        loop {
            let Some((index, endpoint)) = self.next(worker, &tries) else {
                return Err(tries.failure.unwrap_or(ForwardError::NoEndpoint));
            };
            let begun = now();
            caller.attempts(endpoint, begun, &mut more);
            let mut attempt = Attempt::new(endpoint, worker, begun);
            let sent = Sent {
                head: &outgoing.head,
                more: &more,
                length: outgoing.length,
                is_head: outgoing.method == Method::HEAD,
                fresh: tries.resent > 0,
            };
            let deadline = outgoing.deadline.map_or(CallDeadline::None, CallDeadline::Total);
            let asked = h1::exchange(endpoint, worker, sent, &mut body, exchange);
            let error = match deadline.within(self.wheels.get(worker), asked).await {
                Some(Ok(begun)) => {
                    exchange.facts.endpoint_is(endpoint.name());
                    exchange.facts.answered(exchange.elapsed());
                    let status = begun.head.status.as_u16();
                    let watch = Watch {
                        exchange: Arc::clone(exchange),
                        attempt,
                        status,
                        wheel: Arc::clone(self.wheels.get(worker)),
                        idle_timeout: outgoing.idle_timeout,
                        permit,
                    };
                    return Ok(respond(begun, body, watch));
                }
                Some(Err(outcome)) => tries.again(outcome, endpoint, index, &mut body).err(),
                None => Some(ForwardError::DeadlineExceeded),
            };
            let reason = error.as_ref().or(tries.failure.as_ref()).map_or(Reason::UpstreamReset, ForwardError::reason);
            attempt.came(Came::Nothing(reason));
            if let Some(error) = error {
                exchange.facts.endpoint_is(endpoint.name());
                exchange.facts.answered(exchange.elapsed());
                return Err(error);
            }
            caller.failed(reason, now());
        }
    }

    fn next(&self, worker: WorkerId, tries: &Tries) -> Option<(usize, &Arc<Endpoint>)> {
        balance::pick(self.policy, &self.endpoints, worker, self.turns.get(worker), tries.tried)
    }
}

/// What became of the attempts so far.
#[derive(Default)]
struct Tries {
    /// Bit `i` for endpoint `i`, which cannot be connected to.
    tried: u64,
    resent: u32,
    /// Of the last attempt.
    failure: Option<ForwardError>,
}

impl Tries {
    /// Whether another attempt may follow.
    ///
    /// # Errors
    /// Why none may.
    fn again(
        &mut self,
        outcome: Outcome,
        endpoint: &Endpoint,
        index: usize,
        body: &mut Replay,
    ) -> Result<(), ForwardError> {
        let name = || Arc::clone(endpoint.name());
        let failure = match outcome {
            Outcome::NoWire(no_wire) => {
                let failure = match no_wire {
                    NoWire::Down(error) => ForwardError::ConnectFailed { endpoint: name(), error },
                    NoWire::Shutdown => ForwardError::NoEndpoint,
                };
                // Endpoints from the 64th on cannot be marked; they are not worth more attempts.
                let Some(mark) = u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)) else {
                    return Err(failure);
                };
                self.tried |= mark;
                failure
            }
            Outcome::Lost { error, untouched } => {
                let failure = ForwardError::Lost { endpoint: name(), error };
                if !untouched || self.resent >= MAX_RESENT || !body.rewind() {
                    return Err(failure);
                }
                self.resent += 1;
                failure
            }
            Outcome::Malformed(fault) => return Err(ForwardError::Malformed { endpoint: name(), fault }),
            Outcome::Body(bad) => return Err(ForwardError::Body(bad)),
        };
        self.failure = Some(failure);
        Ok(())
    }
}

/// The answer to hand out: whole if it has come already, else as it comes.
fn respond(begun: Begun, body: Replay, mut watch: Watch) -> Response<ResponseBody> {
    let Begun { head, mut answer } = begun;
    let mut decoder = head.body;
    let response_body = match answer.at_hand(&mut decoder) {
        Some(bytes) => {
            watch.attempt.came(Came::Http(watch.status));
            ResponseBody::full(bytes)
        }
        None => ResponseBody::stream(Download::new(answer, decoder, body, watch)),
    };
    let mut response = Response::new(response_body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
