//! Ticks become bars of 1 s, 1 m, 1 h and 1 d, for every symbol of every source.
//!
//! What changes is told as events, which the caller gives to the history, the store and the streams: a bar that is
//! over, at once; a bar that still runs, at the next [`Bars::advance`]; a closed bar that a late tick changed, again.
//! A time without ticks makes no bars, but is told as a gap and counted.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::calendar::Calendar;
use super::interval::{Bucket, Interval};
use super::ohlcv::{Ohlcv, Trade};
use super::series::{Series, Told};

/// The longest lateness that can be allowed for: it bounds how many bars of a second are held open.
pub(crate) const ALLOWANCE_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Bounds of the bars.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BarLimits {
    /// Symbols of all sources together; of one symbol, some 6 KiB are held, of one whose source delivers bars, up to
    /// 60 KiB.
    pub(crate) max_series: usize,
    /// How much older than the newest tick of its symbol a tick may be; at most [`ALLOWANCE_MAX`].
    pub(crate) allowance: SignedDuration,
    /// How far ahead of the clock a tick may be.
    pub(crate) skew: SignedDuration,
}

impl Default for BarLimits {
    fn default() -> Self {
        Self { max_series: 10_000, allowance: SignedDuration::from_secs(5), skew: SignedDuration::from_secs(2) }
    }
}

/// The number of a symbol of a source; valid in the [`Bars`] that gave it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SeriesId(u32);

/// A bar that a source made itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    /// When it begins, or any other time inside of it.
    pub(crate) at: Timestamp,
    pub(crate) open: Decimal,
    pub(crate) high: Decimal,
    pub(crate) low: Decimal,
    pub(crate) close: Decimal,
    /// Zero or more.
    pub(crate) volume: Decimal,
}

/// What became of a tick or a delivered bar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It is the newest of its symbol.
    Newest,
    /// It came late, but in time.
    Merged,
    /// A bar that was delivered just so before.
    Unchanged,
    /// A tick of a symbol whose source delivers bars: those count.
    Covered,
    /// Refused: later than allowed for.
    Late,
    /// Refused: too far ahead of the clock.
    Future,
    /// Refused: the sums would be more than a decimal holds, or the time more than a calendar.
    Overflow,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Event {
    /// A bar as it is now.
    Bar { interval: Interval, bucket: Bucket, bar: Ohlcv, state: BarState },
    /// Intervals without a tick, between two bars; from and to in seconds since 1970. A late tick may still fill it.
    Gap { interval: Interval, from: i64, to: i64, missing: i64 },
}

/// How final a bar is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BarState {
    /// It still runs.
    Open,
    /// It is over.
    Closed,
    /// It was told as closed and changed after that.
    Corrected,
}

/// Counters of one source, never reset.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct BarCounts {
    /// Ticks that joined bars.
    pub(crate) ticks: u64,
    /// Delivered bars that were taken in.
    pub(crate) delivered: u64,
    /// Of both, those that came late.
    pub(crate) merged_late: u64,
    pub(crate) refused_late: u64,
    pub(crate) refused_future: u64,
    pub(crate) refused_overflow: u64,
    /// Ticks of symbols whose source delivers bars.
    pub(crate) covered: u64,
    /// Bars that were told as closed, and bars that were told again.
    pub(crate) closed: u64,
    pub(crate) corrected: u64,
    /// Stretches without a tick, over all intervals, as they were told.
    pub(crate) gaps: u64,
    /// Bars that are missing between the first and the last, by interval; late ticks make them fewer.
    pub(crate) missing: [i64; 4],
}

/// The bars of everything.
#[derive(Debug)]
pub(crate) struct Bars {
    limits: BarLimits,
    sources: Vec<Source>,
    series: Vec<Entry>,
    refused_series: u64,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    symbols: HashMap<Arc<str>, SeriesId, RandomState>,
    counts: BarCounts,
}

