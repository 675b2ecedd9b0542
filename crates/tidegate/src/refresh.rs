//! What is asked of the network for the services in force: descriptors by server reflection, and addresses of names.
//!
//! A service keeps its follower for as long as its connections and what it is asked for stay the same. What was fetched
//! last is kept on disk, so that the gateway serves from its first moment although a backend is down. A set that does
//! not fit the routes changes nothing: what was there before goes on.
//!
//! All of it runs on the control thread: taking in a set is one step without a wait, and so is a reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_transcode::Schema;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::gateway::Gateway;
use crate::ids::WorkerId;
use crate::jwks;
use crate::lifecycle::Lifecycle;
use crate::snapshot::compile::{self, Inputs};
use crate::snapshot::inputs::Digest;
use crate::snapshot::registry::{Live, Registry, Running, SchemaOrigin};
use crate::snapshot::retire;
use crate::tasks;
use crate::telemetry::metrics::SchemaRefresh;
use crate::upstream::reflection::{DescriptorCache, FileSet, FilesDigest, Refresh, follow};
use crate::upstream::{Resolver, keep_checked, keep_resolved};

/// What readiness calls the descriptors of a service.
const PENDING: &str = "descriptors:";

/// Readiness waits for the descriptors of all services that are asked by reflection, and for keys of tokens. To be called before the first
/// request can come, or readiness would be told too early.
pub fn expect(live: &Live, lifecycle: &Lifecycle) {
    for service in live.services.iter().filter(|service| wanted(service).is_some()) {
        lifecycle.wait_for(&format!("{PENDING}{}", service.cluster.name()));
    }
    jwks::expect(live, lifecycle);
}

/// What the backend is asked for, if it is asked.
fn wanted(service: &Running) -> Option<&[String]> {
    match &service.origin {
        SchemaOrigin::Reflection(wanted) if !wanted.is_empty() => Some(wanted),
        SchemaOrigin::Reflection(_) | SchemaOrigin::Files(..) | SchemaOrigin::None => None,
    }
}

/// The tasks that ask, one for each service. Dropping them ends them.
#[derive(Debug)]
pub struct Followers {
    learner: Arc<Learner>,
    resolver: Arc<Resolver>,
    /// The slot of the control thread.
    worker: WorkerId,
    running: BTreeMap<Arc<str>, Follower>,
}

#[derive(Debug)]
struct Follower {
    fingerprint: Digest,
    wanted: Vec<String>,
    nudge: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Everything that new descriptors touch.
#[derive(Debug)]
struct Learner {
    registry: Arc<Registry>,
    gateway: Arc<Gateway>,
    cache: Option<DescriptorCache>,
    learned: Arc<Notify>,
}

impl Followers {
    /// Starts to follow all services in force; `worker` is the slot of the control thread, on whose runtime this must
    /// be called.
    #[must_use]
    pub fn start(registry: &Arc<Registry>, gateway: &Arc<Gateway>, worker: WorkerId) -> Self {
        let learner = Learner {
            registry: Arc::clone(registry),
            gateway: Arc::clone(gateway),
            cache: registry.state_dir.clone().map(DescriptorCache::new),
            learned: Arc::default(),
        };
        let resolver = Arc::new(Resolver::new());
        let mut followers = Self { learner: Arc::new(learner), resolver, worker, running: BTreeMap::new() };
        for service in &registry.live().services {
            followers.tend(service);
        }
        followers.settle();
        followers.fetch_keys(None);
        followers
    }

    /// Follows what is in force now instead of `before`.
    pub fn follow(&mut self, before: &Live) {
        let live = self.learner.registry.live();
        let is_new = |service: &&Running| {
            let known = before.service(service.cluster.name());
            known.is_none_or(|known| !Arc::ptr_eq(&known.cluster, &service.cluster))
        };
        for service in live.services.iter().filter(is_new) {
            self.tend(service);
        }
        self.settle();
        self.fetch_keys(Some(before));
    }

    fn fetch_keys(&self, before: Option<&Live>) {
        let registry = &self.learner.registry;
        jwks::follow(&registry.live(), before, &self.resolver, &registry.process.lifecycle);
    }

    fn settle(&mut self) {
        let live = self.learner.registry.live();
        let followed = |name: &str| live.service(name).filter(|service| wanted(service).is_some());
        self.running.retain(|name, follower| {
            followed(name).is_some_and(|service| {
                service.fingerprint == follower.fingerprint && wanted(service) == Some(&follower.wanted)
            })
        });
        for service in &live.services {
            if let Some(wanted) = wanted(service)
                && !self.running.contains_key(service.cluster.name())
            {
                let follower = self.begin(service, wanted);
                self.running.insert(Arc::clone(service.cluster.name()), follower);
            }
        }
        // Only the start waits for descriptors: a reload must not take the process out of service.
        let lifecycle = &self.learner.registry.process.lifecycle;
        lifecycle.retain(|what| what.strip_prefix(PENDING).is_none_or(|name| followed(name).is_some()));
    }

