//! What the engine can do, in its own words; the wire is in [`crate::service`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::error::EngineError;
use crate::feed::Feed;
use crate::kept::Kept;
use crate::ledger::Books;
use crate::market::bars::BarCounts;
use crate::market::history::HeldBar;
use crate::market::history::rings::{RingCounts, RingLimits};
use crate::market::interval::Interval;
use crate::news::library::{LibraryCounts, LibraryLimits};
use crate::news::relevance::Query;
use crate::press::{Found, Press, Reader, Wanted};
use crate::settings::{SOURCES_MAX, Settings, SourceDefinition, StreamLimits, is_source_id};
use crate::slot::{Slot, SlotView, State};
use crate::source::{Setter, SourceSettings, Surroundings, TYPES};
use crate::store::{Loaded, Store, StoreError, StoreStats};
use crate::streams::{StreamCounts, StreamEnd, Streams, Subscription};
use crate::study::{self, Studied};
use crate::tape::Tape;
use crate::tick::{NAME_MAX_BYTES, Value, is_symbol};

/// Symbols of one request.
const SYMBOLS_MAX: usize = 100;
/// Values of a buffer that are given if the request does not say how many.
const LIMIT_DEFAULT: usize = 100;
/// Symbols that an answer to `connect` lists.
const LISTED_MAX: usize = 100;
/// Bars of one answer, and how many are given if the request does not say.
const BARS_MAX: usize = 1_000;
const BARS_DEFAULT: usize = 100;
/// Values of an indicator in one answer.
const POINTS_MAX: usize = 500;
/// Articles of one answer.
const ARTICLES_MAX: usize = 100;
const ARTICLES_DEFAULT: usize = 20;
/// How far back news are asked for.
const HOURS_MAX: usize = 720;
const HOURS_DEFAULT: usize = 24;
/// Words of one request for news.
const KEYWORDS_MAX: usize = 10;
/// How often bars that are over are closed and handed to the store.
const ADVANCE: Duration = Duration::from_millis(200);
/// How long the end waits for the store.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// Sources, buffers and streams.
pub(crate) struct Engine {
    clock: Clock,
    default_source: String,
    setter: Setter,
    replay_directory: PathBuf,
    /// Sorted by id; those of the settings for ever, those that clients made until they are removed.
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    tape: Arc<Mutex<Tape>>,
    press: Arc<Press>,
    streams: Arc<Streams>,
    store: Option<Arc<Store>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Current values and who gave them.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) values: Vec<Arc<Value>>,
    pub(crate) source: Arc<str>,
    /// How many different symbols were asked for.
    pub(crate) asked: usize,
}

/// Buffered values.
#[derive(Debug)]
pub(crate) struct Buffered {
    /// Oldest first.
    pub(crate) values: Vec<Arc<Value>>,
    /// In the whole buffer of the symbol.
    pub(crate) buffered: usize,
}

/// A source after it was connected.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) source: Arc<str>,
    /// Sorted, at most 100 of them.
    pub(crate) symbols: Vec<Arc<str>>,
    /// All of them.
    pub(crate) symbols_count: usize,
}

/// Bars of one symbol.
#[derive(Debug)]
pub(crate) struct BarsFound {
    /// Oldest first.
    pub(crate) bars: Vec<HeldBar>,
    pub(crate) source: Arc<str>,
    pub(crate) interval: Interval,
    /// Name of the exchange's zone, if it is not UTC.
    pub(crate) zone: Option<String>,
}

/// Articles.
#[derive(Debug)]
pub(crate) struct NewsFound {
    pub(crate) articles: Vec<Found>,
    /// In the whole buffer.
    pub(crate) buffered: usize,
}

/// Indicators of one symbol.
#[derive(Debug)]
pub(crate) struct StudiesFound {
    pub(crate) studies: Vec<Studied>,
    /// Bars that they were computed over.
    pub(crate) bars: usize,
    pub(crate) source: Arc<str>,
    pub(crate) interval: Interval,
}

