//! The process log, to standard error: one JSON object a line, or text for people.
//!
//! There is one for the process, as there is one dispatcher of events. Lines are formatted by whoever tells something and
//! written by a thread of its own, so that a standard error that blocks delays nobody. Nothing is lost at the end:
//! [`Log`] writes what is left when it is dropped, also while a panic of the main thread unwinds.

mod event;
mod levels;

use std::io;
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::time::Duration;

use tidegate_config::valid::{AccessOutput, Logs};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, registry};

use self::event::Lines;
pub use self::levels::{BadDirectives, Levels};
use super::writer::Writer;

/// Lines that wait for the writer. Thousands of them: more at once is a fault that its first lines explain.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// How long the end of the process waits for its last lines.
pub const LAST_LINES: Duration = Duration::from_secs(1);

static WRITER: OnceLock<Writer> = OnceLock::new();

static LEVELS: Levels = Levels::new();

/// The running log. Dropping it writes what is left, for at most [`LAST_LINES`]; events are taken afterwards as well, but
/// nobody waits for them.
#[derive(Debug)]
#[must_use = "dropping it writes the last lines"]
pub struct Log(());

/// Starts the log of the process. A second call (in tests) changes nothing.
///
/// `directives`, from the environment, win over the configured level. If they are bad they are ignored, which the log tells.
///
/// # Errors
/// The system refused a thread.
pub fn init(logs: &Logs, directives: Option<&str>) -> io::Result<Log> {
    let writer = WRITER.get_or_init(|| Writer::new("log writer", 1, MAX_WAITING_BYTES, AccessOutput::Stderr));
    writer.start()?;
    LEVELS.configure(logs.level);
    let bad = directives.map_or(Ok(()), |directives| LEVELS.set(directives));
    let lines = Lines::new(logs.format, writer).with_filter(LEVELS.filter());
    // Fails only if there is a log already.
    if registry().with(lines).try_init().is_ok() {
        panic::set_hook(Box::new(panicked));
    }
    if let Err(error) = bad {
        tracing::warn!(%error, "the levels of the environment are ignored");
    }
    Ok(Log(()))
}

/// Which events are told. Can be changed while the process runs.
#[must_use]
pub fn levels() -> &'static Levels {
    &LEVELS
}

/// Lines that were lost since the start.
#[must_use]
pub fn dropped() -> u64 {
    WRITER.get().map_or(0, Writer::dropped)
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(writer) = WRITER.get() {
            writer.flush(LAST_LINES);
        }
    }
}

/// A panic is an event like others: one line, and its text, which may come from outside, is escaped. The standard hook
/// would block a worker whose standard error blocks.
fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
    tracing::error!(
        thread = thread.name(),
        location = panic.location().map(tracing::field::display),
        text = panic.payload_as_str(),
        backtrace = captured.then(|| tracing::field::display(&backtrace)),
        "panicked"
    );
}

#[cfg(test)]
mod tests;
