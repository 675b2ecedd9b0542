//! What a request head must be, whatever protocol it came in: one authority, a method that a gateway may answer, a
//! target that is a path. Pure.
//!
//! Listeners ask it for every request, and `explain` for requests that nobody has sent, so both give the same answer.

use http::header::{EXPECT, HOST, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};

use crate::reject::{Reason, Reject};

/// What `Allow` says where no route was asked.
const COMMON_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Checks the head and brings it into the one form that the gateway reads: the URI in origin form, and exactly one
/// `Host` field with the authority that every later decision uses. The path is left as it was sent.
///
/// # Errors
/// The refusal to send. On HTTP/1 the connection closes after it, because a client that confuses authorities or
/// asks for a tunnel would go on with bytes that are no requests.
pub fn vet(parts: &mut Parts) -> Result<(), Box<Reject>> {
    check_method(&parts.method)?;
    check_expect(parts)?;
    take_authority(parts)?;
    let path = parts.uri.path();
    if path == "*" {
        if parts.method != Method::OPTIONS {
            return Err(bad("only OPTIONS may ask for *"));
        }
    } else if !path.starts_with('/') {
        return Err(bad("the request target is not a path"));
    }
    Ok(())
}

/// A head that is not what it must be.
#[must_use]
pub fn bad(detail: &'static str) -> Box<Reject> {
    Box::new(Reject::new(Reason::BadRequest).detail(detail).close())
}

/// A tunnel would carry bytes past every check, and TRACE shows a page what its browser hides.
fn check_method(method: &Method) -> Result<(), Box<Reject>> {
    if *method != Method::CONNECT && *method != Method::TRACE {
        return Ok(());
    }
    let mut reject = Reject::new(Reason::MethodNotAllowed).detail("method not supported").close();
    reject.allow = Some(COMMON_METHODS.into());
    Err(Box::new(reject))
}

/// Nothing but `100-continue` can be met (RFC 9110, section 10.1.1).
fn check_expect(parts: &Parts) -> Result<(), Box<Reject>> {
    let mut expected = parts.headers.get_all(EXPECT).iter();
    if expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Ok(());
    }
    Err(Box::new(bad("expectation not supported").status(StatusCode::EXPECTATION_FAILED)))
}

/// Leaves the authority in `Host` alone. One in the target wins (RFC 9112, section 3.2.2).
fn take_authority(parts: &mut Parts) -> Result<(), Box<Reject>> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("more than one Host"));
    }
    let Some(authority) = parts.uri.authority() else {
        let host = host.ok_or_else(|| bad("no Host"))?;
        return check_host(host.as_bytes());
    };
    check_host(authority.as_str().as_bytes())?;
    let http2 = parts.version == Version::HTTP_2;
    match parts.uri.scheme_str() {
        Some("http" | "https") => {}
        // On HTTP/1 a target such as `admin` reads as an authority: taken for one it would name the host itself.
        None if http2 => {}
        None => return Err(bad("the request target is not a path")),
        Some(_) => return Err(bad("unknown scheme in the request target")),
    }
    match host {
        Some(host) if http2 && !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            return Err(bad("Host differs from :authority"));
        }
        None if !http2 => return Err(bad("no Host")),
        Some(_) | None => {}
    }
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("malformed authority"))?;
    let target = parts.uri.path_and_query().cloned();
    parts.uri = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    parts.headers.insert(HOST, value);
    Ok(())
}

/// A host name or address with an optional port: no user, no path, no list.
fn check_host(host: &[u8]) -> Result<(), Box<Reject>> {
    let port = match host.strip_prefix(b"[") {
        Some(rest) => after_ipv6(rest),
        None => after_name(host),
    };
    match port {
        Some([]) => Ok(()),
        Some([b':', port @ ..]) if is_port(port) => Ok(()),
        Some(_) | None => Err(bad("malformed Host")),
    }
}

/// What follows the name; `None` if there is none.
fn after_name(host: &[u8]) -> Option<&[u8]> {
    let is_name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let end = host.iter().position(|byte| !is_name_byte(byte)).unwrap_or(host.len());
    host.get(end..).filter(|_| end > 0)
}

/// What follows the address, of which the opening bracket is gone; `None` if it is none.
fn after_ipv6(rest: &[u8]) -> Option<&[u8]> {
    let (address, rest) = rest.split_at_checked(memchr::memchr(b']', rest)?)?;
    std::str::from_utf8(address).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
    rest.get(1..)
}

/// One to five digits, at most 65,535.
fn is_port(port: &[u8]) -> bool {
    let number = |port: &[u8]| {
        port.iter().try_fold(0_u32, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
    };
    (1..=5).contains(&port.len()) && number(port).is_some_and(|number| number <= u32::from(u16::MAX))
}
