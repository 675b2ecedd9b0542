//! Checks a parsed request head as values, the same way for HTTP/1 and HTTP/2. Pure.
//!
//! `listen::http1` and h2 have seen to the framing; what remains is in `head`, and for HTTP/2 the size, which is counted
//! while reading on HTTP/1. Afterwards both protocols look alike. The path is left as it was sent; the pipeline makes its canonical
//! form once.

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{StatusCode, Version};

use crate::head::{self, bad};
use crate::reject::Reject;

use super::HeadLimits;

/// Checks the head and brings it into the one form that the gateway reads.
///
/// # Errors
/// The refusal to send; see [`head::vet`].
pub(crate) fn vet(parts: &mut Parts, limits: &HeadLimits) -> Result<(), Box<Reject>> {
    if parts.version == Version::HTTP_2 {
        check_size(parts, limits)?;
    }
    head::vet(parts)
}

/// On HTTP/1 it was counted as it came.
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

#[cfg(test)]
mod tests {
    use http::Request;
    use http::header::HOST;

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
