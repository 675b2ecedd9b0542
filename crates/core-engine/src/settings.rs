//! What the engine is started with: defaults, a YAML file, and the checks of both.
//!
//! The settings of a source are a table of texts, in the file as in `ConnectDataSource`: one set of names, one parser,
//! one set of messages ([`crate::source`]).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::market::bars::{ALLOWANCE_MAX, BarLimits};
use crate::market::history::rings::RingLimits;
use crate::market::interval::Interval;
use crate::news::library::{Bounds, LibraryLimits};
use crate::source::{Setter, SourceSettings, TYPES};
use crate::store::StoreLimits;
use crate::tape::TapeLimits;

/// Sources of one engine.
pub(crate) const SOURCES_MAX: usize = 64;

/// Everything that the engine needs to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens. Port 0 takes a free one, see [`crate::Server::address`].
    pub listen: SocketAddr,
    /// The source of requests that name none.
    pub default_source: String,
    /// Bounds of the buffers.
    pub buffers: BufferLimits,
    /// Bounds of the streams.
    pub streams: StreamLimits,
    /// How bars are made, and how many are held in memory.
    pub bars: BarSettings,
    /// Bounds of the articles in memory.
    pub news: NewsLimits,
    /// What is kept on disk; nothing without it.
    pub store: Option<StoreSettings>,
    /// Where metrics are served over HTTP; nowhere without it.
    pub metrics: Option<SocketAddr>,
    /// Whether clients may say where sources connect to. Whoever can see the engine could then see what it sees.
    pub allow_client_locations: bool,
    /// The folder that replayed files must be in. Clients name files, so nothing outside may be reached.
    pub replay_directory: PathBuf,
    /// How long open calls may run after the signal to stop.
    pub drain_timeout: Duration,
    /// By id.
    pub(crate) sources: BTreeMap<String, SourceDefinition>,
}

/// Bounds of the buffers of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BufferLimits {
    /// Values per symbol, 1 to 100,000.
    pub capacity: usize,
    /// Symbols, 1 to 10,000.
    pub max_symbols: usize,
    /// Values of all symbols, 1 to 10,000,000.
    pub max_values: usize,
    /// Memory of one symbol's values, 1 KiB or more.
    pub max_bytes_per_symbol: usize,
    /// Memory of all values, 1 KiB or more.
    pub max_bytes: usize,
    /// How long a value is kept after it came.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
}

impl Default for BufferLimits {
    fn default() -> Self {
        Self {
            capacity: 500,
            max_symbols: 500,
            max_values: 250_000,
            max_bytes_per_symbol: 256 * 1024,
            max_bytes: 64 * 1024 * 1024,
            max_age: Duration::from_secs(24 * 3_600),
        }
    }
}

/// How bars are made of values, and the bounds of those in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BarSettings {
    /// Bars of one interval of one symbol of one source, 1 to 100,000.
    pub capacity: usize,
    /// Symbols, counted for each source, 1 to 100,000.
    pub max_series: usize,
    /// Memory of all bars, 1 KiB or more.
    pub max_bytes: usize,
    /// How long a bar is held after its last change. Long, because a bar of a day comes once a day.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    /// How late a value may come and still join its bars, at most a minute.
    #[serde(deserialize_with = "duration")]
    pub allowance: Duration,
}

impl Default for BarSettings {
    fn default() -> Self {
        Self {
            capacity: 1_000,
            max_series: 2_000,
            max_bytes: 128 * 1024 * 1024,
            max_age: days(3_660),
            allowance: Duration::from_secs(5),
        }
    }
}

/// Bounds of the articles in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewsLimits {
    /// Of all sources, 1 to 100,000.
    pub capacity: usize,
    /// Of one source, 1 to 100,000.
    pub capacity_per_source: usize,
    /// Memory of all of them, 1 KiB or more.
    pub max_bytes: usize,
    /// How long an article is kept after it was published.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    /// How far apart two articles with the same title are still taken for the same.
    #[serde(deserialize_with = "duration")]
    pub title_window: Duration,
}

impl Default for NewsLimits {
    fn default() -> Self {
        Self {
            capacity: 5_000,
            capacity_per_source: 2_000,
            max_bytes: 32 * 1024 * 1024,
            max_age: days(30),
            title_window: Duration::from_secs(48 * 3_600),
        }
    }
}

