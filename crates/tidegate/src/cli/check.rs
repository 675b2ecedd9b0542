//! `tidegate check`: everything up to a snapshot, then it is thrown away. Nothing is bound and nothing is asked, unless
//! with `--online`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::valid::{Listener, Tls};
use tidegate_config::{Code, Diagnostic, Diagnostics, Loaded, Place, Valid};

use super::{Format, exit, load, mounts, online, print};
use crate::app::workbench::Workbench;
use crate::listen::certificate_end;
use crate::snapshot::Snapshot;
use crate::snapshot::inputs::Recorder;
use crate::time;

/// A unary call that may take longer hardly has a deadline: whoever waits has given up.
const LONG: Duration = Duration::from_secs(60);

/// A certificate that ends sooner should have been renewed.
const RENEWAL: i64 = 14 * 24 * 3600;

pub(super) fn run(path: &Path, online: bool, format: Format) -> ExitCode {
    let recorder = Recorder::new(path, None);
    let (problems, code) = match recorder.load() {
        Err(problems) => (problems, exit::CONFIG),
        Ok(Loaded { valid, mut diagnostics }) => {
            let valid = Arc::new(valid);
            let bench = Workbench::new(&valid, &recorder);
            certificates(&valid, &mut diagnostics);
            mounted(&valid, &mut diagnostics);
            match bench {
                Err(more) => load::add(&mut diagnostics, &more),
                Ok(mut bench) => {
                    if online && !diagnostics.has_errors() {
                        return finish_online(&mut bench, diagnostics, format);
                    }
                    long_timeouts(&bench.draft.snapshot, &mut diagnostics);
                }
            }
            (diagnostics, exit::CONFIG)
        }
    };
    finish(&problems, code, format)
}

/// The configuration is valid; what remains is not its fault.
fn finish_online(bench: &mut Workbench, mut diagnostics: Diagnostics, format: Format) -> ExitCode {
    match online::problems(bench) {
        Ok(found) => found.into_iter().for_each(|problem| diagnostics.push(problem)),
        Err(error) => {
            load::say(&format!("error: cannot ask anybody: {error}\n"));
            return ExitCode::from(exit::FAILED);
        }
    }
    long_timeouts(&bench.draft.snapshot, &mut diagnostics);
    finish(&diagnostics, exit::FAILED, format)
}

fn finish(problems: &Diagnostics, code: u8, format: Format) -> ExitCode {
    print(&match format {
        Format::Text => problems.to_text(),
        Format::Json => format!("{}\n", problems.to_json()),
    });
    if problems.has_errors() { ExitCode::from(code) } else { ExitCode::SUCCESS }
}

/// Certificates of listeners that cannot be used, have ended, or end soon.
fn certificates(valid: &Valid, diagnostics: &mut Diagnostics) {
    let now = i64::try_from(time::unix_ms() / 1000).unwrap_or(i64::MAX);
    for Listener { name, place, tls, .. } in &valid.listeners {
        let Tls::Files { cert, key } = tls else { continue };
        let problem = match certificate_end(cert, key) {
            Err(error) => Diagnostic::error(Code::Tls, error.to_string()),
            Ok(Some(end)) if end < now => {
                let text = format!("the certificate of listener {name:?} has expired");
                Diagnostic::error(Code::CertificateExpired, text)
            }
            Ok(Some(end)) if end < now.saturating_add(RENEWAL) => {
                let days = end.saturating_sub(now) / (24 * 3600);
                let text = format!("the certificate of listener {name:?} ends in {days} days");
                Diagnostic::warning(Code::CertificateExpired, text)
            }
            Ok(_) => continue,
        };
        diagnostics.push(problem.at(place));
    }
}

fn mounted(valid: &Valid, diagnostics: &mut Diagnostics) {
    for file in mounts::mounted(valid.files.iter().map(|file| &**file)) {
        let place = Place { file: file.into(), line: 1, column: 1, end_column: 2, path: "".into() };
        let problem =
            Diagnostic::warning(Code::FileMount, "this file is a mount of its own, so changes of it never show");
        diagnostics.push(problem.at(&place).help("mount its folder (in Kubernetes: without subPath)"));
    }
}

fn long_timeouts(snapshot: &Snapshot, diagnostics: &mut Diagnostics) {
    for route in &snapshot.routes {
        let Some(transcode) = route.action.transcode() else { continue };
        let written = route.index.and_then(|index| snapshot.valid.routes.get(index));
        let Some(timeout) = written.map(|route| &route.policy.timeout) else { continue };
        let streams = transcode.plan().method().is_server_streaming();
        // One that is built in is short, and has no place.
        let Some(place) = &timeout.origin.place else { continue };
        if !streams && timeout.value.is_none_or(|timeout| timeout > LONG) {
            // The same text for all routes that inherit it, so that it is said once.
            let problem = Diagnostic::warning(Code::LongTimeout, "a unary route may take longer than 60s");
            diagnostics.push(problem.at(place).help("clients have given up by then"));
        }
    }
}
