//! Who may use a route: authentication by one of its providers, then authorisation.

use std::sync::Arc;

use http::request::Parts;
use tidegate_config::valid::{self, CredentialSource};

use super::authn::keys::RemoteKeys;
use super::authn::{Provider, Refused, Verdict};
use super::authz::{Authz, Pass};
use crate::exchange::Exchange;
use crate::identity::Identity;
use crate::reject::{Reason, Reject};

/// A route's rules; a route that is open to all has none.
#[derive(Debug, Default)]
pub struct Access(Option<Box<Rules>>);

#[derive(Debug)]
struct Rules {
    /// In the order in which they are asked; not empty.
    providers: Box<[Arc<Provider>]>,
    authz: Authz,
    /// Where tokens stand, if not where their providers look.
    tokens_from: Option<Box<[CredentialSource]>>,
    challenge: Challenge,
}

/// `WWW-Authenticate` of a 401 (RFC 9110, section 11.6.1; RFC 6750, section 3). None if certificates alone are accepted:
/// no answer can ask for one.
#[derive(Debug)]
struct Challenge {
    missing: Option<Arc<str>>,
    invalid: Option<Arc<str>>,
}

/// What the providers say together.
enum Found {
    Identity(usize, Arc<Identity>),
    /// Fetched keys may show more.
    Wanting(Arc<RemoteKeys>),
    Nobody(usize, Refused),
}

impl Access {
    /// Compiles what a route demands; `providers` are all of the configuration, in its order.
    #[must_use]
    pub fn compile(access: &valid::Access, providers: &[Arc<Provider>]) -> Self {
        if !access.required.value {
            return Self(None);
        }
        let named = access.providers.value.iter().filter_map(|index| providers.get(*index).cloned());
        let providers: Box<[Arc<Provider>]> = named.collect();
        let challenge = Challenge::of(&providers);
        let tokens_from = access.token_from.clone().map(Into::into);
        Self(Some(Box::new(Rules { providers, authz: Authz::compile(access), tokens_from, challenge })))
    }

    /// Cookies that may hold a credential.
    #[must_use]
    pub fn cookies(&self) -> Vec<String> {
        let Some(rules) = &self.0 else { return Vec::new() };
        let cookies = rules.providers.iter().flat_map(|provider| provider.cookies(rules.tokens_from.as_deref()));
        cookies.map(str::to_owned).collect()
    }

    /// Whether everybody may use the route.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Lets a request in. Notes who it is from in `exchange`, and takes the credential out of `parts` if backends are not
    /// to see it.
    ///
    /// # Errors
    /// `auth_missing`, `auth_invalid`, `auth_expired`, `forbidden`; `bad_request` if two readers could find different
    /// credentials; `connect_failed` while there are no keys that a token could be checked with.
    pub async fn admit(&self, exchange: &Exchange, parts: &mut Parts) -> Result<Pass, Reject> {
        let Some(rules) = &self.0 else { return Ok(Pass::open()) };
        match rules.find(exchange, parts, false) {
            // Boxed: hardly any request waits here.
            Found::Wanting(keys) => {
                Box::pin(keys.wanted()).await;
                let found = rules.find(exchange, parts, true);
                rules.decide(found, exchange, parts)
            }
            found => rules.decide(found, exchange, parts),
        }
    }

    /// What would become of a request, for `explain`: nothing is waited for and nothing is counted.
    ///
    /// # Errors
    /// As [`Access::admit`].
    pub fn judge(&self, exchange: &Exchange, parts: &Parts) -> Result<Option<Arc<Identity>>, Reject> {
        let Some(rules) = &self.0 else { return Ok(None) };
        match rules.find(exchange, parts, true) {
            Found::Identity(_, identity) => match rules.authz.permit(&identity, &parts.method) {
                Some(Pass { .. }) => Ok(Some(identity)),
                None => Err(Reject::new(Reason::Forbidden)),
            },
            Found::Nobody(_, refused) => Err(rules.refusal(refused)),
            Found::Wanting(_) => Err(Reject::new(Reason::ConnectFailed)),
        }
    }
}

impl Rules {
    /// Asks the providers in their order; the first that accepts decides.
    fn find(&self, exchange: &Exchange, parts: &Parts, last: bool) -> Found {
        let mut nobody = (0, Refused::MISSING);
        let mut wanting = None;
        for (index, provider) in self.providers.iter().enumerate() {
            match provider.identify(exchange, parts, last, self.tokens_from.as_deref()) {
                Verdict::Absent => {}
                Verdict::Accepted(identity) => return Found::Identity(index, identity),
                Verdict::Wanting(keys) => wanting = wanting.or(Some(keys)),
                Verdict::Refused(refused) if weight(refused.reason) > weight(nobody.1.reason) => {
                    nobody = (index, refused)
                }
                Verdict::Refused(_) => {}
            }
        }
        wanting.map_or(Found::Nobody(nobody.0, nobody.1), Found::Wanting)
    }

    fn decide(&self, found: Found, exchange: &Exchange, parts: &mut Parts) -> Result<Pass, Reject> {
        let (index, identity) = match found {
            Found::Identity(index, identity) => (index, identity),
            Found::Nobody(index, refused) => {
                if let Some(provider) = self.providers.get(index) {
                    provider.series.denied(refused.reason);
                }
                return Err(self.refusal(refused));
            }
            Found::Wanting(_) => return Err(Reject::new(Reason::ConnectFailed)),
        };
        exchange.facts.identified(Arc::clone(&identity));
        let Some(provider) = self.providers.get(index) else { return Err(Reject::new(Reason::Internal)) };
        let Some(pass) = self.authz.permit(&identity, &parts.method) else {
            provider.series.denied(Reason::Forbidden);
            return Err(Reject::new(Reason::Forbidden));
        };
        provider.series.allowed();
        provider.strip(parts, self.tokens_from.as_deref());
        Ok(pass)
    }

    fn refusal(&self, refused: Refused) -> Reject {
        let mut reject = Reject::new(refused.reason).cause(refused.cause.to_string());
        match refused.reason {
            Reason::AuthMissing => match &self.challenge.missing {
                Some(challenge) => reject.challenge = Some(Arc::clone(challenge)),
                // Nothing that the client could send would help: it has to connect in another way.
                None => reject = Reject::new(Reason::Forbidden).cause("no client certificate"),
            },
            Reason::AuthInvalid | Reason::AuthExpired => reject.challenge.clone_from(&self.challenge.invalid),
            _ => {}
        }
        reject
    }
}

/// Of several refusals the one that says most: what was good once, before what never was, before nothing.
fn weight(reason: Reason) -> u8 {
    match reason {
        Reason::AuthMissing => 0,
        Reason::AuthInvalid => 1,
        Reason::AuthExpired => 2,
        Reason::ConnectFailed => 3,
        _ => 4,
    }
}

impl Challenge {
    fn of(providers: &[Arc<Provider>]) -> Self {
        let mut schemes: Vec<&str> = Vec::new();
        for scheme in providers.iter().filter_map(|provider| provider.scheme()) {
            if !schemes.contains(&scheme) {
                schemes.push(scheme);
            }
        }
        let written = |error: &str| {
            let one = |scheme: &&str| match *scheme {
                "Bearer" => format!("Bearer realm=\"tidegate\"{error}"),
                scheme => format!("{scheme} realm=\"tidegate\""),
            };
            let text = schemes.iter().map(one).collect::<Vec<_>>().join(", ");
            (!text.is_empty()).then(|| Arc::from(text))
        };
        Self { missing: written(""), invalid: written(", error=\"invalid_token\"") }
    }
}
