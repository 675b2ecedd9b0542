//! An arm of `select!` whose pattern may not match switches itself off silently; then there must be an `else`.

use super::{Finding, Product};
use crate::rust::{Token, at, behind_group};

const RULE: &str = "select";

/// Findings of the rule.
pub(crate) fn check(product: &[Product<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in product {
        for index in 0..file.tokens.len() {
            if at(&file.tokens, index) != "select" || at(&file.tokens, index + 1) != "!" {
                continue;
            }
            let end = behind_group(&file.tokens, index + 2).saturating_sub(1);
            let arms = arms(file.tokens.get(index + 3..end).unwrap_or(&[]));
            if arms.iter().any(|arm| arm.text == "else") {
                continue;
            }
            for arm in arms.iter().filter(|arm| is_refutable(arm.text)) {
                let text = format!("the arm `{}(…)` may not match and there is no `else`", arm.text);
                findings.push(Finding { path: file.path.to_owned(), line: arm.line, rule: RULE, text });
            }
        }
    }
    findings
}

/// A variant, that is, a word with a capital letter. `Self` and types of one form are taken for variants too.
fn is_refutable(first: &str) -> bool {
    first.starts_with(|char: char| char.is_ascii_uppercase())
}

/// The first token of each arm.
fn arms<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut found = Vec::new();
    let mut index = 0;
    while let Some(first) = tokens.get(index) {
        if first.text == "biased" {
            index += 2;
            continue;
        }
        found.push(*first);
        let body = behind(tokens, index, "=>");
        index = if at(tokens, body) == "{" { behind_group(tokens, body) } else { behind(tokens, body, ",") };
        if at(tokens, index) == "," {
            index += 1;
        }
    }
    found
}

/// Index behind the next `sign` that stands in no bracket.
fn behind(tokens: &[Token<'_>], mut index: usize, sign: &str) -> usize {
    while index < tokens.len() {
        match at(tokens, index) {
            "(" | "[" | "{" => index = behind_group(tokens, index),
            text if text == sign => return index + 1,
            _ => index += 1,
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{lines, product};
    use crate::tree::Tree;

    #[test]
    fn a_pattern_that_may_not_match_needs_an_else() {
        for (arms, expected) in [
            ("() = a.wait() => {}\n x = b => c(x),", None),
            ("_ = a => {}\n Some(x) = rx.recv() => { x },", Some("Some")),
            ("Some(x) = rx.recv() => x,\n else => return,", None),
            ("biased; x = f(|y| match y { Some(z) => z }) => {}\n Ok(x) = b, if cond => x", Some("Ok")),
            ("(a, b) = pair => a", None),
        ] {
            let text = format!("async fn f() {{ tokio::select! {{\n{arms}\n}} }}");
            let tree = Tree::of(&[("crates/a/src/lib.rs", &text)]);
            let expected: Vec<String> = expected
                .iter()
                .map(|first| {
                    format!("crates/a/src/lib.rs:3: select: the arm `{first}(…)` may not match and there is no `else`")
                })
                .collect();
            assert_eq!(lines(&check(&product(&tree))), expected, "{arms}");
        }
    }
}
