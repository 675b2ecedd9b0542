//! The press: all articles in memory behind one lock, on disk, and on their way to whoever streams them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::news::article::Article;
use crate::news::library::{Insertion, Library, LibraryCounts, LibraryLimits};
use crate::news::relevance::{Query, Words, rank};
use crate::store::{Store, StoredArticle};

/// Articles that wait for a reader before it loses the oldest.
const WAITING_MAX: usize = 256;
/// Articles of one message of a stream.
const BATCH_MAX: usize = 100;

/// All articles.
#[derive(Debug)]
pub(crate) struct Press {
    library: Mutex<Library>,
    store: Option<Arc<Store>>,
    news: broadcast::Sender<Arc<Article>>,
    readers: Arc<AtomicUsize>,
    max_readers: usize,
}

/// An article and how well it answers, 0 to 1.
pub(crate) type Found = (Arc<Article>, f64);

impl Press {
    /// Empty.
    pub(crate) fn new(limits: LibraryLimits, store: Option<Arc<Store>>, max_readers: usize) -> Self {
        let (news, _) = broadcast::channel(WAITING_MAX);
        Self { library: Mutex::new(Library::new(limits)), store, news, readers: Arc::default(), max_readers }
    }

    /// Takes back what the store had. Returns how many could not be read.
    pub(crate) fn restore(&self, stored: &[StoredArticle], now: Timestamp) -> usize {
        let mut library = self.library.lock();
        let mut unreadable = 0;
        // Oldest first, so that of two that are the same now the first counts.
        for article in stored.iter().rev() {
            match serde_json::from_slice::<Written>(&article.bytes) {
                Ok(written) => drop(library.insert(written.article(), now)),
                Err(_) => unreadable += 1,
            }
        }
        unreadable
    }

    /// Takes articles in. Returns how many of them are new.
    pub(crate) fn take(&self, articles: Vec<Article>, now: Timestamp) -> u64 {
        let mut new = 0;
        for article in articles {
            let Insertion::Inserted(article) = self.library.lock().insert(article, now) else { continue };
            new += 1;
            if let (Some(store), Ok(bytes)) = (&self.store, serde_json::to_vec(&Written::of(&article))) {
                store.put_article(StoredArticle { id: article.id.clone(), published: article.published, bytes });
            }
            // Nobody may be reading.
            let _ = self.news.send(article);
        }
        new
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&self, now: Timestamp) {
        self.library.lock().expire(now);
    }

    /// The newest articles, newest first.
    pub(crate) fn newest(&self, limit: usize, source: Option<&str>) -> Vec<Found> {
        self.library.lock().newest(limit, source).into_iter().map(|article| (article, 0.0)).collect()
    }

    /// The articles that answer best, best first.
    pub(crate) fn search(
        &self,
        query: &Query,
        source: Option<&str>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Vec<Found> {
        self.library.lock().search(query, source, since, limit)
    }

    /// What is there, and the bounds of it.
    pub(crate) fn counts(&self) -> (LibraryCounts, LibraryLimits) {
        let library = self.library.lock();
        (library.counts(), library.limits())
    }

    /// What one source brought.
    pub(crate) fn counts_of(&self, source: &str) -> LibraryCounts {
        self.library.lock().counts_of(source)
    }

    /// Streams that are open.
    pub(crate) fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }

    /// Opens a stream of everything that is new from now on, until `stop`. `None` if too many are open.
    pub(crate) fn read(&self, wanted: Wanted, stop: CancellationToken) -> Option<Reader> {
        let place = Place::take(&self.readers, self.max_readers)?;
        Some(Reader { news: self.news.subscribe(), wanted, stop, _place: place })
    }
}

/// What a reader wants.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) query: Option<Query>,
    pub(crate) source: Option<Arc<str>>,
}

impl Wanted {
    /// Whether it is this article, and how well it answers.
    fn relevance(&self, article: &Article) -> Option<f64> {
        if self.source.as_ref().is_some_and(|source| *source != article.source_id) {
            return None;
        }
        match &self.query {
            None => Some(0.0),
            Some(query) => {
                let words = Words::of([article.title.as_str(), article.summary.as_str()]);
                query.matches(&words).then(|| rank(query, &[&words]).first().copied().unwrap_or_default())
            }
        }
    }
}

/// One open stream. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Reader {
    news: broadcast::Receiver<Arc<Article>>,
    wanted: Wanted,
    stop: CancellationToken,
    _place: Place,
}

impl Reader {
    /// Waits for articles and takes all that there are, up to a hundred; and how many were lost before them. `None` at
    /// the end of the engine.
    pub(crate) async fn next(&mut self) -> Option<(Vec<Found>, u64)> {
        let (mut found, mut lost) = (Vec::new(), 0_u64);
        let stop = self.stop.clone();
        loop {
            let next = match self.news.try_recv() {
                Ok(article) => Ok(article),
                Err(TryRecvError::Lagged(count)) => Err(RecvError::Lagged(count)),
                Err(TryRecvError::Closed) => Err(RecvError::Closed),
                Err(TryRecvError::Empty) if !found.is_empty() => return Some((found, lost)),
                Err(TryRecvError::Empty) => stop.run_until_cancelled(self.news.recv()).await?,
            };
            match next {
                Ok(article) => {
                    if let Some(relevance) = self.wanted.relevance(&article) {
                        found.push((article, relevance));
                    }
                    if found.len() >= BATCH_MAX {
                        return Some((found, lost));
                    }
                }
                Err(RecvError::Lagged(count)) => lost = lost.saturating_add(count),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// One of a bounded number of places; given back when dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An article as the store has it.
#[derive(Serialize, Deserialize)]
struct Written {
    id: String,
    url: String,
    title: String,
    summary: String,
    source_id: String,
    publisher: String,
    author: Option<String>,
    published: Timestamp,
    dated: bool,
    fetched: Timestamp,
    language: Option<String>,
    sentiment: f64,
}

impl Written {
    fn of(article: &Article) -> Self {
        Self {
            id: article.id.clone(),
            url: article.url.clone(),
            title: article.title.clone(),
            summary: article.summary.clone(),
            source_id: article.source_id.to_string(),
            publisher: article.publisher.clone(),
            author: article.author.clone(),
            published: article.published,
            dated: article.dated,
            fetched: article.fetched,
            language: article.language.clone(),
            sentiment: article.sentiment,
        }
    }

    fn article(self) -> Article {
        Article {
            id: self.id,
            url: self.url,
            title: self.title,
            summary: self.summary,
            source_id: Arc::from(self.source_id),
            publisher: self.publisher,
            author: self.author,
            published: self.published,
            dated: self.dated,
            fetched: self.fetched,
            language: self.language,
            sentiment: self.sentiment,
        }
    }
}
