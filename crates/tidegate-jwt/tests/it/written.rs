//! Keys as they are written in files and documents: which are taken, which are refused, and what for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tidegate_jwt::{Algorithm, KeyError, KeySet, LeftOut, SigningKey, Symmetric, mint};

use crate::made::{SECRET, claims, file, signing, token, verify};

const ALL: &[Algorithm] = &Algorithm::ALL;

fn pem(name: &str) -> Result<KeySet, KeyError> {
    KeySet::from_pem(&file(name), ALL)
}

#[test]
fn public_keys_are_read_in_every_form() {
    for (name, algorithm) in [
        ("rsa_public.pem", Algorithm::PS512),
        ("rsa_public_pkcs1.pem", Algorithm::RS256),
        ("rsa_certificate.pem", Algorithm::RS384),
        ("p256_public.pem", Algorithm::ES256),
        ("p256_certificate.pem", Algorithm::ES256),
        ("p384_public.pem", Algorithm::ES384),
        ("p521_public.pem", Algorithm::ES512),
        ("ed25519_public.pem", Algorithm::EdDSA),
    ] {
        let keys = pem(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(keys.len(), 1);
        let token = token(&json!({}), &claims(), algorithm);
        assert!(verify(&token, &keys).is_ok(), "{name}");
    }
}

#[test]
fn several_blocks_are_several_keys() {
    let text = [b"# ours\n".as_slice(), &file("rsa_public.pem"), b"\r\nand\n", &file("ed25519_public.pem")].concat();
    let keys = KeySet::from_pem(&text, ALL).expect("two keys");
    assert_eq!(keys.len(), 2);
    for algorithm in [Algorithm::RS256, Algorithm::EdDSA] {
        assert!(verify(&token(&json!({}), &claims(), algorithm), &keys).is_ok());
    }
    // All of them have to be right.
    let text = [file("rsa_public.pem"), file("rsa1024_public.pem")].concat();
    assert_eq!(KeySet::from_pem(&text, ALL).err(), Some(KeyError::RsaSize(1024)));
    let many = file("ed25519_public.pem").repeat(101);
    assert_eq!(KeySet::from_pem(&many, ALL).err(), Some(KeyError::TooManyKeys));
}

#[test]
fn keys_in_pem_that_are_refused() {
    for (name, why) in [
        ("rsa1024_public.pem", KeyError::RsaSize(1024)),
        ("rsapss_public.pem", KeyError::UnknownKind),
        ("ed448_public.pem", KeyError::UnknownKind),
        ("x25519_public.pem", KeyError::UnknownKind),
        ("secp256k1_public.pem", KeyError::UnknownCurve),
        ("p256_compressed_public.pem", KeyError::BadPoint),
        ("rsa.pem", KeyError::PrivateKey),
        ("rsa_pkcs1.pem", KeyError::PrivateKey),
        ("p256_sec1.pem", KeyError::PrivateKey),
        ("ed25519.pem", KeyError::PrivateKey),
        ("ed25519_encrypted.pem", KeyError::PrivateKey),
        ("p256_parameters.pem", KeyError::UnknownBlock("EC PARAMETERS".into())),
    ] {
        assert_eq!(pem(name).err(), Some(why), "{name}");
    }
    let public = |body: &str| format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    for (text, why) in [
        (String::new(), KeyError::Pem("no block begins")),
        ("AAAA".into(), KeyError::Pem("no block begins")),
        ("-----BEGIN PUBLIC KEY-----\nAAAA".into(), KeyError::Pem("a block has no end")),
        ("-----BEGIN PUBLIC KEY".into(), KeyError::Pem("the first line of a block is broken")),
        ("-----BEGIN A\nB-----\n-----END A\nB-----".into(), KeyError::Pem("the first line of a block is broken")),
        (public("!"), KeyError::Pem("a block is not base64")),
        (public(""), KeyError::Der),
        (public("AAAA"), KeyError::Der),
        (public("MIIB"), KeyError::Der),
        (public("MP////8="), KeyError::Der),
    ] {
        assert_eq!(KeySet::from_pem(text.as_bytes(), ALL).err(), Some(why), "{text}");
    }
}

#[test]
fn no_cut_or_changed_pem_is_a_fault_of_ours() {
    for name in ["rsa_public.pem", "p256_certificate.pem", "ed25519_public.pem", "p521.pem", "p256_sec1.pem"] {
        let whole = file(name);
        for i in 0..whole.len() {
            let mut changed = whole.clone();
            changed[i] ^= 1;
            for text in [&whole[..i], &changed] {
                let _ = KeySet::from_pem(text, ALL);
                let _ = SigningKey::from_pem(text, None);
            }
        }
    }
}

#[test]
fn private_keys_are_read_in_every_form() {
    for (name, algorithm) in [
        ("rsa.pem", Algorithm::RS256),
        ("rsa_pkcs1.pem", Algorithm::RS256),
        ("p256.pem", Algorithm::ES256),
        ("p256_sec1.pem", Algorithm::ES256),
        ("p256_parameters.pem", Algorithm::ES256),
        ("p384.pem", Algorithm::ES384),
        ("p521.pem", Algorithm::ES512),
        ("ed25519.pem", Algorithm::EdDSA),
    ] {
        let key = SigningKey::from_pem(&file(name), None).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(key.algorithm(), algorithm, "{name}");
        assert!(SigningKey::from_pem(&file(name), Some(Algorithm::HS256)).is_err());
    }
    let sec1 = SigningKey::from_pem(&file("p256_sec1.pem"), None).expect("a key");
    let token = mint(&Default::default(), claims().as_object().expect("an object"), &sec1).expect("a token");
    assert!(verify(&token, &pem("p256_public.pem").expect("a key")).is_ok());
    for name in ["rsa_public.pem", "ed25519_encrypted.pem", "rsa_certificate.pem"] {
        assert!(SigningKey::from_pem(&file(name), None).is_err(), "{name}");
    }
}

#[test]
fn secrets_are_long_enough_and_no_keys() {
    let secret = |secret: &[u8], weak| KeySet::from_secret(secret, &[Algorithm::HS256], weak).err();
    assert_eq!(secret(SECRET, false), None);
    assert_eq!(secret(&SECRET[1..], false), Some(KeyError::ShortSecret(31)));
    assert_eq!(secret(b"weak", true), None);
    assert_eq!(secret(b"", true), Some(KeyError::EmptySecret));
    assert_eq!(secret(&file("rsa_public.pem"), true), Some(KeyError::SecretIsPem));
    let rsa = KeySet::from_secret(SECRET, &[Algorithm::RS256], false);
    assert_eq!(rsa.err(), Some(KeyError::NoAlgorithm("a secret")));
}

/// A JWK of this size of RSA, which need not be the product of two primes.
fn rsa(bits: usize, exponent: &[u8]) -> Value {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] = 0xff >> (modulus.len() * 8 - bits);
    json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent)})
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

