//! The file: its tables, what is written in one transaction, and what is read at the start.
//!
//! ```text
//!   meta              name → number             version, bytes
//!   bars              source, symbol, interval, start → bar
//!   bars_by_time      interval, start, source, symbol           what is the oldest
//!   articles          id → published, bytes
//!   articles_by_time  published, id
//!   sources           id → JSON
//! ```
//!
//! A transaction is durable when it ends: it waits for the disk, twice, and saves what redb needs to open the file at
//! once after a crash instead of reading all of it. Some commits a second can afford that.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError, TableDefinition,
};

use super::pending::{Pending, StoredArticle};
use super::{Loaded, LoadedSeries, StoreError, StoreLimits, bar_code};
use crate::market::interval::Interval;

/// The version of the tables. A file of a newer one is refused: an older program would not know what it means.
pub(super) const VERSION: u64 = 1;
/// Memory for pages of the file.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// The largest file that is read as a whole when it is opened; that takes about a second.
const CHECK_MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Bars or articles that are taken out in one transaction, so that it stays short.
const RETENTION_STEP: usize = 4_000;

type BarsByKey = TableDefinition<'static, (&'static str, &'static str, u8, i64), &'static [u8]>;
type BarsByTime = TableDefinition<'static, (u8, i64, &'static str, &'static str), ()>;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const BARS: BarsByKey = TableDefinition::new("bars");
const BARS_BY_TIME: BarsByTime = TableDefinition::new("bars_by_time");
const ARTICLES: TableDefinition<'_, &str, (i64, &[u8])> = TableDefinition::new("articles");
const ARTICLES_BY_TIME: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("articles_by_time");
const SOURCES: TableDefinition<'_, &str, &str> = TableDefinition::new("sources");
const VERSION_KEY: &str = "version";
const BYTES_KEY: &str = "bytes";

/// The open file.
#[derive(Debug)]
pub(super) struct Disk(Database);

/// What the file holds, and what a transaction did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Written {
    pub(super) bars: u64,
    pub(super) articles: u64,
    /// Of keys and values, without what the file needs beside them.
    pub(super) bytes: u64,
    /// Taken out, or not even put in, because of their age or of the bounds.
    pub(super) expired: u64,
}

/// Opens the file of a path, or makes it. Unless it was `checked` before, every page of it is read and compared with
/// its checksum, if it is not too large for that: otherwise a damaged page would be believed.
pub(super) fn open_file(path: &Path, checked: bool) -> Result<Database, DatabaseError> {
    // For nobody else to read: a source may have been connected with a key.
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let small = file.metadata()?.len() <= CHECK_MAX_BYTES;
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(small && !checked)
        .create_with_backend(FileBackend::new(file)?)
}

