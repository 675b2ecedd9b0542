//! Keys and rules of a provider of a configuration, instead of options.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use tidegate_config::valid::{Check, JwtRules, KeySource};
use tidegate_config::{Diagnostics, Valid};
use tidegate_jwt::{Algorithm, KeySet, SigningKey, Symmetric};

use super::keys;
use crate::snapshot::inputs::Recorder;

#[derive(Debug, Args)]
pub(super) struct FromProvider {
    /// Configuration file; the key and what tokens have to be come from its provider, unless given here. `-` is standard
    /// input.
    #[arg(short = 'c', long = "config", value_name = "FILE", group = "keys", requires = "provider")]
    config: Option<PathBuf>,
    /// Name of a provider of `type: jwt`.
    #[arg(long, requires = "config")]
    provider: Option<String>,
}

/// A configuration that cannot be read; its problems say why.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is invalid")]
pub(super) struct InvalidConfiguration(pub(super) Diagnostics);

impl FromProvider {
    /// The rules of the provider, if one was asked for.
    pub(super) fn rules(&self) -> anyhow::Result<Option<JwtRules>> {
        let (Some(config), Some(provider)) = (&self.config, &self.provider) else { return Ok(None) };
        let loaded = Recorder::new(config, None).load().map_err(InvalidConfiguration)?;
        find(loaded.valid, provider).map(Some)
    }
}

fn find(valid: Valid, name: &str) -> anyhow::Result<JwtRules> {
    let provider = valid.auth.providers.into_iter().find(|provider| provider.name == name);
    match provider.map(|provider| provider.check) {
        Some(Check::Jwt(rules)) => Ok(*rules),
        Some(Check::ApiKey(_) | Check::Mtls(_)) => bail!("provider `{name}` is not of `type: jwt`"),
        None => bail!("the configuration has no provider `{name}`"),
    }
}

/// The algorithms that a provider allows.
fn algorithms(rules: &JwtRules) -> Vec<Algorithm> {
    rules.algorithms.iter().filter_map(|name| Algorithm::parse(name)).collect()
}

/// What the provider's tokens are signed with, by the wanted algorithm or the first that it allows.
pub(super) fn signing_key(rules: &JwtRules, wanted: Option<Algorithm>) -> anyhow::Result<SigningKey> {
    let KeySource::Secret { secret, weak } = &rules.keys else {
        bail!("the provider has public keys, and whoever signs has the private one: give it with `--key`");
    };
    let allowed = algorithms(rules);
    let algorithm = wanted.or(allowed.first().copied()).filter(|algorithm| allowed.contains(algorithm));
    let algorithm = algorithm.context("the provider does not allow this algorithm")?;
    Ok(SigningKey::from_secret(secret.expose().as_bytes(), algorithm, *weak)?)
}

/// The keys that the gateway verifies the provider's tokens with.
pub(super) fn key_set(rules: &JwtRules) -> anyhow::Result<KeySet> {
    let algorithms = algorithms(rules);
    match &rules.keys {
        KeySource::Secret { secret, weak } => Ok(KeySet::from_secret(secret.expose().as_bytes(), &algorithms, *weak)?),
        KeySource::Pem(path) => {
            KeySet::from_pem(&keys::contents(path)?, &algorithms).with_context(|| path.display().to_string())
        }
        KeySource::File(path) => {
            let set = KeySet::from_jwks(&keys::contents(path)?, &algorithms, Symmetric::Refused);
            Ok(set.with_context(|| path.display().to_string())?.0)
        }
        KeySource::Url(_) | KeySource::Discovery(_) => {
            bail!("the provider's keys are fetched, and nobody is asked here: get them, and give them with `--jwks`")
        }
    }
}
