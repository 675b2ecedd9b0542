//! `tidegate schema`: the JSON Schema of the configuration, from the same types that read it.

use std::process::ExitCode;

use clap::ValueEnum;
use tidegate_config::schema;

use super::print;

/// The one form that a schema has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// JSON Schema, version 2020-12.
    Json,
}

pub(super) fn run(format: Format) -> ExitCode {
    match format {
        Format::Json => print(&schema::json_schema()),
    }
    ExitCode::SUCCESS
}
