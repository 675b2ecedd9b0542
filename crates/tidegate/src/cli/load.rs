//! Reporting what is wrong with a configuration: the beginning of most commands.

use std::io::Write as _;

use tidegate_config::Diagnostics;

/// Adds what a later stage found, so that it is shown with the lines of the files.
pub(super) fn add(diagnostics: &mut Diagnostics, more: &Diagnostics) {
    for problem in more.sorted() {
        diagnostics.push(problem.clone());
    }
}

/// Prints problems to standard error, if there are any.
pub(super) fn report(problems: &Diagnostics) {
    if problems.errors() + problems.warnings() > 0 {
        say(&problems.to_text());
    }
}

/// Prints to standard error, past the log.
pub(super) fn say(text: &str) {
    // Nobody to tell if standard error is gone.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Tells standard error in one line why nothing was done.
pub(super) fn complain(what: &str) {
    say(&format!("error: {what}\n"));
}
