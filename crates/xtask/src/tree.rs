//! The files of a checkout, read once; the rules only see this value, so their tests need no disk.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// All files, sorted by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// `None` if it is not text: it has a NUL byte or is not UTF-8.
    pub(crate) text: Option<String>,
}

impl Tree {
    /// Reads what git tracks or would track. Without git (a source archive) everything but build output.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let paths = match tracked(root) {
            Some(paths) => paths,
            None => walk(root)?,
        };
        let mut tree = Self::default();
        for path in paths {
            let full = root.join(&path);
            // A tracked file may have been deleted, and a link to a directory is no file.
            if !full.is_file() {
                continue;
            }
            let bytes = std::fs::read(&full).with_context(|| format!("cannot read {}", full.display()))?;
            tree.files.push(File { path, text: text(bytes) });
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    /// The text of a file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path)?.text.as_deref()
    }

    /// Rust sources below `prefix` with their text.
    pub(crate) fn rust(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(move |file| file.path.starts_with(prefix) && file.path.ends_with(".rs"));
        files.filter_map(|file| Some((file.path.as_str(), file.text.as_deref()?)))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: text_of(text) };
        Self { files: files.iter().map(file).collect() }
    }
}

#[cfg(test)]
fn text_of(text: &str) -> Option<String> {
    self::text(text.as_bytes().to_vec())
}

fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    let listing = String::from_utf8(output.stdout).ok()?;
    Some(listing.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn walk(root: &Path) -> Result<Vec<String>> {
    const BUILD_OUTPUT: &[&str] = &[".git", "target", ".work", "__pycache__", "artifacts", "coverage", "found"];
    let mut paths = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            if BUILD_OUTPUT.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            } else if let Some(path) = entry.path().strip_prefix(root).ok().and_then(Path::to_str) {
                paths.push(path.to_owned());
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_checkout_is_read_with_and_without_git() {
        let root = crate::own_root();
        let tree = Tree::read(&root).unwrap();
        assert!(tree.text("crates/xtask/src/tree.rs").is_some());
        let walked = walk(&root).unwrap();
        assert!(walked.iter().any(|path| path == "crates/xtask/src/tree.rs"));
        assert!(!walked.iter().any(|path| path.starts_with("target/")));
    }

    #[test]
    fn bytes_that_are_no_text_have_none() {
        assert_eq!(text(b"a\0b".to_vec()), None);
        assert_eq!(text(vec![0xff]), None);
        assert_eq!(text("ä".into()).as_deref(), Some("ä"));
    }
}
