//! The body of an answer on its way out. Its end, or its drop, is the end of the exchange.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Telemetry;
use super::finished::Finished;
use super::route::RouteTelemetry;
use crate::body::{AnyBody, BodyError};
use crate::exchange::Exchange;
use crate::reject::Reason;

/// 499: the client has gone before there was an answer.
const CLIENT_CLOSED: u16 = 499;

/// An exchange that has not ended. Dropping it ends it, and tells telemetry: whoever drops the future of a request or
/// the body of its answer (the client has gone) need not know.
#[derive(Debug)]
pub struct Running {
    exchange: Arc<Exchange>,
    telemetry: Arc<Telemetry>,
    route: Arc<RouteTelemetry>,
    status: u16,
    reason: Option<Reason>,
    bytes_out: u64,
    /// The answer comes in pieces whose times are the backend's.
    streams: bool,
    /// Everything was handed to the connection.
    complete: bool,
}

impl Running {
    /// An exchange has begun. `route` counts until one has matched.
    #[must_use]
    pub fn begin(exchange: &Arc<Exchange>, telemetry: &Arc<Telemetry>, route: &Arc<RouteTelemetry>) -> Self {
        Self {
            exchange: Arc::clone(exchange),
            telemetry: Arc::clone(telemetry),
            route: Arc::clone(route),
            status: CLIENT_CLOSED,
            reason: Some(Reason::ClientClosed),
            bytes_out: 0,
            streams: false,
            complete: true,
        }
    }

    /// This route answers.
    pub fn routed(&mut self, route: &Arc<RouteTelemetry>) {
        self.route = Arc::clone(route);
    }

    /// There is an answer; `reason` if it is a refusal.
    #[must_use]
    pub fn answered(mut self, status: u16, reason: Option<Reason>, body: AnyBody) -> AnswerBody {
        self.status = status;
        self.reason = reason;
        self.streams = matches!(body, AnyBody::Stream(_));
        self.complete = body.is_end_stream();
        AnswerBody { body, running: Some(self) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let facts = &self.exchange.facts;
        let duration = self.exchange.elapsed();
        let reason = self.reason.or_else(|| facts.failure());
        let reason = reason.or((!self.complete).then_some(Reason::ClientClosed));
        let after = facts.answered_at().map(|answered| duration.saturating_sub(answered));
        self.telemetry.finish(&Finished {
            exchange: &self.exchange,
            route: &self.route,
            status: self.status,
            grpc_status: facts.code(),
            reason,
            bytes_in: facts.bytes_in(),
            bytes_out: self.bytes_out,
            duration,
            upstream: facts.upstream(),
            overhead_request: facts.overhead_before(),
            overhead_response: if self.streams { None } else { after },
            attempts: facts.attempts(),
            endpoint: facts.endpoint(),
        });
    }
}

/// See the module.
#[derive(Debug)]
pub struct AnswerBody {
    body: AnyBody,
    /// `None`: nobody is told.
    running: Option<Running>,
}

impl AnswerBody {
    /// A body whose end nobody is told.
    #[must_use]
    pub fn untold(body: AnyBody) -> Self {
        Self { body, running: None }
    }

    /// All of the bytes, if they are at hand.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        match std::mem::take(&mut self.body) {
            AnyBody::Full(Some(bytes)) => {
                self.sent(bytes.len(), true);
                bytes
            }
            AnyBody::Full(None) | AnyBody::Empty | AnyBody::Stream(_) => Bytes::new(),
        }
    }

    fn sent(&mut self, bytes: usize, complete: bool) {
        if let Some(running) = &mut self.running {
            running.bytes_out = running.bytes_out.saturating_add(bytes as u64);
            running.complete = complete;
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let complete = this.body.is_end_stream();
                this.sent(bytes, complete);
            }
            // A body that breaks off has said why.
            Poll::Ready(None | Some(Err(_))) => this.sent(0, true),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
