//! What survives a restart: bars, articles, and the sources that were connected at run time, in one file (redb).
//!
//! ```text
//!   put_bar, put_article, put_source ──► pending ──► writer (one thread) ──► disk
//!                       never waits      bounded     a commit each 500 ms    one transaction, durable
//! ```
//!
//! Invariants: a put never waits for the disk; what a killed process loses was put in the last 500 ms, or while the
//! last commit ran; a file that is not ours, damaged or newer is named and left alone, never deleted; while the file
//! cannot be written, the engine serves on, the newest of what waits is kept within its bounds, and stats say so.

mod bar_code;
mod disk;
mod pending;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Condvar, Mutex};

use self::disk::{Disk, SourceTexts};
pub(crate) use self::pending::{BarKey, StoredArticle};
use self::pending::{Pending, PendingLimits};
use self::writer::{Opener, Shared, State, Tally, Writer};
use crate::clock::Clock;
use crate::market::interval::Interval;
use crate::market::ohlcv::Ohlcv;

/// Sources that can be stored.
pub(crate) const SOURCES_MAX: usize = 1_000;
/// The definition of one source.
pub(crate) const SOURCE_MAX_BYTES: usize = 64 * 1024;
/// One article.
pub(crate) const ARTICLE_MAX_BYTES: usize = 256 * 1024;
/// The id of an article or a source.
pub(crate) const ID_MAX_BYTES: usize = 2 * 1024;

/// Bounds of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreLimits {
    /// In the file. When there are more, the oldest of the finest interval go first.
    pub(crate) max_bars: u64,
    /// In the file.
    pub(crate) max_articles: u64,
    /// Of keys and values in the file; the file itself is up to about twice as large.
    pub(crate) max_bytes: u64,
    /// How long bars are kept, by interval.
    pub(crate) keep_bars: [SignedDuration; 4],
    /// How long articles are kept after they were published.
    pub(crate) keep_articles: SignedDuration,
    /// Bars that may wait to be written.
    pub(crate) max_pending_bars: usize,
    /// Articles that may wait to be written, and their bytes.
    pub(crate) max_pending_articles: usize,
    pub(crate) max_pending_article_bytes: usize,
    /// Bars that are read at the start, of one interval of one symbol and in all; if all are more, less of each.
    pub(crate) load_bars_per_key: usize,
    pub(crate) load_bars: usize,
    /// Articles that are read at the start.
    pub(crate) load_articles: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        Self {
            max_bars: 5_000_000,
            max_articles: 100_000,
            max_bytes: 1024 * 1024 * 1024,
            keep_bars: [SignedDuration::from_hours(6), days(14), days(366), days(3_660)],
            keep_articles: days(30),
            max_pending_bars: 100_000,
            max_pending_articles: 5_000,
            max_pending_article_bytes: 32 * 1024 * 1024,
            load_bars_per_key: 500,
            load_bars: 400_000,
            load_articles: 5_000,
        }
    }
}

/// What was in the file at the start, within the limits.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Loaded {
    pub(crate) series: Vec<LoadedSeries>,
    /// Newest first.
    pub(crate) articles: Vec<StoredArticle>,
    /// By id, as JSON.
    pub(crate) sources: SourceTexts,
    /// Entries that are not what they should be; they are left where they are.
    pub(crate) unreadable: u64,
}

/// The bars of one interval of one symbol from one source.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct LoadedSeries {
    pub(crate) source: String,
    pub(crate) symbol: String,
    pub(crate) interval: Interval,
    /// With their starts in seconds since 1970, newest first.
    pub(crate) bars: Vec<(i64, Ohlcv)>,
}