impl NewsLimits {
    pub(crate) fn library(&self) -> LibraryLimits {
        LibraryLimits {
            all: Bounds { articles: self.capacity, bytes: self.max_bytes },
            per_source: Bounds { articles: self.capacity_per_source, bytes: self.max_bytes },
            max_age: self.max_age,
            title_window: self.title_window,
        }
    }
}

/// What is kept on disk, and for how long.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// The file. Relative to the settings' file.
    pub path: PathBuf,
    /// In the file; the oldest bars of the finest interval go first.
    #[serde(default = "StoreSettings::max_bars")]
    pub max_bars: u64,
    /// Articles in the file.
    #[serde(default = "StoreSettings::max_articles")]
    pub max_articles: u64,
    /// Of everything in the file, which itself is up to about twice as large.
    #[serde(default = "StoreSettings::max_bytes")]
    pub max_bytes: u64,
    /// How long bars of a second, a minute, an hour and a day are kept, and articles.
    #[serde(default = "StoreSettings::keep_seconds", deserialize_with = "duration")]
    pub keep_1s: Duration,
    #[allow(missing_docs, reason = "as above")]
    #[serde(default = "StoreSettings::keep_minutes", deserialize_with = "duration")]
    pub keep_1m: Duration,
    #[allow(missing_docs, reason = "as above")]
    #[serde(default = "StoreSettings::keep_hours", deserialize_with = "duration")]
    pub keep_1h: Duration,
    #[allow(missing_docs, reason = "as above")]
    #[serde(default = "StoreSettings::keep_days", deserialize_with = "duration")]
    pub keep_1d: Duration,
    #[allow(missing_docs, reason = "as above")]
    #[serde(default = "StoreSettings::keep_news", deserialize_with = "duration")]
    pub keep_news: Duration,
}

impl StoreSettings {
    /// This file, with the defaults.
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            max_bars: Self::max_bars(),
            max_articles: Self::max_articles(),
            max_bytes: Self::max_bytes(),
            keep_1s: Self::keep_seconds(),
            keep_1m: Self::keep_minutes(),
            keep_1h: Self::keep_hours(),
            keep_1d: Self::keep_days(),
            keep_news: Self::keep_news(),
        }
    }

    fn max_bars() -> u64 {
        5_000_000
    }
    fn max_articles() -> u64 {
        100_000
    }
    fn max_bytes() -> u64 {
        1024 * 1024 * 1024
    }
    fn keep_seconds() -> Duration {
        Duration::from_secs(6 * 3_600)
    }
    fn keep_minutes() -> Duration {
        days(14)
    }
    fn keep_hours() -> Duration {
        days(366)
    }
    fn keep_days() -> Duration {
        days(3_660)
    }
    fn keep_news() -> Duration {
        days(30)
    }

    pub(crate) fn limits(&self) -> StoreLimits {
        let keep = [self.keep_1s, self.keep_1m, self.keep_1h, self.keep_1d];
        StoreLimits {
            max_bars: self.max_bars,
            max_articles: self.max_articles,
            max_bytes: self.max_bytes,
            keep_bars: keep.map(signed),
            keep_articles: signed(self.keep_news),
            ..StoreLimits::default()
        }
    }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3_600)
}

/// A duration that is longer than a time can be apart from another is as good as the longest.
fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX).min(SignedDuration::from_hours(24 * 366 * 200))
}

/// Reads `5s`, `24h` or `30d`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::source::parse_duration(&text).map_err(|problem| serde::de::Error::custom(format!("{text} {problem}")))
}

/// Bounds of the streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamLimits {
    /// Values that may wait for one subscriber, 1 to 10,000.
    pub queue: usize,
    /// Subscribers at once, 1 to 100,000.
    pub max_open: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { queue: 256, max_open: 1024 }
    }
}

/// A source that clients can name.
#[derive(Clone, Debug)]
pub(crate) struct SourceDefinition {
    pub(crate) settings: SourceSettings,
    /// Whether it is connected at the start.
    pub(crate) connect: bool,
    /// Whether a client made it.
    pub(crate) made: bool,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path}: {cause}")]
    Unreadable {
        /// As it was given.
        path: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file is not YAML, or has a key that does not exist.
    #[error("{path}: {message}")]
    Malformed {
        /// As it was given.
        path: String,
        /// With line and column.
        message: String,
    },
    /// A value is out of its range.
    #[error("{key}: {problem}")]
    Invalid {
        /// Dotted path.
        key: String,
        /// What must hold.
        problem: String,
    },
}

