//! Signed tokens: known ones are looked up, new ones verified.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_config::valid::JwtRules;
use tidegate_jwt::{Claims, Refusal, Rules};

use super::identities::{Identities, words};
use super::keys::{Current, Keys};
use super::tokens::Verified;
use super::{Cause, Digest, Refused, Verdict, digest_of};
use crate::identity::{ClientCertificate, CredentialKind, Identity, claim};
use crate::reject::Reason;
use crate::time;

/// How tokens of one provider are checked.
#[derive(Debug)]
pub(super) struct Tokens {
    rules: Rules,
    keys: Keys,
    verified: Verified,
    identities: Identities,
    roles: Box<str>,
    scopes: Option<Box<str>>,
}

impl Tokens {
    pub(super) fn compile(rules: &JwtRules, keys: Keys, identities: Identities) -> Self {
        Self {
            rules: Rules {
                issuer: rules.issuer.clone(),
                audience: rules.audience.clone(),
                leeway: rules.leeway.as_secs(),
                typ: rules.typ.clone(),
                require_exp: true,
            },
            keys,
            verified: Verified::new(),
            identities,
            roles: rules.roles_claim.as_str().into(),
            scopes: rules.scopes_claim.as_deref().map(Into::into),
        }
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whose token it is. With `last`, keys that are missing make it invalid.
    pub(super) fn identify(&self, token: &[u8], certificate: Option<&ClientCertificate>, last: bool) -> Verdict {
        let digest = digest_of(token);
        let now = time::unix_ms() / 1_000;
        let Some(keys) = self.keys.current() else { return self.without_keys(last) };
        if let Some(known) = self.verified.get(&digest, keys.number, now) {
            return bound(known.thumbprint, certificate)
                .map_or_else(Verdict::Refused, |()| Verdict::Accepted(known.identity));
        }
        match self.verify(token, &keys, now) {
            Ok(claims) => self.accept(digest, claims, certificate, keys.number, now),
            Err(Refusal::UnknownKey) if !last => match self.keys.remote() {
                Some(remote) => Verdict::Wanting(Arc::clone(remote)),
                None => Verdict::Refused(refused(Refusal::UnknownKey)),
            },
            Err(refusal) => Verdict::Refused(refused(refusal)),
        }
    }

    fn verify(&self, token: &[u8], keys: &Current, now: u64) -> Result<Claims, Refusal> {
        tidegate_jwt::read(token)?.verify(&keys.set, &self.rules, now)
    }

    fn without_keys(&self, last: bool) -> Verdict {
        match self.keys.remote() {
            Some(remote) if !last => Verdict::Wanting(Arc::clone(remote)),
            Some(_) | None => Verdict::Refused(Refused::new(
                Reason::ConnectFailed,
                "no keys could be fetched yet to check tokens with",
            )),
        }
    }

    fn accept(
        &self,
        digest: Digest,
        claims: Claims,
        certificate: Option<&ClientCertificate>,
        keys: u64,
        now: u64,
    ) -> Verdict {
        let (thumbprint, expires) = (claims.thumbprint, claims.expires);
        let identity = Arc::new(self.identity(claims.members));
        self.verified.keep(digest, &identity, thumbprint, expires, keys, now);
        bound(thumbprint, certificate).map_or_else(Verdict::Refused, |()| Verdict::Accepted(identity))
    }

    fn identity(&self, claims: Map<String, Value>) -> Identity {
        let roles = words(claim(&claims, &self.roles));
        let scopes = match &self.scopes {
            Some(path) => words(claim(&claims, path)),
            None => words(claims.get("scope").or_else(|| claims.get("scp"))),
        };
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("").to_owned();
        self.identities.make(CredentialKind::Token, &subject, roles, scopes, claims)
    }
}

/// A token that is bound to a certificate is good on connections with that certificate alone (RFC 8705, section 3).
fn bound(thumbprint: Option<[u8; 32]>, certificate: Option<&ClientCertificate>) -> Result<(), Refused> {
    match thumbprint {
        Some(thumbprint) if certificate.is_none_or(|shown| shown.thumbprint != thumbprint) => {
            Err(Refused::invalid("the token is bound to another certificate"))
        }
        Some(_) | None => Ok(()),
    }
}

fn refused(refusal: Refusal) -> Refused {
    let reason = if refusal.reason_is_expired() { Reason::AuthExpired } else { Reason::AuthInvalid };
    Refused { reason, cause: Cause::Token(refusal) }
}
