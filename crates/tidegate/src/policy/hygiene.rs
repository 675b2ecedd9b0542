//! Names of headers that never pass from a client to a backend, whatever a route says: what belongs to one connection,
//! and what only the gateway may say.

use http::HeaderMap;
use http::header::CONNECTION;

/// Whether a client's header of this name is taken away before anything looks at it. `_` counts as `-`, because backends
/// tend to read both alike.
///
/// Source: RFC 9110, section 7.6.1, for what is hop-by-hop.
pub(super) fn is_stripped(name: &str) -> bool {
    if name.contains('_') {
        return is_stripped(&name.replace('_', "-"));
    }
    match name {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "te"
        | "trailer"
        | "transfer-encoding"
        | "upgrade"
        | "http2-settings"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "expect"
        | "host"
        | "content-length"
        | "forwarded"
        | "x-request-id"
        | "traceparent"
        | "tracestate"
        | "x-original-url"
        | "x-rewrite-url"
        | "x-original-method"
        | "x-http-method-override"
        | "x-method-override"
        | "x-real-ip"
        | "true-client-ip"
        | "cf-connecting-ip"
        | "x-client-ip"
        | "x-cluster-client-ip" => true,
        _ => {
            name.starts_with(':')
                || ["x-forwarded-", "x-user-", "x-auth-", "x-path-", "x-tidegate-"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        }
    }
}

/// What `Connection` names, which is hop-by-hop as well (RFC 9110, section 7.6.1).
pub(super) fn connection_names(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONNECTION).iter();
    let names = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = names.map(str::trim).filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("keep-alive"));
    names.map(str::to_ascii_lowercase).collect()
}
