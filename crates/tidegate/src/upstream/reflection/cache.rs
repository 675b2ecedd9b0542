//! The last good descriptors of each service on disk, so that the gateway starts while a backend is down.
//!
//! One file for each service, `<service>.<digest>.pb`, an encoded `FileDescriptorSet`. A file whose digest is not that
//! of its name is ignored. Writing is a rename, so a reader never sees half a file. Blocks on the disk: for the
//! control thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::files::FileSet;

/// A folder with descriptor files.
#[derive(Clone, Debug)]
pub struct DescriptorCache {
    folder: PathBuf,
}

impl DescriptorCache {
    /// Keeps files in `folder`, which is made when first needed.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The newest good set of `service`, if there is one.
    #[must_use]
    pub fn load(&self, service: &str) -> Option<FileSet> {
        let mut found = self.files_of(service);
        found.sort_by_key(|path| {
            fs::metadata(path).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        });
        found.iter().rev().find_map(|path| {
            let set = FileSet::decode(fs::read(path).ok()?.into()).ok()?;
            (*path == self.path_of(service, &set)).then_some(set)
        })
    }

    /// Keeps `set` as the last good one of `service`, and forgets the one before.
    ///
    /// # Errors
    /// The folder or the file cannot be written; what was there is still there.
    pub fn store(&self, service: &str, set: &FileSet) -> io::Result<()> {
        let path = self.path_of(service, set);
        if !path.exists() {
            fs::create_dir_all(&self.folder)?;
            let fresh = path.with_extension(format!("new-{}", std::process::id()));
            let written = fs::write(&fresh, set.encode()).and_then(|()| fs::rename(&fresh, &path));
            if written.is_err() {
                let _ = fs::remove_file(&fresh);
            }
            written?;
        }
        for old in self.files_of(service).iter().filter(|old| **old != path) {
            fs::remove_file(old)?;
        }
        Ok(())
    }

    fn path_of(&self, service: &str, set: &FileSet) -> PathBuf {
        self.folder.join(format!("{}.{}.pb", file_stem(service), set.digest()))
    }

    fn files_of(&self, service: &str) -> Vec<PathBuf> {
        let prefix = format!("{}.", file_stem(service));
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let is_ours = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "pb")
                && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
        };
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(is_ours).collect()
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A name that cannot leave the folder, and that no other service has.
fn file_stem(service: &str) -> String {
    let mut stem = String::new();
    for byte in service.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            stem.push(char::from(byte));
        } else {
            stem.push_str(&format!("%{byte:02x}"));
        }
    }
    stem
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::*;
    use crate::upstream::reflection::wire::{FileHeader, Set};

    fn set(name: &str) -> FileSet {
        let file = FileHeader { name: name.to_owned(), dependency: Vec::new() }.encode_to_vec();
        FileSet::decode(Set { file: vec![Bytes::from(file)] }.encode_to_vec().into()).unwrap()
    }

    #[test]
    fn the_last_set_of_each_service_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DescriptorCache::new(folder.path().join("state"));
        assert_eq!(cache.load("a"), None);
        cache.store("a", &set("one")).unwrap();
        cache.store("a.b", &set("other")).unwrap();
        cache.store("../a", &set("outside")).unwrap();
        cache.store("a", &set("two")).unwrap();
        cache.store("a", &set("two")).unwrap();
        assert_eq!(cache.load("a"), Some(set("two")));
        assert_eq!(cache.load("a.b"), Some(set("other")));
        assert_eq!(cache.load("../a"), Some(set("outside")));
        assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 3);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DescriptorCache::new(folder.path());
        cache.store("a", &set("one")).unwrap();
        let path = cache.path_of("a", &set("one"));
        fs::write(&path, set("two").encode()).unwrap();
        assert_eq!(cache.load("a"), None);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(cache.load("a"), None);
    }
}
