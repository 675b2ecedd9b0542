//! What outlives snapshots: where the process stands, and the services of the configuration in force with their
//! connections and descriptors.
//!
//! Everything here is replaced on the control thread alone, each time as a whole; others read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_config::Valid;
use tidegate_transcode::Schema;

use super::inputs::Digest;
use crate::lifecycle::Lifecycle;
use crate::upstream::{Cluster, Wheels};

/// Shared state of the process.
#[derive(Debug)]
pub struct Registry {
    /// Where the process stands.
    pub lifecycle: Arc<Lifecycle>,
    /// The timer wheels of all threads.
    pub wheels: Wheels,
    /// Where the last good descriptors of reflection are kept.
    pub state_dir: Option<PathBuf>,
    live: Mutex<Arc<Live>>,
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
}

/// A service as it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its connections.
    pub cluster: Arc<Cluster>,
    /// Over everything that shapes the connections, the content of certificates included: a service that keeps its
    /// name and its fingerprint keeps its cluster.
    pub fingerprint: Digest,
    /// Where the schema came from.
    pub origin: SchemaOrigin,
    /// What is known of its methods; `None` while reflection has not answered and nothing was kept from before.
    pub schema: Option<Arc<Schema>>,
    /// The schema is what an earlier configuration knew of the service, so it may lack what the routes name.
    pub stale: bool,
}

/// Where a schema came from; equal if it would be the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaOrigin {
    /// Files: the setting as text, and each file that was read.
    Files(String, Vec<(PathBuf, Option<Digest>)>),
    /// The backend, which is asked for these services.
    Reflection(Vec<String>),
}

impl Registry {
    /// The state of a process that begins with `live`.
    #[must_use]
    pub fn new(lifecycle: Arc<Lifecycle>, wheels: Wheels, state_dir: Option<&Path>, live: Live) -> Self {
        Self { lifecycle, wheels, state_dir: state_dir.map(Path::to_owned), live: Mutex::new(Arc::new(live)) }
    }

    /// What is in force at this moment.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.lock())
    }

    /// Puts `live` in force. Clusters that it does not have end with the last request that uses them.
    pub fn replace(&self, live: Live) {
        let before = std::mem::replace(&mut *self.live.lock(), Arc::new(live));
        // Outside of the lock: this may close connections.
        drop(before);
    }

    /// The clusters in force, in the order of the configuration.
    #[must_use]
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.live.lock().services.iter().map(|service| Arc::clone(&service.cluster)).collect()
    }
}

impl Live {
    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Running> {
        self.services.iter().find(|service| **service.cluster.name() == *name)
    }
}
