//! Subscribers of live values: one bounded queue each, conflated when full.
//!
//! A publisher never waits. When the queue of a subscriber is full, the newest value of the same symbol that waits is
//! replaced (conflated); if none waits, the oldest value is thrown away (dropped). Both are counted and told to the
//! subscriber. Per subscriber: published = delivered + conflated + dropped + waiting.

mod turns;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::turns::{Place, Turns};
use crate::settings::StreamLimits;
use crate::tick::Value;

/// All open subscriptions.
#[derive(Debug)]
pub(crate) struct Streams {
    limits: StreamLimits,
    table: Mutex<Table>,
    turns: Turns,
}

type BySymbol = HashMap<Arc<str>, Vec<(u64, Arc<Subscriber>)>>;

#[derive(Default, Debug)]
struct Table {
    next: u64,
    open: HashMap<u64, Arc<Subscriber>>,
    /// Who wants a symbol of a source: publishing costs what is delivered, not what is open.
    wanted: HashMap<Arc<str>, BySymbol>,
    /// Sums of what closed subscriptions had counted.
    closed: StreamCounts,
}

#[derive(Debug)]
struct Subscriber {
    source: Arc<str>,
    symbols: BTreeSet<Arc<str>>,
    queue: Mutex<Queue>,
    place: Place,
}

/// What happened to the values of one subscription, or of all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct StreamCounts {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) conflated: u64,
    pub(crate) dropped: u64,
}

impl StreamCounts {
    fn add(&mut self, other: Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.conflated += other.conflated;
        self.dropped += other.dropped;
    }
}

/// Why a subscription ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum StreamEnd {
    /// The source delivered all that it had.
    Finished,
    /// The source broke; the reason, and when it is tried again.
    Down { reason: String, retry_after: Duration },
    /// The source was connected again, perhaps with other symbols.
    Replaced,
    /// The source was disconnected.
    Disconnected,
    /// The engine stops.
    ShuttingDown,
}

/// What waited for a subscriber.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Oldest first, at least one.
    pub(crate) values: Vec<Arc<Value>>,
    /// Since the batch before.
    pub(crate) conflated: u32,
    /// Since the batch before.
    pub(crate) dropped: u32,
}

/// The bound of [`StreamLimits::max_open`] is reached.
#[derive(Debug)]
pub(crate) struct TooManyStreams;

impl Streams {
    /// No subscriber yet.
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self { limits, table: Mutex::default(), turns: Turns::default() }
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> StreamLimits {
        self.limits
    }

    /// Opens a subscription that starts with `first`. Dropping it closes it.
    ///
    /// # Errors
    /// When too many are open.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        source: &Arc<str>,
        symbols: BTreeSet<Arc<str>>,
        first: impl IntoIterator<Item = Arc<Value>>,
    ) -> Result<Subscription, TooManyStreams> {
        let mut queue = Queue::new(self.limits.queue);
        first.into_iter().for_each(|value| queue.keep(value));
        let subscriber = Arc::new(Subscriber {
            source: Arc::clone(source),
            symbols,
            queue: Mutex::new(queue),
            place: Place::default(),
        });

        let mut table = self.table.lock();
        if table.open.len() >= self.limits.max_open {
            return Err(TooManyStreams);
        }
        let id = table.next;
        table.next += 1;
        table.open.insert(id, Arc::clone(&subscriber));
        let of_source = table.wanted.entry(Arc::clone(source)).or_default();
        for symbol in &subscriber.symbols {
            of_source.entry(Arc::clone(symbol)).or_default().push((id, Arc::clone(&subscriber)));
        }
        drop(table);
        Ok(Subscription { id, subscriber, streams: Arc::clone(self) })
    }

    /// Queues a value for everybody who asked for it. Never waits.
    pub(crate) fn publish(&self, value: &Arc<Value>) {
        let table = self.table.lock();
        let wanted = table.wanted.get(&value.source).and_then(|symbols| symbols.get(&value.tick.symbol));
        let asked = wanted.into_iter().flatten().map(|(_, subscriber)| subscriber);
        self.turns.wake(asked.filter(|subscriber| subscriber.queue.lock().push(Arc::clone(value))));
    }

    /// Sees to it that turns are passed on, until it is dropped. Without it, those who stand behind a client that does
    /// not read may sleep for ever.
    pub(crate) async fn watch_turns(&self) {
        self.turns.watch().await;
    }

    /// Ends the subscriptions of a source, or of all; what waits is still delivered.
    pub(crate) fn end(&self, source: Option<&str>, end: &StreamEnd) {
        for subscriber in self.table.lock().open.values() {
            if source.is_none_or(|source| *subscriber.source == *source) {
                subscriber.queue.lock().end.get_or_insert_with(|| end.clone());
                subscriber.place.wake();
            }
        }
    }

    /// How many are open, and the sums over all there ever were.
    pub(crate) fn counts(&self) -> (usize, StreamCounts) {
        let table = self.table.lock();
        let mut sum = table.closed;
        for subscriber in table.open.values() {
            sum.add(subscriber.queue.lock().counts);
        }
        (table.open.len(), sum)
    }
}

