//! Problems as text, in the style of rustc.

use std::fmt::Write;

use super::{Diagnostic, Diagnostics, Place};

/// Most characters of a line that are quoted; longer lines are cut around the place.
const WIDTH: usize = 160;

pub(super) fn render(all: &Diagnostics) -> String {
    let mut out = String::new();
    for (index, problem) in all.sorted().into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        render_problem(problem, all, &mut out);
    }
    let dropped = all.dropped.0.saturating_add(all.dropped.1);
    if dropped > 0 {
        let _ = writeln!(out, "\n… and {dropped} more");
    }
    let _ = writeln!(
        out,
        "{}, {} ({}, {}, {})",
        plural(all.errors(), "error"),
        plural(all.warnings(), "warning"),
        plural(all.files.len(), "file"),
        plural(all.routes, "route"),
        plural(all.services, "service"),
    );
    out
}

fn plural(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn render_problem(problem: &Diagnostic, all: &Diagnostics, out: &mut String) {
    let message = printable(&problem.message);
    let _ = writeln!(out, "{}[{}]: {message}", problem.severity.as_str(), problem.code.as_str());
    let help = problem.help.as_deref().map(printable);
    let Some(place) = &problem.place else {
        if let Some(help) = help {
            let _ = writeln!(out, "  = help: {help}");
        }
        return;
    };
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    let _ = writeln!(out, "{margin}--> {}:{}:{}", printable(&place.file), place.line, place.column);
    let Some(quote) = Quote::of(place, all) else {
        if let Some(help) = help {
            let _ = writeln!(out, "{margin} = help: {help}");
        }
        return;
    };
    let _ = writeln!(out, "{margin} |\n{number} | {}", quote.line);
    let _ = write!(out, "{margin} | {}{}", " ".repeat(quote.before), "^".repeat(quote.length));
    match help {
        Some(help) => {
            let _ = writeln!(out, " {help}");
        }
        None => out.push('\n'),
    }
}

/// A line of a file, ready to print, and where the carets go, in characters.
struct Quote {
    line: String,
    before: usize,
    length: usize,
}

impl Quote {
    fn of(place: &Place, all: &Diagnostics) -> Option<Self> {
        let file = all.files.iter().find(|file| file.name == place.file)?;
        let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
        let index = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let line = printable(text.lines().nth(index).unwrap_or_default());
        let characters = line.chars().count();
        let column = usize::try_from(place.column).ok()?.saturating_sub(1);
        let width = usize::try_from(place.end_column.saturating_sub(place.column)).ok()?.max(1);
        // A place behind the end of the line (a missing value, say) gets one caret there.
        let before = column.min(characters);
        let length = width.min(characters.saturating_sub(before)).max(1);
        if characters <= WIDTH {
            return Some(Self { line, before, length });
        }
        let start = before.saturating_sub(WIDTH / 2);
        let window: String = line.chars().skip(start).take(WIDTH).collect();
        let length = length.min(WIDTH.saturating_sub(before.saturating_sub(start))).max(1);
        let (front, shift) = if start > 0 { ("…", 1) } else { ("", 0) };
        let back = if start.saturating_add(WIDTH) < characters { "…" } else { "" };
        let before = before.saturating_sub(start).saturating_add(shift);
        Some(Self { line: format!("{front}{window}{back}"), before, length })
    }
}

/// The text with one visible character for each character: nothing in a file may steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            // Controls, and the marks that reverse the direction of what follows.
            c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c) => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}
