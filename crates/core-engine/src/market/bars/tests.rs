use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::market::interval::second_of;
use crate::market::ohlcv::Moment;
use crate::market::ohlcv::samples::trade;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Bars of one symbol, its events as lines of text.
struct Bench {
    bars: Bars,
    id: SeriesId,
    told: Vec<(SeriesId, Event)>,
    sequence: u64,
}

impl Bench {
    fn new(zone: &str) -> Self {
        let mut bars = Bars::new(BarLimits::default());
        let id = bars.series(&Arc::from("s"), &Arc::from("A")).unwrap();
        bars.set_zone(id, &TimeZone::get(zone).unwrap(), &mut Vec::new());
        Self { bars, id, told: Vec::new(), sequence: 0 }
    }

    /// A tick that arrives when it happens.
    fn tick(&mut self, time: &str, price: &str) -> Taken {
        self.tick_at(time, price, time)
    }

    fn tick_at(&mut self, time: &str, price: &str, now: &str) -> Taken {
        self.sequence += 1;
        let moment = Moment { at: at(time), sequence: self.sequence };
        let trade = Trade { moment, price: price.parse().unwrap(), volume: Decimal::ONE };
        self.bars.trade(self.id, &trade, at(now), &mut self.told)
    }

    fn deliver(&mut self, interval: Interval, time: &str, prices: &str, now: &str) -> Taken {
        let prices: Vec<Decimal> = prices.split(' ').map(|price| price.parse().unwrap()).collect();
        let [open, high, low, close, volume] = prices[..] else { panic!("five numbers") };
        let delivered = Delivered { at: at(time), open, high, low, close, volume };
        self.bars.deliver(self.id, interval, &delivered, at(now), &mut self.told)
    }

    fn advance(&mut self, now: &str) {
        self.bars.advance(at(now), &mut self.told);
    }

    fn told(&mut self) -> Vec<String> {
        let shown = |event| match event {
            Event::Bar { interval, bucket, bar, state } => {
                let Ohlcv { open, high, low, close, volume, count, .. } = bar;
                let start = Timestamp::from_second(bucket.start).unwrap();
                format!("{} {start} {open} {high} {low} {close} x {volume} of {count} {state:?}", interval.as_str())
            }
            Event::Gap { interval, from, to, missing } => {
                format!("{} gap of {missing} in {}s", interval.as_str(), to - from)
            }
        };
        self.told.drain(..).map(|(_, event)| shown(event)).collect()
    }

    fn counts(&self) -> BarCounts {
        self.bars.counts("s")
    }
}

#[test]
fn ticks_become_bars_and_a_bar_is_told_when_the_next_one_begins() {
    let mut bench = Bench::new("UTC");
    for (time, price) in [("10:00:58.2", "5"), ("10:00:58.9", "7"), ("10:00:59.5", "4"), ("10:01:00", "6")] {
        assert_eq!(bench.tick(&format!("2026-11-20T{time}Z"), price), Taken::Newest);
    }
    assert_eq!(
        bench.told(),
        [
            "1s 2026-11-20T10:00:58Z 5 7 5 7 x 2 of 2 Closed",
            "1s 2026-11-20T10:00:59Z 4 4 4 4 x 1 of 1 Closed",
            "1m 2026-11-20T10:00:00Z 5 7 4 4 x 3 of 3 Closed",
        ]
    );
    bench.advance("2026-11-20T10:01:00.5Z");
    assert_eq!(
        bench.told(),
        [
            "1m 2026-11-20T10:01:00Z 6 6 6 6 x 1 of 1 Open",
            "1h 2026-11-20T10:00:00Z 5 7 4 6 x 4 of 4 Open",
            "1d 2026-11-20T00:00:00Z 5 7 4 6 x 4 of 4 Open",
        ]
    );
    bench.advance("2026-11-20T10:01:00.9Z");
    assert!(bench.told().is_empty(), "nothing changed");
}

#[test]
fn a_silent_symbol_closes_its_bars_by_the_clock() {
    let mut bench = Bench::new("UTC");
    // A replay: the time of the ticks is not that of the clock.
    bench.tick_at("2026-11-20T10:00:30Z", "5", "2027-01-01T00:00:00Z");
    bench.advance("2027-01-01T00:00:00.9Z");
    assert_eq!(bench.told().len(), 3, "all but the second, open");
    bench.advance("2027-01-01T00:00:30Z");
    assert_eq!(
        bench.told(),
        ["1s 2026-11-20T10:00:30Z 5 5 5 5 x 1 of 1 Closed", "1m 2026-11-20T10:00:00Z 5 5 5 5 x 1 of 1 Closed",]
    );
    assert_eq!(bench.counts().closed, 2);
}