/// One source, from outside.
#[derive(Debug)]
pub(crate) struct SourceReport {
    pub(crate) id: Arc<str>,
    pub(crate) type_name: &'static str,
    pub(crate) view: SlotView,
    pub(crate) books: Books,
    pub(crate) bars: BarCounts,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Report {
    /// Sorted by id.
    pub(crate) sources: Vec<SourceReport>,
    pub(crate) buffers: (RingCounts, RingLimits),
    pub(crate) bars: (RingCounts, RingLimits),
    /// What is there, the bounds of it, and how many streams of it are open.
    pub(crate) news: (LibraryCounts, LibraryLimits, usize),
    pub(crate) store: Option<StoreStats>,
    /// How many are open, sums over all, bounds.
    pub(crate) streams: (usize, StreamCounts, StreamLimits),
    pub(crate) started_at: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) uptime: Duration,
}

impl SourceReport {
    /// Records that were not taken in, and those that were but joined no bar, by kind.
    pub(crate) fn drops(&self) -> BTreeMap<&'static str, u64> {
        let of_bars = [
            ("late", self.bars.refused_late),
            ("future", self.bars.refused_future),
            ("overflow", self.bars.refused_overflow),
        ];
        let booked = self.books.drops.iter().map(|(kind, count)| (kind.as_str(), *count));
        booked.chain(of_bars.into_iter().filter(|(_, count)| *count > 0)).collect()
    }
}

