//! Listeners: addresses, certificates, protocols.

use std::net::SocketAddr;

use super::{File, Names, Resolver, name_of, place_of};
use crate::decode::{Item, Text};
use crate::diag::{Code, Place};
use crate::raw::{RawListener, RawTls, RawTlsFiles};
use crate::valid::{ClientAuth, ClientCertificates, Listener, Protocol, Tls};

impl Resolver<'_> {
    pub(super) fn listeners(&mut self, files: &[File], main: &File) -> Vec<Listener> {
        let mut names = Names::new();
        let mut listeners: Vec<Listener> = Vec::new();
        for item in files.iter().filter_map(|file| file.raw.listeners.value()).flatten() {
            if let Some(listener) = self.listener(item, &mut names) {
                self.check_address(&listener, &listeners);
                listeners.push(listener);
            }
        }
        // A list with entries that were refused is not an empty one.
        let asked = files.iter().any(|file| match file.raw.listeners.value() {
            Some(list) => !list.is_empty(),
            None => file.raw.listeners.is_invalid(),
        });
        self.check_proxy_protocol(files, main);
        if listeners.is_empty() && !asked && !self.problems.mentions("listeners") {
            let top = Place { file: main.name.clone(), line: 1, column: 1, end_column: 2, path: "listeners".into() };
            let place = place_of(&main.raw.listeners).unwrap_or(&top);
            let help = "add listeners: [{ name: public, address: \"127.0.0.1:8080\" }]";
            self.error_with(Code::MissingKey, place, "there is no listener", help);
        }
        listeners
    }

    fn listener(&mut self, item: &Item<RawListener>, names: &mut Names) -> Option<Listener> {
        let raw = &item.value;
        let unique = raw.name.set().is_some_and(|name| self.claim("listener", name, names));
        let address = raw.address.set().and_then(|address| self.address(address));
        let protocols = match raw.protocols.set() {
            None => Some(vec![Protocol::Http2, Protocol::Http1]),
            Some(list) => self.distinct("protocols", list),
        };
        let limits = self.listener_limits(raw);
        let clients = match raw.tls.value() {
            Some(RawTls::Files(files)) => self.client_certificates(files),
            Some(RawTls::Auto) | None => None,
        };
        let tls = match raw.tls.value() {
            None => Tls::None,
            Some(RawTls::Auto) => Tls::Auto,
            Some(RawTls::Files(files)) => {
                Tls::Files { cert: self.path(files.cert.set()?), key: self.path(files.key.set()?) }
            }
        };
        if !unique || raw.tls.is_invalid() || raw.protocols.is_invalid() {
            return None;
        }
        let name = raw.name.value()?.0.clone();
        let (limits, proxy_protocol) = (limits?, raw.proxy_protocol.value().copied().unwrap_or(false));
        let (address, protocols, place) = (address?, protocols?, item.place.clone());
        Some(Listener { name, place, address, tls, protocols, clients, limits, proxy_protocol })
    }

    fn client_certificates(&mut self, raw: &RawTlsFiles) -> Option<ClientCertificates> {
        if let Some(auth) = raw.client_auth.set().filter(|_| raw.client_ca.is_missing()) {
            let help = "it has the roots that they are verified with";
            self.error_with(Code::MissingKey, &auth.place, "\"client_auth\" needs \"client_ca\"", help);
        }
        let ca = self.path(raw.client_ca.set()?);
        Some(ClientCertificates { ca, auth: raw.client_auth.value().copied().unwrap_or(ClientAuth::Required) })
    }

    pub(super) fn address(&mut self, item: &Item<Text>) -> Option<SocketAddr> {
        let text = item.value.0.as_str();
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        let help = match text.rsplit_once(':') {
            Some(("", port)) if is_port(port) => format!("for all addresses write \"0.0.0.0:{port}\""),
            Some(("localhost", port)) if is_port(port) => format!("write \"127.0.0.1:{port}\""),
            _ => "write an IP address and a port, as in \"127.0.0.1:8080\"".to_owned(),
        };
        self.error_with(Code::InvalidValue, &item.place, format!("{} is not an address", item.shown()), help);
        None
    }

    /// Reports an address that another listener takes already, and clear text that everybody can reach.
    fn check_address(&mut self, listener: &Listener, earlier: &[Listener]) {
        if let Some(other) = earlier.iter().find(|other| overlap(other.address, listener.address)) {
            let message = format!("listener \"{}\" takes the address of \"{}\"", listener.name, other.name);
            self.error_with(Code::Duplicate, &listener.place, message, format!("first at {}", name_of(&other.place)));
        }
        if listener.tls == Tls::None && !listener.address.ip().is_loopback() {
            let message = format!("listener \"{}\" takes clear text from other machines", listener.name);
            self.warn(Code::PublicPlaintext, &listener.place, message, "add \"tls\", or terminate TLS in front");
        }
    }
}

/// Whether two addresses cannot be bound at once. Port 0 is another port each time.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same_ip = a.ip() == b.ip() || (wildcard && a.is_ipv4() == b.is_ipv4());
    a.port() == b.port() && a.port() != 0 && same_ip
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn addresses_overlap_when_they_cannot_be_bound_at_once() {
        let check = |a: &str, b: &str, expected: bool| {
            let (first, second) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((overlap(first, second), overlap(second, first)), (expected, expected), "{a} {b}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.1:0", "127.0.0.1:0", false);
        check("[::]:80", "[::1]:80", true);
        check("[::]:80", "127.0.0.1:80", false);
    }
}
