//! A path template as `google.api.http` writes it, in parts: segments, verb, variables.
//!
//! A template says which paths it matches and which pieces of them have a name. It knows nothing of fields or
//! messages: whether `{a.b}` can be bound is for the reader of the template to decide, who finds the column of the
//! name in [`Variable::column`].

use std::fmt;

use thiserror::Error;

use crate::parse;

/// A parsed path template, at most 64 segments.
///
/// ```text
/// template = "/" [ segment { "/" segment } [ ":" verb ] ]
/// segment  = "*" | "**" | literal | "{" field { "." field } [ "=" segment { "/" segment } ] "}"
/// ```
///
/// A literal, and the verb, consists of letters, digits and `-._~!$&'()+,;=@`. Percent-escapes are refused: a
/// literal is compared with the canonical path byte by byte, where unreserved characters are never escaped, and a
/// reserved one is not the same as its escape (RFC 3986, section 2.2): `/a!` does not match `/a%21`.
///
/// Source: the comments of `google/api/http.proto`, stricter where peers disagree (`**` at the end, no nesting).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub(crate) text: String,
    pub(crate) segments: Vec<Segment>,
    pub(crate) verb: Option<String>,
    pub(crate) variables: Vec<Variable>,
}

/// One segment of a path, as a template describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, compared byte by byte. The empty text stands only at the end: for the template `/`, and for
    /// a trailing slash.
    Literal(String),
    /// `*`: one segment that is not empty.
    Star,
    /// `**`: any number of segments, also none. There is at most one, and only literals follow it.
    DoubleStar,
}

/// A named part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Field path as written, parts joined by dots: `book.name`.
    pub field_path: String,
    /// Whether the value spans segments: the part has more than one segment, or is `**`. The value of a
    /// single-segment variable is decoded entirely, that of the others as [`MultiEscape`](crate::MultiEscape) says.
    pub multi_segment: bool,
    /// Column of the first character of the name in the template, from 1.
    pub column: usize,
    /// Index of the first segment that belongs to the variable.
    pub(crate) first: usize,
    /// Index after the last segment that belongs to it.
    pub(crate) end: usize,
}

impl Variable {
    /// Indices of the segments that belong to the variable, in [`Template::segments`].
    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        self.first..self.end
    }
}

/// What [`Template::parse_with`] allows beyond the strict grammar. The default allows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TemplateOptions {
    /// Literals may follow `**`, as in `/files/{path=**}/meta`.
    pub inner_wildcard: bool,
    /// The template may end with `/`, as in `/docs/`. The grammar of `google.api.http` has no such template, so this
    /// is for routes that do not end at a gRPC method. The template `/` alone is always allowed.
    pub trailing_slash: bool,
}

/// Why a template was refused, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind} (column {column})")]
pub struct TemplateError {
    /// Column of the offending character in the template, from 1. A template is ASCII up to that place, so bytes and
    /// characters count the same.
    pub column: usize,
    /// What is wrong. Its text names no column.
    pub kind: TemplateErrorKind,
}

/// The ways in which a template can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateErrorKind {
    /// The template does not start with `/`.
    #[error("a path template starts with '/'")]
    MissingSlash,
    /// Nothing stands between two slashes, before a verb, or in `{x=}`.
    #[error("empty path segment")]
    EmptySegment,
    /// The template ends with `/`, and the options do not allow it.
    #[error("a path template must not end with '/'")]
    TrailingSlash,
    /// `.` or `..` as a segment; canonical paths have none.
    #[error("a path segment must not be '.' or '..'")]
    DotSegment,
    /// A character that cannot stand here.
    #[error("unexpected {0:?}")]
    Unexpected(char),
    /// `%` in a literal.
    #[error("percent-escapes are not allowed in a path template: write the character itself")]
    Escape,
    /// A field name that does not start with a letter or `_`.
    #[error("expected a field name: letters, digits and '_', not starting with a digit")]
    BadName,
    /// `{` without its `}`.
    #[error("unclosed '{{'")]
    UnclosedBrace,
    /// A variable inside a variable.
    #[error("a variable inside a variable is not supported")]
    NestedVariable,
    /// A verb inside a variable.
    #[error("a verb must follow the last '}}', not stand inside a variable")]
    VerbInVariable,
    /// Two variables have the same field path.
    #[error("a second variable for the same field")]
    DuplicateVariable,
    /// `:` with nothing behind it.
    #[error("empty verb after ':'")]
    EmptyVerb,
    /// Segments follow `**`, and the options do not allow it.
    #[error("'**' is allowed as the last segment only (inner_wildcard: true allows literals behind it)")]
    DoubleStarNotLast,
    /// `*` or a second `**` follows `**`.
    #[error("only literal segments may follow '**'")]
    WildcardAfterDoubleStar,
    /// More than 64 segments.
    #[error("more than 64 path segments")]
    TooManySegments,
}

impl Template {
    /// The most segments that a template may have. Bounds the depth of the matcher.
    pub const MAX_SEGMENTS: usize = 64;

    /// Parses the strict grammar: `**` last, no trailing slash.
    ///
    /// # Errors
    /// The first fault from the left, with its column.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        Template::parse_with(text, TemplateOptions::default())
    }

    /// Parses the grammar with what `options` allow.
    ///
    /// # Errors
    /// The first fault from the left, with its column.
    pub fn parse_with(text: &str, options: TemplateOptions) -> Result<Template, TemplateError> {
        parse::template(text, options)
    }

    /// The text that was parsed, unchanged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Variables in the order of the text; captures have the same indices. May be empty.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Segments from left to right, those of variables in their places; at least one.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The verb without its colon.
    #[must_use]
    pub fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }

    /// Whether both match exactly the same paths. Names and extents of variables do not matter.
    #[must_use]
    pub fn same_shape(&self, other: &Template) -> bool {
        self.segments == other.segments && self.verb == other.verb
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Template, TemplateError> {
        Template::parse(text)
    }
}
