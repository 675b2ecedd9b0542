//! Where clients connect: sockets, TLS, protocols, and the checks before a request reaches the gateway.
//!
//! A connection's way: [`accept`] → [`tls`] → [`sniff`] → [`http1`], or [`guard`] and [`http2`] → [`vet`] → [`Handle`].
//! Everything of a connection runs on the worker that accepted it. What is served is exchanged at run time: a [`Plan`]
//! binds and loads, [`Control::apply`] publishes it.

mod accept;
mod connection;
mod control;
mod date;
mod devcert;
mod drain;
pub mod guard;
pub mod handover;
mod http1;
mod http2;
mod inherit;
mod listener;
mod plan;
pub mod proxy_protocol;
mod settings;
mod sniff;
mod tls;
mod transport;
mod vet;
mod watchers;
mod worker;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::Response;
use http::request::Parts;

use crate::body::RequestBody;
use crate::gateway::Gateway;
use crate::ids::ConnInfo;
use crate::overload::Overload;
use crate::reject::Reject;
use crate::telemetry::Telemetry;
use crate::telemetry::answer::AnswerBody;

pub use accept::listen;
pub use control::{Control, Listeners};
pub use devcert::default_directory as default_certificate_directory;
pub use guard::clock::Timeouts;
#[doc(hidden)]
pub use http1::door as requests;
pub use http1::framing::HeadLimits;
pub use http2::Http2Limits;
pub use inherit::{InheritError, Inherited};
pub use listener::ListenerView;
pub use plan::{ListenerChanges, Plan};
pub use settings::Settings;
pub use tls::{CertificateView, TlsError, certificate_end};
pub use worker::WorkerListeners;

/// What answers requests: the gateway, and scripted peers in the tests of this module.
pub trait Handle: Send + Sync + 'static {
    /// Answers one vetted request: the URI is in origin form with the path as it was sent, and exactly one `Host`
    /// holds the authority. Dropping the future cancels the request; a panic becomes a 500.
    fn handle(
        &self,
        conn: &Arc<ConnInfo>,
        head: Box<Parts>,
        body: RequestBody,
    ) -> impl Future<Output = Response<AnswerBody>> + Send;

    /// Renders a refusal of what is no request, or of a `request` that was not vetted.
    fn refuse(&self, conn: &Arc<ConnInfo>, request: Option<Box<Parts>>, reject: Reject) -> Response<AnswerBody>;
}

impl Handle for Gateway {
    fn handle(
        &self,
        conn: &Arc<ConnInfo>,
        head: Box<Parts>,
        body: RequestBody,
    ) -> impl Future<Output = Response<AnswerBody>> + Send {
        Gateway::handle(self, conn, head, body)
    }

    fn refuse(&self, conn: &Arc<ConnInfo>, request: Option<Box<Parts>>, reject: Reject) -> Response<AnswerBody> {
        Gateway::refuse(self, conn, request, reject)
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
    /// A worker has not taken up the listeners that it was given.
    #[error("worker {worker} is stuck: it does not take up listeners")]
    Stuck {
        /// Number of the worker.
        worker: usize,
    },
    /// What was passed to this process cannot be used: exit code 69.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// Nothing can be taken over from the process that runs: exit code 69.
    #[error("handover: {0}")]
    Handover(#[from] handover::HandoverError),
    /// The certificate or its key cannot be used: exit code 78.
    #[error("listener {listener}: {source}")]
    Certificate {
        /// Name of the listener.
        listener: Arc<str>,
        /// What is wrong with it. Boxed: it is many times as large as the others.
        source: Box<TlsError>,
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
    /// Sockets that listen already; a listener without one is bound.
    pub inherited: Inherited,
    /// Where connections are counted.
    pub telemetry: Arc<Telemetry>,
    /// Whether there is memory for idle connections.
    pub overload: Arc<Overload>,
}

#[cfg(test)]
mod tests;
