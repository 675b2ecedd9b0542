//! Who may open a WebSocket: how many there may be, and which pages may.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderMap;
use http::header::{COOKIE, HOST, ORIGIN};
use tidegate_config::valid::{AllowedOrigin, Realtime};

use crate::clients::{Clients, Seat};
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};

/// All open WebSockets of the process.
#[derive(Debug, Default)]
pub struct Hall {
    open: AtomicU32,
    clients: Arc<Clients>,
}

/// One open WebSocket, until this is dropped.
#[derive(Debug)]
pub struct Place {
    hall: Arc<Hall>,
    _seat: Seat,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hall.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The rules of an endpoint.
#[derive(Debug)]
pub struct Door {
    hall: Arc<Hall>,
    most: u32,
    most_per_client: u32,
    origins: Option<Vec<AllowedOrigin>>,
    /// Cookies that may hold a credential.
    cookies: Vec<String>,
}

impl Door {
    /// Compiles the rules; `cookies` are those that hold credentials at this endpoint.
    #[must_use]
    pub fn compile(realtime: &Realtime, cookies: Vec<String>, hall: &Arc<Hall>) -> Self {
        Self {
            hall: Arc::clone(hall),
            most: realtime.limits.max_connections,
            most_per_client: realtime.limits.max_connections_per_ip,
            origins: realtime.allowed_origins.clone(),
            cookies,
        }
    }

    /// Whether another WebSocket of this client may be opened now: before anything is paid for.
    ///
    /// # Errors
    /// `draining`, `overloaded` (503), `rate_limited` (429).
    pub fn has_room(&self, exchange: &Exchange) -> Result<(), Reject> {
        if exchange.conn.ending.window().is_some() {
            return Err(Reject::new(Reason::Draining));
        }
        if self.hall.open.load(Ordering::Relaxed) >= self.most {
            return Err(Reject::new(Reason::Overloaded));
        }
        if self.hall.clients.has_room(exchange.client.ip, self.most_per_client) { Ok(()) } else { Err(too_many()) }
    }

    /// Whether the page that asks may. A credential in a cookie comes with whatever page asks, so the page must be known.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), Reject> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let admitted = match (origins.next(), origins.next()) {
            (None, _) => !self.cookies.iter().any(|name| has_cookie(headers, name)),
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| self.admits(origin, headers)),
            (Some(_), Some(_)) => false,
        };
        if admitted { Ok(()) } else { Err(Reject::new(Reason::Forbidden).detail("this origin is not allowed")) }
    }

    fn admits(&self, origin: &str, headers: &HeaderMap) -> bool {
        match &self.origins {
            Some(allowed) => allowed.iter().any(|allowed| matches_origin(allowed, origin)),
            None => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                let of = origin.split_once("://").map(|(_, host)| host);
                matches!((of, host), (Some(of), Some(host)) if of.eq_ignore_ascii_case(host))
            }
        }
    }

    /// Opens one for the client with this address.
    ///
    /// # Errors
    /// As [`Door::has_room`]: others may have come meanwhile.
    pub fn enter(&self, ip: IpAddr) -> Result<Place, Reject> {
        let Some(seat) = self.hall.clients.seat(ip, self.most_per_client) else { return Err(too_many()) };
        let one_more = |open: u32| (open < self.most).then_some(open.saturating_add(1));
        match self.hall.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Place { hall: Arc::clone(&self.hall), _seat: seat }),
            Err(_) => Err(Reject::new(Reason::Overloaded)),
        }
    }
}

fn too_many() -> Reject {
    Reject::new(Reason::RateLimited).detail("too many open WebSockets")
}

/// Browsers write origins in one form (RFC 6454, section 6.2), so bytes are compared.
fn matches_origin(allowed: &AllowedOrigin, origin: &str) -> bool {
    match allowed {
        AllowedOrigin::Any => true,
        AllowedOrigin::Null => origin == "null",
        AllowedOrigin::Exact(exact) => origin == exact,
        AllowedOrigin::Below { scheme, suffix } => {
            let label = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(suffix.as_str()));
            label.is_some_and(|label| !label.is_empty() && label.bytes().all(is_of_label))
        }
    }
}

fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn has_cookie(headers: &HeaderMap, name: &str) -> bool {
    let mut pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let is_it =
        |pair: &[u8]| pair.trim_ascii_start().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    pairs.any(is_it)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn door(origins: Option<Vec<AllowedOrigin>>, most: u32, most_per_client: u32) -> Door {
        let mut realtime = Realtime { allowed_origins: origins, ..Realtime::default() };
        realtime.limits.max_connections = most;
        realtime.limits.max_connections_per_ip = most_per_client;
        Door::compile(&realtime, vec!["session".to_owned()], &Arc::default())
    }

    fn admits(door: &Door, fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("Example.com:8443"));
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        door.check_origin(&headers).is_ok()
    }

    #[test]
    fn without_a_list_pages_of_the_host_itself_may() {
        let door = door(None, 1, 1);
        for (fields, admitted) in [
            (&[][..], true),
            (&[("origin", "https://example.com:8443")], true),
            (&[("origin", "https://example.com")], false),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://example.com:8443"), ("origin", "https://example.com:8443")], false),
            (&[("cookie", "a=b; session=x")], false),
            (&[("cookie", "a=b; session=x"), ("origin", "https://example.com:8443")], true),
            (&[("cookie", "sessions=x; xsession=y")], true),
        ] {
            assert_eq!(admits(&door, fields), admitted, "{fields:?}");
        }
    }

    #[test]
    fn a_list_says_which_pages_may_letter_by_letter() {
        let below = AllowedOrigin::Below { scheme: "https://".to_owned(), suffix: ".example.com".to_owned() };
        let exact = AllowedOrigin::Exact("https://app.example".to_owned());
        let door = door(Some(vec![exact, below]), 1, 1);
        for (origin, admitted) in [
            ("https://app.example", true),
            ("http://app.example", false),
            ("https://app.example:444", false),
            ("https://app.example.evil", false),
            ("https://a.example.com", true),
            ("https://a.b.example.com", false),
            ("https://.example.com", false),
            ("https://evil.com/.example.com", false),
            ("https://example.com:8443", false),
            ("null", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            assert_eq!(door.check_origin(&headers).is_ok(), admitted, "{origin}");
        }
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let door = door(None, 3, 2);
        let [one, two, other] = ["192.0.2.1", "192.0.2.1", "192.0.2.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let first = door.enter(one).unwrap();
        let _second = door.enter(two).unwrap();
        assert_eq!(door.enter(one).unwrap_err().reason, Reason::RateLimited);
        let third = door.enter(other).unwrap();
        drop(first);
        drop(door.enter(one).unwrap());
        let _again = door.enter(other).unwrap();
        assert_eq!(door.enter(one).unwrap_err().reason, Reason::Overloaded);
        drop(third);
        assert!(door.enter(one).is_ok());
    }
}
