//! Where clients connect: sockets, TLS, protocols, and the checks before a request reaches the gateway.
//!
//! A connection's way: [`accept`] → [`tls`] → [`guard`] → [`sniff`] → [`http1`] or [`http2`] → [`vet`] → [`Handle`].
//! Everything of a connection runs on the worker that accepted it.

mod accept;
mod connection;
mod date;
mod devcert;
mod drain;
pub mod guard;
mod http1;
mod http2;
mod sniff;
mod tls;
mod vet;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http::{Request, Response};
use tidegate_config::valid;

use crate::body::RequestBody;
use crate::gateway::Gateway;
use crate::ids::{ConnInfo, WorkerId};
use crate::reject::Reject;
use crate::tasks;
use crate::telemetry::answer::AnswerBody;

pub use devcert::default_directory as default_certificate_directory;
pub use drain::Control;
pub use guard::Timeouts;
pub use guard::framing::HeadLimits;
pub use http2::Http2Limits;
pub use tls::TlsError;

/// What answers requests: the gateway, and scripted peers in the tests of this module.
pub trait Handle: Send + Sync + 'static {
    /// Answers one vetted request: the URI is in origin form with the path as it was sent, and exactly one `Host`
    /// holds the authority. Dropping the future cancels the request; a panic becomes a 500.
    fn handle(
        &self,
        conn: &Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<AnswerBody>> + Send;

    /// Renders a refusal for which there is no request.
    fn refuse(&self, conn: &ConnInfo, reject: Reject) -> Response<AnswerBody>;
}

impl Handle for Gateway {
    fn handle(
        &self,
        conn: &Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<AnswerBody>> + Send {
        Gateway::handle(self, conn, request)
    }

    fn refuse(&self, conn: &ConnInfo, reject: Reject) -> Response<AnswerBody> {
        Gateway::refuse(self, conn, reject)
    }
}

/// Connections that one listener holds at most. Beside it, and usually before it, counts the limit of descriptors.
const MAX_CONNECTIONS: usize = 250_000;

/// One listener before it is bound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Unique; a metric label.
    pub name: Arc<str>,
    /// Address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether and how connections are encrypted.
    pub tls: valid::Tls,
    /// What may be spoken, best first. Not empty.
    pub protocols: Vec<valid::Protocol>,
    /// Bounds of request heads.
    pub head: HeadLimits,
    /// Bounds of HTTP/2.
    pub http2: Http2Limits,
    /// Patience with clients.
    pub timeouts: Timeouts,
    /// Connections at once; more are answered with 503 and closed.
    pub max_connections: usize,
}

impl Settings {
    /// The listener that `listener` describes, with the shipped limits.
    #[must_use]
    pub fn new(listener: &valid::Listener) -> Self {
        Self {
            name: listener.name.as_str().into(),
            address: listener.address,
            tls: listener.tls.clone(),
            protocols: listener.protocols.clone(),
            head: HeadLimits::default(),
            http2: Http2Limits::default(),
            timeouts: Timeouts::default(),
            max_connections: MAX_CONNECTIONS,
        }
    }

    fn speaks(&self, protocol: valid::Protocol) -> bool {
        self.protocols.contains(&protocol)
    }
}

/// Why listeners could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the address: exit code 69.
    #[error("listener {listener}: {address} is already in use")]
    Taken {
        /// Name of the listener.
        listener: Arc<str>,
        /// What was to be bound.
        address: SocketAddr,
    },
    /// The system refused for another reason: exit code 69.
    #[error("listener {listener}: cannot listen on {address}: {source}")]
    Bind {
        /// Name of the listener.
        listener: Arc<str>,
        /// What was to be bound.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used: exit code 78.
    #[error("listener {listener}: {source}")]
    Certificate {
        /// Name of the listener.
        listener: Arc<str>,
        /// What is wrong with it.
        source: TlsError,
    },
}