impl Engine {
    /// Opens the store, makes the sources and connects those that are to be connected; one that cannot be is down,
    /// which is no reason not to start.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub(crate) async fn start(settings: &Settings) -> Result<Arc<Self>, StoreError> {
        let clock = Clock::start();
        let (store, loaded) = open_store(settings, clock).await?;
        let mut tape = Tape::new(settings.tape_limits(), store.clone());
        let kept = Kept::read(&loaded, settings);
        for series in &loaded.series {
            tape.restore(series, clock.now());
        }
        let press = Arc::new(Press::new(settings.news.library(), store.clone(), settings.streams.max_open));
        let unreadable = press.restore(&loaded.articles, clock.now());
        if unreadable > 0 {
            tracing::warn!(unreadable, "articles of the store cannot be read");
        }
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let engine = Arc::new(Self {
            clock,
            default_source: settings.default_source.clone(),
            setter: settings.client(),
            replay_directory: settings.replay_directory.clone(),
            slots: RwLock::default(),
            tape: Arc::new(Mutex::new(tape)),
            press,
            streams: Arc::new(Streams::new(settings.streams)),
            store,
            stop,
            tasks,
        });
        engine.tasks.spawn(engine.stop.clone().run_until_cancelled_owned(advance(
            Arc::clone(&engine.tape),
            Arc::clone(&engine.press),
            clock,
        )));
        let (streams, stop) = (Arc::clone(&engine.streams), engine.stop.clone());
        engine.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(streams.watch_turns()).await;
        });
        for (id, source) in kept.sources {
            let slot = engine.new_slot(&id, source.definition);
            engine.slots.write().insert(id, Arc::clone(&slot));
            let Some(config) = source.config else { continue };
            let connecting = async move {
                if let Err(error) = slot.connect(&config).await {
                    tracing::warn!(source_id = %slot.id(), %error, "not connected at the start");
                }
            };
            // A source across a network may take its time, and no other should wait for it.
            match source.is_local {
                true => connecting.await,
                false => drop(engine.tasks.spawn(connecting)),
            }
        }
        Ok(engine)
    }

    fn new_slot(&self, id: &str, definition: SourceDefinition) -> Arc<Slot> {
        let (tape, press, streams) = (Arc::clone(&self.tape), Arc::clone(&self.press), Arc::clone(&self.streams));
        let feed = Feed::new(Arc::from(id), self.clock, tape, press, streams);
        let around = Surroundings { replay_directory: self.replay_directory.clone(), guard: Arc::default() };
        Arc::new(Slot::new(definition, around, self.setter, feed, self.stop.clone(), self.tasks.clone()))
    }

    /// The current value of each symbol. An empty `source_id` means the default source.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `UnknownSymbol`, `SourceDown`, `SourceThrottled`.
    pub(crate) async fn fetch(&self, symbols: &[String], source_id: &str) -> Result<Fetched, EngineError> {
        let symbols = check_symbols(symbols)?;
        let slot = self.market_slot(self.or_default(source_id))?;
        let source = slot.source()?;
        if !source.answers_any_symbol() {
            check_covered(&slot, source.symbols(), &symbols)?;
        }
        let values = slot.fetch(&source, &symbols).await?;
        Ok(Fetched { values, source: Arc::clone(slot.id()), asked: symbols.len() })
    }

    /// The newest values of one symbol, from one source or, if `source_id` is empty, from all.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `UnknownSymbol`.
    pub(crate) fn buffer(&self, symbol: &str, limit: Option<i32>, source_id: &str) -> Result<Buffered, EngineError> {
        check_symbol("symbol", symbol)?;
        let capacity = self.tape.lock().values().1.max_items_per_key;
        let limit = in_range("limit", limit, LIMIT_DEFAULT, capacity)?;
        let source = if source_id.is_empty() { None } else { Some(self.market_slot(source_id)?) };
        let found = self.tape.lock().newest_values(symbol, source.as_ref().map(|slot| &**slot.id()), limit);
        if let Some((values, buffered)) = found {
            return Ok(Buffered { values, buffered });
        }
        if self.slots.read().values().any(|slot| covers(slot, symbol)) {
            return Ok(Buffered { values: Vec::new(), buffered: 0 });
        }
        Err(EngineError::UnknownSymbol {
            symbol: symbol.to_owned(),
            source_id: source.map(|slot| slot.id().to_string()),
        })
    }

    /// The current values, then every later one. An empty `source_id` means the default source.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `UnknownSymbol`, `SourceDown`, `TooManyStreams`, `ShuttingDown`.
    pub(crate) fn subscribe(
        &self,
        symbols: &[String],
        source_id: &str,
    ) -> Result<(Subscription, Arc<str>), EngineError> {
        let symbols = check_symbols(symbols)?;
        let slot = self.market_slot(self.or_default(source_id))?;
        let source = slot.source()?;
        check_covered(&slot, source.symbols(), &symbols)?;
        let subscription = slot
            .feed()
            .subscribe(&symbols)
            .map_err(|_| EngineError::TooManyStreams { max_open: self.streams.limits().max_open })?;
        // What happened to the source or the engine meanwhile was told to the streams that were open then, so this one
        // looks for itself.
        if self.stop.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        check_covered(&slot, slot.source()?.symbols(), &symbols)?;
        if slot.view().state == State::Finished {
            slot.feed().end_streams(&StreamEnd::Finished);
        }
        Ok((subscription, Arc::clone(slot.id())))
    }

    /// The newest bars of one symbol, from one source.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `UnknownSymbol`.
    pub(crate) fn bars(
        &self,
        symbol: &str,
        interval: &str,
        limit: Option<i32>,
        source_id: &str,
    ) -> Result<BarsFound, EngineError> {
        let limit = in_range("limit", limit, BARS_DEFAULT, BARS_MAX)?;
        self.find_bars(symbol, interval, limit, source_id)
    }

    /// Indicators over the newest bars of one symbol, from one source.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `UnknownSymbol`.
    pub(crate) fn studies(
        &self,
        symbol: &str,
        interval: &str,
        limit: Option<i32>,
        source_id: &str,
        indicators: &[String],
    ) -> Result<StudiesFound, EngineError> {
        let limit = in_range("limit", limit, 1, POINTS_MAX)?;
        let asked = study::parse(indicators)?;
        // All that is there within reason: an average that looks far back is better for every bar more.
        let found = self.find_bars(symbol, interval, BARS_MAX, source_id)?;
        let studies: Result<Vec<_>, _> = asked.iter().map(|study| study.over(&found.bars, limit)).collect();
        let studies = studies.map_err(|error| EngineError::field("indicators", error.to_string()))?;
        Ok(StudiesFound { studies, bars: found.bars.len(), source: found.source, interval: found.interval })
    }

    fn find_bars(&self, symbol: &str, interval: &str, limit: usize, source_id: &str) -> Result<BarsFound, EngineError> {
        check_symbol("symbol", symbol)?;
        let Some(interval) = Interval::parse(interval) else {
            return Err(EngineError::field("interval", "must be 1s, 1m, 1h or 1d"));
        };
        let slot = self.market_slot(self.or_default(source_id))?;
        let mut tape = self.tape.lock();
        let bars = tape.newest_bars(slot.id(), symbol, interval, limit, self.clock.now());
        let zone = tape.zone(slot.id(), symbol);
        drop(tape);
        if bars.is_empty() && zone.is_none() && !covers(&slot, symbol) {
            return Err(EngineError::UnknownSymbol {
                symbol: symbol.to_owned(),
                source_id: Some(slot.id().to_string()),
            });
        }
        let zone = zone.and_then(|zone| zone.iana_name().filter(|name| *name != "UTC").map(str::to_owned));
        Ok(BarsFound { bars, source: Arc::clone(slot.id()), interval, zone })
    }

    /// Connects a source, or connects it again; with a type, makes it if there is none of this id.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `TooManySources`, `SourceDown`, `SourceThrottled`.
    pub(crate) async fn connect(
        &self,
        source_id: &str,
        type_name: &str,
        config: &BTreeMap<String, String>,
    ) -> Result<Connection, EngineError> {
        if source_id.is_empty() {
            return Err(EngineError::field("source_id", "must not be empty"));
        }
        let known = self.slots.read().get(source_id).cloned();
        let slot = match known {
            Some(slot) if type_name.is_empty() || type_name == slot.type_name() => slot,
            Some(slot) => {
                return Err(EngineError::field("type", format!("is {} for this source", slot.type_name())));
            }
            None if type_name.is_empty() => return Err(self.unknown_source(source_id)),
            None => self.make(source_id, type_name, config)?,
        };
        let outcome = slot.connect(config).await;
        // One that is down is tried again, so it is kept as well; one whose settings are no good is not.
        if !matches!(outcome, Err(EngineError::InvalidField { .. } | EngineError::ShuttingDown)) {
            self.keep(&slot, Some(config));
        }
        let source = outcome?;
        let symbols = source.symbols();
        Ok(Connection {
            source: Arc::clone(slot.id()),
            symbols: symbols.iter().take(LISTED_MAX).cloned().collect(),
            symbols_count: symbols.len(),
        })
    }

    fn make(
        &self,
        source_id: &str,
        type_name: &str,
        config: &BTreeMap<String, String>,
    ) -> Result<Arc<Slot>, EngineError> {
        if !is_source_id(source_id) {
            return Err(EngineError::field("source_id", "must be 1 to 32 of a-z, 0-9, _ and -"));
        }
        let settings = SourceSettings::of_type(type_name)
            .ok_or_else(|| EngineError::field("type", format!("must be one of {}", TYPES.join(", "))))?;
        // Before it is made, so that a mistake leaves nothing behind.
        let invalid = |fault: crate::source::FieldFault| EngineError::field(&fault.field, fault.problem);
        settings.with(config, self.setter).and_then(|settings| settings.check_complete()).map_err(invalid)?;
        let slot = self.new_slot(source_id, SourceDefinition { settings, connect: false, made: true });
        let mut slots = self.slots.write();
        if slots.len() >= SOURCES_MAX && !slots.contains_key(source_id) {
            return Err(EngineError::TooManySources { max: SOURCES_MAX });
        }
        Ok(Arc::clone(slots.entry(source_id.to_owned()).or_insert(slot)))
    }

    /// Disconnects a source; with `remove`, forgets it, if a client made it.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`.
    pub(crate) async fn disconnect(&self, source_id: &str, remove: bool) -> Result<Arc<str>, EngineError> {
        if source_id.is_empty() {
            return Err(EngineError::field("source_id", "must not be empty"));
        }
        let slot = self.slot(source_id)?;
        if remove && !slot.definition().made {
            return Err(EngineError::field("remove", "is only for sources that were made by ConnectDataSource"));
        }
        slot.disconnect().await;
        match remove {
            true => {
                self.slots.write().remove(source_id);
                if let Some(store) = &self.store {
                    store.put_source(source_id, None);
                }
            }
            false => self.keep(&slot, None),
        }
        Ok(Arc::clone(slot.id()))
    }

    /// Keeps what a client did to a source over a restart.
    fn keep(&self, slot: &Slot, config: Option<&BTreeMap<String, String>>) {
        if let Some(store) = &self.store {
            store.put_source(slot.id(), crate::kept::written(slot.definition(), config));
        }
    }

    /// Asks for news about some words and gives what answers best. An empty `source_id` means all sources of news; then
    /// one that works is enough.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `SourceDown`, `SourceThrottled`.
    pub(crate) async fn fetch_news(
        &self,
        keywords: &[String],
        source_id: &str,
        hours_back: Option<i32>,
        limit: Option<i32>,
    ) -> Result<NewsFound, EngineError> {
        let query = query_of(keywords)?;
        let hours = in_range("hours_back", hours_back, HOURS_DEFAULT, HOURS_MAX)?;
        let limit = in_range("limit", limit, ARTICLES_DEFAULT, ARTICLES_MAX)?;
        let since = self.clock.now() - SignedDuration::from_hours(i64::try_from(hours).unwrap_or(0));
        let slots = match source_id.is_empty() {
            true => self.news_slots()?,
            false => vec![self.news_slot(source_id)?],
        };
        let asked = slots.iter().map(|slot| async move {
            let source = slot.source()?;
            source.fetch_news(keywords, since, slot.feed()).await.map_err(|error| slot.fetch_fault(error))
        });
        let outcomes = futures_util::future::join_all(asked).await;
        let mut failed = None;
        let works =
            outcomes.into_iter().filter_map(|outcome| outcome.map_err(|error| failed = Some(error)).ok()).count();
        if let (0, Some(error)) = (works, failed) {
            return Err(error);
        }
        let source = Some(source_id).filter(|id| !id.is_empty()).map(Arc::from);
        Ok(NewsFound { articles: self.search(query, source, Some(since), limit).await, buffered: 0 })
    }

    /// The newest news, or what answers best to some words.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`.
    pub(crate) async fn news(
        &self,
        keywords: &[String],
        source_id: &str,
        limit: Option<i32>,
    ) -> Result<NewsFound, EngineError> {
        let limit = in_range("limit", limit, ARTICLES_DEFAULT, ARTICLES_MAX)?;
        let Wanted { query, source } = self.wanted(keywords, source_id)?;
        let counts = source.as_ref().map_or_else(|| self.press.counts().0, |source| self.press.counts_of(source));
        let articles = match query {
            Some(query) => self.search(query, source, None, limit).await,
            None => self.press.newest(limit, source.as_deref()),
        };
        Ok(NewsFound { articles, buffered: counts.articles })
    }

    /// Looks through all articles, which takes milliseconds that other tasks of this thread should not wait for.
    async fn search(
        &self,
        query: Query,
        source: Option<Arc<str>>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Vec<Found> {
        let press = Arc::clone(&self.press);
        let searching = tokio::task::spawn_blocking(move || press.search(&query, source.as_deref(), since, limit));
        // A search that panics finds nothing.
        searching.await.unwrap_or_default()
    }

    /// Everything that is new from now on.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `TooManyStreams`.
    pub(crate) fn read_news(&self, keywords: &[String], source_id: &str) -> Result<Reader, EngineError> {
        let reader = self.press.read(self.wanted(keywords, source_id)?, self.stop.clone());
        reader.ok_or_else(|| EngineError::TooManyStreams { max_open: self.streams.limits().max_open })
    }

    fn wanted(&self, keywords: &[String], source_id: &str) -> Result<Wanted, EngineError> {
        let source = match source_id.is_empty() {
            true => None,
            false => Some(Arc::clone(self.news_slot(source_id)?.id())),
        };
        let query = if keywords.is_empty() { None } else { Some(query_of(keywords)?) };
        Ok(Wanted { query, source })
    }

    fn news_slot(&self, source_id: &str) -> Result<Arc<Slot>, EngineError> {
        let slot = self.slot(source_id)?;
        match slot.is_news() {
            true => Ok(slot),
            false => Err(EngineError::field("source_id", "is a source of market data, which has no news")),
        }
    }

    /// Those that somebody connected.
    fn news_slots(&self) -> Result<Vec<Arc<Slot>>, EngineError> {
        let slots = self.slots.read();
        let news = slots.values().filter(|slot| slot.is_news() && slot.view().state != State::Disconnected);
        let found: Vec<_> = news.cloned().collect();
        match found.is_empty() {
            false => Ok(found),
            true => Err(EngineError::field("source_id", "is needed: no source of news is connected")),
        }
    }

    /// The state and the counts of one source or, if `source_id` is empty, of all.
    ///
    /// # Errors
    /// `UnknownSource`.
    pub(crate) fn report(&self, source_id: &str) -> Result<Report, EngineError> {
        let only = if source_id.is_empty() { None } else { Some(self.slot(source_id)?) };
        let slots: Vec<Arc<Slot>> = match only {
            Some(slot) => vec![slot],
            None => self.slots.read().values().cloned().collect(),
        };
        let sources = slots
            .iter()
            .map(|slot| SourceReport {
                id: Arc::clone(slot.id()),
                type_name: slot.type_name(),
                view: slot.view(),
                books: slot.feed().books(),
                bars: self.tape.lock().bar_counts(slot.id()),
            })
            .collect();
        let (articles, article_limits) = self.press.counts();
        let tape = self.tape.lock();
        let (open, counts) = self.streams.counts();
        Ok(Report {
            sources,
            buffers: tape.values(),
            bars: tape.bars(),
            news: (articles, article_limits, self.press.readers()),
            store: self.store.as_ref().map(|store| store.stats()),
            streams: (open, counts, self.streams.limits()),
            started_at: self.clock.started_at(),
            now: self.clock.now(),
            uptime: self.clock.uptime(),
        })
    }

    /// The state of each source, by id.
    pub(crate) fn states(&self) -> Vec<(String, State)> {
        self.slots.read().iter().map(|(id, slot)| (id.clone(), slot.view().state)).collect()
    }

    /// UTC now.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Stops the sources and ends all streams. Requests that need no source are still answered.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.streams.end(None, &StreamEnd::ShuttingDown);
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(store) = self.store.clone() {
            self.tape.lock().advance(self.clock.now());
            let flushed = tokio::task::spawn_blocking(move || store.flush(STORE_PATIENCE)).await;
            if !matches!(flushed, Ok(Ok(()))) {
                tracing::warn!("the store was not written at the end");
            }
        }
    }

    fn or_default<'a>(&'a self, source_id: &'a str) -> &'a str {
        if source_id.is_empty() { &self.default_source } else { source_id }
    }

    fn slot(&self, source_id: &str) -> Result<Arc<Slot>, EngineError> {
        let slot = self.slots.read().get(source_id).cloned();
        slot.ok_or_else(|| self.unknown_source(source_id))
    }

    fn market_slot(&self, source_id: &str) -> Result<Arc<Slot>, EngineError> {
        let slot = self.slot(source_id)?;
        match slot.is_news() {
            false => Ok(slot),
            true => Err(EngineError::field("source_id", "is a source of news, which has no symbols")),
        }
    }

    fn unknown_source(&self, source_id: &str) -> EngineError {
        EngineError::UnknownSource {
            source_id: source_id.chars().take(NAME_MAX_BYTES).flat_map(char::escape_debug).collect(),
            known: self.slots.read().keys().cloned().collect(),
        }
    }
}

