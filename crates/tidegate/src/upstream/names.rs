//! Names whose every address is an endpoint (`dns://`).
//!
//! The control thread tells what a name service has answered. Addresses that stay keep their endpoints with connections,
//! health and ejections, whatever the order of the answer; those that have gone take no more requests and close when the
//! ones they have are done. An answer without addresses changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_config::valid::HostPort;
use tokio::sync::watch;

use super::endpoint::{Endpoint, EndpointSettings, Reach};
use super::leaving::Leaving;
use super::resilience::Record;
use crate::dial::TlsError;

/// More addresses than this of one name are left out.
pub(super) const MAX_ADDRESSES: usize = 256;

/// What stands in the list of endpoints of a service.
pub(super) enum Entry {
    Endpoint(Arc<Endpoint>),
    Name(Box<Name>),
}

/// A name, and what its endpoints have in common.
pub(super) struct Name {
    pub(super) at: HostPort,
    /// The name server that is asked, instead of those of the system.
    pub(super) server: Option<SocketAddr>,
    settings: EndpointSettings,
    slots: usize,
    /// In the order of the addresses.
    known: Mutex<Vec<(IpAddr, Arc<Endpoint>)>>,
}

impl Name {
    /// # Errors
    /// The name cannot stand in a URI or in a certificate.
    pub(super) fn new(
        at: HostPort,
        server: Option<SocketAddr>,
        settings: EndpointSettings,
        slots: usize,
    ) -> Result<Self, TlsError> {
        let name = Self { at, server, settings, slots, known: Mutex::default() };
        // Whatever its addresses are: it is now that somebody can be told.
        name.endpoint(IpAddr::from([0, 0, 0, 0]))?;
        Ok(name)
    }

    fn endpoint(&self, ip: IpAddr) -> Result<Arc<Endpoint>, TlsError> {
        let address = SocketAddr::new(ip, self.at.port).to_string();
        let record = Arc::new(Record::new(&address));
        let settings = EndpointSettings { reach: Reach::Address(ip), record, ..self.settings.clone() };
        Endpoint::new(&address, settings, self.slots)
    }

    fn ips(&self) -> Vec<IpAddr> {
        self.known.lock().iter().map(|(ip, _)| *ip).collect()
    }

    /// Makes endpoints of `ips`; gives those that are gone, or `None` if nothing has changed.
    fn found(&self, ips: &[IpAddr]) -> Option<Vec<Arc<Endpoint>>> {
        let mut ips = ips.to_vec();
        ips.sort_unstable();
        ips.dedup();
        ips.truncate(MAX_ADDRESSES);
        if ips.is_empty() || self.ips() == ips {
            return None;
        }
        let mut known = self.known.lock();
        let mut before = std::mem::take(&mut *known);
        for ip in ips {
            let stays = before.iter().position(|(known, _)| *known == ip);
            let endpoint = match stays {
                Some(place) => Some(before.swap_remove(place).1),
                // It was possible for another address.
                None => self.endpoint(ip).ok(),
            };
            known.extend(endpoint.map(|endpoint| (ip, endpoint)));
        }
        Some(before.into_iter().map(|(_, endpoint)| endpoint).collect())
    }
}

/// The endpoints of a service that has names among them.
pub(super) struct Names {
    entries: Vec<Entry>,
    /// How often they have changed.
    version: watch::Sender<u64>,
}

impl Names {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self { entries, version: watch::Sender::new(0) }
    }

    /// The names, in the order of the configuration.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Name(name) => Some(&**name),
            Entry::Endpoint(_) => None,
        })
    }

    /// All endpoints that are known, in the order of the configuration, with the weight of their entry in it.
    pub(super) fn endpoints(&self, weights: &[u32]) -> Vec<(Arc<Endpoint>, u32)> {
        let mut endpoints = Vec::new();
        for (entry, weight) in self.entries.iter().zip(weights) {
            match entry {
                Entry::Endpoint(endpoint) => endpoints.push((Arc::clone(endpoint), *weight)),
                Entry::Name(name) => {
                    endpoints.extend(name.known.lock().iter().map(|(_, endpoint)| (Arc::clone(endpoint), *weight)));
                }
            }
        }
        endpoints
    }

    /// The name at `place` among the names has these addresses. `publish` makes the new endpoints known, or says that they
    /// are too many; then those that are gone are `leaving`.
    pub(super) fn found(&self, place: usize, ips: &[IpAddr], leaving: &Leaving, publish: impl FnOnce() -> bool) {
        let Some(name) = self.iter().nth(place) else { return };
        let Some(gone) = name.found(ips) else { return };
        if !publish() {
            return;
        }
        let known = name.ips();
        tracing::info!(name = %name.at.host, addresses = known.len(), gone = gone.len(), "the addresses of a name have changed");
        leaving.add(&gone);
        for endpoint in gone {
            endpoint.shutdown();
        }
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// What is known of names that `before` has as well.
    pub(super) fn known_before(&self, before: &Self) -> Vec<(usize, Vec<IpAddr>)> {
        let same = |name: &Name| before.iter().find(|known| known.at == name.at && known.server == name.server);
        self.iter().enumerate().filter_map(|(place, name)| Some((place, same(name)?.ips()))).collect()
    }

    /// Tells whenever the endpoints have changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
