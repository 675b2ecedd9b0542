//! Properties, with `jsonwebtoken` as the other opinion where it has one.

use std::collections::HashSet;
use std::sync::LazyLock;

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use tidegate_jwt::{Algorithm, KeySet, Refusal, Rules, Symmetric, mint, read};

use crate::made::{NOW, SECRET, file, files, signing, verify, verifying};

/// What the other library calls it; it has no ES512.
fn theirs(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    algorithm.name().parse().ok()
}

fn decoding(algorithm: Algorithm) -> DecodingKey {
    let Some((_, public)) = files(algorithm) else { return DecodingKey::from_secret(SECRET) };
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(&file(public)),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(&file(public)),
        _ => DecodingKey::from_rsa_pem(&file(public)),
    }
    .expect("a key")
}

fn encoding(algorithm: Algorithm) -> EncodingKey {
    let Some((private, _)) = files(algorithm) else { return EncodingKey::from_secret(SECRET) };
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(&file(private)),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&file(private)),
        _ => EncodingKey::from_rsa_pem(&file(private)),
    }
    .expect("a key")
}

/// Its clock is the system's, so it is not asked about times.
fn validation(algorithm: jsonwebtoken::Algorithm, rules: &Rules) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.required_spec_claims = HashSet::new();
    if let Some(issuer) = &rules.issuer {
        validation.set_issuer(std::slice::from_ref(issuer));
        validation.required_spec_claims.insert("iss".into());
    }
    if rules.audience.is_empty() {
        validation.validate_aud = false;
    } else {
        validation.set_audience(&rules.audience);
        validation.required_spec_claims.insert("aud".into());
    }
    validation
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Fractions that are exact: serde_json reads others to the last bit but one.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Members of names that no rule looks at.
fn members() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("x[a-zé\"]{0,6}", value(), 0..6).prop_map(|members| members.into_iter().collect())
}

/// Names that are ours, or nearly.
fn name() -> impl Strategy<Value = Value> {
    select(vec![json!("ours"), json!("Ours"), json!("others"), json!(""), json!("ours ")])
}