/// What the store holds and did since the start.
#[derive(Clone, Default, Debug)]
pub(crate) struct StoreStats {
    /// In the file, as of the last commit.
    pub(crate) bars: u64,
    pub(crate) articles: u64,
    pub(crate) bytes: u64,
    /// Waiting to be written.
    pub(crate) pending_bars: usize,
    pub(crate) pending_articles: usize,
    /// States of a bar that were replaced before they were written.
    pub(crate) coalesced: u64,
    /// What made place for newer ones before it was written.
    pub(crate) dropped: u64,
    /// What is too large to be stored, or came after the end.
    pub(crate) refused: u64,
    /// What was taken out of the file, or not put in, because of its age or of the bounds.
    pub(crate) expired: u64,
    pub(crate) commits: u64,
    pub(crate) last_commit: Option<Timestamp>,
    pub(crate) last_commit_took: Duration,
    /// Attempts that failed.
    pub(crate) failures: u64,
    /// The last attempt failed: what is put now is not durable yet.
    pub(crate) failing: bool,
    pub(crate) last_failure: Option<(Timestamp, String)>,
}

/// Why a store cannot be used.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the store {} cannot be used: {cause}", .path.display())]
    Unusable { path: PathBuf, cause: String },
    #[error("the store {} is used by another process", .path.display())]
    InUse { path: PathBuf },
    #[error("the file {} is not a store of this engine; it was left as it is", .path.display())]
    NotAStore { path: PathBuf },
    #[error("the store {} is damaged ({cause}); it was not deleted: move it away to start with a new one", .path.display())]
    Damaged { path: PathBuf, cause: String },
    #[error("the store {} is of version {found}, this engine knows {known}; it was left as it is", .path.display())]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error("the store could not be written: {cause}")]
    NotWritten { cause: String },
    #[error("the store was not written in time")]
    Timeout,
}