impl Disk {
    /// Checks that the file is ours, or makes it so if it is new.
    pub(super) fn new(database: Database, path: &Path) -> Result<Self, StoreError> {
        let failed = |error: redb::Error| StoreError::from_redb(path, &error);
        let read = database.begin_read().map_err(|error| failed(error.into()))?;
        if read.list_tables().map_err(|error| failed(error.into()))?.next().is_none() {
            drop(read);
            make_tables(&database).map_err(failed)?;
            return Ok(Self(database));
        }
        let foreign = |_| StoreError::NotAStore { path: path.into() };
        let meta = read.open_table(META).map_err(foreign)?;
        let version = meta.get(VERSION_KEY).map_err(|error| failed(error.into()))?.map(|version| version.value());
        match version {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                return Err(StoreError::Newer { path: path.into(), found, known: VERSION });
            }
            _ => return Err(StoreError::NotAStore { path: path.into() }),
        }
        drop((meta, read));
        Ok(Self(database))
    }

    /// Writes everything that waits and takes out what is too old or too much; all of it or nothing.
    pub(super) fn write(
        &self,
        pending: &Pending,
        now: Timestamp,
        limits: &StoreLimits,
    ) -> Result<Written, redb::Error> {
        let mut write = self.0.begin_write()?;
        write.set_quick_repair(true);
        let mut written = Written::default();
        {
            let mut meta = write.open_table(META)?;
            let mut bytes = Bytes(meta.get(BYTES_KEY)?.map_or(0, |bytes| bytes.value()));
            let mut bars = Bars { by_key: write.open_table(BARS)?, by_time: write.open_table(BARS_BY_TIME)? };
            written.expired = bars.put(pending, now, limits, &mut bytes)?;
            let mut articles =
                Articles { by_id: write.open_table(ARTICLES)?, by_time: write.open_table(ARTICLES_BY_TIME)? };
            for article in pending.articles() {
                articles.put(article, &mut bytes)?;
            }
            let mut sources = write.open_table(SOURCES)?;
            for (id, json) in pending.sources() {
                match json {
                    Some(_) if sources.len()? >= super::SOURCES_MAX as u64 && sources.get(id)?.is_none() => {
                        written.expired += 1;
                    }
                    Some(json) => drop(sources.insert(id, json)?),
                    None => drop(sources.remove(id)?),
                }
            }
            written.expired += bars.retain(now, limits, &mut bytes)?;
            written.expired += articles.retain(now, limits, &mut bytes)?;
            (written.bars, written.articles, written.bytes) = (bars.by_key.len()?, articles.by_id.len()?, bytes.0);
            meta.insert(BYTES_KEY, bytes.0)?;
        }
        write.commit()?;
        Ok(written)
    }

    /// Reads the newest of everything, within limits.
    pub(super) fn load(&self, limits: &StoreLimits) -> Result<Loaded, redb::Error> {
        let read = self.0.begin_read()?;
        let mut loaded = Loaded::default();
        let bars = read.open_table(BARS)?;
        let keys = series_of(&bars, limits.load_bars)?;
        // The same number of each, so that no symbol is left out because of its name.
        let share = limits.load_bars.checked_div(keys.len()).unwrap_or_default().min(limits.load_bars_per_key);
        for (source, symbol, code) in keys {
            let series = (source.as_str(), symbol.as_str(), code, i64::MIN)..=(&source, &symbol, code, i64::MAX);
            let mut found = Vec::new();
            for entry in bars.range(series)?.rev().take(share) {
                let (key, value) = entry?;
                match bar_code::decode(value.value()) {
                    Some(bar) => found.push((key.value().3, bar)),
                    None => loaded.unreadable += 1,
                }
            }
            match Interval::from_code(code) {
                Some(interval) => loaded.series.push(LoadedSeries { source, symbol, interval, bars: found }),
                None => loaded.unreadable += 1,
            }
        }
        let articles = read.open_table(ARTICLES)?;
        for entry in read.open_table(ARTICLES_BY_TIME)?.iter()?.rev().take(limits.load_articles) {
            let key = entry?.0;
            let (published, id) = key.value();
            match (articles.get(id)?, Timestamp::from_millisecond(published)) {
                (Some(article), Ok(published)) => {
                    let bytes = article.value().1.to_vec();
                    loaded.articles.push(StoredArticle { id: id.to_owned(), published, bytes });
                }
                _ => loaded.unreadable += 1,
            }
        }
        for entry in read.open_table(SOURCES)?.iter()?.take(super::SOURCES_MAX) {
            let (id, json) = entry?;
            loaded.sources.insert(id.value().to_owned(), json.value().to_owned());
        }
        Ok(loaded)
    }
}

/// The sources, symbols and intervals that have bars; one look-up for each.
fn series_of(
    bars: &impl ReadableTable<(&'static str, &'static str, u8, i64), &'static [u8]>,
    most: usize,
) -> Result<Vec<(String, String, u8)>, StorageError> {
    let mut keys: Vec<(String, String, u8)> = Vec::new();
    while keys.len() < most {
        let from = match keys.last() {
            Some((source, symbol, code)) => Bound::Excluded((source.as_str(), symbol.as_str(), *code, i64::MAX)),
            None => Bound::Unbounded,
        };
        let range: (Bound<(&str, &str, u8, i64)>, Bound<_>) = (from, Bound::Unbounded);
        let Some(first) = bars.range(range)?.next() else { break };
        let key = first?.0;
        let (source, symbol, code, _) = key.value();
        let next = (source.to_owned(), symbol.to_owned(), code);
        keys.push(next);
    }
    Ok(keys)
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(META)?.insert(VERSION_KEY, VERSION)?;
    write.open_table(BARS)?;
    write.open_table(BARS_BY_TIME)?;
    write.open_table(ARTICLES)?;
    write.open_table(ARTICLES_BY_TIME)?;
    write.open_table(SOURCES)?;
    write.commit()?;
    Ok(())
}

/// How many bytes keys and values have.
struct Bytes(u64);

impl Bytes {
    fn change(&mut self, added: usize, removed: usize) {
        self.0 = self.0.saturating_add(added as u64).saturating_sub(removed as u64);
    }
}

/// A name, a name and two numbers, in both tables.
fn bar_key_bytes(source: &str, symbol: &str) -> usize {
    2 * (source.len() + symbol.len() + 9)
}

fn article_key_bytes(id: &str) -> usize {
    2 * (id.len() + 8)
}

struct Bars<'t> {
    by_key: redb::Table<'t, (&'static str, &'static str, u8, i64), &'static [u8]>,
    by_time: redb::Table<'t, (u8, i64, &'static str, &'static str), ()>,
}

