//! Who may ask: the right `Host`, no foreign web page, and the token.
//!
//! A page in an operator's browser can reach loopback. It cannot read the answers of another origin, but it can make a name
//! of its own resolve to 127.0.0.1 (rebinding), and it can send without reading. Hence `Host` must be an address or name of
//! this listener, and what a browser marks as coming from elsewhere may reach nothing but the dashboard, by a link.
//!
//! On the way out, every error becomes a problem document and every answer gets what keeps browsers from using it
//! otherwise than meant.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, StatusCode};
use tidegate_config::secret::Secret;

use super::dashboard;
use super::problem::{self, Problem};
use crate::reject::Reason;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SAME_ORIGIN_ALONE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// For reading an order and for the head of its answer. The slowest, a large configuration that is put in force, takes
/// seconds; the body of a live view is not counted.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What it takes to come in.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    token: Option<Secret>,
}

impl Door {
    pub(super) fn new(address: SocketAddr, token: Option<Secret>) -> Arc<Self> {
        Arc::new(Self { address, token })
    }

    fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
        let is_open = dashboard::is_open(method, path);
        if !self.is_ours(headers) {
            return Err(Problem::new(Reason::Forbidden, "Host is no name of this listener"));
        }
        if is_from_elsewhere(headers) && !(is_open && is_shown(headers)) {
            return Err(Problem::new(Reason::Forbidden, "the request comes from another web page"));
        }
        let Some(token) = self.token.as_ref().filter(|_| !is_open) else { return Ok(()) };
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else {
            return Err(Problem::new(Reason::AuthMissing, "send Authorization: Bearer with the admin token"));
        };
        let is_right =
            bearer(given).is_some_and(|given| verify_slices_are_equal(given, token.expose().as_bytes()).is_ok());
        if is_right { Ok(()) } else { Err(Problem::new(Reason::AuthInvalid, "this is not the admin token")) }
    }

    /// One `Host`, which is an IP address, `localhost`, or anything at all behind a token: then whoever asks knows a secret
    /// that a page does not.
    fn is_ours(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
        let name = authority.host().trim_matches(['[', ']']);
        let is_address = |ip: IpAddr| ip == self.address.ip() || ip.is_loopback() || self.address.ip().is_unspecified();
        name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_address) || self.token.is_some()
    }
}

/// The token of `Bearer …`.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// A browser says that another site's page, or a page of another origin, sends this.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
    let origin = origin.as_bytes();
    let origin = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    origin != Some(host)
}

/// Somebody has followed a link: the answer becomes a page of its own, which whoever has sent them there cannot read. An
/// old browser that does not say so counts as elsewhere only for what it sends with `Origin`, and that is no link.
fn is_shown(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_DEST).is_some_and(|dest| dest == "document") && !headers.contains_key(header::ORIGIN)
}

/// Lets in whoever may.
pub(super) async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let checked = door.check(request.method(), request.uri().path(), request.headers());
    let mut response = match checked {
        Ok(()) => match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
            Ok(response) => problem::told(response),
            Err(_) => {
                let detail = format!("neither the order nor its answer came within {} s", ANSWER_TIMEOUT.as_secs());
                Problem::new(Reason::BadRequest, detail).status(StatusCode::REQUEST_TIMEOUT).into_response()
            }
        },
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(nothing);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(SAME_ORIGIN_ALONE, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::SERVER, HeaderValue::from_static("tidegate"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(token: Option<&str>, headers: &[(&str, &str)]) -> Option<Reason> {
        check_at(&Method::POST, "/api/drain", token, headers)
    }

    fn check_at(method: &Method, path: &str, token: Option<&str>, headers: &[(&str, &str)]) -> Option<Reason> {
        let door = Door::new("127.0.0.1:9901".parse().unwrap(), token.map(|token| Secret::new(token.to_owned())));
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect();
        door.check(method, path, &headers).err().map(|problem| problem.reason())
    }

    #[test]
    fn a_page_that_rebinds_its_name_is_refused() {
        assert_eq!(check(None, &[("host", "127.0.0.1:9901")]), None);
        assert_eq!(check(None, &[("host", "localhost:9901")]), None);
        assert_eq!(check(None, &[("host", "[::1]:9901")]), None);
        for host in ["evil.example", "evil.example:9901", "127.0.0.1.evil.example", "10.0.0.1"] {
            assert_eq!(check(None, &[("host", host)]), Some(Reason::Forbidden), "{host}");
        }
        assert_eq!(check(None, &[]), Some(Reason::Forbidden));
        assert_eq!(check(None, &[("host", "localhost"), ("host", "localhost")]), Some(Reason::Forbidden));
    }

    #[test]
    fn a_page_of_another_origin_can_send_nothing() {
        let host = ("host", "127.0.0.1:9901");
        assert_eq!(check(None, &[host, ("origin", "http://127.0.0.1:9901")]), None);
        assert_eq!(check(None, &[host, ("origin", "https://evil.example")]), Some(Reason::Forbidden));
        assert_eq!(check(None, &[host, ("origin", "null")]), Some(Reason::Forbidden));
        assert_eq!(check(None, &[host, ("sec-fetch-site", "cross-site")]), Some(Reason::Forbidden));
        assert_eq!(check(None, &[host, ("sec-fetch-site", "same-origin")]), None);
    }

    #[test]
    fn a_token_is_compared_whole() {
        let (host, token) = (("host", "gateway.internal:9901"), Some("0123456789abcdef"));
        assert_eq!(check(token, &[host]), Some(Reason::AuthMissing));
        assert_eq!(check(token, &[host, ("authorization", "Bearer 0123456789abcdef")]), None);
        assert_eq!(check(token, &[host, ("authorization", "bearer 0123456789abcdef")]), None);
        for bad in ["Bearer 0123456789abcde", "Bearer ", "0123456789abcdef", "Basic 0123456789abcdef"] {
            assert_eq!(check(token, &[host, ("authorization", bad)]), Some(Reason::AuthInvalid), "{bad}");
        }
    }

    #[test]
    fn the_dashboard_is_open_and_nothing_else_is() {
        let token = Some("0123456789abcdef");
        let host = ("host", "10.0.0.7:9901");
        for path in dashboard::paths() {
            assert_eq!(check_at(&Method::GET, path, token, &[host]), None, "{path}");
            assert_eq!(check_at(&Method::POST, path, token, &[host]), Some(Reason::AuthMissing), "{path}");
        }
        for path in ["/api/overview", "/metrics", "/health", "/dashboard.js/x", "/dashboard", "//", ""] {
            assert_eq!(check_at(&Method::GET, path, token, &[host]), Some(Reason::AuthMissing), "{path}");
        }
    }

    #[test]
    fn a_link_leads_to_the_dashboard_and_to_nothing_else() {
        let host = ("host", "127.0.0.1:9901");
        let (site, page) = (("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document"));
        assert_eq!(check_at(&Method::GET, "/", None, &[host, site, page]), None);
        for frame in ["iframe", "empty", "script", "image"] {
            let refused = check_at(&Method::GET, "/", None, &[host, site, ("sec-fetch-dest", frame)]);
            assert_eq!(refused, Some(Reason::Forbidden), "{frame}");
        }
        assert_eq!(check_at(&Method::GET, "/api/tap", None, &[host, site, page]), Some(Reason::Forbidden));
        assert_eq!(check_at(&Method::POST, "/", None, &[host, site, page]), Some(Reason::Forbidden));
        assert_eq!(check_at(&Method::GET, "/", None, &[("host", "evil.example"), site, page]), Some(Reason::Forbidden));
    }
}
