//! A WebSocket that is passed through, as the body of its 101: what the backend sends, and a goodbye when the gateway
//! stops.
//!
//! The bytes are not looked into, but for where a frame of the backend ends: only there a frame of our own may stand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tidegate_ws::{Follower, code, write_close};

use crate::body::BodyError;
use crate::ending::leave::Leave;
use crate::exchange::Exchange;
use crate::reject::Reason;
use crate::upstream::Tunnel;

/// See the module.
pub(super) struct Passage {
    tunnel: Box<Tunnel>,
    frames: Follower,
    leave: Leave,
    exchange: Arc<Exchange>,
}

impl Passage {
    pub(super) fn new(tunnel: Box<Tunnel>, leave: Leave, exchange: &Arc<Exchange>) -> Self {
        Self { tunnel, frames: Follower::default(), leave, exchange: Arc::clone(exchange) }
    }

    /// Takes leave of the client.
    fn leave(&mut self) -> Option<Bytes> {
        self.exchange.facts.failed(Reason::Draining);
        self.tunnel.end();
        self.frames.is_between_frames().then(|| {
            let mut goodbye = Vec::new();
            write_close(code::GOING_AWAY, "", &mut goodbye);
            goodbye.into()
        })
    }
}

impl Body for Passage {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let ended = this.tunnel.is_end_stream();
        // A backend that never pauses must not put the leave off.
        if !ended && this.leave.is_near() && this.frames.is_between_frames() && this.leave.poll(cx).is_ready() {
            return Poll::Ready(this.leave().map(|goodbye| Ok(Frame::data(goodbye))));
        }
        let frame = Pin::new(&mut *this.tunnel).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.frames.follow(data);
        }
        if frame.is_ready() || this.leave.poll(cx).is_pending() {
            return frame;
        }
        Poll::Ready(this.leave().map(|goodbye| Ok(Frame::data(goodbye))))
    }

    fn is_end_stream(&self) -> bool {
        self.tunnel.is_end_stream()
    }
}
