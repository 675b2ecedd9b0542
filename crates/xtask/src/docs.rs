//! Pages and sections of the documentation that come from code.
//!
//! A section stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything around it is written by hand.

use anyhow::{Context, Result};

use crate::tidy::{fences, graph, rows};
use crate::tree::Tree;

/// A file and what it should hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) path: &'static str,
    pub(crate) text: String,
}

/// One generated section: page, name, text.
type Section = (&'static str, &'static str, fn() -> String);

const SECTIONS: &[Section] = &[
    ("ARCHITECTURE.md", "crates", graph::markdown),
    ("ARCHITECTURE.md", "rows", rows::markdown),
    ("docs/dependencies.md", "fences", fences::markdown),
];

/// The pages that are not as they should be.
///
/// # Errors
/// A page that is missing, or that has lost the marks of its section.
pub(crate) fn stale(tree: &Tree) -> Result<Vec<Page>> {
    let mut pages = vec![
        Page { path: "docs/configuration.md", text: tidegate_config::schema::reference() },
        Page { path: "docs/tidegate.schema.json", text: tidegate_config::schema::json_schema() },
    ];
    for (path, name, text) in SECTIONS {
        let page = match pages.iter_mut().find(|page| page.path == *path) {
            Some(page) => page,
            None => {
                let text = tree.text(path).with_context(|| format!("{path}: missing"))?.to_owned();
                pages.push(Page { path, text });
                pages.last_mut().context("invariant: just pushed")?
            }
        };
        page.text = replace(&page.text, name, &text()).with_context(|| format!("{path}: no section `{name}`"))?;
    }
    pages.retain(|page| tree.text(page.path) != Some(page.text.as_str()));
    Ok(pages)
}

/// `page` with `text` as its section `name`; `None` if there is no such section.
fn replace(page: &str, name: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- generated: {name} -->\n");
    let (head, rest) = page.split_once(&begin)?;
    let (_old, tail) = rest.split_once("<!-- end -->")?;
    Some(format!("{head}{begin}{text}<!-- end -->{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_pages_of_this_checkout_are_up_to_date() {
        let tree = Tree::read(&crate::own_root()).unwrap();
        let stale: Vec<&str> = stale(&tree).unwrap().iter().map(|page| page.path).collect();
        assert!(stale.is_empty(), "run `make docs`: {stale:?}");
    }

    #[test]
    fn only_the_text_between_the_marks_changes() {
        let page = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n<!-- generated: y -->\nkept\n<!-- end -->\n";
        let expected = page.replace("old\n", "new\n");
        assert_eq!(replace(page, "x", "new\n"), Some(expected));
        assert_eq!(replace(page, "z", "new\n"), None);
    }
}
