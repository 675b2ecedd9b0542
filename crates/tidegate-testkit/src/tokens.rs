//! Issuers of tokens: keys of their own, their key sets, and a server that has one.
//!
//! Tokens are signed by another library than the gateway's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::web::{Web, ok};
use crate::{Heard, Part};

/// Seconds since 1970.
///
/// # Panics
/// If the clock is before that.
#[must_use]
pub fn unix_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock that is right").as_secs()
}

/// Claims of `subject` that are good for a minute, with `more`.
///
/// # Panics
/// If `more` is no object.
#[must_use]
pub fn claims(subject: &str, more: Value) -> Value {
    let mut claims = json!({"sub": subject, "exp": unix_now() + 60});
    let Value::Object(more) = more else { panic!("claims are an object") };
    claims.as_object_mut().expect("an object").extend(more);
    claims
}

/// A token that is signed with a shared secret by HS256.
///
/// # Panics
/// Never with JSON.
#[must_use]
pub fn hs256(secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("claims can be signed")
}

/// A key pair for ES256 with its name.
pub struct Signer {
    kid: String,
    pair: rcgen::KeyPair,
}

impl Signer {
    /// A new key.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: rcgen::KeyPair::generate().expect("a key") }
    }

    /// A token with these claims.
    ///
    /// # Panics
    /// Never with JSON.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).expect("a key of ES256");
        jsonwebtoken::encode(&header, claims, &key).expect("claims can be signed")
    }

    /// The public half as a JWK.
    ///
    /// # Panics
    /// If the key is not of P-256.
    #[must_use]
    pub fn jwk(&self) -> Value {
        // 4, then both coordinates.
        let point = self.pair.public_key_raw();
        let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).expect("a point of P-256"));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid, "x": coordinate(1), "y": coordinate(33)})
    }
}

/// The key set of these keys.
#[must_use]
pub fn key_set(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// A server that has a key set at `/jwks.json`, and says so at `/.well-known/openid-configuration`.
pub struct Issuer {
    web: Web,
    shared: Arc<Shared>,
}

struct Shared {
    document: Mutex<String>,
    url: Mutex<String>,
    fails: AtomicBool,
    fetches: AtomicU64,
}

impl Issuer {
    /// Starts one with these keys.
    pub async fn start(signers: &[&Signer]) -> Self {
        let shared = Arc::new(Shared {
            document: Mutex::new(key_set(signers)),
            url: Mutex::default(),
            fails: AtomicBool::new(false),
            fetches: AtomicU64::new(0),
        });
        let answers = Arc::clone(&shared);
        let web = Web::start(move |heard| answers.answer(heard)).await;
        *shared.url.lock() = format!("http://{}", web.address());
        Self { web, shared }
    }

    /// The issuer's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.web.address())
    }

    /// Has other keys from now on.
    pub fn rotate(&self, signers: &[&Signer]) {
        *self.shared.document.lock() = key_set(signers);
    }

    /// Answers 500 from now on, or no longer.
    pub fn fail(&self, fails: bool) {
        self.shared.fails.store(fails, Ordering::Relaxed);
    }

    /// How often the key set was asked for.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.shared.fetches.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn answer(&self, heard: &Heard) -> Vec<Part> {
        let url = self.url.lock().clone();
        if heard.line().starts_with("GET /.well-known/openid-configuration ") {
            return ok(&json!({"issuer": url, "jwks_uri": format!("{url}/jwks.json")}).to_string());
        }
        self.fetches.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return vec![crate::web::bytes("HTTP/1.1 500 Failed\r\ncontent-length: 0\r\n\r\n")];
        }
        ok(&self.document.lock())
    }
}
