//! Reading a request body that is needed as a whole.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;

use super::Transcode;
use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};
use crate::time::{Deadline, now};

impl Transcode {
    /// The whole body, which is at most `max_body` bytes long. A body that came in one piece is not copied.
    ///
    /// # Errors
    /// `payload_too_large` before anything is read if the length is known; `bad_request` (408) when the client stalls;
    /// `client_closed`; `upstream_timeout` at `deadline`.
    pub(super) async fn collect(
        &self,
        exchange: &Exchange,
        mut body: RequestBody,
        deadline: Option<Instant>,
    ) -> Result<Bytes, Reject> {
        if body.size_hint().lower() > self.max_body {
            return Err(Reject::new(Reason::PayloadTooLarge).close());
        }
        match &mut body {
            RequestBody::Empty | RequestBody::Socket(_) => return Ok(Bytes::new()),
            RequestBody::Full(bytes) => {
                let bytes = bytes.take().unwrap_or_default();
                exchange.facts.received(bytes.len());
                return Ok(bytes);
            }
            RequestBody::Stream(_) => {}
        }
        let _waiting = Waiting::begin(exchange);
        let timer = deadline.map(|at| self.cluster.wheel(exchange.worker()).at(at));
        read_all(&mut body, exchange, self.max_body, timer).await
    }
}

/// Notes how long the client let us wait, however that ends.
pub(super) struct Waiting<'a> {
    exchange: &'a Exchange,
    begun: Instant,
}

impl<'a> Waiting<'a> {
    pub(super) fn begin(exchange: &'a Exchange) -> Self {
        Self { exchange, begun: now() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.exchange.facts.waited(now().saturating_duration_since(self.begun));
    }
}

async fn read_all(
    body: &mut RequestBody,
    exchange: &Exchange,
    limit: u64,
    mut timer: Option<Deadline>,
) -> Result<Bytes, Reject> {
    let mut whole = Pieces::default();
    loop {
        match in_time(&mut timer, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await? {
            None => return Ok(whole.join()),
            Some(Err(error)) => return Err(Reject::broken_body(error)),
            Some(Ok(frame)) => {
                // Trailers of a request are dropped.
                let Ok(data) = frame.into_data() else { continue };
                exchange.facts.received(data.len());
                if whole.len().saturating_add(data.len() as u64) > limit {
                    return Err(Reject::new(Reason::PayloadTooLarge).close());
                }
                whole.push(data);
            }
        }
    }
}

/// What `future` gives, unless `timer` fires first.
///
/// # Errors
/// `upstream_timeout`.
pub(super) async fn in_time<F: Future>(timer: &mut Option<Deadline>, future: F) -> Result<F::Output, Reject> {
    let mut future = pin!(future);
    poll_fn(|cx| match (future.as_mut().poll(cx), &mut *timer) {
        (Poll::Ready(output), _) => Poll::Ready(Ok(output)),
        (Poll::Pending, Some(timer)) => Pin::new(timer).poll(cx).map(|()| Err(Reject::new(Reason::UpstreamTimeout))),
        (Poll::Pending, None) => Poll::Pending,
    })
    .await
}

/// One piece as it is, several joined.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    joined: BytesMut,
}

impl Pieces {
    fn len(&self) -> u64 {
        (self.first.len() + self.joined.len()) as u64
    }

    fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.joined.extend_from_slice(&piece);
    }

    fn join(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}
