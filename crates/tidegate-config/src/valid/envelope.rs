//! Envelope templates: trees of JSON whose texts may hold expressions.
//!
//! This crate finds the expressions, the gateway compiles them; so a broken expression is a problem of the gateway's
//! compile step, reported at [`Expression::place`].

use crate::diag::Place;

/// One entry of `envelopes`.
#[derive(Clone, PartialEq, Debug)]
pub struct Envelope {
    /// Unique name.
    pub name: String,
    /// Where the entry stands.
    pub place: Place,
    /// Shape of successes; `None` leaves them as they are.
    pub success: Option<Tree>,
    /// Shape of failures, used with `errors: { format: envelope }`.
    pub error: Option<Tree>,
}

/// A JSON value with holes.
#[derive(Clone, PartialEq, Debug)]
pub enum Tree {
    /// A value without expressions.
    Literal(Literal),
    /// A text that is exactly one `{{ … }}`: becomes the expression's value, with its type.
    Expression(Expression),
    /// A text with expressions inside: becomes a text.
    Text(Vec<Piece>),
    /// An array.
    List(Vec<Tree>),
    /// An object, in the order of the file; keys are unique and literal.
    Map(Vec<(String, Tree)>),
}

/// A JSON scalar.
#[derive(Clone, PartialEq, Debug)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it will be printed; valid JSON.
    Number(String),
    /// A text, unescaped.
    Text(String),
}

/// A part of a mixed text.
#[derive(Clone, PartialEq, Debug)]
pub enum Piece {
    /// Printed as it is.
    Literal(String),
    /// Evaluated and printed.
    Expression(Expression),
}

/// The inside of `{{ … }}`.
#[derive(Clone, PartialEq, Debug)]
pub struct Expression {
    /// Source text, trimmed, not empty.
    pub source: String,
    /// Where the text stands that contains it.
    pub place: Place,
}
