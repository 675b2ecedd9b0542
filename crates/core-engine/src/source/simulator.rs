//! The simulator: a seeded random walk per symbol, at a steady rate. What it delivers says that it is simulated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rust_decimal::Decimal;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::walk::Walk;
use super::{FetchError, Source, SourceError, parse_duration, unknown_key};
use crate::feed::Feed;
use crate::tick::{Tick, Value, is_symbol};

const KEYS: &[&str] = &["latency", "seed", "symbols", "ticks_per_second", "volatility_ppm"];
const SYMBOLS_MAX: usize = 500;
const LATENCY_MAX: Duration = Duration::from_secs(60);
const VOLATILITY_MAX_PPM: u32 = 100_000;
const PRICE_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);
/// Where a symbol starts that was given without a price.
const START: Decimal = Decimal::from_parts(10_000, 0, 0, false, 2);

/// Symbols of the default settings and where they start, in hundredths.
const UNIVERSE: &[(&str, i64)] = &[
    ("AAPL", 23_010),
    ("AMZN", 20_575),
    ("BNBUSDT", 69_020),
    ("BTCUSDT", 6_400_000),
    ("ETHUSDT", 340_000),
    ("GOOGL", 17_890),
    ("MSFT", 42_815),
    ("SOLUSDT", 18_540),
    ("TSLA", 26_230),
    ("XRPUSDT", 215),
];

/// Settings of the simulator; the keys are the names of the fields.
#[derive(Clone, Debug)]
pub(crate) struct SimulatorSettings {
    seed: u64,
    /// With their first prices.
    symbols: BTreeMap<String, Decimal>,
    /// Per symbol.
    ticks_per_second: f64,
    /// Standard deviation of a step, in millionths of the price.
    volatility_ppm: u32,
    /// How long a fetch takes, as a source across a network would.
    latency: Duration,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            symbols: UNIVERSE.iter().map(|(symbol, cents)| ((*symbol).to_owned(), Decimal::new(*cents, 2))).collect(),
            ticks_per_second: 5.0,
            volatility_ppm: 200,
            latency: Duration::ZERO,
        }
    }
}

impl SimulatorSettings {
    /// Changes one setting.
    ///
    /// # Errors
    /// What must hold, for people.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "seed" => {
                self.seed = value.parse().map_err(|_| "must be a whole number of 0 or more".to_owned())?;
            }
            "symbols" => self.symbols = parse_symbols(value)?,
            "ticks_per_second" => {
                self.ticks_per_second = value
                    .parse()
                    .ok()
                    .filter(|rate| (0.001..=1_000.0).contains(rate))
                    .ok_or_else(|| "must be 0.001 to 1000".to_owned())?;
            }
            "volatility_ppm" => {
                self.volatility_ppm = value
                    .parse()
                    .ok()
                    .filter(|ppm| *ppm <= VOLATILITY_MAX_PPM)
                    .ok_or_else(|| format!("must be a whole number of 0 to {VOLATILITY_MAX_PPM}"))?;
            }
            "latency" => {
                self.latency = parse_duration(value)?;
                if self.latency > LATENCY_MAX {
                    return Err("must be at most 60s".to_owned());
                }
            }
            _ => return Err(unknown_key(KEYS)),
        }
        Ok(())
    }
}

/// Reads `BTCUSDT=64000,ETHUSDT`.
fn parse_symbols(text: &str) -> Result<BTreeMap<String, Decimal>, String> {
    let mut symbols = BTreeMap::new();
    for entry in text.split(',').map(str::trim) {
        // From the right, because `=` may belong to the name.
        let (symbol, price) = match entry.rsplit_once('=') {
            Some((symbol, price)) if price.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
                (symbol, price.parse().unwrap_or_default())
            }
            _ => (entry, START),
        };
        if !is_symbol(symbol) || symbols.len() >= SYMBOLS_MAX {
            return Err(format!("must be 1 to {SYMBOLS_MAX} symbols, as in `BTCUSDT=64000,ETHUSDT`"));
        }
        if !(Decimal::new(1, 2)..=PRICE_MAX).contains(&price) {
            return Err(format!("the price of {symbol} must be 0.01 to {PRICE_MAX}"));
        }
        symbols.insert(symbol.to_owned(), price);
    }
    Ok(symbols)
}

