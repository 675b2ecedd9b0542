//! What backends are told of the way that a request has come: `X-Forwarded-For` and `Forwarded`.
//!
//! `X-Forwarded-*` is written always. `Forwarded` (RFC 7239) says the same once more, in a form that costs three times the
//! bytes and that few backends read, so it is written only where it is spoken already: to requests of a trusted proxy that
//! has sent it. There its absence would lose something; everywhere else nobody pays for it. Both are made of one chain, so
//! they never differ.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use crate::exchange::{Exchange, write_address};
use crate::lines;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Room for an address and what separates it from the next; one that is longer costs a further allocation.
const ADDRESS: usize = 17;

/// Room for an element of `Forwarded` with everything.
const ELEMENT: usize = 96;

/// Appends the client and the proxies behind it, the peer at the end.
pub(super) fn write_forwarded_for(exchange: &Exchange, out: &mut Vec<u8>) {
    for ip in &exchange.client.chain {
        write_address(*ip, out);
        out.extend_from_slice(b", ");
    }
    write_address(exchange.conn.peer.ip(), out);
}

/// The same as a value of its own.
pub(super) fn forwarded_for(exchange: &Exchange) -> HeaderValue {
    let mut text = Vec::with_capacity(ADDRESS * (exchange.client.chain.len() + 1));
    write_forwarded_for(exchange, &mut text);
    // The alphabet of addresses is a part of that of header values.
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Appends an element for each of those addresses. Host and scheme are those that the gateway saw, so they stand in the
/// last one, which is its own.
///
/// Source: RFC 7239, sections 4 and 7.1.
pub(super) fn write_forwarded(exchange: &Exchange, out: &mut Vec<u8>) {
    for ip in &exchange.client.chain {
        node(*ip, out);
        out.extend_from_slice(b", ");
    }
    node(exchange.conn.peer.ip(), out);
    if let Some(host) = &exchange.host {
        out.extend_from_slice(b";host=");
        value(host.as_bytes(), out);
    }
    out.extend_from_slice(if exchange.conn.tls { b";proto=https" } else { b";proto=http" });
}

/// The same as a value of its own.
pub(super) fn forwarded(exchange: &Exchange) -> HeaderValue {
    let mut text = Vec::with_capacity(ADDRESS * exchange.client.chain.len() + ELEMENT);
    write_forwarded(exchange, &mut text);
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("for=unknown"))
}

/// An address of IPv6 stands in brackets, which no token has, and so in quotes (RFC 7239, section 6).
fn node(ip: IpAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(b"for=");
    match ip.to_canonical() {
        IpAddr::V4(_) => write_address(ip, out),
        IpAddr::V6(_) => {
            out.extend_from_slice(b"\"[");
            write_address(ip, out);
            out.extend_from_slice(b"]\"");
        }
    }
}

/// A token as it is, anything else as a quoted string: a host with a port, for one.
fn value(text: &[u8], out: &mut Vec<u8>) {
    if !text.is_empty() && text.iter().copied().all(lines::is_token_byte) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::exchange::{Intake, TrustedProxies};
    use crate::ids::{ConnInfo, WorkerId};

    /// What backends are told in either form of a request from `peer` with these fields.
    fn told(peer: &str, host: &str, fields: &[(&str, &str)]) -> (String, String) {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| tidegate_config::valid::Network::parse(text).unwrap());
        let intake = Intake { trusted_proxies: TrustedProxies::new(&trusted), ..Intake::default() };
        let conn = Arc::new(ConnInfo::new(WorkerId::new(0), "a".into(), peer.parse().unwrap()));
        let mut request = Request::builder().uri("/").header("host", host);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let exchange = Exchange::begin(&conn, &parts, &intake);
        let text = |value: HeaderValue| value.to_str().unwrap().to_owned();
        let standard = if exchange.client.forwarded { text(forwarded(&exchange)) } else { String::new() };
        (text(forwarded_for(&exchange)), standard)
    }

    #[test]
    fn both_forms_tell_the_same_chain() {
        let spoken = |value| [("forwarded", value)];
        for (peer, host, fields, list, standard) in [
            (
                "10.0.0.1:9",
                "a.example",
                &spoken("for=9.9.9.9")[..],
                "9.9.9.9, 10.0.0.1",
                "for=9.9.9.9, for=10.0.0.1;host=a.example;proto=http",
            ),
            (
                "10.0.0.1:9",
                "a.example:8080",
                &spoken("for=unknown"),
                "10.0.0.1",
                "for=10.0.0.1;host=\"a.example:8080\";proto=http",
            ),
            (
                "[2001:db8::1]:9",
                "[::1]:8080",
                &spoken("for=\"[2001:db9::7]:443\";host=forged;proto=gopher"),
                "2001:db9::7, 2001:db8::1",
                "for=\"[2001:db9::7]\", for=\"[2001:db8::1]\";host=\"[::1]:8080\";proto=http",
            ),
            (
                "[::ffff:10.0.0.1]:9",
                "a",
                &spoken("for=6.6.6.6, for=9.9.9.9, for=10.0.0.7"),
                "9.9.9.9, 10.0.0.7, 10.0.0.1",
                "for=9.9.9.9, for=10.0.0.7, for=10.0.0.1;host=a;proto=http",
            ),
            (
                "10.0.0.1:9",
                "a",
                &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "9.9.9.9")],
                "9.9.9.9, 10.0.0.1",
                "for=9.9.9.9, for=10.0.0.1;host=a;proto=http",
            ),
            // Nobody speaks it, or nobody who is trusted.
            ("10.0.0.1:9", "a", &[("x-forwarded-for", "9.9.9.9")], "9.9.9.9, 10.0.0.1", ""),
            ("1.1.1.1:9", "a", &spoken("for=9.9.9.9"), "1.1.1.1", ""),
        ] {
            assert_eq!(told(peer, host, fields), (list.to_owned(), standard.to_owned()), "{peer} {fields:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_quoted() {
        for (text, quoted) in [("a-b.c", "a-b.c"), ("a:1", "\"a:1\""), ("", "\"\""), ("a\"\\b", "\"a\\\"\\\\b\"")] {
            let mut out = Vec::new();
            value(text.as_bytes(), &mut out);
            assert_eq!(out, quoted.as_bytes());
        }
    }
}
