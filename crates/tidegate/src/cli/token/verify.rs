//! `tidegate token verify`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use tidegate_config::valid::JwtRules;
use tidegate_jwt::{Algorithm, KeySet, MAX_TOKEN, Refusal, Rules, Symmetric};

use super::keys::{self, FromSecret};
use super::provider::{self, FromProvider};
use crate::cli::load;
use crate::time;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("keys").required(true))]
pub(in crate::cli) struct Asked {
    /// The token; `-` is standard input. A leading `Bearer ` does not count.
    token: String,
    #[command(flatten)]
    provider: FromProvider,
    #[command(flatten)]
    secret: FromSecret,
    /// Public keys or certificates in PEM.
    #[arg(long, value_name = "FILE", group = "keys")]
    key: Option<PathBuf>,
    /// JWK Set, or a single JWK.
    #[arg(long, value_name = "FILE", group = "keys")]
    jwks: Option<PathBuf>,
    /// Algorithm that is allowed, several times if need be; without it all that fit the keys.
    #[arg(long, value_name = "ALG", value_delimiter = ',', value_parser = keys::algorithm)]
    alg: Vec<Algorithm>,
    /// What `iss` has to be.
    #[arg(long)]
    issuer: Option<String>,
    /// What `aud` has to contain, one of them if several are given.
    #[arg(long, value_delimiter = ',')]
    audience: Vec<String>,
    /// What `typ` of the header has to be.
    #[arg(long)]
    typ: Option<String>,
    /// By how much clocks may differ; without it 30 s.
    #[arg(long, value_name = "DURATION", value_parser = keys::duration)]
    leeway: Option<Duration>,
}

/// As `leeway` of a provider has it.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);

/// What is printed.
pub(super) struct Verdict {
    /// `header` and `claims` as far as they can be read, and `accepted`.
    pub(super) shown: Value,
    pub(super) refused: Option<Refusal>,
}

pub(super) fn verdict(asked: &Asked) -> anyhow::Result<Verdict> {
    let provider = asked.provider.rules()?;
    let keys = key_set(asked, provider.as_ref())?;
    let rules = rules(asked, provider.as_ref());
    let token = token(&asked.token)?;
    let token = token.trim_ascii();
    let token = token.strip_prefix(b"Bearer ").unwrap_or(token);
    Ok(judge(token, &keys, &rules, time::unix_ms() / 1000))
}

/// What was asked for, else what the provider wants.
fn rules(asked: &Asked, provider: Option<&JwtRules>) -> Rules {
    let own = provider.map_or(DEFAULT_LEEWAY, |rules| rules.leeway);
    let audience = match provider {
        Some(rules) if asked.audience.is_empty() => &rules.audience,
        Some(_) | None => &asked.audience,
    };
    Rules {
        issuer: asked.issuer.clone().or_else(|| provider?.issuer.clone()),
        audience: audience.clone(),
        leeway: asked.leeway.unwrap_or(own).as_secs(),
        typ: asked.typ.clone().or_else(|| provider?.typ.clone()),
        require_exp: true,
    }
}

fn token(given: &str) -> anyhow::Result<Vec<u8>> {
    if given == "-" {
        // Room for white space and the word before it.
        return keys::bounded(std::io::stdin().lock(), MAX_TOKEN as u64 * 2).context("standard input");
    }
    Ok(given.as_bytes().to_vec())
}

fn key_set(asked: &Asked, provider: Option<&JwtRules>) -> anyhow::Result<KeySet> {
    if let Some(rules) = provider {
        return provider::key_set(rules);
    }
    let algorithms = if asked.alg.is_empty() { &Algorithm::ALL[..] } else { &asked.alg };
    if let Some(secret) = asked.secret.read()? {
        return Ok(KeySet::from_secret(secret.expose().as_bytes(), algorithms, asked.secret.weak_secret)?);
    }
    let Some(path) = asked.key.as_ref().or(asked.jwks.as_ref()) else { anyhow::bail!("a key is needed") };
    let contents = keys::contents(path)?;
    if asked.key.is_some() {
        return KeySet::from_pem(&contents, algorithms).with_context(|| path.display().to_string());
    }
    let (keys, left_out) =
        KeySet::from_jwks(&contents, algorithms, Symmetric::Allowed).with_context(|| path.display().to_string())?;
    for left in left_out {
        let name = left.kid.map_or_else(|| "without `kid`".to_owned(), |kid| format!("{kid:?}"));
        load::say(&format!("note: key {name} is left out: {}\n", left.why));
    }
    Ok(keys)
}

fn judge(token: &[u8], keys: &KeySet, rules: &Rules, now: u64) -> Verdict {
    let read = match tidegate_jwt::read(token) {
        Ok(read) => read,
        Err(why) => return refused(json!({}), why),
    };
    let mut shown = json!({});
    if let Ok(header) = read.unverified_header() {
        shown["header"] = header.into();
    }
    if let Ok(claims) = read.unverified_claims() {
        shown["claims"] = claims.into();
    }
    match read.verify(keys, rules, now) {
        Ok(_) => {
            shown["accepted"] = true.into();
            Verdict { shown, refused: None }
        }
        Err(why) => refused(shown, why),
    }
}

fn refused(mut shown: Value, why: Refusal) -> Verdict {
    shown["accepted"] = false.into();
    shown["why"] = why.to_string().into();
    Verdict { shown, refused: Some(why) }
}
