//! The examples of RFC 7515 and RFC 8037, appendix A of each, letter by letter.

use serde_json::json;
use tidegate_jwt::{Algorithm, KeySet, Part, Refusal, Rules, Symmetric, read};

/// `{"iss":"joe", "exp":1300819380, "http://example.com/is_root":true}`, with line breaks of both kinds.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const JOE_EXPIRES: u64 = 1_300_819_380;

const HS256: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
const HS256_SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const RS256_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const ES256_SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

fn keys(jwk: &serde_json::Value) -> KeySet {
    let (keys, left_out) =
        KeySet::from_jwks(jwk.to_string().as_bytes(), &Algorithm::ALL, Symmetric::Allowed).expect("a usable key");
    assert_eq!(left_out, []);
    keys
}

fn appendix_a1() -> KeySet {
    keys(
        &json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}),
    )
}

fn appendix_a2() -> KeySet {
    keys(&json!({
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e": "AQAB",
    }))
}

fn appendix_a3() -> KeySet {
    keys(&json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }))
}

#[test]
fn the_tokens_of_rfc_7515_are_verified() {
    let rules = Rules { issuer: Some("joe".into()), require_exp: true, ..Rules::default() };
    for (token, keys) in [
        (format!("{HS256}.{JOE}.{HS256_SIGNATURE}"), appendix_a1()),
        (format!("eyJhbGciOiJSUzI1NiJ9.{JOE}.{RS256_SIGNATURE}"), appendix_a2()),
        (format!("eyJhbGciOiJFUzI1NiJ9.{JOE}.{ES256_SIGNATURE}"), appendix_a3()),
    ] {
        let read = || read(token.as_bytes()).expect("a token");
        let claims = read().verify(&keys, &rules, JOE_EXPIRES - 1).unwrap_or_else(|e| panic!("{token}: {e}"));
        assert_eq!(claims.expires, Some(JOE_EXPIRES));
        assert_eq!(claims.members.get("http://example.com/is_root"), Some(&json!(true)));
        assert_eq!(read().verify(&keys, &rules, JOE_EXPIRES), Err(Refusal::Expired));
    }
}

/// Appendix A.4: the payload is the word `Payload`, so the refusal comes after a good signature.
#[test]
fn the_signature_with_p_521_is_good_before_the_payload_is_no_object() {
    let keys = keys(&json!({
        "kty": "EC",
        "crv": "P-521",
        "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
    }));
    let good = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
    let verify = |token: &str| read(token.as_bytes()).expect("a token").verify(&keys, &Rules::default(), 0);
    assert_eq!(verify(good), Err(Refusal::Json(Part::Claims)));
    assert_eq!(verify(&good.replace("UGF5bG9hZA", "UGF5bG9hZB")), Err(Refusal::BadSignature));
}

/// Appendix A.5.
#[test]
fn the_unsecured_token_of_rfc_7515_is_refused() {
    let token = format!("eyJhbGciOiJub25lIn0.{JOE}.");
    assert_eq!(read(token.as_bytes()).err(), Some(Refusal::UnknownAlgorithm));
}

/// RFC 8037 appendix A.4; the payload is a sentence.
#[test]
fn the_ed25519_signature_of_rfc_8037_is_good_before_the_payload_is_no_object() {
    let keys = keys(&json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}));
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let verified = read(token.as_bytes()).expect("a token").verify(&keys, &Rules::default(), 0);
    assert_eq!(verified, Err(Refusal::Json(Part::Claims)));
}
