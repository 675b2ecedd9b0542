//! Endpoints: where the backends of a service are, and how much each of them gets.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::Resolver;
use crate::decode::{Item, Name, Text};
use crate::diag::Code;
use crate::raw::{RawEndpoint, RawService};
use crate::valid::{Endpoint, HostPort, ServiceProtocol, Target};

/// Largest weight: beyond it an endpoint could as well be alone.
const MAX_WEIGHT: u32 = 1_000;

/// Longest path of a socket: what the system's address of one holds, without its end.
const MAX_SOCKET_PATH: usize = 107;

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// What an address should have been.
const ADDRESS_HELP: &str =
    "write host and port, as in \"localhost:50051\" or \"https://[::1]:8443\"; a path does not belong here";

/// An endpoint, and what its scheme says that it speaks.
pub(super) type Written = (Endpoint, Option<ServiceProtocol>);

/// An address as it was typed, and its weight.
struct Typed {
    address: Item<Text>,
    weight: u32,
}

impl Resolver<'_> {
    pub(super) fn endpoints(&mut self, name: &Item<Name>, raw: &RawService) -> Option<Vec<Written>> {
        if raw.address.is_invalid() || raw.endpoints.is_invalid() {
            return None;
        }
        let typed: Vec<Option<Typed>> = match (raw.address.set(), raw.endpoints.set()) {
            (Some(address), Some(_)) => {
                let message = "\"address\" and \"endpoints\" together";
                self.error_with(Code::Conflict, &address.place, message, "\"address\" is short for one endpoint");
                return None;
            }
            (None, None) => {
                let message = format!("service {} has no endpoints", name.shown());
                let help = "add address: \"host:port\" or endpoints: [\"host:port\"]";
                self.error_with(Code::MissingKey, &name.place, message, help);
                return None;
            }
            (Some(address), None) => vec![Some(Typed { address: address.clone(), weight: 1 })],
            (None, Some(list)) => {
                if list.value.is_empty() {
                    self.error(Code::InvalidValue, &list.place, "an empty list of endpoints");
                }
                list.value.iter().map(|item| self.typed(item)).collect()
            }
        };
        let mut endpoints: Vec<Written> = Vec::with_capacity(typed.len());
        let mut complete = true;
        for typed in typed {
            let endpoint = typed.and_then(|typed| {
                let endpoint = self.endpoint(&typed, raw.tls.set().is_some())?;
                if endpoints.iter().any(|(other, _)| other.target == endpoint.0.target) {
                    let message = format!("endpoint {} stands here twice", typed.address.shown());
                    self.error(Code::Duplicate, &typed.address.place, message);
                }
                Some(endpoint)
            });
            complete &= endpoint.is_some();
            endpoints.extend(endpoint);
        }
        if complete && !endpoints.is_empty() && endpoints.iter().all(|(endpoint, _)| endpoint.weight == 0) {
            let message = format!("all endpoints of service {} have weight 0", name.shown());
            self.error_with(Code::InvalidValue, &name.place, message, "one of them must get the requests");
            return None;
        }
        (complete && !endpoints.is_empty()).then_some(endpoints)
    }

    fn typed(&mut self, item: &Item<RawEndpoint>) -> Option<Typed> {
        match &item.value {
            RawEndpoint::Address(address) => {
                let address = Item { value: address.clone(), place: item.place.clone(), secret: item.secret };
                Some(Typed { address, weight: 1 })
            }
            RawEndpoint::Weighted(weighted) => {
                let weight = weighted.weight.value().map_or(1, |weight| weight.0);
                if weight > MAX_WEIGHT
                    && let Some(item) = weighted.weight.set()
                {
                    self.error(Code::InvalidValue, &item.place, format!("\"weight\" is from 0 to {MAX_WEIGHT}"));
                    return None;
                }
                Some(Typed { address: weighted.address.set()?.clone(), weight })
            }
        }
    }

    fn endpoint(&mut self, typed: &Typed, tls_by_default: bool) -> Option<Written> {
        let item = &typed.address;
        let text = item.value.0.as_str();
        let (tls, target, scheme) = match text.split_once("://") {
            Some(("grpc", address)) => (false, self.host(item, address, None)?, Some(ServiceProtocol::Grpc)),
            Some(("grpcs", address)) => (true, self.host(item, address, None)?, Some(ServiceProtocol::Grpc)),
            Some(("http", address)) => (false, self.host(item, address, Some(80))?, Some(ServiceProtocol::Http)),
            Some(("https", address)) => (true, self.host(item, address, Some(443))?, Some(ServiceProtocol::Http)),
            Some(("dns", address)) => (tls_by_default, self.dns(item, address)?, None),
            Some(("unix", path)) => (false, self.socket(item, path)?, None),
            None if text.starts_with("unix:") => (false, self.socket(item, text.trim_start_matches("unix:"))?, None),
            Some(_) => {
                let message = format!("{} has an unknown scheme", item.shown());
                let help = "write host:port, grpc://, grpcs://, http://, https://, dns:// or unix:/path";
                self.error_with(Code::InvalidValue, &item.place, message, help);
                return None;
            }
            None => (tls_by_default, self.host(item, text, None)?, None),
        };
        let endpoint = Endpoint { text: text.to_owned(), place: item.place.clone(), target, tls, weight: typed.weight };
        Some((endpoint, scheme))
    }

    /// `usual` is the port of the scheme, if it has one.
    fn host(&mut self, item: &Item<Text>, address: &str, usual: Option<u16>) -> Option<Target> {
        let found = host_and_port(address).or_else(|| Some((bare_host(address)?, usual?)));
        let Some((host, port)) = found else {
            let message = format!("{} is not an endpoint", item.shown());
            self.error_with(Code::InvalidValue, &item.place, message, ADDRESS_HELP);
            return None;
        };
        Some(Target::Host(HostPort { host: host.to_owned(), port }))
    }

    /// `name:port`, or `server/name:port` as gRPC writes it; `/name:port` is nobody's server.
    fn dns(&mut self, item: &Item<Text>, address: &str) -> Option<Target> {
        let (server, name) = address.split_once('/').unwrap_or(("", address));
        let server = match server {
            "" => Some(None),
            text => name_server(text).map(Some),
        };
        let found = host_and_port(name).filter(|(host, _)| host.parse::<std::net::IpAddr>().is_err());
        let (Some(server), Some((host, port))) = (server, found) else {
            let message = format!("{} is not a name that can be looked up", item.shown());
            let help = "write dns://name:port, or dns://10.0.0.2:53/name:port to ask this name server";
            self.error_with(Code::InvalidValue, &item.place, message, help);
            return None;
        };
        Some(Target::Dns { name: HostPort { host: host.to_owned(), port }, server })
    }

    /// An absolute path: what it is relative to would be no matter of the configuration.
    fn socket(&mut self, item: &Item<Text>, path: &str) -> Option<Target> {
        // `unix:///run/x` and `unix:/run/x` are the same.
        if path.starts_with('/') && path.len() <= MAX_SOCKET_PATH && !path.ends_with('/') && !path.contains('\0') {
            return Some(Target::Unix(PathBuf::from(path)));
        }
        let message = format!("{} is not a socket", item.shown());
        let help = "write an absolute path of at most 107 bytes, as in \"unix:/run/orders.sock\"";
        self.error_with(Code::InvalidValue, &item.place, message, help);
        None
    }
}

