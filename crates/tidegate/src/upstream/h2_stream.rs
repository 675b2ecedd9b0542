//! One HTTP/2 stream to a backend, and the place in its connection that it takes.
//!
//! Dropping it resets the stream with CANCEL unless it has ended, or a moment later if the connection has reset many
//! (`resets`); until then it keeps its place. Bytes that were read are given back to the backend's window only when somebody
//! says that they were taken.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, response};

use super::h2_pool::Gauge;
use crate::tasks;

/// Released capacity is collected up to this many bytes: h2 tells the peer only at half a window anyway, and each
/// release costs a lock.
const RELEASE_STEP: usize = 32 * 1024;

/// Gives its place in the connection back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    /// The stream's, among those of the connection.
    number: u32,
    gauge: Arc<Gauge>,
}

impl Permit {
    pub(super) fn new(gauge: Arc<Gauge>) -> Self {
        Self { number: gauge.opened(), gauge }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.closed();
    }
}

/// Asked for at once; the backend's window and the connection's share may give less.
const PIECE: usize = 64 * 1024;

/// See the module. Fields drop in this order: the place is free only once the stream is gone.
pub(super) struct H2Stream {
    answer: Answer,
    sender: Option<SendStream<Bytes>>,
    /// Read, but not given back to the window.
    unreleased: usize,
    /// Its end was read, or it has failed.
    is_over: bool,
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
        Self { answer: Answer::Awaited(response), sender: Some(sender), unreleased: 0, is_over: false, permit }
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
    pub(super) fn take_sender(&mut self) -> Option<Sending> {
        let stream = self.sender.take()?;
        let Permit { number, gauge } = &self.permit;
        Some(Sending { stream: Some(stream), ended: false, number: *number, gauge: Arc::clone(gauge) })
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
                self.permit.gauge.answered(self.permit.number);
                let (parts, body) = answer.into_parts();
                self.answer = Answer::Body(body);
                Poll::Ready(Ok(parts))
            }
            Err(error) => {
                self.answer = Answer::Failed;
                self.is_over = true;
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
        match &read {
            Some(Ok(data)) => self.unreleased = self.unreleased.saturating_add(data.len()),
            Some(Err(_)) => self.is_over = true,
            None => {}
        }
        Poll::Ready(read)
    }

    /// The trailers, after the end of the body.
    pub(super) fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        let Answer::Body(body) = &mut self.answer else {
            return Poll::Ready(Ok(None));
        };
        let trailers = ready!(body.poll_trailers(cx));
        self.is_over = true;
        Poll::Ready(trailers)
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

impl Drop for H2Stream {
    fn drop(&mut self) {
        if self.is_over || self.is_end() {
            return;
        }
        let Permit { number, gauge } = &self.permit;
        let Some(due) = gauge.reset_due(*number) else { return };
        let rest = Rest {
            answer: mem::replace(&mut self.answer, Answer::Failed),
            _sender: self.sender.take(),
            _permit: Permit::new(Arc::clone(gauge)),
        };
        tasks::spawn_or_drop("upstream reset", async move {
            // It may as well end by itself.
            let _ended = tokio::time::timeout_at(due.into(), rest.run_out()).await;
        });
    }
}

/// A stream that runs on for nobody. Dropping it resets it.
struct Rest {
    answer: Answer,
    _sender: Option<SendStream<Bytes>>,
    _permit: Permit,
}

impl Rest {
    /// Until the stream has ended. What comes is thrown away, and no more is asked for.
    async fn run_out(mut self) {
        if let Answer::Awaited(response) = &mut self.answer {
            let Ok(answer) = response.await else { return };
            self.answer = Answer::Body(answer.into_body());
        }
        if let Answer::Body(body) = &mut self.answer {
            while let Some(Ok(_)) = body.data().await {}
            let _end = body.trailers().await;
        }
    }
}

/// The backend takes no more.
#[derive(Debug)]
pub(super) struct Stopped;

/// The sending half of a stream. Dropped before its end was sent it cancels the stream, at once or in its turn as above:
/// the backend must not take a part of a request for the whole.
pub(super) struct Sending {
    /// Always there before the drop.
    stream: Option<SendStream<Bytes>>,
    ended: bool,
    number: u32,
    gauge: Arc<Gauge>,
}

impl Sending {
    /// Sends `data`, for which [`Sending::poll_room`] has found room; nothing comes behind it if it is the `end`.
    pub(super) fn send(&mut self, data: Bytes, end: bool) -> Result<(), Stopped> {
        self.ended |= end;
        let stream = self.stream.as_mut().ok_or(Stopped)?;
        stream.send_data(data, end).map_err(|_| Stopped)
    }

    /// For how many of `wanted` bytes there is room, at least one.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Stopped>> {
        // Asked each time, or a reset would go unseen while there is room.
        if self.poll_stopped(cx).is_ready() {
            return Poll::Ready(Err(Stopped));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Stopped)) };
        stream.reserve_capacity(wanted.min(PIECE));
        // `poll_capacity` only tells of changes, so what is there already is looked at first.
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Stopped)),
            }
        }
        Poll::Ready(Ok(stream.capacity().min(wanted)))
    }

    /// Ready when the backend takes no more.
    pub(super) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take_if(|_| !self.ended) else { return };
        let Some(due) = self.gauge.reset_due(self.number) else {
            return stream.send_reset(Reason::CANCEL);
        };
        let permit = Permit::new(Arc::clone(&self.gauge));
        tasks::spawn_or_drop("upstream reset", async move {
            tokio::time::sleep_until(due.into()).await;
            stream.send_reset(Reason::CANCEL);
            drop(permit);
        });
    }
}