/// The simulator at work.
#[derive(Debug)]
pub(super) struct Simulator {
    symbols: BTreeSet<Arc<str>>,
    period: Duration,
    latency: Duration,
    /// In the order of the names. Behind a lock that nobody else takes, because `run` has a shared reference.
    walks: Mutex<Vec<(Arc<str>, Walk)>>,
    additional: Arc<BTreeMap<String, String>>,
}

impl Simulator {
    pub(super) fn new(settings: &SimulatorSettings) -> Self {
        let walks: Vec<(Arc<str>, Walk)> = settings
            .symbols
            .iter()
            .map(|(symbol, start)| {
                (Arc::from(symbol.as_str()), Walk::new(symbol, *start, settings.volatility_ppm, settings.seed))
            })
            .collect();
        Self {
            symbols: walks.iter().map(|(symbol, _)| Arc::clone(symbol)).collect(),
            period: Duration::from_secs_f64(1.0 / settings.ticks_per_second),
            latency: settings.latency,
            walks: Mutex::new(walks),
            additional: Arc::new(BTreeMap::from([("origin".to_owned(), "simulated".to_owned())])),
        }
    }

    /// One step of every symbol.
    fn step_all(&self, feed: &Feed) {
        let timestamp = feed.clock().now();
        for (symbol, walk) in self.walks.lock().iter_mut() {
            let (price, volume) = walk.step();
            feed.record(Tick {
                symbol: Arc::clone(symbol),
                price,
                volume,
                timestamp,
                bar: None,
                zone: None,
                additional: Arc::clone(&self.additional),
            });
        }
    }
}

impl Source for Simulator {
    fn symbols(&self) -> &BTreeSet<Arc<str>> {
        &self.symbols
    }

    fn fetch<'a>(
        &'a self,
        symbols: &'a [Arc<str>],
        feed: &'a Feed,
    ) -> BoxFuture<'a, Result<Vec<Arc<Value>>, FetchError>> {
        Box::pin(async move {
            if !self.latency.is_zero() {
                sleep(self.latency).await;
            }
            Ok(feed.newest(symbols))
        })
    }

    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let mut ticks = interval(self.period);
            // After a stall the rate goes on; what was missed is not made up for.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.step_all(feed);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::samples::feed;
    use tokio::time::Instant;

    fn simulator(config: &[(&str, &str)]) -> Simulator {
        let mut settings = SimulatorSettings::default();
        config.iter().for_each(|(key, value)| settings.set(key, value).unwrap());
        Simulator::new(&settings)
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_come_at_the_asked_rate() {
        let simulator = simulator(&[("symbols", "A=5,B"), ("ticks_per_second", "4")]);
        let feed = feed("simulator");
        let ended = tokio::time::timeout(Duration::from_millis(2_100), simulator.run(&feed)).await;
        assert!(ended.is_err(), "a simulator does not end");
        // At 0, 250, … 2,000 ms: nine times two symbols.
        assert_eq!(feed.books().received, 18);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_takes_as_long_as_asked_and_keeps_the_order() {
        let simulator = simulator(&[("symbols", "A=5.00,B=6.00"), ("volatility_ppm", "0"), ("latency", "2s")]);
        let feed = feed("simulator");
        simulator.step_all(&feed);
        let before = Instant::now();
        let values = simulator.fetch(&[Arc::from("B"), Arc::from("A")], &feed).await.unwrap();
        let shown: Vec<_> = values.iter().map(|value| format!("{} {}", value.tick.symbol, value.tick.price)).collect();
        assert_eq!(shown, ["B 6.00", "A 5.00"]);
        assert_eq!(values[0].tick.additional["origin"], "simulated");
        assert_eq!(before.elapsed(), Duration::from_secs(2));
    }

    #[test]
    fn symbols_come_with_or_without_a_price() {
        let shown = |text: &str| {
            let symbols = parse_symbols(text)?;
            Ok::<_, String>(symbols.iter().map(|(name, price)| format!("{name} {price}")).collect::<Vec<_>>())
        };
        assert_eq!(shown("BTCUSDT=64000, EURUSD=X,A").unwrap(), ["A 100.00", "BTCUSDT 64000", "EURUSD=X 100.00"]);
        assert_eq!(shown("EURUSD=X=1.0825").unwrap(), ["EURUSD=X 1.0825"]);
        assert!(shown("A=1,,B").is_err());
    }
}
