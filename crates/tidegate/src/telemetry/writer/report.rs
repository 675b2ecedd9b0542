//! What a writer says about itself in the process log: an output that fails, at most once a minute, and how many lines
//! were lost, once no more are. The writer of the process log does the same; its words wait in its own buffer.

use std::time::{Duration, Instant};

use super::output::Output;
use crate::time;

/// Between two lines about a failing output.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);

/// As long as nothing must have been lost for the losses to count as over.
const QUIET: Duration = Duration::from_secs(1);

/// What was said and what was seen.
#[derive(Debug)]
pub(super) struct Report {
    writer: &'static str,
    failure_told: Option<Instant>,
    lost_told: u64,
    lost_seen: u64,
    seen_at: Instant,
}

impl Report {
    pub(super) fn new(writer: &'static str) -> Self {
        Self { writer, failure_told: None, lost_told: 0, lost_seen: 0, seen_at: time::now() }
    }

    /// Called after each round. `lost` counts from the start; `now` asks for the losses without waiting for their end.
    pub(super) fn tell(&mut self, output: &mut Output, lost: u64, now: bool) {
        if let Some(error) = output.take_failure()
            && self.failure_told.is_none_or(|told| told + FAILURE_PAUSE <= time::now())
        {
            self.failure_told = Some(time::now());
            tracing::error!(writer = self.writer, output = output.name(), %error, "a log cannot be written");
        }
        if lost > self.lost_seen {
            (self.lost_seen, self.seen_at) = (lost, time::now());
        }
        if lost > self.lost_told && (now || self.seen_at + QUIET <= time::now()) {
            tracing::warn!(
                writer = self.writer,
                output = output.name(),
                lines = lost - self.lost_told,
                "lines of a log were lost"
            );
            self.lost_told = lost;
        }
    }

    /// When it must be asked again although nothing happens.
    pub(super) fn pending(&self) -> Option<Duration> {
        (self.lost_seen > self.lost_told).then_some(QUIET)
    }
}
