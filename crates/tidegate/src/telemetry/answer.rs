//! The body of an answer on its way out. Its end, or its drop, is the end of the exchange.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Telemetry;
use super::finished::Finished;
use super::route::RouteTelemetry;
use crate::body::{AnyBody, BodyError};
use crate::exchange::Exchange;
use crate::reject::Reason;

/// An exchange that has not ended. Dropping it ends it, and tells telemetry: whoever drops the future of a request or
/// the body of its answer (the client has gone) need not know.
#[derive(Debug)]
pub struct Running {
    exchange: Arc<Exchange>,
    telemetry: Arc<Telemetry>,
    /// `None` only until the route is sought, which waits for nothing.
    route: Option<Arc<RouteTelemetry>>,
    /// `None` until there is an answer.
    status: Option<u16>,
    reason: Option<Reason>,
    bytes_out: u64,
    /// The answer comes in pieces whose times are the backend's.
    streams: bool,
    /// Everything was handed to the connection.
    complete: bool,
    /// When the connection first had no room for more of it, from the start of the exchange.
    held_up: Option<Duration>,
}

impl Running {
    /// An exchange has begun.
    #[must_use]
    pub fn begin(exchange: &Arc<Exchange>, telemetry: &Arc<Telemetry>) -> Self {
        Self {
            exchange: Arc::clone(exchange),
            telemetry: Arc::clone(telemetry),
            route: None,
            status: None,
            reason: None,
            bytes_out: 0,
            streams: false,
            complete: false,
            held_up: None,
        }
    }

    /// This route has matched. Whatever becomes of the exchange counts for it.
    pub fn routed(&mut self, route: &Arc<RouteTelemetry>) {
        self.route = Some(Arc::clone(route));
    }

    /// If no route has matched, it counts for `unrouted`.
    pub fn routed_or(&mut self, unrouted: &Arc<RouteTelemetry>) {
        self.route.get_or_insert_with(|| Arc::clone(unrouted));
    }

    /// There is an answer; `reason` if it is a refusal.
    #[must_use]
    pub fn answered(mut self, status: u16, reason: Option<Reason>, body: AnyBody) -> AnswerBody {
        self.status = Some(status);
        self.reason = reason;
        self.streams = matches!(body, AnyBody::Stream(_));
        self.complete = body.is_end_stream();
        AnswerBody { body, running: Some(self) }
    }
}

/// Why an exchange ends before its answer did.
fn cut_short(exchange: &Exchange) -> Reason {
    if std::thread::panicking() {
        Reason::Internal
    } else if exchange.conn.ending.is_cut() {
        Reason::Draining
    } else {
        Reason::ClientClosed
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(route) = &self.route else { return };
        let facts = &self.exchange.facts;
        let duration = self.exchange.elapsed();
        let reason = self.reason.or_else(|| facts.failure());
        let reason = reason.or_else(|| (!self.complete).then(|| cut_short(&self.exchange)));
        // What the client takes its time for is not the gateway's.
        let done = self.held_up.unwrap_or(duration);
        let after = facts.answered_at().map(|answered| done.saturating_sub(answered));
        let endpoint = facts.endpoint();
        self.telemetry.finish(&Finished {
            exchange: &self.exchange,
            route,
            status: self.status,
            grpc_status: facts.code(),
            reason,
            bytes_in: facts.bytes_in(),
            bytes_out: self.bytes_out,
            duration,
            client_wait: facts.client_wait().saturating_add(duration.saturating_sub(done)),
            upstream: facts.upstream(),
            overhead_request: facts.overhead_before(),
            overhead_response: if self.streams { None } else { after },
            attempts: facts.attempts(),
            endpoint: endpoint.as_ref(),
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
            AnyBody::Full(None) | AnyBody::Empty | AnyBody::Stream(_) | AnyBody::Socket(_) => Bytes::new(),
        }
    }

    /// The next frame, which is not counted yet: the caller tells [`AnswerBody::sent`] what the client takes of it.
    pub fn poll_untold(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    /// `bytes` more were handed to the connection; with `complete` nothing is left.
    pub fn sent(&mut self, bytes: usize, complete: bool) {
        if let Some(running) = &mut self.running {
            running.bytes_out = running.bytes_out.saturating_add(bytes as u64);
            running.complete = complete;
        }
    }

    /// The client has taken nothing of it for longer than it says itself that it may wait.
    pub fn overdue(&self) {
        if let Some(running) = &self.running {
            running.exchange.facts.failed(Reason::Overloaded);
        }
    }

    /// It is not as long as its head says, so the client does not get the whole of it.
    pub fn misframed(&self) {
        if let Some(running) = &self.running {
            running.exchange.facts.failed(Reason::Internal);
        }
    }

    /// The connection has no room because the client takes nothing.
    pub fn held_up(&mut self) {
        if let Some(running) = &mut self.running
            && running.held_up.is_none()
        {
            running.held_up = Some(running.exchange.elapsed());
        }
    }

    /// Whether it ever was.
    #[cfg(test)]
    pub fn was_held_up(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.held_up.is_some())
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = this.poll_untold(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                // Nobody asks for more after trailers.
                let complete = frame.is_trailers() || this.body.is_end_stream();
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
