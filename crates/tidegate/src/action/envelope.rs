//! The `envelope` format: an answer inside a JSON shape that the configuration gives.
//!
//! A shape is compiled once into literal bytes and holes. A hole that is the response or one of its fields takes the
//! transcoder's bytes as they are, and a hole that is a plain variable is printed directly, so an envelope around
//! 15 KB costs a copy. Every other hole is a minijinja expression; only one that looks into `response` makes a tree.

use std::sync::LazyLock;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Expression, Value};
use tidegate_config::Place;
use tidegate_config::valid::{self, Literal, Tree};
use tidegate_transcode::plan::FieldIndex;

/// What templates can name, for one answer. Texts are plain, not JSON.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The call succeeded.
    pub success: bool,
    /// The failure's text; `OK` for a success.
    pub message: &'a str,
    /// The reason word; empty for a success.
    pub reason: &'a str,
    /// Name of the gRPC code.
    pub code: &'a str,
    /// HTTP status.
    pub status: u16,
    /// A JSON array.
    pub details: &'a [u8],
    /// The request's id.
    pub request_id: &'a str,
    /// Name of the route; empty if none matched.
    pub route: &'a str,
    /// RFC 3339, UTC, seconds.
    pub timestamp: &'a str,
    /// Since the head of the request had been read.
    pub duration_ms: f64,
}

/// Prints the response, or one of its top-level fields, as JSON. What it cannot print is an error of its own.
pub trait Response {
    /// The reason for which an answer cannot become JSON.
    type Error;
    /// Appends the whole response.
    ///
    /// # Errors
    /// The answer of the backend is malformed.
    fn print(&self, out: &mut Vec<u8>) -> Result<(), Self::Error>;
    /// Appends a top-level field; an unset one as its default value.
    ///
    /// # Errors
    /// The answer of the backend is malformed.
    fn print_field(&self, field: FieldIndex, out: &mut Vec<u8>) -> Result<(), Self::Error>;
}

/// Why a shape could not be filled.
#[derive(Debug, PartialEq, Eq)]
pub enum RenderError<E> {
    /// The response cannot become JSON.
    Response(E),
    /// An expression failed; the text is for the log.
    Template(String),
}

/// A problem of the configuration that shows only now.
#[derive(Debug)]
pub struct BadExpression {
    /// Where the expression stands.
    pub place: Place,
    /// What the expression compiler says.
    pub message: String,
}

/// A compiled shape.
#[derive(Debug)]
pub struct Shape {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    /// JSON as it is.
    Literal(Vec<u8>),
    Hole(Hole),
    /// A text made of texts and holes.
    Text(Vec<TextPiece>),
}

#[derive(Debug)]
enum TextPiece {
    Literal(String),
    Hole(Hole),
}

#[derive(Debug)]
enum Hole {
    Response,
    Field(FieldIndex),
    Variable(Variable),
    Expression { expression: Expression<'static, 'static>, reads_response: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Success,
    Message,
    Reason,
    Code,
    Status,
    Details,
    RequestId,
    Route,
    Timestamp,
    DurationMs,
}

const VARIABLES: [(&str, Variable); 10] = [
    ("success", Variable::Success),
    ("message", Variable::Message),
    ("reason", Variable::Reason),
    ("code", Variable::Code),
    ("status", Variable::Status),
    ("details", Variable::Details),
    ("request_id", Variable::RequestId),
    ("route", Variable::Route),
    ("timestamp", Variable::Timestamp),
    ("duration_ms", Variable::DurationMs),
];

/// Expressions borrow their environment; there is one for all, with the built-in filters and tests.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(Environment::new);

impl Shape {
    /// Compiles `tree`. `field` finds a top-level field of the response message by either of its names; it knows none
    /// where there is no response (failures).
    ///
    /// # Errors
    /// The first expression that does not compile or names something unknown.
    pub fn compile(tree: &Tree, field: &dyn Fn(&str) -> Option<FieldIndex>) -> Result<Self, BadExpression> {
        let mut pieces = vec![Piece::Literal(Vec::new())];
        append(tree, field, &mut pieces)?;
        Ok(Self { pieces })
    }

