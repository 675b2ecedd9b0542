//! Functions longer than [`MAX_LINES`] are listed with their length in `ratchet.txt`; the list may only shrink.

use std::collections::BTreeMap;

use super::{Finding, Product};
use crate::rust::{Kind, Token, at, behind_group};
use crate::tree::Tree;

const RULE: &str = "length";

/// A function with more lines than this, signature included, deserves a second look.
pub(crate) const MAX_LINES: usize = 80;

/// Lines of the list: length, path, name. Anything from `#` on is a comment.
pub(crate) const RATCHET: &str = "crates/xtask/ratchet.txt";

/// Findings of the rule.
pub(crate) fn check(tree: &Tree, product: &[Product<'_>]) -> Vec<Finding> {
    let mut listed = listed(tree.text(RATCHET).unwrap_or(""));
    let mut findings = Vec::new();
    for file in product {
        for (name, function) in longest(&file.tokens) {
            let known = listed.remove(&(file.path, name));
            if let Some(text) = fault(name, function.lines, known.map(|known| known.lines)) {
                findings.push(finding(file.path, function.line, text));
            }
        }
    }
    for ((path, name), entry) in listed {
        findings.push(finding(
            RATCHET,
            entry.line,
            format!("`{name}` in {path} is not too long any more: remove the line"),
        ));
    }
    findings
}

fn fault(name: &str, lines: usize, known: Option<usize>) -> Option<String> {
    match known {
        Some(known) if lines > known => {
            Some(format!("`{name}` has {lines} lines; it had {known} and may only get shorter"))
        }
        Some(known) if lines < known => Some(format!("`{name}` has {lines} lines now: write that into {RATCHET}")),
        Some(_) => None,
        None => Some(format!("`{name}` has {lines} lines; {MAX_LINES} are enough")),
    }
}

/// A function or an entry of the list.
#[derive(Clone, Copy)]
struct Entry {
    /// Where it stands.
    line: usize,
    /// How long it is.
    lines: usize,
}

fn listed(text: &str) -> BTreeMap<(&str, &str), Entry> {
    let mut entries = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        if let (Some(lines), Some(path), Some(name)) = (words.next(), words.next(), words.next()) {
            entries.insert((path, name), Entry { line: index + 1, lines: lines.parse().unwrap_or(0) });
        }
    }
    entries
}

/// Functions above the limit by name; of several with one name the longest.
fn longest<'a>(tokens: &[Token<'a>]) -> BTreeMap<&'a str, Entry> {
    let mut found: BTreeMap<&str, Entry> = BTreeMap::new();
    for index in 0..tokens.len() {
        let is_function =
            at(tokens, index) == "fn" && tokens.get(index + 1).is_some_and(|name| name.kind == Kind::Word);
        if let (true, Some(end)) = (is_function, end(tokens, index)) {
            let (first, name) = (tokens[index].line, at(tokens, index + 1));
            let lines = tokens[end].line + 1 - first;
            let entry = found.entry(name).or_insert(Entry { line: first, lines });
            if lines > entry.lines {
                *entry = Entry { line: first, lines };
            }
        }
    }
    found.retain(|_, entry| entry.lines > MAX_LINES);
    found
}

/// Index of the brace that ends the function at `start`; `None` if it has no body.
fn end(tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let mut index = start;
    loop {
        match at(tokens, index) {
            "" | ";" => return None,
            "{" => return behind_group(tokens, index).checked_sub(1),
            "(" | "[" => index = behind_group(tokens, index),
            _ => index += 1,
        }
    }
}

fn finding(path: &str, line: usize, text: String) -> Finding {
    Finding { path: path.to_owned(), line, rule: RULE, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{lines, product};

    fn check_function(length: usize, ratchet: &str) -> Vec<String> {
        let body = "x();\n".repeat(length - 2);
        let text = format!("trait T {{ fn f(&self); }}\nfn f(a: [u8; 2]) {{\n{body}}}\n");
        let tree = Tree::of(&[("crates/a/src/lib.rs", &text), (RATCHET, ratchet)]);
        lines(&check(&tree, &product(&tree)))
    }

    #[test]
    fn the_list_of_long_functions_only_shrinks() {
        let listed = "# why\n90 crates/a/src/lib.rs f\n";
        for (length, ratchet, expected) in [
            (80, "", None),
            (81, "", Some("crates/a/src/lib.rs:2: length: `f` has 81 lines; 80 are enough")),
            (90, listed, None),
            (91, listed, Some("crates/a/src/lib.rs:2: length: `f` has 91 lines; it had 90 and may only get shorter")),
            (
                85,
                listed,
                Some("crates/a/src/lib.rs:2: length: `f` has 85 lines now: write that into crates/xtask/ratchet.txt"),
            ),
            (
                10,
                listed,
                Some(
                    "crates/xtask/ratchet.txt:2: length: `f` in crates/a/src/lib.rs is not too long any more: remove the line",
                ),
            ),
        ] {
            assert_eq!(check_function(length, ratchet), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