async fn open_store(settings: &Settings, clock: Clock) -> Result<(Option<Arc<Store>>, Loaded), StoreError> {
    let Some(store) = &settings.store else { return Ok((None, Loaded::default())) };
    let (path, limits) = (store.path.clone(), store.limits());
    let opening = tokio::task::spawn_blocking(move || Store::open(&path, limits, clock)).await;
    let (store, loaded) = opening.map_err(|ended| StoreError::NotWritten { cause: ended.to_string() })??;
    if loaded.unreadable > 0 {
        tracing::warn!(unreadable = loaded.unreadable, "entries of the store cannot be read");
    }
    Ok((Some(Arc::new(store)), loaded))
}

/// Some times a second, what is over is closed and what is too old is forgotten.
async fn advance(tape: Arc<Mutex<Tape>>, press: Arc<Press>, clock: Clock) {
    let mut ticks = tokio::time::interval(ADVANCE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tape.lock().advance(clock.now());
        press.expire(clock.now());
    }
}

fn query_of(keywords: &[String]) -> Result<Query, EngineError> {
    if keywords.len() > KEYWORDS_MAX {
        return Err(EngineError::field("keywords", format!("must be at most {KEYWORDS_MAX}")));
    }
    Query::new(keywords).map_err(|problem| EngineError::field("keywords", problem.to_string()))
}

