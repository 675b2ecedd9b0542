//! A body that is compressed as it is sent.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::encoder::Encoder;
use super::{Coding, SLICE};
use crate::body::{AnyBody, BodyError};

/// Bodies that are compressed at the same time. Each holds 150 to 400 KiB for its coding, whatever its own size, and a
/// client decides how long; beyond it they are sent as they are.
const MAX_OPEN: usize = 512;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A place among those that are compressed.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let more = |open: usize| (open < MAX_OPEN).then_some(open + 1);
        OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub(super) struct Compressed {
    body: AnyBody,
    /// `None` once it has ended.
    encoder: Option<Encoder>,
    /// What has come and was not compressed yet.
    input: Bytes,
    /// What waits in the encoder is sent when nothing more is at hand: its client may be waiting for it.
    flushes: bool,
    /// Something waits in the encoder.
    holds: bool,
    /// Compressed since others had their turn.
    done: usize,
    /// What follows the last byte.
    after: Option<Result<Frame<Bytes>, BodyError>>,
    _place: Place,
}

impl Compressed {
    /// Compresses `body` as it comes. With `flushes` a client gets what has come as soon as nothing more is at hand.
    ///
    /// # Errors
    /// Gives the body back: too many others are being compressed.
    pub(super) fn begin(body: AnyBody, coding: Coding, flushes: bool) -> Result<Self, AnyBody> {
        let Some(place) = Place::take() else { return Err(body) };
        let Ok(encoder) = Encoder::new(coding) else { return Err(body) };
        Ok(Self {
            body,
            encoder: Some(encoder),
            input: Bytes::new(),
            flushes,
            holds: false,
            done: 0,
            after: None,
            _place: place,
        })
    }

    /// Compresses a slice of what has come, and gives what came of it.
    fn slice(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        let slice = self.input.split_to(self.input.len().min(SLICE));
        self.done = self.done.saturating_add(slice.len());
        self.holds = true;
        encoder.write(&slice).map_err(|_| BodyError::BrokenOff)?;
        Ok(Some(encoder.take()).filter(|made| !made.is_empty()))
    }

    /// What waits in the encoder.
    fn held(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(encoder) = self.encoder.as_mut().filter(|_| self.holds) else { return Ok(None) };
        self.holds = false;
        encoder.flush().map_err(|_| BodyError::BrokenOff)?;
        Ok(Some(encoder.take()).filter(|made| !made.is_empty()))
    }

    /// The end of the coding; `after` follows it.
    fn end(&mut self, after: Option<Frame<Bytes>>) -> Result<Option<Bytes>, BodyError> {
        self.after = after.map(Ok);
        let Some(encoder) = self.encoder.take() else { return Ok(None) };
        let rest = encoder.finish().map_err(|_| BodyError::BrokenOff)?;
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }

    /// The next piece of the coding; `Ready(Ok(None))`: there is none yet, and more to do.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if !self.input.is_empty() {
            if self.done >= SLICE {
                self.done = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(self.slice());
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    self.input = data;
                    Poll::Ready(Ok(None))
                }
                Err(trailers) => Poll::Ready(self.end(Some(trailers))),
            },
            Poll::Ready(None) => Poll::Ready(self.end(None)),
            // What has come before belongs to the client. The coding has no end, so nobody takes it for the whole.
            Poll::Ready(Some(Err(error))) => {
                self.after = Some(Err(error));
                let held = self.held();
                self.encoder = None;
                Poll::Ready(held)
            }
            Poll::Pending => {
                self.done = 0;
                if !self.flushes {
                    return Poll::Pending;
                }
                match self.held() {
                    Ok(None) => Poll::Pending,
                    held => Poll::Ready(held),
                }
            }
        }
    }
}

impl Body for Compressed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.encoder.is_some() {
            match self.step(cx) {
                Poll::Ready(Ok(Some(made))) => return Poll::Ready(Some(Ok(Frame::data(made)))),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(self.after.take())
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.after.is_none()
    }
}
