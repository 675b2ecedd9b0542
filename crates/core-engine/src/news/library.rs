//! The newest articles: bounded by number, age and bytes, for each source and in all; none twice.
//!
//! Articles are ordered by their time of publication. Where a bound is reached, the oldest makes place; an article that
//! would have to make place itself is refused. Two articles are the same if their URLs are, or if their titles are and
//! they were published within a window of each other, whichever source brings them: the first stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::article::Article;
use super::canonical::{title_key, url_key};
use super::relevance::{Query, Words, rank};

/// Sources that may have articles or have had some; their counters are never dropped.
const SOURCES_MAX: usize = 256;
/// What an entry takes beside its texts: nodes of the maps that know it.
const ENTRY_BYTES: usize = 384;

/// Bounds of a library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LibraryLimits {
    pub(crate) all: Bounds,
    pub(crate) per_source: Bounds,
    /// Since publication.
    pub(crate) max_age: Duration,
    /// How far apart two articles of one title are still the same.
    pub(crate) title_window: Duration,
}

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) articles: usize,
    /// In memory, about.
    pub(crate) bytes: usize,
}

/// What became of an article.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Insertion {
    Inserted(Arc<Article>),
    /// It is there already.
    Duplicate(Sameness),
    Refused(Refusal),
}

/// What an article has in common with one that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sameness {
    Url,
    Title,
}

/// Why an article is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Older than the age that is kept.
    TooOld,
    /// Older than all that are kept, and there is no place for more.
    Full,
    /// Larger than a whole bound.
    TooLarge,
    /// The first of a source too many.
    TooManySources,
}

/// What is there, and what came and went. Counters are never reset.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct LibraryCounts {
    pub(crate) articles: usize,
    pub(crate) bytes: usize,
    pub(crate) inserted: u64,
    pub(crate) same_url: u64,
    pub(crate) same_title: u64,
    /// Made place for newer ones.
    pub(crate) evicted: u64,
    /// Became too old.
    pub(crate) expired: u64,
    pub(crate) refused_old: u64,
    pub(crate) refused_full: u64,
    pub(crate) refused_large: u64,
    pub(crate) refused_source: u64,
}

/// The articles that are kept.
#[derive(Debug)]
pub(crate) struct Library {
    limits: LibraryLimits,
    entries: BTreeMap<Key, Entry>,
    by_url: HashMap<Arc<str>, Key>,
    by_title: BTreeSet<(Arc<str>, Key)>,
    by_source: HashMap<Arc<str>, Shelf>,
    counts: LibraryCounts,
    next: u64,
}

/// Time of publication, and order of arrival.
type Key = (Timestamp, u64);

#[derive(Debug)]
struct Entry {
    article: Arc<Article>,
    words: Words,
    url: Arc<str>,
    title: Option<Arc<str>>,
    bytes: usize,
}

/// The articles of one source.
#[derive(Default, Debug)]
struct Shelf {
    keys: BTreeSet<Key>,
    counts: LibraryCounts,
}

/// Why an entry leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    Evicted,
    Expired,
    /// It is the one that just came.
    Refused,
}

impl Library {
    /// Empty.
    pub(crate) fn new(limits: LibraryLimits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            by_url: HashMap::new(),
            by_title: BTreeSet::new(),
            by_source: HashMap::new(),
            counts: LibraryCounts::default(),
            next: 0,
        }
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> LibraryLimits {
        self.limits
    }

    /// Takes an article in, unless it is there or there is no place for it; others may leave for it.
    pub(crate) fn insert(&mut self, article: Article, now: Timestamp) -> Insertion {
        self.expire(now);
        let source = Arc::clone(&article.source_id);
        if !self.by_source.contains_key(&source) && self.by_source.len() >= SOURCES_MAX {
            self.counts.refused_source += 1;
            return Insertion::Refused(Refusal::TooManySources);
        }
        let key = (article.published, self.next);
        let entry = Entry::new(article);
        if let Some(sameness) = self.sameness(&entry, key.0) {
            self.count(&source, |counts| match sameness {
                Sameness::Url => counts.same_url += 1,
                Sameness::Title => counts.same_title += 1,
            });
            return Insertion::Duplicate(sameness);
        }
        if let Some(refusal) = self.refusal(&entry, now) {
            return self.refuse(&source, refusal);
        }
        let article = Arc::clone(&entry.article);
        self.next += 1;
        self.add(key, entry);
        if self.make_place(&source, key) { Insertion::Inserted(article) } else { self.refuse(&source, Refusal::Full) }
    }