#[test]
fn a_late_tick_corrects_its_bars_and_one_that_is_too_late_does_not() {
    let mut bench = Bench::new("UTC");
    bench.tick("2026-11-20T10:00:59Z", "5");
    bench.tick("2026-11-20T10:01:03Z", "6");
    bench.told();
    assert_eq!(bench.tick("2026-11-20T10:00:58.5Z", "9"), Taken::Merged);
    assert_eq!(
        bench.told(),
        ["1s 2026-11-20T10:00:58Z 9 9 9 9 x 1 of 1 Closed", "1m 2026-11-20T10:00:00Z 9 9 5 5 x 2 of 2 Corrected",]
    );
    assert_eq!(bench.tick("2026-11-20T10:00:58Z", "9"), Taken::Merged);
    assert_eq!(bench.tick("2026-11-20T10:00:57.999Z", "9"), Taken::Late);
    let counts = bench.counts();
    assert_eq!((counts.ticks, counts.merged_late, counts.refused_late, counts.corrected), (4, 2, 1, 3));
}

#[test]
fn a_tick_from_the_future_is_refused() {
    let mut bench = Bench::new("UTC");
    assert_eq!(bench.tick_at("2026-11-20T10:00:02Z", "5", "2026-11-20T10:00:00Z"), Taken::Newest);
    assert_eq!(bench.tick_at("2026-11-20T10:00:02.001Z", "5", "2026-11-20T10:00:00Z"), Taken::Future);
    assert_eq!(
        bench.deliver(Interval::Day, "2027-01-01T00:00:00Z", "1 1 1 1 1", "2026-11-20T10:00:00Z"),
        Taken::Future
    );
    assert_eq!((bench.counts().ticks, bench.counts().refused_future), (1, 2));
}

#[test]
fn intervals_without_ticks_are_told_counted_and_may_be_filled() {
    let mut bench = Bench::new("UTC");
    bench.tick("2026-11-20T10:00:00Z", "5");
    bench.tick("2026-11-20T10:00:04Z", "5");
    assert_eq!(bench.told()[0], "1s gap of 3 in 3s");
    assert_eq!((bench.counts().gaps, bench.counts().missing), (1, [3, 0, 0, 0]));
    bench.tick("2026-11-20T10:00:02Z", "5");
    assert_eq!((bench.counts().gaps, bench.counts().missing), (1, [2, 0, 0, 0]));
    bench.tick("2026-11-20T12:02:00Z", "5");
    assert_eq!((bench.counts().gaps, bench.counts().missing), (4, [2 + 7_315, 121, 1, 0]));
}

#[test]
fn a_tick_that_would_overflow_joins_no_bar() {
    let mut bench = Bench::new("UTC");
    let most = Decimal::MAX.to_string();
    assert_eq!(bench.tick("2026-11-20T10:00:00Z", &most), Taken::Newest);
    assert_eq!(bench.tick("2026-11-20T10:00:01Z", &most), Taken::Overflow);
    bench.advance("2026-11-20T10:00:01Z");
    assert!(bench.told().iter().all(|told| told.contains("of 1")));
    assert_eq!((bench.counts().ticks, bench.counts().refused_overflow), (1, 1));
}

#[test]
fn days_are_those_of_the_exchange() {
    let mut bench = Bench::new("America/New_York");
    // Clocks change on 1 November 2026: that day has 25 hours.
    for time in ["2026-11-01T03:59:59Z", "2026-11-01T04:00:00Z", "2026-11-02T04:59:59Z", "2026-11-02T05:00:00Z"] {
        bench.tick(time, "5");
    }
    let days: Vec<_> = bench.told().into_iter().filter(|told| told.starts_with("1d")).collect();
    assert_eq!(
        days,
        ["1d 2026-10-31T04:00:00Z 5 5 5 5 x 1 of 1 Closed", "1d 2026-11-01T04:00:00Z 5 5 5 5 x 2 of 2 Closed"]
    );
}

