//! What became of the copies of a route's requests.
//!
//! Names come from the configuration, so there is no bound beside it: a client adds no series.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a request that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// The mirror has answered, whatever it said.
    Answered,
    /// The mirror could not be asked, or has not answered in time.
    Failed,
    /// It was not copied: there were too many copies.
    Full,
    /// It was not copied: it is too large to be kept, or a stream.
    NotRepeatable,
    /// It was not copied: it never came whole.
    Unfinished,
}

pub(super) const OUTCOMES: [&str; 5] = ["answered", "failed", "full", "not_repeatable", "unfinished"];

/// Series of one route and mirror; survives reloads.
#[derive(Debug)]
pub struct MirrorSeries {
    pub(super) route: Arc<str>,
    pub(super) service: Arc<str>,
    /// In the order of [`OUTCOMES`].
    counts: [AtomicU64; 5],
}

impl MirrorSeries {
    pub(super) fn new(route: Arc<str>, service: Arc<str>) -> Self {
        Self { route, service, counts: Default::default() }
    }

    /// Counts a request.
    pub fn came_to(&self, outcome: Mirrored) {
        let [answered, failed, full, not_repeatable, unfinished] = &self.counts;
        let count = match outcome {
            Mirrored::Answered => answered,
            Mirrored::Failed => failed,
            Mirrored::Full => full,
            Mirrored::NotRepeatable => not_repeatable,
            Mirrored::Unfinished => unfinished,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// In the order of [`OUTCOMES`].
    pub(super) fn counts(&self) -> [u64; 5] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts().iter().all(|count| *count == 0)
    }
}
