//! Names of endpoints to addresses. Runs on the control thread; workers only see the addresses that it publishes.
//!
//! A name is one endpoint, whose addresses are tried in order when a connection is made. The last good answer stays
//! when a later one fails or is empty. IP addresses and `localhost` never come here.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::time::sleep;

use super::Cluster;
use super::endpoint::{Endpoint, known_addresses};

/// Between two look-ups of a name that has an address.
const REFRESH: Duration = Duration::from_secs(30);

/// Between two look-ups of a name that never had one: first and longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// More addresses than this of one name are left out.
const MAX_ADDRESSES: usize = 256;

/// Looks names up, by the system's name servers and hosts file.
pub struct Resolver {
    /// `None` where the system's configuration cannot be read: then the C library resolves, on the blocking pool.
    names: Option<TokioResolver>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("system", &self.names.is_none()).finish()
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver {
    /// Reads the system's configuration. Must run on the runtime that will look names up.
    #[must_use]
    pub fn new() -> Self {
        let built = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        if let Err(error) = &built {
            tracing::warn!(%error, "the system's resolver settings cannot be used; asking the C library instead");
        }
        Self { names: built.ok() }
    }

    /// The addresses of `host`, which may be an address itself; empty if it has none or nobody answers.
    pub async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        match known_addresses(host) {
            known if known.is_empty() => self.look_up(host).await,
            known => known,
        }
    }

    /// The addresses of `host`; empty if it has none or nobody answers.
    pub async fn look_up(&self, host: &str) -> Vec<IpAddr> {
        let Some(names) = &self.names else {
            return match tokio::net::lookup_host((host, 0)).await {
                Ok(found) => found.map(|address| address.ip()).take(MAX_ADDRESSES).collect(),
                Err(error) => {
                    tracing::debug!(host, %error, "name not resolved");
                    Vec::new()
                }
            };
        };
        match names.lookup_ip(host).await {
            Ok(found) => found.iter().take(MAX_ADDRESSES).collect(),
            Err(error) => {
                tracing::debug!(host, %error, "name not resolved");
                Vec::new()
            }
        }
    }
}

/// Keeps the addresses of all endpoints of `cluster` fresh, until the cluster is gone. Ends at once if none of them
/// has a name.
pub async fn keep_resolved(cluster: Weak<Cluster>, resolver: Arc<Resolver>) {
    let mut pause = RETRY.0;
    loop {
        let Some(current) = cluster.upgrade() else { return };
        let named: Vec<Arc<Endpoint>> =
            current.endpoints.iter().filter(|endpoint| endpoint.host_to_resolve().is_some()).map(Arc::clone).collect();
        drop(current);
        if named.is_empty() {
            return;
        }
        let mut missing = false;
        for endpoint in &named {
            if let Some(host) = endpoint.host_to_resolve() {
                endpoint.set_addresses(&resolver.look_up(host).await);
                missing |= !endpoint.is_resolved();
            }
        }
        // An endpoint that is held would outlive its cluster.
        drop(named);
        if missing {
            sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        } else {
            sleep(REFRESH).await;
        }
    }
}