#[test]
fn a_half_day_ends_with_its_session() {
    let mut bench = Bench::new("America/New_York");
    bench.bars.tell_session(bench.id, at("2026-11-27T14:30:00Z"), at("2026-11-27T18:00:00Z"));
    bench.tick("2026-11-27T17:59:59Z", "5");
    bench.advance("2026-11-27T17:59:59.5Z");
    assert!(bench.told().contains(&"1d 2026-11-27T05:00:00Z 5 5 5 5 x 1 of 1 Open".to_owned()));
    bench.advance("2026-11-27T18:00:00Z");
    assert!(bench.told().contains(&"1d 2026-11-27T05:00:00Z 5 5 5 5 x 1 of 1 Closed".to_owned()));
    // Trading after hours still belongs to the day, and is no gap.
    bench.tick("2026-11-27T19:00:00Z", "6");
    bench.advance("2026-11-27T19:00:00Z");
    assert!(bench.told().contains(&"1d 2026-11-27T05:00:00Z 5 6 5 6 x 2 of 2 Corrected".to_owned()));
    assert_eq!(bench.counts().missing, [0; 4]);
}

#[test]
fn a_zone_that_is_learned_late_ends_a_day_that_was_another_one() {
    let mut bench = Bench::new("UTC");
    bench.tick("2026-11-20T10:00:00Z", "5");
    bench.bars.set_zone(bench.id, &TimeZone::get("Asia/Tokyo").unwrap(), &mut bench.told);
    assert_eq!(bench.told(), ["1d 2026-11-20T00:00:00Z 5 5 5 5 x 1 of 1 Open"]);
    bench.tick("2026-11-20T15:00:00Z", "6");
    bench.advance("2026-11-20T15:00:00Z");
    assert_eq!(bench.told().pop().unwrap(), "1d 2026-11-20T15:00:00Z 6 6 6 6 x 1 of 1 Open");
    assert_eq!(bench.bars.zone(bench.id).unwrap().iana_name(), Some("Asia/Tokyo"));
}

#[test]
fn delivered_bars_roll_up_and_take_the_place_of_earlier_ones() {
    let mut bench = Bench::new("UTC");
    let now = "2026-11-20T11:00:30Z";
    assert_eq!(bench.deliver(Interval::Minute, "2026-11-20T10:58:00Z", "5 9 4 6 10", now), Taken::Newest);
    assert_eq!(bench.deliver(Interval::Minute, "2026-11-20T10:59:00Z", "6 7 3 5 20", now), Taken::Newest);
    bench.told();
    assert_eq!(bench.deliver(Interval::Minute, "2026-11-20T11:00:00Z", "5 5 5 5 1", now), Taken::Newest);
    assert_eq!(bench.told(), Vec::<String>::new(), "the minute runs; the one before and its hour were told");
    bench.advance(now);
    assert_eq!(
        bench.told(),
        [
            "1m 2026-11-20T11:00:00Z 5 5 5 5 x 1 of 0 Open",
            "1h 2026-11-20T11:00:00Z 5 5 5 5 x 1 of 0 Open",
            "1d 2026-11-20T00:00:00Z 5 9 3 5 x 31 of 0 Open",
        ]
    );
    // The same again is nothing new, another one counts in place of it.
    assert_eq!(bench.deliver(Interval::Minute, "2026-11-20T10:59:00Z", "6 7 3 5 20", now), Taken::Unchanged);
    assert_eq!(bench.deliver(Interval::Minute, "2026-11-20T10:59:00Z", "6 7 2 5 30", now), Taken::Merged);
    assert_eq!(
        bench.told(),
        ["1m 2026-11-20T10:59:00Z 6 7 2 5 x 30 of 0 Corrected", "1h 2026-11-20T10:00:00Z 5 9 2 5 x 40 of 0 Corrected",]
    );
    assert_eq!(bench.tick(now, "100"), Taken::Covered);
    assert_eq!(bench.deliver(Interval::Minute, "2026-11-20T09:59:00Z", "1 1 1 1 1", now), Taken::Late);
    let counts = bench.counts();
    assert_eq!((counts.delivered, counts.merged_late, counts.covered, counts.refused_late), (5, 1, 1, 1));
}

#[test]
fn a_day_that_the_source_delivers_counts_more_than_its_parts() {
    let mut bench = Bench::new("America/New_York");
    let now = "2026-11-20T21:30:00Z";
    bench.deliver(Interval::Minute, "2026-11-20T14:30:00Z", "5 6 5 6 10", now);
    bench.deliver(Interval::Day, "2026-11-20T14:30:00Z", "4 9 3 7 1000", now);
    bench.deliver(Interval::Minute, "2026-11-20T14:31:00Z", "6 6 1 6 10", now);
    bench.advance(now);
    let told = bench.told();
    assert!(told.contains(&"1d 2026-11-20T05:00:00Z 4 9 3 7 x 1000 of 0 Open".to_owned()), "{told:?}");
    assert!(told.contains(&"1h 2026-11-20T14:00:00Z 5 6 1 6 x 20 of 0 Corrected".to_owned()), "{told:?}");
}

