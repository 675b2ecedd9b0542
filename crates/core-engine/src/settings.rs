//! What the engine is started with: defaults, a YAML file, and the checks of both.
//!
//! The settings of a source are a table of texts, in the file as in `ConnectDataSource`: one set of names, one parser,
//! one set of messages ([`crate::source`]).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::source::SourceSettings;

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
    /// The folder that replayed files must be in. Clients name files, so nothing outside may be reached.
    pub replay_directory: PathBuf,
    /// How long open calls may run after the signal to stop.
    pub drain_timeout: Duration,
    /// By id.
    pub(crate) sources: BTreeMap<String, SourceDefinition>,
}

/// Bounds of the buffers. At most `capacity` × `max_symbols` values of about 200 bytes are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BufferLimits {
    /// Values per symbol, 1 to 100,000.
    pub capacity: usize,
    /// Symbols, 1 to 10,000.
    pub max_symbols: usize,
}

impl Default for BufferLimits {
    fn default() -> Self {
        Self { capacity: 500, max_symbols: 500 }
    }
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
        let connected = |settings, connect| SourceDefinition { settings, connect };
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50052)),
            default_source: "simulator".to_owned(),
            buffers: BufferLimits::default(),
            streams: StreamLimits::default(),
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
    /// Reads a YAML file. What it leaves out keeps its default; `sources` replaces both default sources. A relative
    /// `replay_directory` is relative to the file.
    ///
    /// # Errors
    /// If the file cannot be read, is malformed, or has a value out of range.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|cause| SettingsError::Unreadable { path: shown.clone(), cause })?;
        Self::parse(&text, &shown, path.parent().unwrap_or(Path::new("")))
    }

    fn parse(text: &str, path: &str, folder: &Path) -> Result<Self, SettingsError> {
        let file: File = serde_saphyr::from_str(text)
            .map_err(|error| SettingsError::Malformed { path: path.to_owned(), message: error.to_string() })?;
        let mut settings = Self { buffers: file.buffers, streams: file.streams, ..Self::default() };
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

    fn check(&self) -> Result<(), SettingsError> {
        let ranges = [
            ("buffers.capacity", self.buffers.capacity, 100_000),
            ("buffers.max_symbols", self.buffers.max_symbols, 10_000),
            ("streams.queue", self.streams.queue, 10_000),
            ("streams.max_open", self.streams.max_open, 100_000),
        ];
        for (key, value, max) in ranges {
            if !(1..=max).contains(&value) {
                return Err(invalid(key, &format!("must be 1 to {max}")));
            }
        }
        if !self.sources.contains_key(&self.default_source) {
            let known: Vec<_> = self.sources.keys().map(String::as_str).collect();
            return Err(invalid("default_source", &format!("must be one of the sources: {}", known.join(", "))));
        }
        Ok(())
    }
}

fn source((id, typed): (String, FileSource)) -> Result<(String, SourceDefinition), SettingsError> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if id.is_empty() || id.len() > crate::tick::NAME_MAX_BYTES || !id.bytes().all(good) {
        return Err(invalid("sources", "an id is 1 to 32 of a-z, 0-9, _ and -"));
    }
    let Some(base) = SourceSettings::of_type(&typed.r#type) else {
        return Err(invalid(&format!("sources.{id}.type"), "must be simulator or replay"));
    };
    let settings =
        base.with(&typed.config).map_err(|fault| invalid(&format!("sources.{id}.{}", fault.field), &fault.problem))?;
    Ok((id, SourceDefinition { settings, connect: typed.connect }))
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
        assert_eq!(settings.buffers, BufferLimits { capacity: 7, max_symbols: 500 });
        assert_eq!(settings.streams, StreamLimits::default());
        assert_eq!(settings.sources.keys().collect::<Vec<_>>(), ["day"]);
        assert!(settings.sources["day"].connect);
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
            ("sources: { simulator: { type: yahoo } }", "sources.simulator.type: must be simulator or replay"),
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
