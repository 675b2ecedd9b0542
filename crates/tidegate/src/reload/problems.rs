//! Problems of a reload in the words of the configuration's diagnostics.

use std::sync::Arc;

use tidegate_config::{Code, Diagnostic, Diagnostics, Severity, Valid};

use super::Outcome;
use crate::listen::ListenError;

pub(super) fn rejected(diagnostics: Diagnostics) -> Outcome {
    Outcome::Rejected { diagnostics: Arc::new(diagnostics) }
}

pub(super) fn cannot_listen(valid: &Valid, error: &ListenError) -> Diagnostic {
    let (name, code) = match error {
        ListenError::Taken { listener, .. } | ListenError::Bind { listener, .. } => (Some(listener), Code::PortInUse),
        ListenError::Certificate { listener, .. } => (Some(listener), Code::Tls),
        ListenError::Stuck { .. } | ListenError::Inherit(_) | ListenError::Handover(_) => (None, Code::PortInUse),
    };
    let problem = Diagnostic::error(code, error.to_string());
    let listener = name.and_then(|name| valid.listeners.iter().find(|listener| *listener.name == **name));
    match listener {
        Some(listener) => problem.at(&listener.place),
        None => problem,
    }
}

/// The first error in one line: `tidegate.yaml:3: unknown key "timout" (did you mean "timeout"?)`.
pub(super) fn first_error(diagnostics: &Diagnostics) -> String {
    let sorted = diagnostics.sorted();
    let Some(first) = sorted.into_iter().find(|problem| problem.severity == Severity::Error) else {
        return String::new();
    };
    let place = first.place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
    let help = first.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
    format!("{place}{}{help}", first.message)
}
