//! What a configuration was read from: every file, pattern and variable, with a digest of what it gave.
//!
//! A [`Recorder`] is the source that the configuration is read through; the descriptors and certificates that it names
//! are added while it is built. The finished [`Inputs`] answer three questions without reading any YAML: has anything
//! changed, which folders are to be watched, and what is the hash of it all.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use tidegate_config::source::{MAX_FILE_BYTES, Source, System};
use tidegate_config::{Diagnostics, Loaded};

/// The path that stands for standard input.
const STDIN: &str = "-";

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of all `parts`, each with its length, so that no two lists of parts are the same bytes.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Context::new(&SHA256);
        for part in parts {
            hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let mut digest = [0; 32];
        for (place, byte) in digest.iter_mut().zip(hash.finish().as_ref()) {
            *place = *byte;
        }
        Self(digest)
    }

    /// The digest itself.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The first 16 hexadecimal digits: enough to tell configurations apart, short enough to be read out.
    #[must_use]
    pub fn short(&self) -> Arc<str> {
        self.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>().into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Everything that was read, sorted. Equal if it would be read the same again.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// `None`: could not be read.
    files: BTreeMap<PathBuf, Option<Digest>>,
    /// What each pattern has found.
    patterns: BTreeMap<String, Vec<PathBuf>>,
    /// `None`: not set. Values may be secrets, so their digests are all that is kept.
    variables: BTreeMap<String, Option<Digest>>,
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

impl Inputs {
    /// The same files, patterns and variables as they are now. What is there but no file, a pipe say, counts as
    /// unchanged: it can be read but once.
    #[must_use]
    pub fn again(&self) -> Self {
        let file = |(path, then): (&PathBuf, &Option<Digest>)| {
            (path.clone(), if is_stream(path) { *then } else { digest_of_file(path) })
        };
        let pattern = |pattern: &String| (pattern.clone(), System.find(pattern).unwrap_or_default());
        Self {
            files: self.files.iter().map(file).collect(),
            patterns: self.patterns.keys().map(pattern).collect(),
            variables: self.variables.keys().map(|name| (name.clone(), digest_of_variable(name))).collect(),
        }
    }

    /// What a file has at this moment; `None` if it cannot be read again and again.
    #[must_use]
    pub fn digest_now(path: &Path) -> Option<Digest> {
        digest_of_file(path)
    }

    /// Takes the content of one file from `other`.
    pub fn take_file(&mut self, path: &Path, other: &Self) {
        if let (Some(mine), Some(other)) = (self.files.get_mut(path), other.files.get(path)) {
            *mine = *other;
        }
    }

    /// What the file gave; `None` as well if it was not read.
    #[must_use]
    pub fn file(&self, path: &Path) -> Option<Digest> {
        self.files.get(path).copied().flatten()
    }

    /// Whether other configuration files than before were found, or one of `files` has changed.
    #[must_use]
    pub fn differs_in<'a>(&self, before: &Self, mut files: impl Iterator<Item = &'a Path>) -> bool {
        self.patterns != before.patterns || files.any(|path| self.file(path) != before.file(path))
    }

    /// Files that both have and that differ, in order.
    #[must_use]
    pub fn changed_files<'a>(&'a self, before: &Self) -> Vec<&'a Path> {
        let changed = self.files.iter().filter(|(path, now)| before.files.get(*path).is_some_and(|then| then != *now));
        changed.map(|(path, _)| path.as_path()).collect()
    }

    /// The folders in which a change can show: those of all files, of what their links point to, and of patterns.
    #[must_use]
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let mut folders = BTreeSet::new();
        for path in self.files.keys().filter(|path| !is_stream(path)) {
            folders.insert(folder_of(path));
            // A folder on the way may be a link, as in /opt/current/tidegate.yaml: it is exchanged in its own folder.
            folders.extend(path.ancestors().filter(|part| part.is_symlink()).map(folder_of));
            if let Ok(target) = path.canonicalize() {
                folders.insert(folder_of(&target));
            }
        }
        for pattern in self.patterns.keys() {
            let literal = pattern.find(['*', '?', '[']).and_then(|at| pattern.get(..at)).unwrap_or(pattern);
            folders.insert(folder_of(&Path::new(literal).join("x")));
            // `routes.d/a*` lies in `routes.d`, `routes.d/*` too.
            if !literal.ends_with('/') {
                folders.insert(folder_of(Path::new(literal)));
            }
        }
        folders.retain(|folder| folder.is_dir());
        folders
    }

    /// The name of this configuration: the same files, found under the same names below the folder of `main`, have the
    /// same hash on every machine.
    #[must_use]
    pub fn hash(&self, main: &Path) -> Arc<str> {
        let folder = folder_of(main);
        let name = |path: &Path| {
            let name = if path == main { Path::new("") } else { path.strip_prefix(&folder).unwrap_or(path) };
            name.to_string_lossy().into_owned()
        };
        let mut files: Vec<(String, &Option<Digest>)> =
            self.files.iter().map(|(path, digest)| (name(path), digest)).collect();
        files.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let variables = self.variables.iter().map(|(name, digest)| (name.clone(), digest));
        let all: Vec<(String, &Option<Digest>)> = files.into_iter().chain(variables).collect();
        let content = |digest: &Option<Digest>| digest.map_or_else(Vec::new, |digest| digest.0.to_vec());
        let parts: Vec<Vec<u8>> =
            all.into_iter().flat_map(|(name, digest)| [name.into_bytes(), content(digest)]).collect();
        Digest::of(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()).short()
    }
}

