//! The one place that reads clocks.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Wall time for what is told to others, monotonic time for how long something took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    /// Starts counting now.
    pub(crate) fn start() -> Self {
        Self { started_at: Timestamp::now(), started: Instant::now() }
    }

    /// UTC now. Follows corrections of the system's clock, so it may go back.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// When the engine started, UTC.
    pub(crate) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Since the start; never goes back.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
