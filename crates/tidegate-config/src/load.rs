//! All stages in order, over the main file and the files that it includes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{Cx, Item, Text, decode_struct};
use crate::diag::{Code, Diagnostic, Diagnostics, Place};
use crate::expand::{expand, reason};
use crate::node::remove_duplicates;
use crate::raw::RawConfig;
use crate::resolve::{File, resolve};
use crate::source::Source;
use crate::valid::Valid;
use crate::yaml;

/// Most files of one configuration.
const MAX_FILES: usize = 1_000;

/// A configuration without errors, and the warnings about it.
///
/// The gateway goes on adding to `diagnostics` what only it can find out.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub valid: Valid,
    /// Warnings so far, and the texts of the files.
    pub diagnostics: Diagnostics,
}

/// Reads and checks a configuration.
///
/// `main` is the path of the main file, `-` for standard input. Relative paths in a file begin at its folder.
///
/// # Errors
/// All problems of all files, at least one of which is an error.
pub fn load(source: &dyn Source, main: &Path) -> Result<Loaded, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut loader = Loader { source, diagnostics: &mut diagnostics, files: Vec::new(), complete: true };
    loader.file(main, None);
    loader.includes(main);
    let Loader { files, complete, .. } = loader;
    let routes = files.iter().filter_map(|file| file.raw.routes.value()).map(Vec::len).sum();
    let services = files.iter().filter_map(|file| file.raw.services.value()).map(|table| table.0.len()).sum();
    diagnostics.set_summary(routes, services);
    // With a file missing, every reference into it would be called a mistake.
    let valid = if complete { resolve(&files, &mut diagnostics) } else { None };
    match valid {
        Some(valid) if !diagnostics.has_errors() => Ok(Loaded { valid, diagnostics }),
        _ => Err(diagnostics),
    }
}

struct Loader<'a> {
    source: &'a dyn Source,
    diagnostics: &'a mut Diagnostics,
    files: Vec<File>,
    /// Whether every file could be read as a tree.
    complete: bool,
}

impl Loader<'_> {
    /// Reads one file; `place` is where it is included.
    fn file(&mut self, path: &Path, place: Option<&Place>) {
        let Some(text) = self.read(path, place) else {
            self.complete = false;
            return;
        };
        let name: Arc<str> = file_name(path).into();
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let mut cx = Cx::new(Arc::clone(&name), self.diagnostics);
        let tree = yaml::parse(&text, &mut cx);
        let raw = tree.and_then(|mut tree| {
            expand(&mut tree, self.source, &folder, &mut cx);
            remove_duplicates(&mut tree, &mut cx);
            decode_struct::<RawConfig>(&tree, &mut cx)
        });
        self.diagnostics.add_file(Arc::clone(&name), text);
        match raw {
            Some(raw) => self.files.push(File { name, folder, raw }),
            None => self.complete = false,
        }
    }

    fn read(&mut self, path: &Path, place: Option<&Place>) -> Option<String> {
        let why = match self.source.read(path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => return Some(text),
                Err(error) => {
                    let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
                    let line = good.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
                    format!("line {line} is not UTF-8")
                }
            },
            Err(error) => reason(&error),
        };
        let problem = Diagnostic::error(Code::Unreadable, format!("cannot read {}: {why}", file_name(path)));
        self.diagnostics.push(match place {
            Some(place) => problem.at(place),
            None => problem,
        });
        None
    }

    /// Reads what the main file includes.
    fn includes(&mut self, main: &Path) {
        let Some(file) = self.files.first() else { return };
        let folder = file.folder.clone();
        let patterns: Vec<Item<Text>> = file.raw.include.value().cloned().unwrap_or_default();
        let mut seen: HashSet<PathBuf> = HashSet::from([main.to_path_buf()]);
        for pattern in &patterns {
            for path in self.find(&folder, pattern) {
                if !seen.insert(path.clone()) {
                    let message = format!("{} is included twice", file_name(&path));
                    let message = if path == main { "a file that includes itself".to_owned() } else { message };
                    self.diagnostics.push(Diagnostic::error(Code::Duplicate, message).at(&pattern.place));
                    continue;
                }
                if self.files.len() >= MAX_FILES {
                    let message = format!("more than {MAX_FILES} files");
                    self.diagnostics.push(Diagnostic::error(Code::Unreadable, message).at(&pattern.place));
                    return;
                }
                self.file(&path, Some(&pattern.place));
            }
        }
    }

    fn find(&mut self, folder: &Path, pattern: &Item<Text>) -> Vec<PathBuf> {
        if pattern.secret {
            let problem = Diagnostic::error(Code::InvalidValue, "no ${…} in a file name: names of files are shown");
            self.diagnostics.push(problem.at(&pattern.place).help("write the name, or a pattern"));
            self.complete = false;
            return Vec::new();
        }
        let text = pattern.value.0.as_str();
        let wildcard = text.contains(['*', '?', '[']);
        if !wildcard {
            return vec![folder.join(text)];
        }
        // The folder of the main file is a name, not a part of the pattern.
        let folder = glob_escape(folder);
        match self.source.find(&folder.join(text).to_string_lossy()) {
            Ok(found) => {
                if found.is_empty() {
                    let problem = Diagnostic::warning(Code::NoEffect, "no file matches this pattern");
                    self.diagnostics.push(problem.at(&pattern.place));
                }
                found
            }
            Err(error) => {
                let message = format!("{} is not a pattern: {error}", pattern.shown());
                self.diagnostics.push(Diagnostic::error(Code::InvalidValue, message).at(&pattern.place));
                self.complete = false;
                Vec::new()
            }
        }
    }
}

fn glob_escape(folder: &Path) -> PathBuf {
    let mut escaped = String::new();
    for c in folder.to_string_lossy().chars() {
        if matches!(c, '*' | '?' | '[' | ']') {
            escaped.extend(['[', c, ']']);
        } else {
            escaped.push(c);
        }
    }
    PathBuf::from(escaped)
}

fn file_name(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}
