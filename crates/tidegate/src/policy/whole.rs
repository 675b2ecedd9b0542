//! Reading a body as a whole, within its limit and its time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;

use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};
use crate::time::{Deadline, now};

/// All bytes of `body`, at most `limit`; a body that comes in one piece is not copied. `heard` is told the length of each
/// piece.
///
/// # Errors
/// `payload_too_large`, before anything is read if the length is known; `bad_request` (408) for a client that stalls;
/// `client_closed`; `upstream_timeout` when `timer` fires, as if the service had waited.
pub async fn read_whole(
    body: &mut RequestBody,
    limit: u64,
    mut timer: Option<Deadline>,
    mut heard: impl FnMut(usize),
) -> Result<Bytes, Reject> {
    if body.size_hint().lower() > limit {
        return Err(Reject::new(Reason::PayloadTooLarge).close());
    }
    let mut whole = Pieces::default();
    loop {
        match in_time(&mut timer, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await? {
            None => return Ok(whole.join()),
            Some(Err(error)) => return Err(Reject::broken_body(error)),
            Some(Ok(frame)) => {
                // Trailers of a request are dropped.
                let Ok(data) = frame.into_data() else { continue };
                heard(data.len());
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
pub async fn in_time<F: Future>(timer: &mut Option<Deadline>, future: F) -> Result<F::Output, Reject> {
    let mut future = pin!(future);
    poll_fn(|cx| match (future.as_mut().poll(cx), &mut *timer) {
        (Poll::Ready(output), _) => Poll::Ready(Ok(output)),
        (Poll::Pending, Some(timer)) => Pin::new(timer).poll(cx).map(|()| Err(Reject::new(Reason::UpstreamTimeout))),
        (Poll::Pending, None) => Poll::Pending,
    })
    .await
}

/// Notes how long the client let us wait, however that ends.
#[derive(Debug)]
pub struct Waiting<'a> {
    exchange: &'a Exchange,
    begun: Instant,
}

impl<'a> Waiting<'a> {
    /// From now on.
    #[must_use]
    pub fn begin(exchange: &'a Exchange) -> Self {
        Self { exchange, begun: now() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.exchange.facts.waited(now().saturating_duration_since(self.begun));
    }
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
