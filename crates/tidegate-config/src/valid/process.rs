//! What concerns the process as a whole: drain, threads, system routes.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::diag::Place;

/// How the process stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drain {
    /// Time between failing readiness and closing the listeners. 5 s by default, may be zero.
    pub readiness_delay: Duration,
    /// How long open requests may run after that. 30 s by default, may be zero.
    pub timeout: Duration,
}

/// Threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Runtime {
    /// How many data-plane threads.
    pub workers: Workers,
    /// How they share work.
    pub model: RuntimeModel,
}

/// When requests are refused because the process has too much to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overload {
    /// Bytes that the process may have; `None`: what its cgroups say.
    pub memory_limit: Option<u64>,
    /// By how late workers come round; `None`: never.
    pub lag: Option<LagLimits>,
}

/// Mean lags of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LagLimits {
    /// The first requests are refused. 20 ms by default.
    pub from: Duration,
    /// All are refused. 100 ms by default; more than `from`.
    pub all: Duration,
}

impl Default for LagLimits {
    fn default() -> Self {
        Self { from: Duration::from_millis(20), all: Duration::from_millis(100) }
    }
}

/// Number of workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workers {
    /// One for each CPU that the process may use.
    Auto,
    /// This many, at most 1,024.
    Count(NonZeroU16),
}

/// How workers share work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuntimeModel {
    /// One runtime per worker, no stealing. The default.
    PerCore,
    /// One runtime with many threads.
    Shared,
}

/// Paths that the gateway answers itself; `None` turns one off.
#[derive(Clone, PartialEq, Debug)]
pub struct SystemRoutes {
    /// Detail for people. `/health` by default.
    pub health: Option<SystemRoute>,
    /// Liveness probe. `/health/liveness` by default.
    pub liveness: Option<SystemRoute>,
    /// Readiness probe. `/health/readiness` by default.
    pub readiness: Option<SystemRoute>,
    /// Version. `/version` by default.
    pub version: Option<SystemRoute>,
}

/// A path of the gateway itself.
#[derive(Clone, PartialEq, Debug)]
pub struct SystemRoute {
    /// Absolute path without variables.
    pub path: String,
    /// Where it stands; `None`: the default.
    pub place: Option<Place>,
}

impl SystemRoutes {
    /// Those that are on, with their key.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &SystemRoute)> {
        [
            ("health", &self.health),
            ("liveness", &self.liveness),
            ("readiness", &self.readiness),
            ("version", &self.version),
        ]
        .into_iter()
        .filter_map(|(key, route)| route.as_ref().map(|route| (key, route)))
    }
}