/// An IP address, with a port if it is not the usual one.
fn name_server(text: &str) -> Option<SocketAddr> {
    if let Some((host, port)) = host_and_port(text) {
        return Some(SocketAddr::new(host.parse().ok()?, port));
    }
    Some(SocketAddr::new(bare_host(text)?.parse().ok()?, DNS_PORT))
}

/// A host without a port, its brackets removed.
fn bare_host(text: &str) -> Option<&str> {
    match text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|_| inner),
        None => is_host(text).then_some(text),
    }
}

/// Host (without brackets) and port. The host is a name or an address; the port is not 0.
pub(super) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0)?;
    let Some(inner) = host.strip_prefix('[') else { return is_host(host).then_some((host, port)) };
    let inner = inner.strip_suffix(']')?;
    inner.parse::<Ipv6Addr>().ok().map(|_| (inner, port))
}

/// Labels of letters, digits, `-` and `_`, with dots between them: a name or an IPv4 address.
pub(super) fn is_host(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.bytes().all(allowed);
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_addresses() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(name_server(text), expected.map(|address| address.parse().unwrap()), "{text}");
        };
        check("10.0.0.2", Some("10.0.0.2:53"));
        check("10.0.0.2:8600", Some("10.0.0.2:8600"));
        check("[::1]", Some("[::1]:53"));
        check("[::1]:54", Some("[::1]:54"));
        check("dns.example", None);
        check("10.0.0.2:0", None);
    }

    #[test]
    fn endpoints_have_a_host_and_a_port() {
        let check = |text: &str, expected: Option<(&str, u16)>| assert_eq!(host_and_port(text), expected, "{text}");
        check("localhost:50055", Some(("localhost", 50055)));
        check("10.0.0.7:1", Some(("10.0.0.7", 1)));
        check("[::1]:443", Some(("::1", 443)));
        check("a_b.example.com.:80", Some(("a_b.example.com.", 80)));
        check("::1:443", None);
        check("[::1]", None);
        check("[localhost]:80", None);
        check("localhost", None);
        check("localhost:", None);
        check("localhost:0", None);
        check("localhost:+1", None);
        check("localhost:65536", None);
        check(":80", None);
        check("a..b:80", None);
        check("user@host:80", None);
        check("host:80/path", None);
    }
}
