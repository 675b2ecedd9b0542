//! The way of a value through everything here: into the history of values, into its bars, and what the bars tell into
//! their history.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::bars::{BarLimits, Bars, Delivered, Event, SeriesId, Taken};
use super::history::rings::RingLimits;
use super::history::{BarHistory, HeldBar, ValueHistory};
use super::interval::Interval;
use super::ohlcv::{Moment, Ohlcv, Trade};
use crate::tick::Value;

/// Histories and bars, kept together.
#[derive(Debug)]
pub(crate) struct Intake {
    values: ValueHistory,
    bars: Bars,
    held: BarHistory,
    /// Empty between calls; kept for its memory.
    told: Vec<(SeriesId, Event)>,
}

/// The source and the symbol, and what happened there.
pub(crate) type OnEvent<'a> = &'a mut dyn FnMut(&Arc<str>, &Arc<str>, &Event);

impl Intake {
    /// Empty.
    pub(crate) fn new(values: RingLimits, bars: BarLimits, held: RingLimits) -> Self {
        Self { values: ValueHistory::new(values), bars: Bars::new(bars), held: BarHistory::new(held), told: Vec::new() }
    }

    /// The newest values.
    pub(crate) fn values(&self) -> &ValueHistory {
        &self.values
    }

    /// The bars that may still change.
    pub(crate) fn bars(&self) -> &Bars {
        &self.bars
    }

    /// The same, to tell them zones, sessions and restarts.
    pub(crate) fn bars_mut(&mut self) -> &mut Bars {
        &mut self.bars
    }

    /// The newest bars.
    pub(crate) fn held(&self) -> &BarHistory {
        &self.held
    }

    /// Takes a value in. If it is a bar, `interval` says how wide; a bar of another width makes no bars. `None` if it
    /// made none, or is of a symbol too many.
    pub(crate) fn record(
        &mut self,
        value: &Arc<Value>,
        interval: Option<Interval>,
        now: Timestamp,
        on_event: OnEvent<'_>,
    ) -> Option<Taken> {
        self.values.push(value, now);
        let tick = &value.tick;
        let taken = match (tick.bar, interval) {
            (None, _) => {
                let id = self.bars.series(&value.source, &tick.symbol)?;
                let moment = Moment { at: tick.timestamp, sequence: value.sequence };
                let trade = Trade { moment, price: tick.price, volume: tick.volume };
                self.bars.trade(id, &trade, now, &mut self.told)
            }
            (Some(bar), Some(interval)) => {
                let id = self.bars.series(&value.source, &tick.symbol)?;
                let delivered = Delivered {
                    at: tick.timestamp,
                    open: bar.open,
                    high: bar.high,
                    low: bar.low,
                    close: tick.price,
                    volume: tick.volume,
                };
                self.bars.deliver(id, interval, &delivered, now, &mut self.told)
            }
            (Some(_), None) => return None,
        };
        self.tell(now, on_event);
        Some(taken)
    }

    /// Tells what changed, closes what is over, forgets what is too old; to be called some times a second.
    pub(crate) fn advance(&mut self, now: Timestamp, on_event: OnEvent<'_>) {
        self.bars.advance(now, &mut self.told);
        self.tell(now, on_event);
        self.values.expire(now);
        self.held.expire(now);
    }

    /// Learns the zone of a symbol's exchange.
    pub(crate) fn set_zone(
        &mut self,
        source: &Arc<str>,
        symbol: &Arc<str>,
        zone: &TimeZone,
        now: Timestamp,
        on_event: OnEvent<'_>,
    ) {
        if let Some(id) = self.bars.series(source, symbol) {
            self.bars.set_zone(id, zone, &mut self.told);
            self.tell(now, on_event);
        }
    }

    /// Takes a bar back from the store; the bars of each interval oldest first.
    pub(crate) fn restore(
        &mut self,
        source: &Arc<str>,
        symbol: &Arc<str>,
        interval: Interval,
        held: HeldBar,
        now: Timestamp,
    ) {
        if let Some(id) = self.bars.series(source, symbol) {
            self.bars.restore(id, interval, held.start, &held.bar);
            self.held.put(id, interval, held, now);
        }
    }

    /// Tells what changed of one symbol, see [`advance`](Self::advance).
    pub(crate) fn advance_one(&mut self, source: &str, symbol: &str, now: Timestamp, on_event: OnEvent<'_>) {
        if let Some(id) = self.bars.find(source, symbol) {
            self.bars.advance_one(id, now, &mut self.told);
            self.tell(now, on_event);
        }
    }

