//! Single values: texts, names, numbers, booleans, quantities.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Cx, Decode};
use crate::diag::{Code, Diagnostic};
use crate::node::{Node, Scalar, Value};
use crate::units::{self, UnitError};

/// A text. Numbers and booleans are texts too when a text is expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Text(pub(crate) String);

/// A name: letters, digits, `_`, `-` and `.`, at most 128. Names are metric labels and parts of paths, so they are
/// kept plain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name(pub(crate) String);

/// A duration with a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Time(pub(crate) Duration);

/// So many things in a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate(pub(crate) units::Rate);

/// A size in bytes, with a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bytes(pub(crate) u64);

/// A whole number of things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Count(pub(crate) u32);

/// A share from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Ratio(pub(crate) f64);

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// One of a closed list of words.
pub(crate) trait Choice: Sized + 'static {
    /// The words with their values, in the order of the reference.
    const WORDS: &'static [(&'static str, Self)];
    /// Words of the product that this version does not have.
    const LATER: &'static [&'static str];
}

/// Reads one of the words of `T`.
pub(crate) fn decode_choice<T: Choice + Clone>(node: &Node, cx: &mut Cx<'_>) -> Option<T> {
    let scalar = scalar(node, &words_of::<T>(), cx)?;
    let text = scalar.text();
    if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
        return Some(value.clone());
    }
    if T::LATER.contains(&text) {
        let problem =
            Diagnostic::error(Code::NotAvailable, format!("{} is not available in this version", scalar.shown()));
        cx.report(problem, node.span);
        return None;
    }
    let problem = Diagnostic::error(Code::InvalidValue, format!("{} is not {}", scalar.shown(), words_of::<T>()));
    let near = super::did_you_mean(text, T::WORDS.iter().map(|(word, _)| *word)).filter(|_| !scalar.is_secret());
    let problem = match near {
        Some(word) => problem.help(format!("did you mean \"{word}\"?")),
        None => problem,
    };
    cx.report(problem, node.span);
    None
}

/// `"a", "b" or "c"`.
pub(crate) fn words_of<T: Choice>() -> String {
    let mut text = String::new();
    for (index, (word, _)) in T::WORDS.iter().enumerate() {
        let last = index.saturating_add(1) == T::WORDS.len();
        text.push_str(if index == 0 {
            ""
        } else if last {
            " or "
        } else {
            ", "
        });
        text.push_str(&format!("\"{word}\""));
    }
    text
}

/// The scalar of a node, or a report that it is none.
pub(crate) fn scalar<'n>(node: &'n Node, expected: &str, cx: &mut Cx<'_>) -> Option<&'n Scalar> {
    let Value::Scalar(scalar) = &node.value else {
        cx.wrong_type(node, expected);
        return None;
    };
    Some(scalar)
}

impl Decode for Text {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Some(Self(scalar(node, "a text", cx)?.text().to_owned()))
    }

    fn type_name() -> String {
        "text".to_owned()
    }
}

impl Decode for Name {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let scalar = scalar(node, "a name", cx)?;
        let text = scalar.text();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            let problem = Diagnostic::error(Code::InvalidValue, format!("{} is not a name", scalar.shown()));
            cx.report(problem.help("use letters, digits, \"_\", \"-\" and \".\", at most 128"), node.span);
            return None;
        }
        Some(Self(text.to_owned()))
    }

    fn type_name() -> String {
        "name".to_owned()
    }
}

impl Decode for bool {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let scalar = scalar(node, "true or false", cx)?;
        match scalar.text() {
            "true" if !scalar.quoted => Some(true),
            "false" if !scalar.quoted => Some(false),
            _ => {
                let problem = format!("expected true or false, found {}", scalar.shown());
                let problem = Diagnostic::error(Code::WrongType, problem);
                cx.report(if scalar.quoted { problem.help("without quotes") } else { problem }, node.span);
                None
            }
        }
    }

    fn type_name() -> String {
        "true or false".to_owned()
    }
}

fn decode_quantity<T>(
    node: &Node,
    kind: &str,
    example: &str,
    read: impl FnOnce(&str) -> Result<T, UnitError>,
    cx: &mut Cx<'_>,
) -> Option<T> {
    let scalar = scalar(node, kind, cx)?;
    let error = match read(scalar.text()) {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let code = if error == UnitError::MissingUnit { Code::MissingUnit } else { Code::InvalidValue };
    let problem = match error {
        UnitError::MissingUnit => format!("{} has no unit", scalar.shown()),
        UnitError::OutOfRange => format!("{} is out of range", scalar.shown()),
        UnitError::UnknownUnit | UnitError::NotANumber => format!("{} is not {kind}", scalar.shown()),
    };
    cx.report(Diagnostic::error(code, problem).help(example), node.span);
    None
}

impl Decode for Time {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let example = "write it with ms, s, m, h or d, as in 10s or 250ms";
        decode_quantity(node, "a duration", example, units::duration, cx).map(Self)
    }

    fn type_name() -> String {
        "duration".to_owned()
    }
}

impl Decode for Rate {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        decode_quantity(node, "a rate", "write it with /s, /m, /h or /d, as in 100/s", units::rate, cx).map(Self)
    }

    fn type_name() -> String {
        "rate".to_owned()
    }
}

impl Decode for Bytes {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        decode_quantity(node, "a size", "write it with B, KiB, MiB or GiB, as in 64KiB", units::bytes, cx).map(Self)
    }

    fn type_name() -> String {
        "size".to_owned()
    }
}

impl Decode for Count {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let scalar = scalar(node, "a whole number", cx)?;
        // `parse` alone would accept a sign.
        let plain = !scalar.quoted && scalar.text().bytes().all(|b| b.is_ascii_digit());
        let value = if plain { scalar.text().parse().ok() } else { None };
        if value.is_none() {
            let problem = format!("{} is not a whole number", scalar.shown());
            cx.report(Diagnostic::error(Code::InvalidValue, problem), node.span);
        }
        value.map(Self)
    }

    fn type_name() -> String {
        "whole number".to_owned()
    }
}

impl Decode for Ratio {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let scalar = scalar(node, "a number from 0 to 1", cx)?;
        // `parse` alone would accept signs, exponents, `inf` and `NaN`.
        let plain = !scalar.quoted && scalar.text().bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let value: Option<f64> = if plain { scalar.text().parse().ok() } else { None };
        let value = value.filter(|value| (0.0..=1.0).contains(value));
        if value.is_none() {
            let problem = format!("{} is not a number from 0 to 1", scalar.shown());
            cx.report(Diagnostic::error(Code::InvalidValue, problem).help("as in 0.05 for 5 %"), node.span);
        }
        value.map(Self)
    }

    fn type_name() -> String {
        "number from 0 to 1".to_owned()
    }
}

macro_rules! inline_schema {
    ($($name:ident => $schema:tt,)*) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

// A text may be a variable instead of what the pattern says, hence the second alternative everywhere.
inline_schema! {
    Text => { "type": ["string", "number", "boolean"] },
    Name => { "type": ["string", "number"] },
    Time => { "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d)|.*\$\{.*)$" },
    Rate => { "type": "string", "pattern": r"^([0-9]+/(s|m|h|d)|.*\$\{.*)$" },
    Bytes => { "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB)|.*\$\{.*)$" },
    Ratio => { "anyOf": [{ "type": "number", "minimum": 0, "maximum": 1 }, { "type": "string", "pattern": r"\$\{" }] },
    Count => { "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 }, { "type": "string", "pattern": r"\$\{" }] },
}
