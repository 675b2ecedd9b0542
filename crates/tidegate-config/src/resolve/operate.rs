//! Admin, readiness, health.

use std::net::SocketAddr;

use super::{File, Names, Resolver};
use crate::decode::{Item, Text};
use crate::diag::Code;
use crate::secret::Secret;
use crate::valid::{Admin, ClientIp, HealthDetail, Network, Readiness, Required};

/// Where the admin API listens unless it says otherwise.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);
/// Shorter tokens can be guessed over the network.
const MIN_TOKEN_BYTES: usize = 16;

impl Resolver<'_> {
    pub(super) fn client_ip(&mut self, main: &File) -> ClientIp {
        let items = main.raw.client_ip.value().and_then(|raw| raw.trusted_proxies.value());
        let mut trusted_proxies = Vec::new();
        for item in items.into_iter().flatten() {
            match Network::parse(&item.value.0) {
                Some(network) => trusted_proxies.push(network),
                None => {
                    let message = format!("{} is no network", item.shown());
                    self.error_with(Code::InvalidValue, &item.place, message, "as in 10.0.0.0/8 or 2001:db8::/32");
                }
            }
        }
        ClientIp { trusted_proxies }
    }

    pub(super) fn admin(&mut self, main: &File) -> Option<Admin> {
        let item = main.raw.admin.set()?;
        let raw = &item.value;
        let address = match raw.address.set() {
            None => DEFAULT_ADDRESS,
            Some(address) => self.address(address)?,
        };
        if raw.token.is_invalid() {
            return None;
        }
        if let Some(token) = raw.token.set()
            && token.value.0.trim().len() < MIN_TOKEN_BYTES
        {
            let message = format!("the token has less than {MIN_TOKEN_BYTES} characters");
            self.error_with(Code::InvalidValue, &token.place, message, "make one with `openssl rand -hex 32`");
        }
        if !address.ip().is_loopback() && raw.token.set().is_none() {
            let place = raw.address.set().map_or(&item.place, |address| &address.place);
            let message = "the admin API would be open to other machines";
            self.error_with(Code::Conflict, place, message, "add \"token\", or use a loopback address");
        }
        // Files end with a newline, which no header can carry.
        let token = raw.token.value().map(|token| Secret::new(token.0.trim().to_owned()));
        Some(Admin { address, token, place: item.place.clone() })
    }

    pub(super) fn readiness(&mut self, main: &File, services: &Names) -> Readiness {
        let items = main.raw.readiness.value().and_then(|raw| raw.require.value());
        let mut readiness = Readiness::default();
        for item in items.into_iter().flatten() {
            let Some(name) = item.value.0.strip_prefix("service:") else {
                let message = format!("{} is nothing that readiness can depend on", item.shown());
                self.error_with(Code::InvalidValue, &item.place, message, "write \"service:NAME\"");
                continue;
            };
            let name = Item { value: Text(name.to_owned()), place: item.place.clone(), secret: item.secret };
            let required = self.refer("service", &name, services).map(Required::Service);
            if let Some(required) = required.filter(|required| !readiness.require.contains(required)) {
                readiness.require.push(required);
            }
        }
        readiness
    }

    pub(super) fn health_detail(main: &File) -> HealthDetail {
        main.raw.health.value().and_then(|raw| raw.detail.value()).copied().unwrap_or(HealthDetail::Full)
    }
}