fn jwks(keys: &Value, symmetric: Symmetric) -> Result<(KeySet, Vec<LeftOut>), KeyError> {
    KeySet::from_jwks(json!({"keys": keys}).to_string().as_bytes(), ALL, symmetric)
}

#[test]
fn keys_of_a_document_that_are_left_out() {
    let good = rsa(2048, &[1, 0, 1]);
    let x25519 = json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"});
    let oct = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let ec = |crv: &str, x: &[u8], y: &[u8]| json!({"kty": "EC", "crv": crv, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    let no_point = ec("P-256", &[1; 32], &[1; 32]);
    for (jwk, why) in [
        (rsa(2047, &[1, 0, 1]), KeyError::RsaSize(2047)),
        (rsa(1024, &[1, 0, 1]), KeyError::RsaSize(1024)),
        (rsa(8193, &[1, 0, 1]), KeyError::RsaSize(8193)),
        (rsa(2048, &[1]), KeyError::RsaNumbers),
        (rsa(2048, &[2]), KeyError::RsaNumbers),
        (rsa(2048, &[0]), KeyError::RsaNumbers),
        (rsa(2048, &[2, 0, 0, 0, 1]), KeyError::RsaNumbers),
        (with(good.clone(), "n", "=="), KeyError::Member("n")),
        (with(good.clone(), "n", ""), KeyError::RsaSize(0)),
        (with(good.clone(), "e", 65537), KeyError::Member("e")),
        (with(good.clone(), "use", "enc"), KeyError::NotForVerifying("use")),
        (with(good.clone(), "use", 1), KeyError::Member("use")),
        (with(good.clone(), "key_ops", json!(["sign"])), KeyError::NotForVerifying("key_ops")),
        (with(good.clone(), "key_ops", "verify"), KeyError::NotForVerifying("key_ops")),
        (with(good.clone(), "alg", "ES256"), KeyError::NoAlgorithm("an RSA key")),
        (with(good.clone(), "alg", "HS256"), KeyError::NoAlgorithm("an RSA key")),
        (with(good.clone(), "alg", "RSA-OAEP"), KeyError::OtherAlgorithm),
        (with(good.clone(), "alg", "none"), KeyError::OtherAlgorithm),
        (with(good.clone(), "kid", 7), KeyError::Member("kid")),
        (with(good.clone(), "d", "AAAA"), KeyError::PrivateKey),
        (with(good.clone(), "kty", "rsa"), KeyError::UnknownKind),
        (with(good.clone(), "kty", Value::Null), KeyError::Member("kty")),
        (json!({}), KeyError::Member("kty")),
        (json!("key"), KeyError::Json("a key is not an object")),
        (x25519, KeyError::UnknownCurve),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}), KeyError::BadPoint),
        (ec("secp256k1", &[1; 32], &[1; 32]), KeyError::UnknownCurve),
        (ec("P-256", &[0; 32], &[0; 32]), KeyError::BadPoint),
        (ec("P-256", &[1; 33], &[1; 31]), KeyError::BadPoint),
        (ec("P-384", &[1; 32], &[1; 32]), KeyError::BadPoint),
        (no_point, KeyError::BadPoint),
        (oct, KeyError::PublishedSecret),
    ] {
        let (keys, left_out) = jwks(&json!([jwk, good]), Symmetric::Refused).unwrap_or_else(|e| panic!("{jwk}: {e}"));
        assert_eq!((keys.len(), left_out.len()), (1, 1), "{jwk}");
        assert_eq!(left_out[0].why, why, "{jwk}");
        let alone = jwks(&json!([jwk]), Symmetric::Refused).err();
        assert_eq!(alone, Some(KeyError::NothingUsable(Some(Box::new(why)))), "{jwk}");
    }
}

