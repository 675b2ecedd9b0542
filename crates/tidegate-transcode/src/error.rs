//! Why a request cannot become a message, and why a message cannot become an answer.
//!
//! Every text here is constant and made for clients: no value that a client or a backend sent, no address, no text of a
//! library. The one exception are names of fields and of unknown keys, which are cut at [`MAX_NAME_BYTES`].

use std::borrow::Cow;

use crate::json::{ReadError, ReadErrorKind, WriteError};

/// Longest name of a field or key in a [`Violation`], in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// How many violations one error lists.
pub const MAX_VIOLATIONS: usize = 10;

/// The part of the request that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The value of a path variable.
    Path,
    /// The query.
    Query,
    /// The body or its content type.
    Body,
    /// All of it, as a message that is longer than gRPC can send.
    Encode,
}

impl Stage {
    /// The word for metrics: `path`, `query`, `body` or `encode`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Body => "body",
            Self::Encode => "encode",
        }
    }
}

/// The reason words of the product that this crate can cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// HTTP 400.
    BadRequest,
    /// HTTP 415.
    UnsupportedMediaType,
    /// HTTP 413.
    PayloadTooLarge,
    /// HTTP 502.
    TranscodeFailed,
}

impl Reason {
    /// The word as clients, logs and metrics see it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::PayloadTooLarge => "payload_too_large",
            Self::TranscodeFailed => "transcode_failed",
        }
    }
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// A `%` without two hexadecimal digits behind it.
    #[error("a percent escape is malformed")]
    BadEscape,
    /// A percent-decoded text is not UTF-8.
    #[error("the text is not valid UTF-8 after percent-decoding")]
    NotUtf8,
    /// More query parameters than allowed.
    #[error("the query has too many parameters")]
    TooManyParameters,
    /// A query parameter that no field takes.
    #[error("a query parameter is unknown")]
    UnknownParameter,
    /// A query parameter names something that cannot be set by a query.
    #[error("a query parameter does not name a scalar field")]
    NotAParameter,
    /// A scalar is given more than once.
    #[error("a field that takes one value is given twice")]
    GivenTwice,
    /// Two members of one oneof.
    #[error("two members of one oneof are given")]
    OneofGivenTwice,
    /// The text of a path or query value is not of the type of its field.
    #[error("a value does not fit the type of its field")]
    BadValue,
    /// The body is not JSON.
    #[error("the body is not valid JSON")]
    InvalidJson,
    /// The body has a key that the message does not have.
    #[error("the body has an unknown field")]
    UnknownField,
    /// A key of the body is given twice, in whatever spelling.
    #[error("the body has a field twice")]
    DuplicateField,
    /// The JSON of the body is not of the type of a field.
    #[error("the body does not fit the message")]
    BadBody,
    /// The body has another value than the path for the same field.
    #[error("the body contradicts the path")]
    BodyContradictsPath,
    /// Nested deeper than allowed.
    #[error("the request is nested too deeply")]
    TooDeep,
    /// A body where the route takes none.
    #[error("this route takes no body")]
    UnexpectedBody,
    /// The array around an upload is broken or incomplete.
    #[error("the body is neither a JSON array nor a sequence of JSON values")]
    BrokenSequence,
    /// The content type is not JSON.
    #[error("the content type is not JSON")]
    ContentType,
    /// The charset is not UTF-8.
    #[error("the charset is not UTF-8")]
    Charset,
    /// The message is longer than allowed.
    #[error("the body is too large")]
    TooLarge,
}

/// A fault of one field, for lists like `google.rpc.BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Dotted path or key, empty only for an empty key. A key that the client made up is cut at [`MAX_NAME_BYTES`].
    pub field: String,
    /// Constant text, such as `expected int64`.
    pub message: Cow<'static, str>,
}

impl Violation {
    /// A violation of the field at `path`.
    #[must_use]
    pub fn new(path: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { field: path.to_owned(), message: message.into() }
    }
}

/// A request that cannot become a message. Nothing of it may reach the backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct RequestError {
    /// The part of the request.
    pub stage: Stage,
    /// What is wrong with it; its text is the detail for the client.
    pub fault: Fault,
    /// The fields that are concerned, at most [`MAX_VIOLATIONS`]; empty when no field is to blame.
    pub violations: Vec<Violation>,
}

impl RequestError {
    /// An error that concerns no single field.
    #[must_use]
    pub const fn new(stage: Stage, fault: Fault) -> Self {
        Self { stage, fault, violations: Vec::new() }
    }

    /// An error of one field.
    #[must_use]
    pub fn of_field(stage: Stage, fault: Fault, field: &str, message: &'static str) -> Self {
        Self { stage, fault, violations: vec![Violation::new(field, message)] }
    }