#[test]
fn a_source_that_begins_again_may_go_back_once() {
    let mut bench = Bench::new("UTC");
    bench.tick("2026-11-20T10:00:00Z", "5");
    bench.bars.restart("s");
    assert_eq!(bench.tick("2026-11-20T10:00:01Z", "6"), Taken::Newest);
    bench.advance("2026-11-20T10:00:01Z");
    assert_eq!(bench.told().pop().unwrap(), "1d 2026-11-20T00:00:00Z 5 6 5 6 x 2 of 2 Open", "time went on");
    bench.bars.restart("s");
    assert_eq!(bench.tick("2026-11-20T09:00:00Z", "7"), Taken::Newest);
    assert_eq!(bench.tick("2026-11-20T08:00:00Z", "7"), Taken::Late);
    bench.told();
    bench.advance("2026-11-20T09:00:00Z");
    assert_eq!(bench.told().pop().unwrap(), "1d 2026-11-20T00:00:00Z 7 7 7 7 x 1 of 1 Open", "it began anew");
}

#[test]
fn a_bar_that_was_stored_goes_on() {
    let mut before = Bench::new("America/New_York");
    before.tick("2026-11-20T10:00:00Z", "5");
    before.advance("2026-11-20T10:00:00Z");
    let mut after = Bench::new("America/New_York");
    for (_, event) in before.told.drain(..) {
        let Event::Bar { interval, bucket, bar, .. } = event else { continue };
        after.bars.restore(after.id, interval, bucket.start, &bar);
        after.bars.restore(after.id, interval, bucket.start, &bar);
        if interval != Interval::Day {
            after.bars.restore(after.id, interval, bucket.start + 1, &bar);
        }
    }
    assert_eq!(after.tick("2026-11-20T10:00:02Z", "9"), Taken::Newest);
    after.advance("2026-11-20T10:00:02Z");
    assert_eq!(
        after.told(),
        [
            "1m 2026-11-20T10:00:00Z 5 9 5 9 x 2 of 2 Open",
            "1h 2026-11-20T10:00:00Z 5 9 5 9 x 2 of 2 Open",
            "1d 2026-11-20T05:00:00Z 5 9 5 9 x 2 of 2 Open",
        ]
    );
}

#[test]
fn of_many_stored_bars_only_the_last_is_told_again() {
    let bar = |second: i64, count| Ohlcv { count, ..crate::market::ohlcv::samples::bar(second, "1") };
    for (count, held) in [(1, 2), (0, 180)] {
        let mut bench = Bench::new("UTC");
        for minute in 0..500 {
            bench.bars.restore(bench.id, Interval::Minute, minute * 60, &bar(minute * 60, count));
        }
        assert_eq!(bench.bars.series[0].series.held(), held);
        bench.advance("2026-11-20T10:00:00Z");
        assert_eq!(bench.told(), [format!("1m 1970-01-01T08:19:00Z 1 1 1 1 x 1 of {count} Closed")]);
    }
}

#[test]
fn stored_days_wait_for_their_zone() {
    let mut bench = Bench::new("UTC");
    // The Saturday before clocks change, a Sunday of 25 hours, and the Monday after it.
    for start in ["2026-10-31T04:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"] {
        let second = at(start).as_second();
        bench.bars.restore(bench.id, Interval::Day, second, &crate::market::ohlcv::samples::bar(second, "5"));
    }
    bench.bars.set_zone(bench.id, &TimeZone::get("America/New_York").unwrap(), &mut bench.told);
    assert!(bench.told().is_empty());
    bench.tick("2026-11-02T20:00:00Z", "9");
    bench.advance("2026-11-02T20:00:00Z");
    assert_eq!(bench.told().pop().unwrap(), "1d 2026-11-02T05:00:00Z 5 9 5 9 x 2 of 2 Open");
    assert_eq!(bench.counts().missing[Interval::Day.index()], 0);
}

