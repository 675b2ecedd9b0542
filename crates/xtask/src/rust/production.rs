//! Which code is in the product: everything but `#[cfg(test)]` items and the files that they name.

use std::collections::HashSet;

use super::{Source, Token, at, behind_group, matches};
use crate::tree::Tree;

/// Files that are compiled for tests only, by path.
#[derive(Debug, Default)]
pub(crate) struct TestFiles {
    paths: HashSet<String>,
}

impl TestFiles {
    /// Looks for `#[cfg(test)] mod name;` in all sources.
    pub(crate) fn find(tree: &Tree) -> Self {
        let mut found = Self::default();
        for (path, text) in tree.rust("") {
            let source = Source::read(text);
            for name in &split(&source.tokens).test_modules {
                let folder = module_folder(path);
                found.paths.insert(format!("{folder}/{name}.rs"));
                found.paths.insert(format!("{folder}/{name}/"));
            }
        }
        found
    }

    /// True for tests, benchmarks, examples, build scripts and what only tests name.
    pub(crate) fn contains(&self, path: &str) -> bool {
        const FOLDERS: &[&str] = &["/tests/", "/benches/", "/examples/"];
        let in_source = path.split_once("/src/");
        if in_source.is_none() || FOLDERS.iter().any(|folder| in_source.is_some_and(|(head, _)| head.contains(folder)))
        {
            return true;
        }
        self.paths.iter().any(|known| path == known || (known.ends_with('/') && path.starts_with(known.as_str())))
    }
}

/// Where the modules that `path` declares stand.
fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    }
}

/// The tokens of `source` without test items.
pub(crate) fn production<'a>(source: &Source<'a>) -> Vec<Token<'a>> {
    split(&source.tokens).production
}

#[derive(Default)]
struct Split<'a> {
    production: Vec<Token<'a>>,
    test_modules: Vec<&'a str>,
}

fn split<'a>(tokens: &[Token<'a>]) -> Split<'a> {
    let mut out = Split::default();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        if matches(tokens, index, &["#", "!", "["]) && is_test(tokens, index + 3) {
            // The whole file.
            return Split { production: Vec::new(), test_modules: out.test_modules };
        }
        if matches(tokens, index, &["#", "["]) && is_test(tokens, index + 2) {
            let item = behind_attributes(tokens, index);
            let end = behind_item(tokens, item);
            let declared = &tokens[item..end];
            let module = declared.iter().position(|token| token.text == "mod");
            if let (Some(module), Some(";")) = (module, declared.last().map(|token| token.text)) {
                out.test_modules.push(at(declared, module + 1));
            }
            index = end;
            continue;
        }
        out.production.push(*token);
        index += 1;
    }
    out
}

/// `cfg(test)`, `cfg(all(test, …))` or `test` behind `#[`.
fn is_test(tokens: &[Token<'_>], index: usize) -> bool {
    let all = matches(tokens, index, &["cfg", "(", "all", "("]);
    matches(tokens, index, &["cfg", "(", "test", ")"])
        || matches(tokens, index, &["test", "]"])
        || (all && tokens[index + 3..behind_group(tokens, index + 3)].iter().any(|token| token.text == "test"))
}

fn behind_attributes(tokens: &[Token<'_>], mut index: usize) -> usize {
    while matches(tokens, index, &["#", "["]) {
        index = behind_group(tokens, index + 1);
    }
    index
}

/// Index behind the item, statement, field or arm that begins at `start`.
fn behind_item(tokens: &[Token<'_>], start: usize) -> usize {
    const KEYWORDS: &[&str] = &[
        "pub",
        "fn",
        "mod",
        "use",
        "struct",
        "enum",
        "union",
        "impl",
        "const",
        "static",
        "type",
        "trait",
        "async",
        "unsafe",
        "extern",
        "macro_rules",
        "let",
    ];
    // A comma ends a field or an arm; in the head of an item it stands between type parameters.
    let is_item = KEYWORDS.contains(&at(tokens, start)) && !at(tokens, start + 1).starts_with(':');
    let mut index = start;
    while let Some(token) = tokens.get(index) {
        match token.text {
            ";" => return index + 1,
            "," if !is_item => return index + 1,
            "{" => return behind_group(tokens, index),
            "(" | "[" => index = behind_group(tokens, index),
            ")" | "]" | "}" => return index,
            _ => index += 1,
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let source = Source::read(text);
        production(&source).iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn test_items_are_left_out() {
        for (source, expected) in [
            ("a; #[cfg(test)] mod tests { b } c", "a ; c"),
            ("#[cfg(test)] #[path = \"x\"] mod tests; c", "c"),
            ("#[cfg(test)] fn f<A, B>(a: [u8; 3]) -> B { b } c", "c"),
            ("#[cfg(test)] pub(crate) const A: [u8; 2] = [1, 2]; c", "c"),
            ("struct S { #[cfg(test)] seen: u8, kept: u8 }", "struct S { kept : u8 }"),
            ("f(#[cfg(test)] a) c", "f ( ) c"),
            ("#[cfg(all(unix, test))] use a::{b, c}; d", "; d"),
            ("#[test] fn t() { b } c", "c"),
            ("#![cfg(test)] a", ""),
            ("#[cfg(feature = \"test\")] mod a;", "# [ cfg ( feature = \"test\" ) ] mod a ;"),
        ] {
            assert_eq!(words(source), expected, "{source}");
        }
    }

    #[test]
    fn files_that_only_tests_name_are_known() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "#[cfg(test)] mod peers; mod b;"),
            ("crates/a/src/b.rs", "#[cfg(test)] mod tests;"),
            ("crates/a/src/c/mod.rs", "#[cfg(test)]\nmod tests;"),
        ]);
        let files = TestFiles::find(&tree);
        for (path, expected) in [
            ("crates/a/src/peers.rs", true),
            ("crates/a/src/peers/redis.rs", true),
            ("crates/a/src/b/tests.rs", true),
            ("crates/a/src/c/tests.rs", true),
            ("crates/a/src/c/tests/more.rs", true),
            ("crates/a/src/b.rs", false),
            ("crates/a/src/tests.rs", false),
            ("crates/a/tests/it/main.rs", true),
            ("crates/a/benches/x.rs", true),
            ("crates/a/build.rs", true),
        ] {
            assert_eq!(files.contains(path), expected, "{path}");
        }
    }
}