/// Contents by path.
pub type Kept = BTreeMap<PathBuf, Arc<[u8]>>;

/// Reads a configuration and writes down what it reads.
#[derive(Debug)]
pub struct Recorder {
    main: PathBuf,
    /// Stand for these files, whatever the disk has: standard input and other pipes, which can be read but once, and a
    /// text that was put in place of the main file.
    kept: RefCell<Kept>,
    seen: RefCell<Inputs>,
}

impl Recorder {
    /// For the files of `main`; with `text` instead of the content of that one.
    #[must_use]
    pub fn new(main: &Path, text: Option<Arc<[u8]>>) -> Self {
        Self::with(main, text.map(|text| (main.to_owned(), text)).into_iter().collect())
    }

    /// For the files of `main`; with what is `kept` instead of the content of those files.
    #[must_use]
    pub fn with(main: &Path, kept: Kept) -> Self {
        Self { main: main.to_owned(), kept: RefCell::new(kept), seen: RefCell::default() }
    }

    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// All its problems.
    pub fn load(&self) -> Result<Loaded, Diagnostics> {
        tidegate_config::load(self, &self.main)
    }

    /// The main file.
    #[must_use]
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// What cannot be read again, and what stood in place of a file.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.kept.borrow().clone()
    }

    /// Reads a file of any size that is not YAML: descriptors, certificates.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_once(path, |path| std::fs::read(path))
    }

    /// Reads what can be read but once no more than that.
    fn read_once(&self, path: &Path, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        let known = self.kept.borrow().get(path).cloned();
        let read = match known {
            Some(bytes) => Ok(bytes.to_vec()),
            None => read(path),
        };
        let bytes = read.as_deref().ok();
        if let Some(bytes) = bytes.filter(|_| is_stream(path)) {
            self.kept.borrow_mut().insert(path.to_owned(), Arc::from(bytes));
        }
        self.note(path, bytes.map(|bytes| Digest::of(&[bytes])));
        read
    }

    /// The digest of a file that somebody else reads; `None` if it cannot be read.
    pub fn digest(&self, path: &Path) -> Option<Digest> {
        let digest = digest_of_file(path);
        self.note(path, digest);
        digest
    }

    /// What was read so far.
    #[must_use]
    pub fn inputs(&self) -> Inputs {
        self.seen.borrow().clone()
    }

    fn note(&self, path: &Path, digest: Option<Digest>) {
        self.seen.borrow_mut().files.insert(path.to_owned(), digest);
    }
}

