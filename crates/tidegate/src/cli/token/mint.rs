//! `tidegate token mint`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};
use tidegate_config::valid::JwtRules;
use tidegate_jwt::{Algorithm, SigningKey};

use super::keys::{self, FromSecret};
use super::provider::{self, FromProvider};
use crate::time;

/// What `exp` is without `--expires`.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("keys").required(true))]
pub(in crate::cli) struct Wanted {
    #[command(flatten)]
    provider: FromProvider,
    #[command(flatten)]
    secret: FromSecret,
    /// Private key in PEM: RSA, EC or Ed25519.
    #[arg(long, value_name = "FILE", group = "keys")]
    key: Option<PathBuf>,
    /// Algorithm; without it HS256 for a secret, RS256 for RSA, and the one that a key of another kind has.
    #[arg(long, value_name = "ALG", value_parser = keys::algorithm)]
    alg: Option<Algorithm>,
    /// `kid` of the header.
    #[arg(long)]
    kid: Option<String>,
    /// `sub`.
    #[arg(long)]
    sub: Option<String>,
    /// `iss`.
    #[arg(long)]
    issuer: Option<String>,
    /// `aud`; several make a list.
    #[arg(long, value_delimiter = ',')]
    audience: Vec<String>,
    /// Claim `roles`, a list; where the provider's `roles_claim` says, if there is one.
    #[arg(long, value_delimiter = ',')]
    roles: Vec<String>,
    /// Another claim, several times if need be. What is JSON counts as such, everything else as text: `--claim level=5`,
    /// `--claim team=blue`. `exp=1` makes a token that has expired, `exp=null` one without an end.
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// How long the token is good, such as `90s` or `1h`; without it an hour.
    #[arg(long, value_name = "DURATION", value_parser = keys::duration)]
    expires: Option<Duration>,
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

pub(super) fn token(wanted: &Wanted) -> anyhow::Result<String> {
    let rules = wanted.provider.rules()?;
    let key = match (&rules, wanted.secret.read()?, &wanted.key) {
        (Some(rules), _, _) => provider::signing_key(rules, wanted.alg)?,
        (None, Some(secret), _) => {
            let algorithm = wanted.alg.unwrap_or(Algorithm::HS256);
            SigningKey::from_secret(secret.expose().as_bytes(), algorithm, wanted.secret.weak_secret)?
        }
        (None, None, Some(path)) => {
            let pem = keys::contents(path)?;
            SigningKey::from_pem(&pem, wanted.alg).with_context(|| path.display().to_string())?
        }
        (None, None, None) => anyhow::bail!("a key is needed"),
    };
    let mut header = Map::new();
    let typ = rules.as_ref().and_then(|rules| rules.typ.clone());
    for (name, text) in [("kid", wanted.kid.clone()), ("typ", typ)] {
        header.extend(text.map(|text| (name.to_owned(), Value::from(text))));
    }
    let claims = claims(wanted, rules.as_ref(), time::unix_ms() / 1000)?;
    let token = tidegate_jwt::mint(&header, &claims, &key)?;
    ensure!(token.len() <= tidegate_jwt::MAX_TOKEN, "the token would be longer than 8 KiB, which nobody takes");
    Ok(token)
}

/// The claims of a token that is made at `now`, in seconds since 1970. What `rules` want is there if nothing else was
/// asked for.
fn claims(wanted: &Wanted, rules: Option<&JwtRules>, now: u64) -> anyhow::Result<Map<String, Value>> {
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| {
        ensure!(claims.insert(name.to_owned(), value).is_none(), "claim `{name}` is given twice");
        Ok(())
    };
    for (name, text) in [("sub", &wanted.sub), ("iss", &wanted.issuer)] {
        if let Some(text) = text {
            set(name, text.as_str().into())?;
        }
    }
    match wanted.audience.as_slice() {
        [] => {}
        [one] => set("aud", one.as_str().into())?,
        several => set("aud", several.into())?,
    }
    if !wanted.roles.is_empty() {
        let (name, value) = at_path(rules.map_or("roles", |rules| &rules.roles_claim), json!(wanted.roles));
        set(name, value)?;
    }
    let end = |life: Duration| Value::from(now.saturating_add(life.as_secs()));
    if let Some(life) = wanted.expires {
        set("exp", end(life))?;
    }
    for (name, value) in &wanted.claims {
        set(name, value.clone())?;
    }
    let issuer = rules.and_then(|rules| rules.issuer.as_deref());
    let audience = rules.and_then(|rules| rules.audience.first());
    let defaults = [
        ("iat", Some(Value::from(now))),
        ("exp", Some(end(DEFAULT_LIFE))),
        ("iss", issuer.map(Value::from)),
        ("aud", audience.map(|audience| Value::from(audience.as_str()))),
    ];
    for (name, value) in defaults {
        if let Some(value) = value {
            claims.entry(name).or_insert(value);
        }
    }
    claims.retain(|_, value| !value.is_null());
    Ok(claims)
}

/// The claim of the top level that has `value` at a dotted path. A name with a slash, such as a URL, is no path.
fn at_path(path: &str, value: Value) -> (&str, Value) {
    let Some((first, rest)) = path.split_once('.').filter(|_| !path.contains('/')) else { return (path, value) };
    (first, rest.rsplit('.').fold(value, |inner, name| json!({ name: inner })))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        wanted: Wanted,
    }

