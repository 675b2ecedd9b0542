//! How many requests one service may have at once, so that a slow one does not take everything; and the short wait of those
//! who find no place.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_resilience::{Bulkhead as Counters, Entry};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{CallError, ForwardError};
use crate::time::now;

/// How long a request waits for a place: its client is to have the refusal within 200 ms.
const MAX_WAIT: Duration = Duration::from_millis(150);

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

/// Why a request has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// There are too many requests.
    Full,
    /// Its deadline came first.
    Late,
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

impl From<NoPlace> for CallError {
    fn from(none: NoPlace) -> Self {
        match none {
            NoPlace::Full => Self::Overloaded,
            NoPlace::Late => Self::DeadlineExceeded,
        }
    }
}

impl From<NoPlace> for ForwardError {
    fn from(none: NoPlace) -> Self {
        match none {
            NoPlace::Full => Self::Overloaded,
            NoPlace::Late => Self::DeadlineExceeded,
        }
    }
}

impl Bulkhead {
    /// For `max_concurrent` requests at once and `max_pending` that wait.
    pub(super) fn new(max_concurrent: u32, max_pending: u32) -> Arc<Self> {
        Arc::new(Self { counters: Counters::new(max_concurrent, max_pending), left: Notify::new() })
    }

    /// A place, if one becomes free in time and not too many wait already. `deadline` is the request's.
    pub(super) async fn enter(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Place, NoPlace> {
        match self.try_enter() {
            Some(place) => Ok(place),
            // Rare, and large: boxed, so that the future of every request stays small.
            None => Box::pin(self.wait(deadline)).await,
        }
    }

    /// Whether there is a place for one more, who would not wait for it.
    pub(super) fn has_room(self: &Arc<Self>) -> bool {
        self.try_enter().is_some()
    }

    /// A place, if one is free.
    pub(super) fn try_enter(self: &Arc<Self>) -> Option<Place> {
        let entry = Counters::try_enter(Owner(Arc::clone(self))).ok()?;
        Some(Place { entry: Some(entry), bulkhead: Arc::clone(self) })
    }

    async fn wait(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Place, NoPlace> {
        let _waiting = Counters::try_wait(&**self).map_err(|_| NoPlace::Full)?;
        let patience = now() + MAX_WAIT;
        let deadline = deadline.filter(|deadline| *deadline < patience);
        let latest = deadline.unwrap_or(patience);
        let late = if deadline.is_some() { NoPlace::Late } else { NoPlace::Full };
        loop {
            let mut left = pin!(self.left.notified());
            // In the queue before this look, so that who leaves in between wakes it.
            left.as_mut().enable();
            if let Some(place) = self.try_enter() {
                return Ok(place);
            }
            timeout(latest.saturating_duration_since(now()), left).await.map_err(|_| late)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_a_moment() {
        let bulkhead = Bulkhead::new(2, 1);
        let first = bulkhead.enter(None).await.unwrap();
        let _second = bulkhead.enter(None).await.unwrap();
        let begun = now();
        let (waited, refused) = tokio::join!(bulkhead.enter(None), bulkhead.enter(None));
        assert_eq!((waited.unwrap_err(), refused.unwrap_err()), (NoPlace::Full, NoPlace::Full));
        assert_eq!(now() - begun, MAX_WAIT);
        let (entered, ()) = tokio::join!(bulkhead.enter(None), async { drop(first) });
        assert!(entered.is_ok());
        assert_eq!((bulkhead.counters.inside(), bulkhead.counters.pending()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_waits_no_longer_than_its_deadline() {
        let bulkhead = Bulkhead::new(1, 1);
        let _first = bulkhead.enter(None).await.unwrap();
        let begun = now();
        let soon = Duration::from_millis(40);
        assert_eq!(bulkhead.enter(Some(begun + soon)).await.unwrap_err(), NoPlace::Late);
        assert_eq!(now() - begun, soon);
        assert_eq!(bulkhead.enter(Some(now() + MAX_WAIT * 2)).await.unwrap_err(), NoPlace::Full);
        assert_eq!(now() - begun, soon + MAX_WAIT);
    }
}
