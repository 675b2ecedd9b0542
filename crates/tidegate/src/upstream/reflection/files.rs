//! A set of descriptor files: collected within bounds, normalised, with a digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, encode_key, skip_field};

use super::ReflectionError;
use super::wire::{FileHeader, Set};

/// All files of a service together, in bytes.
const MAX_TOTAL: usize = 16 * 1024 * 1024;

/// Field of `FileDescriptorProto` with comments and positions, which change without a change of meaning.
const SOURCE_CODE_INFO: u32 = 9;

/// SHA-256 over a normalised set of files.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FilesDigest([u8; 32]);

impl FilesDigest {
    /// One of no files, for tests.
    #[cfg(test)]
    pub(crate) fn of_byte(byte: u8) -> Self {
        Self([byte; 32])
    }
}

impl fmt::Display for FilesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FilesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Encoded `FileDescriptorProto`s: sorted by name, each name once, without source info.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSet {
    files: Vec<Bytes>,
    digest: FilesDigest,
}

impl FileSet {
    /// The files, encoded.
    #[must_use]
    pub fn files(&self) -> &[Bytes] {
        &self.files
    }

    /// Equal for equal files, whatever their order was and whatever comments they have.
    #[must_use]
    pub fn digest(&self) -> FilesDigest {
        self.digest
    }

    /// A `FileDescriptorSet`.
    pub(super) fn encode(&self) -> Vec<u8> {
        Set { file: self.files.clone() }.encode_to_vec()
    }

    /// Reads a `FileDescriptorSet`.
    pub(super) fn decode(bytes: Bytes) -> Result<Self, ReflectionError> {
        let mut collected = Collected::default();
        for file in Set::decode(bytes)?.file {
            collected.add(file)?;
        }
        collected.finish()
    }
}

/// Files as they come in.
#[derive(Debug, Default)]
pub(super) struct Collected {
    files: BTreeMap<String, File>,
    /// Imports that were not looked at yet.
    imported: Vec<String>,
    /// What `next_missing` gave out.
    asked: BTreeSet<String>,
    total: usize,
}

#[derive(Debug)]
struct File {
    encoded: Bytes,
    dependencies: Vec<String>,
}

