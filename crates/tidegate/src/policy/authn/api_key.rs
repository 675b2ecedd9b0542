//! API keys: a request's key is hashed and looked up, so no comparison tells anything of the keys there are.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_config::{units, valid};

use super::identities::Identities;
use super::{Digest, Refused, Verdict, digest_of};
use crate::identity::{CredentialKind, Identity, KeyRate};

/// Longest API key, in bytes.
const MAX_KEY: usize = 256;

/// Most keys of one file.
const MAX_KEYS: usize = 100_000;

/// A key of a file.
pub type KeyOf = valid::ApiKey;

/// Known keys by their digests.
#[derive(Debug)]
pub(super) struct ApiKeys {
    known: HashMap<Digest, Arc<Identity>>,
}

impl ApiKeys {
    /// Keys of the configuration and of its file; the configuration wins.
    pub(super) fn compile(keys: &valid::ApiKeys, of_file: &[KeyOf], identities: &Identities) -> Self {
        let mut known = HashMap::with_capacity(keys.keys.len() + of_file.len());
        for key in of_file.iter().chain(&keys.keys) {
            let claims = Map::from_iter([("id".to_owned(), Value::String(key.id.clone()))]);
            let mut identity =
                identities.make(CredentialKind::ApiKey, &key.id, key.roles.clone(), key.scopes.clone(), claims);
            identity.rate = key.rate.and_then(|rate| {
                Some(KeyRate { requests: rate.requests, per_ns: rate.per.as_nanos().try_into().ok()? })
            });
            known.insert(key.digest, Arc::new(identity));
        }
        Self { known }
    }

    pub(super) fn identify(&self, key: &[u8]) -> Verdict {
        if key.len() > MAX_KEY {
            return Verdict::Refused(Refused::invalid("the API key is too long"));
        }
        match self.known.get(&digest_of(key)) {
            Some(identity) => Verdict::Accepted(Arc::clone(identity)),
            None => Verdict::Refused(Refused::invalid("the API key is not known")),
        }
    }
}

/// Why a file of keys cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// Not an object.
    #[error("not an object of keys by their SHA-256")]
    Shape,
    /// An entry is wrong; its number, counted from 1: a name could be a key by mistake.
    #[error("entry {0}: {1}")]
    Entry(usize, &'static str),
    /// More than [`MAX_KEYS`].
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
}

/// Reads a file of keys: `{ "<SHA-256>": { "id": "partner", "roles": ["operator"], "scopes": [], "rate": "10/s" } }`.
///
/// # Errors
/// The first thing that is wrong.
pub fn read_file(bytes: &[u8]) -> Result<Vec<KeyOf>, FileError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| FileError::Json(error.to_string()))?;
    let Value::Object(entries) = value else { return Err(FileError::Shape) };
    if entries.len() > MAX_KEYS {
        return Err(FileError::TooMany);
    }
    let mut keys = Vec::with_capacity(entries.len());
    for (index, (digest, entry)) in entries.iter().enumerate() {
        let wrong = |what| FileError::Entry(index + 1, what);
        let digest = KeyOf::digest_of_hex(digest).ok_or(wrong("the name is not a SHA-256 of 64 hexadecimal digits"))?;
        let entry = entry.as_object().ok_or(wrong("not an object"))?;
        if entry.keys().any(|key| !["id", "roles", "scopes", "rate"].contains(&key.as_str())) {
            return Err(wrong("known members are id, roles, scopes and rate"));
        }
        let id = entry.get("id").and_then(Value::as_str).ok_or(wrong("\"id\" is missing"))?.to_owned();
        let list = |name: &str| match entry.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or(wrong("not a list of texts"))).collect()
            }
            Some(_) => Err(wrong("not a list of texts")),
        };
        let rate = match entry.get("rate") {
            None => None,
            Some(rate) => {
                let rate = rate.as_str().and_then(|text| units::rate(text).ok()).filter(|rate| rate.requests > 0);
                Some(rate.ok_or(wrong("\"rate\" is no rate, as in \"10/s\""))?)
            }
        };
        keys.push(KeyOf { digest, id, roles: list("roles")?, scopes: list("scopes")?, rate });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_is_read_or_says_what_is_wrong() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let good = format!(r#"{{"{digest}": {{"id": "a", "roles": ["r"]}}}}"#);
        let keys = read_file(good.as_bytes()).unwrap();
        assert_eq!(
            (keys[0].id.as_str(), keys[0].roles.as_slice(), keys[0].digest),
            ("a", &["r".to_owned()][..], digest_of(b""))
        );
        for (text, wrong) in [
            ("[]".to_owned(), FileError::Shape),
            (
                r#"{"abc": {"id": "a"}}"#.to_owned(),
                FileError::Entry(1, "the name is not a SHA-256 of 64 hexadecimal digits"),
            ),
            (format!(r#"{{"{digest}": {{}}}}"#), FileError::Entry(1, "\"id\" is missing")),
            (
                format!(r#"{{"{digest}": {{"id": "a", "role": []}}}}"#),
                FileError::Entry(1, "known members are id, roles, scopes and rate"),
            ),
            (format!(r#"{{"{digest}": {{"id": "a", "roles": [1]}}}}"#), FileError::Entry(1, "not a list of texts")),
        ] {
            assert_eq!(read_file(text.as_bytes()), Err(wrong), "{text}");
        }
        assert!(matches!(read_file(b"{"), Err(FileError::Json(_))));
    }
}