    /// Drops what has become too old. [`Library::insert`] does so as well; this is for times without any.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let oldest_kept = self.oldest_kept(now);
        while let Some((&key, _)) =
            self.entries.first_key_value().filter(|((published, _), _)| *published < oldest_kept)
        {
            self.remove(key, Leaving::Expired);
        }
    }

    /// The `limit` articles that were published last, newest first; with `source`, of that source alone.
    pub(crate) fn newest(&self, limit: usize, source: Option<&str>) -> Vec<Arc<Article>> {
        let article = |entry: &Entry| Arc::clone(&entry.article);
        match source {
            None => self.entries.values().rev().take(limit).map(article).collect(),
            Some(source) => {
                let keys = self.by_source.get(source).into_iter().flat_map(|shelf| shelf.keys.iter().rev());
                keys.take(limit).filter_map(|key| self.entries.get(key)).map(article).collect()
            }
        }
    }

    /// The `limit` articles that answer a query best, each with its relevance above 0: best first, of equals the
    /// newest. Only those are looked at, and make up the collection that words are rare or common in, that are of
    /// `source`, if one is given, and were published at `since` or later.
    ///
    /// Looks through the text of each of them, so it costs as much as the bounds of the library allow.
    pub(crate) fn search(
        &self,
        query: &Query,
        source: Option<&str>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Vec<(Arc<Article>, f64)> {
        let start = (since.unwrap_or(Timestamp::MIN), 0);
        let of_source = |entry: &&Entry| source.is_none_or(|source| *entry.article.source_id == *source);
        let entries: Vec<&Entry> =
            self.entries.range(start..).rev().map(|(_, entry)| entry).filter(of_source).collect();
        let words: Vec<&Words> = entries.iter().map(|entry| &entry.words).collect();
        let relevances = rank(query, &words).into_iter();
        let mut found: Vec<_> = entries.into_iter().zip(relevances).filter(|(_, relevance)| *relevance > 0.0).collect();
        // Stable, and newest first before.
        found.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        found.into_iter().take(limit).map(|(entry, relevance)| (Arc::clone(&entry.article), relevance)).collect()
    }

    /// What all sources have together.
    pub(crate) fn counts(&self) -> LibraryCounts {
        self.counts
    }

    /// What one source has; nothing if it never brought an article.
    pub(crate) fn counts_of(&self, source: &str) -> LibraryCounts {
        self.by_source.get(source).map(|shelf| shelf.counts).unwrap_or_default()
    }

    fn oldest_kept(&self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.limits.max_age).unwrap_or(Timestamp::MIN)
    }

    fn sameness(&self, entry: &Entry, published: Timestamp) -> Option<Sameness> {
        if self.by_url.contains_key(&entry.url) {
            return Some(Sameness::Url);
        }
        let title = entry.title.as_ref()?;
        let window = self.limits.title_window;
        let from = published.checked_sub(window).unwrap_or(Timestamp::MIN);
        let to = published.checked_add(window).unwrap_or(Timestamp::MAX);
        let near = (Arc::clone(title), (from, 0))..=(Arc::clone(title), (to, u64::MAX));
        self.by_title.range(near).next().map(|_| Sameness::Title)
    }

    fn refusal(&self, entry: &Entry, now: Timestamp) -> Option<Refusal> {
        if entry.article.published < self.oldest_kept(now) {
            return Some(Refusal::TooOld);
        }
        let most = self.limits.all.bytes.min(self.limits.per_source.bytes);
        (entry.bytes > most).then_some(Refusal::TooLarge)
    }

    fn refuse(&mut self, source: &Arc<str>, refusal: Refusal) -> Insertion {
        self.count(source, |counts| match refusal {
            Refusal::TooOld => counts.refused_old += 1,
            Refusal::Full => counts.refused_full += 1,
            Refusal::TooLarge => counts.refused_large += 1,
            Refusal::TooManySources => counts.refused_source += 1,
        });
        Insertion::Refused(refusal)
    }

    /// Counts for a source and for all.
    fn count(&mut self, source: &Arc<str>, change: impl Fn(&mut LibraryCounts)) {
        change(&mut self.counts);
        change(&mut self.by_source.entry(Arc::clone(source)).or_default().counts);
    }

    fn add(&mut self, key: Key, entry: Entry) {
        self.by_url.insert(Arc::clone(&entry.url), key);
        if let Some(title) = &entry.title {
            self.by_title.insert((Arc::clone(title), key));
        }
        let source = Arc::clone(&entry.article.source_id);
        self.by_source.entry(Arc::clone(&source)).or_default().keys.insert(key);
        let bytes = entry.bytes;
        self.count(&source, |counts| {
            counts.articles += 1;
            counts.bytes += bytes;
            counts.inserted += 1;
        });
        self.entries.insert(key, entry);
    }

    /// Lets the oldest go until all bounds hold; whether the new one is still there. If it is the oldest where a bound
    /// is passed, it goes itself, and alone.
    fn make_place(&mut self, source: &Arc<str>, new: Key) -> bool {
        while let Some(oldest) = self.oldest_too_many(source) {
            if oldest == new {
                self.remove(new, Leaving::Refused);
                return false;
            }
            self.remove(oldest, Leaving::Evicted);
        }
        true
    }

    fn oldest_too_many(&self, source: &Arc<str>) -> Option<Key> {
        let passed =
            |counts: &LibraryCounts, bounds: Bounds| counts.articles > bounds.articles || counts.bytes > bounds.bytes;
        let shelf = self.by_source.get(source).filter(|shelf| passed(&shelf.counts, self.limits.per_source));
        if let Some(shelf) = shelf {
            return shelf.keys.first().copied();
        }
        passed(&self.counts, self.limits.all).then(|| self.entries.first_key_value().map(|(key, _)| *key))?
    }

    fn remove(&mut self, key: Key, leaving: Leaving) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.by_url.remove(&entry.url);
        if let Some(title) = entry.title {
            self.by_title.remove(&(title, key));
        }
        let source = Arc::clone(&entry.article.source_id);
        if let Some(shelf) = self.by_source.get_mut(&source) {
            shelf.keys.remove(&key);
        }
        self.count(&source, |counts| {
            counts.articles -= 1;
            counts.bytes -= entry.bytes;
            match leaving {
                Leaving::Evicted => counts.evicted += 1,
                Leaving::Expired => counts.expired += 1,
                Leaving::Refused => counts.inserted -= 1,
            }
        });
    }
}

impl Entry {
    fn new(article: Article) -> Self {
        let words = Words::of_article(&article);
        let url: Arc<str> = Arc::from(url_key(&article.url));
        let title: Option<Arc<str>> = title_key(&article.title, &article.publisher, &article.url).map(Arc::from);
        let keys = url.len() + title.as_ref().map_or(0, |title| title.len());
        let bytes = ENTRY_BYTES + article.bytes() + words.bytes() + keys;
        Self { article: Arc::new(article), words, url, title, bytes }
    }
}

#[cfg(test)]
mod tests;
