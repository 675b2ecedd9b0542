//! The newest values of each symbol and the newest bars of each series, in memory.

pub(crate) mod rings;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use self::rings::{RingCounts, RingLimits, Rings, Weigh};
use super::bars::SeriesId;
use super::interval::Interval;
use super::ohlcv::Ohlcv;
use crate::tick::Value;

/// Bars that are looked at to find the place of one that came late; more than were made within the longest allowance
/// and than a source may deliver again.
const LOOK_BACK_MAX: usize = 256;

/// The newest values of each symbol, of all sources in the order of their arrival.
#[derive(Debug)]
pub(crate) struct ValueHistory(Rings<Arc<str>, Arc<Value>>);

impl ValueHistory {
    /// Empty; rings are made as symbols come and go when their last value does.
    pub(crate) fn new(limits: RingLimits) -> Self {
        Self(Rings::new(limits))
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> RingLimits {
        self.0.limits()
    }

    /// Appends a value to the ring of its symbol.
    pub(crate) fn push(&mut self, value: &Arc<Value>, now: Timestamp) {
        self.0.push(&value.tick.symbol, Arc::clone(value), now);
    }

    /// The newest `limit` values of a symbol, oldest first, and how many its ring holds. With `source`, values of
    /// that source alone. `None` if no value of the symbol is held.
    pub(crate) fn newest(&self, symbol: &str, source: Option<&str>, limit: usize) -> Option<(Vec<Arc<Value>>, usize)> {
        let held = self.0.newest_first(symbol)?;
        let wanted = held.filter(|value| source.is_none_or(|source| *value.source == *source));
        let mut found: Vec<_> = wanted.take(limit).cloned().collect();
        found.reverse();
        Some((found, self.0.len_of(symbol)?))
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.0.expire(now);
    }

    /// What is held now.
    pub(crate) fn counts(&self) -> RingCounts {
        self.0.counts()
    }
}

/// A bar and when it begins.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct HeldBar {
    /// Seconds since 1970.
    pub(crate) start: i64,
    pub(crate) bar: Ohlcv,
}

/// The newest bars of each series and interval.
#[derive(Debug)]
pub(crate) struct BarHistory(Rings<(SeriesId, Interval), HeldBar>);

impl BarHistory {
    /// Empty.
    pub(crate) fn new(limits: RingLimits) -> Self {
        Self(Rings::new(limits))
    }

    /// Puts a bar in its place by time, instead of the one that was there. One that is older than all of a full ring
    /// is passed over.
    pub(crate) fn put(&mut self, series: SeriesId, interval: Interval, held: HeldBar, now: Timestamp) {
        let key = (series, interval);
        let full = self.0.len_of(&key).is_some_and(|len| len >= self.0.limits().max_items_per_key);
        let too_old = full && self.0.oldest(&key).is_some_and(|oldest| held.start < oldest.start);
        let found = self
            .0
            .find_mut(&key, LOOK_BACK_MAX, |other| (other.start <= held.start).then_some(other.start == held.start));
        match found {
            Some(same) => *same = held,
            None if too_old => {}
            None => drop(self.0.insert(&key, held, now, |other| other.start < held.start)),
        }
    }

