//! As much of DER as it takes to find the numbers of a key: in SPKI, PKCS #1, PKCS #8 and certificates.
//!
//! Only the structure is read here; whether the numbers make a key is asked where the key is made.

use crate::key::{Curve, Material};
use crate::key_error::KeyError;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The version of a certificate: context, constructed, 0.
const VERSION: u8 = 0xa0;

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.132.0.35
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// The kind of a key, as its algorithm identifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa,
    Ec(Curve),
    Ed25519,
}

/// The key of a `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
pub(crate) fn public_key(der: &[u8]) -> Result<Material, KeyError> {
    let mut outer = Reader(der);
    let info = outer.take(SEQUENCE)?;
    outer.end()?;
    spki(info)
}

/// The key of an `RSAPublicKey` (RFC 8017 appendix A.1.1).
pub(crate) fn rsa_public_key(der: &[u8]) -> Result<Material, KeyError> {
    let mut outer = Reader(der);
    let mut numbers = Reader(outer.take(SEQUENCE)?);
    outer.end()?;
    let (modulus, exponent) = (numbers.positive()?, numbers.positive()?);
    numbers.end()?;
    Ok(Material::Rsa { modulus, exponent })
}

/// The key of a certificate (RFC 5280 section 4.1); nothing else of it is looked at.
pub(crate) fn certificate_key(der: &[u8]) -> Result<Material, KeyError> {
    let mut certificate = Reader(Reader(der).take(SEQUENCE)?);
    let mut signed = Reader(certificate.take(SEQUENCE)?);
    if signed.0.first() == Some(&VERSION) {
        signed.take(VERSION)?;
    }
    signed.take(INTEGER)?;
    // The algorithm of its signature, issuer, dates, subject.
    for _ in 0..4 {
        signed.take(SEQUENCE)?;
    }
    spki(signed.take(SEQUENCE)?)
}

/// The kind of a private key in PKCS #8 (RFC 5958).
pub(crate) fn private_key_kind(der: &[u8]) -> Result<Kind, KeyError> {
    let mut info = Reader(Reader(der).take(SEQUENCE)?);
    info.take(INTEGER)?;
    kind(info.take(SEQUENCE)?)
}

/// The curve of an `ECPrivateKey` (RFC 5915), if it says one.
pub(crate) fn ec_private_key_curve(der: &[u8]) -> Result<Curve, KeyError> {
    const PARAMETERS: u8 = 0xa0;
    const OCTETS: u8 = 0x04;
    let mut key = Reader(Reader(der).take(SEQUENCE)?);
    key.take(INTEGER)?;
    key.take(OCTETS)?;
    let mut parameters = Reader(key.take(PARAMETERS)?);
    curve(parameters.take(IDENTIFIER)?)
}

fn spki(info: &[u8]) -> Result<Material, KeyError> {
    let mut info = Reader(info);
    let kind = kind(info.take(SEQUENCE)?)?;
    // A whole number of bytes: none of the last one's bits is unused.
    let [0, key @ ..] = info.take(BIT_STRING)? else { return Err(KeyError::Der) };
    info.end()?;
    match kind {
        Kind::Rsa => rsa_public_key(key),
        Kind::Ec(curve) => Ok(Material::Ec { curve, point: key.to_vec() }),
        Kind::Ed25519 => Ok(Material::Ed25519(key.to_vec())),
    }
}

fn kind(algorithm: &[u8]) -> Result<Kind, KeyError> {
    let mut algorithm = Reader(algorithm);
    let name = algorithm.take(IDENTIFIER)?;
    match name {
        RSA => Ok(Kind::Rsa),
        EC => curve(algorithm.take(IDENTIFIER).map_err(|_| KeyError::UnknownCurve)?).map(Kind::Ec),
        ED25519 => Ok(Kind::Ed25519),
        _ => Err(KeyError::UnknownKind),
    }
}

fn curve(name: &[u8]) -> Result<Curve, KeyError> {
    match name {
        P256 => Ok(Curve::P256),
        P384 => Ok(Curve::P384),
        P521 => Ok(Curve::P521),
        _ => Err(KeyError::UnknownCurve),
    }
}

/// What is left of a sequence.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    /// The contents of the next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Result<&'d [u8], KeyError> {
        let (&[found, first], mut rest) = self.0.split_first_chunk().ok_or(KeyError::Der)?;
        if found != tag {
            return Err(KeyError::Der);
        }
        // Up to 127 in the byte itself, else in the one, two or three bytes that follow; no key needs more.
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x83 => {
                let (bytes, behind) = rest.split_at_checked(usize::from(first - 0x80)).ok_or(KeyError::Der)?;
                rest = behind;
                bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte))
            }
            _ => return Err(KeyError::Der),
        };
        let (contents, behind) = rest.split_at_checked(length).ok_or(KeyError::Der)?;
        self.0 = behind;
        Ok(contents)
    }

    fn positive(&mut self) -> Result<Vec<u8>, KeyError> {
        let number = self.take(INTEGER)?;
        // The highest bit is the sign.
        if number.first().is_none_or(|first| first & 0x80 != 0) { Err(KeyError::Der) } else { Ok(number.to_vec()) }
    }

    fn end(&self) -> Result<(), KeyError> {
        if self.0.is_empty() { Ok(()) } else { Err(KeyError::Der) }
    }
}
