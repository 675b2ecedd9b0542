//! Where a source puts its values.
//!
//! A value is booked, buffered and published under the lock of the ledger, and a subscription is opened under the
//! same lock: so a subscriber gets the newest value of each symbol once, then every later one, without a gap.
//! Order of locks: ledger, then tape or streams.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::ledger::{Books, DropKind, ErrorKind, Ledger};
use crate::net::Location;
use crate::news::article::Origin;
use crate::news::parse::Parsed;
use crate::press::Press;
use crate::source::SYMBOLS_MAX;
use crate::streams::{StreamEnd, Streams, Subscription, TooManyStreams};
use crate::tape::Tape;
use crate::tick::{NAME_MAX_BYTES, Tick, Value};

/// The way of one source's values into the engine.
#[derive(Debug)]
pub(crate) struct Feed {
    source: Arc<str>,
    clock: Clock,
    ledger: Mutex<Ledger>,
    first: Notify,
    signs: Notify,
    tape: Arc<Mutex<Tape>>,
    press: Arc<Press>,
    streams: Arc<Streams>,
}

impl Feed {
    /// The feed of the source with this id.
    pub(crate) fn new(
        source: Arc<str>,
        clock: Clock,
        tape: Arc<Mutex<Tape>>,
        press: Arc<Press>,
        streams: Arc<Streams>,
    ) -> Self {
        let (first, signs) = (Notify::new(), Notify::new());
        Self { source, clock, ledger: Mutex::default(), first, signs, tape, press, streams }
    }

    /// Id of the source.
    pub(crate) fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// The clock of the engine.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Takes a value in.
    pub(crate) fn record(&self, tick: Tick) {
        let now = self.clock.now();
        let mut ledger = self.ledger.lock();
        if ledger.newest.len() >= SYMBOLS_MAX && !ledger.newest.contains_key(&tick.symbol) {
            ledger.books.dropped(DropKind::TooManySymbols, 1);
            return;
        }
        ledger.books.received += 1;
        let value = Arc::new(Value { source: Arc::clone(&self.source), sequence: ledger.books.received, tick });
        if ledger.newest.is_empty() {
            self.first.notify_waiters();
        }
        ledger.success(now, &value);
        self.streams.publish(&value);
        self.tape.lock().push(&value, now);
        drop(ledger);
        self.signs.notify_waiters();
    }

    /// Learns about the exchange of a symbol: its zone, and when it is open.
    pub(crate) fn tell_exchange(&self, symbol: &Arc<str>, zone: Option<&str>, sessions: &[(Timestamp, Timestamp)]) {
        let found = zone.map(TimeZone::get);
        if let (Some(Err(_)), Some(name)) = (&found, zone) {
            let name: String = name.chars().take(NAME_MAX_BYTES).flat_map(char::escape_debug).collect();
            self.error(ErrorKind::MalformedRecord, format!("the time zone {name} is unknown"));
        }
        let zone = found.and_then(Result::ok);
        self.tape.lock().tell_exchange(&self.source, symbol, zone.as_ref(), sessions, self.clock.now());
    }

    /// Books an error of the source.
    pub(crate) fn error(&self, kind: ErrorKind, message: String) {
        self.ledger.lock().books.error(self.clock.now(), kind, message);
    }

    /// Books records that were not taken in.
    pub(crate) fn dropped(&self, kind: DropKind, count: u64) {
        if count > 0 {
            self.ledger.lock().books.dropped(kind, count);
        }
    }

    /// Books a sign of life that is no value.
    pub(crate) fn heard(&self) {
        let now = self.clock.now();
        self.ledger.lock().books.heard = Some(now);
        self.signs.notify_waiters();
    }

    /// Waits for the next sign of life, a value included.
    pub(crate) async fn next_sign(&self) {
        self.signs.notified().await;
    }

    /// Where a document of news comes from, and when.
    pub(crate) fn origin(&self, location: Option<&Location>) -> Origin {
        let base = location.map(|location| location.url().clone());
        Origin { source_id: Arc::clone(&self.source), base, fetched: self.clock.now() }
    }

    /// Takes the articles of a document in, and books what was wrong with it.
    pub(crate) fn articles(&self, parsed: Parsed) {
        let now = self.clock.now();
        let came = parsed.articles.len() as u64;
        let new = self.press.take(parsed.articles, now);
        let mut ledger = self.ledger.lock();
        let books = &mut ledger.books;
        books.received += new;
        books.succeeded(now, new);
        books.dropped(DropKind::Duplicate, came.saturating_sub(new));
        books.dropped(DropKind::Removed, parsed.removed.into());
        books.dropped(DropKind::TooMany, parsed.skipped.into());
        if parsed.malformed > 0 {
            let first = parsed.first_flaw.map(|flaw| format!(": {flaw:?}")).unwrap_or_default();
            books.error(now, ErrorKind::MalformedRecord, format!("{} items are no articles{first}", parsed.malformed));
        }
        drop(ledger);
        self.signs.notify_waiters();
    }

