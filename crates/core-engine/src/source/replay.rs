//! The replay: a file of ticks or bars, at the speed at which they were recorded or another.
//!
//! Opening scans the whole file once, for its symbols, so that an unknown symbol can be refused; running reads it
//! again, a few records ahead. So memory does not depend on the size of the file. A file that cannot be read makes the
//! source unavailable; a line that cannot be read is counted and passed over.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::record::{Format, Malformed, Records};
use super::{FieldFault, SYMBOLS_MAX, Source, SourceError, unknown_key};
use crate::feed::Feed;
use crate::ledger::ErrorKind;
use crate::tick::Tick;

const KEYS: &[&str] = &["path", "repeat", "speed"];
/// Records that are handed over together: a thread reads them, and to wake one another for each costs more than it does.
const TOGETHER: usize = 256;
/// So many times as many are read ahead.
const AHEAD: usize = 2;
/// Shortest time of one pass when the file repeats, so that a small file at full speed does not take a whole core.
const PASS_MIN: Duration = Duration::from_secs(1);

/// How fast time goes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Speed {
    /// So many times as fast as it was recorded.
    Times(f64),
    /// As fast as it can be read.
    Max,
}

/// Settings of the replay; the keys are the names of the fields.
#[derive(Clone, Debug)]
pub(crate) struct ReplaySettings {
    /// Below the folder for replays. Empty: not given yet.
    path: String,
    speed: Speed,
    /// Whether it starts over at the end.
    repeat: bool,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self { path: String::new(), speed: Speed::Times(1.0), repeat: false }
    }
}

impl ReplaySettings {
    /// Changes one setting.
    ///
    /// # Errors
    /// What must hold, for people.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "path" => {
                check_path(value)?;
                value.clone_into(&mut self.path);
            }
            "speed" if value == "max" => self.speed = Speed::Max,
            "speed" => {
                self.speed = value
                    .parse()
                    .ok()
                    .filter(|times| (0.001..=1_000_000.0).contains(times))
                    .map(Speed::Times)
                    .ok_or_else(|| "must be 0.001 to 1000000, or max".to_owned())?;
            }
            "repeat" => self.repeat = value.parse().map_err(|_| "must be true or false".to_owned())?,
            _ => return Err(unknown_key(KEYS)),
        }
        Ok(())
    }

    /// # Errors
    /// If there is no path.
    pub(super) fn check_complete(&self) -> Result<(), FieldFault> {
        if self.path.is_empty() {
            let problem = "is needed: a .csv, .ndjson or .jsonl file in the engine's folder for replays".to_owned();
            return Err(FieldFault { field: "config.path".to_owned(), problem });
        }
        Ok(())
    }
}

/// A client must not reach files outside of the folder.
fn check_path(path: &str) -> Result<(), String> {
    let plain = path.len() <= 255
        && !path.chars().any(char::is_control)
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain {
        return Err("must be a plain relative path".to_owned());
    }
    if Format::of(path).is_none() {
        return Err("must end in .csv, .ndjson or .jsonl".to_owned());
    }
    Ok(())
}

/// The replay at work.
#[derive(Debug)]
pub(super) struct Replay {
    /// As the client named it, for messages.
    path: String,
    file: PathBuf,
    format: Format,
    speed: Speed,
    repeat: bool,
    symbols: BTreeSet<Arc<str>>,
}

impl Replay {
    /// Scans the file for its symbols.
    ///
    /// # Errors
    /// If it cannot be read, has no record, or too many symbols.
    pub(super) async fn open(settings: &ReplaySettings, directory: &Path) -> Result<Self, SourceError> {
        let path = settings.path.clone();
        let format = Format::of(&path).unwrap_or(Format::Csv);
        let file = directory.join(&path);
        let scanned = file.clone();
        let symbols = match tokio::task::spawn_blocking(move || scan(&scanned, format)).await {
            Ok(Ok(symbols)) => symbols,
            Ok(Err(ScanFault::Io(cause))) => return Err(SourceError::Unreadable { path, cause }),
            Ok(Err(ScanFault::Empty(problem))) => return Err(SourceError::NoRecords { path, problem }),
            Ok(Err(ScanFault::TooManySymbols)) => return Err(SourceError::TooManySymbols { path }),
            Err(ended) => return Err(SourceError::Unreadable { path, cause: io::Error::other(ended) }),
        };
        Ok(Self { path, file, format, speed: settings.speed, repeat: settings.repeat, symbols })
    }

