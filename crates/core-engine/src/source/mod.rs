//! Sources: what they are set to, and the one trait behind which they work.

mod record;
mod replay;
mod simulator;
mod walk;

mod binance;
mod chart;
mod coinbase;
mod exchange;
mod trades;
mod yahoo;

mod news_api;
mod news_simulator;
mod rss;

mod fault;
pub(crate) mod foreign;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::feed::Feed;
use crate::net::Guard;
use crate::tick::Value;

pub(crate) use fault::{FetchError, RETRY_FIRST, SourceError};

use binance::Binance;
use coinbase::Coinbase;
use exchange::{Exchange, ExchangeSettings};
use news_api::{NewsApi, NewsApiSettings};
use news_simulator::{NewsSimulator, NewsSimulatorSettings};
use replay::{Replay, ReplaySettings};
use rss::{Rss, RssSettings};
use simulator::{Simulator, SimulatorSettings};
use yahoo::{Yahoo, YahooSettings};

/// Symbols that one source may cover.
pub(crate) const SYMBOLS_MAX: usize = 10_000;
/// The types of sources, as they are written.
pub(crate) const TYPES: &[&str] =
    &["simulator", "replay", "yahoo_finance", "news_api", "rss", "news_simulator", "binance", "coinbase"];

/// Something that delivers values.
pub(crate) trait Source: Send + Sync {
    /// What it covers, fixed while it is connected.
    fn symbols(&self) -> &BTreeSet<Arc<str>>;

    /// Whether [`fetch`](Self::fetch) may be asked for symbols that are not covered. What it then finds is taken in
    /// like everything else.
    fn answers_any_symbol(&self) -> bool {
        false
    }

    /// Whether it can run again after it broke; else it is opened anew.
    fn runs_again(&self) -> bool {
        false
    }

    /// Whether it works only once it has given a sign of life: it is across a network.
    fn is_heard_first(&self) -> bool {
        self.runs_again()
    }

    /// The current value of each symbol, in the given order. A symbol without a value yet is left out. A source that
    /// delivers by itself answers with what it delivered last.
    fn fetch<'a>(
        &'a self,
        symbols: &'a [Arc<str>],
        feed: &'a Feed,
    ) -> BoxFuture<'a, Result<Vec<Arc<Value>>, FetchError>> {
        Box::pin(async move { Ok(feed.newest(symbols)) })
    }

    /// Asks for news about some words that were published since then; they go into the feed. A source that asks by
    /// itself has nothing more to ask for.
    fn fetch_news<'a>(
        &'a self,
        _keywords: &'a [String],
        _since: Timestamp,
        _feed: &'a Feed,
    ) -> BoxFuture<'a, Result<(), FetchError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Delivers into the feed until there is nothing left (`Ok`) or it breaks. May be dropped at any await.
    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>>;
}

/// What a source is given when it is opened, besides its settings.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The folder that files must be in.
    pub(crate) replay_directory: PathBuf,
    /// The restraint towards its server. It outlives the source, so that connecting again does not end a pause.
    pub(crate) guard: Arc<Guard>,
}

/// A setting that cannot be used.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct FieldFault {
    /// Dotted path from the request or source on, as `config.seed`.
    pub(crate) field: String,
    /// What must hold.
    pub(crate) problem: String,
}

/// The settings of a source, by its type.
#[derive(Clone, Debug)]
pub(crate) enum SourceSettings {
    Simulator(SimulatorSettings),
    Replay(ReplaySettings),
    Yahoo(YahooSettings),
    Binance(ExchangeSettings),
    Coinbase(ExchangeSettings),
    NewsApi(NewsApiSettings),
    Rss(RssSettings),
    NewsSimulator(NewsSimulatorSettings),
}

/// Who changes a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Setter {
    /// Whoever runs the engine.
    Owner,
    /// Whoever may call it: not where the engine connects to.
    Client,
}

impl SourceSettings {
    /// The simulator's defaults.
    pub(crate) fn simulator() -> Self {
        Self::Simulator(SimulatorSettings::default())
    }

    /// The replay's defaults.
    pub(crate) fn replay() -> Self {
        Self::Replay(ReplaySettings::default())
    }

