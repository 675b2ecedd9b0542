//! Who is who, and what routes demand of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::diag::Place;
use crate::secret::Secret;
use crate::units::Rate;

use super::origin::Setting;

/// The `auth` block.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Auth {
    /// Kinds of credentials; names are unique.
    pub providers: Vec<Provider>,
    /// What backends are told. Names are lower case and unique.
    pub forward: Vec<Forward>,
    /// Roles that include others; names are unique.
    pub roles: Vec<Role>,
}

impl Auth {
    /// `roles` with all that they include, sorted, without repetition.
    #[must_use]
    pub fn with_included(&self, roles: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for role in roles {
            all.extend(self.roles.iter().find(|known| known.name == role).into_iter().flat_map(|r| r.includes.clone()));
            all.push(role);
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// A role that includes others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// All roles that it includes, those of included ones too; sorted, without the role itself.
    pub includes: Vec<String>,
}

/// One line of `auth.forward`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// Name of the header or of the metadata, lower case.
    pub name: String,
    /// Dotted path of the claim.
    pub claim: String,
}

/// A kind of credential.
#[derive(Clone, PartialEq, Debug)]
pub struct Provider {
    /// Unique name; shown in logs and metrics.
    pub name: String,
    /// Where the entry stands.
    pub place: Place,
    /// Where the credential is looked for, in this order. Empty for certificates.
    pub from: Vec<CredentialSource>,
    /// Whether backends get to see the credential.
    pub forward_token: bool,
    /// How it is checked.
    pub check: Check,
}

/// Kinds of providers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProviderType {
    /// Signed tokens.
    Jwt,
    /// Shared secrets.
    ApiKey,
    /// Certificates of clients.
    Mtls,
}

/// Where a credential is looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CredentialSource {
    /// `Authorization: Bearer …`.
    Bearer,
    /// The whole value of a header; its name is lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A key of the query; of a token for WebSockets alone.
    Query(String),
}

/// How a credential is checked.
#[derive(Clone, PartialEq, Debug)]
pub enum Check {
    /// A signed token.
    Jwt(Box<JwtRules>),
    /// A shared secret.
    ApiKey(ApiKeys),
    /// A certificate that the listener has verified.
    Mtls(Vec<Certificate>),
}

/// How tokens are checked.
#[derive(Clone, PartialEq, Debug)]
pub struct JwtRules {
    /// The one issuer; `None`: any.
    pub issuer: Option<String>,
    /// One of these must be meant; empty: nobody need be.
    pub audience: Vec<String>,
    /// Names of algorithms, all of the kind that `keys` needs. Not empty.
    pub algorithms: Vec<String>,
    /// Where keys come from.
    pub keys: KeySource,
    /// PEM file with the roots to trust when keys are fetched; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// What `typ` must be.
    pub typ: Option<String>,
    /// Dotted path of the roles.
    pub roles_claim: String,
    /// Dotted path of the scopes; `None`: `scope`, else `scp`.
    pub scopes_claim: Option<String>,
}

/// Where the keys of tokens come from.
#[derive(Clone, PartialEq, Debug)]
pub enum KeySource {
    /// A shared secret; `weak`: it may be short.
    Secret {
        /// The secret.
        secret: Secret,
        /// It may have less than 32 bytes.
        weak: bool,
    },
    /// A PEM file with public keys.
    Pem(PathBuf),
    /// A file with a key set.
    File(PathBuf),
    /// The URL of a key set.
    Url(Url),
    /// The issuer says where its key set is.
    Discovery(Url),
}

/// Known API keys.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ApiKeys {
    /// Those of the configuration.
    pub keys: Vec<ApiKey>,
    /// A JSON file with more.
    pub file: Option<PathBuf>,
    /// Where the file is named.
    pub file_place: Option<Place>,
}

/// Who holds a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// Who it is.
    pub id: String,
    /// Roles, as written.
    pub roles: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Its own rate, in place of that of limits by API key.
    pub rate: Option<Rate>,
}

impl ApiKey {
    /// Reads a digest as configurations write it: 64 hexadecimal digits.
    #[must_use]
    pub fn digest_of_hex(text: &str) -> Option<[u8; 32]> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(digest)
    }
}

/// Who shows a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// One of its alternative names.
    pub name: String,
    /// Who it is.
    pub id: String,
    /// Roles, as written.
    pub roles: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
}

/// What a route demands of whoever asks.
#[derive(Clone, PartialEq, Debug)]
pub struct Access {
    /// Whether a credential is needed. `false` by default.
    pub required: Setting<bool>,
    /// Indices into `Auth::providers`; not empty if `required`.
    pub providers: Setting<Vec<usize>>,
    /// Who is let in; `None`: everybody with a credential.
    pub allow: Setting<Option<Allow>>,
    /// Methods with rules of their own: upper case, each once.
    pub methods: Setting<Vec<(String, Allow)>>,
    /// Where tokens are looked for; `None`: where their providers look.
    pub token_from: Option<Vec<CredentialSource>>,
}

/// Who is let in: whoever meets all of these.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allow {
    /// One of these roles; empty: none is asked for.
    pub roles: Vec<String>,
    /// All of these scopes.
    pub scopes: Vec<String>,
    /// All of these claims: dotted path and text.
    pub claims: Vec<(String, String)>,
}

/// An `http://` or `https://` URL without user information and fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// `https`.
    pub tls: bool,
    /// Name or IP address, lower case, without brackets.
    pub host: String,
    /// From the URL, or that of the scheme.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
    /// As written.
    pub text: String,
}

impl Url {
    /// Reads a URL; `is_host` says what may be a host name.
    #[must_use]
    pub fn parse(text: &str, is_host: impl Fn(&str) -> bool) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let valid = |byte: u8| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte);
        if !path.bytes().all(valid) {
            return None;
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
            Some(_) | None => (authority, if tls { 443 } else { 80 }),
        };
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            None => host.to_ascii_lowercase(),
        };
        if host.parse::<std::net::IpAddr>().is_err() && !is_host(&host) {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { tls, host, port, path, text: text.to_owned() })
    }

    /// The host is this machine, by its name.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_a_port_and_a_path() {
        let parse = |text: &str| {
            Url::parse(text, |host| {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
            })
            .map(|url| format!("{} {} {} {}", url.tls, url.host, url.port, url.path))
        };
        for (text, expected) in [
            ("https://id.example.com/jwks.json", Some("true id.example.com 443 /jwks.json")),
            ("https://ID.example.com:8443", Some("true id.example.com 8443 /")),
            ("http://127.0.0.1:81?a=b", Some("false 127.0.0.1 81 /?a=b")),
            ("http://[::1]:81/x", Some("false ::1 81 /x")),
            ("http://[::1]/x", Some("false ::1 80 /x")),
            ("ftp://a/", None),
            ("https://user@a/", None),
            ("https://a/#b", None),
            ("https://a:0/", None),
            ("https://a b/", None),
            ("https:///x", None),
            ("a/b", None),
        ] {
            assert_eq!(parse(text).as_deref(), expected, "{text}");
        }
    }
}
