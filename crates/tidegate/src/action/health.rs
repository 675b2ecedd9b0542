//! What the gateway knows of its own health: alive, ready, and in detail. Read by the system routes, by the gRPC health
//! service and by the admin API; how it is written is theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value, json};
use tidegate_config::valid::HealthDetail;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::heartbeat::Heartbeat;
use crate::lifecycle::Lifecycle;
use crate::overload::{Overload, Pressure};
use crate::policy::authn::keys::RemoteKeys;
use crate::upstream::{BreakerState, Cluster};
use crate::{time, version};

/// How often a watch looks, and how long the states are kept that all watches share. States change by failed connects and
/// by drain, which nobody announces.
pub const LOOK: Duration = Duration::from_millis(500);

/// Watches of the gRPC health service in the whole process; more than a few a client are no monitoring.
pub const MAX_WATCHES: usize = 1_000;

/// The health of the configuration in force, for those who look again and again.
#[derive(Debug)]
pub struct Current {
    health: ArcSwapOption<Health>,
    states: ArcSwapOption<States>,
    watches: Arc<Semaphore>,
}

/// The states of one moment, so that many who watch cost what one does.
#[derive(Debug)]
struct States {
    of: Arc<Health>,
    at: Instant,
    /// `""` is the process.
    by_service: HashMap<Arc<str>, Serving>,
}

impl Default for Current {
    fn default() -> Self {
        Self {
            health: ArcSwapOption::empty(),
            states: ArcSwapOption::empty(),
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
        }
    }
}

impl Current {
    /// Another configuration is in force.
    pub fn replace(&self, health: &Arc<Health>) {
        self.health.store(Some(Arc::clone(health)));
    }

    /// `None` before the first configuration is in force.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Health>> {
        self.health.load_full()
    }

    /// The right to watch, for as long as it is kept; `None` if [`MAX_WATCHES`] do.
    #[must_use]
    pub fn watch(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.watches).try_acquire_owned().ok()
    }

    /// The process is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.health.load().as_ref().is_some_and(|health| health.is_draining())
    }

    /// As [`Health::serving`], at most [`LOOK`] old; that the process drains is told at once.
    #[must_use]
    pub fn watched(&self, service: &str) -> Serving {
        if service.is_empty() && self.is_draining() {
            return Serving::No;
        }
        let Some(health) = self.get() else { return Serving::Unknown };
        let now = time::now();
        let kept = self.states.load();
        let is_new =
            |states: &&Arc<States>| Arc::ptr_eq(&states.of, &health) && now.saturating_duration_since(states.at) < LOOK;
        if let Some(states) = kept.as_ref().filter(is_new) {
            return states.serving(service);
        }
        let states = States { at: now, by_service: health.states(), of: health };
        let serving = states.serving(service);
        self.states.store(Some(Arc::new(states)));
        serving
    }
}

impl States {
    fn serving(&self, service: &str) -> Serving {
        self.by_service.get(service).copied().unwrap_or(Serving::Unknown)
    }
}

/// Keys that could not be fetched again for so long are a reason to look: three times as long as between two fetches.
const KEYS_STALE: Duration = Duration::from_secs(1_800);

/// Over the services of one snapshot.
#[derive(Debug)]
pub struct Health {
    lifecycle: Arc<Lifecycle>,
    heartbeat: Arc<Heartbeat>,
    overload: Arc<Overload>,
    /// In the order of the configuration.
    services: Vec<WatchedService>,
    /// Keys of tokens that are fetched.
    keys: Vec<Arc<RemoteKeys>>,
    detail: HealthDetail,
}

/// A service, and whether readiness depends on it.
#[derive(Debug)]
pub struct WatchedService {
    /// In the configuration.
    pub name: Arc<str>,
    /// Its endpoints.
    pub cluster: Arc<Cluster>,
    /// Without it the gateway is not ready.
    pub required: bool,
    /// Its descriptors are known, or no route needs them.
    pub known: bool,
}

/// Who asks for detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Anybody who reaches a public listener.
    Public,
    /// An operator.
    Admin,
}

/// Something that is asked for its state over gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Takes requests.
    Yes,
    /// Takes none at the moment.
    No,
    /// There is no such service.
    Unknown,
}

impl WatchedService {
    fn serving(&self) -> Serving {
        if self.known && is_served(&self.cluster) { Serving::Yes } else { Serving::No }
    }
}

impl Health {
    /// The health of a process that runs these services.
    #[must_use]
    pub fn new(
        lifecycle: Arc<Lifecycle>,
        heartbeat: Arc<Heartbeat>,
        overload: Arc<Overload>,
        services: Vec<WatchedService>,
        keys: Vec<Arc<RemoteKeys>>,
        detail: HealthDetail,
    ) -> Self {
        Self { lifecycle, heartbeat, overload, services, keys, detail }
    }

