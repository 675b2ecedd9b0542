//! A snapshot without a running gateway: as far as files go, and what earlier runs have kept of the backends'
//! descriptors.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tidegate_config::Loaded;

use super::{exit, load};
use crate::app::workbench::Workbench;
use crate::snapshot::Snapshot;
use crate::snapshot::inputs::Recorder;

/// A snapshot that nobody serves, and what is to be said about it.
pub(super) struct Offline {
    pub(super) snapshot: Snapshot,
    pub(super) notes: Vec<String>,
}

/// Reads and compiles a configuration. Kept descriptors are used if they fit the routes, and left out if they do not.
///
/// # Errors
/// The exit code, after all problems were printed.
pub(super) fn read(path: &Path) -> Result<Offline, ExitCode> {
    let recorder = Recorder::new(path, None);
    let Loaded { valid, mut diagnostics } = recorder.load().map_err(|problems| {
        load::report(&problems);
        ExitCode::from(exit::CONFIG)
    })?;
    let mut bench = Workbench::new(&Arc::new(valid), &recorder).map_err(|problems| {
        load::add(&mut diagnostics, &problems);
        load::report(&diagnostics);
        ExitCode::from(exit::CONFIG)
    })?;
    let note = |service| format!("the descriptors of {service} that an earlier run has kept do not fit the routes");
    let notes = bench.learn_kept().into_iter().map(note).collect();
    Ok(Offline { snapshot: bench.draft.snapshot, notes })
}
