//! A note for later names its issue, as in `TODO(#12)`; without one nobody will find it again.

use super::Finding;
use crate::rust::Source;
use crate::tree::Tree;

const RULE: &str = "notes";

/// Files in which a comment begins with `#`.
const HASH_COMMENTS: &[&str] = &[".sh", ".py", ".toml", ".yaml", ".yml", "Makefile", ".ci/run"];

/// Findings of the rule.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let Some(text) = file.text.as_deref() else { continue };
        let comments: Vec<(usize, &str)> = if file.path.ends_with(".rs") {
            let source = Source::read(text);
            source.comments.iter().flat_map(|comment| numbered(comment.text, comment.line)).collect()
        } else if HASH_COMMENTS.iter().any(|ending| file.path.ends_with(ending)) {
            numbered(text, 1).filter_map(|(line, text)| Some((line, text.split_once('#')?.1))).collect()
        } else {
            continue;
        };
        for (line, comment) in comments {
            if let Some(mark) = mark_without_issue(comment) {
                let text = format!("{mark} without an issue: write `{mark}(#12)`");
                findings.push(Finding { path: file.path.clone(), line, rule: RULE, text });
            }
        }
    }
    findings
}

fn numbered(text: &str, first: usize) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(move |(offset, line)| (first + offset, line))
}

fn mark_without_issue(comment: &str) -> Option<&'static str> {
    let words = |mark: &&&str| comment.split(|char: char| !char.is_alphanumeric()).any(|word| word == **mark);
    let mark = ["TODO", "FIXME"].iter().find(words)?;
    let named = comment.split('#').skip(1).any(|rest| rest.starts_with(|char: char| char.is_ascii_digit()));
    (!named).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn notes_without_an_issue_are_found_in_comments_only() {
        for (path, text, found) in [
            ("a.rs", "// TODO: later", true),
            ("a.rs", "/// FIXME later", true),
            ("a.rs", "// TODO(#12): later", false),
            ("a.rs", "let s = \"TODO\";", false),
            ("a.rs", "// METHODOLOGY, TODOS", false),
            ("a.py", "x = 1  # TODO", true),
            ("a.py", "TODO = 1", false),
            ("a.md", "# TODO", false),
            ("Makefile", "# FIXME(#3)", false),
        ] {
            assert_eq!(!check(&Tree::of(&[(path, text)])).is_empty(), found, "{path}: {text}");
        }
    }

    #[test]
    fn the_line_within_a_long_comment_is_told() {
        let tree = Tree::of(&[("a.rs", "x\n/* one\n   TODO two */")]);
        assert_eq!(lines(&check(&tree)), ["a.rs:3: notes: TODO without an issue: write `TODO(#12)`"]);
    }
}