impl Bars<'_> {
    /// Puts the bars that are not too old already; tells how many are.
    fn put(
        &mut self,
        pending: &Pending,
        now: Timestamp,
        limits: &StoreLimits,
        bytes: &mut Bytes,
    ) -> Result<u64, StorageError> {
        let mut expired = 0;
        for (key, bar) in pending.bars() {
            if key.start < horizon_s(now, limits.keep_bars[key.interval.index()]) {
                expired += 1;
                continue;
            }
            let (source, symbol, code) = (&*key.source, &*key.symbol, key.interval.code());
            let value = bar_code::encode(bar);
            let before =
                self.by_key.insert((source, symbol, code, key.start), value.as_slice())?.map(|old| old.value().len());
            if before.is_none() {
                self.by_time.insert((code, key.start, source, symbol), ())?;
                bytes.change(bar_key_bytes(source, symbol), 0);
            }
            bytes.change(value.len(), before.unwrap_or(0));
        }
        Ok(expired)
    }

    /// Takes out what is too old; and while there is too much, the oldest of the finest interval.
    fn retain(&mut self, now: Timestamp, limits: &StoreLimits, bytes: &mut Bytes) -> Result<u64, StorageError> {
        let mut removed = 0;
        for (interval, keep) in Interval::ALL.into_iter().zip(limits.keep_bars) {
            removed += self.remove_oldest(interval, horizon_s(now, keep), RETENTION_STEP, bytes)?;
        }
        for interval in Interval::ALL {
            let over = self.by_key.len()?.saturating_sub(limits.max_bars);
            let over = usize::try_from(over).unwrap_or(usize::MAX).min(RETENTION_STEP);
            removed += self.remove_oldest(interval, i64::MAX, over, bytes)?;
        }
        for interval in Interval::ALL {
            // In small steps, because only the bytes tell when it is enough.
            let mut left = RETENTION_STEP;
            while bytes.0 > limits.max_bytes && left > 0 {
                let gone = self.remove_oldest(interval, i64::MAX, left.min(64), bytes)?;
                left = left.saturating_sub(64);
                removed += gone;
                if gone == 0 {
                    break;
                }
            }
        }
        Ok(removed)
    }

    fn remove_oldest(
        &mut self,
        interval: Interval,
        before: i64,
        most: usize,
        bytes: &mut Bytes,
    ) -> Result<u64, StorageError> {
        if most == 0 {
            return Ok(0);
        }
        let code = interval.code();
        let mut oldest = Vec::new();
        for entry in self.by_time.range((code, i64::MIN, "", "")..(code, before, "", ""))?.take(most) {
            let key = entry?.0;
            let (_, start, source, symbol) = key.value();
            oldest.push((start, source.to_owned(), symbol.to_owned()));
        }
        for (start, source, symbol) in &oldest {
            self.by_time.remove((code, *start, source.as_str(), symbol.as_str()))?;
            let value = self.by_key.remove((source.as_str(), symbol.as_str(), code, *start))?;
            let len = value.map_or(0, |value| value.value().len());
            bytes.change(0, len + bar_key_bytes(source, symbol));
        }
        Ok(oldest.len() as u64)
    }
}

struct Articles<'t> {
    by_id: redb::Table<'t, &'static str, (i64, &'static [u8])>,
    by_time: redb::Table<'t, (i64, &'static str), ()>,
}

impl Articles<'_> {
    fn put(&mut self, article: &StoredArticle, bytes: &mut Bytes) -> Result<(), StorageError> {
        let (id, published) = (article.id.as_str(), article.published.as_millisecond());
        let before = self.by_id.insert(id, (published, article.bytes.as_slice()))?.map(|old| {
            let (published, bytes) = old.value();
            (published, bytes.len())
        });
        match before {
            Some((old, _)) if old != published => drop(self.by_time.remove((old, id))?),
            Some(_) => {}
            None => bytes.change(article_key_bytes(id), 0),
        }
        self.by_time.insert((published, id), ())?;
        bytes.change(article.bytes.len(), before.map_or(0, |(_, len)| len));
        Ok(())
    }

    /// Takes out what is too old, or too much.
    fn retain(&mut self, now: Timestamp, limits: &StoreLimits, bytes: &mut Bytes) -> Result<u64, StorageError> {
        let horizon_ms = horizon_s(now, limits.keep_articles).saturating_mul(1_000);
        let mut removed = 0;
        for _ in 0..RETENTION_STEP {
            let oldest = self.by_time.first()?.map(|(key, _)| {
                let (published, id) = key.value();
                (published, id.to_owned())
            });
            let Some((published, id)) = oldest else { break };
            let too_many = self.by_id.len()? > limits.max_articles || bytes.0 > limits.max_bytes;
            if published >= horizon_ms && !too_many {
                break;
            }
            self.by_time.remove((published, id.as_str()))?;
            let len = self.by_id.remove(id.as_str())?.map_or(0, |old| old.value().1.len());
            bytes.change(0, len + article_key_bytes(&id));
            removed += 1;
        }
        Ok(removed)
    }
}

/// The first second that is not too old.
fn horizon_s(now: Timestamp, keep: SignedDuration) -> i64 {
    now.checked_sub(keep).map_or(i64::MIN, Timestamp::as_second)
}

/// Sorted, as they are in the file.
pub(super) type SourceTexts = BTreeMap<String, String>;
