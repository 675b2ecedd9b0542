//! Bindings before they are compiled: which fields a path template, a body rule and a response rule mean.
//!
//! Everything that can be wrong with a binding is found here, when the configuration is loaded, and says where it is:
//! the column of a variable in its template, or the body rules. What comes out are [`Step`]s, which the rest of the
//! crate follows without looking a name up again.
//!
//! Source: the comments of `google/api/http.proto`.

use tidegate_route::{Template, Variable};

use crate::plan::{Cardinality, FieldIndex, FieldPlan, Kind, MsgId, Wkt};
use crate::schema::{MethodLookup, Schema};

/// Deepest field path in a binding or a query key, in names.
pub(crate) const MAX_PATH_STEPS: usize = 100;

/// One way to call an RPC by HTTP, as a route or an annotation writes it.
#[derive(Debug, Clone)]
pub struct Binding<'a> {
    /// `pkg.Service/Method`, or a short form that only one method has.
    pub rpc: &'a str,
    /// The path template, whose variables name fields of the request message.
    pub template: &'a Template,
    /// What the HTTP body becomes.
    pub body: Body,
    /// A top-level field of the response message that is the whole answer; `None` for the message itself.
    pub response_body: Option<String>,
}

/// What the HTTP body becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing: there is no body.
    None,
    /// The whole request message, as far as the path does not give it.
    Whole,
    /// The field at this dotted path; the rest comes from path and query.
    Field(String),
}

impl Body {
    /// Reads the notation of annotations and routes: empty, `*`, or a field path.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "" => Self::None,
            "*" => Self::Whole,
            path => Self::Field(path.to_owned()),
        }
    }
}

/// Which part of a binding is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The name of the RPC.
    Rpc,
    /// A variable of the path template.
    Variable {
        /// Column of its name in the template, from 1.
        column: usize,
    },
    /// The body rule.
    Body,
    /// The response rule.
    ResponseBody,
}

/// A binding that does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct PlanError {
    /// Where the fault lies.
    pub place: Place,
    /// What it is; its text stands alone.
    pub kind: PlanErrorKind,
}

/// The ways in which a binding can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it; the fields are the names in the texts")]
pub enum PlanErrorKind {
    #[error("no method {rpc:?} in the descriptors")]
    UnknownMethod { rpc: String },
    #[error("{rpc:?} fits several methods: {}", .candidates.join(", "))]
    AmbiguousMethod { rpc: String, candidates: Vec<String> },
    #[error("message {message} has no field {field:?}")]
    UnknownField { field: String, message: String },
    #[error("{field:?} is not a message, so the path cannot go on behind it")]
    NotAMessage { field: String },
    #[error("{field:?} is a list, and the path cannot go through it")]
    PathThroughList { field: String },
    #[error("{field:?} is a map, and the path cannot go through it")]
    PathThroughMap { field: String },
    #[error("the path has more than {MAX_PATH_STEPS} names")]
    PathTooLong,
    #[error("{field:?} is a list, which a path variable cannot fill")]
    VariableIsList { field: String },
    #[error("{field:?} is a map, which a path variable cannot fill")]
    VariableIsMap { field: String },
    #[error("{field:?} is a message ({message}), which a path variable cannot fill")]
    VariableIsMessage { field: String, message: String },
    #[error("{field:?} is bound by another variable already")]
    VariableTwice { field: String },
    #[error("{field:?} and {other:?} are members of one oneof")]
    VariablesInOneOneof { field: String, other: String },
    #[error("{field:?} is bound by the path, so it cannot be the body")]
    BodyIsVariable { field: String },
    #[error("response_body {field:?} must be a field at the top of the message")]
    ResponseBodyPath { field: String },
}

/// One name of a field path, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The message that has the field.
    pub(crate) message: MsgId,
    pub(crate) field: FieldIndex,
}

