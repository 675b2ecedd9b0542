//! What the gateway knows of its own health: alive, ready, and in detail. Read by the system routes, by the gRPC health
//! service and by the admin API; how it is written is theirs.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value, json};
use tidegate_config::valid::HealthDetail;

use crate::heartbeat::Heartbeat;
use crate::lifecycle::Lifecycle;
use crate::upstream::{Cluster, EndpointState};
use crate::version;

/// The health of the configuration in force, for those who look again and again.
#[derive(Debug, Default)]
pub struct Current(ArcSwapOption<Health>);

impl Current {
    /// Another configuration is in force.
    pub fn replace(&self, health: &Arc<Health>) {
        self.0.store(Some(Arc::clone(health)));
    }

    /// `None` before the first configuration is in force.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Health>> {
        self.0.load_full()
    }
}

/// Over the services of one snapshot.
#[derive(Debug)]
pub struct Health {
    lifecycle: Arc<Lifecycle>,
    heartbeat: Arc<Heartbeat>,
    /// In the order of the configuration.
    services: Vec<WatchedService>,
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

impl Health {
    /// The health of a process that runs these services.
    #[must_use]
    pub fn new(
        lifecycle: Arc<Lifecycle>,
        heartbeat: Arc<Heartbeat>,
        services: Vec<WatchedService>,
        detail: HealthDetail,
    ) -> Self {
        Self { lifecycle, heartbeat, services, detail }
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
            Some(service) if is_served(&service.cluster) && service.known => Serving::Yes,
            Some(_) => Serving::No,
        }
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

    /// Each service, and whether all of them pass. Names no address.
    fn checks(&self) -> (Map<String, Value>, bool) {
        let mut checks = Map::new();
        let mut all_pass = true;
        for service in &self.services {
            let views = service.cluster.endpoints();
            let out = views.iter().filter(|view| view.state == EndpointState::TransientFailure).count();
            let pass = out == 0 && service.known;
            all_pass &= pass;
            let status = match (pass, service.required && out == views.len()) {
                (true, _) => "pass",
                (false, false) => "warn",
                (false, true) => "fail",
            };
            let check = json!({"status": status, "endpoints": views.len(), "healthy": views.len() - out});
            checks.insert(format!("service:{}", service.name), check);
        }
        (checks, all_pass)
    }
}

/// At least one endpoint is not out.
fn is_served(cluster: &Cluster) -> bool {
    cluster.endpoints().iter().any(|view| view.state != EndpointState::TransientFailure)
}
