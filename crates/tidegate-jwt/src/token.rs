//! Reads a token in the compact form of RFC 7515 and checks it against keys and rules.
//!
//! Only the header is looked into before the signature has been checked: what a stranger sent costs one small parse.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::claims::{Claims, Rules, same_type};
use crate::json::{self, Fault};
use crate::key_set::KeySet;
use crate::refusal::{Part, Refusal};

/// Bytes of a token, all three parts and the points.
pub const MAX_TOKEN: usize = 8 * 1024;

/// Levels of objects and arrays in the header and in the claims, the outermost counted.
pub const MAX_DEPTH: usize = 8;

/// A token whose form and header are good. Nothing is verified: only [`verify`](Self::verify) makes claims of it.
#[derive(Clone, Debug)]
pub struct Unverified<'t> {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    header: &'t [u8],
    payload: &'t [u8],
    /// Both parts with the point between them: what was signed.
    signed: &'t [u8],
    signature: Vec<u8>,
}

/// Reads form and header of a token. Neither signature nor claims are looked at.
///
/// `jwk`, `jku`, `x5u`, `x5c` and members that nobody knows are ignored: a token never brings its own key.
///
/// # Errors
/// A [`Refusal`] if it is too long, has not three parts of strict base64url, if its header has duplicate members or is
/// nested too deep, or if it has an unknown `alg`, a `crit`, `b64` or `zip`.
pub fn read(token: &[u8]) -> Result<Unverified<'_>, Refusal> {
    if token.len() > MAX_TOKEN {
        return Err(Refusal::TooLong);
    }
    let mut parts = token.split(|&byte| byte == b'.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::NotThreeParts);
    };
    let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
    let signature = decode(signature, Part::Signature)?;
    let names = ["alg", "kid", "typ", "crit", "b64", "zip"];
    let [algorithm, kid, typ, crit, b64, zip] =
        json::members(&decode(header, Part::Header)?, MAX_DEPTH, names).map_err(|fault| of(fault, Part::Header))?;
    for (name, member) in [("crit", crit), ("b64", b64), ("zip", zip)] {
        if member.is_some() {
            return Err(Refusal::UnknownExtension(name));
        }
    }
    let algorithm = text(algorithm, "alg")?.ok_or(Refusal::NoAlgorithm)?;
    let algorithm = Algorithm::parse(&algorithm).ok_or(Refusal::UnknownAlgorithm)?;
    let (kid, typ) = (text(kid, "kid")?, text(typ, "typ")?);
    Ok(Unverified { algorithm, kid, typ, header, payload, signed, signature })
}

impl Unverified<'_> {
    /// `alg`, as the token says.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`, as the token says: any text.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// `typ`, as the token says: any text.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// The whole header, as the token says; for showing it.
    ///
    /// # Errors
    /// None that [`read`] did not have.
    pub fn unverified_header(&self) -> Result<Map<String, Value>, Refusal> {
        object(self.header, Part::Header)
    }

    /// The claims, as the token says: for showing them, or for choosing the issuer whose keys are asked. Anybody may
    /// have written them.
    ///
    /// # Errors
    /// A [`Refusal`] if they cannot be read.
    pub fn unverified_claims(&self) -> Result<Map<String, Value>, Refusal> {
        object(self.payload, Part::Claims)
    }

    /// Checks the signature, then `typ`, then the claims at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// A [`Refusal`]; [`Refusal::UnknownKey`] if the set has named keys and none of this `kid`.
    pub fn verify(self, keys: &KeySet, rules: &Rules, now: u64) -> Result<Claims, Refusal> {
        keys.verify(self.algorithm, self.kid.as_deref(), self.signed, &self.signature)?;
        if let Some(wanted) = rules.typ.as_deref()
            && !self.typ.as_deref().is_some_and(|typ| same_type(typ, wanted))
        {
            return Err(Refusal::WrongType);
        }
        Claims::check(self.unverified_claims()?, rules, now)
    }
}

fn decode(part: &[u8], which: Part) -> Result<Vec<u8>, Refusal> {
    // Refuses padding, white space and bits that are left over.
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Encoding(which))
}

fn object(part: &[u8], which: Part) -> Result<Map<String, Value>, Refusal> {
    json::object(&decode(part, which)?, MAX_DEPTH).map_err(|fault| of(fault, which))
}

const fn of(fault: Fault, part: Part) -> Refusal {
    match fault {
        Fault::Syntax => Refusal::Json(part),
        Fault::Duplicate => Refusal::DuplicateMember(part),
        Fault::TooDeep => Refusal::TooDeep(part),
    }
}

fn text(member: Option<Value>, name: &'static str) -> Result<Option<String>, Refusal> {
    match member {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::WrongMember(Part::Header, name)),
    }
}
