//! Who sends a request: credentials, and the providers that check them.
//!
//! A provider is made when a configuration is compiled and lives on as long as nothing that shapes it changes: what it
//! knows already (keys that were fetched, tokens that were verified) must outlive snapshots. Checking a credential takes
//! no lock that others hold for long, and waits for nothing, except for keys that no one has yet.

mod api_key;
mod certificate;
mod credential;
mod identities;
mod jwt;
pub mod keys;
mod tokens;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use http::request::Parts;
use tidegate_config::Place;
use tidegate_config::valid::{self, Auth, Check as Checked, CredentialSource};

use self::api_key::ApiKeys;
use self::certificate::Certificates;
use self::credential::InQueries;
use self::identities::Identities;
use self::jwt::Tokens;
use self::keys::{Keys, RemoteKeys};
use crate::exchange::Exchange;
use crate::identity::Identity;
use crate::reject::Reason;
use crate::telemetry::metrics::AuthSeries;

pub use api_key::{FileError, KeyOf, read_file as read_keys_file};

/// Longest credential that is looked at, in bytes. Tokens are bounded by `tidegate_jwt` as well.
const MAX_CREDENTIAL: usize = 8 * 1024;

/// SHA-256 of a credential: what is compared and kept, never the credential itself.
type Digest = [u8; 32];

/// What files gave for a provider.
#[derive(Debug, Default)]
pub struct Material {
    /// Of `public_key` and of `jwks` where that is a file.
    pub keys: Vec<u8>,
    /// Of `keys_file`.
    pub api_keys: Vec<KeyOf>,
}

/// Why a provider cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its keys cannot be used.
    #[error("{0}")]
    Keys(#[from] tidegate_jwt::KeyError),
}

/// A kind of credential, and how it is checked.
#[derive(Debug)]
pub struct Provider {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// Where it stands.
    pub place: Place,
    /// Over everything that shapes it: one with the same name and fingerprint is the same provider.
    pub fingerprint: Digest,
    /// What it has decided.
    pub series: Arc<AuthSeries>,
    from: Vec<CredentialSource>,
    forwards: bool,
    check: Check,
}

#[derive(Debug)]
enum Check {
    Token(Box<Tokens>),
    ApiKey(ApiKeys),
    Certificate(Certificates),
}

/// What a provider says of a request.
#[derive(Debug)]
pub enum Verdict {
    /// There is no credential of its kind.
    Absent,
    /// There is one, and it is not good.
    Refused(Refused),
    /// Keys are being fetched that may show it to be good: ask again once that is over.
    Wanting(Arc<RemoteKeys>),
    /// It is good.
    Accepted(Arc<Identity>),
}

/// Why a credential is not good: what the client is told, and what the log may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `auth_invalid`, `auth_expired`, `bad_request`, or `connect_failed` while there are no keys at all.
    pub reason: Reason,
    /// In words that hold nothing of the credential.
    pub cause: Cause,
}

/// What is wrong with a credential, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// In our words.
    Text(&'static str),
    /// What is wrong with a token.
    Token(tidegate_jwt::Refusal),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Token(refusal) => refusal.fmt(f),
        }
    }
}

impl Refused {
    const fn new(reason: Reason, cause: &'static str) -> Self {
        Self { reason, cause: Cause::Text(cause) }
    }

    const fn invalid(cause: &'static str) -> Self {
        Self::new(Reason::AuthInvalid, cause)
    }

    /// There is no credential.
    pub(super) const MISSING: Self = Self::new(Reason::AuthMissing, "no credential");
}

impl Provider {
    /// Compiles a provider. `before` is the one of that name until now: keys that were fetched from the same place are
    /// taken over.
    ///
    /// # Errors
    /// Keys of files or of the configuration cannot be used.
    pub fn compile(
        provider: &valid::Provider,
        auth: &Auth,
        material: &Material,
        fingerprint: Digest,
        series: Arc<AuthSeries>,
        before: Option<&Self>,
    ) -> Result<Self, ProviderError> {
        let name: Arc<str> = provider.name.as_str().into();
        let identities = Identities::compile(&name, auth);
        let check = match &provider.check {
            Checked::Jwt(rules) => {
                let remote = before.and_then(Self::remote_keys);
                let keys = Keys::load(&name, rules, &material.keys, &series, remote)?;
                Check::Token(Box::new(Tokens::compile(rules, keys, identities)))
            }
            Checked::ApiKey(keys) => Check::ApiKey(ApiKeys::compile(keys, &material.api_keys, &identities)),
            Checked::Mtls(certificates) => Check::Certificate(Certificates::compile(certificates, identities)),
        };
        Ok(Self {
            name,
            place: provider.place.clone(),
            fingerprint,
            series,
            from: provider.from.clone(),
            forwards: provider.forward_token,
            check,
        })
    }

