//! One attempt to get an answer from an endpoint, as it is counted: what it came to and how long it took.

use std::sync::Arc;
use std::time::Instant;

use tidegate_transcode::Code;

use crate::ids::WorkerId;
use crate::telemetry::metrics::ServiceSeries;
use crate::time::now;

/// Dropped without a word it counts as cancelled: whoever waited for it has gone.
#[derive(Debug)]
pub(super) struct Attempt {
    series: Arc<ServiceSeries>,
    worker: WorkerId,
    begun: Instant,
    counted: bool,
}

impl Attempt {
    pub(super) fn new(series: &Arc<ServiceSeries>, worker: WorkerId, begun: Instant) -> Self {
        Self { series: Arc::clone(series), worker, begun, counted: false }
    }

    /// It has come to `code`. Only the first word counts.
    pub(super) fn ended(&mut self, code: Code) {
        if !std::mem::replace(&mut self.counted, true) {
            self.series.attempted(self.worker, code, now().saturating_duration_since(self.begun));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.ended(Code::Cancelled);
    }
}
