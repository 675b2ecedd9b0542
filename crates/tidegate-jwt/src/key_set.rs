//! The keys of one issuer, and which of them a token is tried with.

use std::sync::Arc;

use crate::algorithm::Algorithm;
use crate::key::{Key, Material, check_secret};
use crate::key_error::KeyError;
use crate::refusal::Refusal;
use crate::{jwk, pem};

/// Keys that one set may have.
pub const MAX_KEYS: usize = 100;

/// Keys that one token is tried with: each costs a check of a signature, for anybody who sends a token.
pub const MAX_TRIES: usize = 4;

/// Whether secrets (`oct`) in a document of keys are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetric {
    /// Left out: the document comes from a URL, where others may read it.
    Refused,
    /// Taken: the document is a file of ours.
    Allowed,
}

/// A key of a document that is not in the set made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its `kid`, at most 64 characters of it.
    pub kid: Option<String>,
    /// Why.
    pub why: KeyError,
}

/// Keys, ready to verify. A clone is a reference to the same keys.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Arc<[Key]>,
}

impl KeySet {
    /// One key from the secret of an HMAC; of `algorithms`, those of HMAC count. Without `weak` the secret needs 32
    /// bytes.
    ///
    /// # Errors
    /// A [`KeyError`] if the secret is empty, short, or a key in PEM, or if no algorithm fits.
    pub fn from_secret(secret: &[u8], algorithms: &[Algorithm], weak: bool) -> Result<Self, KeyError> {
        check_secret(secret, weak)?;
        let key = Key::new(None, &Material::Secret(secret.to_vec()), algorithms)?;
        Ok(Self { keys: [key].into() })
    }

    /// The keys of all PEM blocks: `PUBLIC KEY` (SPKI), `RSA PUBLIC KEY` (PKCS #1) and `CERTIFICATE`, of which only the
    /// key is read: neither its dates nor who signed it. They have no `kid`, so a token's `kid` does not matter.
    ///
    /// # Errors
    /// A [`KeyError`] if any block is not usable: a file that was written for us should be right as a whole.
    pub fn from_pem(pem: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let materials = pem::public_keys(pem)?;
        let keys: Result<Vec<Key>, KeyError> =
            materials.iter().map(|material| Key::new(None, material, algorithms)).collect();
        Self::new(keys?, None)
    }

    /// The usable keys of a JWK Set or of a single JWK (RFC 7517), and what was left out and why.
    ///
    /// Left out are kinds and curves that are not known, keys that may not verify (`use`, `key_ops`) or whose `alg` is
    /// not among `algorithms`, private keys, weak ones, and secrets unless `symmetric` allows them.
    ///
    /// # Errors
    /// A [`KeyError`] if the document cannot be read, has more than [`MAX_KEYS`] keys, or has no usable one.
    pub fn from_jwks(
        json: &[u8],
        algorithms: &[Algorithm],
        symmetric: Symmetric,
    ) -> Result<(Self, Vec<LeftOut>), KeyError> {
        let (keys, left_out) = jwk::keys(json, algorithms, symmetric)?;
        let set = Self::new(keys, left_out.first().map(|left| left.why.clone()))?;
        Ok((set, left_out))
    }

    fn new(keys: Vec<Key>, why_none: Option<KeyError>) -> Result<Self, KeyError> {
        match keys.len() {
            0 => Err(KeyError::NothingUsable(why_none.map(Box::new))),
            1..=MAX_KEYS => Ok(Self { keys: keys.into() }),
            _ => Err(KeyError::TooManyKeys),
        }
    }

    /// Its keys, in the order of the document.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// How many keys there are; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key has this `kid`.
    #[must_use]
    pub fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.id() == Some(kid))
    }

    /// Tries the keys that come into question, at most [`MAX_TRIES`].
    ///
    /// With a `kid`, those of exactly this name; a set in which no key has a name has nothing to compare it with, and
    /// does not look at it. Without one, all that fit the algorithm.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        let kid = kid.filter(|_| self.keys.iter().any(|key| key.id().is_some()));
        if kid.is_some_and(|kid| !self.has_kid(kid)) {
            return Err(Refusal::UnknownKey);
        }
        let named = self.keys.iter().filter(|key| kid.is_none() || key.id() == kid);
        let mut fitting = named.filter(|key| key.fits(algorithm)).take(MAX_TRIES).peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::AlgorithmNotAllowed);
        }
        if fitting.any(|key| key.has_signed(algorithm, message, signature)) {
            Ok(())
        } else {
            Err(Refusal::BadSignature)
        }
    }
}
