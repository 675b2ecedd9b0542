//! What the engine can do, in its own words; the wire is in [`crate::service`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::buffers::{BufferCounts, Buffers};
use crate::clock::Clock;
use crate::error::EngineError;
use crate::feed::Feed;
use crate::ledger::Books;
use crate::settings::{BufferLimits, Settings, StreamLimits};
use crate::slot::{Slot, SlotView, State};
use crate::streams::{StreamCounts, StreamEnd, Streams, Subscription};
use crate::tick::{NAME_MAX_BYTES, Value, is_symbol};

/// Symbols of one request.
const SYMBOLS_MAX: usize = 100;
/// Values of a buffer that are given if the request does not say how many.
const LIMIT_DEFAULT: usize = 100;
/// Symbols that an answer to `connect` lists.
const LISTED_MAX: usize = 100;

/// Sources, buffers and streams.
pub(crate) struct Engine {
    clock: Clock,
    default_source: String,
    /// Sorted by id, fixed at the start.
    slots: BTreeMap<String, Arc<Slot>>,
    buffers: Arc<Mutex<Buffers>>,
    streams: Arc<Streams>,
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

/// One source, from outside.
#[derive(Debug)]
pub(crate) struct SourceReport {
    pub(crate) id: Arc<str>,
    pub(crate) type_name: &'static str,
    pub(crate) view: SlotView,
    pub(crate) books: Books,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Report {
    /// Sorted by id.
    pub(crate) sources: Vec<SourceReport>,
    pub(crate) buffers: (BufferCounts, BufferLimits),
    /// How many are open, sums over all, bounds.
    pub(crate) streams: (usize, StreamCounts, StreamLimits),
    pub(crate) started_at: Timestamp,
    pub(crate) uptime: std::time::Duration,
}

impl Engine {
    /// Makes the sources and connects those that are to be connected at the start; one that cannot be is down, which
    /// is no reason not to start.
    pub(crate) async fn start(settings: &Settings) -> Arc<Self> {
        let clock = Clock::start();
        let buffers = Arc::new(Mutex::new(Buffers::new(settings.buffers)));
        let streams = Arc::new(Streams::new(settings.streams));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let slots: BTreeMap<_, _> = settings
            .sources
            .iter()
            .map(|(id, definition)| {
                let feed = Feed::new(Arc::from(id.as_str()), clock, Arc::clone(&buffers), Arc::clone(&streams));
                let directory = settings.replay_directory.clone();
                (id.clone(), Arc::new(Slot::new(definition.clone(), directory, feed, stop.clone(), tasks.clone())))
            })
            .collect();
        for slot in slots.values().filter(|slot| slot.connects_at_start()) {
            if let Err(error) = slot.connect(&BTreeMap::new()).await {
                tracing::warn!(source_id = %slot.id(), %error, "not connected at the start");
            }
        }
        let default_source = settings.default_source.clone();
        Arc::new(Self { clock, default_source, slots, buffers, streams, stop, tasks })
    }

    /// The current value of each symbol. An empty `source_id` means the default source.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `UnknownSymbol`, `SourceDown`.
    pub(crate) async fn fetch(&self, symbols: &[String], source_id: &str) -> Result<Fetched, EngineError> {
        let symbols = check_symbols(symbols)?;
        let slot = self.slot(self.or_default(source_id))?;
        let source = slot.source()?;
        check_covered(slot, source.symbols(), &symbols)?;
        let values = source.fetch(&symbols, slot.feed()).await;
        Ok(Fetched { values, source: Arc::clone(slot.id()), asked: symbols.len() })
    }

    /// The newest values of one symbol, from one source or, if `source_id` is empty, from all.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `UnknownSymbol`.
    pub(crate) fn buffer(&self, symbol: &str, limit: Option<i32>, source_id: &str) -> Result<Buffered, EngineError> {
        check_symbol("symbol", symbol)?;
        let capacity = self.buffers.lock().limits().capacity;
        let limit = match limit {
            None => LIMIT_DEFAULT.min(capacity),
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=capacity).contains(limit))
                .ok_or_else(|| EngineError::field("limit", format!("must be 1 to {capacity}")))?,
        };
        let source = if source_id.is_empty() { None } else { Some(self.slot(source_id)?) };
        let found = self.buffers.lock().newest(symbol, source.map(|slot| &**slot.id()), limit);
        if let Some((values, buffered)) = found {
            return Ok(Buffered { values, buffered });
        }
        if self.slots.values().any(|slot| slot.source().is_ok_and(|source| source.symbols().contains(symbol))) {
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
        let slot = self.slot(self.or_default(source_id))?;
        let source = slot.source()?;
        check_covered(slot, source.symbols(), &symbols)?;
        let subscription = slot
            .feed()
            .subscribe(&symbols)
            .map_err(|_| EngineError::TooManyStreams { max_open: self.streams.limits().max_open })?;
        // What happened to the source or the engine meanwhile was told to the streams that were open then, so this one
        // looks for itself.
        if self.stop.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        check_covered(slot, slot.source()?.symbols(), &symbols)?;
        if slot.view().state == State::Finished {
            slot.feed().end_streams(&StreamEnd::Finished);
        }
        Ok((subscription, Arc::clone(slot.id())))
    }

    /// Connects a source, or connects it again.
    ///
    /// # Errors
    /// `InvalidField`, `UnknownSource`, `SourceDown`.
    pub(crate) async fn connect(
        &self,
        source_id: &str,
        config: &BTreeMap<String, String>,
    ) -> Result<Connection, EngineError> {
        if source_id.is_empty() {
            return Err(EngineError::field("source_id", "must not be empty"));
        }
        let slot = self.slot(source_id)?;
        let source = slot.connect(config).await?;
        let symbols = source.symbols();
        Ok(Connection {
            source: Arc::clone(slot.id()),
            symbols: symbols.iter().take(LISTED_MAX).cloned().collect(),
            symbols_count: symbols.len(),
        })
    }

    /// The state and the counts of one source or, if `source_id` is empty, of all.
    ///
    /// # Errors
    /// `UnknownSource`.
    pub(crate) fn report(&self, source_id: &str) -> Result<Report, EngineError> {
        let only = if source_id.is_empty() { None } else { Some(self.slot(source_id)?) };
        let sources = self
            .slots
            .values()
            .filter(|slot| only.is_none_or(|only| Arc::ptr_eq(only, slot)))
            .map(|slot| SourceReport {
                id: Arc::clone(slot.id()),
                type_name: slot.type_name(),
                view: slot.view(),
                books: slot.feed().books(),
            })
            .collect();
        let buffers = self.buffers.lock();
        let (open, counts) = self.streams.counts();
        Ok(Report {
            sources,
            buffers: (buffers.counts(), buffers.limits()),
            streams: (open, counts, self.streams.limits()),
            started_at: self.clock.started_at(),
            uptime: self.clock.uptime(),
        })
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
    }

    fn or_default<'a>(&'a self, source_id: &'a str) -> &'a str {
        if source_id.is_empty() { &self.default_source } else { source_id }
    }

    fn slot(&self, source_id: &str) -> Result<&Arc<Slot>, EngineError> {
        self.slots.get(source_id).ok_or_else(|| EngineError::UnknownSource {
            source_id: source_id.chars().take(NAME_MAX_BYTES).flat_map(char::escape_debug).collect(),
            known: self.slots.keys().cloned().collect(),
        })
    }
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
