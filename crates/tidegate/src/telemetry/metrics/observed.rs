//! What other parts of the gateway know at the moment of a scrape, as plain data: they stand in higher rows.

use std::sync::Arc;

use super::process::Process;

/// Everything on the page that is not counted here.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What runs.
    pub build: Build,
    /// From [`Process::read`].
    pub process: Process,
    /// The process is about to stop.
    pub draining: bool,
    /// From `tasks::panics`.
    pub panics: u64,
    /// Lines of all logs: their writers count for themselves.
    pub logs_dropped: u64,
    /// Keys that rate limits remember; `None` if there are no limits.
    pub limit_keys: Option<u64>,
    /// Requests that were refused because there was too much to do, by cause.
    pub overload_refusals: Vec<(&'static str, u64)>,
    /// Workers that refuse requests because they come round too late.
    pub late_workers: u64,
    /// How short memory is, from 0 to 3.
    pub memory_pressure: u64,
    /// One for each service of the configuration.
    pub services: Vec<ServiceState>,
    /// One for each certificate of the configuration.
    pub certificates: Vec<Certificate>,
}

/// As in `version`.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Of the package.
    pub version: &'static str,
    /// Of the source.
    pub revision: &'static str,
    /// Of the compiler.
    pub rustc: &'static str,
}

impl Default for Build {
    fn default() -> Self {
        use crate::version::{REVISION, RUSTC, VERSION};
        Self { version: VERSION, revision: REVISION, rustc: RUSTC }
    }
}

/// A service and its backends.
#[derive(Clone, Debug)]
pub struct ServiceState {
    /// In the configuration.
    pub name: Arc<str>,
    /// Of all workers.
    pub connections: Connections,
    /// As the configuration writes them; one that stands there twice is up if either is.
    pub endpoints: Vec<EndpointUp>,
    /// After name resolution.
    pub addresses: Addresses,
    /// 0 closed, 1 half open, 2 open; `None` if it has no circuit breaker.
    pub breaker: Option<u64>,
    /// For services that are asked for their descriptors.
    pub schema: Option<SchemaState>,
}

/// Connections to backends by state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    /// Not connected, and nobody asks.
    pub idle: u64,
    /// On the way.
    pub connecting: u64,
    /// Takes calls.
    pub ready: u64,
    /// Waits before the next try.
    pub transient_failure: u64,
    /// Takes no new calls and ends with its last one.
    pub shutdown: u64,
}

impl Connections {
    pub(super) const fn by_state(&self) -> [(&'static str, u64); 5] {
        [
            ("idle", self.idle),
            ("connecting", self.connecting),
            ("ready", self.ready),
            ("transient_failure", self.transient_failure),
            ("shutdown", self.shutdown),
        ]
    }
}

/// Addresses of backends by state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    /// Take requests.
    pub healthy: u64,
    /// Failed their check or their connects.
    pub unhealthy: u64,
    /// Left out because of what they answered.
    pub ejected: u64,
}

impl Addresses {
    pub(super) const fn by_state(&self) -> [(&'static str, u64); 3] {
        [("healthy", self.healthy), ("unhealthy", self.unhealthy), ("ejected", self.ejected)]
    }
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointUp {
    /// As the configuration writes it.
    pub endpoint: Arc<str>,
    /// An address behind it takes requests.
    pub up: bool,
}

/// The descriptors of a service that is asked for them.
#[derive(Clone, Copy, Debug)]
pub struct SchemaState {
    /// They could not be refreshed, or newer ones do not fit the routes.
    pub stale: bool,
    /// Different sets among the last answers of its backends.
    pub digests: u64,
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// In the configuration. Of several with one name the first to expire is shown.
    pub name: Arc<str>,
    /// Seconds since 1970.
    pub not_after: u64,
}
