//! The sending half of a call with more than one request message.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::upstream::h2_stream::{Sending, Stopped};

/// The backend takes no more messages. The call's answer says why; a backend may well answer before it has read
/// everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the backend takes no more messages")]
pub struct SendStopped;

/// Sends request messages, at the pace of the backend. Dropped before [`CallSender::finish`] it cancels the call: the
/// backend must not take a part of the messages for all of them.
pub struct CallSender {
    stream: Sending,
}

impl std::fmt::Debug for CallSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallSender").finish_non_exhaustive()
    }
}

impl From<Stopped> for SendStopped {
    fn from(Stopped: Stopped) -> Self {
        Self
    }
}

impl CallSender {
    pub(super) fn new(stream: Sending) -> Self {
        Self { stream }
    }

    /// Sends framed messages: one or several, or parts of them, each with its five-byte prefix in the same `data` where
    /// possible. Returns when the last byte was handed to the connection; empty `data` sends nothing.
    ///
    /// # Errors
    /// `SendStopped`: stop sending and read the answer.
    pub async fn send(&mut self, mut data: Bytes) -> Result<(), SendStopped> {
        poll_fn(|cx| self.poll_send(cx, &mut data)).await
    }

    /// As [`CallSender::send`], for hand-written bodies: ready when nothing is left of `data`.
    pub(in crate::upstream) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Poll<Result<(), SendStopped>> {
        while !data.is_empty() {
            let room = ready!(self.stream.poll_room(cx, data.len()))?;
            self.stream.send(data.split_to(room), false)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the backend takes no more messages.
    pub(in crate::upstream) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_stopped(cx)
    }

    /// There are no more messages.
    ///
    /// # Errors
    /// `SendStopped`, which after the last message means nothing by itself: read the answer.
    pub fn finish(mut self) -> Result<(), SendStopped> {
        Ok(self.stream.send(Bytes::new(), true)?)
    }
}
