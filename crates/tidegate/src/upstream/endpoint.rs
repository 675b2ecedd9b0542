//! One address of a cluster: where it is, and the connections that each worker has to it.
//!
//! It does not choose between endpoints (`balance`) and does not open connections itself (`h2_pool`). Its addresses
//! are replaced by the control thread when a name resolves anew; connections that exist stay where they are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use rustls_pki_types::ServerName;
use tidegate_config::valid::ServiceProtocol;
use tokio::sync::watch;

use super::h1;
use super::h2_pool::Pool;
use super::pool_limits::PoolLimits;
use super::resilience::{Condition, Record, Resilience};
use crate::dial::{self, DialError, Stream, TlsClient, TlsError, server_name};
use crate::ids::{PerWorker, WorkerId};
use crate::telemetry::metrics::ServiceSeries;
use crate::time::now;

/// What the connections to an endpoint are doing, in the words that gRPC uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// No connection, and nobody asked for one.
    Idle,
    /// The first connection is being made; calls wait for it.
    Connecting,
    /// At least one connection takes calls.
    Ready,
    /// The last attempt failed; calls fail at once while it is tried again.
    TransientFailure,
    /// The cluster was shut down.
    Shutdown,
}

impl EndpointState {
    /// The word for logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::TransientFailure => "transient_failure",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What admin and metrics show of an endpoint, summed over the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// As written in the configuration.
    pub name: Arc<str>,
    /// The best state that any worker sees.
    pub state: EndpointState,
    /// Connections that take new calls.
    pub connections: usize,
    /// Calls that have not ended.
    pub in_flight: u32,
    /// Whether it gets requests, beside its connections.
    pub condition: Condition,
}

impl EndpointView {
    /// It gets no requests, or none would reach it.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.state == EndpointState::TransientFailure || self.condition != Condition::Healthy
    }
}

/// How an endpoint is reached; the same for all endpoints of a service.
#[derive(Clone, Debug)]
pub(super) struct EndpointSettings {
    pub(super) resilience: Arc<Resilience>,
    pub(super) record: Arc<Record>,
    pub(super) speaks: ServiceProtocol,
    pub(super) reach: Reach,
    /// How it is called, whatever its addresses.
    pub(super) host: String,
    pub(super) port: u16,
    /// HTTP/2 with an HTTP service.
    pub(super) http2: bool,
    /// TLS, the same for HTTP/1.1, and the name to verify instead of the host if there is one.
    pub(super) tls: Option<(TlsClient, TlsClient, Option<String>)>,
    pub(super) connect_timeout: Duration,
    pub(super) keepalive: Option<Keepalive>,
    /// Least and most connections of HTTP/2, for all workers together.
    pub(super) connections: (u32, u32),
    /// The same of HTTP/1.1, if there is a bound.
    pub(super) http1: Option<(u32, u32)>,
    /// How many workers share them.
    pub(super) workers: usize,
    /// Where connects are counted.
    pub(super) series: Arc<ServiceSeries>,
}

/// How connections to an endpoint are made.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// To the addresses of its host.
    Host,
    /// To this address of its host.
    Address(IpAddr),
    /// To a socket in the file system.
    Unix(Arc<Path>),
}

/// HTTP/2 pings while calls are open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keepalive {
    pub(super) interval: Duration,
    /// How long the answer may take before the connection counts as dead.
    pub(super) timeout: Duration,
}

