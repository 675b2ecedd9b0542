//! Keys that OpenSSL made, and tokens made with them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tidegate_jwt::{Algorithm, Claims, KeySet, Refusal, Rules, SigningKey, mint, read};

/// The time at which everything here happens.
pub(crate) const NOW: u64 = 1_700_000_000;

pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A file of `testdata`.
pub(crate) fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The names of the private and the public key for an algorithm; none for HMAC.
pub(crate) fn files(algorithm: Algorithm) -> Option<(&'static str, &'static str)> {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
        Algorithm::ES256 => Some(("p256.pem", "p256_public.pem")),
        Algorithm::ES384 => Some(("p384.pem", "p384_public.pem")),
        Algorithm::ES512 => Some(("p521.pem", "p521_public.pem")),
        Algorithm::EdDSA => Some(("ed25519.pem", "ed25519_public.pem")),
        _ => Some(("rsa.pem", "rsa_public.pem")),
    }
}

pub(crate) fn signing(algorithm: Algorithm) -> SigningKey {
    match files(algorithm) {
        None => SigningKey::from_secret(SECRET, algorithm, false),
        Some((private, _)) => SigningKey::from_pem(&file(private), Some(algorithm)),
    }
    .unwrap_or_else(|e| panic!("{algorithm}: {e}"))
}

/// The key for an algorithm, allowed for all that fit it.
pub(crate) fn verifying(algorithm: Algorithm) -> KeySet {
    match files(algorithm) {
        None => KeySet::from_secret(SECRET, &Algorithm::ALL, false),
        Some((_, public)) => KeySet::from_pem(&file(public), &Algorithm::ALL),
    }
    .unwrap_or_else(|e| panic!("{algorithm}: {e}"))
}

pub(crate) fn token(header: &Value, claims: &Value, algorithm: Algorithm) -> String {
    let (header, claims) = (header.as_object().expect("an object"), claims.as_object().expect("an object"));
    mint(header, claims, &signing(algorithm)).expect("a token")
}

/// A token of exactly these texts, signed with HS256 and [`SECRET`].
pub(crate) fn raw(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = signing(Algorithm::HS256).sign(message.as_bytes()).expect("a signature");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) fn verify(token: &str, keys: &KeySet) -> Result<Claims, Refusal> {
    read(token.as_bytes())?.verify(keys, &Rules::default(), NOW)
}

/// With HS256 and [`SECRET`], under the rules.
pub(crate) fn verify_with(token: &str, rules: &Rules) -> Result<Claims, Refusal> {
    read(token.as_bytes())?.verify(&verifying(Algorithm::HS256), rules, NOW)
}

pub(crate) fn claims() -> Value {
    json!({"sub": "alice", "roles": ["viewer"], "exp": NOW + 600, "iat": NOW})
}

#[test]
fn every_algorithm_signs_and_verifies() {
    for algorithm in Algorithm::ALL {
        let token = token(&json!({"kid": "any"}), &claims(), algorithm);
        let verified = verify(&token, &verifying(algorithm)).unwrap_or_else(|e| panic!("{algorithm}: {e}"));
        assert_eq!(Value::Object(verified.members), claims());
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let shares_the_key = files(other) == files(algorithm);
            assert_eq!(verify(&token, &verifying(other)).is_ok(), shares_the_key, "{algorithm} {other}");
        }
    }
}

#[test]
fn a_key_verifies_only_what_it_is_allowed_to() {
    for algorithm in Algorithm::ALL {
        let only = |allowed: &[Algorithm]| match files(algorithm) {
            None => KeySet::from_secret(SECRET, allowed, false),
            Some((_, public)) => KeySet::from_pem(&file(public), allowed),
        };
        let token = token(&json!({}), &claims(), algorithm);
        assert!(verify(&token, &only(&[algorithm]).expect("a fitting key")).is_ok());
        let others: Vec<_> = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        if let Ok(others) = only(&others) {
            assert_eq!(verify(&token, &others), Err(Refusal::AlgorithmNotAllowed), "{algorithm}");
        }
        assert!(only(&[]).is_err());
    }
}