/// The open store. Dropping it writes what waits, as [`Store::close`] does.
#[derive(Debug)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Store {
    /// Opens the file, or makes it, and reads what it holds. Blocks; to be called before the engine serves.
    ///
    /// # Errors
    /// All but `NotWritten` and `Timeout`.
    pub(crate) fn open(path: &Path, limits: StoreLimits, clock: Clock) -> Result<(Self, Loaded), StoreError> {
        let file = path.to_owned();
        // At the start, not when the file is opened again after a full disk.
        let checked = AtomicBool::new(false);
        let open = move || {
            let database = disk::open_file(&file, checked.swap(true, Ordering::Relaxed))
                .map_err(|error| StoreError::from_redb(&file, &error.into()))?;
            Disk::new(database, &file)
        };
        Self::start(path, Box::new(open), limits, clock)
    }

    fn start(path: &Path, open: Opener, limits: StoreLimits, clock: Clock) -> Result<(Self, Loaded), StoreError> {
        let first = || {
            let disk = open()?;
            let loaded = disk.load(&limits).map_err(|error| StoreError::from_redb(path, &error))?;
            Ok((disk, loaded))
        };
        // Of a damaged file, redb may panic.
        let (disk, loaded) = catch_unwind(AssertUnwindSafe(first)).unwrap_or_else(|_| {
            Err(StoreError::Damaged { path: path.into(), cause: "reading it panicked".to_owned() })
        })?;
        let pending_limits = PendingLimits {
            max_bars: limits.max_pending_bars,
            max_articles: limits.max_pending_articles,
            max_article_bytes: limits.max_pending_article_bytes,
        };
        let state = State {
            pending: Pending::default(),
            pending_limits,
            counts: pending::PendingCounts::default(),
            refused: 0,
            puts: 0,
            durable: 0,
            flush: false,
            stop: false,
            stopped: false,
            tally: Tally::default(),
        };
        let (wake, done) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { limits, state: Mutex::new(state), wake, done });
        let writer = Writer { shared: Arc::clone(&shared), clock, open, disk: Some(disk) };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|error| StoreError::NotWritten { cause: error.to_string() })?;
        Ok((Self { shared, writer: Some(thread) }, loaded))
    }

    /// Puts the newest state of a bar. Never waits for the disk.
    pub(crate) fn put_bar(&self, key: BarKey, bar: &Ohlcv) {
        self.put(|state| {
            let State { pending, pending_limits, counts, .. } = state;
            pending.put_bar(key, *bar, pending_limits, counts);
            true
        });
    }

    /// Puts an article, in place of one with the same id. Never waits for the disk.
    pub(crate) fn put_article(&self, article: StoredArticle) {
        self.put(|state| {
            if article.bytes.len() > ARTICLE_MAX_BYTES || article.id.len() > ID_MAX_BYTES {
                return false;
            }
            let State { pending, pending_limits, counts, .. } = state;
            pending.put_article(article, pending_limits, counts);
            true
        });
    }

    /// Puts the definition of a source, or takes it out. Never waits for the disk.
    pub(crate) fn put_source(&self, id: &str, json: Option<String>) {
        self.put(|state| {
            let too_large = json.as_ref().is_some_and(|json| json.len() > SOURCE_MAX_BYTES) || id.len() > ID_MAX_BYTES;
            if too_large || state.pending.sources_len() >= SOURCES_MAX {
                return false;
            }
            state.pending.put_source(id, json);
            true
        });
    }

    /// Waits until everything that was put so far is durable. Blocks.
    ///
    /// # Errors
    /// `NotWritten` if it cannot be now (it stays waiting), `Timeout`.
    pub(crate) fn flush(&self, patience: Duration) -> Result<(), StoreError> {
        let mut state = self.shared.state.lock();
        let (puts, failures, until) = (state.puts, state.tally.failures, Instant::now() + patience);
        while state.durable < puts {
            if state.tally.failures > failures || state.stopped {
                let cause =
                    state.tally.last_failure.clone().map_or_else(|| "it is closed".to_owned(), |(_, text)| text);
                return Err(StoreError::NotWritten { cause });
            }
            state.flush = true;
            self.shared.wake.notify_all();
            if self.shared.done.wait_until(&mut state, until).timed_out() {
                return Err(StoreError::Timeout);
            }
        }
        Ok(())
    }

    /// Up to which of the puts everything is durable, counted from the first.
    #[cfg(test)]
    pub(crate) fn durable(&self) -> u64 {
        self.shared.state.lock().durable
    }

    /// What the store holds and did.
    pub(crate) fn stats(&self) -> StoreStats {
        let state = self.shared.state.lock();
        let (pending_bars, pending_articles) = state.pending.lens();
        let tally = state.tally.clone();
        StoreStats {
            bars: tally.held.bars,
            articles: tally.held.articles,
            bytes: tally.held.bytes,
            pending_bars,
            pending_articles,
            coalesced: state.counts.coalesced,
            dropped: state.counts.dropped,
            refused: state.refused,
            expired: tally.expired,
            commits: tally.commits,
            last_commit: tally.last_commit,
            last_commit_took: tally.last_commit_took,
            failures: tally.failures,
            failing: tally.failing > 0,
            last_failure: tally.last_failure,
        }
    }

    /// Writes what waits, once, and closes the file. Blocks.
    ///
    /// # Errors
    /// `NotWritten` if something was left.
    #[cfg(test)]
    pub(crate) fn close(mut self) -> Result<(), StoreError> {
        self.stop();
        self.flush(Duration::ZERO)
    }

    fn put(&self, put: impl FnOnce(&mut State) -> bool) {
        let mut state = self.shared.state.lock();
        if !state.stop && put(&mut state) {
            state.puts = state.puts.saturating_add(1);
        } else {
            state.refused = state.refused.saturating_add(1);
        }
    }

    fn stop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            // It catches its panics itself.
            let _ = writer.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

impl StoreError {
    fn from_redb(path: &Path, error: &redb::Error) -> Self {
        let path = path.to_owned();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            redb::Error::Io(cause) if cause.kind() == std::io::ErrorKind::InvalidData => Self::NotAStore { path },
            redb::Error::Io(cause) => Self::Unusable { path, cause: cause.to_string() },
            other => Self::Damaged { path, cause: other.to_string() },
        }
    }
}

#[cfg(test)]
mod tests;
