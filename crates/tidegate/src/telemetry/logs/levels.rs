//! Which events are told: directives as in `RUST_LOG`, which can be changed while the process runs.
//!
//! ```text
//! info,tidegate::upstream=debug,h2=off
//! ```
//! A level alone is that of the gateway. Libraries are heard from `warn` on unless a directive names them: their details
//! are not ours to explain, and HTTP/2 traces every frame. Its warnings are about what peers do, so that a hostile client
//! could fill the log with them: of it only errors are heard.

use std::fmt;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tidegate_config::valid::LogLevel;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::reload;

/// Longest text of directives; more is a mistake of whoever sends it.
const MAX_DIRECTIVES_BYTES: usize = 4 * 1024;

/// The module whose events are ours.
const OWN: &str = "tidegate";

/// The levels of the process log.
#[derive(Debug)]
pub struct Levels {
    state: Mutex<State>,
    handle: OnceLock<reload::Handle<Targets, Registry>>,
}

#[derive(Debug)]
struct State {
    configured: LevelFilter,
    directives: Directives,
}

/// Parsed, in the order of the text.
#[derive(Debug, Default)]
struct Directives {
    /// A level without a target; the last one counts.
    level: Option<LevelFilter>,
    targets: Vec<(String, LevelFilter)>,
}

/// Directives that say nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDirectives {
    /// Longer than any sensible text.
    #[error("more than {MAX_DIRECTIVES_BYTES} bytes of directives")]
    TooLong,
    /// The first directive that is wrong.
    #[error("{0:?} is neither a level (off, error, warn, info, debug, trace) nor target=level")]
    Directive(String),
}

impl Levels {
    /// `info`, until something else is asked for.
    pub(super) const fn new() -> Self {
        let directives = Directives { level: None, targets: Vec::new() };
        Self { state: Mutex::new(State { configured: LevelFilter::INFO, directives }), handle: OnceLock::new() }
    }

    /// The directives in force, in the form that [`Levels::set`] takes. The gateway's own level always comes first.
    #[must_use]
    pub fn current(&self) -> String {
        self.state.lock().to_string()
    }

    /// Replaces all directives. Without a level of its own in `directives` the gateway has the configured one.
    ///
    /// # Errors
    /// [`BadDirectives`]; nothing has changed.
    pub fn set(&self, directives: &str) -> Result<(), BadDirectives> {
        let directives = Directives::parse(directives)?;
        let mut state = self.state.lock();
        state.directives = directives;
        self.install(&state);
        Ok(())
    }

    /// Changes the configured level, as a reload does. Directives that were set win over it.
    pub fn configure(&self, level: LogLevel) {
        let mut state = self.state.lock();
        state.configured = match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        self.install(&state);
    }

    /// The filter that follows every change. Only the first one that is asked for does.
    pub(super) fn filter(&self) -> reload::Layer<Targets, Registry> {
        let state = self.state.lock();
        let (filter, handle) = reload::Layer::new(state.targets());
        let _ = self.handle.set(handle);
        filter
    }

    fn install(&self, state: &State) {
        if let Some(handle) = self.handle.get() {
            // Fails only if the log is gone.
            let _ = handle.reload(state.targets());
        }
    }
}

impl State {
    fn own(&self) -> LevelFilter {
        self.directives.level.unwrap_or(self.configured)
    }

    /// A later target of the same name, and a longer one, wins.
    fn targets(&self) -> Targets {
        let own = self.own();
        let libraries = own.min(LevelFilter::WARN);
        Targets::new()
            .with_default(libraries)
            .with_target("h2", own.min(LevelFilter::ERROR))
            .with_target(OWN, own)
            .with_targets(self.directives.targets.iter().cloned())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.own())?;
        self.directives.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={level}"))
    }
}

