//! How what a credential says becomes an [`Identity`]: roles with what they include, and what backends are told.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tidegate_config::valid::Auth;

use crate::identity::{CredentialKind, Identity, claim};

/// What backends are told is escaped where a header cannot hold it: control bytes, bytes beyond ASCII, and `%`.
const ESCAPED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');

/// Longest value that backends are told, in bytes. What is longer is left out: half a value would be another one.
const MAX_VALUE: usize = 4 * 1024;

/// Makes identities for one provider.
#[derive(Clone, Debug)]
pub(super) struct Identities {
    provider: Arc<str>,
    auth: Arc<Auth>,
    forward: Arc<[(HeaderName, String)]>,
}

impl Identities {
    pub(super) fn compile(provider: &Arc<str>, auth: &Auth) -> Self {
        let named = |forward: &tidegate_config::valid::Forward| {
            Some((HeaderName::try_from(forward.name.as_str()).ok()?, forward.claim.clone()))
        };
        Self {
            provider: Arc::clone(provider),
            forward: auth.forward.iter().filter_map(named).collect(),
            auth: Arc::new(Auth { roles: auth.roles.clone(), ..Auth::default() }),
        }
    }

    /// An identity with `roles` as the credential names them.
    pub(super) fn make(
        &self,
        kind: CredentialKind,
        subject: &str,
        roles: Vec<String>,
        mut scopes: Vec<String>,
        claims: Map<String, Value>,
    ) -> Identity {
        scopes.sort_unstable();
        scopes.dedup();
        let roles = self.auth.with_included(roles);
        let value = |path: &str| match path {
            "roles" => Some(roles.join(",")),
            "sub" | "id" if claim(&claims, path).is_none() => Some(subject.to_owned()),
            path => text(claim(&claims, path)?),
        };
        let forwarded = |(name, path): &(HeaderName, String)| Some((name.clone(), header_value(&value(path)?)?));
        Identity {
            provider: Arc::clone(&self.provider),
            kind,
            subject: subject.into(),
            forward: self.forward.iter().filter_map(forwarded).collect(),
            roles: roles.into_iter().map(String::into_boxed_str).collect(),
            scopes: scopes.into_iter().map(String::into_boxed_str).collect(),
            claims,
            rate: None,
        }
    }
}

/// A claim as the text of a header: lists with commas, nothing for objects and null.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Array(items) => Some(items.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        Value::Object(_) | Value::Null => None,
    }
}

fn header_value(text: &str) -> Option<HeaderValue> {
    if text.len() > MAX_VALUE {
        return None;
    }
    let escaped = Cow::from(percent_encoding::utf8_percent_encode(text, ESCAPED));
    // Spaces at an end would be lost, or cost the backend's stream (RFC 9113, section 8.2.1).
    HeaderValue::from_str(escaped.trim_matches(' ')).ok()
}

/// Words of a claim: a list of texts, or one text with spaces between them (RFC 8693, section 4.2, for `scope`).
pub(super) fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_config::valid::{Forward, Role};

    use super::*;

    #[test]
    fn backends_are_told_what_the_configuration_names() {
        let forward = [
            ("x-user-id", "sub"),
            ("x-user-roles", "roles"),
            ("x-tenant", "org.name"),
            ("x-level", "level"),
            ("x-none", "nothing"),
            ("x-object", "org"),
            ("x-name", "name"),
        ];
        let auth = Auth {
            forward: forward.map(|(name, claim)| Forward { name: name.into(), claim: claim.into() }).to_vec(),
            roles: vec![Role { name: "admin".into(), includes: vec!["operator".into(), "viewer".into()] }],
            ..Auth::default()
        };
        let claims = json!({"sub": "u1", "org": {"name": "acme\r\nx-admin: 1"}, "level": 3, "name": "Jürgen 100%"});
        let claims = claims.as_object().unwrap().clone();
        let identities = Identities::compile(&"main".into(), &auth);
        let roles = vec!["admin".to_owned()];
        let identity = identities.make(CredentialKind::Token, "u1", roles, vec![], claims);
        let told: Vec<_> =
            identity.forward.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(
            told,
            [
                "x-user-id: u1",
                "x-user-roles: admin,operator,viewer",
                "x-tenant: acme%0D%0Ax-admin: 1",
                "x-level: 3",
                "x-name: J%C3%BCrgen 100%25",
            ]
        );
    }

    #[test]
    fn words_stand_in_lists_or_in_one_text() {
        assert_eq!(words(Some(&json!("a b  c"))), ["a", "b", "c"]);
        assert_eq!(words(Some(&json!(["a", 1, "b c"]))), ["a", "b c"]);
        assert!(words(Some(&json!({"a": 1}))).is_empty());
        assert!(words(None).is_empty());
    }
}