impl Table {
    fn forget(&mut self, id: u64, subscriber: &Subscriber) {
        let Some(of_source) = self.wanted.get_mut(&subscriber.source) else { return };
        for symbol in &subscriber.symbols {
            if let Some(wanted) = of_source.get_mut(symbol) {
                wanted.retain(|(other, _)| *other != id);
                if wanted.is_empty() {
                    of_source.remove(symbol);
                }
            }
        }
        if of_source.is_empty() {
            self.wanted.remove(&subscriber.source);
        }
    }
}

/// The right to read one subscriber's queue.
#[derive(Debug)]
pub(crate) struct Subscription {
    id: u64,
    subscriber: Arc<Subscriber>,
    streams: Arc<Streams>,
}

impl Subscription {
    /// Waits for values and takes all that there are. May be dropped while it waits: nothing is lost, because values
    /// leave the queue only when they are returned.
    ///
    /// # Errors
    /// The end, once everything before it was taken; the same end every time after that.
    pub(crate) async fn next(&self) -> Result<Batch, StreamEnd> {
        loop {
            let (outcome, turn) = {
                let mut queue = self.subscriber.queue.lock();
                match queue.take() {
                    Some(Ok(batch)) => return Ok(batch),
                    // Under the lock, or it could be the turn of a value that comes only now.
                    other => (other, self.streams.turns.of(&self.subscriber.place)),
                }
            };
            if let Some(end) = outcome {
                return end;
            }
            self.subscriber.place.woken(turn).await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.streams.turns.leave(&self.subscriber.place);
        let mut table = self.streams.table.lock();
        table.open.remove(&self.id);
        table.forget(self.id, &self.subscriber);
        let counts = self.subscriber.queue.lock().counts;
        table.closed.add(counts);
    }
}

/// What waits for one subscriber.
#[derive(Debug)]
struct Queue {
    cap: usize,
    waiting: VecDeque<Arc<Value>>,
    counts: StreamCounts,
    /// Counts as of the last batch, to tell the difference.
    told: StreamCounts,
    end: Option<StreamEnd>,
    /// Whether the reader found nothing and has not been woken since.
    is_awaited: bool,
}

impl Queue {
    fn new(cap: usize) -> Self {
        Self {
            cap,
            waiting: VecDeque::new(),
            counts: StreamCounts::default(),
            told: StreamCounts::default(),
            end: None,
            is_awaited: false,
        }
    }

    /// Whether the reader has to be woken for it.
    fn push(&mut self, value: Arc<Value>) -> bool {
        self.keep(value);
        std::mem::take(&mut self.is_awaited)
    }

    fn keep(&mut self, value: Arc<Value>) {
        self.counts.published += 1;
        if self.waiting.len() < self.cap {
            self.waiting.push_back(value);
            return;
        }
        let same = self.waiting.iter().rposition(|waiting| waiting.tick.symbol == value.tick.symbol);
        if let Some(replaced) = same.and_then(|at| self.waiting.get_mut(at)) {
            *replaced = value;
            self.counts.conflated += 1;
            return;
        }
        self.waiting.pop_front();
        self.waiting.push_back(value);
        self.counts.dropped += 1;
    }