impl Directives {
    fn parse(text: &str) -> Result<Self, BadDirectives> {
        if text.len() > MAX_DIRECTIVES_BYTES {
            return Err(BadDirectives::TooLong);
        }
        let mut parsed = Self::default();
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            let bad = || BadDirectives::Directive(directive.to_owned());
            match directive.split_once('=') {
                None => parsed.level = Some(level(directive).ok_or_else(bad)?),
                Some((target, after)) => {
                    let (target, level) = (target.trim(), level(after.trim()).ok_or_else(bad)?);
                    if !is_target(target) {
                        return Err(bad());
                    }
                    parsed.targets.push((target.to_owned(), level));
                }
            }
        }
        Ok(parsed)
    }
}

/// By name only: the library would take numbers and an empty text as well.
fn level(name: &str) -> Option<LevelFilter> {
    let named = name.bytes().all(|byte| byte.is_ascii_alphabetic()) && !name.is_empty();
    named.then(|| name.parse().ok()).flatten()
}

/// The path of a module.
fn is_target(text: &str) -> bool {
    let permitted = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.');
    !text.is_empty() && text.bytes().all(permitted)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn set(text: &str) -> Levels {
        let levels = Levels::new();
        levels.set(text).unwrap();
        levels
    }

    #[test]
    fn libraries_are_quiet_unless_a_directive_names_them() {
        for (text, target, level, told) in [
            ("", "tidegate::app", Level::INFO, true),
            ("", "tidegate::app", Level::DEBUG, false),
            ("", "hyper", Level::WARN, true),
            ("", "hyper", Level::INFO, false),
            ("", "h2::server", Level::ERROR, true),
            ("", "h2::server", Level::WARN, false),
            ("trace", "tidegate::app", Level::TRACE, true),
            ("trace", "hyper", Level::INFO, false),
            ("trace", "h2", Level::WARN, false),
            ("error", "hyper", Level::WARN, false),
            ("off", "tidegate", Level::ERROR, false),
            ("off", "h2", Level::ERROR, false),
            ("warn,tidegate::upstream=debug", "tidegate::upstream::call", Level::DEBUG, true),
            ("warn,tidegate::upstream=debug", "tidegate::app", Level::INFO, false),
            ("tidegate::upstream=debug", "tidegate::app", Level::INFO, true),
            ("info,h2=off", "h2", Level::ERROR, false),
            ("info, h2 = debug , ", "h2::proto", Level::DEBUG, true),
            ("hyper=trace", "hyper::proto", Level::TRACE, true),
            ("debug,info", "tidegate", Level::DEBUG, false),
        ] {
            let targets = set(text).state.lock().targets();
            assert_eq!(targets.would_enable(target, &level), told, "{text:?} {target} {level}");
        }
    }

    #[test]
    fn what_is_in_force_can_be_set_again() {
        for (text, current) in [
            ("", "info"),
            ("WARN", "warn"),
            ("h2=off, info ,tidegate::upstream=DEBUG", "info,h2=off,tidegate::upstream=debug"),
        ] {
            assert_eq!(set(text).current(), current);
            assert_eq!(set(current).current(), current);
        }
    }

    #[test]
    fn bad_directives_change_nothing() {
        let levels = set("warn");
        for bad in
            ["inof", "info,h2", "h2=", "=debug", "h2=3", "3", "a=b=c", "h2[x]=info", "a\u{1b}[31m=info", "h2=loud"]
        {
            let error = levels.set(bad).unwrap_err().to_string();
            assert!(error.contains("neither a level"), "{error}");
            assert!(!error.contains('\u{1b}'), "{error}");
        }
        assert_eq!(levels.set(&"a".repeat(5000)), Err(BadDirectives::TooLong));
        assert_eq!(levels.current(), "warn");
    }

    #[test]
    fn the_configured_level_counts_where_no_directive_says_otherwise() {
        let levels = set("h2=off");
        levels.configure(LogLevel::Debug);
        assert_eq!(levels.current(), "debug,h2=off");
        levels.set("warn").unwrap();
        levels.configure(LogLevel::Trace);
        assert_eq!(levels.current(), "warn");
        levels.set("").unwrap();
        assert_eq!(levels.current(), "trace");
    }
}
