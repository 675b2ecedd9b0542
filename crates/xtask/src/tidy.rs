//! Rules over the tree that neither the compiler nor clippy knows. Each is one file: what it wants, and its tests.

pub(crate) mod binary;
pub(crate) mod clocks;
pub(crate) mod fences;
pub(crate) mod graph;
pub(crate) mod length;
pub(crate) mod lints;
pub(crate) mod notes;
pub(crate) mod pages;
pub(crate) mod paths;
pub(crate) mod rows;
pub(crate) mod select;

use std::fmt;

use crate::rust::{Source, TestFiles, Token, production};
use crate::tree::Tree;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// Counted from 1; 0 if the file as a whole is meant.
    pub(crate) line: usize,
    /// The rule's name.
    pub(crate) rule: &'static str,
    pub(crate) text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.text)
    }
}

/// A Rust file of the product, for the rules about product code.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    pub(crate) path: &'a str,
    /// Without test code.
    pub(crate) tokens: Vec<Token<'a>>,
}

/// All rules over `tree`; `metadata` is what `cargo metadata --no-deps` says. Sorted by path and line.
pub(crate) fn check(tree: &Tree, metadata: &serde_json::Value) -> Vec<Finding> {
    let product = product(tree);
    let mut findings = Vec::new();
    findings.extend(rows::check(tree, &product));
    findings.extend(fences::check(&product));
    findings.extend(graph::check(tree, metadata));
    findings.extend(clocks::check(&product));
    findings.extend(lints::check(tree));
    findings.extend(notes::check(tree));
    findings.extend(binary::check(tree));
    findings.extend(pages::check(tree));
    findings.extend(select::check(&product));
    findings.extend(length::check(tree, &product));
    findings.sort();
    findings
}

/// What is compiled into something that is shipped or run: sources below `crates/*/src` without test code.
pub(crate) fn product(tree: &Tree) -> Vec<Product<'_>> {
    let test_files = TestFiles::find(tree);
    let files = tree.rust("crates/").filter(|(path, _)| !test_files.contains(path));
    files.map(|(path, text)| Product { path, tokens: production(&Source::read(text)) }).collect()
}

#[cfg(test)]
pub(crate) fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(Finding::to_string).collect()
}
