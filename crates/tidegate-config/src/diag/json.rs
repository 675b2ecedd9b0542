//! Problems as JSON, for scripts and editors.

use serde::Serialize;

use super::{Diagnostics, Severity};

/// Fields are in the order in which they are printed.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    files: Vec<&'a str>,
    problems: Vec<Problem<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Problem<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
    path: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    column: Option<u32>,
    end_column: Option<u32>,
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    routes: usize,
    services: usize,
}

pub(super) fn render(all: &Diagnostics) -> String {
    let problems = all.sorted().into_iter().map(|problem| {
        let place = problem.place.as_ref();
        Problem {
            severity: Severity::as_str(problem.severity),
            code: problem.code.as_str(),
            message: &problem.message,
            path: place.map(|place| &*place.path),
            file: place.map(|place| &*place.file),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            end_column: place.map(|place| place.end_column),
            help: problem.help.as_deref(),
        }
    });
    let report = Report {
        ok: !all.has_errors(),
        files: all.files.iter().map(|file| &*file.name).collect(),
        problems: problems.collect(),
        summary: Summary { errors: all.errors(), warnings: all.warnings(), routes: all.routes, services: all.services },
    };
    // Strings, numbers and booleans always serialise.
    serde_json::to_string(&report).unwrap_or_default()
}
