//! Whether somebody who is known may do what is asked.
//!
//! The refusal says nothing of what would have been enough.

use http::Method;
use serde_json::Value;
use tidegate_config::valid::{Access, Allow};

use crate::identity::Identity;

/// The proof that a request was let in: only this module makes one, and actions demand it.
#[derive(Debug)]
pub struct Pass(());

/// Who is let in, by method.
#[derive(Debug)]
pub struct Authz {
    allow: Demand,
    methods: Box<[(Method, Demand)]>,
}

/// What an identity must have; nothing: everybody has it.
#[derive(Debug, Default)]
struct Demand {
    roles: Box<[Box<str>]>,
    scopes: Box<[Box<str>]>,
    claims: Box<[(Box<str>, Box<str>)]>,
}

impl Pass {
    /// Of a route that is open to all.
    pub(super) const fn open() -> Self {
        Self(())
    }
}

impl Authz {
    /// Compiles what a route demands.
    #[must_use]
    pub fn compile(access: &Access) -> Self {
        let demand = |allow: &Allow| {
            let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
            let claims = allow.claims.iter().map(|(path, text)| (path.as_str().into(), text.as_str().into()));
            Demand { roles: boxed(&allow.roles), scopes: boxed(&allow.scopes), claims: claims.collect() }
        };
        let method = |(name, allow): &(String, Allow)| Some((Method::from_bytes(name.as_bytes()).ok()?, demand(allow)));
        Self {
            allow: access.allow.value.as_ref().map(demand).unwrap_or_default(),
            methods: access.methods.value.iter().filter_map(method).collect(),
        }
    }

    /// Lets `identity` use `method`, or not.
    #[must_use]
    pub fn permit(&self, identity: &Identity, method: &Method) -> Option<Pass> {
        // A HEAD tells what a GET does.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let own = self.methods.iter().find(|(of, _)| of == method);
        own.map_or(&self.allow, |(_, demand)| demand).is_met_by(identity).then_some(Pass(()))
    }
}

impl Demand {
    fn is_met_by(&self, identity: &Identity) -> bool {
        let has = |list: &[Box<str>], wanted: &str| list.iter().any(|has| **has == *wanted);
        (self.roles.is_empty() || self.roles.iter().any(|role| has(&identity.roles, role)))
            && self.scopes.iter().all(|scope| has(&identity.scopes, scope))
            && self.claims.iter().all(|(path, text)| identity.claim(path).is_some_and(|value| says(value, text)))
    }
}

/// A text, number or boolean that is equal, or a list that has one.
fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Number(number) => number.to_string() == text,
        Value::Bool(flag) => text == if *flag { "true" } else { "false" },
        Value::Array(items) => items.iter().any(|item| !item.is_array() && says(item, text)),
        Value::Object(_) | Value::Null => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_config::valid::Setting;

    use super::*;
    use crate::identity::CredentialKind;

    fn identity(roles: &[&str], scopes: &[&str]) -> Identity {
        let boxed = |list: &[&str]| list.iter().map(|text| Box::from(*text)).collect();
        let claims = json!({"tenant": "acme", "level": 3, "beta": true, "groups": ["a", "b"], "o": {"p": "q"}});
        Identity {
            provider: "main".into(),
            kind: CredentialKind::Token,
            subject: "u1".into(),
            roles: boxed(roles),
            scopes: boxed(scopes),
            claims: claims.as_object().unwrap().clone(),
            forward: Box::default(),
            rate: None,
        }
    }

    fn allow(roles: &[&str], scopes: &[&str], claims: &[(&str, &str)]) -> Allow {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let claims = claims.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Allow { roles: owned(roles), scopes: owned(scopes), claims }
    }

    fn authz(allow: Option<Allow>, methods: Vec<(String, Allow)>) -> Authz {
        Authz::compile(&Access {
            required: Setting::built_in(true),
            providers: Setting::built_in(vec![0]),
            allow: Setting::built_in(allow),
            methods: Setting::built_in(methods),
            token_from: None,
        })
    }

    #[test]
    fn all_that_is_demanded_must_be_met() {
        let who = identity(&["operator", "viewer"], &["orders:read"]);
        for (demanded, met) in [
            (allow(&[], &[], &[]), true),
            (allow(&["viewer"], &[], &[]), true),
            (allow(&["admin", "operator"], &[], &[]), true),
            (allow(&["admin"], &[], &[]), false),
            (allow(&["Viewer"], &[], &[]), false),
            (allow(&[], &["orders:read"], &[]), true),
            (allow(&[], &["orders:read", "orders:write"], &[]), false),
            (allow(&["viewer"], &["orders:write"], &[]), false),
            (
                allow(&[], &[], &[("tenant", "acme"), ("level", "3"), ("beta", "true"), ("groups", "b"), ("o.p", "q")]),
                true,
            ),
            (allow(&[], &[], &[("tenant", "acm")]), false),
            (allow(&[], &[], &[("missing", "")]), false),
            (allow(&[], &[], &[("o", "q")]), false),
        ] {
            let text = format!("{demanded:?}");
            assert_eq!(authz(Some(demanded), vec![]).permit(&who, &Method::GET).is_some(), met, "{text}");
        }
        assert!(authz(None, vec![]).permit(&who, &Method::GET).is_some());
    }

    #[test]
    fn a_method_may_have_rules_of_its_own() {
        let rules = authz(
            Some(allow(&["viewer"], &[], &[])),
            vec![("DELETE".to_owned(), allow(&["admin"], &[], &[])), ("GET".to_owned(), allow(&[], &[], &[]))],
        );
        let (nobody, viewer, admin) = (identity(&[], &[]), identity(&["viewer"], &[]), identity(&["admin"], &[]));
        for (method, who, met) in [
            (Method::GET, &nobody, true),
            (Method::HEAD, &nobody, true),
            (Method::POST, &nobody, false),
            (Method::POST, &viewer, true),
            (Method::DELETE, &viewer, false),
            (Method::DELETE, &admin, true),
            (Method::PUT, &admin, false),
        ] {
            assert_eq!(rules.permit(who, &method).is_some(), met, "{method} {:?}", who.roles);
        }
    }
}
