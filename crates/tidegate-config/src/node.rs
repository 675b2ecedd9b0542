//! The tree between YAML and the typed values: every key and value with its position.
//!
//! Nothing is interpreted here beyond what YAML itself says (text, list, mapping, null); whether a text is a number or
//! a duration is for the decoder to say, which knows what is expected. So `010`, `1e3` and `1.50` keep their spelling.

use crate::decode::Cx;
use crate::diag::{Code, Diagnostic};
use crate::secret::Secret;

/// A position: line and columns from 1, in characters; `end_column` is exclusive and on the same line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) end_column: u32,
}

/// A value with its position.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// For a block mapping the position of its first key, for a flow collection that of its bracket.
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `null`, `~` or nothing, not quoted.
    Null,
    /// Something whose fault has been reported: read as invalid, without another word.
    Broken,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value. Keys of one mapping are unique once `remove_duplicates` has run.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Scalar,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

/// A text and how it was written.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: Text,
    /// Whether it stood in quotes or in a block (`|`, `>`): then it is a text and never a number or a boolean, unless
    /// it was expanded.
    pub(crate) quoted: bool,
}

/// Text of the file, or text that came from outside and must not be shown.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Written(String),
    Expanded(Secret),
}

impl Scalar {
    /// The text, wherever it came from. For decoding, never for messages: see [`Scalar::shown`].
    pub(crate) fn text(&self) -> &str {
        match &self.text {
            Text::Written(text) => text,
            Text::Expanded(secret) => secret.expose(),
        }
    }

    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.text, Text::Expanded(_))
    }

    /// The text as a message may quote it: in double quotes, cut at 64 characters; [`HIDDEN`] for expanded text.
    pub(crate) fn shown(&self) -> String {
        match &self.text {
            Text::Written(text) => quote(text),
            Text::Expanded(_) => HIDDEN.to_owned(),
        }
    }

    /// The text as part of a dotted path.
    pub(crate) fn segment(&self) -> &str {
        match &self.text {
            Text::Written(text) => text,
            Text::Expanded(_) => "***",
        }
    }
}

/// What messages quote instead of expanded text.
pub(crate) const HIDDEN: &str = "\"${…}\"";

/// Text in double quotes, cut at 64 characters.
pub(crate) fn quote(text: &str) -> String {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("\"{}…\"", text.get(..end).unwrap_or_default()),
        None => format!("\"{text}\""),
    }
}

impl Node {
    /// Whether the value asks for nothing: null, `false`, an empty list. An empty mapping asks for a feature as it is by
    /// itself.
    pub(crate) fn asks_for_nothing(&self) -> bool {
        match &self.value {
            Value::Null | Value::Broken => true,
            Value::Scalar(scalar) => !scalar.quoted && scalar.text() == "false",
            Value::List(items) => items.is_empty(),
            Value::Map(_) => false,
        }
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null | Value::Broken => "nothing",
            Value::Scalar(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reports keys that occur twice in one mapping and keeps the first of them. Runs after expansion, because two
/// different spellings may expand to the same key.
pub(crate) fn remove_duplicates(node: &mut Node, cx: &mut Cx<'_>) {
    match &mut node.value {
        Value::Null | Value::Broken | Value::Scalar(_) => {}
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                cx.inside_item(index, |cx| remove_duplicates(item, cx));
            }
        }
        Value::Map(entries) => {
            let mut first = std::collections::HashMap::new();
            entries.retain_mut(|entry| {
                if let Some(earlier) = first.get(entry.key.text()) {
                    cx.inside_key(&entry.key, |cx| {
                        cx.report(
                            Diagnostic::error(
                                Code::DuplicateKey,
                                format!("key {} stands here twice", entry.key.shown()),
                            )
                            .help(format!("first at {}", cx.name_of(*earlier))),
                            entry.key_span,
                        );
                    });
                    return false;
                }
                first.insert(entry.key.text().to_owned(), entry.key_span);
                cx.inside_key(&entry.key, |cx| remove_duplicates(&mut entry.value, cx));
                true
            });
        }
    }
}
