//! The body of a backend's answer, as far as it has not come with the head.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::codec::{Decoder, Step, take};
use super::pool::Lease;
use super::replay::Replay;
use super::upload::{Stopped, Upload};
use crate::body::BodyError;
use crate::exchange::Exchange;
use crate::reject::Reason;
use crate::time::{Deadline, Wheel, now};
use crate::upstream::attempt::{Attempt, Came};

/// The connection with the rest of an answer on it.
pub(in crate::upstream) struct Answer {
    lease: Lease,
    /// The connection may carry another request.
    keep: bool,
    upload: Option<Upload>,
}

impl Answer {
    pub(super) fn new(lease: Lease, keep: bool, upload: Option<Upload>) -> Self {
        Self { lease, keep, upload }
    }

    /// The whole body, if it has come already; then the connection is free again.
    pub(in crate::upstream) fn at_hand(&mut self, decoder: &mut Decoder) -> Option<Bytes> {
        if self.upload.is_some() {
            return None;
        }
        let wire = self.lease.wire()?;
        let body = match decoder {
            Decoder::Done => Bytes::new(),
            Decoder::Length(left) if *left <= wire.input.len() as u64 => {
                let body = take(&mut wire.input, left).unwrap_or_default();
                *decoder = Decoder::Done;
                body
            }
            Decoder::Length(_) | Decoder::Chunked(..) | Decoder::UntilClose => return None,
        };
        self.finish();
        Some(body)
    }

    /// The connection behind a 101.
    pub(super) fn into_lease(self) -> Lease {
        self.lease
    }

    /// The answer has been read.
    fn finish(&mut self) {
        if !self.keep || self.upload.is_some() {
            return;
        }
        let Some(wire) = self.lease.wire().filter(|wire| wire.input.is_empty()) else { return };
        // An empty rest would hold the memory of the answer for as long as the connection waits.
        wire.input = BytesMut::new();
        self.lease.give_back();
    }
}

/// What a streamed answer is told to whom, and how long it may be silent.
pub(in crate::upstream) struct Watch {
    pub(in crate::upstream) exchange: Arc<Exchange>,
    pub(in crate::upstream) attempt: Attempt,
    pub(in crate::upstream) status: u16,
    pub(in crate::upstream) wheel: Arc<Wheel>,
    pub(in crate::upstream) idle_timeout: Option<Duration>,
}

impl Watch {
    /// What was sent so far is not the whole: tells everybody, and gives what makes the client see it.
    pub(in crate::upstream) fn broken_off(&mut self, reason: Reason, cause: &str) -> BodyError {
        self.attempt.came(Came::Nothing(reason));
        self.exchange.facts.failed(reason);
        let request_id = self.exchange.request_id.as_str();
        tracing::debug!(request_id, reason = reason.word(), cause, "an answer was broken off");
        BodyError::BrokenOff
    }

    /// Whether the backend has been silent for too long. `silence` is armed while it is.
    pub(in crate::upstream) fn is_silent_too_long(&self, silence: &mut Option<Deadline>, cx: &mut Context<'_>) -> bool {
        let Some(idle) = self.idle_timeout else { return false };
        let silence = silence.get_or_insert_with(|| self.wheel.at(now() + idle));
        Pin::new(silence).poll(cx).is_ready()
    }
}

/// See the module. Reads from the backend only when the client takes more.
pub(in crate::upstream) struct Download {
    answer: Answer,
    decoder: Decoder,
    body: Replay,
    watch: Watch,
    /// Armed while the backend is silent.
    silence: Option<Deadline>,
    /// Nothing more will come, for better or worse.
    ended: bool,
}

impl Download {
    /// `body` is what is left of the request's.
    pub(in crate::upstream) fn new(answer: Answer, decoder: Decoder, body: Replay, watch: Watch) -> Self {
        Self { answer, decoder, body, watch, silence: None, ended: false }
    }

    fn end(&mut self) {
        self.ended = true;
        self.watch.attempt.came(Came::Http(self.watch.status));
        self.answer.finish();
    }

    /// What was sent so far is not the whole, and the client must see that.
    fn break_off(&mut self, reason: Reason, cause: &str) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        self.answer.keep = false;
        Poll::Ready(Some(Err(self.watch.broken_off(reason, cause))))
    }

    /// Goes on with the request, which the backend has answered already. Whether its body is at fault.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(upload), Some(wire)) = (&mut self.answer.upload, self.answer.lease.wire()) else { return false };
        // A backend that reads is not silent, and one that waits for the client is not to blame.
        self.silence = None;
        match upload.poll(cx, wire, &mut self.body, &self.watch.exchange) {
            Poll::Pending => false,
            Poll::Ready(sent) => {
                self.answer.upload = None;
                self.answer.keep &= sent.is_ok();
                matches!(sent, Err(Stopped::Body(_)))
            }
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if this.poll_upload(cx) {
            return this.break_off(Reason::BadRequest, "the body of the request cannot be sent");
        }
        loop {
            let Some(wire) = this.answer.lease.wire() else {
                return this.break_off(Reason::Internal, "the connection is gone");
            };
            match this.decoder.next(&mut wire.input) {
                Err(fault) => return this.break_off(Reason::UpstreamError, fault.0),
                Ok(Step::Data(data)) => {
                    this.silence = None;
                    if this.decoder.is_done() {
                        this.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Step::End(trailers)) => {
                    this.end();
                    let trailers = trailers.filter(|_| this.watch.exchange.takes_trailers);
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(Step::More) => {}
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) if this.decoder == Decoder::UntilClose => this.decoder = Decoder::Done,
                Poll::Ready(Ok(0)) => return this.break_off(Reason::UpstreamReset, "the backend closed early"),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return this.break_off(Reason::UpstreamReset, &error.to_string()),
                Poll::Pending if this.watch.is_silent_too_long(&mut this.silence, cx) => {
                    return this.break_off(Reason::UpstreamTimeout, "the backend is silent");
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Done => SizeHint::with_exact(0),
            Decoder::Length(left) => SizeHint::with_exact(left),
            Decoder::Chunked(..) | Decoder::UntilClose => SizeHint::default(),
        }
    }
}
