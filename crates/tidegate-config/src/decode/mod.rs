//! From [`Node`] trees to typed values, without stopping at a problem.
//!
//! Each type says how it is read ([`Decode`]), what it is called, and what its JSON Schema is. Structures are declared
//! with [`raw_struct!`], closed lists of words with [`closed_enum!`]: one table from which the reader, the schema and
//! the reference page all come, so that they cannot differ.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;

use crate::diag::{Code, Diagnostic, Diagnostics, Place};
use crate::node::{Entry, HIDDEN, Node, Scalar, Span, Value, quote};
use crate::schema::Book;

mod scalars;
mod tables;

pub(crate) use scalars::{Bytes, Choice, Count, Name, Rate, Ratio, Text, Time, decode_choice, scalar};
pub(crate) use tables::{KeyDoc, Keys, closed_enum, decode_struct, key_name, raw_struct};

/// Where a decoder is: the file, the dotted path, and the list that takes the problems.
pub(crate) struct Cx<'a> {
    file: Arc<str>,
    path: String,
    problems: &'a mut Diagnostics,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(file: Arc<str>, problems: &'a mut Diagnostics) -> Self {
        Self { file, path: String::new(), problems }
    }

    pub(crate) fn place(&self, span: Span) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: span.line,
            column: span.column,
            end_column: span.end_column,
            path: Arc::from(self.path.as_str()),
        }
    }

    /// `file:line:column`, for messages about a second place.
    pub(crate) fn name_of(&self, span: Span) -> String {
        format!("{}:{}:{}", self.file, span.line, span.column)
    }

    pub(crate) fn report(&mut self, problem: Diagnostic, span: Span) {
        let place = self.place(span);
        self.problems.push(problem.at(&place));
    }

    pub(crate) fn inside_key<T>(&mut self, key: &Scalar, f: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key.segment());
        let result = f(self);
        self.path.truncate(length);
        result
    }

    pub(crate) fn inside_item<T>(&mut self, index: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = f(self);
        self.path.truncate(length);
        result
    }

    /// Reports that `node` is not what was expected.
    pub(crate) fn wrong_type(&mut self, node: &Node, expected: &str) {
        let problem = Diagnostic::error(Code::WrongType, format!("expected {expected}, found {}", node.kind()));
        self.report(problem, node.span);
    }
}

/// A type that a configuration value can be read as.
pub(crate) trait Decode: Sized + JsonSchema {
    /// Reads a value that is not null. `None`: there was a problem, and it was reported.
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self>;

    /// What a person would call the type, in the reference page.
    fn type_name() -> String;

    /// Adds the structures that this type is made of to the reference page.
    fn document(_book: &mut Book) {}
}

/// A value that was read, with its place.
#[derive(Clone)]
pub(crate) struct Item<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
    /// Whether it came out of `${…}`: then no message may quote it.
    pub(crate) secret: bool,
}

impl<T: fmt::Debug> fmt::Debug for Item<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret {
            return f.write_str("***");
        }
        self.value.fmt(f)
    }
}

impl<T: AsRef<str>> Item<T> {
    /// The text as a message may quote it.
    pub(crate) fn shown(&self) -> String {
        if self.secret { HIDDEN.to_owned() } else { quote(self.value.as_ref()) }
    }
}

impl<T> Item<T> {
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self>
    where
        T: Decode,
    {
        if matches!(node.value, Value::Broken) {
            return None;
        }
        let value = T::decode(node, cx)?;
        let secret = matches!(&node.value, Value::Scalar(scalar) if scalar.is_secret());
        Some(Self { value, place: cx.place(node.span), secret })
    }
}

/// What a key holds.
#[derive(Clone, Debug, Default)]
pub(crate) enum Field<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// The key is there and says `null`: removes what would be inherited.
    Null(Place),
    /// The key is there with a value that was refused, which was reported.
    Invalid,
    /// The key is there.
    Set(Item<T>),
}

impl<T> Field<T> {
    pub(crate) fn set(&self) -> Option<&Item<T>> {
        match self {
            Self::Set(item) => Some(item),
            Self::Absent | Self::Null(_) | Self::Invalid => None,
        }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.set().map(|item| &item.value)
    }

    /// Whether a required key may be called missing.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Absent | Self::Null(_))
    }

    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self, Self::Invalid)
    }
}

impl<T: Decode> Field<T> {
    pub(crate) fn read(entry: &Entry, cx: &mut Cx<'_>) -> Self {
        if matches!(entry.value.value, Value::Null) {
            return Self::Null(cx.place(entry.value.span));
        }
        Item::read(&entry.value, cx).map_or(Self::Invalid, Self::Set)
    }
}

/// A list. Items that were refused are left out.
impl<T: Decode> Decode for Vec<Item<T>> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            cx.wrong_type(node, "a list");
            return None;
        };
        let mut items = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            cx.inside_item(index, |cx| {
                if matches!(node.value, Value::Null) {
                    cx.wrong_type(node, "a value");
                } else {
                    items.extend(Item::read(node, cx));
                }
            });
        }
        Some(items)
    }

    fn type_name() -> String {
        format!("list of {}", T::type_name())
    }

    fn document(book: &mut Book) {
        T::document(book);
    }
}

impl<T: JsonSchema> JsonSchema for Item<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<T>()
    }
}

/// A mapping from names that the author chooses to values of one kind, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Table<T>(pub(crate) Vec<(Item<Name>, Field<T>)>);

impl<T: Decode> Decode for Table<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            cx.wrong_type(node, "a mapping");
            return None;
        };
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            cx.inside_key(&entry.key, |cx| {
                let key = Node { span: entry.key_span, value: Value::Scalar(entry.key.clone()) };
                let Some(name) = Item::read(&key, cx) else { return };
                // A refused value keeps its name, so that what refers to it is not called a mistake too.
                let value = if matches!(entry.value.value, Value::Null) {
                    cx.wrong_type(&entry.value, "a value");
                    Field::Invalid
                } else {
                    Field::read(entry, cx)
                };
                rows.push((name, value));
            });
        }
        Some(Self(rows))
    }

    fn type_name() -> String {
        format!("mapping of names to {}", T::type_name())
    }

    fn document(book: &mut Book) {
        T::document(book);
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Table_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// The best of `candidates` for a word that is none of them.
///
/// Close means: one slip of the finger for each four letters, plus one; or the word is the beginning of the candidate.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let allowed = length / 4 + 1;
    let lower = word.to_lowercase();
    let score = |candidate: &str| {
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        let abbreviated = length >= 3 && candidate.starts_with(word);
        if abbreviated { distance.min(allowed) } else { distance }
    };
    // Damerau-Levenshtein is quadratic: a key of a megabyte is no near miss of anything.
    if length > 64 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (score(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn suggestions_are_near_or_absent() {
        let check = |word: &str, expected: Option<&str>| {
            let candidates = ["timeout", "service", "services", "method", "methods", "address"];
            assert_eq!(did_you_mean(word, candidates), expected, "{word}");
        };
        check("timout", Some("timeout"));
        check("Timeout", Some("timeout"));
        check("servcie", Some("service"));
        check("servics", Some("service"));
        check("addr", Some("address"));
        check("colour", None);
        check("x", None);
        check("", None);
    }
}
