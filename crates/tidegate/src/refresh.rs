//! Descriptors from server reflection: fetched at start and ever after, compiled, and swapped in as a new snapshot.
//!
//! What was fetched last is kept on disk, so that the gateway serves from its first moment although a backend is down.
//! A set that does not fit the routes changes nothing: what was there before goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_config::Valid;
use tidegate_config::valid::{Action, Descriptors, RpcSelector};
use tidegate_transcode::Schema;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::gateway::Gateway;
use crate::ids::WorkerId;
use crate::lifecycle::Lifecycle;
use crate::snapshot::compile::{self, Inputs};
use crate::snapshot::registry::Registry;
use crate::tasks;
use crate::upstream::reflection::{DescriptorCache, FileSet, FilesDigest, Refresh, follow};

/// Everything that a refresh touches.
#[derive(Debug)]
struct Refresher {
    valid: Arc<Valid>,
    registry: Arc<Registry>,
    gateway: Arc<Gateway>,
    cache: Option<DescriptorCache>,
    generation: AtomicU64,
}

/// Readiness waits for the descriptors of all services that are asked by reflection. To be called before the first
/// request can come, or readiness would be told too early.
pub fn expect(valid: &Valid, lifecycle: &Lifecycle) {
    for service in followed(valid).filter_map(|(index, _)| valid.services.get(index)) {
        lifecycle.wait_for(&format!("descriptors:{}", service.name));
    }
}

/// The services that are asked by reflection, and what they are asked for.
fn followed(valid: &Valid) -> impl Iterator<Item = (usize, Vec<String>)> {
    let asked = valid.services.iter().enumerate().filter(|(_, service)| service.descriptors == Descriptors::Reflection);
    asked.map(|(index, _)| (index, wanted(valid, index))).filter(|(_, wanted)| !wanted.is_empty())
}

/// The gRPC services that routes name, as reflection wants to be asked for them.
fn wanted(valid: &Valid, service: usize) -> Vec<String> {
    let mut wanted: Vec<String> = valid
        .routes
        .iter()
        .filter_map(|route| match &route.action {
            Action::Grpc(grpc) if grpc.service == service => Some(match &grpc.rpc {
                RpcSelector::Method(rpc) => rpc.rsplit_once('/').map_or(rpc.clone(), |(name, _)| name.to_owned()),
                RpcSelector::Service(name) => name.clone(),
                RpcSelector::Package(package) => format!("{package}.*"),
            }),
            Action::Grpc(_) | Action::Respond(_) => None,
        })
        .collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

/// Starts to follow the descriptors of all services that are asked by reflection; `worker` is the slot of the control
/// thread, on whose runtime this must be called. HUP asks all of them at once, from the return of this function on.
pub fn start(valid: &Arc<Valid>, registry: &Arc<Registry>, gateway: &Arc<Gateway>, worker: WorkerId) {
    let refresher = Arc::new(Refresher {
        valid: Arc::clone(valid),
        registry: Arc::clone(registry),
        gateway: Arc::clone(gateway),
        cache: registry.state_dir.clone().map(DescriptorCache::new),
        generation: AtomicU64::new(gateway.snapshot().generation),
    });
    let mut nudges = Vec::new();
    for (index, wanted) in followed(valid) {
        let nudge = Arc::new(Notify::new());
        nudges.push(Arc::clone(&nudge));
        let refresher = Arc::clone(&refresher);
        drop(tasks::spawn("descriptors", refresher.follow(index, wanted, worker, nudge)));
    }
    // Also without anybody to tell: unhandled, HUP would end the process.
    match signal(SignalKind::hangup()) {
        Ok(hup) => drop(tasks::spawn("hup", pass_on(hup, nudges))),
        Err(error) => tracing::warn!(%error, "HUP will not refresh descriptors"),
    }
}

async fn pass_on(mut hup: Signal, nudges: Vec<Arc<Notify>>) {
    while hup.recv().await.is_some() {
        nudges.iter().for_each(|nudge| nudge.notify_one());
    }
}

impl Refresher {
    /// Follows one service until the process ends.
    async fn follow(self: Arc<Self>, service: usize, wanted: Vec<String>, worker: WorkerId, nudge: Arc<Notify>) {
        let (Some(cluster), Some(name)) = (self.registry.clusters.get(service), self.name(service)) else { return };
        let name = name.to_owned();
        let known = self.restored(service, &name);
        let cluster = Arc::downgrade(cluster);
        let mut failing = false;
        let refresher = Arc::clone(&self);
        let report = move |refresh| match refresh {
            Refresh::Unchanged => failing = false,
            Refresh::Changed(files) => {
                failing = false;
                if refresher.take_in(service, &name, &files) {
                    refresher.keep(&name, &files);
                }
            }
            // Once for each time that it begins to fail: the attempts are many.
            Refresh::Failed(error) => {
                if !failing {
                    tracing::warn!(service = %name, %error, "no descriptors by reflection; trying again");
                }
                failing = true;
            }
        };
        follow(cluster, worker, wanted, known, nudge, report).await;
    }

    fn name(&self, service: usize) -> Option<&str> {
        self.valid.services.get(service).map(|service| service.name.as_str())
    }

    /// Takes in what an earlier run has kept.
    fn restored(&self, service: usize, name: &str) -> Option<FilesDigest> {
        let files = self.cache.as_ref()?.load(name)?;
        let taken = self.take_in(service, name, &files);
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
    fn take_in(&self, service: usize, name: &str, files: &FileSet) -> bool {
        let schema = match Schema::from_file_descriptors(files.files()) {
            Ok(schema) => Arc::new(schema),
            Err(error) => {
                tracing::error!(service = name, %error, "descriptors cannot be used; nothing has changed");
                return false;
            }
        };
        let before = self.registry.replace_schema(service, Some(schema));
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let compiled = compile::compile(&Inputs {
            valid: &self.valid,
            hash: &self.gateway.snapshot().hash,
            schemas: &self.registry.schemas(),
            clusters: &self.registry.clusters,
            lifecycle: &self.registry.lifecycle,
            generation,
        });
        match compiled {
            Ok(snapshot) => {
                self.gateway.commit(snapshot);
                self.generation.store(generation, Ordering::Relaxed);
                self.registry.lifecycle.settle(&format!("descriptors:{name}"));
                tracing::info!(service = name, generation, "descriptors taken in");
                true
            }
            Err(problems) => {
                self.registry.replace_schema(service, before);
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
