//! One bound listener, shared by all workers: what of it stays, and what a new configuration may exchange.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tidegate_config::valid;

use crate::clients::Clients;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::ListenerSeries;

use super::Settings;
use super::tls::{self, CertificateView, TlsError};

/// What stays for the life of a listener: its name and where it is.
pub(super) struct Listener {
    pub(super) name: Arc<str>,
    /// The address of the configuration; the same there means the same sockets.
    pub(super) configured: SocketAddr,
    /// The address that was really bound.
    pub(super) local: SocketAddr,
    live: ArcSwap<Live>,
    /// Connections of all workers.
    pub(super) open: AtomicUsize,
    /// The same by client, where that is bounded.
    pub(super) clients: Arc<Clients>,
    /// Where what happens here is counted.
    pub(super) series: Arc<ListenerSeries>,
}

/// What holds for connections that are accepted now; those that are there keep what they were accepted with.
pub(super) struct Live {
    pub(super) settings: Settings,
    pub(super) tls: Option<Arc<tls::Acceptor>>,
}

impl Live {
    /// `present` is what holds until now, if the listener is there already.
    pub(super) fn load(
        settings: Settings,
        directory: Option<&Path>,
        present: Option<&Self>,
    ) -> Result<Arc<Self>, TlsError> {
        let tls = tls::Acceptor::load(&settings, directory, present.and_then(|present| present.tls.as_ref()))?;
        Ok(Arc::new(Self { settings, tls }))
    }

    /// Whether a client could not tell the two apart.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        same_tls && self.settings == other.settings
    }
}

impl Listener {
    pub(super) fn new(live: Arc<Live>, local: SocketAddr, telemetry: &Telemetry) -> Arc<Self> {
        let (name, configured) = (Arc::clone(&live.settings.name), live.settings.address);
        let series = telemetry.metrics.listener(&name);
        let (live, open, clients) = (ArcSwap::new(live), AtomicUsize::new(0), Arc::default());
        Arc::new(Self { name, configured, local, live, open, clients, series })
    }

    /// What holds for a connection that is accepted now.
    pub(super) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    pub(super) fn exchange(&self, live: Arc<Live>) {
        self.live.store(live);
    }

    pub(super) fn view(&self) -> ListenerView {
        let live = self.live();
        ListenerView {
            name: Arc::clone(&self.name),
            address: self.local,
            tls: live.settings.tls.clone(),
            protocols: live.settings.protocols.clone(),
            open_connections: self.open.load(Ordering::Relaxed),
            certificate: live.tls.as_ref().map(|tls| tls.certificate.clone()),
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("name", &self.name).field("local", &self.local).finish_non_exhaustive()
    }
}

/// One listener as it is now, for people.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The address that is really bound.
    pub address: SocketAddr,
    /// How new connections are encrypted.
    pub tls: valid::Tls,
    /// What new connections may speak, best first.
    pub protocols: Vec<valid::Protocol>,
    /// Connections of all workers.
    pub open_connections: usize,
    /// What new connections are shown; `None` in clear text.
    pub certificate: Option<CertificateView>,
}
