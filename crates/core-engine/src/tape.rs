//! The tape: everything that is kept of values and bars, in memory behind one lock and, bar by bar, on disk.
//!
//! Each value goes into the ring of its symbol and joins the bars of its series. A bar that changed is put into the
//! history of bars and handed to the store, which writes it within half a second.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::market::bars::{BarCounts, BarLimits, Event};
use crate::market::history::HeldBar;
use crate::market::history::rings::{RingCounts, RingLimits};
use crate::market::intake::Intake;
use crate::market::interval::Interval;
use crate::store::{BarKey, LoadedSeries, Store};
use crate::tick::Value;

/// All values and bars. The caller holds the lock.
#[derive(Debug)]
pub(crate) struct Tape {
    intake: Intake,
    store: Option<Arc<Store>>,
}

/// What a tape may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapeLimits {
    pub(crate) values: RingLimits,
    pub(crate) bars: RingLimits,
    pub(crate) series: BarLimits,
}

impl Tape {
    /// Empty.
    pub(crate) fn new(limits: TapeLimits, store: Option<Arc<Store>>) -> Self {
        Self { intake: Intake::new(limits.values, limits.series, limits.bars), store }
    }

    /// Takes back what the store had; its bars go on where they were.
    pub(crate) fn restore(&mut self, loaded: &LoadedSeries, now: Timestamp) {
        let (source, symbol) = (Arc::from(loaded.source.as_str()), Arc::from(loaded.symbol.as_str()));
        // They come newest first.
        for (start, bar) in loaded.bars.iter().rev() {
            let held = HeldBar { start: *start, bar: *bar };
            self.intake.restore(&source, &symbol, loaded.interval, held, now);
        }
    }

    /// Takes a value in.
    pub(crate) fn push(&mut self, value: &Arc<Value>, now: Timestamp) {
        let interval = value.tick.bar.and_then(|bar| bar.interval);
        self.intake.record(value, interval, now, &mut |source, symbol, event| keep(&self.store, source, symbol, event));
    }

    /// Learns about the exchange of a symbol.
    pub(crate) fn tell_exchange(
        &mut self,
        source: &Arc<str>,
        symbol: &Arc<str>,
        zone: Option<&TimeZone>,
        sessions: &[(Timestamp, Timestamp)],
        now: Timestamp,
    ) {
        if let Some(zone) = zone {
            self.intake.set_zone(source, symbol, zone, now, &mut |source, symbol, event| {
                keep(&self.store, source, symbol, event);
            });
        }
        let bars = self.intake.bars_mut();
        let Some(id) = bars.series(source, symbol) else { return };
        for (open, close) in sessions {
            bars.tell_session(id, *open, *close);
        }
    }

    /// A source is connected again: its time may go back once.
    pub(crate) fn restart(&mut self, source: &str) {
        self.intake.bars_mut().restart(source);
    }

    /// Keeps what changed, closes what is over, forgets what is too old. To be called some times a second.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.intake.advance(now, &mut |source, symbol, event| keep(&self.store, source, symbol, event));
    }

    /// The newest values of a symbol, see [`crate::market::history::ValueHistory::newest`].
    pub(crate) fn newest_values(
        &self,
        symbol: &str,
        source: Option<&str>,
        limit: usize,
    ) -> Option<(Vec<Arc<Value>>, usize)> {
        self.intake.values().newest(symbol, source, limit)
    }

    /// The newest bars of a symbol from a source, oldest first; what changed in this moment included.
    pub(crate) fn newest_bars(
        &mut self,
        source: &str,
        symbol: &str,
        interval: Interval,
        limit: usize,
        now: Timestamp,
    ) -> Vec<HeldBar> {
        self.intake.advance_one(source, symbol, now, &mut |source, symbol, event| {
            keep(&self.store, source, symbol, event);
        });
        self.intake.newest_bars(source, symbol, interval, limit)
    }

    /// The zone of a symbol's exchange, if the symbol is known.
    pub(crate) fn zone(&self, source: &str, symbol: &str) -> Option<TimeZone> {
        let bars = self.intake.bars();
        bars.zone(bars.find(source, symbol)?).cloned()
    }

    /// Counts of a source's bars.
    pub(crate) fn bar_counts(&self, source: &str) -> BarCounts {
        self.intake.bars().counts(source)
    }

    /// What the rings of values hold, and their bounds.
    pub(crate) fn values(&self) -> (RingCounts, RingLimits) {
        (self.intake.values().counts(), self.intake.values().limits())
    }

    /// What the rings of bars hold, and their bounds; refused are values of symbols too many as well.
    pub(crate) fn bars(&self) -> (RingCounts, RingLimits) {
        let (counts, (_, refused)) = (self.intake.held().counts(), self.intake.bars().sizes());
        (RingCounts { refused: counts.refused.saturating_add(refused), ..counts }, self.intake.held().limits())
    }
}

/// Hands a bar that changed to the store.
fn keep(store: &Option<Arc<Store>>, source: &Arc<str>, symbol: &Arc<str>, event: &Event) {
    if let (Some(store), Event::Bar { interval, bucket, bar, .. }) = (store, event) {
        let key =
            BarKey { source: Arc::clone(source), symbol: Arc::clone(symbol), interval: *interval, start: bucket.start };
        store.put_bar(key, bar);
    }
}