    /// Keeps addresses and health of a service fresh. Ends with the cluster.
    fn tend(&self, service: &Running) {
        let resolving = keep_resolved(Arc::downgrade(&service.cluster), Arc::clone(&self.resolver));
        drop(tasks::spawn("resolve", resolving));
        drop(tasks::spawn("health checks", keep_checked(Arc::downgrade(&service.cluster), self.worker)));
    }

    fn begin(&self, service: &Running, wanted: &[String]) -> Follower {
        let (learner, nudge) = (Arc::clone(&self.learner), Arc::new(Notify::new()));
        let name = Arc::clone(service.cluster.name());
        let cluster = Arc::downgrade(&service.cluster);
        let (series, freshness) = (Arc::clone(service.cluster.series()), Arc::clone(&service.freshness));
        let (asked, worker, nudged) = (wanted.to_vec(), self.worker, Arc::clone(&nudge));
        let task = tasks::spawn("descriptors", async move {
            let known = learner.restored(&name);
            let mut failing = false;
            // What a backend has answered last, and whether it is in force.
            let mut last = known.map(|digest| (digest, true));
            let report = move |refresh| match refresh {
                Refresh::Unchanged => {
                    failing = false;
                    series.schema_refreshed(SchemaRefresh::Unchanged);
                    if let Some((digest, fits)) = last {
                        freshness.answered(digest, fits);
                    }
                }
                Refresh::Changed(files) => {
                    failing = false;
                    let fits = learner.take_in(&name, &files);
                    series.schema_refreshed(if fits { SchemaRefresh::Applied } else { SchemaRefresh::Rejected });
                    freshness.answered(files.digest(), fits);
                    last = Some((files.digest(), fits));
                    if fits {
                        learner.keep(&name, &files);
                    }
                }
                // Once for each time that it begins to fail: the attempts are many.
                Refresh::Failed(error) => {
                    series.schema_refreshed(SchemaRefresh::Failed);
                    freshness.failed();
                    if !failing {
                        tracing::warn!(service = &*name, %error, "no descriptors by reflection; trying again");
                    }
                    failing = true;
                }
            };
            follow(cluster, worker, asked, known, nudged, report).await;
        });
        Follower { fingerprint: service.fingerprint, wanted: wanted.to_vec(), nudge, task }
    }

    /// Asks all backends at once.
    pub fn ask_now(&self) {
        self.running.values().for_each(|follower| follower.nudge.notify_one());
    }

    /// Is notified when new descriptors were taken in.
    #[must_use]
    pub fn learned(&self) -> Arc<Notify> {
        Arc::clone(&self.learner.learned)
    }
}

impl Learner {
    /// Takes in what an earlier run has kept, if nothing better is known.
    fn restored(&self, name: &str) -> Option<FilesDigest> {
        if self.registry.live().service(name)?.schema.is_some() {
            return None;
        }
        let files = self.cache.as_ref()?.load(name)?;
        let taken = self.take_in(name, &files);
        tracing::info!(service = name, taken, "descriptors of an earlier run");
        taken.then(|| files.digest())
    }

    fn keep(&self, name: &str, files: &FileSet) {
        let Some(cache) = &self.cache else { return };
        if let Err(error) = cache.store(name, files) {
            tracing::warn!(service = name, %error, folder = %cache.folder().display(), "descriptors are not kept on disk");
        }
    }

    /// Compiles a snapshot with the new descriptors and publishes it. False if they are of no use.
    fn take_in(&self, name: &str, files: &FileSet) -> bool {
        let schema = match Schema::from_file_descriptors(files.files()) {
            Ok(schema) => Arc::new(schema),
            Err(error) => {
                tracing::error!(service = name, %error, "descriptors cannot be used; nothing has changed");
                return false;
            }
        };
        let mut live = Live::clone(&self.registry.live());
        let known = live.services.iter_mut().find(|service| **service.cluster.name() == *name);
        // A service that a reload has removed while it was asked.
        let Some(service) = known else { return false };
        (service.schema, service.stale) = (Some(schema), false);
        let generation = self.gateway.snapshot().generation.saturating_add(1);
        let compiled = compile::compile(&Inputs {
            valid: &live.valid,
            hash: &live.hash,
            services: &live.services,
            providers: &live.providers,
            bodies: &live.bodies,
            process: &self.registry.process,
            generation,
        });
        match compiled {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                let replaced = self.gateway.commit(Arc::clone(&snapshot));
                drop(tasks::spawn("retire", retire(replaced)));
                self.registry.replace(live);
                self.registry.in_force(&snapshot);
                self.registry.process.lifecycle.settle(&format!("{PENDING}{name}"));
                self.learned.notify_one();
                tracing::info!(service = name, generation, "descriptors taken in");
                true
            }
            Err(problems) => {
                tracing::error!(
                    service = name,
                    problems = problems.to_text(),
                    "descriptors do not fit the routes; nothing has changed"
                );
                false
            }
        }
    }
}