#[derive(Debug)]
struct Entry {
    source: usize,
    symbol: Arc<str>,
    series: Series,
}

impl Bars {
    /// No bars yet.
    pub(crate) fn new(limits: BarLimits) -> Self {
        let allowance = limits.allowance.clamp(SignedDuration::ZERO, ALLOWANCE_MAX);
        Self { limits: BarLimits { allowance, ..limits }, sources: Vec::new(), series: Vec::new(), refused_series: 0 }
    }

    /// The number of a symbol of a source; made if it is new. `None`, counted, if there are too many.
    pub(crate) fn series(&mut self, source: &Arc<str>, symbol: &Arc<str>) -> Option<SeriesId> {
        // Sources are few, and mostly the very same text.
        let known = self.sources.iter().position(|known| Arc::ptr_eq(&known.name, source) || known.name == *source);
        if let Some(id) = known.and_then(|known| self.sources.get(known)?.symbols.get(&**symbol)) {
            return Some(*id);
        }
        if self.series.len() >= self.limits.max_series {
            self.refused_series = self.refused_series.saturating_add(1);
            return None;
        }
        let id = SeriesId(u32::try_from(self.series.len()).ok()?);
        let at = known.unwrap_or(self.sources.len());
        if known.is_none() {
            let (symbols, counts) = (HashMap::default(), BarCounts::default());
            self.sources.push(Source { name: Arc::clone(source), symbols, counts });
        }
        self.sources.get_mut(at)?.symbols.insert(Arc::clone(symbol), id);
        self.series.push(Entry { source: at, symbol: Arc::clone(symbol), series: Series::default() });
        Some(id)
    }

    /// The number of a symbol of a source, if it has one.
    pub(crate) fn find(&self, source: &str, symbol: &str) -> Option<SeriesId> {
        self.sources.iter().find(|known| *known.name == *source)?.symbols.get(symbol).copied()
    }

    /// The source and the symbol of a number.
    pub(crate) fn names(&self, id: SeriesId) -> Option<(&Arc<str>, &Arc<str>)> {
        let entry = self.series.get(id.0 as usize)?;
        Some((&self.sources.get(entry.source)?.name, &entry.symbol))
    }

    /// The zone of a symbol's exchange.
    pub(crate) fn zone(&self, id: SeriesId) -> Option<&TimeZone> {
        Some(self.series.get(id.0 as usize)?.series.calendar().zone())
    }

    /// Learns the zone of a symbol's exchange; UTC until then. Sessions that were told before are forgotten if the
    /// zone is another one.
    pub(crate) fn set_zone(&mut self, id: SeriesId, zone: &TimeZone, told: &mut Vec<(SeriesId, Event)>) {
        self.with(id, told, |series, _, told| {
            if series.calendar().zone() != zone {
                series.set_calendar(Calendar::new(zone.clone()), told);
            }
        });
    }

    /// Learns when the exchange of a symbol is open on one day.
    pub(crate) fn tell_session(&mut self, id: SeriesId, open: Timestamp, close: Timestamp) {
        if let Some(entry) = self.series.get_mut(id.0 as usize) {
            entry.series.calendar_mut().tell_session(open, close);
        }
    }

    /// A source is connected again, or begins its file again: its time may go back once.
    pub(crate) fn restart(&mut self, source: &str) {
        let Some(at) = self.sources.iter().position(|known| *known.name == *source) else { return };
        self.series.iter_mut().filter(|entry| entry.source == at).for_each(|entry| entry.series.restart());
    }

    /// Takes a bar back from the store, so that it goes on; the bars of each interval oldest first. Hours and days of
    /// delivered bars are rolled up again from the last 180 of each interval, so that many should be given.
    pub(crate) fn restore(&mut self, id: SeriesId, interval: Interval, start: i64, bar: &Ohlcv) {
        if let Some(entry) = self.series.get_mut(id.0 as usize) {
            entry.series.restore(interval, start, bar, &self.limits);
        }
    }

