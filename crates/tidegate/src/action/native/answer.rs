//! The answer of a call that passes through, on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tidegate_transcode::{Code, FrameMeter, StreamFormat, grpc_web};

use super::{clean, failed, noted};
use crate::action::failure::wire;
use crate::body::BodyError;
use crate::ending::leave::Leave;
use crate::exchange::{Exchange, Wire};
use crate::policy::headers::HeaderRules;
use crate::reject::{Reason, Reject};
use crate::time::{Wheel, now};
use crate::upstream::{Call, CallError, PassError, Passed, Upload};

/// Dropping it cancels the call. It holds no more than the piece that it gives out.
pub(super) struct Passing {
    call: Call,
    upload: Option<Upload>,
    meter: FrameMeter,
    exchange: Arc<Exchange>,
    leave: Leave,
    /// What the route takes out of trailers, too.
    rules: Option<Arc<HeaderRules>>,
    /// Longest silence of both sides, once the answer has begun.
    idle: Option<Duration>,
    /// Of the whole call.
    ends: Option<Instant>,
    /// The backend has sent a byte.
    begun: bool,
    /// Of the client's side, when the idle timer was set last.
    passed: u64,
    state: State,
}

enum State {
    Open,
    Trailers(HeaderMap),
    Ended,
}

impl Passing {
    pub(super) fn new(
        passed: Passed,
        exchange: &Arc<Exchange>,
        wheel: &Arc<Wheel>,
        max_message: usize,
        (idle, ends): (Option<Duration>, Option<Instant>),
        rules: Option<Arc<HeaderRules>>,
    ) -> Self {
        Self {
            call: passed.call,
            upload: Some(passed.upload),
            meter: FrameMeter::new(max_message),
            exchange: Arc::clone(exchange),
            // Its clients do not come back by themselves, as those of NDJSON.
            leave: Leave::new(&exchange.conn.ending, wheel, StreamFormat::Ndjson),
            rules,
            idle,
            ends,
            begun: false,
            passed: 0,
            state: State::Open,
        }
    }

    fn restart_idle_timer(&mut self) {
        let idle = self.idle.map(|idle| now() + idle);
        let at = match (idle, self.ends) {
            (Some(idle), Some(ends)) => Some(idle.min(ends)),
            (idle, ends) => idle.or(ends),
        };
        self.call.set_deadline(at);
    }

    fn fail(&mut self, reject: &Reject, said: Option<HeaderMap>) {
        self.exchange.facts.failed(reject.reason);
        self.exchange.facts.code_is(reject.code());
        let request_id = self.exchange.request_id.as_str();
        tracing::debug!(
            request_id,
            reason = reject.reason.word(),
            cause = reject.cause.as_deref(),
            "a call has failed"
        );
        self.upload = None;
        self.state = State::Trailers(said.unwrap_or_else(|| wire::status(reject)));
    }

    fn fail_call(&mut self, error: PassError) {
        noted(&self.exchange, &error);
        let (reject, mut said) = failed(error);
        if let Some(trailers) = &mut said {
            self.take_away(trailers);
        }
        self.fail(&reject, said);
    }

    /// A backend cannot get past the rules of the head by what it sends behind the messages.
    fn take_away(&self, trailers: &mut HeaderMap) {
        if let Some(rules) = &self.rules {
            rules.take_away(trailers);
        }
    }

    /// The client's side goes on beside the answer.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), PassError> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let polled = upload.poll(cx);
        let passed = upload.passed();
        if polled.is_ready() {
            self.upload = None;
        }
        if passed != self.passed && self.begun {
            self.passed = passed;
            self.restart_idle_timer();
        }
        match polled {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.call.poll_bytes(cx, &mut self.meter) {
            Poll::Ready(Ok(Some(data))) => {
                if !self.begun {
                    self.begun = true;
                    self.exchange.facts.answered(self.exchange.elapsed());
                }
                self.restart_idle_timer();
                return Poll::Ready(Some(data));
            }
            Poll::Ready(Ok(None)) => {
                self.exchange.facts.answered(self.exchange.elapsed());
                self.exchange.facts.code_is(Code::Ok);
                self.upload = None;
                let mut trailers = self.call.trailers().cloned().unwrap_or_default();
                clean(&mut trailers);
                self.take_away(&mut trailers);
                self.state = State::Trailers(trailers);
            }
            Poll::Ready(Err(error)) => self.fail_call(PassError::Call(error)),
            Poll::Pending => {
                if self.leave.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.fail(&Reject::new(Reason::Draining), None);
            }
        }
        Poll::Ready(None)
    }

    fn encoded(&self, data: Bytes) -> Bytes {
        if self.exchange.wire != Wire::GrpcWebText {
            return data;
        }
        let mut text = Vec::with_capacity(data.len() / 3 * 4 + 4);
        grpc_web::encode_text(&data, &mut text);
        text.into()
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if matches!(this.state, State::Open) {
            match this.poll_upload(cx) {
                Err(error) => this.fail_call(error),
                Ok(()) => match this.poll_answer(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(this.encoded(data))))),
                    Poll::Ready(None) => {}
                },
            }
        }
        match std::mem::replace(&mut this.state, State::Ended) {
            State::Trailers(trailers) if this.exchange.wire.is_web() => {
                let frame = wire::web_trailers(this.exchange.wire, &trailers);
                Poll::Ready(Some(Ok(Frame::data(frame))))
            }
            State::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            State::Open | State::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // A client that left: said here, because nobody polls the call any more.
        if matches!(self.state, State::Open) {
            self.exchange.facts.code_is(Code::Cancelled);
        }
    }
}

/// For the kinds of failure that only calls through have.
pub(super) fn is_too_large(error: &CallError) -> bool {
    use tidegate_transcode::FrameError;

    use crate::upstream::Malformed;
    matches!(error, CallError::Malformed(Malformed::Frame(FrameError::TooLarge { .. })))
}