impl Default for Settings {
    /// The simulator, connected, and a replay that waits for its file, on 127.0.0.1:50052.
    fn default() -> Self {
        let connected = |settings, connect| SourceDefinition { settings, connect, made: false };
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50052)),
            default_source: "simulator".to_owned(),
            buffers: BufferLimits::default(),
            streams: StreamLimits::default(),
            bars: BarSettings::default(),
            news: NewsLimits::default(),
            store: None,
            metrics: None,
            allow_client_locations: false,
            replay_directory: PathBuf::from("replay"),
            drain_timeout: Duration::from_secs(5),
            sources: BTreeMap::from([
                ("simulator".to_owned(), connected(SourceSettings::simulator(), true)),
                ("replay".to_owned(), connected(SourceSettings::replay(), false)),
            ]),
        }
    }
}

/// The file, as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    default_source: Option<String>,
    replay_directory: Option<PathBuf>,
    drain_timeout: Option<String>,
    #[serde(default)]
    buffers: BufferLimits,
    #[serde(default)]
    streams: StreamLimits,
    #[serde(default)]
    bars: BarSettings,
    #[serde(default)]
    news: NewsLimits,
    store: Option<StoreSettings>,
    metrics: Option<String>,
    #[serde(default)]
    allow_client_locations: bool,
    sources: Option<BTreeMap<String, FileSource>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSource {
    r#type: String,
    #[serde(default)]
    connect: bool,
    #[serde(default)]
    config: BTreeMap<String, String>,
}

impl Settings {
    /// Reads a YAML file. What it leaves out keeps its default; `sources` replaces both default sources. A relative path
    /// is relative to the file.
    ///
    /// # Errors
    /// If the file cannot be read, is malformed, or has a value out of range.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        Self::read(Some(path), &[])
    }

    /// The same, with some values set over those of the file, as `buffers.capacity=1000`: a dotted path of keys, and a
    /// value in YAML. Without a file, over the defaults.
    ///
    /// # Errors
    /// As [`Settings::load`]; also if one is no key with a value.
    pub fn read(path: Option<&Path>, set: &[String]) -> Result<Self, SettingsError> {
        let shown = path.map_or_else(|| "settings".to_owned(), |path| path.display().to_string());
        let text = match path {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|cause| SettingsError::Unreadable { path: shown.clone(), cause })?,
            None => "{}".to_owned(),
        };
        let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
        if set.is_empty() {
            return Self::parse(&text, &shown, folder);
        }
        let malformed = |message: String| SettingsError::Malformed { path: shown.clone(), message };
        let mut tree: Json = serde_saphyr::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        for pair in set {
            put(&mut tree, pair).map_err(|problem| invalid(pair, problem))?;
        }
        Self::parse(&tree.to_string(), &shown, folder)
    }

    fn parse(text: &str, path: &str, folder: &Path) -> Result<Self, SettingsError> {
        let file: File = serde_saphyr::from_str(text)
            .map_err(|error| SettingsError::Malformed { path: path.to_owned(), message: error.to_string() })?;
        let mut settings = Self {
            buffers: file.buffers,
            streams: file.streams,
            bars: file.bars,
            news: file.news,
            store: file.store.map(|store| StoreSettings { path: folder.join(&store.path), ..store }),
            allow_client_locations: file.allow_client_locations,
            ..Self::default()
        };
        if let Some(metrics) = file.metrics {
            settings.metrics = Some(metrics.parse().map_err(|_| invalid("metrics", "must be an address with a port"))?);
        }
        if let Some(listen) = file.listen {
            settings.listen = listen.parse().map_err(|_| invalid("listen", "must be an address with a port"))?;
        }
        if let Some(directory) = file.replay_directory {
            settings.replay_directory = folder.join(directory);
        }
        if let Some(timeout) = file.drain_timeout {
            settings.drain_timeout =
                crate::source::parse_duration(&timeout).map_err(|problem| invalid("drain_timeout", &problem))?;
        }
        if let Some(sources) = file.sources {
            settings.sources = sources.into_iter().map(source).collect::<Result<_, _>>()?;
        }
        if let Some(default) = file.default_source {
            settings.default_source = default;
        }
        settings.check()?;
        Ok(settings)
    }

    /// Whether everything is within its range.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let ranges = [
            ("buffers.capacity", self.buffers.capacity, 100_000),
            ("buffers.max_symbols", self.buffers.max_symbols, 10_000),
            ("buffers.max_values", self.buffers.max_values, 10_000_000),
            ("bars.capacity", self.bars.capacity, 100_000),
            ("bars.max_series", self.bars.max_series, 100_000),
            ("news.capacity", self.news.capacity, 100_000),
            ("news.capacity_per_source", self.news.capacity_per_source, 100_000),
            ("streams.queue", self.streams.queue, 10_000),
            ("streams.max_open", self.streams.max_open, 100_000),
        ];
        for (key, value, max) in ranges {
            if !(1..=max).contains(&value) {
                return Err(invalid(key, &format!("must be 1 to {max}")));
            }
        }
        for (key, bytes) in [
            ("buffers.max_bytes_per_symbol", self.buffers.max_bytes_per_symbol),
            ("buffers.max_bytes", self.buffers.max_bytes),
            ("bars.max_bytes", self.bars.max_bytes),
            ("news.max_bytes", self.news.max_bytes),
        ] {
            if bytes < 1024 {
                return Err(invalid(key, "must be 1024 or more"));
            }
        }
        if signed(self.bars.allowance) > ALLOWANCE_MAX {
            return Err(invalid("bars.allowance", "must be at most 60s"));
        }
        if self.sources.len() > SOURCES_MAX {
            return Err(invalid("sources", &format!("must be at most {SOURCES_MAX}")));
        }
        if !self.sources.contains_key(&self.default_source) {
            let known: Vec<_> = self.sources.keys().map(String::as_str).collect();
            return Err(invalid("default_source", &format!("must be one of the sources: {}", known.join(", "))));
        }
        Ok(())
    }
}

