//! What the process tells about itself: one place that every finished request passes.

pub mod access;
pub mod answer;
mod escape;
pub mod finished;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod route;
mod writer;

use finished::Finished;

/// All of it that belongs to the process and outlives configurations.
#[derive(Debug, Default)]
pub struct Telemetry {}

impl Telemetry {
    /// A request has ended. Called once for each, on its worker.
    pub fn finish(&self, finished: &Finished<'_>) {
        let _ = finished;
    }
}