#[test]
fn restored_minutes_are_rolled_up_with_new_ones() {
    let (mut before, now) = (Bench::new("UTC"), "2026-11-20T10:02:30Z");
    before.deliver(Interval::Minute, "2026-11-20T10:00:00Z", "5 9 4 6 10", now);
    before.deliver(Interval::Minute, "2026-11-20T10:01:00Z", "6 6 6 6 10", now);
    before.advance(now);
    let mut after = Bench::new("UTC");
    for (_, event) in before.told.drain(..) {
        let Event::Bar { interval, bucket, bar, .. } = event else { continue };
        after.bars.restore(after.id, interval, bucket.start, &bar);
    }
    assert_eq!(after.tick(now, "100"), Taken::Covered, "its source delivers bars, as it did before");
    after.deliver(Interval::Minute, "2026-11-20T10:02:00Z", "7 7 7 7 10", now);
    after.advance(now);
    assert_eq!(after.told().pop().unwrap(), "1d 2026-11-20T00:00:00Z 5 9 4 7 x 30 of 0 Open");
}

#[test]
fn a_symbol_too_many_is_refused_and_counted() {
    let mut bars = Bars::new(BarLimits { max_series: 2, ..BarLimits::default() });
    let (s, r, a): (Arc<str>, Arc<str>, Arc<str>) = (Arc::from("s"), Arc::from("r"), Arc::from("A"));
    let first = bars.series(&s, &a).unwrap();
    let second = bars.series(&r, &a).unwrap();
    assert_ne!(first, second);
    assert_eq!(bars.series(&Arc::from("s"), &a), Some(first), "by text, not by place");
    assert_eq!(bars.names(second), Some((&r, &a)));
    assert_eq!((bars.series(&s, &r), bars.sizes()), (None, (2, 1)));
}

/// The last word on every bar.
fn last_told(told: &[(SeriesId, Event)]) -> BTreeMap<(Interval, i64), Ohlcv> {
    let bars = told.iter().filter_map(|(_, event)| match event {
        Event::Bar { interval, bucket, bar, .. } => Some(((*interval, bucket.start), *bar)),
        Event::Gap { .. } => None,
    });
    bars.collect()
}

/// Every bar anew from all ticks that lie in it.
fn naive(trades: &[Trade], zone: &TimeZone) -> BTreeMap<(Interval, i64), Ohlcv> {
    let mut buckets: BTreeMap<(Interval, i64), Vec<Trade>> = BTreeMap::new();
    for trade in trades {
        for interval in Interval::ALL {
            let start = match interval.width() {
                Some(width) => second_of(trade.moment.at).div_euclid(width) * width,
                None => {
                    let day = trade.moment.at.to_zoned(zone.clone()).start_of_day().unwrap();
                    day.timestamp().as_second()
                }
            };
            buckets.entry((interval, start)).or_default().push(*trade);
        }
    }
    let bar = |trades: &Vec<Trade>| {
        let (first, last) = (
            trades.iter().min_by_key(|trade| trade.moment).unwrap(),
            trades.iter().max_by_key(|trade| trade.moment).unwrap(),
        );
        Ohlcv {
            open: first.price,
            high: trades.iter().map(|trade| trade.price).max().unwrap(),
            low: trades.iter().map(|trade| trade.price).min().unwrap(),
            close: last.price,
            volume: trades.iter().map(|trade| trade.volume).sum(),
            turnover: trades.iter().map(|trade| trade.price * trade.volume).sum(),
            count: trades.len() as u64,
            first: first.moment,
            last: last.moment,
        }
    };
    buckets.iter().map(|(key, trades)| (*key, bar(trades))).collect()
}

/// Bars that lie between the first and the last of their interval and do not exist.
fn holes(bars: &BTreeMap<(Interval, i64), Ohlcv>, width: i64, interval: Interval) -> i64 {
    let starts: Vec<_> = bars.keys().filter(|key| key.0 == interval).map(|key| key.1).collect();
    (starts.last().unwrap() - starts[0]) / width + 1 - starts.len() as i64
}

