//! What can be wrong with a set of descriptors.

/// Why a schema could not be compiled. Every variant names the file where there is one.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Bytes that are not a descriptor.
    #[error("{what} is not a valid protobuf descriptor")]
    Undecodable {
        /// The file's name if it could be read, else what was being read.
        what: String,
    },
    /// A `.proto` file that does not compile or cannot be found. The text has file, line and column.
    #[error("{message}")]
    Proto {
        /// Name of the file, if known.
        file: Option<String>,
        /// Compiler message with position.
        message: String,
    },
    /// A `.proto` source with `edition = …`; the built-in compiler reads proto2 and proto3.
    #[error(
        "{file} uses an edition, which cannot be compiled here: compile it with protoc and give the descriptor set"
    )]
    EditionSource {
        /// Name of the file.
        file: String,
    },
    /// A descriptor with a syntax or an edition that is not known.
    #[error("{file} uses {edition}, which is not supported: proto2, proto3, editions 2023 and 2024 are")]
    UnknownEdition {
        /// Name of the file.
        file: String,
        /// What it asks for.
        edition: String,
    },
    /// Two different files with one name.
    #[error("{file} is given twice with different contents")]
    DuplicateFile {
        /// Name of the file.
        file: String,
    },
    /// Imports that miss, types that do not resolve, duplicate names or numbers, import cycles.
    #[error("invalid descriptor: {message}")]
    Invalid {
        /// What is wrong, with the names involved.
        message: String,
    },
    /// More fields, values or text than a plan can hold.
    #[error("{name} is too large: {what}")]
    TooLarge {
        /// Full name of the message or enum.
        name: String,
        /// Which bound.
        what: &'static str,
    },
}
