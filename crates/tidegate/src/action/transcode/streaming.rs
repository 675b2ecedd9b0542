//! Server streaming: the messages of a call as one HTTP body, written as they come.
//!
//! The head of the answer is sent with the first message, so a failure before it is an ordinary error answer. Messages
//! that already wait are written together, at most [`BATCH_BYTES`] at once; the backend may send more only when the
//! client's connection has taken what was written.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use tidegate_transcode::status::encode_message;
use tidegate_transcode::{AnswerKind, Code, End, ResponseError, Status, StreamEncoder, StreamFormat, StreamOptions};

use super::uploading::Feed;
use super::{Asked, IGNORED, Transcode};
use crate::body::{BodyError, RequestBody, ResponseBody};
use crate::ending::leave::{self, Leave};
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};
use crate::telemetry::metrics::Direction;
use crate::time::{self, Deadline};
use crate::upstream::{Call, CallDeadline, Caller};

/// Written at once at most, so that one fast backend does not hold the worker.
const BATCH_BYTES: usize = 64 * 1024;

/// Silence after which an SSE client gets a comment, or proxies on the way would cut the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

impl Transcode {
    pub(super) async fn server_stream(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        asked: Asked,
        values: &[Cow<'_, str>],
        query: Option<&str>,
        request: RequestBody,
    ) -> Result<Response<ResponseBody>, Reject> {
        let request = self.collect(exchange, request, asked.deadline).await?;
        let (frame, ignored) = self.encode(exchange, &asked, values, query, &request)?;
        if let Some(mirror) = &self.mirror {
            mirror.call(exchange, &asked.head, &frame);
        }
        let deadline = asked.deadline.map_or(CallDeadline::None, CallDeadline::FirstMessage);
        let retry = (&self.retry, self.idempotent || exchange.method.is_idempotent());
        let begun = self.cluster.first_message(Caller::Exchange(exchange), asked.head, frame, deadline, retry);
        let mut begun = pin!(begun);
        let mut leave = self.leave(exchange, asked.format);
        let begun = poll_fn(|cx| match begun.as_mut().poll(cx) {
            Poll::Ready(begun) => Poll::Ready(begun.map_err(|(error, _)| self.failed(exchange, error))),
            Poll::Pending => leave.poll(cx).map(|()| Err(Reject::new(Reason::Draining))),
        });
        let begun = begun.await?;
        self.stream_answer(exchange, (asked.format, asked.measured), begun, (None, leave), ignored).await
    }

    /// Waits for the first message of a call that streams both ways, or its end.
    pub(super) async fn chat(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        asked: (StreamFormat, bool),
        mut call: Call,
        mut feed: Option<Feed>,
    ) -> Result<Response<ResponseBody>, Reject> {
        let mut leave = self.leave(exchange, asked.0);
        let first = poll_fn(|cx| {
            if let Some(running) = &mut feed
                && let Poll::Ready(fed) = running.as_mut().poll(cx)
            {
                feed = None;
                if let Err(reject) = fed {
                    return Poll::Ready(Err(reject));
                }
            }
            match call.poll_message(cx) {
                Poll::Ready(first) => Poll::Ready(first.map_err(|error| self.failed(exchange, error))),
                Poll::Pending => leave.poll(cx).map(|()| Err(Reject::new(Reason::Draining))),
            }
        });
        let first = first.await?;
        self.stream_answer(exchange, asked, (call, first), (feed, leave), None).await
    }

    fn leave(&self, exchange: &Exchange, format: StreamFormat) -> Leave {
        Leave::new(&exchange.conn.ending, self.cluster.wheel(exchange.worker()), format)
    }

    /// Starts the answer of a call with its first message, or its end; if it is `measured`, by that message.
    async fn stream_answer(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        (format, measured): (StreamFormat, bool),
        (mut call, first): (Call, Option<Bytes>),
        (feed, leave): (Option<Feed>, Leave),
        ignored: Option<HeaderValue>,
    ) -> Result<Response<ResponseBody>, Reject> {
        exchange.facts.answered(exchange.elapsed());
        let mut response = Response::new(ResponseBody::Empty);
        let headers = response.headers_mut();
        self.tell(call.head().await.map_err(|error| self.failed(exchange, error))?, headers);
        let encoder = self.start(exchange, format, first.as_ref(), headers)?;
        headers.extend(ignored.map(|ignored| (IGNORED, ignored)));
        if exchange.takes_trailers {
            // HTTP/1.1 carries only those that were announced.
            headers.insert(header::TRAILER, HeaderValue::from_static("grpc-status, grpc-message"));
        }
        let mut messages = Messages {
            transcode: Arc::clone(self),
            format,
            encoder,
            call,
            feed,
            exchange: Arc::clone(exchange),
            heartbeat: None,
            leave,
            state: State::Open,
            waiting: Vec::new(),
        };
        match first {
            Some(message) => {
                messages.restart_idle_timer();
                let mut out = Vec::with_capacity(message.len().saturating_mul(2).saturating_add(16));
                let print = || messages.write(&message, &mut out);
                let printed = self.timed(exchange, measured, Direction::Response, print);
                printed.map_err(|error| self.unprintable(exchange, error))?;
                messages.waiting = out;
            }
            None => messages.end(),
        }
        *response.body_mut() = ResponseBody::stream(messages);
        Ok(response)
    }

    /// The encoder for the answer, and the headers that say what it is.
    fn start(
        &self,
        exchange: &Exchange,
        format: StreamFormat,
        first: Option<&Bytes>,
        headers: &mut HeaderMap,
    ) -> Result<StreamEncoder, Reject> {
        if self.plan.answer_kind() == AnswerKind::HttpBody {
            let part = self.plan.http_body(first.map_or(&[], Bytes::as_ref));
            let part = part.map_err(|error| self.unprintable(exchange, error))?;
            let content_type = HeaderValue::from_str(part.content_type);
            let content_type = content_type.map_err(|_| self.unprintable(exchange, ResponseError::ContentType))?;
            headers.insert(header::CONTENT_TYPE, content_type);
            return Ok(StreamEncoder::raw());
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        if format == StreamFormat::Sse {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        }
        Ok(StreamEncoder::new(format, StreamOptions::default()))
    }
}

/// The body of a streamed answer. Dropping it cancels the call.
struct Messages {
    transcode: Arc<Transcode>,
    format: StreamFormat,
    encoder: StreamEncoder,
    call: Call,
    /// What is left of the client's own stream, in calls that stream both ways.
    feed: Option<Feed>,
    exchange: Arc<Exchange>,
    heartbeat: Option<Deadline>,
    leave: Leave,
    state: State,
    /// Written before the body was polled first, or beside what is sent now.
    waiting: Vec<u8>,
}

enum State {
    Open,
    /// Everything is written but the trailers.
    Trailers(HeaderMap),
    /// The transport must be broken off.
    BreakOff,
    Ended,
}

impl Messages {
    /// Appends one message in the format of the answer.
    fn write(&mut self, message: &Bytes, out: &mut Vec<u8>) -> Result<(), ResponseError> {
        let plan = &self.transcode.plan;
        if plan.answer_kind() == AnswerKind::HttpBody {
            let part = plan.http_body(message)?;
            self.encoder.message(message.get(part.data).unwrap_or_default(), out);
            return Ok(());
        }
        self.encoder.message_with(out, |out| plan.print(message, out))
    }

    /// The good end.
    fn end(&mut self) {
        // Always a clean end.
        let _ = self.encoder.finish(&mut self.waiting);
        self.exchange.facts.code_is(Code::Ok);
        self.state = self.with_trailers(Code::Ok, "");
    }

    fn fail(&mut self, reject: &Reject) {
        let status = match &reject.backend {
            Some(backend) => Status::clone(backend),
            None => Status::new(reject.code(), reject.message()),
        };
        self.state = match self.encoder.error(&status, reject.reason.word(), &mut self.waiting) {
            End::Clean => self.with_trailers(status.code, &status.message),
            End::BreakOff => State::BreakOff,
        };
        self.exchange.facts.failed(reject.reason);
        let request_id = self.exchange.request_id.as_str();
        tracing::debug!(request_id, reason = reject.reason.word(), "a stream has failed");
    }

    fn with_trailers(&self, code: Code, message: &str) -> State {
        if !self.exchange.takes_trailers {
            return State::Ended;
        }
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code.number())));
        if let Ok(message) = HeaderValue::from_str(&encode_message(message)) {
            trailers.insert(GRPC_MESSAGE, message);
        }
        State::Trailers(trailers)
    }

    fn restart_idle_timer(&mut self) {
        self.call.set_deadline(self.transcode.idle_timeout.map(|idle| time::now() + idle));
    }

    /// Keeps the client's own stream going; a fault in it ends the answer.
    fn poll_feed(&mut self, cx: &mut Context<'_>) -> Result<(), Reject> {
        let Some(feed) = &mut self.feed else { return Ok(()) };
        match feed.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(fed) => {
                self.feed = None;
                fed
            }
        }
    }

    /// Collects what is there. Pending only if that is nothing.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut out = std::mem::take(&mut self.waiting);
        let waited = out.is_empty();
        let mut next = if waited {
            match self.call.poll_message(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    self.waiting = out;
                    return self.poll_heartbeat(cx);
                }
            }
        } else {
            self.call.waiting_message(cx)
        };
        // Of a message that waits `None` says nothing; only of one that was waited for.
        let ended = waited && matches!(next, Ok(None));
        loop {
            match next {
                Ok(Some(message)) => {
                    self.restart_idle_timer();
                    if let Err(error) = self.write(&message, &mut out) {
                        self.waiting = out;
                        let reject = self.transcode.unprintable(&self.exchange, error);
                        self.fail(&reject);
                        return Poll::Ready(());
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.waiting = out;
                    let reject = self.transcode.failed(&self.exchange, error);
                    self.fail(&reject);
                    return Poll::Ready(());
                }
            }
            if out.len() >= BATCH_BYTES {
                break;
            }
            next = self.call.waiting_message(cx);
        }
        self.heartbeat = None;
        self.waiting = out;
        if ended {
            self.end();
        }
        Poll::Ready(())
    }

    /// A comment after a long silence, where the format has one.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(comment) = self.format.heartbeat() else { return Poll::Pending };
        let wheel = self.transcode.cluster.wheel(self.exchange.worker());
        let heartbeat = self.heartbeat.get_or_insert_with(|| wheel.at(time::now() + HEARTBEAT));
        if Pin::new(heartbeat).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.heartbeat = None;
        self.waiting.extend_from_slice(comment);
        Poll::Ready(())
    }
}

impl Body for Messages {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if matches!(this.state, State::Open) {
            let mut idle = false;
            match this.poll_feed(cx) {
                Ok(()) => idle = this.poll_messages(cx).is_pending(),
                Err(reject) => this.fail(&reject),
            }
            // An idle stream has to be woken for it; any other comes by.
            let running = matches!(this.state, State::Open);
            if running && (idle || this.leave.is_near()) && this.leave.poll(cx).is_ready() {
                this.encoder.retry(leave::retry_after(), &mut this.waiting);
                this.fail(&Reject::new(Reason::Draining));
            } else if idle {
                return Poll::Pending;
            }
        }
        if !this.waiting.is_empty() {
            let bytes = std::mem::take(&mut this.waiting);
            return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
        }
        match std::mem::replace(&mut this.state, State::Ended) {
            // An end without bytes of its own (NDJSON) comes on the next poll.
            State::Open => {
                this.state = State::Open;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            State::BreakOff => Poll::Ready(Some(Err(BodyError::BrokenOff))),
            State::Ended => Poll::Ready(None),
        }
    }
}