    /// The process is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.lifecycle.is_draining()
    }

    /// Every loop of the data plane turns.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.heartbeat.is_alive()
    }

    /// What traffic would have to wait for, sorted; empty when ready. Backends count only if the configuration says so.
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        let mut pending = self.lifecycle.pending();
        let out = self.services.iter().filter(|service| service.required && !is_served(&service.cluster));
        pending.extend(out.map(|service| format!("service:{}", service.name)));
        pending.sort_unstable();
        pending
    }

    /// The process (`""`) or one service.
    #[must_use]
    pub fn serving(&self, service: &str) -> Serving {
        if service.is_empty() {
            return if self.pending().is_empty() { Serving::Yes } else { Serving::No };
        }
        match self.services.iter().find(|known| *known.name == *service) {
            None => Serving::Unknown,
            Some(service) => service.serving(),
        }
    }

    /// [`Health::serving`] of everything that there is.
    fn states(&self) -> HashMap<Arc<str>, Serving> {
        let services = self.services.iter().map(|service| (Arc::clone(&service.name), service.serving()));
        services.chain([("".into(), self.serving(""))]).collect()
    }

    /// The detail document, and whether it is no failure. The worst check wins: `fail` while draining, while a loop is
    /// stuck or while something that readiness requires is out; `warn` while anything else is.
    #[must_use]
    pub fn detail(&self, audience: Audience) -> (bool, Value) {
        let required_out = self.services.iter().any(|service| service.required && !is_served(&service.cluster));
        let fails = self.lifecycle.is_draining() || !self.is_alive() || required_out;
        let (checks, all_pass) = self.checks();
        let last_reload = self.lifecycle.last_reload();
        let status = match (fails, all_pass && last_reload == "ok" && self.lifecycle.pending().is_empty()) {
            (true, _) => "fail",
            (false, true) => "pass",
            (false, false) => "warn",
        };
        if self.detail == HealthDetail::Admin && audience == Audience::Public {
            return (!fails, json!({"status": status, "version": version::VERSION}));
        }
        let document = json!({
            "status": status,
            "version": version::VERSION,
            "uptime_s": self.lifecycle.uptime_s(),
            "config": {
                "hash": &*self.lifecycle.config_hash(),
                "loaded_at": self.lifecycle.loaded_at(),
                "last_reload": last_reload,
            },
            "checks": checks,
        });
        (!fails, document)
    }

    /// Each service, each set of fetched keys and, while there is too much to do, the overload; and whether all of them
    /// pass. Names no address.
    fn checks(&self) -> (Map<String, Value>, bool) {
        let mut checks = Map::new();
        let mut all_pass = true;
        for service in &self.services {
            let views = service.cluster.endpoints();
            let out = views.iter().filter(|view| view.is_out()).count();
            let breaker = service.cluster.breaker();
            let pass = out == 0 && service.known && breaker != Some(BreakerState::Open);
            all_pass &= pass;
            let status = match (pass, service.required && out == views.len()) {
                (true, _) => "pass",
                (false, false) => "warn",
                (false, true) => "fail",
            };
            let mut check = json!({"status": status, "endpoints": views.len(), "healthy": views.len() - out});
            if let (Some(breaker), Some(members)) = (breaker, check.as_object_mut()) {
                members.insert("breaker".to_owned(), breaker.word().into());
            }
            checks.insert(format!("service:{}", service.name), check);
        }
        for keys in &self.keys {
            let age = keys.fetched().map(|fetched| time::now().saturating_duration_since(fetched));
            let pass = age.is_some_and(|age| age < KEYS_STALE);
            all_pass &= pass;
            let status = if pass { "pass" } else { "warn" };
            let check = json!({"status": status, "age_s": age.map(|age| age.as_secs())});
            checks.insert(format!("jwks:{}", keys.provider), check);
        }
        let (late_workers, memory) = (self.overload.late_workers(), self.overload.pressure());
        if late_workers > 0 || memory > Pressure::None {
            all_pass = false;
            let check = json!({"status": "warn", "late_workers": late_workers, "memory": memory.word()});
            checks.insert("overload".to_owned(), check);
        }
        (checks, all_pass)
    }
}

/// At least one endpoint is not out.
fn is_served(cluster: &Cluster) -> bool {
    cluster.endpoints().iter().any(|view| !view.is_out())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_too_many_is_refused_until_another_ends() {
        let current = Current::default();
        let mut watches: Vec<_> = (0..MAX_WATCHES).map(|_| current.watch().unwrap()).collect();
        assert!(current.watch().is_none());
        watches.pop();
        assert!(current.watch().is_some());
    }
}
