//! `envelopes`, and JSON written as YAML.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::decode::{Cx, Decode, raw_struct};
use crate::diag::{Code, Diagnostic, Place};
use crate::node::{Node, Scalar, Value};
use crate::valid::{Expression, Literal, Piece, Tree};

raw_struct! {
    /// The shape of answers. A text that is exactly one `"{{ expression }}"` becomes the value of the expression, with
    /// its type; inside a longer text it becomes text. Variables: `success`, `message`, `reason`, `code`, `status`,
    /// `details`, `request_id`, `route`, `timestamp`, `duration_ms`, and for successes `response`.
    RawEnvelope {
        /// Shape of successes. Without the key they stay as they are.
        success: Shape,
        /// Shape of failures, for routes with `errors: { format: envelope }`.
        error: Shape,
    }
}

/// A JSON value with expressions.
#[derive(Clone, Debug)]
pub(crate) struct Shape(pub(crate) Tree);

/// A JSON value without expressions.
#[derive(Clone, Debug)]
pub(crate) struct Json(pub(crate) Tree);

impl Decode for Shape {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        tree(node, true, cx).map(Self)
    }

    fn type_name() -> String {
        "JSON with expressions".to_owned()
    }
}

impl Decode for Json {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        tree(node, false, cx).map(Self)
    }

    fn type_name() -> String {
        "JSON".to_owned()
    }
}

fn tree(node: &Node, expressions: bool, cx: &mut Cx<'_>) -> Option<Tree> {
    match &node.value {
        Value::Broken => None,
        Value::Null => Some(Tree::Literal(Literal::Null)),
        Value::Scalar(scalar) if expressions && scalar.text().contains("{{") => {
            match split_text(scalar.text(), &cx.place(node.span)) {
                Ok(tree) => Some(tree),
                Err(problem) => {
                    cx.report(Diagnostic::error(Code::InvalidEnvelope, problem), node.span);
                    None
                }
            }
        }
        Value::Scalar(scalar) => Some(Tree::Literal(literal(scalar))),
        // Every part is read before the result is put together, so that all faults are reported.
        Value::List(nodes) => {
            let items = nodes.iter().enumerate();
            let items: Vec<Option<Tree>> =
                items.map(|(index, node)| cx.inside_item(index, |cx| tree(node, expressions, cx))).collect();
            items.into_iter().collect::<Option<_>>().map(Tree::List)
        }
        Value::Map(entries) => {
            let fields: Vec<Option<(String, Tree)>> = entries
                .iter()
                .map(|entry| {
                    let value = cx.inside_key(&entry.key, |cx| tree(&entry.value, expressions, cx))?;
                    Some((entry.key.text().to_owned(), value))
                })
                .collect();
            fields.into_iter().collect::<Option<_>>().map(Tree::Map)
        }
    }
}

/// A plain scalar is what JSON would take it for; everything else is a text.
fn literal(scalar: &Scalar) -> Literal {
    match scalar.text() {
        _ if scalar.quoted => Literal::Text(scalar.text().to_owned()),
        "true" => Literal::Bool(true),
        "false" => Literal::Bool(false),
        text if is_json_number(text) => Literal::Number(text.to_owned()),
        text => Literal::Text(text.to_owned()),
    }
}

/// RFC 8259, section 6.
fn is_json_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

/// Splits a text at its `{{ … }}`. Braces inside quoted strings of an expression do not end it.
///
/// # Errors
/// A sentence about what is wrong: an expression that does not end, or is empty.
fn split_text(text: &str, place: &Place) -> Result<Tree, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("{{") {
        let length = end_of_expression(from).ok_or("\"{{\" without \"}}\"")?;
        let (source, after) = from.split_at_checked(length).ok_or("\"{{\" without \"}}\"")?;
        let source = source.trim();
        if source.is_empty() {
            return Err("an empty expression".to_owned());
        }
        if !before.is_empty() {
            pieces.push(Piece::Literal(before.to_owned()));
        }
        pieces.push(Piece::Expression(Expression { source: source.to_owned(), place: place.clone() }));
        rest = after.strip_prefix("}}").unwrap_or(after);
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(match pieces.as_slice() {
        [Piece::Expression(only)] => Tree::Expression(only.clone()),
        _ => Tree::Text(pieces),
    })
}

/// Bytes until the closing braces.
fn end_of_expression(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut braces = 0_u32;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match quote {
            Some(_) if byte == b'\\' => at += 1,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None if byte == b'{' => braces += 1,
            None if byte == b'}' && braces > 0 => braces -= 1,
            None if byte == b'}' && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            None => {}
        }
        at += 1;
    }
    None
}

macro_rules! any_schema {
    ($($type:ident)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({})
            }
        }
    )*};
}

any_schema! { Shape Json }

#[cfg(test)]
mod tests {
    use super::{is_json_number, split_text};
    use crate::diag::Place;
    use crate::valid::{Piece, Tree};

    /// `L` for literals and `E` for expressions, in order; `=` in front when the whole is one expression.
    fn show(text: &str) -> Result<String, String> {
        let place = Place { file: "f".into(), line: 1, column: 1, end_column: 2, path: "".into() };
        Ok(match split_text(text, &place)? {
            Tree::Expression(expression) => format!("=E({})", expression.source),
            Tree::Text(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Literal(text) => format!("L({text})"),
                    Piece::Expression(expression) => format!("E({})", expression.source),
                })
                .collect(),
            Tree::Literal(_) | Tree::List(_) | Tree::Map(_) => unreachable!("a text splits into texts"),
        })
    }

    #[test]
    fn texts_split_at_expressions() {
        let check = |text: &str, expected: Result<&str, &str>| {
            assert_eq!(show(text).as_deref().map_err(String::as_str), expected, "{text}");
        };
        check("{{ a }}", Ok("=E(a)"));
        check(" {{ a }}", Ok("L( )E(a)"));
        check("x {{a}} y {{b}}", Ok("L(x )E(a)L( y )E(b)"));
        check("{{ '}}' ~ a }}", Ok("=E('}}' ~ a)"));
        check(r#"{{ "\"}}" }}"#, Ok(r#"=E("\"}}")"#));
        check("{{ {'a': {'b': 1}} }}", Ok("=E({'a': {'b': 1}})"));
        check("{{ a", Err("\"{{\" without \"}}\""));
        check("{{ 'a }}", Err("\"{{\" without \"}}\""));
        check("{{}}", Err("an empty expression"));
        check("{{ }}", Err("an empty expression"));
    }

    #[test]
    fn numbers_are_those_of_json() {
        for text in ["0", "-1", "1.5", "1e5", "1.5E-3", "10"] {
            assert!(is_json_number(text), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "+1", "1e", "0x10", "1_000", "1e+", "--1", "NaN"] {
            assert!(!is_json_number(text), "{text}");
        }
    }
}