    /// The keys that it has from elsewhere.
    #[must_use]
    pub fn remote_keys(&self) -> Option<&Arc<RemoteKeys>> {
        match &self.check {
            Check::Token(tokens) => tokens.keys().remote(),
            Check::ApiKey(_) | Check::Certificate(_) => None,
        }
    }

    /// What a 401 of it names as `WWW-Authenticate` (RFC 6750, section 3; for API keys there is no registered scheme).
    #[must_use]
    pub fn scheme(&self) -> Option<&'static str> {
        match &self.check {
            Check::Token(_) => Some("Bearer"),
            Check::ApiKey(_) => Some("ApiKey"),
            Check::Certificate(_) => None,
        }
    }

    /// Who the request is from. `last`: keys that are missing are not waited for. `tokens_from`: where the route looks for
    /// tokens, if it says so.
    pub fn identify(
        &self,
        exchange: &Exchange,
        parts: &Parts,
        last: bool,
        tokens_from: Option<&[CredentialSource]>,
    ) -> Verdict {
        let certificate = exchange.conn.certificate.get();
        match &self.check {
            Check::Certificate(certificates) => {
                certificate.map_or(Verdict::Absent, |certificate| certificates.identify(certificate))
            }
            Check::Token(tokens) => {
                // An endpoint that looks into queries opens WebSockets alone.
                let in_queries = if tokens_from.is_some() { InQueries::Any } else { InQueries::WebSockets };
                match find_credential(parts, self.sources(tokens_from), in_queries) {
                    Ok(credential) => tokens.identify(&credential, certificate, last),
                    Err(verdict) => verdict,
                }
            }
            Check::ApiKey(keys) => match find_credential(parts, self.sources(tokens_from), InQueries::Any) {
                Ok(credential) => keys.identify(&credential),
                Err(verdict) => verdict,
            },
        }
    }

    /// Takes the credential out of what the backend gets, if it is not to see it.
    pub fn strip(&self, parts: &mut Parts, tokens_from: Option<&[CredentialSource]>) {
        if !self.forwards {
            credential::remove(self.sources(tokens_from), parts);
        }
    }

    /// Where its credentials stand: a route may say that of tokens.
    fn sources<'a>(&'a self, tokens_from: Option<&'a [CredentialSource]>) -> &'a [CredentialSource] {
        match &self.check {
            Check::Token(_) => tokens_from.unwrap_or(&self.from),
            Check::ApiKey(_) | Check::Certificate(_) => &self.from,
        }
    }

    /// Cookies that may hold its credential.
    pub fn cookies<'a>(&'a self, tokens_from: Option<&'a [CredentialSource]>) -> impl Iterator<Item = &'a str> {
        self.sources(tokens_from).iter().filter_map(|source| match source {
            CredentialSource::Cookie(name) => Some(name.as_str()),
            CredentialSource::Bearer | CredentialSource::Header(_) | CredentialSource::Query(_) => None,
        })
    }
}

/// The credential of a request that comes `from` one of these places.
///
/// # Errors
/// What is said of a request that has none, or one that cannot be looked at.
fn find_credential<'a>(
    parts: &'a Parts,
    from: &[CredentialSource],
    in_queries: InQueries,
) -> Result<Cow<'a, [u8]>, Verdict> {
    let found = credential::find(from, parts, in_queries).map_err(Verdict::Refused)?;
    let credential = found.ok_or(Verdict::Absent)?;
    if credential.len() > MAX_CREDENTIAL {
        return Err(Verdict::Refused(Refused::invalid("the credential is too long")));
    }
    Ok(credential)
}

/// SHA-256.
fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    for (to, from) in digest.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    digest
}