    /// The newest `limit` bars of a symbol, oldest first, with the one that runs as it was told last.
    pub(crate) fn newest_bars(&self, source: &str, symbol: &str, interval: Interval, limit: usize) -> Vec<HeldBar> {
        let id = self.bars.find(source, symbol);
        id.map(|id| self.held.newest(id, interval, limit)).unwrap_or_default()
    }

    fn tell(&mut self, now: Timestamp, on_event: OnEvent<'_>) {
        for (id, event) in self.told.drain(..) {
            if let Event::Bar { interval, bucket, bar, .. } = event {
                self.held.put(id, interval, HeldBar { start: bucket.start, bar }, now);
            }
            if let Some((source, symbol)) = self.bars.names(id) {
                on_event(source, symbol, &event);
            }
        }
    }
}

/// Closes of bars, for the indicators.
pub(crate) fn closes(bars: &[HeldBar]) -> Vec<rust_decimal::Decimal> {
    bars.iter().map(|held| held.bar.close).collect()
}

/// Bars without their starts, for the indicators.
pub(crate) fn plain(bars: &[HeldBar]) -> Vec<Ohlcv> {
    bars.iter().map(|held| held.bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::Bar;
    use crate::tick::samples::value;

    fn intake() -> Intake {
        Intake::new(RingLimits::default(), BarLimits::default(), RingLimits::of_bars())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn value_at(second: i64, price: i64, bar: Option<Bar>) -> Arc<Value> {
        let mut value = Value::clone(&value("s", second as u64, "A"));
        (value.tick.timestamp, value.tick.price, value.tick.bar) = (at(second), price.into(), bar);
        Arc::new(value)
    }

    #[test]
    fn a_value_is_in_both_histories_and_comes_back_from_a_store() {
        let (mut before, mut after) = (intake(), intake());
        let mut stored = Vec::new();
        let mut store = |source: &Arc<str>, symbol: &Arc<str>, event: &Event| {
            if let Event::Bar { interval, bucket, bar, .. } = event {
                stored.push((
                    Arc::clone(source),
                    Arc::clone(symbol),
                    *interval,
                    HeldBar { start: bucket.start, bar: *bar },
                ));
            }
        };
        for (second, price) in [(50, 5), (59, 7), (61, 6)] {
            let taken = before.record(&value_at(second, price, None), None, at(second), &mut store);
            assert_eq!(taken, Some(Taken::Newest));
        }
        before.advance(at(61), &mut store);
        assert_eq!(before.values().newest("A", None, 9).unwrap().1, 3);
        let minutes = before.newest_bars("s", "A", Interval::Minute, 9);
        assert_eq!(closes(&minutes), [7.into(), 6.into()]);
        assert_eq!((plain(&minutes)[0].count, before.held().counts().keys), (2, 4));

        for (source, symbol, interval, held) in stored {
            after.restore(&source, &symbol, interval, held, at(61));
        }
        assert_eq!(after.newest_bars("s", "A", Interval::Minute, 9), minutes);
        after.record(&value_at(62, 9, None), None, at(62), &mut |_, _, _| {});
        after.advance(at(62), &mut |_, _, _| {});
        assert_eq!(closes(&after.newest_bars("s", "A", Interval::Hour, 9)), [9.into()]);
        assert_eq!(after.newest_bars("s", "A", Interval::Hour, 9)[0].bar.count, 4);
        assert!(after.newest_bars("s", "B", Interval::Hour, 9).is_empty());
    }

    #[test]
    fn a_bar_of_a_width_that_is_none_of_ours_is_a_value_and_no_more() {
        let mut intake = intake();
        let bar = Some(Bar { open: 1.into(), high: 3.into(), low: 1.into(), interval: None });
        assert_eq!(intake.record(&value_at(60, 2, bar), None, at(500), &mut |_, _, _| {}), None);
        assert_eq!(intake.bars().sizes(), (0, 0));
        let taken = intake.record(&value_at(60, 2, bar), Some(Interval::Minute), at(500), &mut |_, _, _| {});
        assert_eq!(taken, Some(Taken::Newest));
        intake.bars_mut().restart("s");
        assert_eq!(intake.values().newest("A", None, 9).unwrap().1, 2);
    }
}
