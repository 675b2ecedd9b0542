//! What a token says once its signature is known to be good, and the rules that it has to keep.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::refusal::{Part, Refusal};

/// What the claims have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `iss` must be exactly this.
    pub issuer: Option<String>,
    /// `aud` must contain one of these; with none, any `aud` is accepted, and none as well.
    pub audience: Vec<String>,
    /// Seconds by which clocks may differ, for `exp`, `nbf` and `iat`.
    pub leeway: u64,
    /// `typ` of the header must be this, ignoring ASCII case and a leading `application/` on either side (RFC 7515
    /// section 4.1.9). Without it `typ` is not looked at.
    pub typ: Option<String>,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
}

/// The claims of a token whose signature and claims are good.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// All members, as they are in the token.
    pub members: Map<String, Value>,
    /// `exp` in whole seconds since 1970, rounded up, without leeway. May be as large as `u64::MAX`.
    pub expires: Option<u64>,
    /// SHA-256 of the client's certificate, to which the token is bound (`cnf.x5t#S256`, RFC 8705 section 3.1). The
    /// caller compares it with [`certificate_thumbprint`] of the connection's certificate.
    pub thumbprint: Option<[u8; 32]>,
}

impl Claims {
    /// `sub`, if there is one.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.text("sub")
    }

    /// `iss`, if there is one.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.text("iss")
    }

    /// A member of the top level that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// Applies the rules at `now`, in seconds since 1970.
    pub(crate) fn check(members: Map<String, Value>, rules: &Rules, now: u64) -> Result<Self, Refusal> {
        let expires = date(&members, "exp")?;
        let not_before = date(&members, "nbf")?;
        let issued = date(&members, "iat")?;
        let thumbprint = thumbprint(&members)?;
        text(&members, "sub")?;
        let latest = now.saturating_add(rules.leeway);
        match expires {
            None if rules.require_exp => return Err(Refusal::NoExpiry),
            Some(at) if now >= at.saturating_add(rules.leeway) => return Err(Refusal::Expired),
            _ => {}
        }
        if not_before.is_some_and(|at| at > latest) {
            return Err(Refusal::NotYetValid);
        }
        if issued.is_some_and(|at| at > latest) {
            return Err(Refusal::IssuedInFuture);
        }
        let issuer = text(&members, "iss")?;
        if rules.issuer.as_deref().is_some_and(|wanted| issuer != Some(wanted)) {
            return Err(Refusal::WrongIssuer);
        }
        check_audience(&members, &rules.audience)?;
        Ok(Self { members, expires, thumbprint })
    }
}

/// SHA-256 of a certificate in DER: what `cnf.x5t#S256` of a token bound to it says.
#[must_use]
pub fn certificate_thumbprint(der: &[u8]) -> [u8; 32] {
    let mut thumbprint = [0; 32];
    for (to, from) in thumbprint.iter_mut().zip(digest(&SHA256, der).as_ref()) {
        *to = *from;
    }
    thumbprint
}

/// Whether two media types of tokens are the same.
pub(crate) fn same_type(one: &str, other: &str) -> bool {
    bare_type(one).eq_ignore_ascii_case(bare_type(other))
}