impl Settings {
    /// Who a client is when it sets a source.
    pub(crate) fn client(&self) -> Setter {
        if self.allow_client_locations { Setter::Owner } else { Setter::Client }
    }

    /// Bounds of values and bars in memory.
    pub(crate) fn tape_limits(&self) -> TapeLimits {
        TapeLimits {
            values: RingLimits {
                max_keys: self.buffers.max_symbols,
                max_items_per_key: self.buffers.capacity,
                max_bytes_per_key: self.buffers.max_bytes_per_symbol,
                max_items: self.buffers.max_values,
                max_bytes: self.buffers.max_bytes,
                max_age: signed(self.buffers.max_age),
            },
            bars: RingLimits {
                max_keys: self.bars.max_series.saturating_mul(Interval::ALL.len()),
                max_items_per_key: self.bars.capacity,
                max_bytes_per_key: self.bars.max_bytes,
                max_bytes: self.bars.max_bytes,
                max_age: signed(self.bars.max_age),
                ..RingLimits::of_bars()
            },
            series: BarLimits {
                max_series: self.bars.max_series,
                allowance: signed(self.bars.allowance),
                ..BarLimits::default()
            },
        }
    }
}

fn source((id, typed): (String, FileSource)) -> Result<(String, SourceDefinition), SettingsError> {
    if !is_source_id(&id) {
        return Err(invalid("sources", "an id is 1 to 32 of a-z, 0-9, _ and -"));
    }
    let Some(base) = SourceSettings::of_type(&typed.r#type) else {
        return Err(invalid(&format!("sources.{id}.type"), &format!("must be one of {}", TYPES.join(", "))));
    };
    let settings = base
        .with(&typed.config, Setter::Owner)
        .map_err(|fault| invalid(&format!("sources.{id}.{}", fault.field), &fault.problem))?;
    Ok((id, SourceDefinition { settings, connect: typed.connect, made: false }))
}

/// 1 to 32 of a-z, 0-9, `_` and `-`.
pub(crate) fn is_source_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=crate::tick::NAME_MAX_BYTES).contains(&id.len()) && id.bytes().all(good)
}

