//! `tidegate api-key`: a key for a client, and what a configuration knows of it.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::ensure;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use serde_json::Value;

use super::{exit, load, print};

/// Random bytes of a key.
const RANDOM: usize = 32;

/// Characters of a prefix: a request's key may have 256.
const MAX_PREFIX: usize = 32;

/// Where the entry belongs.
const COMMENT: &str = "# for `keys` of a provider of `type: api_key`, or for its `keys_file`";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a random key. It is printed once and kept nowhere; the configuration gets its SHA-256.
    New {
        /// Who has the key: the name in logs. Without it a name from the key's SHA-256.
        #[arg(long)]
        id: Option<String>,
        /// Roles of whoever has the key.
        #[arg(long, value_delimiter = ',')]
        roles: Vec<String>,
        /// How the key begins, so that scanners of source code find it: letters, digits, `_` and `-`.
        #[arg(long, default_value = "tg_", value_parser = prefix)]
        prefix: String,
    },
}

fn prefix(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.len() <= MAX_PREFIX && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err(format!("expected at most {MAX_PREFIX} letters, digits, `_` and `-`"))
}

pub(super) fn run(action: &Action) -> ExitCode {
    let Action::New { id, roles, prefix } = action;
    match random(prefix) {
        Ok(key) => {
            print(&text(&key, id.as_deref(), roles));
            ExitCode::SUCCESS
        }
        Err(error) => {
            load::complain(&format!("{error:#}"));
            ExitCode::from(exit::FAILED)
        }
    }
}

fn random(prefix: &str) -> anyhow::Result<String> {
    let mut bytes = [0; RANDOM];
    ensure!(aws_lc_rs::rand::fill(&mut bytes).is_ok(), "the system has no random bytes");
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The key, then what goes into the configuration.
fn text(key: &str, id: Option<&str>, roles: &[String]) -> String {
    let mut hash = String::new();
    for byte in digest(&SHA256, key.as_bytes()).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    let id = id.map_or_else(|| format!("key-{}", hash.get(..8).unwrap_or_default()), str::to_owned);
    // JSON is YAML too: one line for both.
    let mut entry = format!("\"id\": {}", Value::from(id));
    if !roles.is_empty() {
        let roles: Vec<String> = roles.iter().map(|role| Value::from(role.as_str()).to_string()).collect();
        let _ = write!(entry, ", \"roles\": [{}]", roles.join(", "));
    }
    format!("{key}\n\n{COMMENT}\n\"{hash}\": {{ {entry} }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_printed_with_its_hash() {
        let roles = ["operator".to_owned(), "on: call".to_owned()];
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let head = format!("abc\n\n{COMMENT}\n");
        let all = format!("{head}\"{hash}\": {{ \"id\": \"partner-1\", \"roles\": [\"operator\", \"on: call\"] }}\n");
        assert_eq!(text("abc", Some("partner-1"), &roles), all);
        assert_eq!(text("abc", None, &[]), format!("{head}\"{hash}\": {{ \"id\": \"key-ba7816bf\" }}\n"));
    }

    #[test]
    fn keys_are_random_and_fit_a_header() {
        let (one, other) = (random("tg_").unwrap(), random("tg_").unwrap());
        assert!(one != other && one.len() == 3 + 43 && one.starts_with("tg_"), "{one}");
        assert!(prefix("").is_ok() && prefix("live-1_").is_ok());
        for bad in ["a b", "ü", "a\"", &"a".repeat(33)] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}
