//! How many series there may be: a bound for the whole page, and for each thing that series tell of.

use std::collections::HashMap;
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
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max: AtomicUsize::new(max), refused: AtomicU64::new(0) })
    }

    /// A new bound. What is above it stays; only new series are refused.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How often a new series was refused.
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
    }
}

/// Which series one owner has been granted, whichever worker asked first. Gives them back when it is dropped.
#[derive(Debug)]
pub(super) struct Admission<K> {
    budget: Arc<Budget>,
    /// At most [`MAX_KEYS`] keys, with the lines that each stands for.
    keys: Mutex<HashMap<K, usize>>,
}

impl<K: Eq + Hash> Admission<K> {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, keys: Mutex::new(HashMap::new()) }
    }

    /// Whether the series of `key`, which are `series` lines, may exist. Locks, so only the first event of a worker asks.
    pub(super) fn admit(&self, key: K, series: usize) -> bool {
        let mut keys = self.keys.lock();
        if keys.contains_key(&key) {
            return true;
        }
        if keys.len() >= MAX_KEYS || !self.budget.reserve(series) {
            self.budget.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        keys.insert(key, series);
        true
    }

    /// Gives back the series whose keys `keep` does not want.
    pub(super) fn retain(&self, mut keep: impl FnMut(&K) -> bool) {
        self.keys.lock().retain(|key, series| {
            let kept = keep(key);
            if !kept {
                self.budget.release(*series);
            }
            kept
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.lock().is_empty()
    }
}

impl<K> Drop for Admission<K> {
    fn drop(&mut self) {
        self.budget.release(self.keys.get_mut().values().sum());
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
}