    fn take(&mut self) -> Option<Result<Batch, StreamEnd>> {
        if self.waiting.is_empty() {
            self.is_awaited = self.end.is_none();
            return self.end.clone().map(Err);
        }
        let values: Vec<_> = self.waiting.drain(..).collect();
        self.counts.delivered += values.len() as u64;
        let since = |now: u64, told: u64| u32::try_from(now - told).unwrap_or(u32::MAX);
        let batch = Batch {
            values,
            conflated: since(self.counts.conflated, self.told.conflated),
            dropped: since(self.counts.dropped, self.told.dropped),
        };
        self.told = self.counts;
        Some(Ok(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::samples::value;

    fn streams() -> Arc<Streams> {
        Arc::new(Streams::new(StreamLimits { queue: 3, max_open: 2 }))
    }

    fn names(symbols: &[&str]) -> BTreeSet<Arc<str>> {
        symbols.iter().map(|symbol| Arc::from(*symbol)).collect()
    }

    fn shown(batch: &Batch) -> String {
        let values: Vec<_> =
            batch.values.iter().map(|value| format!("{}{}", value.tick.symbol, value.sequence)).collect();
        format!("{} conflated {} dropped {}", values.join(" "), batch.conflated, batch.dropped)
    }

    /// Publishes while nobody reads, then reads once.
    async fn check(published: &[&str], expected: &str) {
        let streams = streams();
        let subscription = streams.subscribe(&Arc::from("s"), names(&["A", "B", "C", "D"]), []).unwrap();
        for (sequence, symbol) in (1..).zip(published) {
            streams.publish(&value("s", sequence, symbol));
        }
        let batch = subscription.next().await.unwrap();
        assert_eq!(shown(&batch), expected);
        let (_, counts) = streams.counts();
        assert_eq!(counts.published, counts.delivered + counts.conflated + counts.dropped);
    }

    #[tokio::test]
    async fn what_waits_comes_in_one_batch() {
        check(&["A", "B", "A"], "A1 B2 A3 conflated 0 dropped 0").await;
    }

    #[tokio::test]
    async fn a_full_queue_keeps_the_newest_value_of_each_symbol() {
        check(&["A", "B", "C", "B", "B"], "A1 B5 C3 conflated 2 dropped 0").await;
    }

    #[tokio::test]
    async fn a_full_queue_without_the_symbol_drops_its_oldest_value() {
        check(&["A", "B", "C", "D"], "B2 C3 D4 conflated 0 dropped 1").await;
    }

    #[tokio::test]
    async fn losses_are_told_once() {
        let streams = streams();
        let subscription = streams.subscribe(&Arc::from("s"), names(&["A"]), []).unwrap();
        (1..=4).for_each(|sequence| streams.publish(&value("s", sequence, "A")));
        assert_eq!(shown(&subscription.next().await.unwrap()), "A1 A2 A4 conflated 1 dropped 0");
        streams.publish(&value("s", 5, "A"));
        assert_eq!(shown(&subscription.next().await.unwrap()), "A5 conflated 0 dropped 0");
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_queued() {
        let streams = streams();
        let subscription = streams.subscribe(&Arc::from("s"), names(&["A"]), [value("s", 9, "A")]).unwrap();
        streams.publish(&value("s", 10, "B"));
        streams.publish(&value("other", 11, "A"));
        streams.end(Some("other"), &StreamEnd::Replaced);
        streams.publish(&value("s", 12, "A"));
        streams.end(Some("s"), &StreamEnd::Finished);
        assert_eq!(shown(&subscription.next().await.unwrap()), "A9 A12 conflated 0 dropped 0");
        assert_eq!(subscription.next().await.unwrap_err(), StreamEnd::Finished);
        assert_eq!(subscription.next().await.unwrap_err(), StreamEnd::Finished);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_subscriber_is_woken() {
        let streams = streams();
        let subscription = streams.subscribe(&Arc::from("s"), names(&["A"]), []).unwrap();
        let reader = tokio::spawn(async move { shown(&subscription.next().await.unwrap()) });
        tokio::task::yield_now().await;
        streams.publish(&value("s", 1, "A"));
        assert_eq!(reader.await.unwrap(), "A1 conflated 0 dropped 0");
        assert_eq!(streams.counts(), (0, StreamCounts { published: 1, delivered: 1, conflated: 0, dropped: 0 }));
    }

    #[tokio::test]
    async fn of_many_subscribers_all_are_woken_two_at_a_time() {
        let streams = Arc::new(Streams::new(StreamLimits { queue: 3, max_open: 1_000 }));
        let waking = Arc::clone(&streams);
        let waker = tokio::spawn(async move { waking.watch_turns().await });
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let subscription = streams.subscribe(&Arc::from("s"), names(&["A"]), []).unwrap();
            readers.spawn(async move {
                let mut last = 0;
                while last < 3 {
                    last = subscription.next().await.unwrap().values.last().unwrap().sequence;
                    tokio::task::yield_now().await;
                }
            });
        }
        tokio::task::yield_now().await;
        for sequence in 1..=3 {
            streams.publish(&value("s", sequence, "A"));
            assert_eq!(streams.turns.counts().0, turns::WOKEN_AT_ONCE);
            tokio::task::yield_now().await;
        }
        readers.join_all().await;
        waker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_holds_no_other_up() {
        let streams = Arc::new(Streams::new(StreamLimits { queue: 3, max_open: 1_000 }));
        let waking = Arc::clone(&streams);
        let waker = tokio::spawn(async move { waking.watch_turns().await });
        let open = || streams.subscribe(&Arc::from("s"), names(&["A"]), []).unwrap();
        let (deaf, hearing): (Vec<_>, Vec<_>) =
            ((0..100).map(|_| open()).collect(), (0..100).map(|_| open()).collect());
        // Each has begun to wait, and is never polled again.
        let mut waits: Vec<_> = deaf.iter().map(|subscription| Box::pin(subscription.next())).collect();
        for wait in &mut waits {
            assert!(futures_util::poll!(wait).is_pending());
        }
        let mut readers = tokio::task::JoinSet::new();
        for subscription in hearing {
            readers.spawn(async move { shown(&subscription.next().await.unwrap()) });
        }
        tokio::task::yield_now().await;
        streams.publish(&value("s", 1, "A"));
        assert!(readers.join_all().await.iter().all(|batch| batch == "A1 conflated 0 dropped 0"));
        waker.abort();
    }

    #[tokio::test]
    async fn one_that_is_closed_passes_its_turn_on_and_gets_none() {
        let streams = Arc::new(Streams::new(StreamLimits { queue: 3, max_open: 1_000 }));
        let mut open: VecDeque<_> =
            (0..6).map(|_| streams.subscribe(&Arc::from("s"), names(&["A"]), []).unwrap()).collect();
        for subscription in &open {
            assert!(futures_util::poll!(Box::pin(subscription.next())).is_pending());
        }
        streams.publish(&value("s", 1, "A"));
        assert_eq!(streams.turns.counts().1, 4);
        let last = open.pop_back().unwrap();
        // Those that stand first, then one that has a turn.
        open.drain(2..);
        assert!(!last.subscriber.place.has_turn());
        open.pop_front();
        assert!(last.subscriber.place.has_turn());
        assert_eq!(streams.turns.counts().0, 2);
        drop((open, last));
        assert_eq!(streams.turns.counts().0, 0);
    }

    #[test]
    fn one_stream_too_many_is_refused_until_one_closes() {
        let streams = streams();
        let open = |streams: &Arc<Streams>| streams.subscribe(&Arc::from("s"), names(&["A"]), []);
        let first = open(&streams).unwrap();
        let second = open(&streams).unwrap();
        assert!(open(&streams).is_err());
        drop(first);
        assert!(open(&streams).is_ok());
        drop(second);
        assert!(streams.table.lock().wanted.is_empty());
    }
}
