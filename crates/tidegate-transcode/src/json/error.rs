//! What can go wrong in the codec.
//!
//! An error never contains a value that the client or the backend sent. Names of fields are the schema's own; the one
//! foreign text is the name of an unknown key, cut at 64 bytes.

use std::fmt;

/// Names in a path are cut at this many bytes.
pub(crate) const MAX_NAME_BYTES: usize = 64;
/// A whole path is cut at this many bytes.
const MAX_PATH_BYTES: usize = 512;

/// Why a request body was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// What is wrong.
    pub kind: ReadErrorKind,
    /// Where: byte offset into the JSON text that was given.
    pub offset: usize,
    /// Which field, in JSON names: `shelf.books[3].title`. Empty when it is not about a field.
    pub path: String,
}

/// The kinds of [`ReadError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadErrorKind {
    /// Not JSON: an unexpected byte, a bad literal, a control character in a string, a byte-order mark.
    Syntax,
    /// The text ends too early.
    UnexpectedEnd,
    /// Something follows the value.
    TrailingText,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// An escape that does not exist, or half of a surrogate pair.
    InvalidEscape,
    /// More than [`MAX_DEPTH`](super::MAX_DEPTH) levels.
    TooDeep,
    /// A key that no field has. It is the last element of the path.
    UnknownField,
    /// A field is there twice, under whatever spelling, or a map key is.
    Duplicate,
    /// Two members of one oneof.
    OneofConflict,
    /// `null` where a value is needed: in a list, as a map value.
    UnexpectedNull,
    /// A field that the path binds has another value in the body.
    BindingCollision,
    /// The value is of the wrong type or malformed; says what was expected.
    Expected(Expected),
    /// A number that the type cannot hold.
    OutOfRange(Expected),
    /// A name that the enum does not have.
    UnknownEnumValue,
    /// An `Any` without `@type`, or with a type URL that has no type name.
    AnyTypeMissing,
    /// An `Any` of a type with a JSON form of its own, without `value`.
    AnyValueMissing,
    /// An `Any` whose type is not in the schema.
    AnyTypeUnknown,
    /// The result would exceed what a protobuf message can hold (2 GiB).
    TooLarge,
}

/// What a value should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the type of its name")]
pub enum Expected {
    Object,
    Array,
    String,
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Float,
    Double,
    Base64,
    Enum,
    Null,
    Timestamp,
    Duration,
    FieldMask,
    /// A JSON number inside a `Value`.
    Number,
}

impl Expected {
    /// The word for it in an error text.
    pub fn as_str(self) -> &'static str {
        match self {
            Expected::Object => "an object",
            Expected::Array => "an array",
            Expected::String => "a string",
            Expected::Bool => "true or false",
            Expected::Int32 => "int32",
            Expected::Int64 => "int64",
            Expected::Uint32 => "uint32",
            Expected::Uint64 => "uint64",
            Expected::Float => "float",
            Expected::Double => "double",
            Expected::Base64 => "base64",
            Expected::Enum => "an enum name or number",
            Expected::Null => "null",
            Expected::Timestamp => "an RFC 3339 timestamp",
            Expected::Duration => "a duration such as 3.5s",
            Expected::FieldMask => "a field mask",
            Expected::Number => "a finite number",
        }
    }
}

impl ReadError {
    /// An error without a path.
    #[cold]
    pub fn new(kind: ReadErrorKind, offset: usize) -> Box<Self> {
        Box::new(Self { kind, offset, path: String::new() })
    }

    /// Puts `name` in front of the path. Called while the error travels outwards, so that nothing is spent on paths
    /// as long as all is well.
    #[cold]
    pub fn within(mut self: Box<Self>, name: &str) -> Box<Self> {
        let name = cut(name, MAX_NAME_BYTES);
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        if self.path.len() + name.len() < MAX_PATH_BYTES {
            self.path = format!("{name}{dot}{}", self.path);
        }
        self
    }

    /// Puts a list index in front of the path.
    #[cold]
    pub fn at_index(mut self: Box<Self>, index: usize) -> Box<Self> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        if self.path.len() < MAX_PATH_BYTES {
            self.path = format!("[{index}]{dot}{}", self.path);
        }
        self
    }

    /// A constant text for the kind, fit for a client.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }
}

/// Cuts at a character boundary.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

impl fmt::Display for ReadErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            ReadErrorKind::Syntax => "the body is not valid JSON",
            ReadErrorKind::UnexpectedEnd => "the JSON text ends too early",
            ReadErrorKind::TrailingText => "text after the JSON value",
            ReadErrorKind::InvalidUtf8 => "the JSON text is not UTF-8",
            ReadErrorKind::InvalidEscape => "invalid escape in a JSON string",
            ReadErrorKind::TooDeep => "nested too deeply",
            ReadErrorKind::UnknownField => "unknown field",
            ReadErrorKind::Duplicate => "given twice",
            ReadErrorKind::OneofConflict => "excludes another field that is given",
            ReadErrorKind::UnexpectedNull => "null is not allowed here",
            ReadErrorKind::BindingCollision => "differs from the value in the path",
            ReadErrorKind::Expected(expected) => {
                return write!(f, "expected {}", expected.as_str());
            }
            ReadErrorKind::OutOfRange(expected) => {
                return write!(f, "out of range for {}", expected.as_str());
            }
            ReadErrorKind::UnknownEnumValue => "unknown enum value",
            ReadErrorKind::AnyTypeMissing => "an Any needs @type",
            ReadErrorKind::AnyValueMissing => "an Any of this type needs value",
            ReadErrorKind::AnyTypeUnknown => "unknown type in @type",
            ReadErrorKind::TooLarge => "too large",
        };
        f.write_str(text)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return write!(f, "{} (at byte {})", self.kind, self.offset);
        }
        write!(f, "{}: {} (at byte {})", self.path, self.kind, self.offset)
    }
}

impl std::error::Error for ReadError {}

/// Why an answer could not be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Not protobuf, or not protobuf of this message: cut short, a bad tag or length.
    #[error("the message is not valid protobuf")]
    Malformed,
    /// A string field that is not UTF-8.
    #[error("a string in the message is not UTF-8")]
    InvalidUtf8,
    /// More than [`MAX_DEPTH`](super::MAX_DEPTH) levels.
    #[error("the message is nested too deeply")]
    TooDeep,
    /// A well-known type outside its range: a timestamp before year 1, a `Value` that is not finite, and so on.
    #[error("a value has no JSON form")]
    NotRepresentable,
    /// Far longer than the message: see the bound in `write.rs`.
    #[error("the JSON form of the message is too large")]
    TooLarge,
}
