//! Who a request comes from, behind proxies that are trusted to say so.
//!
//! A proxy adds the address that it was connected from at the end of `X-Forwarded-For`, so the list is read from its
//! end, over all lines, for as long as the speaker is trusted. The first address that is not a trusted proxy's is the
//! client's; whatever stands before it, the client may have written itself.

use std::io::Write as _;
use std::net::IpAddr;

use http::header::{FORWARDED, HeaderMap, HeaderName};
use tidegate_config::valid::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Addresses of a list that are looked at; a longer one is no chain of proxies.
const MAX_HOPS: usize = 32;

/// The addresses of proxies whose word counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<Network>);

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client; `::ffff:1.2.3.4` is `1.2.3.4`.
    pub ip: IpAddr,
    /// `ip` and the proxies behind it without the peer, nearest to the client first, as far as they are known to be true.
    /// Empty if nobody stands between.
    pub chain: Vec<IpAddr>,
    /// A trusted proxy speaks `Forwarded` (RFC 7239), so backends hear it too.
    pub forwarded: bool,
}

impl TrustedProxies {
    /// Trusts these networks.
    #[must_use]
    pub fn new(networks: &[Network]) -> Self {
        Self(networks.to_vec())
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }

    /// Who sent a request with `headers` over a connection from `peer`.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let mut client = Client { ip: peer.to_canonical(), chain: Vec::new(), forwarded: false };
        if self.0.is_empty() || !self.trusts(client.ip) {
            return client;
        }
        client.forwarded = headers.contains_key(FORWARDED);
        for told in hops(headers).take(MAX_HOPS) {
            // What cannot be read was written by nobody who is trusted.
            let Some(ip) = told else { break };
            client.ip = ip;
            client.chain.insert(0, ip);
            if !self.trusts(ip) {
                break;
            }
        }
        client
    }
}

/// Appends `ip` as text; `::ffff:1.2.3.4` is `1.2.3.4`.
pub fn write_address(ip: IpAddr, out: &mut Vec<u8>) {
    match ip.to_canonical() {
        // The general way through `fmt` costs as much as ten other fields.
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            let mut number = itoa::Buffer::new();
            out.extend_from_slice(number.format(first).as_bytes());
            for octet in rest {
                out.push(b'.');
                out.extend_from_slice(number.format(octet).as_bytes());
            }
        }
        IpAddr::V6(address) => {
            // Writing to memory cannot fail.
            let _ = write!(out, "{address}");
        }
    }
}

/// The addresses that the list tells, the last one first; `None` for what is no address. Reads no further than it is asked.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + '_ {
    let (name, read): (_, fn(&str) -> &str) =
        if headers.contains_key(X_FORWARDED_FOR) { (X_FORWARDED_FOR, |hop| hop) } else { (FORWARDED, forwarded_for) };
    let lines = headers.get_all(name).into_iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',')).map(move |hop| address(read(hop)))
}

/// The `for` of an element of `Forwarded` (RFC 7239, section 5.2); empty if it has none.
fn forwarded_for(element: &str) -> &str {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    found.map_or("", |(_, value)| value.trim().trim_matches('"'))
}

/// An address, with a port or without: `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, _port)) => inner,
        None => match text.split_once(':') {
            Some((ip, port)) if !port.contains(':') => ip,
            Some(_) | None => text,
        },
    };
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, fields: &[(&'static str, &str)], ip: &str, chain: &[&str]) {
        let trusted = ["10.0.0.0/8", "2001:db8::/32", "127.0.0.2/32"].map(|text| Network::parse(text).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let client = TrustedProxies::new(&trusted).client(peer.parse().unwrap(), &headers);
        let chain: Vec<IpAddr> = chain.iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!((client.ip, client.chain), (ip.parse().unwrap(), chain), "{peer} {fields:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let list = |value| [("x-forwarded-for", value)];
        check("1.1.1.1", &list("9.9.9.9"), "1.1.1.1", &[]);
        check("10.0.0.1", &[], "10.0.0.1", &[]);
        check("10.0.0.1", &list("9.9.9.9"), "9.9.9.9", &["9.9.9.9"]);
        check("::ffff:10.0.0.1", &list("9.9.9.9"), "9.9.9.9", &["9.9.9.9"]);
        check("10.0.0.1", &list("6.6.6.6, 9.9.9.9, 10.0.0.7"), "9.9.9.9", &["9.9.9.9", "10.0.0.7"]);
        check("10.0.0.1", &list("10.0.0.9, 10.0.0.8"), "10.0.0.9", &["10.0.0.9", "10.0.0.8"]);
        check("10.0.0.1", &list("9.9.9.9, nonsense, 10.0.0.7"), "10.0.0.7", &["10.0.0.7"]);
        check("10.0.0.1", &list("unknown"), "10.0.0.1", &[]);
        check("2001:db8::1", &list("[2001:db9::7]:443"), "2001:db9::7", &["2001:db9::7"]);
        check("127.0.0.2", &list("1.2.3.4:5678"), "1.2.3.4", &["1.2.3.4"]);
        let two = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "9.9.9.9")];
        check("10.0.0.1", &two, "9.9.9.9", &["9.9.9.9"]);
        let standard = [("forwarded", "for=6.6.6.6, for=\"[2001:db9::7]:1\";proto=https;by=x")];
        check("10.0.0.1", &standard, "2001:db9::7", &["2001:db9::7"]);
        check("10.0.0.1", &[("forwarded", "for=6.6.6.6"), two[1]], "9.9.9.9", &["9.9.9.9"]);
        let long = vec!["10.0.0.3"; 1000].join(",");
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, long.parse().unwrap())]);
        let trusted = TrustedProxies::new(&[Network::parse("10.0.0.0/8").unwrap()]);
        assert_eq!(trusted.client("10.0.0.1".parse().unwrap(), &headers).chain.len(), MAX_HOPS);
    }
}
