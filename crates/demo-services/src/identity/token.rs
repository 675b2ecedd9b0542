//! Tokens: access tokens that say who somebody is, and refresh tokens that say nothing.
//!
//! Source: RFC 7519 for the claims, signed with HS256 of RFC 7518, section 3.2.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::user::User;
use crate::fault::Fault;

/// Who issues, as in the claim `iss`.
pub(crate) const ISSUER: &str = "demo-services";
/// How long an access token lasts.
pub(crate) const ACCESS_LIFETIME: Duration = Duration::from_secs(3_600);
/// Random bytes of a refresh token, and of a secret that nobody gave.
const RANDOM_BYTES: usize = 32;
/// A longer token is not ours.
const TOKEN_MAX_BYTES: usize = 4_096;

/// What an access token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// User id.
    pub(crate) sub: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) iss: String,
    /// Seconds since 1970.
    pub(crate) iat: i64,
    /// Seconds since 1970.
    pub(crate) exp: i64,
}

/// Issues and verifies.
pub(crate) struct Tokens {
    signs: EncodingKey,
    verifies: DecodingKey,
}

impl std::fmt::Debug for Tokens {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Signs with the bytes of `secret`.
    pub(crate) fn new(secret: &str) -> Self {
        let secret = secret.as_bytes();
        Self { signs: EncodingKey::from_secret(secret), verifies: DecodingKey::from_secret(secret) }
    }

    /// An access token for `user`.
    ///
    /// # Errors
    /// `Internal`.
    pub(crate) fn issue(&self, user: &User, now: Timestamp) -> Result<String, Fault> {
        let iat = now.as_second();
        let claims = Claims {
            sub: user.id.to_string(),
            email: user.profile.email.clone(),
            name: user.profile.name.clone(),
            roles: user.roles.clone(),
            iss: ISSUER.to_owned(),
            iat,
            exp: iat.saturating_add_unsigned(ACCESS_LIFETIME.as_secs()),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signs).map_err(|_| Fault::Internal)
    }

    /// What a token says, if it is ours and has not expired at `now`.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Fault> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // Ours is checked below, against the time that we are given.
        validation.validate_exp = false;
        validation.validate_aud = false;
        let wrong = Fault::Unauthenticated("the token is not valid");
        if token.len() > TOKEN_MAX_BYTES {
            return Err(wrong);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifies, &validation).map_err(|_| wrong)?.claims;
        match now.as_second() < claims.exp {
            true => Ok(claims),
            false => Err(Fault::Unauthenticated("the token has expired")),
        }
    }
}

/// 256 random bits as text, in the alphabet of URLs.
///
/// # Errors
/// `Internal`.
pub(crate) fn random_token() -> Result<String, Fault> {
    let mut bytes = [0; RANDOM_BYTES];
    rand::fill(&mut bytes).map_err(|_| Fault::Internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// How a refresh token is stored: whoever reads the store cannot use it. The token is random, so it needs no salt.
pub(crate) fn fingerprint(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::user::Profile;
    use super::*;
    use crate::ids::UserId;

    #[test]
    fn a_token_is_good_for_its_secret_and_its_time() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let profile = Profile { email: "a@b.c".to_owned(), name: "A".to_owned() };
        let user = User::new(UserId(7), profile, "hash".to_owned(), now);
        let tokens = Tokens::new("a secret of tests");
        let token = tokens.issue(&user, now).unwrap();
        let claims = tokens.verify(&token, now).unwrap();
        assert_eq!((claims.sub.as_str(), claims.email.as_str()), ("usr-000007", "a@b.c"));
        assert_eq!(claims.exp - claims.iat, 3_600);

        let later = now.checked_add(jiff::SignedDuration::from_secs(3_600)).unwrap();
        assert_eq!(tokens.verify(&token, later), Err(Fault::Unauthenticated("the token has expired")));
        let wrong = Err(Fault::Unauthenticated("the token is not valid"));
        assert_eq!(Tokens::new("another").verify(&token, now), wrong);
        assert_eq!(tokens.verify("", now), wrong);
        // Claims of one token, signature of another.
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Claims { sub: "admin".to_owned(), ..claims }).unwrap());
        assert_eq!(tokens.verify(&format!("{header}.{forged}.{signature}"), now), wrong);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(tokens.verify(&format!("{none}.{forged}."), now), wrong);
    }
}
