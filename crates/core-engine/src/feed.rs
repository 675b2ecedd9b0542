//! Where a source puts its values.
//!
//! A value is booked, buffered and published under the lock of the ledger, and a subscription is opened under the
//! same lock: so a subscriber gets the newest value of each symbol once, then every later one, without a gap.
//! Order of locks: ledger, then buffers or streams.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::ledger::{Books, ErrorKind, Ledger};
use crate::streams::{StreamEnd, Streams, Subscription, TooManyStreams};
use crate::tick::{Tick, Value};

/// The way of one source's values into the engine.
#[derive(Debug)]
pub(crate) struct Feed {
    source: Arc<str>,
    clock: Clock,
    ledger: Mutex<Ledger>,
    first: Notify,
    buffers: Arc<Mutex<Buffers>>,
    streams: Arc<Streams>,
}

impl Feed {
    /// The feed of the source with this id.
    pub(crate) fn new(source: Arc<str>, clock: Clock, buffers: Arc<Mutex<Buffers>>, streams: Arc<Streams>) -> Self {
        Self { source, clock, ledger: Mutex::default(), first: Notify::new(), buffers, streams }
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
        ledger.books.received += 1;
        let value = Arc::new(Value { source: Arc::clone(&self.source), sequence: ledger.books.received, tick });
        if ledger.newest.is_empty() {
            self.first.notify_waiters();
        }
        ledger.success(now, &value);
        self.streams.publish(&value);
        self.buffers.lock().push(value);
    }

    /// Books an error of the source.
    pub(crate) fn error(&self, kind: ErrorKind, message: String) {
        self.ledger.lock().books.error(self.clock.now(), kind, message);
    }

    /// Forgets the newest values and ends all streams, because the source is connected anew.
    pub(crate) fn restart(&self) {
        let mut ledger = self.ledger.lock();
        ledger.books.connects += 1;
        ledger.newest.clear();
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

    use super::{Arc, Buffers, Clock, Feed, Mutex, Streams};
    use crate::settings::{BufferLimits, StreamLimits};

    /// A feed with buffers and streams of its own.
    pub(crate) fn feed(source: &str) -> Feed {
        let buffers = Arc::new(Mutex::new(Buffers::new(BufferLimits::default())));
        let streams = Arc::new(Streams::new(StreamLimits::default()));
        Feed::new(Arc::from(source), Clock::start(), buffers, streams)
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
