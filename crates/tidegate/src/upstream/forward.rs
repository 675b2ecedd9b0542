//! One request to an HTTP service, as bytes of its head and a body that flows both ways.
//!
//! It knows nothing of routes. A request is sent again if no backend can have acted on it (none could be connected to, or a
//! connection that had waited was closed before a byte of an answer came and the method is idempotent), or if its plan says
//! so.

mod raced;
mod tries;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};

use self::tries::Tries;
use super::attempt::{Attempt, Caller, Came};
use super::call::CallDeadline;
use super::endpoint::Endpoint;
use super::h1::{self, BadBody, Begun, Download, Fault, NoWire, Outcome, Replay, Sent, Tunnel, Watch};
use super::hedge::Hedge;
use super::members::Members;
use super::retry::{self, Failed, Retries, RetryPlan};
use super::{Cluster, MAX_UNSENT, h2_exchange};
use crate::body::{BodyError, BodyStream, RequestBody, ResponseBody};
use crate::dial::DialError;
use crate::exchange::Exchange;
use crate::ids::WorkerId;
use crate::reject::{Reason, Reject};
use crate::tasks;
use crate::time::now;

/// A body that is known to be no longer than this must have come before its request takes a place among those of its
/// service.
const MAX_AHEAD: usize = 64 * 1024;

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
    pub trace: Option<Box<HeaderMap>>,
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
    /// When it is sent to another endpoint at the same time.
    pub hedge: Option<&'a Hedge>,
    /// The client gets early hints.
    pub hints: bool,
    /// It asks for a WebSocket: the `Sec-WebSocket-Accept` of a backend that grants it.
    pub accept: Option<String>,
}