    /// The file once, from its start to its end.
    async fn pass(&self, feed: &Feed) -> Result<(), SourceError> {
        let (sender, mut records) = mpsc::channel(AHEAD);
        let (file, format) = (self.file.clone(), self.format);
        // Ends when the file does, or with the next records after the receiver is gone.
        let reader = tokio::task::spawn_blocking(move || read_into(&file, format, &sender));
        let mut pace = Pace::new(self.speed);
        while let Some(some) = records.recv().await {
            for record in some {
                self.play(record, &mut pace, feed).await;
                // At full speed nothing here waits, and others want to run.
                tokio::task::coop::consume_budget().await;
            }
        }
        let outcome = reader.await.unwrap_or_else(|ended| Err(io::Error::other(ended)));
        outcome.map_err(|cause| SourceError::Unreadable { path: self.path.clone(), cause })
    }

    async fn play(&self, record: Result<Tick, Malformed>, pace: &mut Pace, feed: &Feed) {
        match record {
            Ok(tick) => {
                if pace.is_late(tick.timestamp) {
                    feed.error(ErrorKind::LateRecord, format!("{} is older than the value before", tick.symbol));
                }
                pace.wait_for(tick.timestamp).await;
                feed.record(tick);
            }
            Err(malformed) => {
                let message = format!("{}, line {}: {}", self.path, malformed.line, malformed.problem);
                feed.error(ErrorKind::MalformedRecord, message);
            }
        }
    }
}

impl Source for Replay {
    fn symbols(&self) -> &BTreeSet<Arc<str>> {
        &self.symbols
    }

    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            loop {
                let started = Instant::now();
                self.pass(feed).await?;
                if !self.repeat {
                    return Ok(());
                }
                sleep_until(started + PASS_MIN).await;
            }
        })
    }
}

enum ScanFault {
    Io(io::Error),
    /// What was wrong with the first line that was no record.
    Empty(String),
    TooManySymbols,
}

/// Blocks. The symbols of all good records.
fn scan(file: &Path, format: Format) -> Result<BTreeSet<Arc<str>>, ScanFault> {
    let mut symbols = BTreeSet::new();
    let mut problem = None;
    for record in Records::new(BufReader::new(File::open(file).map_err(ScanFault::Io)?), format) {
        match record.map_err(ScanFault::Io)? {
            Ok(tick) => {
                symbols.insert(tick.symbol);
                if symbols.len() > SYMBOLS_MAX {
                    return Err(ScanFault::TooManySymbols);
                }
            }
            Err(malformed) => {
                problem.get_or_insert_with(|| format!("line {} {}", malformed.line, malformed.problem));
            }
        }
    }
    if symbols.is_empty() {
        return Err(ScanFault::Empty(problem.unwrap_or_else(|| "it is empty".to_owned())));
    }
    Ok(symbols)
}

/// Blocks. Sends the records of a file, some at a time, until its end or until nobody listens.
fn read_into(file: &Path, format: Format, sender: &mpsc::Sender<Vec<Result<Tick, Malformed>>>) -> io::Result<()> {
    let mut records = Records::new(BufReader::new(File::open(file)?), format);
    let mut more = true;
    while more {
        let mut some = Vec::with_capacity(TOGETHER);
        let read = records.by_ref().take(TOGETHER).try_for_each(|record| record.map(|record| some.push(record)));
        more = some.len() == TOGETHER && read.is_ok();
        if !some.is_empty() && sender.blocking_send(some).is_err() {
            return Ok(());
        }
        read?;
    }
    Ok(())
}

/// Turns recorded time into waiting.
struct Pace {
    speed: Speed,
    started: Instant,
    /// The first record's and the newest so far.
    span: Option<(Timestamp, Timestamp)>,
}