proptest! {
    /// Whatever the order within the allowance and whenever the clock looks in between, the last word on every bar is
    /// what the ticks say when all are known.
    #[test]
    fn the_order_of_ticks_within_the_allowance_does_not_matter(
        steps in proptest::collection::vec((0_i64..9_000, 0_i64..5_000, 1_i64..10_000, 0_i64..1_000), 1..120),
        // Around the end of a day and of a change of clocks.
        start_s in prop_oneof![Just(1_793_505_000_i64), Just(1_793_595_000), -400_i64..400],
        looks in proptest::collection::vec(any::<bool>(), 120),
    ) {
        let zone = TimeZone::get("America/New_York").unwrap();
        let mut now = start_s * 1_000;
        let mut arrivals: Vec<(i64, Trade)> = (1..).zip(&steps).map(|(sequence, (step, delay, price, volume))| {
            now += step;
            (now + delay, trade(now, sequence, *price, *volume))
        }).collect();
        let trades: Vec<_> = arrivals.iter().map(|arrival| arrival.1).collect();
        arrivals.sort_by_key(|arrival| arrival.0);

        let mut bars = Bars::new(BarLimits::default());
        let id = bars.series(&Arc::from("s"), &Arc::from("A")).unwrap();
        let mut told = Vec::new();
        bars.set_zone(id, &zone, &mut told);
        for ((arrived, trade), look) in arrivals.iter().zip(looks) {
            let now = Timestamp::from_millisecond(*arrived).unwrap();
            let taken = bars.trade(id, trade, now, &mut told);
            prop_assert!(matches!(taken, Taken::Newest | Taken::Merged));
            if look {
                bars.advance(now, &mut told);
            }
        }
        bars.advance(Timestamp::from_millisecond(now + 100_000_000).unwrap(), &mut told);
        let expected = naive(&trades, &zone);
        prop_assert_eq!(&last_told(&told), &expected);
        let missing = bars.counts("s").missing;
        for (interval, width) in [(Interval::Second, 1), (Interval::Minute, 60), (Interval::Hour, 3_600)] {
            prop_assert_eq!(missing[interval.index()], holes(&expected, width, interval));
        }
    }

    /// Delivered minutes, some of them again with other prices: hours and days are what the last ones add up to.
    #[test]
    fn delivered_bars_add_up(
        bars_of in proptest::collection::vec((1_i64..4, 1_i64..100, 1_i64..100, 0_i64..50, any::<bool>()), 1..200),
    ) {
        let mut bench = Bench::new("UTC");
        let (mut minute, mut last): (i64, BTreeMap<i64, (i64, i64, i64)>) = (29_000_000, BTreeMap::new());
        let deliver = |bench: &mut Bench, minute: i64, (open, close, volume): (i64, i64, i64)| {
            let at = Timestamp::from_second(minute * 60).unwrap();
            let decimal = |number: i64| Decimal::new(number, 1);
            let delivered = Delivered {
                at,
                open: decimal(open),
                high: decimal(open.max(close)),
                low: decimal(open.min(close)),
                close: decimal(close),
                volume: decimal(volume),
            };
            bench.bars.deliver(bench.id, Interval::Minute, &delivered, at + SignedDuration::from_mins(1), &mut bench.told)
        };
        for (step, open, close, volume, again) in bars_of {
            minute += step;
            last.insert(minute, (open, close, volume));
            deliver(&mut bench, minute, (open, close, volume));
            if again {
                let before = *last.keys().rev().nth(1).unwrap_or(&minute);
                last.insert(before, (close, open, volume + 1));
                let taken = deliver(&mut bench, before, (close, open, volume + 1));
                prop_assert!(matches!(taken, Taken::Newest | Taken::Merged | Taken::Unchanged));
            }
        }
        bench.bars.advance(Timestamp::from_second(minute * 60 + 200_000).unwrap(), &mut bench.told);
        let told = last_told(&bench.told);
        for interval in [Interval::Hour, Interval::Day] {
            let mut sums: BTreeMap<i64, (i64, i64, i64, i64, i64)> = BTreeMap::new();
            let width = interval.width().unwrap_or(86_400) / 60;
            for (minute, (open, close, volume)) in &last {
                let sum = sums.entry(minute / width * width * 60).or_insert((*open, i64::MIN, i64::MAX, 0, 0));
                *sum = (sum.0, sum.1.max(*open).max(*close), sum.2.min(*open).min(*close), *close, sum.4 + volume);
            }
            for (start, (open, high, low, close, volume)) in sums {
                let bar = told[&(interval, start)];
                let found = (bar.open, bar.high, bar.low, bar.close, bar.volume);
                let expected = (open, high, low, close, volume);
                let decimal = |number| Decimal::new(number, 1);
                let (open, high, low, close, volume) = expected;
                prop_assert_eq!(found, (decimal(open), decimal(high), decimal(low), decimal(close), decimal(volume)));
            }
        }
    }
}
