//! What attackers have tried on other readers (RFC 8725 and the advisories behind it), and what has to come of it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tidegate_jwt::{Algorithm, KeySet, MAX_TOKEN, Part, Refusal, Symmetric, read};

use crate::made::{NOW, SECRET, claims, file, files, raw, token, verify, verify_with, verifying};

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn refusal(token: &str) -> Refusal {
    verify(token, &verifying(Algorithm::HS256)).expect_err(token)
}

fn refusal_of_header(header: &str) -> Refusal {
    refusal(&raw(header, "{}"))
}

#[test]
fn a_public_key_is_no_secret() {
    for algorithm in Algorithm::ALL {
        let Some((_, public)) = files(algorithm) else { continue };
        let pem = file(public);
        let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(claims().to_string()));
        for secret in [pem.as_slice(), pem.trim_ascii_end()] {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
            let forged = format!("{message}.{}", encode(tag));
            assert_eq!(verify(&forged, &verifying(algorithm)), Err(Refusal::AlgorithmNotAllowed), "{algorithm}");
        }
    }
}

#[test]
fn none_does_not_exist() {
    for name in ["none", "None", "NONE", "nOnE", "", "null", "none ", "HS256 ", "hs256", "HS257", "ES256K"] {
        let header = json!({"alg": name}).to_string();
        assert_eq!(refusal_of_header(&header), Refusal::UnknownAlgorithm, "{name}");
        let unsigned = format!("{}.{}.", encode(&header), encode("{}"));
        assert_eq!(refusal(&unsigned), Refusal::UnknownAlgorithm, "{name}");
    }
    assert_eq!(refusal_of_header("{}"), Refusal::NoAlgorithm);
    for wrong in [r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":{"HS256":1}}"#, r#"{"alg":0}"#] {
        assert_eq!(refusal_of_header(wrong), Refusal::WrongMember(Part::Header, "alg"), "{wrong}");
    }
}

#[test]
fn a_token_brings_no_key() {
    // Another key of the same kind, offered in each way that the standard has.
    let jwk = json!({"kty": "oct", "k": encode("ffffffffffffffffffffffffffffffff")});
    let header = json!({
        "alg": "HS256", "jwk": jwk, "jku": "https://evil.test/jwks.json", "x5u": "file:///etc/passwd",
        "x5c": ["AAAA"], "kid": "../../dev/null",
    });
    let message = format!("{}.{}", encode(header.to_string()), encode("{}"));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[b'f'; 32]), message.as_bytes());
    assert_eq!(refusal(&format!("{message}.{}", encode(tag))), Refusal::BadSignature);
    // They are ignored where the signature is good.
    assert!(verify_with(&raw(&header.to_string(), "{}"), &Default::default()).is_ok());
}

#[test]
fn a_kid_is_only_compared() {
    let jwks = json!({"keys": [{"kty": "oct", "kid": "one", "k": encode(SECRET)}]});
    let (keys, _) = KeySet::from_jwks(jwks.to_string().as_bytes(), &Algorithm::ALL, Symmetric::Allowed).expect("a key");
    for kid in ["", "One", "one ", " one", "one\0", "../one", "' OR 1=1", "http://evil.test/one", "onе"] {
        let token = token(&json!({"kid": kid}), &claims(), Algorithm::HS256);
        assert_eq!(verify(&token, &keys), Err(Refusal::UnknownKey), "{kid}");
        assert!(!keys.has_kid(kid));
    }
    assert!(verify(&token(&json!({"kid": "one"}), &claims(), Algorithm::HS256), &keys).is_ok());
    assert!(verify(&token(&json!({}), &claims(), Algorithm::HS256), &keys).is_ok());
    for wrong in [r#"{"alg":"HS256","kid":1}"#, r#"{"alg":"HS256","kid":["one"]}"#, r#"{"alg":"HS256","kid":null}"#] {
        assert_eq!(refusal_of_header(wrong), Refusal::WrongMember(Part::Header, "kid"), "{wrong}");
    }
}

