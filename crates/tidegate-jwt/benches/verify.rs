//! Cost of one token that was not seen before: read, signature, claims; and of tokens that are refused.
//!
//! Times are for reading beside each other, one run at a time; nothing here is a test.

#![expect(clippy::expect_used, reason = "a benchmark")]

use divan::{AllocProfiler, Bencher, black_box};
use serde_json::{Value, json};
use tidegate_jwt::{Algorithm, KeySet, Rules, SigningKey, mint, read};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const MEASURED: [Algorithm; 5] =
    [Algorithm::HS256, Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

fn main() {
    divan::main();
}

fn keys(algorithm: Algorithm) -> (SigningKey, KeySet) {
    let file = |name: &str| {
        std::fs::read(format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a file of testdata")
    };
    let (private, public) = match algorithm {
        Algorithm::HS256 => {
            let signing = SigningKey::from_secret(SECRET, algorithm, false).expect("a key");
            return (signing, KeySet::from_secret(SECRET, &[algorithm], false).expect("a key"));
        }
        Algorithm::ES256 => ("p256.pem", "p256_public.pem"),
        Algorithm::EdDSA => ("ed25519.pem", "ed25519_public.pem"),
        _ => ("rsa.pem", "rsa_public.pem"),
    };
    let signing = SigningKey::from_pem(&file(private), Some(algorithm)).expect("a key");
    (signing, KeySet::from_pem(&file(public), &[algorithm]).expect("a key"))
}

/// About 300 bytes with HS256, as an issuer writes them.
fn token(signing: &SigningKey) -> String {
    let header = json!({"kid": "2024-06"});
    let claims = json!({
        "iss": "https://id.example.com", "sub": "user-1234567", "aud": ["orders"], "roles": ["operator", "viewer"],
        "exp": NOW + 600, "iat": NOW, "jti": "5f0c1b1e9a7d",
    });
    let members = |value: &Value| value.as_object().cloned().expect("an object");
    mint(&members(&header), &members(&claims), signing).expect("a token")
}

fn rules() -> Rules {
    Rules {
        issuer: Some("https://id.example.com".into()),
        audience: vec!["orders".into()],
        leeway: 30,
        require_exp: true,
        ..Rules::default()
    }
}

#[divan::bench(args = MEASURED)]
fn good(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (signing, keys) = keys(algorithm);
    let (token, rules) = (token(&signing), rules());
    bencher.bench_local(|| read(black_box(token.as_bytes())).and_then(|read| read.verify(&keys, &rules, NOW)).is_ok());
}

/// The signature is wrong: what a stranger's token costs.
#[divan::bench(args = MEASURED)]
fn forged(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (signing, keys) = keys(algorithm);
    let (token, rules) = (token(&signing), rules());
    let forged = token.replacen('.', ".eyJzdWIiOiJyb290In0", 1);
    bencher.bench_local(|| read(black_box(forged.as_bytes())).and_then(|read| read.verify(&keys, &rules, NOW)).is_ok());
}

/// Form and header alone.
#[divan::bench]
fn read_only(bencher: Bencher<'_, '_>) {
    let token = token(&keys(Algorithm::HS256).0);
    bencher.bench_local(|| read(black_box(token.as_bytes())).is_ok());
}

/// The signature of HS256 over as many bytes, alone: the floor.
#[divan::bench]
fn hmac_alone(bencher: Bencher<'_, '_>) {
    use aws_lc_rs::hmac;
    let token = token(&keys(Algorithm::HS256).0);
    let (message, _) = token.rsplit_once('.').expect("a signature");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let tag = hmac::sign(&key, message.as_bytes());
    bencher.bench_local(|| hmac::verify(&key, black_box(message.as_bytes()), tag.as_ref()).is_ok());
}