    /// The newest `limit` bars, oldest first.
    pub(crate) fn newest(&self, series: SeriesId, interval: Interval, limit: usize) -> Vec<HeldBar> {
        let key = (series, interval);
        let held = self.0.newest_first(&key);
        let mut found: Vec<_> = held.into_iter().flatten().take(limit).copied().collect();
        found.reverse();
        found
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.0.expire(now);
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> RingLimits {
        self.0.limits()
    }

    /// What is held now.
    pub(crate) fn counts(&self) -> RingCounts {
        self.0.counts()
    }
}

/// What a shared pointer needs beside its value.
const ARC_BYTES: usize = 2 * size_of::<usize>();

impl Weigh for Arc<Value> {
    fn bytes(&self, before: Option<&Self>) -> usize {
        let shares = |own: &Arc<str>, of: fn(&Value) -> &Arc<str>| {
            if before.is_some_and(|before| Arc::ptr_eq(own, of(before))) { 0 } else { own.len() + ARC_BYTES }
        };
        let additional = &self.tick.additional;
        let shared = before.is_some_and(|before| Arc::ptr_eq(additional, &before.tick.additional));
        size_of::<Value>()
            + ARC_BYTES
            + shares(&self.source, |value| &value.source)
            + shares(&self.tick.symbol, |value| &value.tick.symbol)
            + if shared { 0 } else { map_bytes(additional) }
    }
}

/// Texts and their headers; a tree of texts needs little more.
fn map_bytes(map: &BTreeMap<String, String>) -> usize {
    map.iter().map(|(name, text)| name.len() + text.len() + 2 * size_of::<String>()).sum()
}

impl Weigh for HeldBar {
    fn bytes(&self, _: Option<&Self>) -> usize {
        size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::bars::{BarLimits, Bars};
    use crate::market::ohlcv::samples::bar;
    use crate::tick::samples::value;

    fn values(pushed: &[(&str, u64, &str)]) -> ValueHistory {
        let limits = RingLimits { max_keys: 2, max_items_per_key: 3, ..RingLimits::default() };
        let mut values = ValueHistory::new(limits);
        for (source, sequence, symbol) in pushed {
            values.push(&value(source, *sequence, symbol), Timestamp::UNIX_EPOCH);
        }
        values
    }

    fn sequences(values: &ValueHistory, symbol: &str, source: Option<&str>, limit: usize) -> Option<Vec<u64>> {
        let (values, _) = values.newest(symbol, source, limit)?;
        Some(values.iter().map(|value| value.sequence).collect())
    }

    #[test]
    fn newest_values_come_oldest_first_and_can_be_narrowed_to_a_source() {
        let values = values(&[("s", 1, "A"), ("r", 1, "A"), ("s", 2, "A"), ("s", 3, "B")]);
        assert_eq!(sequences(&values, "A", None, 10), Some(vec![1, 1, 2]));
        assert_eq!(sequences(&values, "A", None, 2), Some(vec![1, 2]));
        assert_eq!(sequences(&values, "A", Some("s"), 10), Some(vec![1, 2]));
        assert_eq!(sequences(&values, "A", Some("x"), 10), Some(vec![]));
        assert_eq!(sequences(&values, "C", None, 10), None);
    }

    #[test]
    fn a_full_ring_forgets_its_oldest_value_and_a_symbol_too_many_is_refused() {
        let values =
            values(&[("s", 1, "A"), ("s", 2, "A"), ("s", 3, "A"), ("s", 4, "A"), ("s", 5, "B"), ("s", 6, "C")]);
        assert_eq!(sequences(&values, "A", None, 10), Some(vec![2, 3, 4]));
        assert_eq!(sequences(&values, "C", None, 10), None);
        let (counts, limits) = (values.counts(), values.limits());
        assert_eq!((limits.max_keys, limits.max_items_per_key), (2, 3));
        assert_eq!((counts.keys, counts.items, counts.evicted, counts.refused), (2, 4, 1, 1));
    }

    #[test]
    fn old_values_expire_and_make_place_for_other_symbols() {
        let mut values = values(&[("s", 1, "A"), ("s", 2, "B")]);
        let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(25);
        values.push(&value("s", 3, "C"), later);
        assert_eq!((sequences(&values, "A", None, 10), sequences(&values, "C", None, 10)), (None, Some(vec![3])));
        values.expire(later + jiff::SignedDuration::from_hours(25));
        assert_eq!(values.counts(), RingCounts { expired: 3, ..RingCounts::default() });
    }

    #[test]
    fn what_values_share_is_weighed_once() {
        let first = value("source", 1, "SYMBOL");
        let mut own = Value::clone(&first);
        own.tick.additional = Arc::new(BTreeMap::from([("currency".to_owned(), "USD".to_owned())]));
        let (own, plain) = (Arc::new(own), first.bytes(Some(&first)));
        assert_eq!(first.bytes(None), plain + "sourceSYMBOL".len() + 2 * ARC_BYTES);
        assert_eq!(own.bytes(Some(&first)), plain + "currencyUSD".len() + 2 * size_of::<String>());
        assert_eq!(own.bytes(Some(&own)), plain);
    }

    #[test]
    fn bars_lie_in_the_order_of_time_and_a_corrected_one_takes_the_place_of_the_old() {
        let series = Bars::new(BarLimits::default()).series(&Arc::from("s"), &Arc::from("A")).unwrap();
        let mut bars = BarHistory::new(RingLimits { max_items_per_key: 3, ..RingLimits::default() });
        for (start, close) in [(60, "1"), (180, "2"), (120, "3"), (60, "4"), (240, "5"), (180, "6"), (60, "7")] {
            bars.put(series, Interval::Minute, HeldBar { start, bar: bar(start, close) }, Timestamp::UNIX_EPOCH);
        }
        let shown = |limit| {
            let found = bars.newest(series, Interval::Minute, limit);
            found.iter().map(|held| format!("{} {}", held.start, held.bar.close)).collect::<Vec<_>>()
        };
        assert_eq!(shown(10), ["120 3", "180 6", "240 5"]);
        assert_eq!(shown(1), ["240 5"]);
        assert!(bars.newest(series, Interval::Hour, 10).is_empty());
        bars.expire(Timestamp::UNIX_EPOCH + bars.limits().max_age + jiff::SignedDuration::from_millis(1));
        assert_eq!((bars.counts().items, bars.counts().expired), (0, 3));
    }
}