    /// Forgets the newest values and ends all streams, because the source is connected anew.
    pub(crate) fn restart(&self) {
        let mut ledger = self.ledger.lock();
        ledger.books.connects += 1;
        ledger.newest.clear();
        self.tape.lock().restart(&self.source);
        self.streams.end(Some(&self.source), &StreamEnd::Replaced);
    }

    /// Ends all streams of the source.
    pub(crate) fn end_streams(&self, end: &StreamEnd) {
        self.streams.end(Some(&self.source), end);
    }

    /// Waits for the first value after a [`restart`](Self::restart), at most `patience`.
    pub(crate) async fn first_value(&self, patience: Duration) {
        let mut first = std::pin::pin!(self.first.notified());
        // Registered before the look, so that a value in between is not missed.
        first.as_mut().enable();
        if self.ledger.lock().newest.is_empty() {
            // A source may well have nothing to say yet: that is no fault.
            let _ = tokio::time::timeout(patience, first).await;
        }
    }

    /// The newest value of each symbol that has one, in the given order.
    pub(crate) fn newest(&self, symbols: &[Arc<str>]) -> Vec<Arc<Value>> {
        let ledger = self.ledger.lock();
        symbols.iter().filter_map(|symbol| ledger.newest.get(symbol).cloned()).collect()
    }

    /// Opens a subscription that starts with the newest values.
    ///
    /// # Errors
    /// When too many are open.
    pub(crate) fn subscribe(&self, symbols: &[Arc<str>]) -> Result<Subscription, TooManyStreams> {
        let wanted: BTreeSet<_> = symbols.iter().cloned().collect();
        let ledger = self.ledger.lock();
        let first = symbols.iter().filter_map(|symbol| ledger.newest.get(symbol).cloned());
        self.streams.subscribe(&self.source, wanted, first)
    }

    /// The books as they are now.
    pub(crate) fn books(&self) -> Books {
        self.ledger.lock().books.clone()
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Feeds for tests.

    use super::{Arc, Clock, Feed, Mutex, Press, Streams, Tape};
    use crate::settings::{Settings, StreamLimits};

    /// A feed with a tape and streams of its own.
    pub(crate) fn feed(source: &str) -> Feed {
        let settings = Settings::default();
        let tape = Arc::new(Mutex::new(Tape::new(settings.tape_limits(), None)));
        let press = Arc::new(Press::new(settings.news.library(), None, 1));
        let streams = Arc::new(Streams::new(StreamLimits::default()));
        Feed::new(Arc::from(source), Clock::start(), tape, press, streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::samples::tick;

    fn shown(values: &[Arc<Value>]) -> Vec<String> {
        values.iter().map(|value| format!("{} {}", value.tick.symbol, value.sequence)).collect()
    }

    #[tokio::test]
    async fn a_subscriber_gets_the_newest_values_and_then_every_later_one() {
        let feed = samples::feed("s");
        for symbol in ["A", "B", "A"] {
            feed.record(tick(symbol, "1"));
        }
        let subscription = feed.subscribe(&[Arc::from("A"), Arc::from("C")]).unwrap();
        for symbol in ["B", "C"] {
            feed.record(tick(symbol, "1"));
        }
        assert_eq!(shown(&subscription.next().await.unwrap().values), ["A 3", "C 5"]);
    }

    #[tokio::test]
    async fn a_restart_forgets_values_ends_streams_and_keeps_counting() {
        let feed = samples::feed("s");
        feed.record(tick("A", "1"));
        let subscription = feed.subscribe(&[Arc::from("B")]).unwrap();
        feed.restart();
        assert_eq!(subscription.next().await.unwrap_err(), StreamEnd::Replaced);
        assert!(feed.newest(&[Arc::from("A")]).is_empty());
        feed.record(tick("A", "1"));
        assert_eq!(shown(&feed.newest(&[Arc::from("A")])), ["A 2"]);
        assert_eq!(feed.books().connects, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_value_is_waited_for_but_not_for_ever() {
        let feed = Arc::new(samples::feed("s"));
        let before = tokio::time::Instant::now();
        feed.first_value(Duration::from_secs(1)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(1));

        let waiter = Arc::clone(&feed);
        let waiting = tokio::spawn(async move { waiter.first_value(Duration::from_secs(60)).await });
        tokio::task::yield_now().await;
        feed.record(tick("A", "1"));
        waiting.await.unwrap();
        assert_eq!(before.elapsed(), Duration::from_secs(1));
    }
}
