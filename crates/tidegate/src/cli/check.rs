//! `tidegate check`: everything up to a snapshot, then it is thrown away. Nothing is bound, nothing is asked.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tidegate_config::Loaded;
use tidegate_config::source::System;

use super::{Format, exit, load, print};
use crate::app;

pub(super) fn run(path: &Path, format: Format) -> ExitCode {
    let problems = match tidegate_config::load(&System, path) {
        Err(problems) => problems,
        Ok(Loaded { valid, mut diagnostics }) => {
            if let Err(more) = app::draft(&Arc::new(valid)) {
                load::add(&mut diagnostics, &more);
            }
            diagnostics
        }
    };
    print(&match format {
        Format::Text => problems.to_text(),
        Format::Json => format!("{}\n", problems.to_json()),
    });
    if problems.has_errors() { ExitCode::from(exit::CONFIG) } else { ExitCode::SUCCESS }
}
