//! Series by the name of what they tell of, and when they go.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long series stay after what they tell of has left the configuration: long enough for a scraper to see the last
/// events, and for a configuration that is taken back to go on where it was.
pub(super) const KEPT_AFTER_END: Duration = Duration::from_secs(300);

/// What the series of one kind are found by. Grows only with configurations that are compiled; [`Named::sweep`] after each
/// of them keeps it at the size of those that serve or have served lately.
#[derive(Debug)]
pub(super) struct Named<K, T> {
    entries: Mutex<BTreeMap<K, Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    series: Arc<T>,
    gone_since: Option<Instant>,
}

impl<K: Ord, T> Named<K, T> {
    pub(super) fn new() -> Self {
        Self { entries: Mutex::new(BTreeMap::new()) }
    }

    /// The series of `key`, made if there are none. Whoever asks has it in a configuration, so it is not gone.
    pub(super) fn find(&self, key: K, make: impl FnOnce(&K) -> T) -> Arc<T> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(&key) {
            entry.gone_since = None;
            return Arc::clone(&entry.series);
        }
        let series = Arc::new(make(&key));
        entries.insert(key, Entry { series: Arc::clone(&series), gone_since: None });
        series
    }

    /// From `now` on everything but `live` counts as gone.
    pub(super) fn retain(&self, live: &[Arc<T>], now: Instant) {
        let live: HashSet<*const T> = live.iter().map(Arc::as_ptr).collect();
        for entry in self.entries.lock().values_mut() {
            let gone_since = entry.gone_since.unwrap_or(now);
            entry.gone_since = (!live.contains(&Arc::as_ptr(&entry.series))).then_some(gone_since);
        }
    }

    /// Removes what has been gone for long enough, and at once what nobody holds and had no event: a configuration that
    /// was compiled and refused leaves nothing behind. Tells whether anything was removed.
    pub(super) fn sweep(&self, now: Instant, is_empty: impl Fn(&T) -> bool) -> bool {
        let mut entries = self.entries.lock();
        let before = entries.len();
        entries.retain(|_, entry| {
            // The lock is held, so nobody can ask for the last copy now.
            if Arc::strong_count(&entry.series) == 1 {
                if is_empty(&entry.series) {
                    return false;
                }
                entry.gone_since.get_or_insert(now);
            }
            entry.gone_since.is_none_or(|since| now.saturating_duration_since(since) < KEPT_AFTER_END)
        });
        entries.len() < before
    }

    /// All series, in the order of their keys.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.entries.lock().values().map(|entry| Arc::clone(&entry.series)).collect()
    }
}