fn covers(slot: &Slot, symbol: &str) -> bool {
    slot.source().is_ok_and(|source| source.symbols().contains(symbol))
}

/// A number of a request that has a default.
pub(crate) fn in_range(field: &str, given: Option<i32>, default: usize, max: usize) -> Result<usize, EngineError> {
    let Some(given) = given else { return Ok(default.min(max)) };
    usize::try_from(given)
        .ok()
        .filter(|given| (1..=max).contains(given))
        .ok_or_else(|| EngineError::field(field, format!("must be 1 to {max}")))
}

/// The symbols in the order of the request, each once.
fn check_symbols(symbols: &[String]) -> Result<Vec<Arc<str>>, EngineError> {
    if symbols.is_empty() {
        return Err(EngineError::field("symbols", "must not be empty"));
    }
    if symbols.len() > SYMBOLS_MAX {
        return Err(EngineError::field("symbols", format!("must be at most {SYMBOLS_MAX}")));
    }
    let mut checked: Vec<Arc<str>> = Vec::with_capacity(symbols.len());
    for (at, symbol) in symbols.iter().enumerate() {
        check_symbol(&format!("symbols[{at}]"), symbol)?;
        if !checked.iter().any(|earlier| **earlier == **symbol) {
            checked.push(Arc::from(symbol.as_str()));
        }
    }
    Ok(checked)
}

fn check_symbol(field: &str, symbol: &str) -> Result<(), EngineError> {
    if symbol.is_empty() {
        return Err(EngineError::field(field, "must not be empty"));
    }
    if !is_symbol(symbol) {
        let problem = format!("must be at most {NAME_MAX_BYTES} letters, digits and . - _ / : ^ =");
        return Err(EngineError::field(field, problem));
    }
    Ok(())
}

fn check_covered(
    slot: &Slot,
    covered: &std::collections::BTreeSet<Arc<str>>,
    symbols: &[Arc<str>],
) -> Result<(), EngineError> {
    match symbols.iter().find(|symbol| !covered.contains(*symbol)) {
        None => Ok(()),
        Some(symbol) => {
            Err(EngineError::UnknownSymbol { symbol: symbol.to_string(), source_id: Some(slot.id().to_string()) })
        }
    }
}
