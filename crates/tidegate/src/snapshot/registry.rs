//! What outlives snapshots: where the process stands, and the services of the configuration in force with their
//! connections and descriptors.
//!
//! Everything here is replaced on the control thread alone, each time as a whole; others read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_config::Valid;
use tidegate_transcode::Schema;

use super::Snapshot;
use super::bodies::Bodies;
use super::freshness::Freshness;
use super::inputs::Digest;
use crate::action::health::Current;
use crate::action::metrics::Page;
use crate::heartbeat::Heartbeat;
use crate::lifecycle::Lifecycle;
use crate::overload::Overload;
use crate::policy::authn::Provider;
use crate::policy::limits::{Limiter, Limits};
use crate::realtime::door::Hall;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Live as Named;
use crate::time;
use crate::upstream::{Cluster, Wheels};

/// Shared state of the process.
#[derive(Debug)]
pub struct Registry {
    /// What the process has beside its configurations.
    pub process: Process,
    /// Where the last good descriptors of reflection are kept.
    pub state_dir: Option<PathBuf>,
    live: Mutex<Arc<Live>>,
}

/// What the process has beside its configurations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Process {
    /// Where the process stands.
    pub lifecycle: Arc<Lifecycle>,
    /// Health of the configuration in force.
    pub health: Arc<Current>,
    /// Whether the workers turn.
    pub heartbeat: Arc<Heartbeat>,
    /// Whether it has too much to do.
    pub overload: Arc<Overload>,
    /// What it tells about itself.
    pub telemetry: Arc<Telemetry>,
    /// Where the page of metrics is asked for.
    pub page: Page,
    /// The timer wheels of all threads.
    pub wheels: Wheels,
    /// What rate limits remember.
    pub limiter: Arc<Limiter>,
    /// Open WebSockets.
    pub hall: Arc<Hall>,
}

/// The configuration in force, and what runs for it.
#[derive(Clone, Debug)]
pub struct Live {
    /// The configuration.
    pub valid: Arc<Valid>,
    /// Its name: 16 hexadecimal digits over everything that was read for it.
    pub hash: Arc<str>,
    /// In the order of the configuration.
    pub services: Vec<Running>,
    /// Who checks credentials, in the order of the configuration.
    pub providers: Vec<Arc<Provider>>,
    /// Schemas that its routes demand of bodies: files that are read with the configuration alone.
    pub bodies: Arc<Bodies>,
}

/// A service as it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its connections.
    pub cluster: Arc<Cluster>,
    /// Over everything that shapes the connections, the content of certificates included: a service that keeps its
    /// name and its fingerprint keeps its cluster. The weights of its endpoints are put in force with the rest
    /// ([`Registry::replace`]).
    pub fingerprint: Digest,
    /// Where the schema came from.
    pub origin: SchemaOrigin,
    /// What is known of its methods; `None` while reflection has not answered and nothing was kept from before.
    pub schema: Option<Arc<Schema>>,
    /// The schema is what an earlier configuration knew of the service, so it may lack what the routes name.
    pub stale: bool,
    /// How asking for the schema goes; of nobody's interest if it comes from files.
    pub freshness: Arc<Freshness>,
}

/// Where a schema came from; equal if it would be the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaOrigin {
    /// There is none: the service speaks HTTP.
    None,
    /// Files: the setting as text, and each file that was read.
    Files(String, Vec<(PathBuf, Option<Digest>)>),
    /// The backend, which is asked for these services.
    Reflection(Vec<String>),
}

impl Registry {
    /// The state of a process that begins with `live`.
    #[must_use]
    pub fn new(process: Process, state_dir: Option<&Path>, live: Live) -> Self {
        Self { process, state_dir: state_dir.map(Path::to_owned), live: Mutex::new(Arc::new(live)) }
    }

    /// What is in force at this moment.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.lock())
    }

    /// Puts `live` in force. Clusters that it does not have end with the last request that uses them.
    pub fn replace(&self, live: Live) {
        for (running, service) in live.services.iter().zip(&live.valid.services) {
            let weights: Vec<u32> = service.endpoints.iter().map(|endpoint| endpoint.weight).collect();
            running.cluster.weigh(&weights);
        }
        let before = std::mem::replace(&mut *self.live.lock(), Arc::new(live));
        // Outside of the lock: this may close connections.
        drop(before);
    }

    /// `snapshot` is in force, with what is [`Registry::live`]: health speaks of it, and series of what it does not have
    /// go after a while.
    pub fn in_force(&self, snapshot: &Snapshot) {
        self.process.health.replace(&snapshot.health);
        self.process.overload.configure(&snapshot.valid.overload);
        let metrics = &self.process.telemetry.metrics;
        let live = self.live();
        for method in snapshot.routes.iter().filter_map(|route| route.methods.as_ref()).flatten() {
            metrics.name_method(method);
        }
        let listeners = live.valid.listeners.iter();
        let named = Named {
            routes: snapshot.routes.iter().map(|route| Arc::clone(&route.telemetry.series)).collect(),
            services: live.services.iter().map(|running| Arc::clone(running.cluster.series())).collect(),
            auth: live.providers.iter().map(|provider| Arc::clone(&provider.series)).collect(),
            limits: snapshot.limits().flat_map(Limits::series).collect(),
            mirrors: snapshot.routes.iter().filter_map(|route| Some(route.action.mirror()?.series())).collect(),
            listeners: listeners.map(|listener| metrics.listener(&listener.name.as_str().into())).collect(),
        };
        metrics.retain(&named, time::now());
    }

    /// The clusters in force, in the order of the configuration.
    #[must_use]
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.live.lock().services.iter().map(|service| Arc::clone(&service.cluster)).collect()
    }
}

impl Running {
    /// Its methods are known, or no route names one.
    #[must_use]
    pub fn is_known(&self) -> bool {
        match &self.origin {
            SchemaOrigin::None => true,
            SchemaOrigin::Files(..) => self.schema.is_some(),
            SchemaOrigin::Reflection(wanted) => self.schema.is_some() || wanted.is_empty(),
        }
    }
}

impl Live {
    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Running> {
        self.services.iter().find(|service| **service.cluster.name() == *name)
    }
}
