//! `tidegate explain`: what a configuration, or the running gateway, would do with a request.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Format, admin, exit, load, offline, print};
use crate::explain::{Explanation, Question, Standpoint, explain_as};

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Method, in upper case.
    method: String,
    /// `https://host/path?query`, or a path alone for the host `localhost`.
    url: String,
    /// A header of the request, `name: value`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Configuration file; `-` is standard input. Not needed with `--admin`.
    #[arg(short = 'c', long = "config", env = "TIDEGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    target: admin::Target,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected `name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn run(asked: &Asked) -> ExitCode {
    let question = match Question::new(&asked.method, &asked.url, &asked.headers) {
        Ok(question) => question,
        Err(error) => {
            load::complain(&error.to_string());
            return ExitCode::from(exit::USAGE);
        }
    };
    let explained = match (&asked.target.admin, &asked.config) {
        (Some(url), _) => ask(asked, url),
        (None, Some(path)) => read(path, &question),
        (None, None) => {
            load::complain("a configuration (-c) or a running gateway (--admin) is needed");
            return ExitCode::from(exit::USAGE);
        }
    };
    match explained {
        Ok((explanation, source)) => {
            print(&match asked.format {
                Format::Text => explanation.to_text() + &source,
                Format::Json => format!("{}\n", json(&explanation)),
            });
            if explanation.matched.is_some() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) }
        }
        Err(code) => code,
    }
}

fn json(explanation: &Explanation) -> String {
    // Texts, numbers and lists of them: there is nothing that could fail.
    serde_json::to_string(explanation).unwrap_or_default()
}

/// Explains what the file says.
fn read(path: &Path, question: &Question) -> Result<(Explanation, String), ExitCode> {
    let offline = offline::read(path)?;
    let mut explanation = explain_as(&offline.snapshot, question, Standpoint::Offline);
    explanation.notes.extend(offline.notes);
    Ok((explanation, String::new()))
}

/// Asks the running gateway.
fn ask(asked: &Asked, url: &http::Uri) -> Result<(Explanation, String), ExitCode> {
    let body = Question::json(&asked.method, &asked.url, &asked.headers);
    let answered = admin::post(url, asked.target.token.as_deref(), "/api/explain", &body);
    let understood = answered.and_then(|answer| {
        let explanation: Explanation = serde_json::from_slice(&answer.body)?;
        let value = |name| answer.header(name).unwrap_or("unknown").to_owned();
        let (generation, hash) = (value("x-tidegate-config-generation"), value("x-tidegate-config-hash"));
        Ok((explanation, format!("as of   configuration {hash}, generation {generation}\n")))
    });
    understood.map_err(|error| {
        load::complain(&format!("{url}: {error:#}"));
        ExitCode::from(exit::FAILED)
    })
}
