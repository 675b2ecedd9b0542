//! Looks at the memory of the process, and has idle connections closed while it is short.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::listen::Control;
use crate::overload::{MEMORY_LOOK, Pressure};
use crate::snapshot::registry::Registry;
use crate::telemetry::metrics::memory;
use crate::time::now;

/// One line in the log within this time, however often the pressure changes.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Until it is dropped; for the control thread.
pub(super) async fn watch(registry: Arc<Registry>, listeners: Arc<Control>) {
    let overload = &registry.process.overload;
    let mut told: Option<(Pressure, Instant)> = None;
    loop {
        let (resident, of_cgroup) = memory();
        if let Some(resident) = resident {
            let limit = overload.memory_limit().or(of_cgroup);
            let (_, pressure) = overload.measured(resident, limit);
            if pressure >= Pressure::Tight {
                listeners.close_idle();
            }
            tell(&mut told, pressure, resident, limit);
        }
        tokio::time::sleep(MEMORY_LOOK).await;
    }
}

/// Worse is told at once, better only after a while.
fn tell(told: &mut Option<(Pressure, Instant)>, pressure: Pressure, resident: u64, limit: Option<u64>) {
    let before = told.map_or(Pressure::None, |(pressure, _)| pressure);
    let is_due = told.is_none_or(|(_, at)| now().saturating_duration_since(at) >= LOG_INTERVAL);
    if pressure == before || (pressure < before && !is_due) {
        return;
    }
    *told = Some((pressure, now()));
    let (pressure, limit) = (pressure.word(), limit.unwrap_or(0));
    tracing::warn!(pressure, resident, limit, "the pressure on memory has changed");
}