    /// The defaults of a type.
    pub(crate) fn of_type(name: &str) -> Option<Self> {
        match name {
            "simulator" => Some(Self::simulator()),
            "replay" => Some(Self::replay()),
            "yahoo_finance" => YahooSettings::new().ok().map(Self::Yahoo),
            "news_api" => NewsApiSettings::new().ok().map(Self::NewsApi),
            "rss" => Some(Self::Rss(RssSettings::default())),
            "news_simulator" => Some(Self::NewsSimulator(NewsSimulatorSettings::default())),
            "binance" => binance::settings().ok().map(Self::Binance),
            "coinbase" => coinbase::settings().ok().map(Self::Coinbase),
            _ => None,
        }
    }

    /// The name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Simulator(_) => "simulator",
            Self::Replay(_) => "replay",
            Self::Yahoo(_) => "yahoo_finance",
            Self::Binance(_) => "binance",
            Self::Coinbase(_) => "coinbase",
            Self::NewsApi(_) => "news_api",
            Self::Rss(_) => "rss",
            Self::NewsSimulator(_) => "news_simulator",
        }
    }

    /// Whether it delivers news, and no market data.
    pub(crate) fn is_news(&self) -> bool {
        matches!(self, Self::NewsApi(_) | Self::Rss(_) | Self::NewsSimulator(_))
    }

    /// Whether it needs no network.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Simulator(_) | Self::Replay(_) | Self::NewsSimulator(_))
    }

    /// These settings with some of them changed.
    ///
    /// # Errors
    /// The first key that does not exist, whose value is out of range, or that is not the setter's to change.
    pub(crate) fn with(&self, config: &BTreeMap<String, String>, setter: Setter) -> Result<Self, FieldFault> {
        let mut changed = self.clone();
        for (key, value) in config {
            if setter == Setter::Client && self.location_keys().contains(&key.as_str()) {
                let problem = "can be set by the engine's owner alone".to_owned();
                return Err(FieldFault { field: field_of(key), problem });
            }
            let outcome = match &mut changed {
                Self::Simulator(settings) => settings.set(key, value),
                Self::Replay(settings) => settings.set(key, value),
                Self::Yahoo(settings) => settings.set(key, value),
                Self::NewsApi(settings) => settings.set(key, value),
                Self::Rss(settings) => settings.set(key, value),
                Self::NewsSimulator(settings) => settings.set(key, value),
                Self::Binance(settings) | Self::Coinbase(settings) => settings.set(key, value),
            };
            outcome.map_err(|problem| FieldFault { field: field_of(key), problem })?;
        }
        Ok(changed)
    }

    /// Keys that say where the engine connects to. A client that could set them would see what the engine's network
    /// sees.
    fn location_keys(&self) -> &'static [&'static str] {
        match self {
            Self::Simulator(_) | Self::Replay(_) | Self::NewsSimulator(_) => &[],
            Self::Yahoo(_) => yahoo::LOCATION_KEYS,
            Self::NewsApi(_) => news_api::LOCATION_KEYS,
            Self::Rss(_) => rss::LOCATION_KEYS,
            Self::Binance(_) | Self::Coinbase(_) => exchange::LOCATION_KEYS,
        }
    }

    /// What is still missing before the source can be opened.
    ///
    /// # Errors
    /// The setting that has no default and was not given.
    pub(crate) fn check_complete(&self) -> Result<(), FieldFault> {
        match self {
            Self::Replay(settings) => settings.check_complete(),
            Self::Rss(settings) => settings.check_complete(),
            Self::Simulator(_)
            | Self::Yahoo(_)
            | Self::NewsApi(_)
            | Self::NewsSimulator(_)
            | Self::Binance(_)
            | Self::Coinbase(_) => Ok(()),
        }
    }

    /// Makes the source ready to run.
    ///
    /// # Errors
    /// If it cannot deliver now; it may later.
    pub(crate) async fn open(&self, around: &Surroundings) -> Result<Arc<dyn Source>, SourceError> {
        Ok(match self {
            Self::Simulator(settings) => Arc::new(Simulator::new(settings)),
            Self::Replay(settings) => Arc::new(Replay::open(settings, &around.replay_directory).await?),
            Self::Yahoo(settings) => Arc::new(Yahoo::new(settings, Arc::clone(&around.guard))?),
            Self::NewsApi(settings) => Arc::new(NewsApi::new(settings, Arc::clone(&around.guard))?),
            Self::Rss(settings) => Arc::new(Rss::new(settings)?),
            Self::NewsSimulator(settings) => Arc::new(NewsSimulator::new(settings)),
            Self::Binance(settings) => Arc::new(Exchange::new(Binance, settings, Arc::clone(&around.guard))?),
            Self::Coinbase(settings) => Arc::new(Exchange::new(Coinbase, settings, Arc::clone(&around.guard))?),
        })
    }
}