    /// Appends the filled shape to `out`.
    ///
    /// # Errors
    /// [`RenderError`]; `out` then holds a part that must be discarded.
    pub fn render<R: Response>(
        &self,
        facts: &Facts<'_>,
        response: Option<&R>,
        out: &mut Vec<u8>,
    ) -> Result<(), RenderError<R::Error>> {
        let filler = Filler { facts, response };
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Hole(hole) => filler.json(hole, out)?,
                Piece::Text(parts) => write_json_string(&filler.text(parts)?, out),
            }
        }
        Ok(())
    }
}

fn append(
    tree: &Tree,
    field: &dyn Fn(&str) -> Option<FieldIndex>,
    pieces: &mut Vec<Piece>,
) -> Result<(), BadExpression> {
    match tree {
        Tree::Literal(literal) => write_literal(literal, literal_end(pieces)),
        Tree::Expression(source) => pieces.push(Piece::Hole(compile_hole(source, field)?)),
        Tree::Text(parts) => {
            let parts = parts.iter().map(|part| compile_text(part, field)).collect::<Result<_, _>>()?;
            pieces.push(Piece::Text(parts));
        }
        Tree::List(items) => {
            literal_end(pieces).push(b'[');
            for (index, item) in items.iter().enumerate() {
                separate(index, pieces);
                append(item, field, pieces)?;
            }
            literal_end(pieces).push(b']');
        }
        Tree::Map(entries) => {
            literal_end(pieces).push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                separate(index, pieces);
                let end = literal_end(pieces);
                write_json_string(key, end);
                end.push(b':');
                append(value, field, pieces)?;
            }
            literal_end(pieces).push(b'}');
        }
    }
    Ok(())
}

fn separate(index: usize, pieces: &mut Vec<Piece>) {
    if index > 0 {
        literal_end(pieces).push(b',');
    }
}

/// The literal at the end of `pieces`, made if the last piece is a hole.
fn literal_end(pieces: &mut Vec<Piece>) -> &mut Vec<u8> {
    if !matches!(pieces.last(), Some(Piece::Literal(_))) {
        pieces.push(Piece::Literal(Vec::new()));
    }
    match pieces.last_mut() {
        Some(Piece::Literal(bytes)) => bytes,
        _ => unreachable!("invariant: a literal was pushed just before"),
    }
}

fn write_literal(literal: &Literal, out: &mut Vec<u8>) {
    match literal {
        Literal::Null => out.extend_from_slice(b"null"),
        Literal::Bool(true) => out.extend_from_slice(b"true"),
        Literal::Bool(false) => out.extend_from_slice(b"false"),
        Literal::Number(number) => out.extend_from_slice(number.as_bytes()),
        Literal::Text(text) => write_json_string(text, out),
    }
}

fn compile_text(piece: &valid::Piece, field: &dyn Fn(&str) -> Option<FieldIndex>) -> Result<TextPiece, BadExpression> {
    Ok(match piece {
        valid::Piece::Literal(text) => TextPiece::Literal(text.clone()),
        valid::Piece::Expression(source) => TextPiece::Hole(compile_hole(source, field)?),
    })
}

fn compile_hole(
    expression: &valid::Expression,
    field: &dyn Fn(&str) -> Option<FieldIndex>,
) -> Result<Hole, BadExpression> {
    let source = expression.source.trim();
    let bad = |message: String| BadExpression { place: expression.place.clone(), message };
    if source == "response" {
        return Ok(Hole::Response);
    }
    if let Some((_, variable)) = VARIABLES.iter().find(|(name, _)| *name == source) {
        return Ok(Hole::Variable(*variable));
    }
    if let Some(name) = source.strip_prefix("response.").filter(|name| is_identifier(name)) {
        let number = field(name).ok_or_else(|| bad(format!("the response has no field \"{name}\"")))?;
        return Ok(Hole::Field(number));
    }
    let compiled = ENVIRONMENT.compile_expression_owned(source.to_owned()).map_err(|error| bad(error.to_string()))?;
    let names = compiled.undeclared_variables(false);
    let known = |name: &str| name == "response" || VARIABLES.iter().any(|(variable, _)| *variable == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(bad(format!("unknown variable \"{unknown}\"")));
    }
    if let Some(unknown) = unknown_word(&compiled) {
        return Err(bad(unknown));
    }
    Ok(Hole::Expression { expression: compiled, reads_response: names.contains("response") })
}

/// What an expression names that does not exist: minijinja looks filters, tests and functions up only when it runs.
/// Without any values most expressions fail, which tells nothing.
fn unknown_word(expression: &Expression<'_, '_>) -> Option<String> {
    let error = expression.eval(Value::from(())).err()?;
    match error.kind() {
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => Some(error.to_string()),
        _ => None,
    }
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

struct Filler<'a, R> {
    facts: &'a Facts<'a>,
    response: Option<&'a R>,
}

