//! What is not text cannot be reviewed: it stays out, except where it is test data or a picture.

use super::Finding;
use crate::tree::Tree;

const RULE: &str = "binary";

/// Findings of the rule.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let strange = tree.files.iter().filter(|file| file.text.is_none() && !is_allowed(&file.path));
    let finding = |path: &str| Finding {
        path: path.to_owned(),
        line: 0,
        rule: RULE,
        text: "not text; allowed in fuzz/corpus, in testdata and as *.png".to_owned(),
    };
    strange.map(|file| finding(&file.path)).collect()
}

fn is_allowed(path: &str) -> bool {
    path.starts_with("fuzz/corpus/") || path.contains("/testdata/") || path.ends_with(".png")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines;

    #[test]
    fn binary_files_have_their_places() {
        let tree = Tree::of(&[
            ("a.rs", "text"),
            ("bin/tool", "\0"),
            ("crates/a/testdata/set.pb", "\0"),
            ("docs/picture.png", "\0"),
            ("fuzz/corpus/path/1", "\0"),
        ]);
        let expected = "bin/tool:0: binary: not text; allowed in fuzz/corpus, in testdata and as *.png";
        assert_eq!(lines(&check(&tree)), [expected]);
    }
}
