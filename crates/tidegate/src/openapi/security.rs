//! How requests show who they are from: the providers as security schemes, and which of them an operation takes.

use serde_json::{Map, Value, json};
use tidegate_config::Valid;
use tidegate_config::valid::{Check, CredentialSource, Provider, Route};

/// The schemes of all providers by their names; nothing if there are none.
pub(super) fn schemes(valid: &Valid) -> Option<Value> {
    let providers = &valid.auth.providers;
    let schemes: Map<String, Value> = providers.iter().map(|one| (one.name.clone(), scheme(one))).collect();
    (!schemes.is_empty()).then_some(Value::Object(schemes))
}

/// The first place where the credential is looked for: a scheme has one.
fn scheme(provider: &Provider) -> Value {
    let within = |place: &str, name: &str| json!({"type": "apiKey", "in": place, "name": name});
    match (&provider.check, provider.from.first()) {
        (Check::Mtls(_), _) => json!({"type": "mutualTLS"}),
        (_, Some(CredentialSource::Header(name))) => within("header", name),
        (_, Some(CredentialSource::Cookie(name))) => within("cookie", name),
        (_, Some(CredentialSource::Query(name))) => within("query", name),
        (_, Some(CredentialSource::Bearer) | None) => {
            json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
        }
    }
}

/// What an operation of `route` takes: one of its providers. `None` if it is open to all.
///
/// Scopes are named with the one scheme that may have them here (OpenAPI 3.1, "Security Requirement Object": names of
/// roles for other types than OAuth 2).
pub(super) fn requirement(route: Option<&Route>, valid: &Valid) -> Option<Value> {
    let access = &route?.access;
    if !access.required.value {
        return None;
    }
    let demanded: Vec<&String> =
        access.allow.value.iter().flat_map(|allow| allow.roles.iter().chain(&allow.scopes)).collect();
    let name = |index: &usize| valid.auth.providers.get(*index).map(|provider| provider.name.clone());
    let one = |name: String| Value::Object(Map::from_iter([(name, json!(demanded))]));
    Some(access.providers.value.iter().filter_map(name).map(one).collect())
}
