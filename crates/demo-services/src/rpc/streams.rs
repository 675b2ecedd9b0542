//! Server streams.

use futures_util::stream::{BoxStream, StreamExt, iter, unfold};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::fault::Fault;
use crate::feed::Subscription;

pub(super) type Stream<M> = BoxStream<'static, Result<M, Status>>;

/// `first`, then what `shown` makes of each event, with the number of events that were missed before it. Without a
/// subscription, and when the feed ends, it ends well; when the drain begins, with UNAVAILABLE.
pub(super) fn stream<E: Send + Sync + 'static, M: Send + 'static>(
    stopping: CancellationToken,
    first: Vec<M>,
    subscription: Option<Subscription<E>>,
    shown: impl Fn(&E) -> Option<M> + Send + Sync + 'static,
    set_missed: fn(&mut M, u64),
) -> Stream<M> {
    let rest = unfold((subscription, stopping, shown), move |(subscription, stopping, shown)| async move {
        let mut subscription = subscription?;
        let next = tokio::select! {
            biased;
            () = stopping.cancelled() => return Some((Err(Fault::ShuttingDown.into()), (None, stopping, shown))),
            next = subscription.next(&shown) => next,
        };
        let (mut message, missed) = next?;
        set_missed(&mut message, missed);
        Some((Ok(message), (Some(subscription), stopping, shown)))
    });
    iter(first.into_iter().map(Ok)).chain(rest).boxed()
}
