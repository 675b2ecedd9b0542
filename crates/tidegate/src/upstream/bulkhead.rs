//! How many requests one service may have at once, so that a slow one does not take everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Requests at once, in the whole process.
const MAX_CONCURRENT: usize = 2_000;

/// Requests that wait for others to end.
const MAX_PENDING: u32 = 1_024;

/// How long they wait.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub(super) struct Bulkhead {
    places: Arc<Semaphore>,
    pending: AtomicU32,
}

/// The place of one request, given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Option<OwnedSemaphorePermit>);

impl Permit {
    /// The request has ended, though its owner lives on.
    pub(super) fn give_back(&mut self) {
        self.0 = None;
    }
}

impl Bulkhead {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_CONCURRENT)), pending: AtomicU32::new(0) }
    }

    /// A place; `None` if none became free in time, or too many wait already.
    pub(super) async fn enter(&self) -> Option<Permit> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Some(Permit(Some(place))),
            // Rare, and large: boxed, so that the future of every request stays small.
            Err(_full) => Box::pin(self.wait()).await,
        }
    }

    async fn wait(&self) -> Option<Permit> {
        let waiting = Waiting(&self.pending);
        if self.pending.fetch_add(1, Ordering::Relaxed) >= MAX_PENDING {
            return None;
        }
        let place = timeout(MAX_WAIT, Arc::clone(&self.places).acquire_owned()).await;
        drop(waiting);
        Some(Permit(Some(place.ok()?.ok()?)))
    }
}

/// Counts a waiting request until it is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_a_moment() {
        let bulkhead = Bulkhead::new();
        let mut places = Vec::new();
        for _ in 0..MAX_CONCURRENT {
            places.push(bulkhead.enter().await.unwrap());
        }
        assert!(bulkhead.enter().await.is_none());
        let (entered, ()) = tokio::join!(bulkhead.enter(), async { drop(places.pop()) });
        assert!(entered.is_some());
        assert_eq!(bulkhead.pending.load(Ordering::Relaxed), 0);
    }
}