    /// The error of a body that the codec refused. `outer` is the path of the message that the body
    /// is a field of, empty at the top.
    #[cold]
    pub(crate) fn of_body(error: &ReadError, outer: &str) -> Self {
        let fault = match error.kind {
            ReadErrorKind::Syntax
            | ReadErrorKind::UnexpectedEnd
            | ReadErrorKind::TrailingText
            | ReadErrorKind::InvalidUtf8
            | ReadErrorKind::InvalidEscape => Fault::InvalidJson,
            ReadErrorKind::TooDeep => Fault::TooDeep,
            ReadErrorKind::UnknownField => Fault::UnknownField,
            ReadErrorKind::Duplicate => Fault::DuplicateField,
            ReadErrorKind::OneofConflict => Fault::OneofGivenTwice,
            ReadErrorKind::BindingCollision => Fault::BodyContradictsPath,
            ReadErrorKind::TooLarge => Fault::TooLarge,
            ReadErrorKind::UnexpectedNull
            | ReadErrorKind::Expected(_)
            | ReadErrorKind::OutOfRange(_)
            | ReadErrorKind::UnknownEnumValue
            | ReadErrorKind::AnyTypeMissing
            | ReadErrorKind::AnyValueMissing
            | ReadErrorKind::AnyTypeUnknown => Fault::BadBody,
        };
        let dot = if outer.is_empty() || error.path.is_empty() || error.path.starts_with('[') { "" } else { "." };
        let path = format!("{outer}{dot}{}", error.path);
        let stage = if fault == Fault::TooLarge { Stage::Encode } else { Stage::Body };
        let mut result = Self::new(stage, fault);
        if !path.is_empty() && fault != Fault::InvalidJson {
            result.violations.push(Violation::new(&path, error.kind.to_string()));
        }
        result
    }

    /// The reason word that decides the HTTP status.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self.fault {
            Fault::ContentType | Fault::Charset => Reason::UnsupportedMediaType,
            Fault::TooLarge => Reason::PayloadTooLarge,
            Fault::BadEscape
            | Fault::NotUtf8
            | Fault::TooManyParameters
            | Fault::UnknownParameter
            | Fault::NotAParameter
            | Fault::GivenTwice
            | Fault::OneofGivenTwice
            | Fault::BadValue
            | Fault::InvalidJson
            | Fault::UnknownField
            | Fault::DuplicateField
            | Fault::BadBody
            | Fault::BodyContradictsPath
            | Fault::TooDeep
            | Fault::UnexpectedBody
            | Fault::BrokenSequence => Reason::BadRequest,
        }
    }
}

/// A message of the backend that cannot become an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResponseError {
    /// The bytes are not the message that the schema describes.
    #[error("the answer is not a valid message")]
    Malformed,
    /// A string is not UTF-8.
    #[error("a string of the answer is not valid UTF-8")]
    NotUtf8,
    /// Nested deeper than allowed.
    #[error("the answer is nested too deeply")]
    TooDeep,
    /// Its JSON form is out of all proportion to the message.
    #[error("the answer is too large as JSON")]
    TooLarge,
    /// A value that has no JSON form, such as a timestamp out of range.
    #[error("a value of the answer has no JSON form")]
    NoJsonForm,
    /// `HttpBody.content_type` is no header value.
    #[error("the content type of the answer is malformed")]
    ContentType,
}

impl ResponseError {
    /// Always [`Reason::TranscodeFailed`].
    #[must_use]
    pub const fn reason(self) -> Reason {
        Reason::TranscodeFailed
    }
}

impl From<WriteError> for ResponseError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Malformed => Self::Malformed,
            WriteError::InvalidUtf8 => Self::NotUtf8,
            WriteError::TooDeep => Self::TooDeep,
            WriteError::TooLarge => Self::TooLarge,
            WriteError::NotRepresentable => Self::NoJsonForm,
        }
    }
}

/// The beginning of `name` that fits in [`MAX_NAME_BYTES`].
pub(crate) fn cut(name: &str) -> &str {
    let end = name.floor_char_boundary(MAX_NAME_BYTES);
    name.get(..end).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"a".repeat(65)).len(), 64);
        assert_eq!(cut(&"\u{20ac}".repeat(65)).len(), 63);
    }

    #[test]
    fn what_is_too_long_for_a_message_is_no_fault_of_the_json() {
        let error = |kind| ReadError { kind, offset: 0, path: String::new() };
        assert_eq!(RequestError::of_body(&error(ReadErrorKind::TooLarge), "").stage, Stage::Encode);
        assert_eq!(RequestError::of_body(&error(ReadErrorKind::TooDeep), "").stage, Stage::Body);
    }

    #[test]
    fn reasons_follow_from_faults() {
        let cases = [
            (Fault::BadValue, "bad_request"),
            (Fault::Charset, "unsupported_media_type"),
            (Fault::ContentType, "unsupported_media_type"),
            (Fault::TooLarge, "payload_too_large"),
        ];
        for (fault, word) in cases {
            assert_eq!(RequestError::new(Stage::Body, fault).reason().word(), word);
        }
    }
}