impl Source for Recorder {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.read_once(path, |path| System.read(path))?;
        // What was put in place of a file has not passed the bound yet.
        if read.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        Ok(read)
    }

    fn find(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let found = System.find(pattern)?;
        self.seen.borrow_mut().patterns.insert(pattern.to_owned(), found.clone());
        Ok(found)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.seen.borrow_mut().variables.insert(name.to_owned(), digest_of_variable(name));
        System.variable(name)
    }
}

fn digest_of_file(path: &Path) -> Option<Digest> {
    // Whoever opens a pipe waits for its other end.
    if is_stream(path) {
        return None;
    }
    std::fs::read(path).ok().map(|bytes| Digest::of(&[&bytes]))
}

/// There, but neither a file nor a folder; or standard input.
fn is_stream(path: &Path) -> bool {
    path == Path::new(STDIN) || path.metadata().is_ok_and(|about| !about.is_file() && !about.is_dir())
}

fn digest_of_variable(name: &str) -> Option<Digest> {
    System.variable(name).map(|value| Digest::of(&[value.as_bytes()]))
}

/// The folder of a file; `.` for a bare name.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_patterns_and_variables_are_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("d")).unwrap();
        std::fs::write(path("a"), "1").unwrap();
        let recorder = Recorder::new(&path("a"), None);
        assert_eq!(recorder.read(&path("a")).unwrap(), b"1");
        assert!(recorder.read(&path("b")).is_err());
        let pattern = path("d/*.yaml").to_string_lossy().into_owned();
        assert_eq!(recorder.find(&pattern).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(recorder.variable("TIDEGATE_NOT_SET"), None);
        let inputs = recorder.inputs();
        assert_eq!(inputs.again(), inputs);
        let folders = inputs.folders();
        assert!(folders.contains(folder.path()) && folders.contains(&path("d")), "{folders:?}");
        for (name, content) in [("a", "2"), ("b", "1"), ("d/x.yaml", "")] {
            std::fs::write(path(name), content).unwrap();
            assert_ne!(inputs.again(), inputs, "{name}");
            std::fs::remove_file(path(name)).unwrap();
            std::fs::write(path("a"), "1").unwrap();
            assert_eq!(inputs.again(), inputs, "{name} is as before");
        }
    }

    #[test]
    fn a_text_stands_for_the_main_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (main, other) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&main, "file").unwrap();
        std::fs::write(&other, "other").unwrap();
        let recorder = Recorder::new(&main, Some(b"text".as_slice().into()));
        assert_eq!(recorder.read(&main).unwrap(), b"text");
        assert_eq!(recorder.read(&other).unwrap(), b"other");
        assert_ne!(recorder.inputs().file(&main), Inputs::digest_now(&main));
        assert_eq!(recorder.inputs().file(&other), Inputs::digest_now(&other));
        let large = Recorder::new(&main, Some(vec![b' '; 17 << 20].into()));
        assert_eq!(large.read(&main).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    /// Opening a pipe waits for its other end, and reading it takes away what was in it.
    #[test]
    fn a_pipe_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let path = pipe.clone();
        let writer = std::thread::spawn(move || std::fs::write(path, "version: 1").unwrap());
        let recorder = Recorder::new(&pipe, None);
        assert_eq!(recorder.read(&pipe).unwrap(), b"version: 1");
        writer.join().unwrap();
        assert_eq!(recorder.read(&pipe).unwrap(), b"version: 1", "from memory");
        assert_eq!(recorder.inputs().again(), recorder.inputs());
        assert_eq!(Inputs::digest_now(&pipe), None);
    }
}
