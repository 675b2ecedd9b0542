//! The providers of a configuration: those of before where nothing that shapes them has changed.

use std::path::Path;
use std::sync::Arc;

use tidegate_config::valid::{Check, KeySource, Provider as Configured};
use tidegate_config::{Code, Diagnostic, Place, Valid};

use super::draft::Surroundings;
use super::inputs::{Digest, Recorder};
use crate::policy::authn::{Material, Provider, read_keys_file};

/// Makes the providers of `valid`, in its order. Keys of files are read through `recorder`. Blocks on files.
///
/// # Errors
/// Files that cannot be read, keys that cannot be used.
pub(super) fn providers(
    valid: &Valid,
    recorder: &Recorder,
    around: &Surroundings<'_>,
) -> Result<Vec<Arc<Provider>>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut providers = Vec::with_capacity(valid.auth.providers.len());
    for configured in &valid.auth.providers {
        match provider(valid, configured, recorder, around) {
            Ok(provider) => providers.push(provider),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(providers) } else { Err(problems) }
}

fn provider(
    valid: &Valid,
    configured: &Configured,
    recorder: &Recorder,
    around: &Surroundings<'_>,
) -> Result<Arc<Provider>, Diagnostic> {
    let mut secret: &[u8] = b"";
    let mut material = Material::default();
    let mut files = Vec::new();
    match &configured.check {
        Check::Jwt(rules) => match &rules.keys {
            KeySource::Secret { secret: text, .. } => secret = text.expose().as_bytes(),
            KeySource::Pem(path) | KeySource::File(path) => {
                material.keys = read(recorder, path, &configured.place)?;
                files.push(material.keys.clone());
            }
            KeySource::Url(_) | KeySource::Discovery(_) => {
                files.extend(rules.ca.as_ref().map(|ca| format!("{:?}", recorder.digest(ca)).into_bytes()));
            }
        },
        Check::ApiKey(keys) => {
            if let Some(path) = &keys.file {
                let place = keys.file_place.as_ref().unwrap_or(&configured.place);
                let bytes = read(recorder, path, place)?;
                material.api_keys = read_keys_file(&bytes).map_err(|error| bad(path, &error.to_string(), place))?;
                files.push(bytes);
            }
        }
        Check::Mtls(_) => {}
    }
    let fingerprint = fingerprint(valid, configured, secret, &files);
    let before = around.before.and_then(|live| live.providers.iter().find(|before| *before.name == configured.name));
    if let Some(same) = before.filter(|before| before.fingerprint == fingerprint) {
        return Ok(Arc::clone(same));
    }
    let series = around.process.telemetry.metrics.auth(&configured.name.as_str().into());
    let before = before.map(|before| &**before);
    let made = Provider::compile(configured, &valid.auth, &material, fingerprint, series, before);
    made.map(Arc::new).map_err(|error| {
        let message = format!("the keys of \"{}\" cannot be used: {error}", configured.name);
        Diagnostic::error(Code::Keys, message).at(&configured.place)
    })
}

fn read(recorder: &Recorder, path: &Path, place: &Place) -> Result<Vec<u8>, Diagnostic> {
    recorder.file(path).map_err(|error| bad(path, &error.to_string(), place))
}

fn bad(path: &Path, error: &str, place: &Place) -> Diagnostic {
    Diagnostic::error(Code::Keys, format!("{}: {error}", path.display())).at(place)
}

/// Over all that shapes what a provider accepts and what it says of it.
fn fingerprint(valid: &Valid, configured: &Configured, secret: &[u8], files: &[Vec<u8>]) -> [u8; 32] {
    // Without places: a provider that moves to another line is the same. The secret is not in the text.
    let text = format!("{configured:-?} {:?} {:?}", valid.auth.roles, valid.auth.forward);
    let mut parts = vec![text.as_bytes(), secret];
    parts.extend(files.iter().map(Vec::as_slice));
    Digest::of(&parts).bytes()
}
