//! Pages keep their word: links lead to files, and the tests that `ARCHITECTURE.md` names exist.

use std::collections::HashSet;

use super::Finding;
use crate::rust::{Source, at};
use crate::tree::Tree;

const RULE: &str = "pages";

/// The page whose long names in backticks are tests.
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Findings of the rule.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let functions = functions(tree);
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (index, line) in file.text.as_deref().unwrap_or("").lines().enumerate() {
            let mut add = |text| findings.push(Finding { path: file.path.clone(), line: index + 1, rule: RULE, text });
            for link in links(line) {
                if !leads_somewhere(tree, &file.path, link) {
                    add(format!("the link to `{link}` leads nowhere"));
                }
            }
            if file.path != ARCHITECTURE {
                continue;
            }
            for name in line.split('`').skip(1).step_by(2).filter(|name| is_test_name(name)) {
                if !functions.contains(name) {
                    add(format!("there is no test `{name}`"));
                }
            }
        }
    }
    findings
}

/// A name that says a sentence.
fn is_test_name(name: &str) -> bool {
    name.matches('_').count() >= 3
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn functions(tree: &Tree) -> HashSet<&str> {
    let mut names = HashSet::new();
    for (_, text) in tree.rust("crates/") {
        let tokens = Source::read(text).tokens;
        let functions = (0..tokens.len()).filter(|index| at(&tokens, *index) == "fn");
        names.extend(functions.map(|index| at(&tokens, index + 1)));
    }
    names
}

/// Targets of `[text](target)` that are paths.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let paths = targets.map(|target| target.split('#').next().unwrap_or(""));
    paths.filter(|path| !path.is_empty() && !path.contains(':') && !path.contains(' '))
}

fn leads_somewhere(tree: &Tree, page: &str, link: &str) -> bool {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    let folder = format!("{path}/");
    tree.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn links_and_names_of_tests_are_checked() {
        let architecture = "[a](docs/adr) [b](https://x/y) [c](docs/adr/2.md) [d](docs/adr/1.md#x)\n\
                            `what_must_hold_holds` `what_never_was_written` `one_or_two` `crate::a_b_c_d`\n";
        let tree = Tree::of(&[
            (ARCHITECTURE, architecture),
            ("docs/adr/1.md", "[up](../../ARCHITECTURE.md) [there](../x.md) `what_never_was_written`"),
            ("crates/a/src/lib.rs", "#[test] fn what_must_hold_holds() {}"),
        ]);
        let expected = [
            "ARCHITECTURE.md:1: pages: the link to `docs/adr/2.md` leads nowhere",
            "ARCHITECTURE.md:2: pages: there is no test `what_never_was_written`",
            "docs/adr/1.md:1: pages: the link to `../x.md` leads nowhere",
        ];
        assert_eq!(lines(&check(&tree)), expected);
    }
}
