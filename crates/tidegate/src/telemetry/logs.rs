//! The process log, to standard error: one JSON object a line, or text for people.

use tidegate_config::valid::{LogFormat, LogLevel, Logs};
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

/// Starts the log of the process. A second call (in tests) changes nothing.
///
/// Libraries are heard from `warn` on: their details are not ours to explain, and HTTP/2 traces every frame. Its warnings
/// are about what peers do, so that a hostile client could fill the log with them: of it only errors are heard.
pub fn init(logs: &Logs) {
    let own = LevelFilter::from_level(level(logs.level));
    let libraries = own.min(LevelFilter::WARN);
    let targets = Targets::new().with_default(libraries).with_target("h2", libraries.min(LevelFilter::ERROR));
    let targets = targets.with_target("tidegate", own);
    let lines = match logs.format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        LogFormat::Text => fmt::layer().with_ansi(false).with_writer(std::io::stderr).boxed(),
    };
    // Fails only if there is a log already.
    let _ = registry().with(lines.with_filter(targets)).try_init();
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    }
}
