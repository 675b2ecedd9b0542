//! The sending half of a call with more than one request message.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};

/// Asked for at once; the backend's window and the connection's share may give less.
const PIECE: usize = 64 * 1024;

/// The backend takes no more messages. The call's answer says why; a backend may well answer before it has read
/// everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the backend takes no more messages")]
pub struct SendStopped;

/// Sends request messages, at the pace of the backend. Dropped before [`CallSender::finish`] it cancels the call: the
/// backend must not take a part of the messages for all of them.
#[derive(Debug)]
pub struct CallSender {
    stream: SendStream<Bytes>,
    finished: bool,
}

impl CallSender {
    pub(super) fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, finished: false }
    }

    /// Sends framed messages: one or several, or parts of them, each with its five-byte prefix in the same `data` where
    /// possible. Returns when the last byte was handed to the connection; empty `data` sends nothing.
    ///
    /// # Errors
    /// `SendStopped`: stop sending and read the answer.
    pub async fn send(&mut self, mut data: Bytes) -> Result<(), SendStopped> {
        while !data.is_empty() {
            self.stream.reserve_capacity(data.len().min(PIECE));
            let room = poll_fn(|cx| self.poll_room(cx)).await?;
            let piece = data.split_to(room.min(data.len()));
            self.stream.send_data(piece, false).map_err(|_| SendStopped)?;
        }
        Ok(())
    }

    /// As [`CallSender::send`], for hand-written bodies: ready when nothing is left of `data`.
    pub(in crate::upstream) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Poll<Result<(), SendStopped>> {
        while !data.is_empty() {
            self.stream.reserve_capacity(data.len().min(PIECE));
            let room = ready!(self.poll_room(cx))?;
            let piece = data.split_to(room.min(data.len()));
            self.stream.send_data(piece, false).map_err(|_| SendStopped)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the backend takes no more messages.
    pub(in crate::upstream) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(drop)
    }

    /// There are no more messages.
    ///
    /// # Errors
    /// `SendStopped`, which after the last message means nothing by itself: read the answer.
    pub fn finish(mut self) -> Result<(), SendStopped> {
        self.finished = true;
        self.stream.send_data(Bytes::new(), true).map_err(|_| SendStopped)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, SendStopped>> {
        // Asked each time, or a reset would go unseen while there is room.
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(SendStopped));
        }
        // `poll_capacity` only tells of changes, so what is there already is looked at first.
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(SendStopped)),
            }
        }
        Poll::Ready(Ok(self.stream.capacity()))
    }
}

impl Drop for CallSender {
    fn drop(&mut self) {
        if !self.finished {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}
