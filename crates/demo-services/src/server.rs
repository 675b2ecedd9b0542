//! The listening side: bind, serve, stop.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Builder as Reflection;

use crate::backends::{Backends, BackendsError};
use crate::settings::{Protocol, Service, Settings};
use crate::store::StoreError;
use crate::{http, rpc};

/// Calls of one connection at once.
const STREAMS_MAX: u32 = 1_000;
/// Pings on a silent connection, so that one whose client has vanished is given up.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Services that listen, but that do not answer yet.
pub struct Server {
    backends: Arc<Backends>,
    listeners: BTreeMap<Service, TcpListener>,
    addresses: BTreeMap<Service, SocketAddr>,
    drain_timeout: Duration,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be had: taken, or not ours.
    #[error("cannot listen on {address} for {service}: {cause}")]
    Bind {
        /// Which one.
        service: Service,
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state cannot be begun.
    #[error("cannot begin: {0}")]
    Begin(String),
    /// The descriptors of this build are broken.
    #[error("server reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A service ended by itself.
    #[error("serving: {0}")]
    Serve(String),
}

impl From<BackendsError> for ServerError {
    fn from(error: BackendsError) -> Self {
        match error {
            BackendsError::Store(error) => Self::Store(error),
            BackendsError::Begin(fault) => Self::Begin(fault.to_string()),
        }
    }
}

impl Server {
    /// Binds all ports, then reads the state and goes on with what ran when it was left.
    ///
    /// # Errors
    /// [`ServerError::Bind`], [`ServerError::Store`], [`ServerError::Begin`].
    pub async fn bind(settings: &Settings) -> Result<Self, ServerError> {
        let (mut listeners, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for service in Service::ALL {
            let Some(address) = settings.listen(*service) else { continue };
            let failed = |cause| ServerError::Bind { service: *service, address, cause };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            addresses.insert(*service, listener.local_addr().map_err(failed)?);
            listeners.insert(*service, listener);
        }
        let backends = Backends::open(settings).await?;
        Ok(Self { backends, listeners, addresses, drain_timeout: settings.drain_timeout })
    }

    /// Where each service listens, with the real port.
    pub fn addresses(&self) -> &BTreeMap<Service, SocketAddr> {
        &self.addresses
    }

    /// Serves until `stop` is ready. Then health says so, strategies and simulations pause, streams end with
    /// UNAVAILABLE, open calls get the drain timeout, and the state is written.
    ///
    /// # Errors
    /// [`ServerError::Reflection`] or [`ServerError::Serve`].
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let closing = CancellationToken::new();
        let (mut serving, mut reporters) = (JoinSet::new(), Vec::new());
        for (service, listener) in self.listeners {
            match service.protocol() {
                Protocol::Http => serve_http(service, listener, &self.backends, &closing, &mut serving),
                Protocol::Grpc => {
                    reporters.extend(serve_grpc(service, listener, &self.backends, &closing, &mut serving).await?);
                }
            }
        }
        let served = tokio::select! {
            // A service never ends by itself, unless it fails.
            Some(ended) = serving.join_next() => flatten(ended),
            () = stop => Ok(()),
            else => Ok(()),
        };
        // Before connections close, so that who watches the health service still hears it.
        for (reporter, name) in &reporters {
            reporter.set_service_status(name, ServingStatus::NotServing).await;
            reporter.set_service_status("", ServingStatus::NotServing).await;
        }
        self.backends.suspend().await;
        closing.cancel();
        let rest = tokio::time::timeout(self.drain_timeout, async {
            let mut rest = Ok(());
            while let Some(ended) = serving.join_next().await {
                rest = rest.and(flatten(ended));
            }
            rest
        });
        let rest = rest.await.unwrap_or_else(|_| {
            tracing::warn!("calls were still open at the drain timeout");
            Ok(())
        });
        serving.shutdown().await;
        self.backends.close().await;
        served.and(rest)
    }
}

type Serving = JoinSet<Result<(), ServerError>>;

fn flatten(ended: Result<Result<(), ServerError>, tokio::task::JoinError>) -> Result<(), ServerError> {
    ended.unwrap_or_else(|error| Err(ServerError::Serve(error.to_string())))
}

fn serve_http(
    service: Service,
    listener: TcpListener,
    backends: &Arc<Backends>,
    closing: &CancellationToken,
    serving: &mut Serving,
) {
    let Some(router) = http::router(service, Arc::clone(backends)) else { return };
    let closing = closing.clone().cancelled_owned();
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = %error, "cannot set TCP_NODELAY");
        }
    });
    serving.spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(closing).await;
        served.map_err(|error| ServerError::Serve(format!("{service}: {error}")))
    });
}

async fn serve_grpc(
    service: Service,
    listener: TcpListener,
    backends: &Arc<Backends>,
    closing: &CancellationToken,
    serving: &mut Serving,
) -> Result<Option<(HealthReporter, &'static str)>, ServerError> {
    let Some(api) = rpc::api(service, Arc::clone(backends)) else { return Ok(None) };
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(api.name, ServingStatus::Serving).await;
    let reflection = || Reflection::configure().register_encoded_file_descriptor_set(api.descriptors);
    let routes =
        api.routes.add_service(health).add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let closing = closing.clone().cancelled_owned();
    serving.spawn(async move {
        let served = tonic::transport::Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, closing)
            .await;
        served.map_err(|error| ServerError::Serve(format!("{service}: {error}")))
    });
    Ok(Some((reporter, api.name)))
}
