//! How many requests one service may have at once, so that a slow one does not take everything; and the short wait of those
//! who find no place.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidegate_resilience::{Bulkhead as Counters, Entry};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::time::now;

/// How long a request waits for a place.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub(super) struct Bulkhead {
    counters: Counters,
    left: Notify,
}

impl AsRef<Counters> for Bulkhead {
    fn as_ref(&self) -> &Counters {
        &self.counters
    }
}

/// Keeps the bulkhead of a place alive.
#[derive(Clone, Debug)]
struct Owner(Arc<Bulkhead>);

impl AsRef<Counters> for Owner {
    fn as_ref(&self) -> &Counters {
        &self.0.counters
    }
}

/// The place of one request, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    entry: Option<Entry<Owner>>,
    bulkhead: Arc<Bulkhead>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Leaves first, then looks: see the order in `tidegate_resilience::bulkhead`.
        drop(self.entry.take());
        if self.bulkhead.counters.is_waited_for() {
            self.bulkhead.left.notify_one();
        }
    }
}

impl Bulkhead {
    /// For `max_concurrent` requests at once and `max_pending` that wait.
    pub(super) fn new(max_concurrent: u32, max_pending: u32) -> Arc<Self> {
        Arc::new(Self { counters: Counters::new(max_concurrent, max_pending), left: Notify::new() })
    }

    /// A place; `None` if none became free in time, or too many wait already.
    pub(super) async fn enter(self: &Arc<Self>) -> Option<Place> {
        match self.try_enter() {
            Some(place) => Some(place),
            // Rare, and large: boxed, so that the future of every request stays small.
            None => Box::pin(self.wait()).await,
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Place> {
        let entry = Counters::try_enter(Owner(Arc::clone(self))).ok()?;
        Some(Place { entry: Some(entry), bulkhead: Arc::clone(self) })
    }

    async fn wait(self: &Arc<Self>) -> Option<Place> {
        let _waiting = Counters::try_wait(&**self).ok()?;
        let latest = now() + MAX_WAIT;
        loop {
            let mut left = pin!(self.left.notified());
            // In the queue before this look, so that who leaves in between wakes it.
            left.as_mut().enable();
            if let Some(place) = self.try_enter() {
                return Some(place);
            }
            timeout(latest.saturating_duration_since(now()), left).await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_a_moment() {
        let bulkhead = Bulkhead::new(2, 1);
        let first = bulkhead.enter().await.unwrap();
        let _second = bulkhead.enter().await.unwrap();
        let begun = now();
        let (waited, refused) = tokio::join!(bulkhead.enter(), bulkhead.enter());
        assert!(waited.is_none() && refused.is_none());
        assert_eq!(now() - begun, MAX_WAIT);
        let (entered, ()) = tokio::join!(bulkhead.enter(), async { drop(first) });
        assert!(entered.is_some());
        assert_eq!((bulkhead.counters.inside(), bulkhead.counters.pending()), (2, 0));
    }
}