#[test]
fn keys_of_a_document_that_are_taken() {
    for exponent in [&[3][..], &[1, 0, 1], &[0, 1, 0, 1], &[1, 0, 0, 0, 1]] {
        assert!(jwks(&json!([rsa(2048, exponent)]), Symmetric::Refused).is_ok(), "{exponent:?}");
    }
    let good = rsa(8192, &[1, 0, 1]);
    for jwk in [
        with(good.clone(), "use", "sig"),
        with(good.clone(), "key_ops", json!(["sign", "verify"])),
        with(good.clone(), "x5c", json!(["AAAA"])),
        with(good.clone(), "unknown", json!({"a": [1]})),
    ] {
        let (keys, _) = KeySet::from_jwks(jwk.to_string().as_bytes(), ALL, Symmetric::Refused).expect("a single JWK");
        assert_eq!(keys.keys()[0].algorithms().count(), 6);
    }
    let (keys, _) = jwks(&json!([with(with(good, "alg", "PS384"), "kid", "a")]), Symmetric::Refused).expect("a key");
    assert_eq!(keys.keys()[0].algorithms().collect::<Vec<_>>(), [Algorithm::PS384]);
    assert!(keys.has_kid("a") && !keys.has_kid("b"));
    let oct = json!([{"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS512"}]);
    let (keys, _) = jwks(&oct, Symmetric::Allowed).expect("a secret");
    assert!(verify(&token(&json!({}), &claims(), Algorithm::HS512), &keys).is_ok());
    assert!(verify(&token(&json!({}), &claims(), Algorithm::HS256), &keys).is_err());
}

#[test]
fn documents_that_are_refused() {
    for (text, why) in [
        ("", KeyError::Json("not a JSON object")),
        ("[]", KeyError::Json("not a JSON object")),
        ("{}", KeyError::Json("neither `keys` nor `kty`")),
        ("<html></html>", KeyError::Json("not a JSON object")),
        (r#"{"keys":{}}"#, KeyError::Json("`keys` is not a list")),
        (r#"{"keys":[],"keys":[]}"#, KeyError::Json("a member twice")),
        (r#"{"keys":[{"kty":"RSA","kty":"EC"}]}"#, KeyError::Json("a member twice")),
        (r#"{"keys":[]}"#, KeyError::NothingUsable(None)),
    ] {
        assert_eq!(KeySet::from_jwks(text.as_bytes(), ALL, Symmetric::Allowed).err(), Some(why), "{text}");
    }
    let deep = format!("{{\"keys\":{}{}}}", "[".repeat(20), "]".repeat(20));
    let deep = KeySet::from_jwks(deep.as_bytes(), ALL, Symmetric::Allowed).err();
    assert_eq!(deep, Some(KeyError::Json("nested too deep")));
    let keys = |count| jwks(&json!(vec![rsa(2048, &[3]); count]), Symmetric::Refused);
    assert_eq!(keys(100).expect("a hundred").0.len(), 100);
    assert_eq!(keys(101).err(), Some(KeyError::TooManyKeys));
}

#[test]
fn what_is_shown_of_keys_has_no_secret() {
    let keys = KeySet::from_secret(SECRET, ALL, false).expect("a key");
    let shown = format!("{keys:?} {:?}", signing(Algorithm::HS256));
    assert!(shown.contains("HS384") && !shown.contains("0123456789"), "{shown}");
    let long = "k".repeat(500);
    let (_, left_out) = jwks(&json!([rsa(2048, &[3]), {"kid": long}]), Symmetric::Refused).expect("a key");
    assert_eq!(left_out[0].kid, Some("k".repeat(64)));
}

#[test]
fn keys_of_ed25519_for_which_anybody_can_sign_are_refused() {
    let mut weak: Vec<[u8; 32]> = vec![[0; 32]];
    let mut one = [0; 32];
    one[0] = 1;
    weak.push(one);
    for low in [0xec, 0xed, 0xee] {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (low, 0x7f);
        weak.push(point);
        point[31] = 0xff;
        weak.push(point);
    }
    for point in weak {
        let x = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, point);
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let refused = KeySet::from_jwks(key.to_string().as_bytes(), &[Algorithm::EdDSA], Symmetric::Refused).err();
        let small = KeyError::NothingUsable(Some(Box::new(KeyError::SmallOrder)));
        let no_point = KeyError::NothingUsable(Some(Box::new(KeyError::BadPoint)));
        assert!(refused == Some(small) || refused == Some(no_point), "{refused:?}");
    }
}
