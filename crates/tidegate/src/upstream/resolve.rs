//! Names of endpoints to addresses. Runs on the control thread; workers only see the addresses that it publishes.
//!
//! A name is looked up again when its answer is no longer valid. The name of an ordinary endpoint gives the addresses
//! that are tried in order when a connection is made; each address of a `dns://` name is an endpoint of its own. The last
//! good answer stays when a later one fails or is empty. IP addresses and `localhost` never come here.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::time::sleep;

use super::Cluster;
use super::endpoint::known_addresses;
use crate::tasks;
use crate::time::now;

/// Addresses of one answer that are looked at. More than an endpoint list takes, so that which ones it takes does not change
/// with the order of the answer.
const LOOKED_AT: usize = 4_096;

/// Between two look-ups of a name that has an address, whatever the time to live of its answer: shortest and longest.
const REFRESH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The same where the C library answers, which tells no time to live.
const REFRESH_UNTOLD: Duration = Duration::from_secs(30);

/// After a look-up that gave nothing: first and longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// Looks names up, by the system's name servers and hosts file.
pub struct Resolver {
    /// `None` where the system's configuration cannot be read: then the C library resolves, on the blocking pool.
    names: Option<TokioResolver>,
}

/// What a look-up gave.
struct Found {
    ips: Vec<IpAddr>,
    /// How long it may be used.
    valid_for: Duration,
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
        let built = TokioResolver::builder_tokio().and_then(build);
        if let Err(error) = &built {
            tracing::warn!(%error, "the system's resolver settings cannot be used; asking the C library instead");
        }
        Self { names: built.ok() }
    }

    /// Asks this name server alone.
    fn at(server: SocketAddr) -> Option<Self> {
        let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let built = build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()));
        built
            .map_err(|error| tracing::warn!(%error, "a name server cannot be used"))
            .ok()
            .map(|names| Self { names: Some(names) })
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
        self.find(host).await.map(|found| found.ips).unwrap_or_default()
    }

    /// The same of a name server, if there is one.
    pub async fn look_up_at(&self, server: Option<SocketAddr>, host: &str) -> Vec<IpAddr> {
        match server {
            None => self.look_up(host).await,
            Some(server) => match Self::at(server) {
                Some(other) => other.look_up(host).await,
                None => Vec::new(),
            },
        }
    }

    /// `None` if it has no address or nobody answers.
    async fn find(&self, host: &str) -> Option<Found> {
        let failed = |error: &dyn std::fmt::Display| tracing::debug!(host, %error, "name not resolved");
        let found = match &self.names {
            None => {
                let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| failed(&error)).ok()?;
                let ips = found.map(|address| address.ip()).take(LOOKED_AT).collect();
                Found { ips, valid_for: REFRESH_UNTOLD }
            }
            Some(names) => {
                let found = names.lookup_ip(host).await.map_err(|error| failed(&error)).ok()?;
                let valid_for = found.valid_until().saturating_duration_since(now());
                Found { ips: found.iter().take(LOOKED_AT).collect(), valid_for }
            }
        };
        Some(found).filter(|found| !found.ips.is_empty())
    }
}

/// A name that is not known is soon asked for again: services come and go faster than their zones say.
fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    builder.options_mut().negative_max_ttl = Some(RETRY.1);
    builder.build()
}

/// A name of a cluster.
#[derive(Clone, Copy)]
enum Question {
    /// Of the endpoint at this place.
    Endpoint(usize),
    /// Of the name at this place, whose every address is an endpoint.
    Name(usize),
}

/// Keeps the addresses of all names of `cluster` fresh, until the cluster is gone. Ends at once if there is none.
pub async fn keep_resolved(cluster: Weak<Cluster>, resolver: Arc<Resolver>) {
    let Some(current) = cluster.upgrade() else { return };
    let endpoints = current.listed.iter().enumerate().filter(|(_, endpoint)| endpoint.host_to_resolve().is_some());
    let names = current.names.iter().flat_map(|names| names.iter().enumerate());
    let questions: Vec<Question> = endpoints
        .map(|(place, _)| Question::Endpoint(place))
        .chain(names.map(|(place, _)| Question::Name(place)))
        .collect();
    drop(current);
    let keep = |question| -> tasks::Boxed {
        Box::pin(keep_one_resolved(Weak::clone(&cluster), question, Arc::clone(&resolver)))
    };
    tasks::all(questions.into_iter().map(keep).collect()).await;
}

async fn keep_one_resolved(cluster: Weak<Cluster>, question: Question, system: Arc<Resolver>) {
    let Some((host, server)) = cluster.upgrade().and_then(|current| current.asks(question)) else { return };
    let resolver = match server {
        None => system,
        Some(server) => match Resolver::at(server) {
            Some(resolver) => Arc::new(resolver),
            None => return,
        },
    };
    let mut pause = RETRY.0;
    loop {
        // A cluster that is held would not end with its configuration.
        let found = resolver.find(&host).await;
        let Some(current) = cluster.upgrade() else { return };
        let wait = match found {
            Some(found) => {
                current.found(question, &found.ips);
                pause = RETRY.0;
                found.valid_for.clamp(REFRESH.0, REFRESH.1)
            }
            None => {
                let wait = pause;
                pause = (pause * 2).min(RETRY.1);
                wait
            }
        };
        drop(current);
        sleep(wait).await;
    }
}

impl Cluster {
    /// The name that is asked for, and who is asked.
    fn asks(&self, question: Question) -> Option<(String, Option<SocketAddr>)> {
        match question {
            Question::Endpoint(place) => {
                let host = self.listed.get(place)?.host_to_resolve()?.to_owned();
                Some((host, None))
            }
            Question::Name(place) => {
                let name = self.names.as_ref()?.iter().nth(place)?;
                Some((name.at.host.clone(), name.server))
            }
        }
    }

    fn found(&self, question: Question, ips: &[IpAddr]) {
        match question {
            Question::Endpoint(place) => {
                if let Some(endpoint) = self.listed.get(place) {
                    endpoint.set_addresses(ips);
                }
            }
            Question::Name(place) => self.named(place, ips),
        }
    }
}