/// How listeners are opened.
#[derive(Clone, Debug, Default)]
pub struct BindOptions {
    /// Number of workers, at least 1. Each gets a socket of its own for each listener.
    pub workers: usize,
    /// Other processes may listen on the same ports; without it a taken port is an error.
    pub share_ports: bool,
    /// Where development certificates are kept. `None`: [`default_certificate_directory`].
    pub certificate_directory: Option<PathBuf>,
}

/// One listener that is bound, shared by all workers.
struct Listener {
    settings: Settings,
    /// The address that was really bound.
    local: SocketAddr,
    tls: Option<tls::Acceptor>,
    /// Connections of all workers.
    open: AtomicUsize,
}

/// All listeners, bound and not yet served.
pub struct Listeners {
    /// For each listener one socket for each worker that has not been taken.
    bound: Vec<(Arc<Listener>, Vec<Option<std::net::TcpListener>>)>,
    control: Arc<Control>,
}

impl Listeners {
    /// Loads certificates and binds all sockets. Blocks on files; to be called before workers run.
    ///
    /// # Errors
    /// The first listener that cannot be opened; nothing stays bound then.
    pub fn bind(settings: Vec<Settings>, options: &BindOptions) -> Result<Self, ListenError> {
        let workers = options.workers.max(1);
        let mut bound = Vec::with_capacity(settings.len());
        for settings in settings {
            let tls = tls::Acceptor::load(&settings, options.certificate_directory.as_deref())
                .map_err(|source| ListenError::Certificate { listener: Arc::clone(&settings.name), source })?;
            let sockets = accept::bind(settings.address, workers, options.share_ports).map_err(|source| {
                let (listener, address) = (Arc::clone(&settings.name), settings.address);
                match source.kind() {
                    std::io::ErrorKind::AddrInUse => ListenError::Taken { listener, address },
                    _ => ListenError::Bind { listener, address, source },
                }
            })?;
            let local = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(settings.address);
            let listener = Arc::new(Listener { settings, local, tls, open: AtomicUsize::new(0) });
            bound.push((listener, sockets.into_iter().map(Some).collect()));
        }
        Ok(Self { bound, control: Control::new(workers) })
    }

    /// Name and real address of each listener, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.bound.iter().map(|(listener, _)| (&*listener.settings.name, listener.local))
    }

    /// Ends and observes all listeners.
    #[must_use]
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// The part of `worker`. `None` if it was taken before or there is no such worker.
    pub fn take(&mut self, worker: WorkerId) -> Option<WorkerListeners> {
        let state = self.control.worker(worker.index())?;
        let mut sockets = Vec::with_capacity(self.bound.len());
        for (listener, per_worker) in &mut self.bound {
            sockets.push((Arc::clone(listener), per_worker.get_mut(worker.index())?.take()?));
        }
        Some(WorkerListeners { sockets, state: Arc::clone(state) })
    }
}

/// The sockets of one worker.
pub struct WorkerListeners {
    sockets: Vec<(Arc<Listener>, std::net::TcpListener)>,
    state: Arc<drain::WorkerState>,
}

impl WorkerListeners {
    /// Serves until [`Control::drain`], and then until the last connection has gone or [`Control::cut`].
    /// Must run inside the worker's runtime.
    ///
    /// # Errors
    /// A socket that cannot be registered with the runtime.
    pub async fn run<H: Handle>(self, handler: Arc<H>) -> std::io::Result<()> {
        let mut loops = Vec::with_capacity(self.sockets.len());
        for (listener, socket) in self.sockets {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            let accepting = accept::accept(socket, listener, Arc::clone(&self.state), Arc::clone(&handler));
            loops.push(tasks::spawn("accept", accepting));
        }
        for accepting in loops {
            // A panic has been counted and logged; the other listeners go on.
            let _ended = accepting.await;
        }
        self.state.emptied().await;
        Ok(())
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.addresses()).finish()
    }
}

impl std::fmt::Debug for WorkerListeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerListeners").field("worker", &self.state.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
