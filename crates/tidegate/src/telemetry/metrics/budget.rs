//! How many series there may be: a bound for the whole page, and for each thing that series tell of.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Series that one route, service or listener may have, in kinds of events. A backend chooses the status of its answers,
/// so without this bound one that runs through all of them would take the room of everybody else.
const MAX_KEYS: usize = 512;

/// The bound for the page, `metrics.max_series`: lines that requests can add to it.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: AtomicUsize,
    refused: AtomicU64,
    /// How often there has been more room since; who was refused before may ask again.
    releases: AtomicU64,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            refused: AtomicU64::new(0),
            releases: AtomicU64::new(0),
        })
    }

    /// A new bound. What is above it stays; only new series are refused.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
        self.releases.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many new series were refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn reserve(&self, series: usize) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let more = |used: usize| used.checked_add(series).filter(|sum| *sum <= max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self, series: usize) {
        self.used.fetch_sub(series, Ordering::Relaxed);
        self.releases.fetch_add(1, Ordering::Relaxed);
    }
}

/// Which series one owner has been granted, whichever worker asked first. Gives them back when it is dropped.
#[derive(Debug)]
pub(super) struct Admission<K> {
    budget: Arc<Budget>,
    keys: Mutex<Keys<K>>,
}

/// At most [`MAX_KEYS`] of each kind.
#[derive(Debug)]
struct Keys<K> {
    /// With the lines that each stands for.
    granted: HashMap<K, usize>,
    /// Have been counted.
    refused: HashSet<K>,
}

impl<K: Copy + Eq + Hash> Admission<K> {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, keys: Mutex::new(Keys { granted: HashMap::new(), refused: HashSet::new() }) }
    }

    /// Whether the series of `key`, which are `series` lines, may exist. Locks; workers ask through a [`Gate`].
    pub(super) fn admit(&self, key: K, series: usize) -> bool {
        let Keys { granted, refused } = &mut *self.keys.lock();
        if granted.contains_key(&key) {
            return true;
        }
        if granted.len() >= MAX_KEYS || !self.budget.reserve(series) {
            if refused.len() < MAX_KEYS && refused.insert(key) {
                self.budget.refused.fetch_add(1, Ordering::Relaxed);
            }
            return false;
        }
        refused.remove(&key);
        granted.insert(key, series);
        true
    }

    /// Gives back the series whose keys `keep` does not want.
    pub(super) fn retain(&self, mut keep: impl FnMut(&K) -> bool) {
        let Keys { granted, refused } = &mut *self.keys.lock();
        refused.retain(&mut keep);
        granted.retain(|key, series| {
            let kept = keep(key);
            if !kept {
                self.budget.release(*series);
            }
            kept
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.lock().granted.is_empty()
    }
}

impl<K> Drop for Admission<K> {
    fn drop(&mut self) {
        self.budget.release(self.keys.get_mut().granted.values().sum());
    }
}

/// What one worker was refused, so that it asks again only when there may be room.
#[derive(Debug)]
pub(super) struct Refused<K> {
    /// At most [`MAX_KEYS`].
    keys: HashSet<K>,
    /// Of the budget when they were refused.
    releases: u64,
}

impl<K> Default for Refused<K> {
    fn default() -> Self {
        Self { keys: HashSet::new(), releases: 0 }
    }
}

/// The admission as one worker asks for it. What was granted the worker keeps in its own cells, so that it asks once for
/// each series; what was refused stands here, so that a full page costs a request no lock.
pub(super) struct Gate<'a, K> {
    pub(super) admission: &'a Admission<K>,
    pub(super) refused: &'a mut Refused<K>,
}

impl<K: Copy + Eq + Hash> Gate<'_, K> {
    /// Whether the series of `key`, which are `series` lines, may exist.
    pub(super) fn admit(&mut self, key: K, series: usize) -> bool {
        let releases = self.admission.budget.releases.load(Ordering::Relaxed);
        if self.refused.releases != releases {
            self.refused.keys.clear();
            self.refused.releases = releases;
        }
        if self.refused.keys.contains(&key) {
            return false;
        }
        let admitted = self.admission.admit(key, series);
        if !admitted && self.refused.keys.len() < MAX_KEYS {
            self.refused.keys.insert(key);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_new_series_are_counted_and_old_ones_go_on() {
        let budget = Budget::new(20);
        let first = Admission::new(Arc::clone(&budget));
        assert!(first.admit("duration", 17));
        assert!(!first.admit("other", 4));
        assert!(!first.admit("other", 4), "counted once");
        assert!(first.admit("duration", 17), "known already");
        assert!(first.admit("small", 3));
        let second = Admission::new(Arc::clone(&budget));
        assert!(!second.admit("bytes", 1));
        assert_eq!((budget.used(), budget.refused()), (20, 2));
        drop(first);
        assert!(second.admit("bytes", 1));
        second.retain(|key| *key != "bytes");
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_owner_cannot_take_everything() {
        let budget = Budget::new(usize::MAX);
        let owner = Admission::new(Arc::clone(&budget));
        assert_eq!((0..1_000).filter(|status| owner.admit(*status, 1)).count(), MAX_KEYS);
        assert_eq!(budget.refused(), 1_000 - u64::try_from(MAX_KEYS).unwrap());
    }

    #[test]
    fn a_worker_that_was_refused_asks_again_when_there_is_room() {
        let budget = Budget::new(10);
        let other = Admission::new(Arc::clone(&budget));
        assert!(other.admit("first", 10));
        let admission = Admission::new(Arc::clone(&budget));
        let mut refused = Refused::default();
        let mut gate = Gate { admission: &admission, refused: &mut refused };
        assert!(!gate.admit("late", 2));
        // The room is there, but nobody has said so.
        budget.used.store(0, Ordering::Relaxed);
        assert!(!gate.admit("late", 2), "it does not ask");
        budget.set_max(20);
        assert!(gate.admit("late", 2));
    }
}
