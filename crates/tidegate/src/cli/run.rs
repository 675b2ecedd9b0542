//! `tidegate run`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_config::Loaded;

use super::{exit, load};
use crate::app::{self, StartError};
use crate::listen::ListenError;
use crate::snapshot::inputs::Recorder;
use crate::telemetry::logs;

pub(super) fn run(path: &Path, share_ports: bool, handover: Option<PathBuf>) -> ExitCode {
    let recorder = Recorder::new(path, None);
    let Loaded { valid, mut diagnostics } = match recorder.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            load::report(&problems);
            return ExitCode::from(exit::CONFIG);
        }
    };
    load::report(&diagnostics);
    // Held to the end: whatever happens, its last lines are written.
    let _log = match logs::init(&valid.observability.logs, log_directives().as_deref()) {
        Ok(log) => log,
        Err(error) => {
            load::say(&format!("cannot start the log: {error}\n"));
            return ExitCode::from(exit::FAILED);
        }
    };
    match app::run(valid, &recorder, share_ports, handover) {
        Ok(app::Ended::Drained) => ExitCode::SUCCESS,
        Ok(app::Ended::NotTakenOver) => ExitCode::from(exit::UNAVAILABLE),
        Ok(app::Ended::Forced) => ExitCode::from(exit::FAILED),
        Ok(app::Ended::Cut) => ExitCode::from(exit::DRAIN_TIMEOUT),
        Err(StartError::Config(problems)) => {
            load::add(&mut diagnostics, &problems);
            load::report(&diagnostics);
            ExitCode::from(exit::CONFIG)
        }
        Err(StartError::Listen(error)) => {
            tracing::error!(error = %error, "cannot listen");
            ExitCode::from(match error {
                ListenError::Certificate { .. } => exit::CONFIG,
                ListenError::Taken { .. }
                | ListenError::Bind { .. }
                | ListenError::Stuck { .. }
                | ListenError::Inherit(_)
                | ListenError::Handover(_) => exit::UNAVAILABLE,
            })
        }
        Err(StartError::System(error)) => {
            tracing::error!(error = %error, "cannot start");
            ExitCode::from(exit::FAILED)
        }
    }
}

/// Levels of the process log from the environment. A name of our own comes first: `RUST_LOG` may be meant for others.
fn log_directives() -> Option<String> {
    let named = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    named("TIDEGATE_LOG").or_else(|| named("RUST_LOG"))
}
