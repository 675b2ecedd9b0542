//! Reading a body as a whole, within its limit and its time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;

use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};
use crate::time::{Deadline, now};

/// All bytes of `body`, at most `limit`. Bytes that are passed on are counted by whoever sends them; of a body that is
/// refused here, they are counted here.
///
/// # Errors
/// `payload_too_large`; `bad_request` (408) for a client that stalls; `client_closed`; `upstream_timeout` at the
/// deadline, as if the service had waited.
pub(super) async fn whole(
    exchange: &Exchange,
    mut body: RequestBody,
    limit: u64,
    mut deadline: Option<Deadline>,
) -> Result<Bytes, Reject> {
    if body.size_hint().lower() > limit {
        return Err(Reject::new(Reason::PayloadTooLarge).close());
    }
    let begun = now();
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    let result = loop {
        let frame = poll_fn(|cx| match (Pin::new(&mut body).poll_frame(cx), &mut deadline) {
            (Poll::Ready(frame), _) => Poll::Ready(Ok(frame)),
            (Poll::Pending, Some(timer)) => {
                Pin::new(timer).poll(cx).map(|()| Err(Reject::new(Reason::UpstreamTimeout)))
            }
            (Poll::Pending, None) => Poll::Pending,
        });
        match frame.await {
            Err(late) => break Err(late),
            Ok(None) => break Ok(()),
            Ok(Some(Err(error))) => break Err(Reject::broken_body(error)),
            Ok(Some(Ok(frame))) => {
                // Trailers of a request are dropped.
                let Ok(data) = frame.into_data() else { continue };
                if (first.len() + joined.len() + data.len()) as u64 > limit {
                    break Err(Reject::new(Reason::PayloadTooLarge).close());
                }
                if first.is_empty() && joined.is_empty() {
                    first = data;
                } else {
                    joined.extend_from_slice(&std::mem::take(&mut first));
                    joined.extend_from_slice(&data);
                }
            }
        }
    };
    exchange.facts.waited(now().saturating_duration_since(begun));
    match result {
        Ok(()) if joined.is_empty() => Ok(first),
        Ok(()) => Ok(joined.freeze()),
        Err(reject) => {
            exchange.facts.received(first.len() + joined.len());
            Err(reject)
        }
    }
}
