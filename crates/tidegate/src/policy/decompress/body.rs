//! A body that is inflated as it is read.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame};

use super::decoder::{Coding, Decoder};
use crate::body::{BodyError, RequestBody};

/// Bytes that are inflated, or taken in, before others get their turn; and the most that is made ahead of its reader.
const SLICE: usize = 32 * 1024;

/// Room for the inflated form of what has come, for each of its bytes: more is made in more steps.
const USUAL_RATIO: usize = 8;

/// See the module.
pub(super) struct Decoded {
    body: RequestBody,
    /// `None` once it has ended, well or not.
    decoder: Option<Decoder>,
    /// What has come and was not taken in yet.
    input: Bytes,
    /// The last step filled its room, so there may be more.
    more: bool,
    /// Bytes that may still come, and that may still be made; `None`: any number.
    left: Option<(u64, u64)>,
    /// Worked since others had their turn.
    done: usize,
}

impl Decoded {
    pub(super) fn new(body: RequestBody, coding: Coding, max_body: Option<u64>) -> Self {
        Self {
            body,
            decoder: Decoder::new(coding, max_body.is_some()).ok(),
            input: Bytes::new(),
            more: false,
            left: max_body.map(|max| (max, max)),
            done: 0,
        }
    }

    /// One step of the decoder.
    fn inflate(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        let mut made = Vec::with_capacity(self.input.len().saturating_mul(USUAL_RATIO).clamp(1024, SLICE));
        let taken = decoder.run(&self.input, &mut made).map_err(|_| BodyError::Undecodable)?;
        self.input.advance(taken.min(self.input.len()));
        self.more = made.len() == made.capacity();
        self.done = self.done.saturating_add(taken).saturating_add(made.len());
        if taken == 0 && made.is_empty() && !self.input.is_empty() {
            return Err(BodyError::Undecodable);
        }
        if let Some((_, left)) = &mut self.left {
            *left = left.checked_sub(made.len() as u64).ok_or(BodyError::TooLarge)?;
        }
        Ok(Some(Bytes::from(made)).filter(|made| !made.is_empty()))
    }

    /// More of the compressed body.
    fn came(&mut self, data: Bytes) -> Result<(), BodyError> {
        if let Some((left, _)) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(BodyError::TooLarge)?;
        }
        self.input = data;
        Ok(())
    }

    /// The next piece; `Ready(Ok(None))`: there is none yet, and more to do, unless the decoder has gone.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if self.more || !self.input.is_empty() {
            if self.done >= SLICE {
                self.done = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(self.inflate());
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                self.done = 0;
                Poll::Pending
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
            // Trailers of a request are dropped.
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(match frame.into_data() {
                Ok(data) => self.came(data).map(|()| None),
                Err(_trailers) => Ok(None),
            }),
            Poll::Ready(None) => {
                let whole = self.decoder.take().is_some_and(|decoder| decoder.is_whole());
                Poll::Ready(if whole { Ok(None) } else { Err(BodyError::Undecodable) })
            }
        }
    }
}

impl Body for Decoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.decoder.is_some() {
            match self.step(cx) {
                Poll::Ready(Ok(Some(made))) => return Poll::Ready(Some(Ok(Frame::data(made)))),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => {
                    self.decoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(None)
    }
}
