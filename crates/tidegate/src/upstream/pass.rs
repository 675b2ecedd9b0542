//! A call that passes through: the client's bytes to the backend as they come, and again to another backend only while
//! none of the answer has come.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tidegate_transcode::{FrameError, FrameMeter};

use super::Cluster;
use super::attempt::Caller;
use super::call::{Call, CallDeadline, CallError, CallHead, CallSender};
use super::h1::{BadBody, Replay};
use super::retry::{Retries, RetryPlan};
use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::time::now;

/// Sent with the head of a call at most, without asking the backend for room.
const FIRST_BYTES: usize = 16 * 1024;

/// An answer that has begun.
#[derive(Debug)]
pub struct Passed {
    /// Its head is there.
    pub call: Call,
    /// What is left of the client's side.
    pub upload: Upload,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum PassError {
    /// The call failed.
    Call(CallError),
    /// The client's side broke off.
    Body(BadBody),
    /// The client's side is not gRPC, or has a message that is too large.
    Frame(FrameError),
}

/// The client's side of a call. At most one piece of it, as it came from the client, waits for the backend.
pub struct Upload {
    body: Replay,
    meter: FrameMeter,
    max_message: usize,
    /// `None`: nothing is left to send, or the backend takes no more.
    sender: Option<CallSender>,
    waiting: Bytes,
    passed: u64,
    exchange: Arc<Exchange>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("passed", &self.passed).finish_non_exhaustive()
    }
}

impl Upload {
    fn new(exchange: &Arc<Exchange>, body: RequestBody, max_message: usize) -> Self {
        Self {
            // Messages have a bound, calls do not.
            body: Replay::new(body, u64::MAX, true),
            meter: FrameMeter::new(max_message),
            max_message,
            sender: None,
            waiting: Bytes::new(),
            passed: 0,
            exchange: Arc::clone(exchange),
        }
    }

    /// Bytes that were read of the client so far, for whoever watches whether it goes on.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Passes on what is there. Ready when all of it was, or when the backend takes no more.
    ///
    /// # Errors
    /// The call must not go on: its client's side is not what it should be.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PassError>> {
        loop {
            let Some(sender) = &mut self.sender else { return Poll::Ready(Ok(())) };
            if ready!(sender.poll_send(cx, &mut self.waiting)).is_err() {
                // The answer says why.
                self.sender = None;
                return Poll::Ready(Ok(()));
            }
            match self.poll_piece(cx) {
                Poll::Ready(Some(piece)) => self.waiting = piece?,
                Poll::Ready(None) => {
                    if let Some(sender) = self.sender.take() {
                        // As above.
                        let _ = sender.finish();
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    if self.sender.as_mut().is_some_and(|sender| sender.poll_stopped(cx).is_ready()) {
                        self.sender = None;
                        return Poll::Ready(Ok(()));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// The next piece of the client's side, whose messages are not too large.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PassError>>> {
        let Some(piece) = ready!(self.body.poll_data(cx, &self.exchange)) else {
            return Poll::Ready(self.meter.finish().err().map(|cut| Err(PassError::Frame(cut))));
        };
        let piece = piece.map_err(PassError::Body).and_then(|piece| {
            self.meter.pass(&piece).map_err(PassError::Frame)?;
            self.passed = self.passed.saturating_add(piece.len() as u64);
            Ok(piece)
        });
        Poll::Ready(Some(piece))
    }

    /// What is there already, without waiting for more: a server may speak first. With whether that is all.
    async fn first(&mut self) -> Result<(Bytes, bool), PassError> {
        let mut first = Bytes::new();
        let mut more = BytesMut::new();
        let mut ended = false;
        poll_fn(|cx| {
            while first.len() + more.len() < FIRST_BYTES {
                match self.poll_piece(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => {
                        ended = true;
                        break;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(Some(Ok(piece))) if first.is_empty() => first = piece,
                    Poll::Ready(Some(Ok(piece))) => more.extend_from_slice(&piece),
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        if !more.is_empty() {
            let mut whole = BytesMut::with_capacity(first.len() + more.len());
            whole.extend_from_slice(&first);
            whole.extend_from_slice(&more);
            first = whole.freeze();
        }
        if first.len() > FIRST_BYTES {
            self.waiting = first.split_off(FIRST_BYTES);
        }
        let ended = (ended || (self.body.is_end() && self.meter.finish().is_ok())) && self.waiting.is_empty();
        Ok((first, ended))
    }

    /// Goes back to the beginning.
    fn rewind(&mut self) {
        self.body.rewind();
        self.meter = FrameMeter::new(self.max_message);
        self.sender = None;
        self.waiting = Bytes::new();
    }
}

impl Cluster {
    /// Passes a call on, until its answer begins; and again if no backend has acted on it, or if `retry` says so, as long
    /// as little enough of the client's side has come to be sent once more.
    ///
    /// # Errors
    /// Of the last attempt, or the client's.
    pub async fn pass(
        &self,
        exchange: &Arc<Exchange>,
        head: CallHead,
        body: RequestBody,
        deadline: CallDeadline,
        retry: &RetryPlan,
    ) -> Result<Passed, PassError> {
        retry.requested(&self.resilience);
        let caller = Caller::Exchange(exchange);
        // Nobody knows what the method does.
        let mut retries = Retries::new(retry, &self.resilience, false, deadline.at());
        let mut upload = Upload::new(exchange, body, self.max_message);
        let wheel = self.wheels.get(caller.worker());
        loop {
            let mut asked = false;
            let ends = deadline.until_first(retry.attempt_ends(now(), deadline.at()));
            let error = match self.begin(exchange, head.clone(), &mut upload, ends, &mut asked).await {
                Ok(mut call) => {
                    self.counted(&retries, true);
                    upload.body.settle();
                    if ends != deadline {
                        call.set_deadline(deadline.at());
                    }
                    return Ok(Passed { call, upload });
                }
                Err(PassError::Call(error)) if upload.body.can_rewind() => error,
                Err(error) => {
                    self.counted(&retries, false);
                    return Err(error);
                }
            };
            if !retries.again((caller, wheel), &error, asked).await {
                self.counted(&retries, false);
                return Err(PassError::Call(error));
            }
            upload.rewind();
        }
    }

    /// One attempt, until its answer begins. `asked`: a backend has got it.
    async fn begin(
        &self,
        exchange: &Arc<Exchange>,
        head: CallHead,
        upload: &mut Upload,
        deadline: CallDeadline,
        asked: &mut bool,
    ) -> Result<Call, PassError> {
        let (first, ended) = upload.first().await?;
        let call = self.call(Caller::Exchange(exchange), head, first, ended, deadline).await;
        let mut call = call.map_err(PassError::Call)?;
        *asked = true;
        exchange.facts.endpoint_is(call.endpoint());
        if let Some(record) = exchange.record() {
            record.reached(call.endpoint(), call.peer());
        }
        // A stream that has ended already has no sending half to take, and dropping it would cancel the call.
        upload.sender = if ended { None } else { call.take_sender() };
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = upload.poll(cx) {
                return Poll::Ready(Err(error));
            }
            call.poll_begun(cx).map_err(PassError::Call)
        })
        .await?;
        Ok(call)
    }
}