/// Puts `a.b=c` into a tree.
fn put(tree: &mut Json, pair: &str) -> Result<(), &'static str> {
    let (path, value) = pair.split_once('=').ok_or("must be a key, = and a value")?;
    let mut place = tree;
    for key in path.split('.') {
        if place.is_null() {
            *place = Json::Object(serde_json::Map::new());
        }
        let object = place.as_object_mut().ok_or("is below a key that holds no others")?;
        place = object.entry(key).or_insert(Json::Null);
    }
    // Settings of sources are texts; everything else is read as it would be in the file.
    *place = match path.contains(".config.") {
        true => Json::String(value.to_owned()),
        false => serde_saphyr::from_str(value).map_err(|_| "has a value that is no YAML")?,
    };
    Ok(())
}

fn invalid(key: &str, problem: &str) -> SettingsError {
    SettingsError::Invalid { key: key.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, "engine.yaml", Path::new("/etc/engine")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let settings = parse(
            "listen: 127.0.0.2:9\nreplay_directory: days\ndrain_timeout: 250ms\ndefault_source: day\n\
             buffers: { capacity: 7 }\n\
             sources:\n  day: { type: replay, connect: true, config: { path: a.csv, speed: 60, repeat: true } }\n",
        )
        .unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.2:9");
        assert_eq!(settings.replay_directory, Path::new("/etc/engine/days"));
        assert_eq!(settings.drain_timeout, Duration::from_millis(250));
        assert_eq!(settings.buffers, BufferLimits { capacity: 7, ..BufferLimits::default() });
        assert_eq!(settings.streams, StreamLimits::default());
        assert_eq!(settings.sources.keys().collect::<Vec<_>>(), ["day"]);
        assert!(settings.sources["day"].connect);
    }

    #[test]
    fn single_values_can_be_set_over_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engine.yaml");
        std::fs::write(&file, "buffers: { capacity: 7 }\nsources: { s: { type: simulator } }\ndefault_source: s\n")
            .unwrap();
        let set = |pairs: &[&str]| {
            let pairs: Vec<String> = pairs.iter().map(ToString::to_string).collect();
            Settings::read(Some(&file), &pairs).map_err(|error| error.to_string())
        };
        let settings = set(&["buffers.max_symbols=9", "sources.s.connect=true", "sources.s.config.seed=7"]).unwrap();
        assert_eq!((settings.buffers.capacity, settings.buffers.max_symbols), (7, 9));
        assert!(settings.sources["s"].connect);
        assert_eq!(set(&["buffers"]).unwrap_err(), "buffers: must be a key, = and a value");
        assert!(set(&["buffers.capacity.x=1"]).unwrap_err().contains("is below a key"));
        assert!(set(&["colour=red"]).unwrap_err().contains("colour"));
        let bare = Settings::read(None, &["streams.queue=5".to_owned()]).unwrap();
        assert_eq!((bare.streams.queue, bare.sources.len()), (5, 2));
    }

    #[test]
    fn an_empty_mapping_means_the_defaults() {
        let settings = parse("{}").unwrap();
        assert_eq!(settings.listen, Settings::default().listen);
        assert_eq!(settings.sources.len(), 2);
    }

    #[test]
    fn a_bad_value_is_named() {
        for (text, expected) in [
            ("listen: here", "listen: must be an address with a port"),
            ("buffers: { capacity: 0 }", "buffers.capacity: must be 1 to 100000"),
            ("streams: { max_open: 1000000 }", "streams.max_open: must be 1 to 100000"),
            ("default_source: x", "default_source: must be one of the sources: replay, simulator"),
            (
                "sources: { simulator: { type: yahoo } }",
                "sources.simulator.type: must be one of simulator, replay, yahoo_finance, news_api, rss, news_simulator, binance, \
                 coinbase",
            ),
            (
                "sources: { simulator: { type: simulator, config: { seed: x } } }",
                "sources.simulator.config.seed: must be a whole number of 0 or more",
            ),
            ("drain_timeout: 5", "drain_timeout: must be a duration such as 250ms or 2s"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let message = parse("listen: 127.0.0.1:1\nbufers: {}\n").unwrap_err();
        assert!(message.starts_with("engine.yaml: ") && message.contains("bufers") && message.contains("line 2"));
    }
}
