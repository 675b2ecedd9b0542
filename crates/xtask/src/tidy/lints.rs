//! Unsafe code is forbidden everywhere: the workspace says so, and every crate inherits its lints or says so itself.

use super::Finding;
use crate::tree::Tree;

const RULE: &str = "lints";

/// Findings of the rule.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let workspace = tree.text("Cargo.toml").unwrap_or("");
    if entry(workspace, "workspace.lints.rust", "unsafe_code") != Some("\"forbid\"") {
        findings.push(finding("Cargo.toml", "the workspace does not forbid unsafe code"));
    }
    for file in &tree.files {
        let name = file.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"));
        let Some(name) = name.filter(|name| !name.contains('/')) else { continue };
        let inherits = entry(file.text.as_deref().unwrap_or(""), "lints", "workspace") == Some("true");
        let root = |root: &str| tree.text(&format!("crates/{name}/src/{root}"));
        let roots: Vec<&str> = ["lib.rs", "main.rs"].into_iter().filter_map(root).collect();
        let says_so = !roots.is_empty() && roots.iter().all(|text| text.contains("#![forbid(unsafe_code)]"));
        if !inherits && !says_so {
            findings.push(finding(&file.path, "neither inherits the workspace's lints nor forbids unsafe code"));
        }
    }
    findings
}

/// The value of `key` in the table `[section]` of a manifest, as written.
fn entry<'a>(manifest: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[') {
            inside = title.trim_end_matches(']') == section;
            continue;
        }
        let value = line.strip_prefix(key).map(str::trim_start).and_then(|rest| rest.strip_prefix('='));
        if let (true, Some(value)) = (inside, value) {
            return Some(value.trim());
        }
    }
    None
}

fn finding(path: &str, text: &str) -> Finding {
    Finding { path: path.to_owned(), line: 1, rule: RULE, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORBIDS: &str = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";

    #[test]
    fn every_crate_forbids_unsafe_code() {
        for (manifest, source, found) in [
            ("[lints]\nworkspace = true\n", "", 0),
            ("[package]\nname = \"a\"\n", "#![forbid(unsafe_code)]\n", 0),
            ("[package]\nname = \"a\"\n", "", 1),
            ("[lints]\nworkspace = false\n", "", 1),
            ("[x]\nworkspace = true\n[lints]\n", "", 1),
        ] {
            let tree = Tree::of(&[
                ("Cargo.toml", FORBIDS),
                ("crates/a/Cargo.toml", manifest),
                ("crates/a/src/lib.rs", source),
            ]);
            assert_eq!(check(&tree).len(), found, "{manifest}");
        }
    }

    #[test]
    fn the_workspace_forbids_it() {
        assert_eq!(check(&Tree::of(&[("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"deny\"\n")])).len(), 1);
        assert_eq!(check(&Tree::of(&[("Cargo.toml", FORBIDS)])).len(), 0);
    }
}
