//! Signs tokens: for development and tests. The gateway itself never issues any.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::der::{self, Kind};
use crate::key::{Curve, check_secret, hmac_algorithm};
use crate::key_error::KeyError;
use crate::pem::{self, PRIVATE};

/// A key that signs with one algorithm.
pub struct SigningKey {
    algorithm: Algorithm,
    signer: Signer,
}

enum Signer {
    Secret(Box<hmac::Key>),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Signs with an HMAC. Without `weak` the secret needs 32 bytes.
    ///
    /// # Errors
    /// A [`KeyError`] if the secret would not do for verifying, or if the algorithm is not one of HMAC.
    pub fn from_secret(secret: &[u8], algorithm: Algorithm, weak: bool) -> Result<Self, KeyError> {
        check_secret(secret, weak)?;
        let hash = hmac_algorithm(algorithm).ok_or(KeyError::NoAlgorithm("a secret"))?;
        Ok(Self { algorithm, signer: Signer::Secret(Box::new(hmac::Key::new(hash, secret))) })
    }

    /// Signs with the private key of the first block: `PRIVATE KEY` (PKCS #8), `RSA PRIVATE KEY` (PKCS #1) or
    /// `EC PRIVATE KEY` (RFC 5915). The key fixes the algorithm, except for RSA, where it is RS256 unless given.
    ///
    /// # Errors
    /// A [`KeyError`] if there is no such key or the algorithm does not fit it.
    pub fn from_pem(pem: &[u8], algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let blocks = pem::blocks(pem)?;
        // OpenSSL writes the curve into a block of its own before the key.
        let block = blocks.iter().find(|block| block.label != "EC PARAMETERS").ok_or(KeyError::Pem("no key"))?;
        let key = match block.label {
            "PRIVATE KEY" => match der::private_key_kind(&block.der)? {
                Kind::Rsa => Self::rsa(RsaKeyPair::from_pkcs8(&block.der), algorithm)?,
                Kind::Ec(curve) => Self::ec(curve, EcdsaKeyPair::from_pkcs8(signing(curve), &block.der))?,
                Kind::Ed25519 => {
                    let pair = Ed25519KeyPair::from_pkcs8(&block.der).map_err(|_| KeyError::Rejected)?;
                    Self { algorithm: Algorithm::EdDSA, signer: Signer::Ed25519(pair) }
                }
            },
            "RSA PRIVATE KEY" => Self::rsa(RsaKeyPair::from_der(&block.der), algorithm)?,
            "EC PRIVATE KEY" => {
                let curve = der::ec_private_key_curve(&block.der)?;
                Self::ec(curve, EcdsaKeyPair::from_private_key_der(signing(curve), &block.der))?
            }
            label if PRIVATE.contains(&label) => return Err(KeyError::Pem("the key is encrypted or of OpenSSH")),
            label => return Err(KeyError::UnknownBlock(label.to_owned())),
        };
        match algorithm {
            Some(wanted) if wanted != key.algorithm => Err(KeyError::NoAlgorithm("the private key")),
            _ => Ok(key),
        }
    }

    fn rsa<E>(pair: Result<RsaKeyPair, E>, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let algorithm = algorithm.unwrap_or(Algorithm::RS256);
        let encoding: &'static dyn RsaEncoding = match algorithm {
            Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
            Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
            Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
            Algorithm::PS256 => &signature::RSA_PSS_SHA256,
            Algorithm::PS384 => &signature::RSA_PSS_SHA384,
            Algorithm::PS512 => &signature::RSA_PSS_SHA512,
            _ => return Err(KeyError::NoAlgorithm("an RSA key")),
        };
        let pair = pair.map_err(|_| KeyError::Rejected)?;
        Ok(Self { algorithm, signer: Signer::Rsa(Box::new(pair), encoding) })
    }

    fn ec<E>(curve: Curve, pair: Result<EcdsaKeyPair, E>) -> Result<Self, KeyError> {
        Ok(Self { algorithm: curve.algorithm(), signer: Signer::Ec(pair.map_err(|_| KeyError::Rejected)?) })
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature over the first two parts of a token, with the point between them; not encoded.
    ///
    /// # Errors
    /// [`KeyError::NotSigned`] if the crypto library fails, for lack of memory or randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Signer::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).map_err(|_| KeyError::NotSigned)?;
                Ok(signature)
            }
            Signer::Ec(pair) => {
                pair.sign(&random, message).map(|made| made.as_ref().to_vec()).map_err(|_| KeyError::NotSigned)
            }
            Signer::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// A token of these claims. The header is `typ: JWT`, then what `header` says, then the key's `alg`, which nothing
/// overrides. Nothing is checked or added: a token without `exp`, or one that has expired, can be made on purpose.
///
/// # Errors
/// As [`SigningKey::sign`].
pub fn mint(header: &Map<String, Value>, claims: &Map<String, Value>, key: &SigningKey) -> Result<String, KeyError> {
    let mut members = Map::new();
    members.insert("typ".to_owned(), Value::from("JWT"));
    members.extend(header.clone());
    members.insert("alg".to_owned(), Value::from(key.algorithm.name()));
    let part = |members: &Map<String, Value>| {
        let json = serde_json::to_vec(members).map_err(|_| KeyError::NotSigned)?;
        Ok(URL_SAFE_NO_PAD.encode(json))
    };
    let mut token = part(&members)?;
    token.push('.');
    token.push_str(&part(claims)?);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn signing(curve: Curve) -> &'static signature::EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

/// Names the algorithm, and never shows the key.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
