//! Files and environment variables: the one place of this crate that touches the outside world.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest file that is read, in bytes; larger ones are refused before they are in memory.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Where configuration text comes from.
pub trait Source {
    /// The bytes of a file.
    ///
    /// # Errors
    /// Whatever the system says, and `FileTooLarge` above [`MAX_FILE_BYTES`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Files that match a pattern with `*`, `?`, `[…]` or `**`, sorted by name. Folders do not count.
    ///
    /// # Errors
    /// The fault of the pattern, in words.
    fn find(&self, pattern: &str) -> Result<Vec<PathBuf>, String>;

    /// An environment variable; `None` if it is not set or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The real file system and environment. The path `-` is standard input.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Source for System {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("-") {
            return read_bounded(io::stdin().lock());
        }
        read_bounded(std::fs::File::open(path)?)
    }

    fn find(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let found = glob::glob(pattern).map_err(|error| error.msg.to_owned())?;
        // Folders that may not be listed are passed over: what matters in them will be missed by name later.
        let mut files: Vec<PathBuf> = found.flatten().filter(|path| path.is_file()).collect();
        files.sort();
        Ok(files)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

fn read_bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
    }
    Ok(bytes)
}

/// Files and variables in memory, for tests and fuzzing.
#[derive(Clone, Default, Debug)]
pub struct Memory {
    /// Contents by path.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Variables by name.
    pub variables: BTreeMap<String, String>,
}

impl Source for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn find(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let pattern = glob::Pattern::new(pattern).map_err(|error| error.msg.to_owned())?;
        let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        Ok(self.files.keys().filter(|path| pattern.matches_path_with(path, options)).cloned().collect())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}