    fn of(arguments: &[&str]) -> anyhow::Result<Value> {
        let line = Line::try_parse_from([&["mint", "--secret-env", "S"], arguments].concat())?;
        claims(&line.wanted, None, 1_000).map(Value::Object)
    }

    #[test]
    fn claims_are_what_was_asked_for() {
        assert_eq!(of(&[]).unwrap(), json!({"iat": 1000, "exp": 4600}));
        let all = ["--sub", "5", "--issuer", "i", "--audience", "a", "--roles", "x,y", "--expires", "90s"];
        let wanted = json!({"sub": "5", "iss": "i", "aud": "a", "roles": ["x", "y"], "iat": 1000, "exp": 1090});
        assert_eq!(of(&all).unwrap(), wanted);
        let two = json!({"aud": ["a", "b"], "iat": 1000, "exp": 4600});
        assert_eq!(of(&["--audience", "a", "--audience", "b"]).unwrap(), two);
    }

    #[test]
    fn other_claims_are_json_or_text() {
        for (text, value) in [
            ("c=5", json!(5)),
            ("c=true", json!(true)),
            ("c=[1,\"a\"]", json!([1, "a"])),
            ("c=\"5\"", json!("5")),
            ("c=blue", json!("blue")),
            ("c=", json!("")),
            ("c=a=b", json!("a=b")),
        ] {
            assert_eq!(of(&["--claim", text]).unwrap()["c"], value, "{text}");
        }
        let expired = of(&["--claim", "exp=1", "--claim", "iat=null"]).unwrap();
        assert_eq!(expired, json!({"exp": 1}));
        assert_eq!(of(&["--claim", "exp=null"]).unwrap(), json!({"iat": 1000}));
    }

    #[test]
    fn roles_stand_where_the_provider_looks_for_them() {
        let at = |path| at_path(path, json!(["a"]));
        assert_eq!(at("roles"), ("roles", json!(["a"])));
        assert_eq!(at("realm_access.roles"), ("realm_access", json!({"roles": ["a"]})));
        assert_eq!(at("a.b.c"), ("a", json!({"b": {"c": ["a"]}})));
        assert_eq!(at("https://example.com/roles"), ("https://example.com/roles", json!(["a"])));
    }

    #[test]
    fn a_claim_twice_is_refused() {
        for twice in [
            ["--sub", "a", "--claim", "sub=b"],
            ["--claim", "x=1", "--claim", "x=1"],
            ["--expires", "1h", "--claim", "exp=1"],
            ["--roles", "a", "--claim", "roles=[]"],
        ] {
            assert!(of(&twice).is_err(), "{twice:?}");
        }
        assert!(of(&["--claim", "x"]).is_err() && of(&["--claim", "=x"]).is_err());
    }
}
