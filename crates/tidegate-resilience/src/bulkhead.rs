//! A bulkhead: how many requests may be at a service at once, and how many may wait for that.
//!
//! Only the counting is here; the caller waits. Who waits does it in this order, so that no wake-up is lost:
//!
//! 1. [`Bulkhead::try_enter`]; if that fails,
//! 2. [`Bulkhead::try_wait`]; if that fails, refuse;
//! 3. `try_enter` again, and only if that fails sleep until somebody wakes one, then again.
//!
//! Who leaves drops the [`Entry`] first and then looks at [`Bulkhead::is_waited_for`]. Newcomers may overtake those
//! who wait: the wait is short and bounded, and a queue in order would be a lock on the path of every request.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// The counters of one service, shared by all cores. No locks; entering and leaving are one exchange each.
#[derive(Debug)]
pub struct Bulkhead {
    max_concurrent: u32,
    max_pending: u32,
    inside: AtomicU32,
    pending: AtomicU32,
}

/// A request that is inside, until it is dropped.
///
/// `O` is what keeps the bulkhead alive: a reference, or whatever shared pointer the request has anyway.
#[derive(Debug)]
#[must_use]
pub struct Entry<O: AsRef<Bulkhead>>(O);

/// A request that waits, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Wait<O: AsRef<Bulkhead>>(O);

impl Bulkhead {
    /// An empty one.
    #[must_use]
    pub const fn new(max_concurrent: u32, max_pending: u32) -> Self {
        Self { max_concurrent, max_pending, inside: AtomicU32::new(0), pending: AtomicU32::new(0) }
    }

    /// Lets a request in if there is room.
    ///
    /// # Errors
    /// There is none; the owner is given back.
    pub fn try_enter<O: AsRef<Self>>(owner: O) -> Result<Entry<O>, O> {
        let bulkhead = owner.as_ref();
        if take(&bulkhead.inside, bulkhead.max_concurrent) { Ok(Entry(owner)) } else { Err(owner) }
    }

    /// Counts a request among those who wait, if there is room.
    ///
    /// # Errors
    /// There is none; the owner is given back.
    pub fn try_wait<O: AsRef<Self>>(owner: O) -> Result<Wait<O>, O> {
        let bulkhead = owner.as_ref();
        if take(&bulkhead.pending, bulkhead.max_pending) { Ok(Wait(owner)) } else { Err(owner) }
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.pending.load(SeqCst) > 0
    }

    /// Requests inside.
    #[must_use]
    pub fn inside(&self) -> u32 {
        self.inside.load(SeqCst)
    }

    /// Requests that wait.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.pending.load(SeqCst)
    }
}

impl AsRef<Self> for Bulkhead {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<O: AsRef<Bulkhead>> Drop for Entry<O> {
    fn drop(&mut self) {
        self.0.as_ref().inside.fetch_sub(1, SeqCst);
    }
}

impl<O: AsRef<Bulkhead>> Drop for Wait<O> {
    fn drop(&mut self) {
        self.0.as_ref().pending.fetch_sub(1, SeqCst);
    }
}

/// Sequentially consistent, like all of this file: who begins to wait and then finds no room, and who leaves and then
/// finds nobody waiting, must not both be right.
fn take(counter: &AtomicU32, max: u32) -> bool {
    counter.fetch_update(SeqCst, SeqCst, |count| (count < max).then(|| count + 1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn there_is_room_for_so_many_inside_and_so_many_waiting() {
        let bulkhead = Bulkhead::new(2, 1);
        let first = Bulkhead::try_enter(&bulkhead).unwrap();
        let _second = Bulkhead::try_enter(&bulkhead).unwrap();
        assert!(Bulkhead::try_enter(&bulkhead).is_err() && !bulkhead.is_waited_for());
        let wait = Bulkhead::try_wait(&bulkhead).unwrap();
        assert!(Bulkhead::try_wait(&bulkhead).is_err() && bulkhead.is_waited_for());
        drop(first);
        let _third = Bulkhead::try_enter(&bulkhead).unwrap();
        drop(wait);
        assert_eq!((bulkhead.inside(), bulkhead.pending()), (2, 0));
    }

    #[test]
    fn an_entry_may_own_what_it_stands_in() {
        let shared = Arc::new(Bulkhead::new(1, 0));
        let entry = Bulkhead::try_enter(Arc::clone(&shared)).unwrap();
        assert!(Bulkhead::try_enter(Arc::clone(&shared)).is_err() && Bulkhead::try_wait(&*shared).is_err());
        drop(entry);
        assert_eq!(shared.inside(), 0);
    }
}
