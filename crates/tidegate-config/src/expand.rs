//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in keys and texts.
//!
//! Runs on the tree, after YAML and before decoding, so an expanded text can never change the structure of the file,
//! and one that looks like a number is a number again. `$${` stands for a literal `${`. Whatever was expanded is
//! marked secret as a whole: the text around a password is no business of a log either.

use std::io;
use std::path::Path;

use crate::decode::Cx;
use crate::diag::{Code, Diagnostic};
use crate::node::{Node, Scalar, Span, Text, Value};
use crate::secret::Secret;
use crate::source::Source;

/// Largest file that `${file:…}` takes in: credentials are small, and the text ends up in memory several times.
const MAX_SECRET_FILE_BYTES: usize = 64 * 1024;

/// Expands all keys and texts below `node`. `folder` is where relative `${file:…}` paths begin.
///
/// Faults are reported; a value with a fault becomes [`Value::Broken`], and a key with one goes away with its value.
pub(crate) fn expand(node: &mut Node, source: &dyn Source, folder: &Path, cx: &mut Cx<'_>) {
    match &mut node.value {
        Value::Null | Value::Broken => {}
        Value::Scalar(scalar) => {
            if !expand_scalar(scalar, node.span, source, folder, cx) {
                node.value = Value::Broken;
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                cx.inside_item(index, |cx| expand(item, source, folder, cx));
            }
        }
        Value::Map(entries) => entries.retain_mut(|entry| {
            let good = expand_scalar(&mut entry.key, entry.key_span, source, folder, cx);
            cx.inside_key(&entry.key, |cx| expand(&mut entry.value, source, folder, cx));
            good
        }),
    }
}

/// Whether the text needed nothing or could be expanded.
fn expand_scalar(scalar: &mut Scalar, span: Span, source: &dyn Source, folder: &Path, cx: &mut Cx<'_>) -> bool {
    let Text::Written(text) = &scalar.text else { return true };
    if !text.contains("${") {
        return true;
    }
    match expand_text(text, source, folder) {
        Ok(Expanded { text, from_outside: false }) => scalar.text = Text::Written(text),
        Ok(Expanded { text, from_outside: true }) => {
            scalar.text = Text::Expanded(Secret::new(text));
            // A variable must be quotable (in `{ }` it has to be) and yet be able to hold a number.
            scalar.quoted = false;
        }
        Err(problem) => {
            cx.report(problem, span);
            return false;
        }
    }
    true
}

struct Expanded {
    text: String,
    from_outside: bool,
}

fn expand_text(text: &str, source: &dyn Source, folder: &Path) -> Result<Expanded, Diagnostic> {
    let mut out = Expanded { text: String::with_capacity(text.len()), from_outside: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.text.push_str(before);
            out.text.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        out.text.push_str(before);
        let inside = from.get(2..).unwrap_or_default();
        let Some((reference, after)) = inside.split_once('}') else {
            return Err(
                Diagnostic::error(Code::Expansion, "\"${\" without \"}\"").help("a literal \"${\" is written \"$${\"")
            );
        };
        out.text.push_str(&look_up(reference, source, folder)?);
        out.from_outside = true;
        rest = after;
    }
    out.text.push_str(rest);
    Ok(out)
}

fn look_up(reference: &str, source: &dyn Source, folder: &Path) -> Result<String, Diagnostic> {
    if let Some(path) = reference.strip_prefix("file:") {
        return read_file(path, source, folder);
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let mut characters = name.chars();
    let well_formed = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !well_formed {
        return Err(Diagnostic::error(Code::Expansion, "not a variable between \"${\" and \"}\"")
            .help("use ${NAME}, ${NAME:-default} or ${file:/path}; a literal \"${\" is written \"$${\""));
    }
    match (source.variable(name), default) {
        // As in a shell, `:-` also stands in for an empty variable.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Diagnostic::error(Code::Expansion, format!("environment variable {name} is not set"))
            .help(format!("set it, or write ${{{name}:-default}}"))),
    }
}

fn read_file(path: &str, source: &dyn Source, folder: &Path) -> Result<String, Diagnostic> {
    let refuse = |why: &str| Diagnostic::error(Code::Expansion, format!("cannot read ${{file:{path}}}: {why}"));
    let bytes = source.read(&folder.join(path)).map_err(|error| refuse(&reason(&error)))?;
    if bytes.len() > MAX_SECRET_FILE_BYTES {
        return Err(refuse("larger than 64 KiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("not UTF-8"))?;
    // Editors and secret stores end files with a line end that nobody means.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What went wrong with a file, the same on every platform as far as the usual cases go.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
