//! What waits to be written: bounded, and of each bar only the newest state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use jiff::Timestamp;

use crate::market::interval::Interval;
use crate::market::ohlcv::Ohlcv;

/// Which bar.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct BarKey {
    /// Id of the source.
    pub(crate) source: Arc<str>,
    pub(crate) symbol: Arc<str>,
    pub(crate) interval: Interval,
    /// When it begins, in seconds since 1970.
    pub(crate) start: i64,
}

/// An article; what its bytes mean is not the store's business.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoredArticle {
    pub(crate) id: String,
    pub(crate) published: Timestamp,
    pub(crate) bytes: Vec<u8>,
}

/// Bounds of what waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingLimits {
    pub(super) max_bars: usize,
    pub(super) max_articles: usize,
    pub(super) max_article_bytes: usize,
}

/// What happened to what waited; never reset.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct PendingCounts {
    /// States of a bar that a newer one replaced before they were written.
    pub(super) coalesced: u64,
    /// Bars and articles that made place for newer ones.
    pub(super) dropped: u64,
}

/// What waits.
#[derive(Default, Debug)]
pub(super) struct Pending {
    bars: HashMap<BarKey, Ohlcv, RandomState>,
    /// Keys of `bars`, in the order in which they came.
    order: VecDeque<BarKey>,
    articles: VecDeque<StoredArticle>,
    article_bytes: usize,
    /// `None` takes a source out. Bounded by the number of sources, see [`super::SOURCES_MAX`].
    sources: BTreeMap<String, Option<String>>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.bars.is_empty() && self.articles.is_empty() && self.sources.is_empty()
    }

    /// Bars and articles that wait.
    pub(super) fn lens(&self) -> (usize, usize) {
        (self.bars.len(), self.articles.len())
    }

    pub(super) fn bars(&self) -> impl Iterator<Item = (&BarKey, &Ohlcv)> {
        self.bars.iter()
    }

    pub(super) fn articles(&self) -> impl Iterator<Item = &StoredArticle> {
        self.articles.iter()
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.sources.iter().map(|(id, json)| (id.as_str(), json.as_deref()))
    }

    /// Sources that wait to be put or taken out.
    pub(super) fn sources_len(&self) -> usize {
        self.sources.len()
    }

    /// Puts a bar, in place of its state before; if there is no room, the bar that waits longest is dropped.
    pub(super) fn put_bar(&mut self, key: BarKey, bar: Ohlcv, limits: &PendingLimits, counts: &mut PendingCounts) {
        if let Some(waiting) = self.bars.get_mut(&key) {
            *waiting = bar;
            counts.coalesced = counts.coalesced.saturating_add(1);
            return;
        }
        if self.bars.len() >= limits.max_bars {
            if let Some(oldest) = self.order.pop_front() {
                self.bars.remove(&oldest);
            }
            counts.dropped = counts.dropped.saturating_add(1);
        }
        self.order.push_back(key.clone());
        self.bars.insert(key, bar);
    }

    /// Puts an article; if there is no room, those that wait longest are dropped.
    pub(super) fn put_article(&mut self, article: StoredArticle, limits: &PendingLimits, counts: &mut PendingCounts) {
        self.article_bytes = self.article_bytes.saturating_add(article.bytes.len());
        self.articles.push_back(article);
        while self.articles.len() > limits.max_articles || self.article_bytes > limits.max_article_bytes {
            let Some(oldest) = self.articles.pop_front() else { return };
            self.article_bytes = self.article_bytes.saturating_sub(oldest.bytes.len());
            counts.dropped = counts.dropped.saturating_add(1);
        }
    }

    /// Puts or takes out a source.
    pub(super) fn put_source(&mut self, id: &str, json: Option<String>) {
        self.sources.insert(id.to_owned(), json);
    }

    /// Lets what could not be written wait again, before what came since. What there is no room for is dropped.
    pub(super) fn put_back(&mut self, failed: Self, limits: &PendingLimits, counts: &mut PendingCounts) {
        let since = std::mem::replace(self, failed);
        for key in since.order {
            if let Some(bar) = since.bars.get(&key) {
                self.put_bar(key, *bar, limits, counts);
            }
        }
        for article in since.articles {
            self.put_article(article, limits, counts);
        }
        self.sources.extend(since.sources);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::ohlcv::samples::bar;

    const LIMITS: PendingLimits = PendingLimits { max_bars: 3, max_articles: 2, max_article_bytes: 10 };

    fn key(start: i64) -> BarKey {
        BarKey { source: Arc::from("s"), symbol: Arc::from("A"), interval: Interval::Minute, start }
    }

    fn pending(bars: &[(i64, &str)], articles: &[(&str, usize)]) -> (Pending, PendingCounts) {
        let (mut pending, mut counts) = (Pending::default(), PendingCounts::default());
        for (start, close) in bars {
            pending.put_bar(key(*start), bar(*start, close), &LIMITS, &mut counts);
        }
        for (id, len) in articles {
            let article =
                StoredArticle { id: (*id).to_owned(), published: Timestamp::UNIX_EPOCH, bytes: vec![0; *len] };
            pending.put_article(article, &LIMITS, &mut counts);
        }
        (pending, counts)
    }

    fn shown(pending: &Pending) -> String {
        let bars = pending.order.iter().map(|key| format!("{}={}", key.start, pending.bars[key].close));
        bars.chain(pending.articles().map(|article| article.id.clone())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn of_a_bar_only_the_newest_state_waits() {
        let (pending, counts) = pending(&[(1, "1"), (2, "2"), (1, "3")], &[]);
        assert_eq!(shown(&pending), "1=3 2=2");
        assert_eq!(counts, PendingCounts { coalesced: 1, dropped: 0 });
    }

    #[test]
    fn what_waits_longest_makes_place() {
        let (pending, counts) =
            pending(&[(1, "1"), (2, "2"), (3, "3"), (4, "4"), (1, "5")], &[("a", 1), ("b", 4), ("c", 4), ("d", 8)]);
        assert_eq!(shown(&pending), "3=3 4=4 1=5 d");
        assert_eq!(
            (counts, pending.lens(), pending.article_bytes),
            (PendingCounts { coalesced: 0, dropped: 5 }, (3, 1), 8)
        );
    }

    #[test]
    fn what_could_not_be_written_waits_again_but_newer_states_count() {
        let (mut failed, _) = pending(&[(1, "1"), (2, "2")], &[("a", 1)]);
        failed.put_source("x", Some("old".to_owned()));
        failed.put_source("y", Some("old".to_owned()));
        let (mut since, mut counts) = pending(&[(2, "3"), (4, "4"), (5, "5")], &[("b", 1)]);
        since.put_source("x", None);
        since.put_back(failed, &LIMITS, &mut counts);
        assert_eq!(shown(&since), "2=3 4=4 5=5 a b");
        assert_eq!(since.sources().collect::<Vec<_>>(), [("x", None), ("y", Some("old"))]);
        assert_eq!(counts, PendingCounts { coalesced: 1, dropped: 1 });
    }
}