#[test]
fn extensions_that_change_the_meaning_are_refused() {
    for (header, name) in [
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, "crit"),
        (r#"{"alg":"HS256","crit":[]}"#, "crit"),
        (r#"{"alg":"HS256","crit":null}"#, "crit"),
        (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, "crit"),
        (r#"{"alg":"HS256","\u0063rit":["x"],"x":1}"#, "crit"),
        (r#"{"alg":"HS256","b64":true}"#, "b64"),
        (r#"{"alg":"HS256","zip":"DEF"}"#, "zip"),
    ] {
        assert_eq!(refusal_of_header(header), Refusal::UnknownExtension(name), "{header}");
    }
}

#[test]
fn members_twice_are_refused_in_both_parts() {
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","\u0061lg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","x":{"y":1,"y":2}}"#,
    ] {
        assert_eq!(refusal_of_header(header), Refusal::DuplicateMember(Part::Header), "{header}");
    }
    for claims in [r#"{"sub":"alice","sub":"root"}"#, r#"{"exp":1,"e\u0078p":9999999999}"#, r#"{"a":[{"b":1,"b":1}]}"#]
    {
        assert_eq!(refusal(&raw(r#"{"alg":"HS256"}"#, claims)), Refusal::DuplicateMember(Part::Claims), "{claims}");
    }
}

#[test]
fn there_is_one_way_to_write_a_token() {
    let good = raw(r#"{"alg":"HS256"}"#, "{}");
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    for (token, wanted) in [
        (String::new(), Refusal::NotThreeParts),
        (".".into(), Refusal::NotThreeParts),
        (format!("{header}.{payload}"), Refusal::NotThreeParts),
        (format!("{good}."), Refusal::NotThreeParts),
        (format!("{good}.{header}.{payload}"), Refusal::NotThreeParts),
        ("..".into(), Refusal::Json(Part::Header)),
        (format!(".{payload}.{signature}"), Refusal::Json(Part::Header)),
        (format!("{header}..{signature}"), Refusal::BadSignature),
        (format!("{header}.{payload}."), Refusal::BadSignature),
        (format!(" {good}"), Refusal::Encoding(Part::Header)),
        (format!("{good} "), Refusal::Encoding(Part::Signature)),
        (format!("{good}\n"), Refusal::Encoding(Part::Signature)),
        (format!("{good}="), Refusal::Encoding(Part::Signature)),
        (format!("{header}=.{payload}.{signature}"), Refusal::Encoding(Part::Header)),
        (format!("{header}.{payload}=.{signature}"), Refusal::BadSignature),
        (format!("{}\n{}.{payload}.{signature}", &header[..4], &header[4..]), Refusal::Encoding(Part::Header)),
        (format!("{header}.{payload}.+{}", &signature[1..]), Refusal::Encoding(Part::Signature)),
        (format!("{header}.{payload}./{}", &signature[1..]), Refusal::Encoding(Part::Signature)),
        (format!("{header}.{payload}.{}", &signature[..signature.len() - 1]), Refusal::Encoding(Part::Signature)),
        (format!("{header}.{payload}.{}", &signature[..signature.len() - 3]), Refusal::BadSignature),
        (format!("{header}.{payload}.{signature}AA"), Refusal::Encoding(Part::Signature)),
        (format!("{header}.{payload}.é"), Refusal::Encoding(Part::Signature)),
    ] {
        assert_eq!(refusal(&token), wanted, "{token}");
    }
}

/// 32 bytes end in a character with two bits left over: all four spellings would decode to the same bytes elsewhere.
#[test]
fn bits_left_over_are_zero() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let good = raw(r#"{"alg":"HS256"}"#, "{}");
    let (rest, last) = good.split_at(good.len() - 1);
    let at = ALPHABET.iter().position(|c| last.as_bytes() == [*c]).expect("a character of the alphabet");
    for spelling in 1..4 {
        let token = format!("{rest}{}", char::from(ALPHABET[at + spelling]));
        assert_eq!(refusal(&token), Refusal::Encoding(Part::Signature));
    }
}

#[test]
fn size_and_depth_are_bounded() {
    // The first token of at least this length.
    let long = |length: usize| {
        let of = |filler| raw(r#"{"alg":"HS256"}"#, &json!({"a": "x".repeat(filler)}).to_string());
        (6000..).map(of).find(|token| token.len() >= length).expect("there is no end")
    };
    assert!(verify_with(&long(MAX_TOKEN - 2), &Default::default()).is_ok());
    assert_eq!(refusal(&long(MAX_TOKEN + 1)), Refusal::TooLong);
    assert_eq!(read(&vec![b'.'; MAX_TOKEN + 1]).err(), Some(Refusal::TooLong));
    assert_eq!(read(&vec![b'.'; MAX_TOKEN]).err(), Some(Refusal::NotThreeParts));
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let header = |levels| format!(r#"{{"alg":"HS256","x":{}}}"#, nested(levels));
    let payload = |levels| format!(r#"{{"x":{}}}"#, nested(levels));
    assert!(verify_with(&raw(&header(7), &payload(7)), &Default::default()).is_ok());
    assert_eq!(refusal_of_header(&header(8)), Refusal::TooDeep(Part::Header));
    assert_eq!(refusal_of_header(&header(2500)), Refusal::TooDeep(Part::Header));
    assert_eq!(refusal(&raw(r#"{"alg":"HS256"}"#, &payload(8))), Refusal::TooDeep(Part::Claims));
}

/// CVE-2022-21449: r and s of zero, or of the order of the curve, verify with anything where nobody looks.
#[test]
fn signatures_of_zeros_are_refused() {
    const ORDER_OF_P256: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    for algorithm in Algorithm::ALL {
        let token = token(&json!({}), &claims(), algorithm);
        let (message, signature) = token.rsplit_once('.').expect("a signature");
        let good = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let half = good.len() / 2;
        let zeros = vec![0; good.len()];
        let zero_r = [&zeros[..half], &good[half..]].concat();
        let zero_s = [&good[..half], &zeros[half..]].concat();
        let order = ORDER_OF_P256.repeat(2);
        let longer = [good.as_slice(), &[0]].concat();
        let leading = [&[0], good.as_slice()].concat();
        let ones = vec![0xff; good.len()];
        let shorter = good[1..].to_vec();
        for bad in [zeros.clone(), zero_r, zero_s, order, longer, leading, ones, shorter, vec![], vec![0]] {
            let forged = format!("{message}.{}", encode(bad));
            assert_eq!(verify(&forged, &verifying(algorithm)), Err(Refusal::BadSignature), "{algorithm}");
        }
    }
}

/// ASN.1 is what most libraries write by themselves; a token has r and s side by side.
#[test]
fn an_ecdsa_signature_in_asn_1_is_refused() {
    let token = token(&json!({}), &claims(), Algorithm::ES256);
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    let good = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).expect("not zero");
        let number = if number[start] > 0x7f { [&[0], &number[start..]].concat() } else { number[start..].to_vec() };
        [&[2, number.len() as u8], number.as_slice()].concat()
    };
    let numbers = [integer(&good[..32]), integer(&good[32..])].concat();
    let asn1 = [&[0x30, numbers.len() as u8], numbers.as_slice()].concat();
    let forged = format!("{message}.{}", encode(asn1));
    assert_eq!(verify(&forged, &verifying(Algorithm::ES256)), Err(Refusal::BadSignature));
}

#[test]
fn a_signature_of_another_curve_or_hash_is_refused() {
    // The header says one algorithm, the signature was made with another one, of the same key where that is possible.
    for (says, made) in [
        (Algorithm::ES256, Algorithm::ES384),
        (Algorithm::ES384, Algorithm::ES256),
        (Algorithm::EdDSA, Algorithm::ES256),
        (Algorithm::RS256, Algorithm::PS256),
        (Algorithm::PS256, Algorithm::RS256),
        (Algorithm::RS512, Algorithm::RS256),
        (Algorithm::HS384, Algorithm::HS256),
    ] {
        let message = format!("{}.{}", encode(json!({"alg": says.name()}).to_string()), encode("{}"));
        let signature = crate::made::signing(made).sign(message.as_bytes()).expect("a signature");
        let forged = format!("{message}.{}", encode(signature));
        assert_eq!(verify(&forged, &verifying(says)), Err(Refusal::BadSignature), "{says} {made}");
    }
}

#[test]
fn at_most_four_keys_are_tried() {
    let jwk = |byte: u8| json!({"kty": "oct", "k": encode([byte; 32])});
    let set = |bytes: &[u8]| {
        let document = json!({"keys": bytes.iter().map(|byte| jwk(*byte)).collect::<Vec<_>>()}).to_string();
        KeySet::from_jwks(document.as_bytes(), &Algorithm::ALL, Symmetric::Allowed).expect("keys").0
    };
    let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(json!({"exp": NOW + 1}).to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), message.as_bytes());
    let token = format!("{message}.{}", encode(tag));
    assert!(verify(&token, &set(&[1, 2, 3, 7])).is_ok());
    assert_eq!(verify(&token, &set(&[1, 2, 3, 4, 7])), Err(Refusal::BadSignature));
}
