//! How fast ticks are taken in; printed, never asserted.

use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::bars::{BarLimits, Bars};
use super::history::ValueHistory;
use super::history::rings::RingLimits;
use super::intake::Intake;
use super::ohlcv::{Moment, Trade};
use crate::feed::samples::feed;
use crate::tick::Tick;

const SYMBOLS: usize = 1_000;
const TICKS: usize = 2_000_000;
/// Ticks of one second of their own time, so that bars of a second come and go at the asked rate.
const TICKS_PER_SECOND: usize = 100_000;

fn ticks() -> impl Iterator<Item = Tick> {
    let symbols: Vec<Arc<str>> = (0..SYMBOLS).map(|number| Arc::from(format!("SYMBOL{number}USDT"))).collect();
    let additional = Arc::default();
    let start = Timestamp::now();
    let mut random = fastrand::Rng::with_seed(1);
    (0..TICKS).map(move |number| Tick {
        symbol: Arc::clone(&symbols[random.usize(..SYMBOLS)]),
        price: Decimal::new(6_400_000 + random.i64(-5_000..5_000), 2),
        volume: Decimal::new(random.i64(1..100_000), 4),
        timestamp: start + SignedDuration::from_micros((number * 1_000_000 / TICKS_PER_SECOND) as i64),
        bar: None,
        zone: None,
        additional: Arc::clone(&additional),
    })
}

fn report(what: &str, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what}: {:.0} ticks/s, {:.0} ns each", TICKS as f64 / seconds, seconds * 1e9 / TICKS as f64);
}

#[test]
#[ignore = "measures"]
fn ticks_per_second() {
    let started = Instant::now();
    let ticks: Vec<Tick> = ticks().collect();
    report("making them", started);

    let limits = RingLimits { max_keys: 2_000, ..RingLimits::default() };
    let (source, mut told) = (Arc::<str>::from("s"), Vec::with_capacity(64));
    let limits_of_bars = BarLimits { skew: SignedDuration::from_hours(1), ..BarLimits::default() };
    let trade = |tick: &Tick, sequence| Trade {
        moment: Moment { at: tick.timestamp, sequence },
        price: tick.price,
        volume: tick.volume,
    };

    let feed = feed("s");
    let started = Instant::now();
    ticks.iter().for_each(|tick| feed.record(tick.clone()));
    report("feed with today's buffers", started);

    let mut values = ValueHistory::new(limits);
    let started = Instant::now();
    for (sequence, tick) in (1..).zip(&ticks) {
        let value = Arc::new(crate::tick::Value { source: Arc::clone(&source), sequence, tick: tick.clone() });
        values.push(&value, tick.timestamp);
    }
    report("history of values", started);

    let mut bars = Bars::new(limits_of_bars);
    let started = Instant::now();
    for (sequence, tick) in (1..).zip(&ticks) {
        told.clear();
        if let Some(id) = bars.series(&source, &tick.symbol) {
            bars.trade(id, &trade(tick, sequence), tick.timestamp, &mut told);
        }
    }
    report("bars", started);

    let feed = crate::feed::samples::feed("s");
    let mut intake = Intake::new(limits, limits_of_bars, RingLimits::of_bars());
    let (mut events, mut next) = (0, ticks[0].timestamp);
    let started = Instant::now();
    for (sequence, tick) in (1..).zip(&ticks) {
        feed.record(tick.clone());
        let value = Arc::new(crate::tick::Value { source: Arc::clone(&source), sequence, tick: tick.clone() });
        intake.record(&value, None, tick.timestamp, &mut |_, _, _| events += 1);
        if tick.timestamp >= next {
            next = tick.timestamp + SignedDuration::from_millis(250);
            intake.advance(tick.timestamp, &mut |_, _, _| events += 1);
        }
    }
    report("feed with today's buffers, history, bars and their history", started);
    println!("{events} events, {:?}, {:?}", intake.bars().counts("s"), intake.held().counts());
}
