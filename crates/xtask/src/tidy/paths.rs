//! Which top-level modules of its crate a file names.

use crate::rust::{Kind, Token, at, behind_group};

/// The module path of a file below `src`: `upstream/call/error.rs` is `[upstream, call, error]`.
pub(crate) fn module_path(file: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if matches!(parts.last(), Some(&"mod" | &"lib" | &"main")) {
        parts.pop();
    }
    parts
}

/// Top-level modules that `tokens` name by `crate::…`, or by enough `super::` from a module `depth` levels below the
/// crate, with their lines.
pub(crate) fn top_level<'a>(tokens: &[Token<'a>], depth: usize) -> Vec<(&'a str, usize)> {
    let mut found = Vec::new();
    let mut nesting = Nesting::default();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        nesting.see(tokens, index);
        let own_depth = depth + nesting.modules.len();
        match token.text {
            "crate" if at(tokens, index + 1) == "::" => heads(tokens, index + 2, &mut found),
            "super" => {
                let (levels, behind) = supers(tokens, index);
                if levels == own_depth && !at(tokens, behind).is_empty() {
                    heads(tokens, behind, &mut found);
                }
                index = behind;
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    found
}

/// How many `super::` follow each other, and the index behind them.
fn supers(tokens: &[Token<'_>], mut index: usize) -> (usize, usize) {
    let mut levels = 0;
    while at(tokens, index) == "super" && at(tokens, index + 1) == "::" {
        levels += 1;
        index += 2;
    }
    // `super` without a path, as in `pub(super)`.
    (levels, index.max(if levels == 0 { index + 1 } else { index }))
}

/// The first words of the use tree at `index`: one, or one for each branch of a group.
fn heads<'a>(tokens: &[Token<'a>], index: usize, found: &mut Vec<(&'a str, usize)>) {
    match tokens.get(index) {
        Some(token) if token.text == "{" => {
            let end = behind_group(tokens, index);
            let mut branch = index + 1;
            while branch < end {
                heads(tokens, branch, found);
                branch = behind_branch(tokens, branch, end);
            }
        }
        Some(token) if token.kind == Kind::Word && token.text != "self" => found.push((token.text, token.line)),
        Some(_) | None => {}
    }
}

/// Index behind the comma that ends this branch of a use tree.
fn behind_branch(tokens: &[Token<'_>], mut index: usize, end: usize) -> usize {
    while index < end {
        match at(tokens, index) {
            "{" => index = behind_group(tokens, index),
            "," => return index + 1,
            _ => index += 1,
        }
    }
    end
}

/// Inline modules around the current token, as the depth of braces at which each ends.
#[derive(Default)]
struct Nesting {
    braces: usize,
    modules: Vec<usize>,
}

impl Nesting {
    fn see(&mut self, tokens: &[Token<'_>], index: usize) {
        match at(tokens, index) {
            "{" => {
                let before = index.checked_sub(2).map_or("", |before| at(tokens, before));
                if before == "mod" {
                    self.modules.push(self.braces);
                }
                self.braces += 1;
            }
            "}" => {
                self.braces = self.braces.saturating_sub(1);
                if self.modules.last() == Some(&self.braces) {
                    self.modules.pop();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust::Source;

    #[test]
    fn top_level_modules_are_found_however_they_are_named() {
        for (depth, source, expected) in [
            (1, "use crate::ids::WorkerId; crate::time::now()", vec!["ids", "time"]),
            (1, "use crate::{tasks, time::{self, Wheel}, a::b};", vec!["tasks", "time", "a"]),
            (1, "pub(crate) fn f() {} pub(in crate::upstream) fn g() {}", vec!["upstream"]),
            (1, "use super::pipeline; use super::{a, b};", vec!["pipeline", "a", "b"]),
            (2, "use super::call; use super::super::dial;", vec!["dial"]),
            (1, "mod exit { use super::load; use super::super::app; } use super::cli;", vec!["app", "cli"]),
            (1, "pub(super) fn f() {} use super::*;", vec![]),
        ] {
            let source = Source::read(source);
            let found: Vec<&str> = top_level(&source.tokens, depth).into_iter().map(|(name, _)| name).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_file_knows_its_module_path() {
        for (file, expected) in [
            ("lib.rs", vec![]),
            ("dial.rs", vec!["dial"]),
            ("upstream/mod.rs", vec!["upstream"]),
            ("upstream/call/error.rs", vec!["upstream", "call", "error"]),
        ] {
            assert_eq!(module_path(file), expected);
        }
    }
}