/// What a request for a tunnel came to.
#[derive(Debug)]
pub enum Upgraded {
    /// The backend has agreed, with these headers.
    Tunnel(HeaderMap, Box<Tunnel>),
    /// It has answered otherwise.
    Answer(Response<ResponseBody>),
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
    /// The backend answered so, and no other attempt could be made.
    #[error("the service answered with {status}")]
    Status {
        /// Of the answer.
        status: u16,
    },
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
            Self::Malformed { .. } | Self::Status { .. } => Reason::UpstreamError,
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
            Self::Status { status } => match http::StatusCode::from_u16(status) {
                Ok(status) => reject.status(status),
                Err(_) => reject,
            },
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

/// An endpoint that can be connected to as far as this request knows; preferably one that has not failed it.
fn choose_again<'m>(
    members: &'m Members,
    key: Option<u64>,
    tries: &Tries<'_>,
    now: Instant,
) -> Option<(usize, &'m Arc<Endpoint>)> {
    if tries.unsent >= MAX_UNSENT {
        return None;
    }
    let endpoints = members.endpoints();
    let reachable = |place: &usize| !tries.unreachable.contains(*place);
    let place = members.choose(key, &tries.tried, now).filter(reachable);
    let listed = |place: &usize| reachable(place) && members.has_weight(*place);
    let place = place.or_else(|| (0..endpoints.len()).find(listed))?;
    Some((place, endpoints.get(place)?))
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
    pub fn forward(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        body: RequestBody,
    ) -> impl Future<Output = Result<Response<ResponseBody>, ForwardError>> + Send {
        async move {
            let (begun, attempt, body) = self.ask(exchange, outgoing, body).await?;
            Ok(self.respond(exchange, outgoing, begun, body, attempt))
        }
    }

    /// The same for a request that asks for a tunnel. `client` is what the client sends through it; no byte of that is
    /// asked for before a backend has agreed, and nothing is tried again after that.
    ///
    /// # Errors
    /// As [`Cluster::forward`].
    pub async fn upgrade(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        client: BodyStream,
    ) -> Result<Upgraded, ForwardError> {
        let (begun, mut attempt, body) = self.ask(exchange, outgoing, RequestBody::Empty).await?;
        let begun = match begun {
            Answered::Http1(begun) if begun.head.status == StatusCode::SWITCHING_PROTOCOLS => begun,
            other => return Ok(Upgraded::Answer(self.respond(exchange, outgoing, other, body, attempt))),
        };
        attempt.came(Came::Http(101));
        let watch = self.watch(exchange, outgoing, 101, attempt);
        Ok(Upgraded::Tunnel(begun.head.headers, Box::new(Tunnel::open(begun.answer, client, watch))))
    }

    /// Attempts until one has the head of an answer, or no other may follow.
    fn ask(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        body: RequestBody,
    ) -> impl Future<Output = Result<(Answered, Attempt, Replay), ForwardError>> + Send {
        async move {
            let idempotent = outgoing.method.is_idempotent();
            outgoing.retry.requested(&self.resilience);
            let retries = Retries::new(outgoing.retry, &self.resilience, idempotent, outgoing.deadline);
            let mut body = Replay::new(body, outgoing.max_body, idempotent || self.http2 || retries.repeats());
            self.arrived(exchange, outgoing, &mut body).await?;
            let seat = self.bulkhead.enter(outgoing.deadline).await?;
            let mut tries = Tries::new(retries, idempotent);
            let mut hedged = outgoing.hedge.filter(|_| idempotent).and_then(|hedge| Some((hedge, body.all()?)));
            let mut members = self.members(outgoing.deadline).await;
            loop {
                if !self.members.is_current(&members) {
                    members = self.members(outgoing.deadline).await;
                    tries.forget_places();
                }
                let next = match self.try_once(exchange, outgoing, &members, &mut body, &mut tries, &mut hedged).await {
                    Ok((begun, mut attempt)) => {
                        let (status, headers) = begun.head();
                        let status = status.as_u16();
                        attempt.settle(Came::Http(status));
                        let wait = tries.again(Failed::Status(status), Some(headers), &mut body);
                        let Some(wait) = wait else {
                            self.counted(&tries.retries, status < 500);
                            // How long the client reads is not to keep others out.
                            drop(seat);
                            return Ok((begun, attempt, body));
                        };
                        tries.failed(attempt.place(), ForwardError::Status { status });
                        discard(begun, attempt);
                        Ok(wait)
                    }
                    Err(Stop::Over(error)) => {
                        self.counted(&tries.retries, false);
                        // What happened says more than that nothing more may happen.
                        let refused = matches!(error, ForwardError::BreakerOpen { .. });
                        return Err(tries.last.take().filter(|_| refused).unwrap_or(error));
                    }
                    Err(Stop::Nobody) => tries.nobody(members.down_for(now()), &mut body),
                    Err(Stop::Unsent { error, place, dialled, known }) => {
                        tries.unsent(place, error, (dialled, known), &mut body)
                    }
                    Err(Stop::Lost { error, seen, attempt }) => tries.lost(error, seen, attempt, &mut body),
                };
                let wait = next.inspect_err(|_| {
                    self.counted(&tries.retries, false);
                    exchange.facts.answered(exchange.elapsed());
                })?;
                let reason = tries.last.as_ref().map_or(Reason::NoHealthyEndpoint, ForwardError::reason);
                Caller::Exchange(exchange).failed(reason, now());
                if !wait.is_zero() {
                    retry::pause(self.wheels.get(exchange.worker()), wait).await;
                }
            }
        }
    }

    /// One attempt, or if it is to be `hedged` several beside one another, once.
    fn try_once(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        members: &Members,
        body: &mut Replay,
        tries: &mut Tries<'_>,
        hedged: &mut Option<(&Hedge, Bytes)>,
    ) -> impl Future<Output = Result<(Answered, Attempt), Stop>> + Send {
        async move {
            if let Some((hedge, whole)) = hedged.take() {
                // Boxed, so that the future of every request stays small.
                let raced = Box::pin(self.raced(exchange, outgoing, members, (hedge, whole.clone()), tries)).await;
                if matches!(raced, Err(Stop::Unsent { .. })) && !tries.reached {
                    // Nothing was sent: another endpoint takes the place of the first one, with all that follows.
                    *hedged = Some((hedge, whole));
                }
                let (answered, attempt, sent) = raced?;
                *body = sent;
                return Ok((answered, attempt));
            }
            let chosen = choose_again(members, outgoing.ring_key, tries, now()).ok_or(Stop::Nobody)?;
            self.attempt(exchange, outgoing, body, chosen, tries.resent > 0).await
        }
    }

    /// Waits until a small body has come: who dawdles over it is not to keep others out meanwhile. A larger one flows from
    /// its head on, because a backend may refuse it before it has read it.
    async fn arrived(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        body: &mut Replay,
    ) -> Result<(), ForwardError> {
        let length = outgoing.length.and_then(|length| usize::try_from(length).ok());
        let Some(ahead) = length.filter(|length| *length <= MAX_AHEAD && !body.is_end()) else { return Ok(()) };
        let come = pin!(poll_fn(|cx| body.poll_ahead(cx, exchange, ahead)));
        let deadline = outgoing.deadline.map_or(CallDeadline::None, CallDeadline::Total);
        let come = deadline.within(self.wheels.get(exchange.worker()), come).await;
        come.unwrap_or(Err(BadBody::Broken(BodyError::Stalled))).map_err(ForwardError::Body)
    }

    /// One attempt at an endpoint, up to the head of the answer. `fresh`: on a connection that nobody has used.
    fn attempt(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        body: &mut Replay,
        (place, endpoint): (usize, &Arc<Endpoint>),
        fresh: bool,
    ) -> impl Future<Output = Result<(Answered, Attempt), Stop>> + Send {
        async move {
            let worker = exchange.worker();
            let begun = now();
            let admitted = self.resilience.admit(begun);
            let permit = admitted
                .map_err(|refused| Stop::Over(ForwardError::BreakerOpen { retry_after: refused.retry_after }))?;
            let mut more = outgoing.trace.clone();
            Caller::Exchange(exchange).attempts(endpoint, begun, || more.get_or_insert_default());
            exchange.facts.endpoint_is(endpoint.name());
            let attempt = Attempt::new(endpoint, worker, begun, permit, false).at(place);
            let sent = Sent {
                head: &outgoing.head,
                more: more.as_deref(),
                length: outgoing.length,
                is_head: outgoing.method == Method::HEAD,
                accept: outgoing.accept.as_deref(),
                hints: outgoing.hints,
                fresh,
            };
            let ends = outgoing.retry.attempt_ends(begun, outgoing.deadline);
            let deadline = ends.map_or(CallDeadline::None, CallDeadline::Total);
            let answered = {
                let asked = pin!(answered(endpoint, worker, &sent, body, exchange));
                deadline.within(self.wheels.get(worker), asked).await
            };
            match answered {
                Some(Ok(begun)) => {
                    exchange.facts.answered(exchange.elapsed());
                    Ok((begun, attempt))
                }
                Some(Err(outcome)) => Err(unanswered(outcome, attempt)),
                None if body.waits_for_client() => {
                    Err(unanswered(Outcome::Body(BadBody::Broken(BodyError::Stalled)), attempt))
                }
                None => Err(Stop::Lost { error: ForwardError::DeadlineExceeded, seen: Seen::Perhaps, attempt }),
            }
        }
    }

    /// The answer to hand out: whole if it has come already, else as it comes.
    fn respond(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        answered: Answered,
        body: Replay,
        mut attempt: Attempt,
    ) -> Response<ResponseBody> {
        let begun = match answered {
            Answered::Http1(begun) => begun,
            Answered::Http2(begun) => return self.respond_http2(exchange, outgoing, *begun, body, attempt),
        };
        let Begun { head, mut answer } = begun;
        let status = head.status.as_u16();
        let mut decoder = head.body;
        let whole = answer.at_hand(&mut decoder);
        // Without a body the answer has ended, though its request has not: nobody waits for that, its connection is closed.
        let response_body = if let Some(bytes) = whole.or_else(|| decoder.is_done().then(Bytes::new)) {
            attempt.came(Came::Http(status));
            ResponseBody::full(bytes)
        } else {
            let watch = self.watch(exchange, outgoing, status, attempt);
            ResponseBody::stream(Download::new(answer, decoder, body, watch))
        };
        let mut response = Response::new(response_body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }

    fn respond_http2(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        mut begun: h2_exchange::Begun,
        body: Replay,
        mut attempt: Attempt,
    ) -> Response<ResponseBody> {
        let (status, headers) = (begun.status, std::mem::take(&mut begun.headers));
        let response_body = if begun.is_whole() {
            attempt.came(Came::Http(status.as_u16()));
            ResponseBody::Empty
        } else {
            let watch = self.watch(exchange, outgoing, status.as_u16(), attempt);
            ResponseBody::stream(h2_exchange::Download::new(begun, body, watch))
        };
        let mut response = Response::new(response_body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn watch(&self, exchange: &Arc<Exchange>, outgoing: &Outgoing<'_>, status: u16, attempt: Attempt) -> Watch {
        Watch {
            exchange: Arc::clone(exchange),
            attempt,
            status,
            wheel: Arc::clone(self.wheels.get(exchange.worker())),
            idle_timeout: outgoing.idle_timeout,
        }
    }
}

/// The head of an answer, by the version of HTTP that it came in.
#[expect(clippy::large_enum_variant, reason = "one at a time, and HTTP/1.1, the usual one, is to allocate nothing")]
enum Answered {
    Http1(Begun),
    Http2(Box<h2_exchange::Begun>),
}

impl Answered {
    fn head(&self) -> (StatusCode, &HeaderMap) {
        match self {
            Self::Http1(begun) => (begun.head.status, &begun.head.headers),
            Self::Http2(begun) => (begun.status, &begun.headers),
        }
    }
}

/// Asks in the version that the endpoint speaks. Only HTTP/1.1 has tunnels here.
fn answered(
    endpoint: &Arc<Endpoint>,
    worker: WorkerId,
    sent: &Sent<'_>,
    body: &mut Replay,
    exchange: &Arc<Exchange>,
) -> impl Future<Output = Result<Answered, Outcome>> + Send {
    async move {
        if endpoint.speaks_http2() && sent.accept.is_none() {
            // Boxed, so that the future of every request stays small.
            let asked = tasks::boxed(|| h2_exchange::exchange(endpoint, worker, sent, body, exchange));
            if let Some(begun) = asked.await? {
                return Ok(Answered::Http2(Box::new(begun)));
            }
        }
        h1::exchange(endpoint, worker, sent, body, exchange).await.map(Answered::Http1)
    }
}

/// Whether a backend can have acted on a request that was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It may have.
    Perhaps,
    /// Most probably not: the connection had waited, and was closed before a byte of an answer came.
    Hardly,
    /// It says that it has not.
    Never,
}

/// Why there is no answer of an attempt.
enum Stop {
    /// No other attempt may follow.
    Over(ForwardError),
    /// There is no endpoint that this request has not found out of reach.
    Nobody,
    /// The endpoint cannot be connected to. `dialled`: this request has tried. `known`: others had before.
    Unsent { error: ForwardError, place: usize, dialled: bool, known: bool },
    /// The request was sent, and lost.
    Lost { error: ForwardError, seen: Seen, attempt: Attempt },
}

/// What an attempt without an answer comes to.
fn unanswered(outcome: Outcome, mut attempt: Attempt) -> Stop {
    let place = attempt.place();
    let endpoint = Arc::clone(attempt.endpoint().name());
    match outcome {
        Outcome::NoWire(NoWire::Down { error, dialled, known }) => {
            let error = ForwardError::ConnectFailed { endpoint, error };
            if !dialled {
                attempt.void();
            }
            attempt.came(Came::Nothing(error.reason()));
            Stop::Unsent { error, place, dialled, known }
        }
        Outcome::NoWire(NoWire::Shutdown) => {
            attempt.void();
            Stop::Unsent { error: ForwardError::NoEndpoint, place, dialled: false, known: false }
        }
        Outcome::NoWire(NoWire::Full) => {
            attempt.came(Came::Nothing(Reason::Overloaded));
            Stop::Unsent { error: ForwardError::Overloaded, place, dialled: false, known: false }
        }
        Outcome::Lost { error, untouched } => {
            let error = ForwardError::Lost { endpoint, error };
            Stop::Lost { error, seen: if untouched { Seen::Hardly } else { Seen::Perhaps }, attempt }
        }
        Outcome::Unseen(error) => {
            Stop::Lost { error: ForwardError::Lost { endpoint, error }, seen: Seen::Never, attempt }
        }
        Outcome::Malformed(fault) => {
            let error = ForwardError::Malformed { endpoint, fault };
            attempt.came(Came::Nothing(error.reason()));
            Stop::Over(error)
        }
        Outcome::Body(bad) => {
            attempt.came(Came::Nothing(ForwardError::Body(bad).reason()));
            Stop::Over(ForwardError::Body(bad))
        }
    }
}

/// An answer that another attempt replaces. Its connection is used again if nothing of it is left.
fn discard(answered: Answered, mut attempt: Attempt) {
    let Answered::Http1(Begun { head, mut answer }) = answered else {
        let (status, _) = answered.head();
        return attempt.came(Came::Http(status.as_u16()));
    };
    let mut decoder = head.body;
    let _whole = answer.at_hand(&mut decoder);
    attempt.came(Came::Http(head.status.as_u16()));
}
