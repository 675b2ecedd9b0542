//! Sources: what they are set to, and the one trait behind which they work.

mod record;
mod replay;
mod simulator;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::feed::Feed;
use crate::tick::Value;

use replay::{Replay, ReplaySettings};
use simulator::{Simulator, SimulatorSettings};

/// Symbols that one source may cover.
const SYMBOLS_MAX: usize = 10_000;

/// Something that delivers values.
pub(crate) trait Source: Send + Sync {
    /// What it covers, fixed while it is connected.
    fn symbols(&self) -> &BTreeSet<Arc<str>>;

    /// The current value of each symbol, in the given order; all of them are covered. A symbol without a value yet is
    /// left out. A source that delivers by itself answers with what it delivered last.
    fn fetch<'a>(&'a self, symbols: &'a [Arc<str>], feed: &'a Feed) -> BoxFuture<'a, Vec<Arc<Value>>> {
        Box::pin(async move { feed.newest(symbols) })
    }

    /// Delivers into the feed until there is nothing left (`Ok`) or it breaks. May be dropped at any await.
    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>>;
}

/// Why a source cannot deliver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the file {path} cannot be read: {cause}")]
    Unreadable { path: String, cause: std::io::Error },
    #[error("the file {path} has no record that can be used; {problem}")]
    NoRecords { path: String, problem: String },
    #[error("the file {path} has more than {SYMBOLS_MAX} symbols")]
    TooManySymbols { path: String },
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
            _ => None,
        }
    }

    /// The name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Simulator(_) => "simulator",
            Self::Replay(_) => "replay",
        }
    }

    /// These settings with some of them changed.
    ///
    /// # Errors
    /// The first key that does not exist or whose value is out of range.
    pub(crate) fn with(&self, config: &BTreeMap<String, String>) -> Result<Self, FieldFault> {
        let mut changed = self.clone();
        for (key, value) in config {
            let outcome = match &mut changed {
                Self::Simulator(settings) => settings.set(key, value),
                Self::Replay(settings) => settings.set(key, value),
            };
            outcome.map_err(|problem| FieldFault { field: field_of(key), problem })?;
        }
        Ok(changed)
    }

    /// What is still missing before the source can be opened.
    ///
    /// # Errors
    /// The setting that has no default and was not given.
    pub(crate) fn check_complete(&self) -> Result<(), FieldFault> {
        match self {
            Self::Simulator(_) => Ok(()),
            Self::Replay(settings) => settings.check_complete(),
        }
    }

    /// Makes the source ready to run. Files are below `replay_directory`.
    ///
    /// # Errors
    /// If it cannot deliver now; it may later.
    pub(crate) async fn open(&self, replay_directory: &Path) -> Result<Arc<dyn Source>, SourceError> {
        Ok(match self {
            Self::Simulator(settings) => Arc::new(Simulator::new(settings)),
            Self::Replay(settings) => Arc::new(Replay::open(settings, replay_directory).await?),
        })
    }
}

/// `config.<key>`, cut, because a client chose the key.
fn field_of(key: &str) -> String {
    let cut: String = key.chars().take(crate::tick::NAME_MAX_BYTES).collect();
    format!("config.{}", cut.escape_debug())
}

/// Reads `250ms`, `2s` or `1m`.
///
/// # Errors
/// What must hold, for people.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.find(|character: char| !character.is_ascii_digit()).map(|at| text.split_at(at)) {
        Some((digits, "ms")) => digits.parse().map(Duration::from_millis).ok(),
        Some((digits, "s")) => digits.parse().map(Duration::from_secs).ok(),
        Some((digits, "m")) => digits.parse::<u32>().map(|minutes| Duration::from_secs(u64::from(minutes) * 60)).ok(),
        _ => None,
    };
    parsed.ok_or_else(|| "must be a duration such as 250ms or 2s".to_owned())
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
            ("1h", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse_duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }

    fn fault(base: &SourceSettings, key: &str, value: &str) -> String {
        let fault = base.with(&BTreeMap::from([(key.to_owned(), value.to_owned())])).unwrap_err();
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
