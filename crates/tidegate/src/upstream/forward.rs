//! One request to an HTTP service, as bytes of its head and a body that flows both ways.
//!
//! It knows nothing of routes. A request is sent again if no backend can have acted on it (none could be connected to, or a
//! connection that had waited was closed before a byte of an answer came and the method is idempotent), or if its plan says
//! so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Response};
use tidegate_resilience::Tried;

use super::Cluster;
use super::attempt::{Attempt, Caller, Came};
use super::call::CallDeadline;
use super::h1::{self, BadBody, Begun, Download, Fault, NoWire, Outcome, Replay, Sent, Watch};
use super::resilience::Resilience;
use super::retry::{self, Failed, Retries, RetryPlan};
use crate::body::{RequestBody, ResponseBody};
use crate::dial::DialError;
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};
use crate::time::now;

/// How often a request is sent once more because its connection was closed before the backend saw it.
const MAX_RESENT: u32 = 2;

/// A request to an HTTP service.
#[derive(Debug)]
pub struct Outgoing<'a> {
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
    /// What a ring goes by; see [`Cluster::ring_key`].
    pub ring_key: Option<u64>,
    /// When it is sent once more.
    pub retry: &'a RetryPlan,
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
    /// The circuit breaker is open; nothing was sent.
    #[error("the circuit breaker is open")]
    BreakerOpen {
        /// When it may be closed again.
        retry_after: Duration,
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
            Self::BreakerOpen { .. } => Reason::BreakerOpen,
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
        let mut reject = Reject::new(self.reason());
        match self {
            Self::BreakerOpen { retry_after } => {
                reject.retry_after = Some(retry_after);
                reject
            }
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
    /// An endpoint that cannot be connected to is replaced by another one: nothing was sent to it. Otherwise the plan of
    /// the request says what is tried again. The exchange is told of each attempt.
    ///
    /// # Errors
    /// There is no answer. Dropping the future cancels the request.
    pub async fn forward(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: Outgoing<'_>,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ForwardError> {
        let mut place = self.bulkhead.enter().await.ok_or(ForwardError::Overloaded)?;
        let idempotent = outgoing.method.is_idempotent();
        outgoing.retry.requested(&self.resilience);
        let mut tries = Tries {
            retries: Retries::new(outgoing.retry, &self.resilience, idempotent, outgoing.deadline),
            tried: Tried::default(),
            resent: 0,
            idempotent,
        };
        let keeps = idempotent || tries.retries.repeats();
        let mut body = Replay::new(body, outgoing.max_body, keeps);
        let mut last = None;
        loop {
            match self.attempt(exchange, &outgoing, &mut body, &tries, &mut last).await {
                Ok((begun, attempt)) => {
                    let status = begun.head.status.as_u16();
                    let said = Some(&begun.head.headers);
                    // Kept for one that fails after a retry was allowed by the budget.
                    let again = tries.again(Failed::Status(status), said, &mut body);
                    let Some(wait) = again else {
                        self.counted(&tries.retries, status < 500);
                        let watch = Watch {
                            exchange: Arc::clone(exchange),
                            attempt,
                            status,
                            wheel: Arc::clone(self.wheels.get(exchange.worker())),
                            idle_timeout: outgoing.idle_timeout,
                            place,
                        };
                        return Ok(respond(begun, body, watch));
                    };
                    let reason = Reason::UpstreamError;
                    discard(begun, attempt);
                    Caller::Exchange(exchange).failed(reason, now());
                    retry::pause(self.wheels.get(exchange.worker()), wait).await;
                }
                Err(Stop::Over(error)) => {
                    self.counted(&tries.retries, false);
                    place.give_back();
                    return Err(error);
                }
                Err(Stop::Failed { error, place: at, untouched, sent }) => {
                    let reason = error.reason();
                    if !sent {
                        // Nothing was sent: another endpoint, at once.
                        tries.tried.push(at);
                        last = Some(error);
                        Caller::Exchange(exchange).failed(reason, now());
                        continue;
                    }
                    let wait = match untouched {
                        true if tries.resend(&self.resilience, &mut body) => Some(Duration::ZERO),
                        _ => {
                            tries.tried.push(at);
                            Failed::of(reason).and_then(|failed| tries.again(failed, None, &mut body))
                        }
                    };
                    let Some(wait) = wait else {
                        self.counted(&tries.retries, false);
                        exchange.facts.answered(exchange.elapsed());
                        return Err(error);
                    };
                    last = Some(error);
                    Caller::Exchange(exchange).failed(reason, now());
                    if !wait.is_zero() {
                        retry::pause(self.wheels.get(exchange.worker()), wait).await;
                    }
                }
            }
        }
    }

    /// One attempt, up to the head of the answer. `last` is what the attempt before came to.
    async fn attempt(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        body: &mut Replay,
        tries: &Tries<'_>,
        last: &mut Option<ForwardError>,
    ) -> Result<(Begun, Attempt), Stop> {
        let worker = exchange.worker();
        let begun = now();
        let over = |last: &mut Option<ForwardError>, error| Stop::Over(last.take().unwrap_or(error));
        let Some((place, endpoint)) = self.choose(outgoing.ring_key, &tries.tried, begun) else {
            return Err(over(last, ForwardError::NoEndpoint));
        };
        let permit = match self.resilience.admit(begun) {
            Ok(permit) => permit,
            Err(refused) => {
                return Err(over(last, ForwardError::BreakerOpen { retry_after: refused.retry_after }));
            }
        };
        let mut more = outgoing.trace.clone();
        Caller::Exchange(exchange).attempts(endpoint, begun, &mut more);
        let mut attempt = Attempt::new(endpoint, worker, begun, permit, false);
        let sent = Sent {
            head: &outgoing.head,
            more: &more,
            length: outgoing.length,
            is_head: outgoing.method == Method::HEAD,
            fresh: tries.resent > 0,
        };
        let ends = outgoing.retry.attempt_ends(begun, outgoing.deadline);
        let deadline = ends.map_or(CallDeadline::None, CallDeadline::Total);
        let asked = h1::exchange(endpoint, worker, sent, body, exchange);
        let name = || Arc::clone(endpoint.name());
        let (error, untouched, sent) = match deadline.within(self.wheels.get(worker), asked).await {
            Some(Ok(begun)) => {
                exchange.facts.endpoint_is(endpoint.name());
                exchange.facts.answered(exchange.elapsed());
                return Ok((begun, attempt));
            }
            None => (ForwardError::DeadlineExceeded, false, true),
            Some(Err(Outcome::NoWire(NoWire::Down(error)))) => {
                (ForwardError::ConnectFailed { endpoint: name(), error }, false, false)
            }
            Some(Err(Outcome::NoWire(NoWire::Shutdown))) => (ForwardError::NoEndpoint, false, false),
            Some(Err(Outcome::Lost { error, untouched })) => {
                (ForwardError::Lost { endpoint: name(), error }, untouched, true)
            }
            Some(Err(Outcome::Malformed(fault))) => (ForwardError::Malformed { endpoint: name(), fault }, false, true),
            Some(Err(Outcome::Body(bad))) => {
                attempt.came(Came::Nothing(ForwardError::Body(bad).reason()));
                return Err(Stop::Over(ForwardError::Body(bad)));
            }
        };
        // A connection that was closed while it waited says nothing about the backend.
        if untouched {
            attempt.void();
        }
        attempt.came(Came::Nothing(error.reason()));
        exchange.facts.endpoint_is(endpoint.name());
        Err(Stop::Failed { error, place, untouched, sent })
    }
}

/// Why there is no answer of an attempt.
enum Stop {
    /// No other attempt may follow.
    Over(ForwardError),
    /// Another one may.
    Failed {
        error: ForwardError,
        /// Who was asked.
        place: usize,
        /// The connection had waited and was closed before the backend saw the request, most probably.
        untouched: bool,
        /// The backend may have seen the request.
        sent: bool,
    },
}

/// What became of the attempts so far.
struct Tries<'a> {
    retries: Retries<'a>,
    /// Endpoints that failed.
    tried: Tried,
    resent: u32,
    idempotent: bool,
}

impl Tries<'_> {
    /// The wait before another attempt, if the plan and the body allow one.
    fn again(&mut self, failed: Failed, said: Option<&HeaderMap>, body: &mut Replay) -> Option<Duration> {
        if !self.retries.repeats() || !body.rewind() {
            return None;
        }
        self.retries.after(failed, said)
    }

    /// Whether a request is sent once more because its connection was closed before the backend saw it.
    fn resend(&mut self, resilience: &Resilience, body: &mut Replay) -> bool {
        if !self.idempotent || self.resent >= MAX_RESENT || !body.rewind() || !resilience.may_retry(now()) {
            return false;
        }
        self.resent += 1;
        true
    }
}

/// An answer that another attempt replaces. Its connection is used again if nothing of it is left.
fn discard(begun: Begun, mut attempt: Attempt) {
    let Begun { head, mut answer } = begun;
    let mut decoder = head.body;
    let _whole = answer.at_hand(&mut decoder);
    attempt.came(Came::Http(head.status.as_u16()));
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
