//! Who sends a request, as a credential says it. A plain value: `policy` makes it, everything else only reads it.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// Whoever a credential speaks for. Made once per credential and shared by its requests.
#[derive(Debug)]
pub struct Identity {
    /// Name of the provider in the configuration that accepted the credential; the log field `auth_provider`.
    pub provider: Arc<str>,
    /// What kind of credential it was.
    pub kind: CredentialKind,
    /// Subject of a token, id of an API key, name in a certificate: the log field `subject`, and the key of limits by user.
    pub subject: Box<str>,
    /// Roles with all that they include, sorted, without repetition.
    pub roles: Box<[Box<str>]>,
    /// Scopes, sorted, without repetition.
    pub scopes: Box<[Box<str>]>,
    /// Claims of a token; what is configured of an API key; names of a certificate.
    pub claims: Map<String, Value>,
    /// What backends are told (`auth.forward`), ready to be sent as headers or metadata.
    pub forward: Box<[(HeaderName, HeaderValue)]>,
    /// Requests that an API key has of its own, in the route's stead: limits by `api_key` take it.
    pub rate: Option<KeyRate>,
}

/// Kinds of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A JSON Web Token.
    Token,
    /// An API key.
    ApiKey,
    /// A client's certificate.
    Certificate,
}

/// How often the holder of an API key may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRate {
    /// Requests in `per_ns` nanoseconds.
    pub requests: u64,
    /// The period, in nanoseconds.
    pub per_ns: u64,
}

impl Identity {
    /// The claim at a dotted path (`realm_access.roles`); `None` if there is none.
    #[must_use]
    pub fn claim(&self, path: &str) -> Option<&Value> {
        claim(&self.claims, path)
    }
}

/// The claim at a dotted path. A claim whose own name has the dots (`https://example.com/tenant`) comes first.
#[must_use]
pub fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
}

/// The certificate that a client has shown, which its listener has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of its DER form, which tokens may be bound to (RFC 8705, section 3).
    pub thumbprint: [u8; 32],
    /// Alternative names: URIs, then DNS names, as they stand there.
    pub names: Vec<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_found_by_its_whole_name_or_by_its_path() {
        let claims = serde_json::json!({ "a": { "b": { "c": 1 } }, "https://x.y/z": 2, "a.b": 3 });
        let claims = claims.as_object().unwrap();
        for (path, found) in [
            ("a.b.c", Some(1)),
            ("https://x.y/z", Some(2)),
            ("a.b", Some(3)),
            ("a.c", None),
            ("b", None),
            ("a.b.c.d", None),
        ] {
            assert_eq!(claim(claims, path).and_then(Value::as_i64), found, "{path}");
        }
    }
}