    /// Lets a tick join its four bars. Events are appended; only a tick that begins a bar or comes late has any.
    pub(crate) fn trade(
        &mut self,
        id: SeriesId,
        trade: &Trade,
        now: Timestamp,
        told: &mut Vec<(SeriesId, Event)>,
    ) -> Taken {
        let taken = self.with(id, told, |series, limits, told| series.trade(trade, now, limits, told));
        self.count(id, taken.unwrap_or(Taken::Overflow), |counts| &mut counts.ticks)
    }

    /// Takes a bar that the source made itself, in place of the one it delivered before, and rolls it up into the
    /// wider ones. It may be delivered again while it lies in the last two bars of the next wider interval.
    pub(crate) fn deliver(
        &mut self,
        id: SeriesId,
        interval: Interval,
        delivered: &Delivered,
        now: Timestamp,
        told: &mut Vec<(SeriesId, Event)>,
    ) -> Taken {
        let taken = self.with(id, told, |series, limits, told| series.deliver(interval, delivered, now, limits, told));
        self.count(id, taken.unwrap_or(Taken::Overflow), |counts| &mut counts.delivered)
    }

    /// Tells what changed since the last time and closes what is over. Looks at every symbol: to be called some times
    /// a second.
    pub(crate) fn advance(&mut self, now: Timestamp, told: &mut Vec<(SeriesId, Event)>) {
        for number in 0..u32::try_from(self.series.len()).unwrap_or(u32::MAX) {
            self.advance_one(SeriesId(number), now, told);
        }
    }

    /// The same for one symbol.
    pub(crate) fn advance_one(&mut self, id: SeriesId, now: Timestamp, told: &mut Vec<(SeriesId, Event)>) {
        let Some(entry) = self.series.get_mut(id.0 as usize) else { return };
        let Some(source) = self.sources.get_mut(entry.source) else { return };
        let mut events = |event| told.push((id, event));
        entry.series.advance(now, &mut Told { counts: &mut source.counts, events: &mut events });
    }

    /// The counters of a source.
    pub(crate) fn counts(&self, source: &str) -> BarCounts {
        self.sources.iter().find(|known| *known.name == *source).map(|known| known.counts).unwrap_or_default()
    }

    /// Symbols of all sources, and how often one was refused.
    pub(crate) fn sizes(&self) -> (usize, u64) {
        (self.series.len(), self.refused_series)
    }

    fn with<T>(
        &mut self,
        id: SeriesId,
        told: &mut Vec<(SeriesId, Event)>,
        work: impl FnOnce(&mut Series, &BarLimits, &mut Told<'_>) -> T,
    ) -> Option<T> {
        let entry = self.series.get_mut(id.0 as usize)?;
        let counts = &mut self.sources.get_mut(entry.source)?.counts;
        let mut events = |event| told.push((id, event));
        Some(work(&mut entry.series, &self.limits, &mut Told { counts, events: &mut events }))
    }

    fn count(&mut self, id: SeriesId, taken: Taken, accepted: fn(&mut BarCounts) -> &mut u64) -> Taken {
        let source = self.series.get(id.0 as usize).map(|entry| entry.source);
        let Some(source) = source.and_then(|source| self.sources.get_mut(source)) else { return taken };
        let counts = &mut source.counts;
        if taken == Taken::Merged {
            counts.merged_late = counts.merged_late.saturating_add(1);
        }
        let counter = match taken {
            Taken::Newest | Taken::Merged | Taken::Unchanged => accepted(counts),
            Taken::Covered => &mut counts.covered,
            Taken::Late => &mut counts.refused_late,
            Taken::Future => &mut counts.refused_future,
            Taken::Overflow => &mut counts.refused_overflow,
        };
        *counter = counter.saturating_add(1);
        taken
    }
}

#[cfg(test)]
mod tests;
