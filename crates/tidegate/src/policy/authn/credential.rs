//! Where the credential of a request stands.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, HeaderValue, SEC_WEBSOCKET_VERSION};
use http::request::Parts;
use http::{HeaderMap, Version};
use tidegate_config::valid::CredentialSource;

use super::Refused;
use crate::reject::Reason;

/// Which requests may hold a credential in their query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InQueries {
    /// All: an API key, where the configuration says so.
    Any,
    /// Requests for a WebSocket: browsers cannot give one a header. Elsewhere a token would reach logs and histories.
    WebSockets,
}

impl InQueries {
    fn holds(self, parts: &Parts) -> bool {
        self == Self::Any || asks_for_websocket(parts)
    }
}

/// The first credential in the order of `from`.
///
/// # Errors
/// `bad_request`: two headers where there may be one, which two readers could take for different credentials.
pub(super) fn find<'p>(
    from: &[CredentialSource],
    parts: &'p Parts,
    in_queries: InQueries,
) -> Result<Option<Cow<'p, [u8]>>, Refused> {
    for source in from {
        let found = match source {
            CredentialSource::Bearer => {
                single(&parts.headers, AUTHORIZATION.as_str())?.and_then(bearer).map(Cow::Borrowed)
            }
            CredentialSource::Header(name) => single(&parts.headers, name)?.map(Cow::Borrowed),
            CredentialSource::Cookie(name) => cookie(&parts.headers, name)?.map(Cow::Borrowed),
            CredentialSource::Query(name) if in_queries.holds(parts) => query(parts.uri.query().unwrap_or(""), name)?,
            CredentialSource::Query(_) => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The one value of a header; an empty one is none.
fn single<'p>(headers: &'p HeaderMap, name: &str) -> Result<Option<&'p [u8]>, Refused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refused::new(Reason::BadRequest, "a credential stands in two headers"));
    }
    let value = value.as_bytes().trim_ascii();
    Ok((!value.is_empty()).then_some(value))
}

/// What follows `Bearer`, whose case does not matter (RFC 9110, section 11.1). Other schemes are none of ours.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii_start())
}

/// A cookie by its name (RFC 6265, section 4.2).
fn cookie<'p>(headers: &'p HeaderMap, name: &str) -> Result<Option<&'p [u8]>, Refused> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut found = pairs.filter_map(|pair| {
        let value = pair.trim_ascii_start().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.trim_ascii())
    });
    let first = found.next();
    if found.next().is_some() {
        return Err(Refused::new(Reason::BadRequest, "a credential stands in two cookies"));
    }
    Ok(first.filter(|value| !value.is_empty()))
}

/// A key of the query, decoded.
fn query<'p>(query: &'p str, name: &str) -> Result<Option<Cow<'p, [u8]>>, Refused> {
    let mut found = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    let first = found.next();
    if found.next().is_some() {
        return Err(Refused::new(Reason::BadRequest, "a credential stands twice in the query"));
    }
    let value = first.map(|(_, value)| Cow::from(percent_encoding::percent_decode_str(value)));
    Ok(value.filter(|value| !value.is_empty()))
}

/// Over HTTP/1.1 or HTTP/2 (RFC 8441), where the version that it names tells.
fn asks_for_websocket(parts: &Parts) -> bool {
    tidegate_ws::asks(&parts.headers)
        || (parts.version == Version::HTTP_2 && parts.headers.contains_key(SEC_WEBSOCKET_VERSION))
}

/// Takes credentials out of a request.
pub(super) fn remove(from: &[CredentialSource], parts: &mut Parts) {
    for source in from {
        match source {
            CredentialSource::Bearer => drop(parts.headers.remove(AUTHORIZATION)),
            CredentialSource::Header(name) => drop(parts.headers.remove(name.as_str())),
            CredentialSource::Cookie(name) => remove_cookie(&mut parts.headers, name),
            CredentialSource::Query(name) => remove_query(parts, name),
        }
    }
}

fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    let is_it = |pair: &[u8]| {
        pair.trim_ascii_start().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
    };
    let mut kept: Vec<HeaderValue> = Vec::new();
    for value in headers.get_all(COOKIE) {
        let pairs = value.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_it(pair)).map(<[u8]>::trim_ascii);
        let joined = pairs.filter(|pair| !pair.is_empty()).collect::<Vec<_>>().join(&b"; "[..]);
        kept.extend(HeaderValue::from_bytes(&joined).ok().filter(|value| !value.is_empty()));
    }
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

fn remove_query(parts: &mut Parts, name: &str) {
    let Some(query) = parts.uri.query() else { return };
    let kept: Vec<&str> = query.split('&').filter(|pair| pair.split('=').next() != Some(name)).collect();
    let path = parts.uri.path();
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Ok(target) = target.parse() {
        uri.path_and_query = Some(target);
    }
    parts.uri = http::Uri::from_parts(uri).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn sources() -> Vec<CredentialSource> {
        vec![
            CredentialSource::Bearer,
            CredentialSource::Header("x-token".to_owned()),
            CredentialSource::Cookie("session".to_owned()),
            CredentialSource::Query("token".to_owned()),
        ]
    }

    #[test]
    fn the_first_place_that_has_one_counts() {
        for (uri, headers, found) in [
            ("/", &[][..], Some(None)),
            ("/", &[("authorization", "Bearer abc")], Some(Some("abc"))),
            ("/", &[("authorization", "bEARER   abc ")], Some(Some("abc"))),
            ("/", &[("authorization", "Basic abc")], Some(None)),
            ("/", &[("authorization", "Bearer")], Some(None)),
            ("/", &[("authorization", "Basic abc"), ("x-token", "t")], Some(Some("t"))),
            ("/", &[("authorization", "Bearer a"), ("x-token", "t")], Some(Some("a"))),
            ("/", &[("authorization", "Bearer a"), ("authorization", "Bearer b")], None),
            ("/", &[("x-token", "")], Some(None)),
            ("/", &[("cookie", "a=b; session=s; c=d")], Some(Some("s"))),
            ("/", &[("cookie", "xsession=s; session2=t")], Some(None)),
            ("/", &[("cookie", "session=s"), ("cookie", "session=t")], None),
            ("/?token=q", &[], Some(Some("q"))),
            ("/?atoken=q&token=a%2Eb", &[], Some(Some("a.b"))),
            ("/?token=q&token=r", &[], None),
        ] {
            let parts = parts(uri, headers);
            let seen = find(&sources(), &parts, InQueries::Any).ok();
            let seen = seen.map(|found| found.map(|bytes| String::from_utf8(bytes.into_owned()).unwrap()));
            assert_eq!(seen, found.map(|found| found.map(str::to_owned)), "{uri} {headers:?}");
        }
    }

    #[test]
    fn tokens_stand_in_queries_of_websockets_alone() {
        let plain = parts("/?token=q", &[]);
        assert_eq!(find(&sources(), &plain, InQueries::WebSockets).unwrap(), None);
        let socket = parts("/?token=q", &[("upgrade", "WebSocket")]);
        assert_eq!(find(&sources(), &socket, InQueries::WebSockets).unwrap().as_deref(), Some(&b"q"[..]));
    }

    #[test]
    fn credentials_are_taken_out_and_nothing_else() {
        let mut parts = parts(
            "/p?a=1&token=secret&b=2",
            &[
                ("authorization", "Bearer secret"),
                ("x-token", "secret"),
                ("cookie", "a=1; session=secret; b=2"),
                ("accept", "*/*"),
            ],
        );
        remove(&sources(), &mut parts);
        assert_eq!(parts.uri, "/p?a=1&b=2");
        assert_eq!(parts.headers.get(COOKIE).unwrap(), "a=1; b=2");
        assert_eq!(parts.headers.len(), 2);
    }
}
