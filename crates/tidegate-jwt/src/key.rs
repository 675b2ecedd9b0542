//! One key: made once, with a ready verifier for each algorithm that it may check.
//!
//! The algorithm belongs to the key. A token's `alg` only chooses among the verifiers that are there, so a public key
//! can never become the secret of an HMAC (RFC 8725 section 2.1).

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};

use crate::algorithm::Algorithm;
use crate::key_error::KeyError;

/// Bytes that a secret needs, whatever the hash (RFC 7518 section 3.2, for HS256).
const SHORTEST_SECRET: usize = 32;
/// Bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bits of an RSA exponent: the library's own bound, against keys that make verifying slow.
const EXPONENT_BITS: usize = 33;

/// The curves of ES256, ES384 and ES512.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(crate) const fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::ES256,
            Self::P384 => Algorithm::ES384,
            Self::P521 => Algorithm::ES512,
        }
    }

    /// Bytes of one coordinate.
    pub(crate) const fn coordinate(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn verifier(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// The numbers of a key, from whatever form it was written in.
pub(crate) enum Material {
    /// Both big-endian; leading zeros are allowed.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// An uncompressed point: 4, x, y.
    Ec { curve: Curve, point: Vec<u8> },
    /// The 32 bytes of RFC 8032.
    Ed25519(Vec<u8>),
    /// The secret of an HMAC.
    Secret(Vec<u8>),
}

/// A key that verifies.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    /// At least one.
    verifiers: Vec<(Algorithm, Verifier)>,
}

#[derive(Clone)]
enum Verifier {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Key {
    /// `kid` of the key set that it came from.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What it may verify; never empty.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.verifiers.iter().map(|(algorithm, _)| *algorithm)
    }

    /// A key for those of `algorithms` that fit it.
    pub(crate) fn new(id: Option<String>, material: &Material, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let mut verifiers = Vec::new();
        let mut add = |algorithm: Algorithm, verifier: Verifier| {
            if verifiers.iter().all(|(other, _)| *other != algorithm) {
                verifiers.push((algorithm, verifier));
            }
        };
        let kind = match material {
            Material::Secret(secret) => {
                for &algorithm in algorithms {
                    if let Some(hash) = hmac_algorithm(algorithm) {
                        add(algorithm, Verifier::Secret(Box::new(hmac::Key::new(hash, secret))));
                    }
                }
                "a secret"
            }
            Material::Rsa { modulus, exponent } => {
                let (n, e) = check_rsa(modulus, exponent)?;
                for &algorithm in algorithms {
                    if let Some(parameters) = rsa_parameters(algorithm) {
                        let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
                        add(algorithm, Verifier::Public(key.map_err(|_| KeyError::Rejected)?));
                    }
                }
                "an RSA key"
            }
            Material::Ec { curve, point } => {
                let key = parse_point(*curve, point)?;
                if algorithms.contains(&curve.algorithm()) {
                    add(curve.algorithm(), Verifier::Public(key));
                }
                "an EC key of this curve"
            }
            Material::Ed25519(point) => {
                if point.len() != 32 {
                    return Err(KeyError::BadPoint);
                }
                if has_small_order(point) {
                    return Err(KeyError::SmallOrder);
                }
                let key = ParsedPublicKey::new(&signature::ED25519, point).map_err(|_| KeyError::BadPoint)?;
                if algorithms.contains(&Algorithm::EdDSA) {
                    add(Algorithm::EdDSA, Verifier::Public(key));
                }
                "an Ed25519 key"
            }
        };
        if verifiers.is_empty() { Err(KeyError::NoAlgorithm(kind)) } else { Ok(Self { id, verifiers }) }
    }

    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms().any(|own| own == algorithm)
    }

    /// Whether this key has made the signature with this algorithm. Takes the same time for every wrong HMAC.
    pub(crate) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifier = self.verifiers.iter().find(|(own, _)| *own == algorithm);
        match verifier {
            Some((_, Verifier::Secret(key))) => hmac::verify(key, message, signature).is_ok(),
            Some((_, Verifier::Public(key))) => key.verify_sig(message, signature).is_ok(),
            None => false,
        }
    }
}

/// Names the key, and never shows what it is made of.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<Algorithm> = self.algorithms().collect();
        f.debug_struct("Key").field("id", &self.id).field("algorithms", &algorithms).finish_non_exhaustive()
    }
}

/// Whether a point of Ed25519 is one of those whose order divides 8, in any of their encodings. For such a key anybody can
/// make a signature that verifies for every message (RFC 8032, section 5.1.7; libsodium refuses the same seven `y`).
fn has_small_order(point: &[u8]) -> bool {
    const fn beside_p(low: u8) -> [u8; 32] {
        let mut y = [0xff; 32];
        (y[0], y[31]) = (low, 0x7f);
        y
    }
    const fn small(low: u8) -> [u8; 32] {
        let mut y = [0; 32];
        y[0] = low;
        y
    }
    const SMALL: [[u8; 32]; 7] = [
        small(0),
        small(1),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        beside_p(0xec),
        beside_p(0xed),
        beside_p(0xee),
    ];
    let mut y = [0; 32];
    for (to, from) in y.iter_mut().zip(point) {
        *to = *from;
    }
    // The sign of x.
    y[31] &= 0x7f;
    SMALL.contains(&y)
}

/// Whether a secret is long enough, and no key in PEM by mistake.
pub(crate) fn check_secret(secret: &[u8], weak: bool) -> Result<(), KeyError> {
    if secret.is_empty() {
        return Err(KeyError::EmptySecret);
    }
    if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
        return Err(KeyError::SecretIsPem);
    }
    if !weak && secret.len() < SHORTEST_SECRET {
        return Err(KeyError::ShortSecret(secret.len()));
    }
    Ok(())
}

pub(crate) const fn hmac_algorithm(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// Both numbers without leading zeros, which RFC 7518 section 6.3.1.1 knows some libraries to write.
fn check_rsa<'k>(modulus: &'k [u8], exponent: &'k [u8]) -> Result<(&'k [u8], &'k [u8]), KeyError> {
    let (modulus, exponent) = (significant(modulus), significant(exponent));
    let size = bits(modulus);
    if !RSA_BITS.contains(&size) {
        return Err(KeyError::RsaSize(size));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !odd(modulus) || !odd(exponent) || exponent == [1] || bits(exponent) > EXPONENT_BITS {
        return Err(KeyError::RsaNumbers);
    }
    Ok((modulus, exponent))
}

fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(unused as usize)
}

fn parse_point(curve: Curve, point: &[u8]) -> Result<ParsedPublicKey, KeyError> {
    // Compressed points would be accepted by the library; RFC 7518 has none, and no issuer writes them.
    if point.len() != 1 + 2 * curve.coordinate() || point.first() != Some(&4) {
        return Err(KeyError::BadPoint);
    }
    ParsedPublicKey::new(curve.verifier(), point).map_err(|_| KeyError::BadPoint)
}
