//! Where keys come from, and other options that both commands have.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use tidegate_config::secret::Secret;
use tidegate_config::units;
use tidegate_jwt::Algorithm;

/// Bytes of a file with a key or keys: a hundred of the longest RSA keys with their certificates are less.
const MAX_FILE: u64 = 1024 * 1024;

/// A secret of HMAC.
#[derive(Debug, Args)]
pub(super) struct FromSecret {
    /// Environment variable that holds the secret of HS256, HS384 or HS512.
    #[arg(long, value_name = "NAME", group = "keys")]
    pub(super) secret_env: Option<String>,
    /// File that holds the secret; line ends at its end do not count.
    #[arg(long, value_name = "FILE", group = "keys")]
    pub(super) secret_file: Option<PathBuf>,
    /// Allow a secret of less than 32 bytes, as `weak_secret: true` does.
    #[arg(long)]
    pub(super) weak_secret: bool,
}

impl FromSecret {
    /// The secret, if one was asked for.
    pub(super) fn read(&self) -> anyhow::Result<Option<Secret>> {
        if let Some(name) = &self.secret_env {
            return match std::env::var(name) {
                Ok(secret) => Ok(Some(Secret::new(secret))),
                Err(error) => Err(error).with_context(|| format!("variable `{name}`")),
            };
        }
        let Some(path) = &self.secret_file else { return Ok(None) };
        let bytes = contents(path)?;
        let text =
            String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{}: the secret is not UTF-8", path.display()))?;
        // As `${file:…}` of a configuration has it.
        Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

/// The whole of a file of keys.
pub(super) fn contents(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || bounded(File::open(path)?, MAX_FILE);
    read().with_context(|| path.display().to_string())
}

/// Everything that comes, unless it is more than `limit` bytes.
pub(super) fn bounded(from: impl Read, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= limit, "more than {limit} bytes");
    Ok(bytes)
}

/// For clap.
pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text).ok_or_else(|| {
        let names: Vec<&str> = Algorithm::ALL.into_iter().map(Algorithm::name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// For clap: `90s`, `1h`, as in a configuration.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|error| error.to_string())
}
