//! Checks a parsed request head as values, the same way for HTTP/1 and HTTP/2. Pure.
//!
//! `listen::guard` has seen to the framing. Here remain the questions that need a parsed head: one authority, a
//! method that a gateway may answer, a target that is a path. Afterwards both protocols look alike: the URI is in
//! origin form and exactly one `Host` field holds the authority that every later decision uses. The path is left as it
//! was sent; the pipeline makes its canonical form once.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};

use crate::reject::{Reason, Reject};

use super::guard::framing::HeadLimits;

/// What `Allow` says where no route was asked.
const COMMON_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Checks the head and brings it into the one form that the gateway reads.
///
/// # Errors
/// The refusal to send. On HTTP/1 the connection closes after it, because a client that confuses authorities or
/// asks for a tunnel would go on with bytes that are no requests.
pub(crate) fn vet(parts: &mut Parts, limits: &HeadLimits) -> Result<(), Box<Reject>> {
    check_method(&parts.method)?;
    check_expect(parts)?;
    if parts.version == Version::HTTP_2 {
        check_size(parts, limits)?;
    }
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

fn bad(detail: &'static str) -> Box<Reject> {
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

/// On HTTP/1 the guard has counted already, before anything was parsed.
fn check_size(parts: &Parts, limits: &HeadLimits) -> Result<(), Box<Reject>> {
    let target_len = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let (status, detail) = if target_len > limits.uri_bytes {
        (StatusCode::URI_TOO_LONG, "request target too long")
    } else if parts.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(bad("Content-Length is repeated"));
    } else if parts.headers.len() > limits.fields {
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields")
    } else {
        return Ok(());
    };
    Err(Box::new(bad(detail).status(status)))
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

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, uri: &str, version: Version, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn check(method: &str, uri: &str, version: Version, hosts: &[&str], expected: Result<(&str, &str), u16>) {
        let mut parts = parts(method, uri, version, hosts);
        let seen = vet(&mut parts, &HeadLimits::default());
        match expected {
            Ok((host, target)) => {
                assert_eq!(seen, Ok(()), "{method} {uri} {hosts:?}");
                assert_eq!(parts.headers[HOST], host);
                assert_eq!(parts.headers.get_all(HOST).iter().count(), 1);
                assert_eq!(parts.uri.to_string(), target);
            }
            Err(status) => {
                let reject = seen.expect_err(uri);
                assert_eq!(
                    reject.status.unwrap_or(reject.reason.status()).as_u16(),
                    status,
                    "{method} {uri} {hosts:?}"
                );
                assert!(reject.close);
            }
        }
    }

    #[test]
    fn http1_has_exactly_one_host() {
        let check = |hosts: &[&str], expected| check("GET", "/a?b=c", Version::HTTP_11, hosts, expected);
        for host in ["example.com", "example.com:8080", "127.0.0.1", "[::1]", "[::1]:80", "a_b.internal", "EXAMPLE.com"]
        {
            check(&[host], Ok((host, "/a?b=c")));
        }
        let broken = [
            "", "a,b", "a b", "user@a", "a/b", "a:", "a:x", "a:+1", "a:65536", ":80", "[::1", "[x]", "[::1]a", "::1",
            "ä", "a\"b", "a%41",
        ];
        for host in broken {
            check(&[host], Err(400));
        }
        check(&[], Err(400));
        check(&["a", "a"], Err(400));
        check(&["a", "b"], Err(400));
    }

    #[test]
    fn an_authority_in_the_target_wins() {
        let check = |uri, hosts: &[&str], expected| check("GET", uri, Version::HTTP_11, hosts, expected);
        check("http://a.example:81/x?y", &["b.example"], Ok(("a.example:81", "/x?y")));
        check("https://a.example", &["a.example"], Ok(("a.example", "/")));
        check("http://u@a.example/", &["a.example"], Err(400));
        check("ftp://a.example/", &["a.example"], Err(400));
        check("http://a.example/", &[], Err(400));
    }

    #[test]
    fn a_target_that_is_neither_a_path_nor_a_url_is_refused() {
        for target in ["echo", "a.example", "a.example:80"] {
            check("GET", target, Version::HTTP_11, &["a.example"], Err(400));
        }
    }

    #[test]
    fn http2_needs_an_authority_and_no_contradiction() {
        let check = |uri, hosts: &[&str], expected| check("GET", uri, Version::HTTP_2, hosts, expected);
        check("http://a.example/x", &[], Ok(("a.example", "/x")));
        check("http://a.example/x", &["A.example"], Ok(("a.example", "/x")));
        check("http://a.example/x", &["b.example"], Err(400));
        check("/x", &["a.example"], Ok(("a.example", "/x")));
        check("/x", &[], Err(400));
        let long = format!("http://a.example/{}", "x".repeat(8 * 1024));
        check(&long, &[], Err(414));
    }

    #[test]
    fn http2_has_one_length() {
        let request = Request::builder().uri("http://a.example/x").version(Version::HTTP_2);
        let request = request.header(CONTENT_LENGTH, 2).header(CONTENT_LENGTH, 2);
        let mut parts = request.body(()).unwrap().into_parts().0;
        assert!(vet(&mut parts, &HeadLimits::default()).is_err());
    }

    #[test]
    fn tunnels_and_stars_are_refused() {
        check("CONNECT", "a.example:443", Version::HTTP_11, &["a.example"], Err(405));
        check("TRACE", "/", Version::HTTP_11, &["a.example"], Err(405));
        check("GET", "*", Version::HTTP_11, &["a.example"], Err(400));
        check("OPTIONS", "*", Version::HTTP_11, &["a.example"], Ok(("a.example", "*")));
        check("PURGE", "/", Version::HTTP_11, &["a.example"], Ok(("a.example", "/")));
    }
}
