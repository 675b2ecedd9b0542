//! Headers of requests on their way to an HTTP backend, and of its answers on their way back.
//!
//! What a client may not say is taken away first, the route's rules follow, and what only the gateway may say is added
//! last, so that nothing can forge it.

use bytes::BufMut as _;
use http::header::{
    CONNECTION, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use tidegate_config::valid;

use super::forwarded::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, write_forwarded, write_forwarded_for};
use super::hygiene::{connection_names, is_stripped};
use crate::exchange::{Exchange, REQUEST_ID};
use crate::lines;
use crate::trace::{BAGGAGE, Sent};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// A route's compiled changes to the headers of one direction.
#[derive(Debug, Default)]
pub struct HeaderRules {
    /// Names that are removed or set.
    gone: Vec<HeaderName>,
    /// What is set, then what is added.
    put: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderRules {
    /// Compiles checked rules.
    #[must_use]
    pub fn compile(rules: &valid::HeaderRules) -> Self {
        let name = |name: &String| HeaderName::try_from(name.as_str()).ok();
        let pair = |(key, value): &(String, String)| Some((name(key)?, HeaderValue::from_str(value).ok()?));
        let set = rules.set.value.iter().filter_map(pair);
        Self {
            gone: rules.remove.value.iter().filter_map(name).chain(set.clone().map(|(name, _)| name)).collect(),
            put: set.chain(rules.add.value.iter().filter_map(pair)).collect(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.put.is_empty()
    }

    /// Whether there is a name that no trailer may have either.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        !self.gone.is_empty()
    }

    /// How many fields are set or added.
    #[must_use]
    pub fn adds(&self) -> usize {
        self.put.len()
    }

    /// Whether this name is taken away.
    #[must_use]
    pub fn removes(&self, name: &HeaderName) -> bool {
        self.gone.contains(name)
    }

    /// Takes away what is removed or set. For trailers: what is set or added stands in the head.
    pub fn take_away(&self, trailers: &mut HeaderMap) {
        for name in &self.gone {
            trailers.remove(name);
        }
    }

    /// Changes `headers`.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.gone {
            headers.remove(name);
        }
        for (name, value) in &self.put {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Names that only the gateway may send (`auth.forward`), beyond those that no client may ever send.
#[derive(Debug, Default)]
pub struct Reserved(Box<[HeaderName]>);

impl Reserved {
    /// Compiles checked names.
    #[must_use]
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.filter(|name| !is_stripped(name)).filter_map(|name| HeaderName::try_from(name).ok()).collect())
    }

    /// Takes the names out of a client's headers, with `_` for `-` too: backends tend to read both alike.
    pub fn take_from(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        for name in &self.0 {
            headers.remove(name);
        }
        let is_alike = |name: &str| {
            name.contains('_') && self.0.iter().any(|reserved| reserved.as_str() == name.replace('_', "-"))
        };
        let alike: Vec<HeaderName> = headers.keys().filter(|name| is_alike(name.as_str())).cloned().collect();
        for name in alike {
            headers.remove(name);
        }
    }
}

/// Writes the fields of a request for an HTTP/1.1 backend to `out`, each with its line end, and gives the trace context
/// that each attempt sends. The framing and the empty line are whoever's who knows the body.
pub fn write_request(
    exchange: &Exchange,
    parts: &Parts,
    rules: &HeaderRules,
    out: &mut Vec<u8>,
) -> Option<Box<HeaderMap>> {
    let headers = &parts.headers;
    let dropped = if headers.contains_key(CONNECTION) { connection_names(headers) } else { Vec::new() };
    let mut trace = Sent::default();
    let mut takes_trailers = false;
    if let Some(host) = &exchange.host {
        field(&HOST, host.as_bytes(), out);
    }
    for (name, value) in headers {
        let text = name.as_str();
        if *name == TE {
            takes_trailers |= lines::names(value.as_bytes(), b"trailers");
            continue;
        }
        if dropped.iter().any(|hop| hop == text) {
            continue;
        }
        if *name == BAGGAGE {
            trace.take_baggage(value.clone());
        } else if text.starts_with("trace") {
            if let Err(other) = trace.take_context(name, value.clone()) {
                pass(name, &other, rules, out);
            }
        } else if *name != COOKIE && !is_stripped(text) {
            pass(name, value, rules, out);
        }
    }
    if !dropped.iter().any(|hop| hop == COOKIE.as_str()) {
        cookies(headers, rules, out);
    }
    if takes_trailers {
        // It is said from hop to hop, so it is said anew; and of the connection it is, too (RFC 9110, section 10.1.4).
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    for (name, value) in &rules.put {
        field(name, value.as_bytes(), out);
    }
    for (name, value) in exchange.facts.identity().iter().flat_map(|identity| &identity.forward) {
        field(name, value.as_bytes(), out);
    }
    field(&REQUEST_ID, exchange.request_id.as_str().as_bytes(), out);
    begin(&X_FORWARDED_FOR, out);
    write_forwarded_for(exchange, out);
    out.extend_from_slice(b"\r\n");
    if let Some(host) = &exchange.host {
        field(&X_FORWARDED_HOST, host.as_bytes(), out);
    }
    field(&X_FORWARDED_PROTO, if exchange.conn.tls { b"https" } else { b"http" }, out);
    if exchange.client.forwarded {
        begin(&FORWARDED, out);
        write_forwarded(exchange, out);
        out.extend_from_slice(b"\r\n");
    }
    let mut context = HeaderMap::new();
    trace.forward(exchange.trace.as_ref(), &mut context);
    (!context.is_empty()).then(|| Box::new(context))
}

fn pass(name: &HeaderName, value: &HeaderValue, rules: &HeaderRules, out: &mut Vec<u8>) {
    if !rules.gone.contains(name) {
        field(name, value.as_bytes(), out);
    }
}

/// One field, as HTTP/1.1 wants it: HTTP/2 may bring cookies in pieces (RFC 9113, section 8.2.3).
fn cookies(headers: &HeaderMap, rules: &HeaderRules, out: &mut Vec<u8>) {
    let mut values = headers.get_all(COOKIE).iter();
    let Some(first) = values.next().filter(|_| !rules.gone.contains(&COOKIE)) else { return };
    out.put_slice(b"cookie: ");
    out.put_slice(first.as_bytes());
    for more in values {
        out.put_slice(b"; ");
        out.put_slice(more.as_bytes());
    }
    out.put_slice(b"\r\n");
}

fn field(name: &HeaderName, value: &[u8], out: &mut Vec<u8>) {
    begin(name, out);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn begin(name: &HeaderName, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
}

/// Takes what belongs to the backend's connection out of the headers of its answer, and applies the route's rules. The
/// announcement of trailers stays for who gets them.
pub fn clean_answer(headers: &mut HeaderMap, takes_trailers: bool, rules: &HeaderRules) {
    const HOP_BY_HOP: [HeaderName; 8] =
        [CONNECTION, KEEP_ALIVE, PROXY_AUTHENTICATE, PROXY_CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        for name in connection_names(headers) {
            headers.remove(name);
        }
        for name in HOP_BY_HOP {
            if name != TRAILER || !takes_trailers {
                headers.remove(name);
            }
        }
    }
    rules.apply(headers);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;
    use tidegate_config::valid::Setting;

    use super::*;
    use crate::exchange::Intake;
    use crate::ids::{ConnInfo, WorkerId};

    fn conn() -> Arc<ConnInfo> {
        Arc::new(ConnInfo::new(WorkerId::new(0), "a".into(), "127.0.0.1:1".parse().unwrap()))
    }

    fn rules(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderRules {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        HeaderRules::compile(&valid::HeaderRules {
            remove: Setting::built_in(remove.iter().map(|name| (*name).to_owned()).collect()),
            set: Setting::built_in(pairs(set)),
            add: Setting::built_in(pairs(add)),
        })
    }

    /// What a backend gets of `fields`, without what every request has.
    fn sent(fields: &[(&str, &str)], rules: &HeaderRules) -> String {
        let mut request = Request::builder().uri("http://a.example/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let exchange = Exchange::begin(&conn(), &parts, &Intake::default());
        let mut out = Vec::new();
        write_request(&exchange, &parts, rules, &mut out);
        let text = String::from_utf8(out).unwrap();
        let ours = ["host: ", "x-request-id: ", "x-forwarded-"];
        text.lines()
            .filter(|line| !ours.iter().any(|name| line.starts_with(name)))
            .map(|line| format!("{line}|"))
            .collect()
    }

    #[test]
    fn what_is_not_a_clients_to_say_does_not_pass() {
        let none = HeaderRules::default();
        for (name, value) in [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip;q=0.5, trailers-not"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("proxy-authorization", "x"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-user-id", "7"),
            ("x_user_id", "7"),
            ("x-tidegate-x", "7"),
            ("x-original-url", "/admin"),
        ] {
            assert_eq!(sent(&[(name, value)], &none), "", "{name}");
        }
        let fields = [("connection", "X-Hop, keep-alive"), ("x-hop", "1"), ("accept", "*/*"), ("authorization", "b")];
        assert_eq!(sent(&fields, &none), "accept: */*|authorization: b|");
        assert_eq!(sent(&[("connection", "x-request-id")], &none), "", "ours are added last");
    }

    #[test]
    fn of_te_passes_that_trailers_are_taken() {
        let none = HeaderRules::default();
        let said = "te: trailers|connection: te|";
        for fields in [
            &[("te", "trailers")][..],
            &[("te", "gzip;q=0.5, Trailers"), ("connection", "TE, close")],
            &[("te", "deflate"), ("te", "trailers"), ("te", "trailers")],
        ] {
            assert_eq!(sent(fields, &none), said, "{fields:?}");
        }
    }

    #[test]
    fn rules_are_applied_in_their_order() {
        let rules = rules(&["x-debug"], &[("x-edge", "tidegate")], &[("via", "1.1 edge")]);
        let fields =
            [("x-debug", "1"), ("x-edge", "forged"), ("via", "1.0 other"), ("cookie", "a=1"), ("cookie", "b=2")];
        assert_eq!(sent(&fields, &rules), "via: 1.0 other|cookie: a=1; b=2|x-edge: tidegate|via: 1.1 edge|");
    }

    #[test]
    fn an_answer_loses_what_belongs_to_its_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("x-powered-by", "p"),
            ("etag", "e"),
            ("trailer", "x-sum"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        for (takes_trailers, expected) in [(true, &["etag", "trailer", "x-more"][..]), (false, &["etag", "x-more"])] {
            let mut headers = headers.clone();
            clean_answer(&mut headers, takes_trailers, &rules(&["x-powered-by"], &[], &[("x-more", "1")]));
            let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, expected);
        }
    }
}