/// `config.<key>`, cut, because a client chose the key.
fn field_of(key: &str) -> String {
    let cut: String = key.chars().take(crate::tick::NAME_MAX_BYTES).collect();
    format!("config.{}", cut.escape_debug())
}

/// Reads `250ms`, `2s`, `1m`, `6h` or `30d`.
///
/// # Errors
/// What must hold, for people.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.find(|character: char| !character.is_ascii_digit()).map(|at| text.split_at(at)) {
        Some((digits, "ms")) => digits.parse().map(Duration::from_millis).ok(),
        Some((digits, "s")) => digits.parse().map(Duration::from_secs).ok(),
        Some((digits, "m")) => whole_units(digits, 60),
        Some((digits, "h")) => whole_units(digits, 3_600),
        Some((digits, "d")) => whole_units(digits, 86_400),
        _ => None,
    };
    parsed.ok_or_else(|| "must be a duration such as 250ms or 2s".to_owned())
}

fn whole_units(digits: &str, seconds: u64) -> Option<Duration> {
    digits.parse::<u32>().ok().map(|count| Duration::from_secs(u64::from(count) * seconds))
}

/// The problem of a key that a type of source does not have.
fn unknown_key(known: &[&str]) -> String {
    format!("is not a setting of this source; it has {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("2s", Some(2_000)),
            ("1m", Some(60_000)),
            ("0s", Some(0)),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("1h", Some(3_600_000)),
            ("2d", Some(172_800_000)),
            ("1w", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse_duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }

    fn fault(base: &SourceSettings, key: &str, value: &str) -> String {
        let fault = base.with(&BTreeMap::from([(key.to_owned(), value.to_owned())]), Setter::Client).unwrap_err();
        format!("{}: {}", fault.field, fault.problem)
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_named() {
        let simulator = SourceSettings::simulator();
        let replay = SourceSettings::replay();
        for (base, key, value, expected) in [
            (&simulator, "seed", "-1", "config.seed: must be a whole number of 0 or more"),
            (&simulator, "ticks_per_second", "0", "config.ticks_per_second: must be 0.001 to 1000"),
            (&simulator, "ticks_per_second", "NaN", "config.ticks_per_second: must be 0.001 to 1000"),
            (&simulator, "volatility_ppm", "100001", "config.volatility_ppm: must be a whole number of 0 to 100000"),
            (&simulator, "latency", "2m", "config.latency: must be at most 60s"),
            (&simulator, "symbols", "", "config.symbols: must be 1 to 500 symbols, as in `BTCUSDT=64000,ETHUSDT`"),
            (&simulator, "symbols", "A=-1", "config.symbols: the price of A must be 0.01 to 1000000000"),
            (
                &simulator,
                "colour",
                "red",
                "config.colour: is not a setting of this source; it has latency, seed, symbols, ticks_per_second, \
                 volatility_ppm",
            ),
            (&replay, "path", "../secret.csv", "config.path: must be a plain relative path"),
            (&replay, "path", "/etc/passwd", "config.path: must be a plain relative path"),
            (&replay, "path", "a.txt", "config.path: must end in .csv, .ndjson or .jsonl"),
            (&replay, "speed", "0", "config.speed: must be 0.001 to 1000000, or max"),
            (&replay, "repeat", "yes", "config.repeat: must be true or false"),
            (&replay, "seed", "1", "config.seed: is not a setting of this source; it has path, repeat, speed"),
        ] {
            assert_eq!(fault(base, key, value), expected);
        }
    }

    #[test]
    fn a_name_that_a_client_chose_is_cut_and_escaped() {
        let name = format!("a\n{}", "x".repeat(100));
        assert!(fault(&SourceSettings::replay(), &name, "").starts_with(&format!("config.a\\n{}: is", "x".repeat(30))));
    }
}
