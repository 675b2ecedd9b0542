//! What happens, for streams. A stream that is read too slowly misses events and is told how many: it can hold up
//! nobody, and nothing grows.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::fault::Fault;

/// Events that may wait for the slowest stream.
const BACKLOG_MAX: usize = 1_024;
/// Streams of one kind at once.
const STREAMS_MAX: usize = 1_000;

/// Bounds the streams of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Seats(Arc<Semaphore>);

impl Seats {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

/// Where events come from. When the last copy is dropped, streams end after what waits.
#[derive(Clone, Debug)]
pub(crate) struct Feed<E> {
    events: broadcast::Sender<Arc<E>>,
    seats: Seats,
}

impl<E> Feed<E> {
    pub(crate) fn new(seats: &Seats) -> Self {
        Self { events: broadcast::Sender::new(BACKLOG_MAX), seats: seats.clone() }
    }

    /// Never waits.
    pub(crate) fn publish(&self, event: E) {
        // Nobody may listen.
        let _ = self.events.send(Arc::new(event));
    }

    /// Everything from now on.
    ///
    /// # Errors
    /// `Full`.
    pub(crate) fn subscribe(&self) -> Result<Subscription<E>, Fault> {
        let seat = Arc::clone(&self.seats.0).try_acquire_owned();
        let seat = seat.map_err(|_| Fault::Full { what: "streams", most: STREAMS_MAX })?;
        Ok(Subscription { events: self.events.subscribe(), missed: 0, _seat: seat })
    }
}

/// The right to read a feed.
#[derive(Debug)]
pub(crate) struct Subscription<E> {
    events: broadcast::Receiver<Arc<E>>,
    missed: u64,
    _seat: OwnedSemaphorePermit,
}

impl<E> Subscription<E> {
    /// The next event that `wanted` turns into something, and how many events of any kind were missed since the last.
    /// May be dropped while it waits. `None` once the feed has ended.
    pub(crate) async fn next<T>(&mut self, wanted: impl Fn(&E) -> Option<T>) -> Option<(T, u64)> {
        loop {
            match self.events.recv().await {
                Ok(event) => {
                    if let Some(found) = wanted(&event) {
                        return Some((found, std::mem::take(&mut self.missed)));
                    }
                }
                Err(RecvError::Lagged(missed)) => self.missed += missed,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_stream_is_told_what_it_missed_and_the_end_comes_last() {
        let feed = Feed::new(&Seats::new());
        let mut subscription = feed.subscribe().unwrap();
        let total = BACKLOG_MAX as u64 + 10;
        (1..=total).for_each(|number| feed.publish(number));
        drop(feed);
        let even = |number: &u64| number.is_multiple_of(2).then_some(*number);
        assert_eq!(subscription.next(even).await, Some((12, 10)));
        assert_eq!(subscription.next(even).await, Some((14, 0)));
        assert_eq!(subscription.next(|number| (*number == total).then_some(())).await, Some(((), 0)));
        assert_eq!(subscription.next(even).await, None);
    }

    #[tokio::test]
    async fn seats_are_given_back() {
        let seats = Seats::new();
        let feed = Feed::<()>::new(&seats);
        let taken: Vec<_> = (0..STREAMS_MAX).map(|_| feed.subscribe().unwrap()).collect();
        assert!(Feed::<()>::new(&seats).subscribe().is_err());
        drop(taken);
        assert!(feed.subscribe().is_ok());
    }
}
