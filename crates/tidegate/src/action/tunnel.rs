//! A WebSocket that is passed through, as the body of its 101: what the backend sends, and a goodbye when the gateway
//! stops.
//!
//! The bytes are not looked into, but for where a frame of the backend ends: only there a frame of our own may stand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::leave::Leave;
use crate::body::BodyError;
use crate::exchange::Exchange;
use crate::reject::Reason;
use crate::upstream::Tunnel;

/// A close frame with the code 1001, "going away" (RFC 6455, section 7.4.1).
const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xe9];

/// See the module.
pub(super) struct Passage {
    tunnel: Box<Tunnel>,
    frames: Frames,
    leave: Leave,
    exchange: Arc<Exchange>,
}

impl Passage {
    pub(super) fn new(tunnel: Box<Tunnel>, leave: Leave, exchange: &Arc<Exchange>) -> Self {
        Self { tunnel, frames: Frames::default(), leave, exchange: Arc::clone(exchange) }
    }

    /// Takes leave of the client.
    fn leave(&mut self) -> Option<Bytes> {
        self.exchange.facts.failed(Reason::Draining);
        self.tunnel.end();
        self.frames.are_between().then(|| Bytes::from_static(GOING_AWAY))
    }
}

impl Body for Passage {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let ended = this.tunnel.is_end_stream();
        // A backend that never pauses must not put the leave off.
        if !ended && this.leave.is_near() && this.frames.are_between() && this.leave.poll(cx).is_ready() {
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

/// Follows the frames of one direction. Pure.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of the present head that have come; at most 14 are needed.
    head: [u8; 14],
    have: usize,
    /// Bytes of the present payload that have not come.
    payload: u64,
}

impl Frames {
    fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload = self.payload.saturating_sub(skipped as u64);
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            bytes = rest;
            if let Some(payload) = self.payload_of_head() {
                self.payload = payload;
                self.have = 0;
            }
        }
    }

    /// The length of the payload, once the whole head has come (RFC 6455, section 5.2).
    fn payload_of_head(&self) -> Option<u64> {
        let [_, second, extended @ ..] = self.head;
        let (digits, short) = match second & 0x7f {
            127 => (8, None),
            126 => (2, None),
            length => (0, Some(u64::from(length))),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if self.have < 2 + digits + mask {
            return None;
        }
        let number = extended.iter().take(digits).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Some(short.unwrap_or(number))
    }

    fn are_between(&self) -> bool {
        self.have == 0 && self.payload == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = match payload {
            0..126 => vec![0x82, mask | u8::try_from(payload).unwrap()],
            126..65_536 => [&[0x82, mask | 126][..], &u16::try_from(payload).unwrap().to_be_bytes()].concat(),
            _ => [&[0x82, mask | 127][..], &(payload as u64).to_be_bytes()].concat(),
        };
        frame.extend(std::iter::repeat_n(0x81, payload + if masked { 4 } else { 0 }));
        frame
    }

    #[test]
    fn the_end_of_each_frame_is_known_however_it_comes() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                let frame = frame(payload, masked);
                for piece in [1, 2, 3, 1_000, 100_000] {
                    let mut frames = Frames::default();
                    for _ in 0..2 {
                        let mut left = frame.len();
                        for bytes in frame.chunks(piece) {
                            frames.follow(bytes);
                            left -= bytes.len();
                            assert_eq!(frames.are_between(), left == 0, "{payload} {masked} {piece}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_absurd_length_ends_nowhere() {
        let mut frames = Frames::default();
        frames.follow(&[0x82, 0x7f, 255, 255, 255, 255, 255, 255, 255, 255]);
        frames.follow(&[0; 1000]);
        assert!(!frames.are_between());
    }
}
