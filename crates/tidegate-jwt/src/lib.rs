//! JSON Web Tokens as an edge has to read them: strict parsing, key sets, signatures, claims.
//!
//! Three steps, in the order in which a stranger's bytes become an identity:
//!
//! 1. [`read`] checks form and header of a token: bounded size and depth, strict base64url, no member twice.
//! 2. [`KeySet`] holds keys that were checked and parsed once. The algorithm belongs to the key: what a token says in
//!    `alg` only chooses among what its key may verify, and `none` does not exist.
//! 3. [`Unverified::verify`] checks the signature first, then the claims against [`Rules`]. Only then there are
//!    [`Claims`].
//!
//! The crate has no clock, no files and no sockets: the time is a parameter, and who fetches key sets is the caller.
//! [`mint`] signs tokens for development and tests.
//!
//! ```
//! use serde_json::json;
//! use tidegate_jwt::{Algorithm, KeySet, Refusal, Rules, SigningKey, mint, read};
//!
//! let secret = b"an example secret of 32 bytes or more";
//! let claims = json!({"sub": "alice", "aud": "orders", "exp": 1_700_000_600});
//! let key = SigningKey::from_secret(secret, Algorithm::HS256, false)?;
//! let token = mint(&Default::default(), claims.as_object().ok_or("an object")?, &key)?;
//!
//! let keys = KeySet::from_secret(secret, &[Algorithm::HS256], false)?;
//! let rules = Rules { audience: vec!["orders".into()], leeway: 30, require_exp: true, ..Rules::default() };
//! let verified = read(token.as_bytes())?.verify(&keys, &rules, 1_700_000_000)?;
//! assert_eq!(verified.subject(), Some("alice"));
//!
//! let later = read(token.as_bytes())?.verify(&keys, &rules, 1_700_000_630);
//! assert_eq!(later, Err(Refusal::Expired));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod algorithm;

mod token;

mod json;

mod claims;

mod key_set;

mod key;

mod jwk;

mod pem;

mod der;

mod sign;

mod refusal;

mod key_error;

pub use algorithm::Algorithm;
pub use claims::{Claims, Rules, certificate_thumbprint};
pub use key::Key;
pub use key_error::KeyError;
pub use key_set::{KeySet, LeftOut, MAX_KEYS, MAX_TRIES, Symmetric};
pub use refusal::{Part, Refusal};
pub use sign::{SigningKey, mint};
pub use token::{MAX_DEPTH, MAX_TOKEN, Unverified, read};