fn bare_type(name: &str) -> &str {
    const PREFIX: &str = "application/";
    match (name.get(..PREFIX.len()), name.get(PREFIX.len()..)) {
        (Some(prefix), Some(rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => name,
    }
}

const fn wrong(name: &'static str) -> Refusal {
    Refusal::WrongMember(Part::Claims, name)
}

fn text<'m>(members: &'m Map<String, Value>, name: &'static str) -> Result<Option<&'m str>, Refusal> {
    members.get(name).map(|value| value.as_str().ok_or_else(|| wrong(name))).transpose()
}

/// A NumericDate (RFC 7519 section 2) in whole seconds, rounded up: with `now` in whole seconds that changes no
/// comparison. What lies before 1970 is 0, and what is too large is `u64::MAX`.
fn date(members: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(value) = members.get(name) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite()).ok_or_else(|| wrong(name))?;
    // Saturates at both ends.
    Ok(Some(seconds.ceil() as u64))
}

fn check_audience(members: &Map<String, Value>, ours: &[String]) -> Result<(), Refusal> {
    let is_ours = |name: &str| ours.iter().any(|own| own == name);
    let found = match members.get("aud") {
        None => false,
        Some(Value::String(name)) => is_ours(name),
        Some(Value::Array(names)) => {
            let mut found = false;
            for name in names {
                found |= is_ours(name.as_str().ok_or_else(|| wrong("aud"))?);
            }
            found
        }
        Some(_) => return Err(wrong("aud")),
    };
    if found || ours.is_empty() { Ok(()) } else { Err(Refusal::WrongAudience) }
}

/// Other kinds of `cnf` are ignored, as RFC 7800 section 3.1 wants it; this one must be readable, or the token would
/// count as bound to nothing.
fn thumbprint(members: &Map<String, Value>) -> Result<Option<[u8; 32]>, Refusal> {
    let Some(confirmation) = members.get("cnf") else { return Ok(None) };
    let confirmation = confirmation.as_object().ok_or_else(|| wrong("cnf"))?;
    let Some(value) = confirmation.get("x5t#S256") else { return Ok(None) };
    let bytes = value.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.and_then(|bytes| bytes.try_into().ok()).map(Some).ok_or_else(|| wrong("cnf"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    #[expect(clippy::needless_pass_by_value, reason = "a literal")]
    fn check(claims: Value, rules: &Rules) -> Result<Claims, Refusal> {
        Claims::check(claims.as_object().cloned().unwrap_or_default(), rules, NOW)
    }

    #[test]
    fn times_have_their_leeway_and_no_more() {
        let rules = Rules { leeway: 30, ..Rules::default() };
        for (claims, wanted) in [
            (json!({"exp": NOW + 1}), None),
            (json!({"exp": NOW - 29}), None),
            (json!({"exp": NOW - 30}), Some(Refusal::Expired)),
            (json!({"exp": 0}), Some(Refusal::Expired)),
            (json!({"exp": -1}), Some(Refusal::Expired)),
            (json!({"exp": -1e300}), Some(Refusal::Expired)),
            (json!({"exp": 1e300}), None),
            (json!({"exp": u64::MAX}), None),
            (json!({"nbf": NOW + 30}), None),
            (json!({"nbf": NOW + 31}), Some(Refusal::NotYetValid)),
            (json!({"nbf": 30.5 + NOW as f64}), Some(Refusal::NotYetValid)),
            (json!({"nbf": -5}), None),
            (json!({"iat": NOW + 30}), None),
            (json!({"iat": NOW + 31}), Some(Refusal::IssuedInFuture)),
            (json!({"iat": 1e300}), Some(Refusal::IssuedInFuture)),
            (json!({"iat": 0.0}), None),
        ] {
            assert_eq!(check(claims.clone(), &rules).err(), wanted, "{claims}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_counts() {
        let rules = Rules::default();
        let at = |exp: f64| check(json!({"exp": exp}), &rules).map(|claims| claims.expires);
        assert_eq!(at(NOW as f64), Err(Refusal::Expired));
        assert_eq!(at(NOW as f64 + 0.5), Ok(Some(NOW + 1)));
        assert_eq!(at(NOW as f64 - 0.5), Err(Refusal::Expired));
    }

    #[test]
    fn members_of_a_wrong_type_are_refused_even_if_no_rule_asks() {
        for name in ["exp", "nbf", "iat"] {
            for value in [json!("1900000000"), json!(null), json!(true), json!([1]), json!({})] {
                assert_eq!(check(json!({name: value}), &Rules::default()), Err(wrong(name)), "{name} {value}");
            }
        }
        for (name, value) in [
            ("iss", json!(1)),
            ("iss", json!(["ours"])),
            ("iss", json!(null)),
            ("sub", json!(17)),
            ("aud", json!(1)),
            ("aud", json!(null)),
            ("aud", json!({"ours": 1})),
            ("aud", json!(["ours", 1])),
            ("cnf", json!("a")),
            ("cnf", json!({"x5t#S256": "AAAA"})),
            ("cnf", json!({"x5t#S256": 1})),
        ] {
            assert_eq!(check(json!({name: value}), &Rules::default()), Err(wrong(name)), "{name} {value}");
        }
    }

    #[test]
    fn the_expiry_may_be_left_out_only_where_it_may() {
        assert_eq!(check(json!({}), &Rules::default()).map(|claims| claims.expires), Ok(None));
        let rules = Rules { require_exp: true, ..Rules::default() };
        assert_eq!(check(json!({}), &rules), Err(Refusal::NoExpiry));
    }

    #[test]
    fn issuer_and_audience_are_exact() {
        let rules =
            Rules { issuer: Some("https://id/".into()), audience: vec!["a".into(), "b".into()], ..Rules::default() };
        for (claims, wanted) in [
            (json!({"iss": "https://id/", "aud": "b"}), None),
            (json!({"iss": "https://id/", "aud": ["x", "a"]}), None),
            (json!({"iss": "https://id/", "aud": ["x"]}), Some(Refusal::WrongAudience)),
            (json!({"iss": "https://id/", "aud": []}), Some(Refusal::WrongAudience)),
            (json!({"iss": "https://id/", "aud": "a b"}), Some(Refusal::WrongAudience)),
            (json!({"iss": "https://id/", "aud": "A"}), Some(Refusal::WrongAudience)),
            (json!({"iss": "https://id/"}), Some(Refusal::WrongAudience)),
            (json!({"iss": "https://id", "aud": "a"}), Some(Refusal::WrongIssuer)),
            (json!({"iss": "HTTPS://id/", "aud": "a"}), Some(Refusal::WrongIssuer)),
            (json!({"aud": "a"}), Some(Refusal::WrongIssuer)),
        ] {
            assert_eq!(check(claims.clone(), &rules).err(), wanted, "{claims}");
        }
        assert!(check(json!({"iss": "any", "aud": ["any"]}), &Rules::default()).is_ok());
    }

    #[test]
    fn a_token_may_be_bound_to_a_certificate() {
        // SHA-256 of nothing.
        let thumbprint = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let claims = check(json!({"cnf": {"x5t#S256": thumbprint}}), &Rules::default());
        assert_eq!(claims.map(|claims| claims.thumbprint), Ok(Some(certificate_thumbprint(b""))));
        let other = check(json!({"cnf": {"jkt": "AAAA"}}), &Rules::default());
        assert_eq!(other.map(|claims| claims.thumbprint), Ok(None));
    }

    #[test]
    fn types_are_media_types() {
        for (one, other) in [("JWT", "jwt"), ("at+jwt", "application/at+JWT"), ("Application/jwt", "JWT")] {
            assert!(same_type(one, other) && same_type(other, one), "{one} {other}");
        }
        for (one, other) in [("JWT", "at+jwt"), ("", "JWT"), ("application/", "JWT"), ("text/jwt", "jwt")] {
            assert!(!same_type(one, other), "{one} {other}");
        }
    }
}
