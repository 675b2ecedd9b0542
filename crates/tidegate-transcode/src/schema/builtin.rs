//! Files that every schema has: the well-known types, the annotations and body type of `google.api`, and the error
//! details of `google.rpc`.
//!
//! The well-known types come with the compiler crate; the rest are short `.proto` texts in `builtin/`, compiled once per
//! process.

use std::sync::OnceLock;

use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

const SOURCES: [(&str, &str); 7] = [
    ("google/api/annotations.proto", include_str!("builtin/google/api/annotations.proto")),
    ("google/api/field_behavior.proto", include_str!("builtin/google/api/field_behavior.proto")),
    ("google/api/http.proto", include_str!("builtin/google/api/http.proto")),
    ("google/api/httpbody.proto", include_str!("builtin/google/api/httpbody.proto")),
    ("google/rpc/code.proto", include_str!("builtin/google/rpc/code.proto")),
    ("google/rpc/error_details.proto", include_str!("builtin/google/rpc/error_details.proto")),
    ("google/rpc/status.proto", include_str!("builtin/google/rpc/status.proto")),
];

/// Well-known files that the sources above do not import anyway.
const WELL_KNOWN: [&str; 6] = [
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/wrappers.proto",
    "google/protobuf/type.proto",
];

/// Finds the `google.api` and `google.rpc` files by name.
pub(super) struct Resolver;

impl FileResolver for Resolver {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match SOURCES.iter().find(|(file, _)| *file == name) {
            Some((file, source)) => File::from_source(file, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// The encoded `FileDescriptorSet` of all built-in files.
pub(super) fn file_set() -> &'static [u8] {
    static SET: OnceLock<Vec<u8>> = OnceLock::new();
    SET.get_or_init(|| {
        let mut resolver = ChainFileResolver::new();
        resolver.add(Resolver);
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).include_source_info(true);
        let names = SOURCES.iter().map(|(file, _)| *file).chain(WELL_KNOWN);
        for name in names {
            let opened = compiler.open_file(name);
            debug_assert!(opened.is_ok(), "built-in file {name} does not compile");
        }
        compiler.encode_file_descriptor_set()
    })
}