impl Pace {
    /// The clock starts now, with whatever record comes first.
    fn new(speed: Speed) -> Self {
        Self { speed, started: Instant::now(), span: None }
    }

    fn is_late(&self, timestamp: Timestamp) -> bool {
        self.span.is_some_and(|(_, newest)| timestamp < newest)
    }

    /// Waits until the moment of this record has come; not at all if it has passed.
    async fn wait_for(&mut self, timestamp: Timestamp) {
        let (first, newest) = self.span.unwrap_or((timestamp, timestamp));
        self.span = Some((first, newest.max(timestamp)));
        let Speed::Times(times) = self.speed else { return };
        let recorded = Duration::try_from(timestamp.duration_since(first)).unwrap_or_default();
        // A time that no clock reaches is waited for all the same: until the source is connected anew.
        let due = Duration::try_from_secs_f64(recorded.as_secs_f64() / times)
            .ok()
            .and_then(|wait| self.started.checked_add(wait));
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::samples::feed;

    const DAY: &str = "symbol,price,timestamp\nA,1.0,0\nB,2.0,1000\nbroken\nA,1.5,10000\nA,1.4,9000\n";

    fn settings(config: &[(&str, &str)]) -> ReplaySettings {
        let mut settings = ReplaySettings::default();
        config.iter().for_each(|(key, value)| settings.set(key, value).unwrap());
        settings
    }

    /// Replays `text` and gives what the feed booked and how long it took.
    async fn replay(text: &str, config: &[(&str, &str)], patience: Duration) -> (Result<(), String>, Feed, Duration) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("day.csv"), text).unwrap();
        let feed = feed("replay");
        let mut settings = settings(config);
        settings.set("path", "day.csv").unwrap();
        let replay = Replay::open(&settings, folder.path()).await.unwrap();
        let before = Instant::now();
        let outcome = match tokio::time::timeout(patience, replay.run(&feed)).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("still running".to_owned()),
        };
        (outcome, feed, before.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn records_come_at_their_recorded_pace_and_faults_are_counted() {
        let (outcome, feed, took) = replay(DAY, &[("speed", "4")], Duration::from_secs(60)).await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(took, Duration::from_millis(2_500));
        let books = feed.books();
        assert_eq!(books.received, 4);
        let errors: Vec<_> = books.errors.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(errors, [("malformed_record", 1), ("late_record", 1)]);
        assert_eq!(books.last_error.unwrap().1, "A is older than the value before");
        assert_eq!(feed.newest(&[Arc::from("A")])[0].tick.price.to_string(), "1.4");
    }

    #[tokio::test(start_paused = true)]
    async fn at_full_speed_nothing_is_waited_for() {
        let (outcome, feed, took) = replay(DAY, &[("speed", "max")], Duration::from_secs(60)).await;
        assert_eq!((outcome, feed.books().received, took), (Ok(()), 4, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_file_takes_a_second_at_least() {
        let config = [("speed", "max"), ("repeat", "true")];
        let (outcome, feed, _) = replay(DAY, &config, Duration::from_millis(2_500)).await;
        assert_eq!((outcome, feed.books().received), (Err("still running".to_owned()), 12));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("empty.csv", ""), ("bad.csv", "symbol,price\nA,1\n")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        for (path, expected) in [
            ("none.csv", "the file none.csv cannot be read: No such file or directory (os error 2)"),
            ("empty.csv", "the file empty.csv has no record that can be used; it is empty"),
            ("bad.csv", "the file bad.csv has no record that can be used; line 2 has no timestamp"),
        ] {
            let error = Replay::open(&settings(&[("path", path)]), folder.path()).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_file_that_vanished_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("day.csv");
        std::fs::write(&file, DAY).unwrap();
        let replay = Replay::open(&settings(&[("path", "day.csv")]), folder.path()).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        let error = replay.run(&feed("replay")).await.unwrap_err();
        assert!(error.to_string().starts_with("the file day.csv cannot be read"), "{error}");
    }
}
