//! `tidegate openapi`: the API as its clients see it. Nothing is bound, nothing is asked; of a service that is asked by
//! reflection, what an earlier run has kept is used.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{load, offline, print};
use crate::openapi::{self, About};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of the API; without it, the name of the configuration file.
    #[arg(long)]
    title: Option<String>,
    /// Version of the API.
    #[arg(long, value_name = "VERSION", default_value = "1.0.0")]
    api_version: String,
    /// What the API is for, in Markdown.
    #[arg(long)]
    description: Option<String>,
    /// How the document is printed.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Indented, keys sorted.
    Json,
}

pub(super) fn run(path: &Path, arguments: Arguments) -> ExitCode {
    let offline = match offline::read(path) {
        Ok(offline) => offline,
        Err(code) => return code,
    };
    let Format::Json = arguments.format;
    let about = About {
        title: arguments.title.unwrap_or_else(|| name_of(path)),
        version: arguments.api_version,
        description: arguments.description,
    };
    print(&openapi::text(&offline.snapshot, &about));
    offline.notes.iter().for_each(|note| load::say(&format!("note: {note}\n")));
    ExitCode::SUCCESS
}

/// The file without its folder and extension; standard input has no name.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| stem != "-").unwrap_or_else(|| "tidegate".to_owned())
}
