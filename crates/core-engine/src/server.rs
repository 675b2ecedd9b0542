//! The listening side: bind, serve, stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protos::core_engine::v1::FILE_DESCRIPTOR_SET;
use protos::core_engine::v1::core_engine_server::CoreEngineServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_reflection::server::Builder as Reflection;

use crate::engine::Engine;
use crate::service::Service;
use crate::settings::Settings;

/// Largest request; the engine's own are far smaller.
const REQUEST_MAX_BYTES: usize = 256 * 1024;
/// Calls of one connection at once.
const STREAMS_MAX: u32 = 1_000;
/// Pings on a silent connection, so that one whose client has vanished is given up.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// An engine that listens, and whose sources run, but that does not answer yet.
pub struct Server {
    engine: Arc<Engine>,
    incoming: TcpIncoming,
    address: SocketAddr,
    metrics: Option<TcpListener>,
    drain_timeout: Duration,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be had: taken, or not ours.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The store cannot be used; the file is left as it is.
    #[error("{0}")]
    Store(String),
    /// The descriptors of this build are broken.
    #[error("server reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Serving ended by itself.
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
}

impl Server {
    /// Binds, then starts the engine. A source that cannot be connected is down, which is no error here.
    ///
    /// # Errors
    /// [`ServerError::Bind`] or [`ServerError::Store`].
    pub async fn bind(settings: &Settings) -> Result<Self, ServerError> {
        let listener = bind(settings.listen).await?;
        let address = listener.local_addr().map_err(|cause| ServerError::Bind { address: settings.listen, cause })?;
        let metrics = match settings.metrics {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let engine = Engine::start(settings).await.map_err(|error| ServerError::Store(error.to_string()))?;
        Ok(Self { engine, incoming, address, metrics, drain_timeout: settings.drain_timeout })
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are, if anywhere, with the real port.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves until `stop` is ready. Then sources stop, streams end with UNAVAILABLE, open calls get the drain timeout.
    ///
    /// # Errors
    /// [`ServerError::Reflection`] or [`ServerError::Serve`].
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_serving::<CoreEngineServer<Service>>().await;
        let reflection = || Reflection::configure().register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET);
        let service = Service::new(Arc::clone(&self.engine), self.address.port());

        let watching = crate::probes::watch(Arc::clone(&self.engine), reporter.clone());
        let scraping = scraping(self.metrics, Arc::clone(&self.engine));
        let stopping = CancellationToken::new();
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_service(CoreEngineServer::new(service).max_decoding_message_size(REQUEST_MAX_BYTES))
            .add_service(health)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .serve_with_incoming_shutdown(self.incoming, stopping.clone().cancelled_owned());

        let draining = async {
            stop.await;
            // Before connections close, so that who watches the health service still hears it.
            reporter.set_not_serving::<CoreEngineServer<Service>>().await;
            reporter.set_service_status("", ServingStatus::NotServing).await;
            self.engine.stop().await;
            stopping.cancel();
            tokio::time::sleep(self.drain_timeout).await;
            tracing::warn!("calls were still open at the drain timeout");
        };
        tokio::select! {
            served = serving => Ok(served?),
            () = draining => Ok(()),
            () = async { tokio::join!(watching, scraping); } => Ok(()),
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|cause| ServerError::Bind { address, cause })
}

/// Never ends.
async fn scraping(listener: Option<TcpListener>, engine: Arc<Engine>) {
    match listener {
        Some(listener) => crate::metrics::serve(listener, engine).await,
        None => std::future::pending().await,
    }
}