/// See the module.
pub(super) struct Endpoint {
    name: Arc<str>,
    resilience: Arc<Resilience>,
    record: Arc<Record>,
    reach: Reach,
    host: String,
    port: u16,
    authority: Authority,
    tls: Option<(TlsClient, ServerName<'static>)>,
    /// For connections of HTTP/1.1.
    tls_http1: Option<TlsClient>,
    http2: bool,
    /// When it is asked for HTTP/2 again, in milliseconds from the making of the endpoint; 0: it has not said no.
    http1_until_ms: AtomicU64,
    made: Instant,
    pub(super) connect_timeout: Duration,
    keepalive: Option<Keepalive>,
    /// How often the interval of the pings was doubled because the endpoint found them too many.
    keepalive_doublings: AtomicU32,
    addresses: watch::Sender<Arc<[SocketAddr]>>,
    pub(super) speaks: ServiceProtocol,
    /// Used if it speaks gRPC, or HTTP/2 otherwise.
    pools: PerWorker<Pool>,
    /// Used if it speaks HTTP/1.1.
    h1: PerWorker<h1::Pool>,
    pub(super) series: Arc<ServiceSeries>,
}

/// How long an endpoint that has agreed to HTTP/1.1 alone is not asked for HTTP/2 again: ten minutes.
const HTTP1_FOR_MS: u64 = 600_000;

/// Sixteen minutes instead of ten seconds is as good as no pings.
const MAX_KEEPALIVE_DOUBLINGS: u32 = 7;

impl Endpoint {
    /// An endpoint without connections. IP addresses and `localhost` have their addresses at once; another name waits
    /// for [`Endpoint::set_addresses`].
    ///
    /// # Errors
    /// `Name` if the host cannot stand in a URI or in a certificate.
    pub(super) fn new(name: &str, settings: EndpointSettings, slots: usize) -> Result<Arc<Self>, TlsError> {
        let EndpointSettings {
            resilience,
            record,
            speaks,
            reach,
            http2,
            host,
            port,
            tls,
            connect_timeout,
            keepalive,
            connections,
            http1,
            workers,
            series,
        } = settings;
        let written = match &reach {
            // As gRPC calls whoever is on the same machine; HTTP backends see the client's `Host`.
            Reach::Unix(_) => "localhost".to_owned(),
            Reach::Host | Reach::Address(_) if host.contains(':') => format!("[{host}]:{port}"),
            Reach::Host | Reach::Address(_) => format!("{host}:{port}"),
        };
        let authority = Authority::try_from(written).map_err(|_| TlsError::Name(host.clone()))?;
        let (tls, tls_http1) = match tls {
            None => (None, None),
            Some((client, http1, name)) => {
                (Some((client, server_name(name.as_deref().unwrap_or(&host))?)), Some(http1))
            }
        };
        let known = match &reach {
            Reach::Host => known_addresses(&host),
            Reach::Address(ip) => vec![*ip],
            Reach::Unix(_) => Vec::new(),
        };
        let known: Arc<[SocketAddr]> = known.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        Ok(Arc::new(Self {
            name: name.into(),
            resilience,
            record,
            reach,
            authority,
            tls,
            tls_http1,
            http2,
            http1_until_ms: AtomicU64::new(0),
            made: now(),
            connect_timeout,
            keepalive,
            keepalive_doublings: AtomicU32::new(0),
            addresses: watch::Sender::new(known),
            speaks,
            h1: PerWorker::new(slots, |worker| {
                h1::Pool::new(http1.map(|bounds| PoolLimits::deal_out(bounds, worker, workers)))
            }),
            pools: PerWorker::new(slots, |worker| Pool::new(PoolLimits::deal_out(connections, worker, workers))),
            host,
            port,
            series,
        }))
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    pub(super) fn tls(&self) -> Option<(&TlsClient, &ServerName<'static>)> {
        self.tls.as_ref().map(|(client, name)| (client, name))
    }

    /// The same for HTTP/1.1.
    pub(super) fn tls_http1(&self) -> Option<(&TlsClient, &ServerName<'static>)> {
        Some((self.tls_http1.as_ref()?, &self.tls.as_ref()?.1))
    }

    /// An HTTP service that is spoken to in HTTP/2, as far as is known.
    pub(super) fn speaks_http2(&self) -> bool {
        self.http2 && !self.prefers_http1()
    }

    /// It was asked for HTTP/2 not long ago, and has agreed to HTTP/1.1 alone.
    pub(super) fn prefers_http1(&self) -> bool {
        let until = self.http1_until_ms.load(Ordering::Relaxed);
        until > 0 && self.age_ms() < until
    }

    /// It has agreed to HTTP/1.1 alone.
    pub(super) fn takes_http1(&self) {
        if self.http2 {
            self.http1_until_ms.store(self.age_ms().saturating_add(HTTP1_FOR_MS), Ordering::Relaxed);
        }
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(now().saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn pool(&self, worker: WorkerId) -> &Pool {
        self.pools.get(worker)
    }

    pub(super) fn h1(&self, worker: WorkerId) -> &h1::Pool {
        self.h1.get(worker)
    }

    /// What keeps its service up.
    pub(super) fn resilience(&self) -> &Resilience {
        &self.resilience
    }

    /// What all workers know of it.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// The same, to keep.
    pub(super) fn shared_record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The name to resolve, or `None` if the addresses never change.
    pub(super) fn host_to_resolve(&self) -> Option<&str> {
        match self.reach {
            Reach::Host => known_addresses(&self.host).is_empty().then_some(self.host.as_str()),
            Reach::Address(_) | Reach::Unix(_) => None,
        }
    }

    /// Replaces the addresses for connections to come. An empty answer is ignored: the last good one stays.
    pub(super) fn set_addresses(&self, ips: &[IpAddr]) {
        if ips.is_empty() {
            return;
        }
        let fresh: Arc<[SocketAddr]> = ips.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect();
        self.addresses.send_if_modified(|old| {
            let differs = *old != fresh;
            *old = fresh;
            differs
        });
    }

    /// The addresses that are known, in their order.
    pub(super) fn ips(&self) -> Vec<IpAddr> {
        self.addresses.borrow().iter().map(SocketAddr::ip).collect()
    }

    /// At least one address is known.
    pub(super) fn is_resolved(&self) -> bool {
        matches!(self.reach, Reach::Unix(_)) || !self.addresses.borrow().is_empty()
    }

    /// Connects, with `tls` if there is any, once an address is known.
    ///
    /// # Errors
    /// The failure of the last address, not later than `within`.
    pub(super) async fn dial(
        &self,
        tls: Option<(&TlsClient, &ServerName<'static>)>,
        within: Duration,
    ) -> Result<Stream, DialError> {
        if let Reach::Unix(path) = &self.reach {
            return dial::connect_unix(path, within).await;
        }
        let addresses = self.addresses().await;
        dial::connect(&addresses, tls, within).await
    }

    /// The addresses, in the order in which to try them; waits until there are any.
    async fn addresses(&self) -> Arc<[SocketAddr]> {
        let mut seen = self.addresses.subscribe();
        match seen.wait_for(|known| !known.is_empty()).await {
            Ok(known) => Arc::clone(&known),
            Err(_) => Arc::from([]),
        }
    }

    /// The pings of a new connection, with the interval that the endpoint tolerates as far as we know.
    pub(super) fn keepalive(&self) -> Option<Keepalive> {
        let doublings = self.keepalive_doublings.load(Ordering::Relaxed).min(MAX_KEEPALIVE_DOUBLINGS);
        self.keepalive.map(|ping| Keepalive { interval: ping.interval * (1 << doublings), ..ping })
    }

    /// The endpoint closed a connection because of too many pings.
    pub(super) fn ping_less_often(&self) {
        self.keepalive_doublings.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn shutdown(&self) {
        self.pools.iter().for_each(Pool::shutdown);
        self.h1.iter().for_each(h1::Pool::shutdown);
    }

    /// Why it cannot be connected to, as the first worker that knows it tells.
    pub(super) fn failure(&self) -> Option<Arc<DialError>> {
        match self.speaks {
            ServiceProtocol::Grpc => self.pools.iter().find_map(Pool::failure),
            ServiceProtocol::Http => {
                let http1 = self.h1.iter().find_map(h1::Pool::failure);
                http1.or_else(|| self.pools.iter().find_map(Pool::failure))
            }
        }
    }

    pub(super) fn view(&self) -> EndpointView {
        let mut view = EndpointView {
            name: Arc::clone(&self.name),
            state: EndpointState::Idle,
            connections: 0,
            in_flight: 0,
            condition: self.record().condition(now()),
        };
        let mut add = |(state, connections): (EndpointState, usize), in_flight: u32| {
            if rank(state) > rank(view.state) {
                view.state = state;
            }
            view.connections = view.connections.saturating_add(connections);
            view.in_flight = view.in_flight.saturating_add(in_flight);
        };
        match self.speaks {
            ServiceProtocol::Grpc => self.pools.iter().for_each(|pool| add(pool.state(), pool.in_flight())),
            ServiceProtocol::Http => {
                self.h1.iter().for_each(|pool| add(pool.state(), pool.in_flight()));
                if self.http2 {
                    self.pools.iter().for_each(|pool| add(pool.state(), pool.in_flight()));
                }
            }
        }
        view
    }
}

/// Of several workers' states the one that says most about the endpoint: a working connection, then a known failure.
fn rank(state: EndpointState) -> u8 {
    match state {
        EndpointState::Idle => 0,
        EndpointState::Connecting => 1,
        EndpointState::TransientFailure => 2,
        EndpointState::Ready => 3,
        EndpointState::Shutdown => 4,
    }
}

/// Addresses that need no name service.
pub(super) fn known_addresses(host: &str) -> Vec<IpAddr> {
    if let Ok(ip) = host.parse() {
        return vec![ip];
    }
    if host.eq_ignore_ascii_case("localhost") {
        return vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    }
    Vec::new()
}