fn audience() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        name().prop_map(Some),
        prop::collection::vec(name(), 0..4).prop_map(|list| Some(list.into()))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn what_is_minted_is_accepted_here_and_there(
        algorithm in select(Algorithm::ALL.to_vec()),
        header in members(),
        claims in members(),
    ) {
        let token = mint(&header, &claims, &signing(algorithm)).expect("a token");
        let verified = verify(&token, &verifying(algorithm));
        prop_assert_eq!(verified.map(|claims| claims.members), Ok(claims.clone()));
        if let Some(theirs) = theirs(algorithm) {
            let validation = validation(theirs, &Rules::default());
            let decoded = jsonwebtoken::decode::<Map<String, Value>>(&token, &decoding(algorithm), &validation);
            prop_assert_eq!(decoded.map(|decoded| decoded.claims).map_err(|e| e.to_string()), Ok(claims));
        }
    }

    #[test]
    fn what_the_other_library_signs_is_accepted(
        algorithm in select(Algorithm::ALL.to_vec()),
        claims in members(),
    ) {
        if let Some(theirs) = theirs(algorithm) {
            let header = Header { kid: Some("any".into()), ..Header::new(theirs) };
            let token = jsonwebtoken::encode(&header, &claims, &encoding(algorithm)).expect("a token");
            let verified = verify(&token, &verifying(algorithm));
            prop_assert_eq!(verified.map(|claims| claims.members), Ok(claims));
        }
    }

    #[test]
    fn issuer_and_audience_are_judged_as_the_other_library_does(
        issuer in prop::option::of(name()),
        audience in audience(),
        with_issuer in any::<bool>(),
        ours in select(vec![vec![], vec!["ours".to_owned()], vec!["mine".into(), "ours".into()], vec!["mine".into()]]),
    ) {
        let mut claims = Map::new();
        claims.extend(issuer.map(|issuer| ("iss".to_owned(), issuer)));
        claims.extend(audience.map(|audience| ("aud".to_owned(), audience)));
        let rules = Rules {
            issuer: with_issuer.then(|| "ours".to_owned()),
            audience: ours,
            ..Rules::default()
        };
        let token = mint(&Map::new(), &claims, &signing(Algorithm::HS256)).expect("a token");
        let verified = read(token.as_bytes()).expect("a token").verify(&verifying(Algorithm::HS256), &rules, NOW);
        let validation = validation(jsonwebtoken::Algorithm::HS256, &rules);
        let decoded = jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_secret(SECRET), &validation);
        prop_assert_eq!(verified.is_ok(), decoded.is_ok(), "{:?} {:?}", verified, decoded.err());
    }

    #[test]
    fn no_bit_may_be_changed(
        algorithm in select(Algorithm::ALL.to_vec()),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        static TOKENS: LazyLock<Vec<(Algorithm, String)>> = LazyLock::new(|| {
            let claims = json!({"sub": "alice", "exp": NOW + 60, "roles": ["a", "b"]});
            let claims = claims.as_object().expect("an object");
            let mint = |of| (of, mint(&Map::new(), claims, &signing(of)).expect("a token"));
            Algorithm::ALL.into_iter().map(mint).collect()
        });
        let (_, token) = TOKENS.iter().find(|(of, _)| *of == algorithm).expect("all are there");
        let mut bytes = token.clone().into_bytes();
        *at.get_mut(&mut bytes) ^= 1_u8 << bit;
        let verified = read(&bytes).and_then(|read| read.verify(&verifying(algorithm), &Rules::default(), NOW));
        prop_assert!(verified.is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\"a-z:,.\\[\\]]{0,80}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let _ = read(bytes).and_then(|read| read.verify(&verifying(Algorithm::HS256), &Rules::default(), NOW));
            let _ = KeySet::from_pem(bytes, &Algorithm::ALL);
            let _ = KeySet::from_jwks(bytes, &Algorithm::ALL, Symmetric::Allowed);
            let token = crate::made::raw(r#"{"alg":"HS256"}"#, &String::from_utf8_lossy(bytes));
            let _ = verify(&token, &verifying(Algorithm::HS256));
        }
    }

    /// Over the whole range, with a naive count in wider numbers.
    #[test]
    fn times_are_compared_as_numbers(
        (exp, nbf, iat) in (any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u64>>()),
        now in any::<u64>(),
        leeway in prop_oneof![0..100_u64, any::<u64>()],
    ) {
        let mut claims = Map::new();
        for (name, time) in [("exp", exp), ("nbf", nbf), ("iat", iat)] {
            claims.extend(time.map(|time| (name.to_owned(), time.into())));
        }
        let token = mint(&Map::new(), &claims, &signing(Algorithm::HS256)).expect("a token");
        let rules = Rules { leeway, ..Rules::default() };
        let verified = read(token.as_bytes()).expect("a token").verify(&verifying(Algorithm::HS256), &rules, now);
        // A sum beyond 64 bits is the end of time.
        let end = u128::from(u64::MAX);
        let wide = |time: u64| (u128::from(time) + u128::from(leeway)).min(end);
        let wanted = if exp.is_some_and(|exp| u128::from(now) >= wide(exp)) {
            Err(Refusal::Expired)
        } else if nbf.is_some_and(|nbf| u128::from(nbf) > wide(now)) {
            Err(Refusal::NotYetValid)
        } else if iat.is_some_and(|iat| u128::from(iat) > wide(now)) {
            Err(Refusal::IssuedInFuture)
        } else {
            Ok(exp)
        };
        prop_assert_eq!(verified.map(|claims| claims.expires), wanted);
    }
}

/// Why it is not what the gateway reads tokens with (docs/adr/012). If this fails, it has learnt something.
#[test]
fn the_other_library_is_more_lenient() {
    let other = |token: &str| {
        let validation = validation(jsonwebtoken::Algorithm::HS256, &Rules::default());
        jsonwebtoken::decode::<Value>(token, &DecodingKey::from_secret(SECRET), &validation)
            .map(|decoded| decoded.claims)
    };
    let ours = |token: &str| verify(token, &verifying(Algorithm::HS256)).err();
    let critical = crate::made::raw(r#"{"alg":"HS256","crit":["unknown"],"unknown":1}"#, "{}");
    assert_eq!(other(&critical).ok(), Some(json!({})));
    assert_eq!(ours(&critical), Some(Refusal::UnknownExtension("crit")));
    let twice = crate::made::raw(r#"{"alg":"HS256"}"#, r#"{"role":"viewer","role":"admin"}"#);
    assert_eq!(other(&twice).ok(), Some(json!({"role": "admin"})));
    assert_eq!(ours(&twice), Some(Refusal::DuplicateMember(tidegate_jwt::Part::Claims)));
}
