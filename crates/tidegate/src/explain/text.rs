//! An explanation for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::answer::{Explanation, Policy, Refusal, RouteView};

/// Column of the origins.
const ORIGIN: usize = 59;

/// Width of the column of names.
const NAME: usize = 15;

/// Width of a path in front of its variables.
const PATH: usize = 25;

impl Explanation {
    /// The text that `tidegate explain` prints.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        match (&self.matched, &self.route) {
            (Some(name), Some(route)) => self.write_route(name, route, &mut out),
            _ => {
                let request = &self.request;
                let path = printable(&request.path);
                let _ = writeln!(out, "no route matches {} {path} on {}", request.method, request.host);
            }
        }
        if let Some(refusal) = &self.would_answer {
            write_refusal(refusal, &mut out);
        }
        if !self.policies.is_empty() {
            out.push_str("policies, in order\n");
            let mut before = "";
            for policy in &self.policies {
                let name = if policy.name == before { "" } else { policy.name.as_str() };
                write_policy(name, policy, &mut out);
                before = &policy.name;
            }
        }
        self.write_rejected(&mut out);
        for note in &self.notes {
            let _ = writeln!(out, "note    {note}");
        }
        out
    }

    fn write_route(&self, name: &str, route: &RouteView, out: &mut String) {
        write_line(&format!("route   {name}"), &route.origin.to_string(), None, out);
        if !route.hosts.is_empty() {
            let _ = writeln!(out, "  host    {}", route.hosts.join(", "));
        }
        let captures: Vec<String> = self.captures.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
        let line = format!("  path    {:<PATH$}{}", route.path, captures.join(", "));
        let line = if line.trim_end().len() > route.path.len() + 10 && route.path.len() >= PATH {
            format!("  path    {}  {}", route.path, captures.join(", "))
        } else {
            line
        };
        let _ = writeln!(out, "{}", line.trim_end());
        let methods = route.methods.as_ref().map_or_else(|| "any".to_owned(), |methods| methods.join(", "));
        let _ = writeln!(out, "  method  {methods}");
    }

    fn write_rejected(&self, out: &mut String) {
        if self.rejected.is_empty() {
            return;
        }
        out.push_str("not chosen\n");
        let longest = self.rejected.iter().map(|other| other.route.chars().count()).max().unwrap_or(0);
        let width = NAME.max(longest.saturating_add(2));
        for other in &self.rejected {
            let name = &other.route;
            let _ = writeln!(out, "  {name:<width$}{} {}: {}", other.predicate, other.wanted, other.why);
        }
        if self.rejected_more > 0 {
            let _ = writeln!(out, "  … and {} more", self.rejected_more);
        }
    }
}

fn write_refusal(refusal: &Refusal, out: &mut String) {
    let _ = write!(out, "answer  {} {}: {}", refusal.status, refusal.reason, refusal.detail);
    if let Some(allow) = &refusal.allow {
        let _ = write!(out, " (Allow: {allow})");
    }
    out.push('\n');
    for error in &refusal.errors {
        let _ = writeln!(out, "  {:<NAME$}{}", error.field, error.message);
    }
}

fn write_policy(name: &str, policy: &Policy, out: &mut String) {
    let line = format!("  {name:<NAME$}{}", shown(&policy.value));
    write_line(&line, &policy.origin.to_string(), policy.note.as_deref(), out);
}

/// A line with its origin in its column, and what there is to say about it behind that.
fn write_line(line: &str, origin: &str, note: Option<&str>, out: &mut String) {
    let width = line.chars().count();
    let gap = ORIGIN.saturating_sub(width).max(2);
    let _ = write!(out, "{line}{}{origin}", " ".repeat(gap));
    if let Some(note) = note {
        let _ = write!(out, "   {note}");
    }
    out.push('\n');
}

/// A path that may be malformed: nothing but visible ASCII reaches the terminal as it is.
fn printable(path: &str) -> String {
    path.chars().map(|c| if c.is_ascii_graphic() { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

/// A value as it would stand in the configuration, more or less.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| match value {
                Value::Object(inner) => {
                    let inner: Vec<String> =
                        inner.iter().map(|(key, value)| format!("{key}: {}", shown(value))).collect();
                    format!("{key} {}", inner.join(", "))
                }
                value => format!("{key} {}", shown(value)),
            };
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
    }
}
