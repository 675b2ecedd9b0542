//! What outlives snapshots: clusters with their connections, and the schema of each service.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_transcode::Schema;

use crate::lifecycle::Lifecycle;
use crate::upstream::Cluster;

/// Shared state of the process. One entry per service, in the order of the configuration.
#[derive(Debug)]
pub struct Registry {
    /// Where the process stands.
    pub lifecycle: Arc<Lifecycle>,
    /// The running services.
    pub clusters: Vec<Arc<Cluster>>,
    /// What is known of each service; `None` while reflection has not answered and nothing was kept from before.
    schemas: Mutex<Vec<Option<Arc<Schema>>>>,
    /// Where the last good descriptors of reflection are kept.
    pub state_dir: Option<PathBuf>,
}

impl Registry {
    /// A registry with a schema, or none yet, for each cluster.
    #[must_use]
    pub fn new(
        lifecycle: Arc<Lifecycle>,
        clusters: Vec<Arc<Cluster>>,
        schemas: Vec<Option<Arc<Schema>>>,
        state_dir: Option<PathBuf>,
    ) -> Self {
        Self { lifecycle, clusters, schemas: Mutex::new(schemas), state_dir }
    }

    /// What is known of each service at this moment.
    #[must_use]
    pub fn schemas(&self) -> Vec<Option<Arc<Schema>>> {
        self.schemas.lock().clone()
    }

    /// Replaces the schema of a service and gives back the one before.
    pub fn replace_schema(&self, service: usize, schema: Option<Arc<Schema>>) -> Option<Arc<Schema>> {
        let mut schemas = self.schemas.lock();
        schemas.get_mut(service).and_then(|slot| std::mem::replace(slot, schema))
    }
}
