//! `.proto` files compiled in process, without `protoc`.

use std::path::{Path, PathBuf};

use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

use super::{Schema, SchemaError, build, builtin};

impl Schema {
    /// Compiles `.proto` files. Imports are looked up in `include_paths`, in order, then among the built-in files
    /// (`google/protobuf/*`, `google/api/*`, `google/rpc/*`). Reads files, so it blocks.
    ///
    /// # Errors
    /// [`SchemaError::Proto`] with file, line and column, [`SchemaError::EditionSource`], or those of
    /// [`Schema::from_descriptor_set`].
    pub fn from_protos<P: AsRef<Path>, I: AsRef<Path>>(files: &[P], include_paths: &[I]) -> Result<Self, SchemaError> {
        build::from_set(&compile_protos(files, include_paths)?)
    }

    /// The same, and the paths of all files that were read for it, imports included; not those that are built in.
    ///
    /// # Errors
    /// As [`Schema::from_protos`].
    pub fn from_protos_with_paths<P: AsRef<Path>, I: AsRef<Path>>(
        files: &[P],
        include_paths: &[I],
    ) -> Result<(Self, Vec<PathBuf>), SchemaError> {
        let compiler = compile(files, include_paths)?;
        let read = compiler.files().filter_map(|file| file.path().map(Path::to_path_buf)).collect();
        Ok((build::from_set(&compiler.encode_file_descriptor_set())?, read))
    }
}

/// Compiles `.proto` files into an encoded `FileDescriptorSet` that contains everything they import.
///
/// # Errors
/// As [`Schema::from_protos`].
pub fn compile_protos<P: AsRef<Path>, I: AsRef<Path>>(
    files: &[P],
    include_paths: &[I],
) -> Result<Vec<u8>, SchemaError> {
    Ok(compile(files, include_paths)?.encode_file_descriptor_set())
}

fn compile<P: AsRef<Path>, I: AsRef<Path>>(files: &[P], include_paths: &[I]) -> Result<protox::Compiler, SchemaError> {
    let mut resolver = ChainFileResolver::new();
    for path in include_paths {
        let include = path.as_ref().to_path_buf();
        resolver.add(Include { resolver: IncludeFileResolver::new(include.clone()), include });
    }
    resolver.add(builtin::Resolver);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    // With source positions the set needs no second encoding; the plans do not keep them.
    compiler.include_imports(true).include_source_info(true);
    for file in files {
        compiler.open_file(file).map_err(|error| proto_error(&error))?;
    }
    Ok(compiler)
}

fn proto_error(error: &protox::Error) -> SchemaError {
    // The marker is searched in the text, because the compiler hides the type of a resolver's own error.
    if let Some(file) = error.to_string().strip_suffix(EDITION_MARK) {
        return SchemaError::EditionSource { file: file.to_owned() };
    }
    // The debug form is the one with line and column.
    SchemaError::Proto { file: error.file().map(str::to_owned), message: format!("{error:?}") }
}

const EDITION_MARK: &str = " is an edition file";

/// An include directory that recognises edition files, because the parser's own message ("expected a type name, but
/// found '='") would not help anybody.
struct Include {
    resolver: IncludeFileResolver,
    include: PathBuf,
}

impl FileResolver for Include {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        self.resolver.resolve_path(path)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let opened = self.resolver.open_file(name);
        let failed_to_parse = opened.as_ref().is_err_and(protox::Error::is_parse);
        if failed_to_parse
            && let Ok(source) = std::fs::read_to_string(self.include.join(name))
            && declares_edition(&source)
        {
            return Err(protox::Error::new(format!("{name}{EDITION_MARK}")));
        }
        opened
    }
}

/// True if the first statement of a `.proto` file is `edition = …`.
fn declares_edition(source: &str) -> bool {
    let mut rest = source.trim_start_matches('\u{feff}').trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("//") {
            comment.split_once('\n').map(|(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, after)| after)
        } else {
            return rest.strip_prefix("edition").is_some_and(|after| after.trim_start().starts_with('='));
        };
        let Some(after) = after else { return false };
        rest = after.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_statement_decides() {
        let cases = [
            ("edition = \"2023\";", true),
            ("// Copyright\n/* more\n */ edition=\"2024\";", true),
            ("syntax = \"proto3\"; // edition = 1", false),
            ("editions = 1", false),
            ("/* open", false),
            ("", false),
        ];
        for (source, expected) in cases {
            assert_eq!(declares_edition(source), expected, "{source}");
        }
    }
}