/// Why a dotted path is not one of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathFault<'a> {
    Unknown { name: &'a str, message: MsgId },
    ThroughScalar(&'a str),
    ThroughList(&'a str),
    ThroughMap(&'a str),
    TooLong,
}

/// Follows a dotted path of JSON or proto names from `message`, giving each step to `each`. The last step may be a
/// field of any kind, the others are singular messages.
pub(crate) fn follow<'a>(
    schema: &Schema,
    mut message: MsgId,
    path: &'a str,
    mut each: impl FnMut(Step),
) -> Result<(), PathFault<'a>> {
    let mut names = path.split('.').peekable();
    let mut count = 0;
    while let Some(name) = names.next() {
        count += 1;
        if count > MAX_PATH_STEPS {
            return Err(PathFault::TooLong);
        }
        let index = schema.find_field(message, name).ok_or(PathFault::Unknown { name, message })?;
        let step = Step { message, field: index };
        let field = field_at(schema, step).ok_or(PathFault::Unknown { name, message })?;
        each(step);
        if names.peek().is_none() {
            break;
        }
        message = match field.cardinality() {
            Cardinality::Repeated => return Err(PathFault::ThroughList(name)),
            Cardinality::Map => return Err(PathFault::ThroughMap(name)),
            Cardinality::Singular => field.message().ok_or(PathFault::ThroughScalar(name))?,
        };
    }
    Ok(())
}

/// The plan of the field that a step leads to. `None` cannot happen for steps of this schema.
pub(crate) fn field_at(schema: &Schema, step: Step) -> Option<&FieldPlan> {
    schema.message(step.message).field(step.field)
}

/// Whether one text can be the value of this field: scalars, enums, and the well-known types whose JSON form is a
/// string, a number or a boolean.
pub(crate) fn is_text_value(field: &FieldPlan) -> bool {
    match field.wkt() {
        Wkt::Timestamp | Wkt::Duration | Wkt::FieldMask | Wkt::Wrapper => true,
        Wkt::None => !field.kind().is_message(),
        Wkt::Any | Wkt::Struct | Wkt::Value | Wkt::ListValue => false,
    }
}

/// Resolves the RPC of a binding to its position in [`Schema::methods`].
pub(crate) fn method(schema: &Schema, rpc: &str) -> Result<crate::schema::Method, PlanError> {
    schema.find_method(rpc).cloned().map_err(|error| PlanError {
        place: Place::Rpc,
        kind: match error {
            MethodLookup::Unknown => PlanErrorKind::UnknownMethod { rpc: rpc.to_owned() },
            MethodLookup::Ambiguous(candidates) => PlanErrorKind::AmbiguousMethod { rpc: rpc.to_owned(), candidates },
        },
    })
}

/// Resolves the variables of a template, in their order, to fields of `input` that a text can fill.
pub(crate) fn variables(schema: &Schema, input: MsgId, template: &Template) -> Result<Vec<Box<[Step]>>, PlanError> {
    let mut paths: Vec<Box<[Step]>> = Vec::new();
    for variable in template.variables() {
        let place = Place::Variable { column: variable.column };
        let path = resolve(schema, input, &variable.field_path, place)?;
        check_variable(schema, variable, &path).map_err(|kind| PlanError { place, kind })?;
        check_against_others(schema, template, &paths, variable, &path).map_err(|kind| PlanError { place, kind })?;
        paths.push(path);
    }
    Ok(paths)
}

/// Resolves the field of a body rule.
pub(crate) fn body_field(
    schema: &Schema,
    input: MsgId,
    path: &str,
    variables: &[Box<[Step]>],
) -> Result<Box<[Step]>, PlanError> {
    let steps = resolve(schema, input, path, Place::Body)?;
    if variables.iter().any(|variable| steps.starts_with(variable)) {
        return Err(PlanError { place: Place::Body, kind: PlanErrorKind::BodyIsVariable { field: path.to_owned() } });
    }
    Ok(steps)
}

/// Resolves the field of a response rule.
pub(crate) fn response_field(schema: &Schema, output: MsgId, name: &str) -> Result<FieldIndex, PlanError> {
    let place = Place::ResponseBody;
    if name.contains('.') {
        return Err(PlanError { place, kind: PlanErrorKind::ResponseBodyPath { field: name.to_owned() } });
    }
    schema.find_field(output, name).ok_or_else(|| PlanError {
        place,
        kind: PlanErrorKind::UnknownField {
            field: name.to_owned(),
            message: schema.message(output).full_name().to_owned(),
        },
    })
}

fn resolve(schema: &Schema, message: MsgId, path: &str, place: Place) -> Result<Box<[Step]>, PlanError> {
    let mut steps = Vec::new();
    let kind = match follow(schema, message, path, |step| steps.push(step)) {
        Ok(()) => return Ok(steps.into()),
        Err(PathFault::Unknown { name, message }) => PlanErrorKind::UnknownField {
            field: name.to_owned(),
            message: schema.message(message).full_name().to_owned(),
        },
        Err(PathFault::ThroughScalar(name)) => PlanErrorKind::NotAMessage { field: name.to_owned() },
        Err(PathFault::ThroughList(name)) => PlanErrorKind::PathThroughList { field: name.to_owned() },
        Err(PathFault::ThroughMap(name)) => PlanErrorKind::PathThroughMap { field: name.to_owned() },
        Err(PathFault::TooLong) => PlanErrorKind::PathTooLong,
    };
    Err(PlanError { place, kind })
}

fn check_variable(schema: &Schema, variable: &Variable, path: &[Step]) -> Result<(), PlanErrorKind> {
    let name = || variable.field_path.clone();
    let Some(field) = path.last().and_then(|step| field_at(schema, *step)) else {
        return Ok(());
    };
    match field.cardinality() {
        Cardinality::Repeated => return Err(PlanErrorKind::VariableIsList { field: name() }),
        Cardinality::Map => return Err(PlanErrorKind::VariableIsMap { field: name() }),
        Cardinality::Singular => {}
    }
    if is_text_value(field) {
        return Ok(());
    }
    Err(PlanErrorKind::VariableIsMessage {
        field: name(),
        message: field.message().map(|id| schema.message(id).full_name().to_owned()).unwrap_or_default(),
    })
}

fn check_against_others(
    schema: &Schema,
    template: &Template,
    paths: &[Box<[Step]>],
    variable: &Variable,
    path: &[Step],
) -> Result<(), PlanErrorKind> {
    for (other, other_variable) in paths.iter().zip(template.variables()) {
        if path.starts_with(other) || other.starts_with(path) {
            return Err(PlanErrorKind::VariableTwice { field: variable.field_path.clone() });
        }
        if clash(schema, path, other) {
            return Err(PlanErrorKind::VariablesInOneOneof {
                field: variable.field_path.clone(),
                other: other_variable.field_path.clone(),
            });
        }
    }
    Ok(())
}

/// Whether two paths part at two members of one oneof.
pub(crate) fn clash(schema: &Schema, left: &[Step], right: &[Step]) -> bool {
    let parting = left.iter().zip(right).find(|(left, right)| left != right);
    let Some((left, right)) = parting else {
        return false;
    };
    let oneof = |step: &Step| field_at(schema, *step).and_then(FieldPlan::oneof);
    left.message == right.message && oneof(left).is_some() && oneof(left) == oneof(right)
}

/// Whether a field is one `google.api.HttpBody`.
pub(crate) fn is_http_body_field(schema: &Schema, field: &FieldPlan) -> bool {
    field.cardinality() == Cardinality::Singular
        && field.kind() == Kind::Message
        && field.message().is_some_and(|id| is_http_body(schema, id))
}

/// Whether a message is `google.api.HttpBody`.
pub(crate) fn is_http_body(schema: &Schema, message: MsgId) -> bool {
    schema.message(message).full_name() == "google.api.HttpBody"
}