impl<R: Response> Filler<'_, R> {
    fn json(&self, hole: &Hole, out: &mut Vec<u8>) -> Result<(), RenderError<R::Error>> {
        match (hole, self.response) {
            (Hole::Response, Some(response)) => response.print(out).map_err(RenderError::Response),
            (Hole::Field(field), Some(response)) => response.print_field(*field, out).map_err(RenderError::Response),
            (Hole::Response | Hole::Field(_), None) => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            (Hole::Variable(variable), _) => {
                self.variable(*variable, out);
                Ok(())
            }
            (Hole::Expression { expression, reads_response }, _) => {
                let value = self.evaluate(expression, *reads_response)?;
                serde_json::to_writer(out, &value).map_err(|error| RenderError::Template(error.to_string()))
            }
        }
    }

    fn text(&self, parts: &[TextPiece]) -> Result<String, RenderError<R::Error>> {
        let mut text = String::new();
        for part in parts {
            match part {
                TextPiece::Literal(literal) => text.push_str(literal),
                TextPiece::Hole(Hole::Expression { expression, reads_response }) => {
                    text.push_str(&self.evaluate(expression, *reads_response)?.to_string());
                }
                TextPiece::Hole(hole) => {
                    let mut json = Vec::new();
                    self.json(hole, &mut json)?;
                    text.push_str(&plain_text(&json));
                }
            }
        }
        Ok(text)
    }

    fn variable(&self, variable: Variable, out: &mut Vec<u8>) {
        let facts = self.facts;
        match variable {
            Variable::Success => out.extend_from_slice(if facts.success { b"true" } else { b"false" }),
            Variable::Message => write_json_string(facts.message, out),
            Variable::Reason => write_json_string(facts.reason, out),
            Variable::Code => write_json_string(facts.code, out),
            Variable::Status => out.extend_from_slice(itoa::Buffer::new().format(facts.status).as_bytes()),
            Variable::Details => out.extend_from_slice(facts.details),
            Variable::RequestId => write_json_string(facts.request_id, out),
            Variable::Route => write_json_string(facts.route, out),
            Variable::Timestamp => write_json_string(facts.timestamp, out),
            Variable::DurationMs => out.extend_from_slice(facts.duration_ms.to_string().as_bytes()),
        }
    }

    fn evaluate(&self, expression: &Expression<'_, '_>, reads_response: bool) -> Result<Value, RenderError<R::Error>> {
        let mut context = serde_json::Map::new();
        for (name, variable) in VARIABLES {
            let mut json = Vec::new();
            self.variable(variable, &mut json);
            context.insert(name.to_owned(), tree(&json)?);
        }
        if let (true, Some(response)) = (reads_response, self.response) {
            let mut json = Vec::new();
            response.print(&mut json).map_err(RenderError::Response)?;
            context.insert("response".to_owned(), tree(&json)?);
        }
        let value =
            expression.eval(Value::from(Serde(&context))).map_err(|error| RenderError::Template(error.to_string()))?;
        // JSON has no word for "undefined".
        Ok(if value.is_undefined() { Value::from(()) } else { value })
    }
}

/// JSON as a tree, for expressions. One that is nested deeper than trees may be (128) is no `null` in disguise.
fn tree<E>(json: &[u8]) -> Result<serde_json::Value, RenderError<E>> {
    serde_json::from_slice(json).map_err(|error| RenderError::Template(error.to_string()))
}

/// What a JSON value looks like inside a text: strings without quotes, everything else as JSON.
fn plain_text(json: &[u8]) -> String {
    serde_json::from_slice::<String>(json).unwrap_or_else(|_| String::from_utf8_lossy(json).into_owned())
}

/// Appends `text` as a JSON string.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain_from = 0;
    for (index, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(text.as_bytes().get(plain_from..index).unwrap_or_default());
        plain_from = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(text.as_bytes().get(plain_from..).unwrap_or_default());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_too_deep_for_expressions_is_an_error_and_not_null() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(tree::<()>(nested(100).as_bytes()).is_ok());
        let error = tree::<()>(nested(200).as_bytes()).unwrap_err();
        assert!(matches!(error, RenderError::Template(_)), "{error:?}");
    }
}
