//! Properties of the reader of tokens and keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tidegate_jwt::{Algorithm, Claims, KeySet, MAX_TOKEN, Rules, SigningKey, Symmetric, read};

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn keys() -> KeySet {
    KeySet::from_secret(SECRET, &Algorithm::ALL, false).expect("the secret is long enough")
}

/// Input: a header, a line break, claims. As a token with a good signature it is refused, or means what any reader of
/// JSON takes it for. The same bytes, and their first line, are a token too: a stranger's, which is never accepted.
pub fn jwt(input: &[u8]) {
    let first = input.split(|&byte| byte == b'\n').next().unwrap_or_default();
    for stranger in [input, first] {
        if let Ok(read) = read(stranger) {
            let _ = (read.unverified_header(), read.unverified_claims());
            assert!(read.verify(&keys(), &Rules::default(), NOW).is_err(), "nobody else knows the secret");
        }
    }
    let claims = input.get(first.len() + 1..).unwrap_or_default();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(first), URL_SAFE_NO_PAD.encode(claims));
    for algorithm in [Algorithm::HS256, Algorithm::HS512] {
        let key = SigningKey::from_secret(SECRET, algorithm, false).expect("the secret is long enough");
        let signature = key.sign(message.as_bytes()).expect("an HMAC cannot fail");
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        let rules = Rules { leeway: 30, ..Rules::default() };
        if let Ok(verified) = read(token.as_bytes()).and_then(|read| read.verify(&keys(), &rules, NOW)) {
            assert!(token.len() <= MAX_TOKEN);
            means_the_same(&verified, algorithm, first, claims);
        }
    }
}

fn means_the_same(verified: &Claims, algorithm: Algorithm, header: &[u8], claims: &[u8]) {
    let header: Value = serde_json::from_slice(header).expect("JSON");
    assert_eq!(header["alg"], algorithm.name());
    for name in ["crit", "b64", "zip"] {
        assert!(header.get(name).is_none(), "{header}");
    }
    let parsed: Value = serde_json::from_slice(claims).expect("JSON");
    assert_eq!(Value::Object(verified.members.clone()), parsed);
    assert!(verified.expires.is_none_or(|at| at > NOW - 30), "{parsed}");
    assert_eq!(verified.expires.is_some(), parsed.get("exp").is_some());
    assert_eq!(verified.subject(), parsed.get("sub").and_then(Value::as_str));
}

/// Input: keys in PEM or JSON. They are refused, or are few, have algorithms, and say no more than that.
pub fn jwt_keys(input: &[u8]) {
    let _ = SigningKey::from_pem(input, None);
    let documents = [Symmetric::Refused, Symmetric::Allowed]
        .map(|symmetric| KeySet::from_jwks(input, &Algorithm::ALL, symmetric).map(|(keys, _)| keys));
    if let [Ok(published), Ok(all)] = &documents {
        assert!(published.len() <= all.len());
        let mut algorithms = published.keys().iter().flat_map(|key| key.algorithms());
        assert!(!algorithms.any(Algorithm::is_symmetric), "a secret in a published set");
    }
    let pem = KeySet::from_pem(input, &Algorithm::ALL);
    for keys in documents.into_iter().chain([pem]).flatten() {
        assert!((1..=100).contains(&keys.len()));
        assert!(keys.keys().iter().all(|key| key.algorithms().next().is_some()));
        assert!(keys.keys().iter().filter_map(|key| key.id()).all(|kid| keys.has_kid(kid)));
        let stranger = read(b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA").expect("a token");
        assert!(stranger.verify(&keys, &Rules::default(), NOW).is_err());
    }
}
