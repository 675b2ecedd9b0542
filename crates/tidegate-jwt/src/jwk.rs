//! Keys in JSON: RFC 7517, 7518 section 6, and 8037 section 2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::json::{self, Fault};
use crate::key::{Curve, Key, Material, check_secret};
use crate::key_error::KeyError;
use crate::key_set::{LeftOut, MAX_KEYS, Symmetric};

/// Levels in a document: the set, its list, a key, and what a key may bring along.
const DEPTH: usize = 16;
/// Characters of a `kid` that a report shows.
const SHOWN: usize = 64;

/// The keys of a set or of a single JWK, and those that are left out.
pub(crate) fn keys(
    document: &[u8],
    algorithms: &[Algorithm],
    symmetric: Symmetric,
) -> Result<(Vec<Key>, Vec<LeftOut>), KeyError> {
    let mut document = json::object(document, DEPTH).map_err(|fault| {
        KeyError::Json(match fault {
            Fault::Syntax => "not a JSON object",
            Fault::Duplicate => "a member twice",
            Fault::TooDeep => "nested too deep",
        })
    })?;
    let listed = match document.remove("keys") {
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(KeyError::Json("`keys` is not a list")),
        None if document.contains_key("kty") => vec![Value::Object(document)],
        None => return Err(KeyError::Json("neither `keys` nor `kty`")),
    };
    if listed.len() > MAX_KEYS {
        return Err(KeyError::TooManyKeys);
    }
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    for jwk in &listed {
        match key(jwk, algorithms, symmetric) {
            Ok(key) => keys.push(key),
            Err(why) => {
                let kid = jwk.get("kid").and_then(Value::as_str).map(|kid| kid.chars().take(SHOWN).collect());
                left_out.push(LeftOut { kid, why });
            }
        }
    }
    Ok((keys, left_out))
}

fn key(jwk: &Value, algorithms: &[Algorithm], symmetric: Symmetric) -> Result<Key, KeyError> {
    let jwk = jwk.as_object().ok_or(KeyError::Json("a key is not an object"))?;
    may_verify(jwk)?;
    let id = optional(jwk, "kid")?.map(str::to_owned);
    let material = material(jwk, symmetric)?;
    match optional(jwk, "alg")? {
        None => Key::new(id, &material, algorithms),
        Some(name) => {
            let only = Algorithm::parse(name).filter(|own| algorithms.contains(own)).ok_or(KeyError::OtherAlgorithm)?;
            Key::new(id, &material, &[only])
        }
    }
}

/// RFC 7517 sections 4.2 and 4.3: both are optional, and what they say binds.
fn may_verify(jwk: &Map<String, Value>) -> Result<(), KeyError> {
    if optional(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(KeyError::NotForVerifying("use"));
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(_) => Err(KeyError::NotForVerifying("key_ops")),
    }
}

fn material(jwk: &Map<String, Value>, symmetric: Symmetric) -> Result<Material, KeyError> {
    let kind = optional(jwk, "kty")?.ok_or(KeyError::Member("kty"))?;
    if kind == "oct" {
        if symmetric == Symmetric::Refused {
            return Err(KeyError::PublishedSecret);
        }
        let secret = bytes(jwk, "k")?;
        check_secret(&secret, false)?;
        return Ok(Material::Secret(secret));
    }
    if jwk.contains_key("d") {
        return Err(KeyError::PrivateKey);
    }
    match kind {
        "RSA" => Ok(Material::Rsa { modulus: bytes(jwk, "n")?, exponent: bytes(jwk, "e")? }),
        "EC" => {
            let curve = match optional(jwk, "crv")?.ok_or(KeyError::Member("crv"))? {
                "P-256" => Curve::P256,
                "P-384" => Curve::P384,
                "P-521" => Curve::P521,
                _ => return Err(KeyError::UnknownCurve),
            };
            let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
            // Each in full length (RFC 7518 section 6.2.1.2): together they would hide a shift between them.
            if x.len() != curve.coordinate() || y.len() != curve.coordinate() {
                return Err(KeyError::BadPoint);
            }
            Ok(Material::Ec { curve, point: [&[4], x.as_slice(), &y].concat() })
        }
        "OKP" => match optional(jwk, "crv")?.ok_or(KeyError::Member("crv"))? {
            "Ed25519" => Ok(Material::Ed25519(bytes(jwk, "x")?)),
            _ => Err(KeyError::UnknownCurve),
        },
        _ => Err(KeyError::UnknownKind),
    }
}

fn optional<'j>(jwk: &'j Map<String, Value>, name: &'static str) -> Result<Option<&'j str>, KeyError> {
    jwk.get(name).map(|value| value.as_str().ok_or(KeyError::Member(name))).transpose()
}

fn bytes(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = optional(jwk, name)?.ok_or(KeyError::Member(name))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Member(name))
}