impl Collected {
    /// Adds a file. The same one again changes nothing.
    ///
    /// # Errors
    /// Not a file, too many bytes in all, another file of the same name.
    pub(super) fn add(&mut self, encoded: Bytes) -> Result<(), ReflectionError> {
        self.total = self.total.saturating_add(encoded.len());
        if self.total > MAX_TOTAL {
            return Err(ReflectionError::TooLarge);
        }
        let header = FileHeader::decode(encoded.clone())?;
        let encoded = without_source_info(encoded)?;
        if let Some(known) = self.files.get(&header.name) {
            if known.encoded == encoded {
                return Ok(());
            }
            return Err(ReflectionError::Duplicate(header.name));
        }
        self.imported.extend_from_slice(&header.dependency);
        self.files.insert(header.name, File { encoded, dependencies: header.dependency });
        Ok(())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// A file that is imported but not there; each name once.
    pub(super) fn next_missing(&mut self) -> Option<String> {
        while let Some(name) = self.imported.pop() {
            if !self.has(&name) && self.asked.insert(name.clone()) {
                return Some(name);
            }
        }
        None
    }

    /// # Errors
    /// Files that import each other in a circle.
    pub(super) fn finish(self) -> Result<FileSet, ReflectionError> {
        self.check_circles()?;
        let mut hash = Context::new(&SHA256);
        for file in self.files.values() {
            hash.update(&u64::try_from(file.encoded.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(&file.encoded);
        }
        let mut digest = [0; 32];
        for (place, byte) in digest.iter_mut().zip(hash.finish().as_ref()) {
            *place = *byte;
        }
        let files = self.files.into_values().map(|file| file.encoded).collect();
        Ok(FileSet { files, digest: FilesDigest(digest) })
    }

    /// Takes away files whose imports are all gone, until none is left or none can go: those form a circle. Not
    /// recursive, because the depth is the backend's choice.
    fn check_circles(&self) -> Result<(), ReflectionError> {
        let mut importers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, file) in &self.files {
            let present = file.dependencies.iter().filter(|import| self.files.contains_key(*import));
            open.insert(name, present.clone().count());
            for import in present {
                importers.entry(import).or_default().push(name);
            }
        }
        let mut free: Vec<&str> = open.iter().filter(|(_, imports)| **imports == 0).map(|(name, _)| *name).collect();
        while let Some(name) = free.pop() {
            open.remove(name);
            for importer in importers.get(name).into_iter().flatten() {
                if let Some(imports) = open.get_mut(importer) {
                    *imports = imports.saturating_sub(1);
                    if *imports == 0 {
                        free.push(importer);
                    }
                }
            }
        }
        match open.first_key_value() {
            None => Ok(()),
            Some((name, _)) => Err(ReflectionError::Circle((*name).to_owned())),
        }
    }
}

fn without_source_info(encoded: Bytes) -> Result<Bytes, ReflectionError> {
    let mut rest = encoded.clone();
    let mut kept = BytesMut::new();
    while rest.has_remaining() {
        let (tag, kind) = decode_key(&mut rest)?;
        let before = rest.clone();
        skip_field(kind, tag, &mut rest, DecodeContext::default())?;
        if tag != SOURCE_CODE_INFO || kind != WireType::LengthDelimited {
            encode_key(tag, kind, &mut kept);
            kept.put(before.slice(..before.len() - rest.len()));
        }
    }
    Ok(if kept.len() == encoded.len() { encoded } else { kept.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, imports: &[&str]) -> Bytes {
        let dependency = imports.iter().map(|import| (*import).to_owned()).collect();
        FileHeader { name: name.to_owned(), dependency }.encode_to_vec().into()
    }

    fn collect(files: &[Bytes]) -> Result<FileSet, ReflectionError> {
        let mut collected = Collected::default();
        for file in files {
            collected.add(file.clone())?;
        }
        collected.finish()
    }

    #[test]
    fn order_and_comments_do_not_change_the_digest() {
        let (a, b) = (file("a.proto", &["b.proto"]), file("b.proto", &[]));
        let mut commented = BytesMut::from(a.as_ref());
        commented.put_slice(&[9 << 3 | 2, 3, 1, 2, 3]);
        let first = collect(&[a.clone(), b.clone()]).unwrap();
        let second = collect(&[b.clone(), commented.freeze(), b.clone()]).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.files(), [a, b.clone()]);
        assert_ne!(first.digest(), collect(&[b]).unwrap().digest());
        assert_eq!(FileSet::decode(first.encode().into()).unwrap(), first);
    }

    #[test]
    fn nothing_but_comments_is_left_out() {
        let mut full = BytesMut::from(file("a.proto", &[]).as_ref());
        // Messages, enums, services, extensions, options, syntax: fields 4 to 8 and 12.
        for field in [4, 5, 6, 7, 8, 12] {
            full.put_slice(&[field << 3 | 2, 1, b'x']);
        }
        let full = full.freeze();
        assert_eq!(collect(std::slice::from_ref(&full)).unwrap().files(), [full]);
    }

    #[test]
    fn hostile_sets_are_refused() {
        let circle = [file("a", &["b"]), file("b", &["c"]), file("c", &["b"]), file("d", &["c"])];
        assert!(matches!(collect(&circle), Err(ReflectionError::Circle(name)) if name == "a"));
        assert!(matches!(collect(&[file("a", &["a"])]), Err(ReflectionError::Circle(_))));
        let two = [file("a", &[]), file("a", &["b"])];
        assert!(matches!(collect(&two), Err(ReflectionError::Duplicate(name)) if name == "a"));
        assert!(matches!(collect(&[Bytes::from_static(&[0xff])]), Err(ReflectionError::Broken(_))));
        let many: Vec<_> = (0..17).map(|n| file(&format!("{n}{}", "x".repeat(1024 * 1024)), &[])).collect();
        assert!(matches!(collect(&many), Err(ReflectionError::TooLarge)));
        let long: Vec<_> = (0..100_000).map(|n| file(&n.to_string(), &[&(n + 1).to_string()])).collect();
        assert!(collect(&long).is_ok());
    }
}
