//! One HTTP/2 stream to a backend, and the place in its connection that it takes.
//!
//! Dropping it resets the stream with CANCEL unless it has ended. Bytes that were read are given back to the backend's
//! window only when somebody says that they were taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Response, response};

use super::h2_pool::Gauge;

/// Released capacity is collected up to this many bytes: h2 tells the peer only at half a window anyway, and each
/// release costs a lock.
const RELEASE_STEP: usize = 32 * 1024;

/// Gives its place in the connection back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    gauge: Arc<Gauge>,
}

impl Permit {
    pub(super) fn new(gauge: Arc<Gauge>) -> Self {
        gauge.opened();
        Self { gauge }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.closed();
    }
}

/// See the module. Fields drop in this order: the place is free only once the stream is gone.
pub(super) struct H2Stream {
    answer: Answer,
    sender: Option<SendStream<Bytes>>,
    /// Read, but not given back to the window.
    unreleased: usize,
    permit: Permit,
}

enum Answer {
    Awaited(ResponseFuture),
    Body(RecvStream),
    /// Resolved with an error.
    Failed,
}

impl H2Stream {
    pub(super) fn new(response: ResponseFuture, sender: SendStream<Bytes>, permit: Permit) -> Self {
        Self { answer: Answer::Awaited(response), sender: Some(sender), unreleased: 0, permit }
    }

    /// Who is at the other end of its connection.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.permit.gauge.peer()
    }

    /// Queues `data` as one frame. Without waiting: for the first message, whose size the limit on bodies bounds.
    pub(super) fn send(&mut self, data: Bytes, end: bool) -> Result<(), h2::Error> {
        match &mut self.sender {
            Some(sender) => sender.send_data(data, end),
            None => Ok(()),
        }
    }

    /// The sending half, once.
    pub(super) fn take_sender(&mut self) -> Option<SendStream<Bytes>> {
        self.sender.take()
    }

    /// An interim answer, if one has come.
    pub(super) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<Option<Response<()>>> {
        let Answer::Awaited(response) = &mut self.answer else { return Poll::Ready(None) };
        // An error is told by the answer itself.
        response.poll_informational(cx).map(|interim| interim.and_then(Result::ok))
    }

    /// The head of the answer. Must not be called again after it was ready.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, h2::Error>> {
        let Answer::Awaited(response) = &mut self.answer else {
            return Poll::Ready(Err(h2::Reason::INTERNAL_ERROR.into()));
        };
        match ready!(std::pin::Pin::new(response).poll(cx)) {
            Ok(answer) => {
                let (parts, body) = answer.into_parts();
                self.answer = Answer::Body(body);
                Poll::Ready(Ok(parts))
            }
            Err(error) => {
                self.answer = Answer::Failed;
                Poll::Ready(Err(error))
            }
        }
    }

    /// The next bytes of the body, or `None` at its end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let Answer::Body(body) = &mut self.answer else {
            return Poll::Ready(None);
        };
        let read = ready!(body.poll_data(cx));
        if let Some(Ok(data)) = &read {
            self.unreleased = self.unreleased.saturating_add(data.len());
        }
        Poll::Ready(read)
    }

    /// The trailers, after the end of the body.
    pub(super) fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        match &mut self.answer {
            Answer::Body(body) => body.poll_trailers(cx),
            Answer::Awaited(_) | Answer::Failed => Poll::Ready(Ok(None)),
        }
    }

    /// Everything that was read has been taken by its reader: the backend may send as much again.
    pub(super) fn release(&mut self) {
        if self.unreleased < RELEASE_STEP {
            return;
        }
        if let Answer::Body(body) = &mut self.answer {
            // Fails only for more bytes than were received, which `poll_data` has counted.
            let _released = body.flow_control().release_capacity(self.unreleased);
        }
        self.unreleased = 0;
    }

    /// Nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        match &self.answer {
            Answer::Body(body) => body.is_end_stream(),
            Answer::Awaited(_) | Answer::Failed => false,
        }
    }
}
