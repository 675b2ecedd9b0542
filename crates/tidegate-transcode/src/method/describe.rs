//! A compiled binding as documentation needs it: which parameters there are, what the body is, what comes back.
//!
//! Names are spelled as answers spell them; requests take both spellings. Nothing here runs while requests are served.

use std::collections::VecDeque;

use super::{Answer, BodyPlan, MethodPlan};
use crate::json::WriteOptions;
use crate::plan::{Cardinality, FieldIndex, FieldPlan, MsgId, Wkt};
use crate::rule::{self, Step};

/// Most query parameters that a description lists, and most messages that it looks into for them: a message of messages
/// can have more fields than anybody reads. Those nearest to the top are listed.
pub const MAX_QUERY_PARAMETERS: usize = 200;

/// What an HTTP request and its answer consist of.
#[derive(Debug, Clone)]
pub struct BindingDescription<'a> {
    /// The variables of the template, in its order, named as written.
    pub variables: Vec<Parameter<'a>>,
    /// Fields that the query can fill, those nearest to the top first.
    pub query: Vec<Parameter<'a>>,
    /// The query can fill more fields than are listed: those behind [`MAX_QUERY_PARAMETERS`], and those of a message
    /// inside itself.
    pub query_is_cut: bool,
    /// What the HTTP body becomes.
    pub body: BodyDescription<'a>,
    /// What the HTTP answer is made of.
    pub answer: AnswerDescription<'a>,
}

/// A text of the request that becomes a field.
#[derive(Debug, Clone)]
pub struct Parameter<'a> {
    /// Names of fields joined by dots.
    pub name: String,
    /// The message that has the field.
    pub owner: MsgId,
    /// The field.
    pub field: &'a FieldPlan,
}

/// What the HTTP body becomes. `bound` are paths of fields below it that the path gives, which the body need not repeat.
#[derive(Debug, Clone)]
pub enum BodyDescription<'a> {
    /// There is none.
    None,
    /// The whole message, in JSON.
    Message {
        /// Its type.
        message: MsgId,
        /// Given by the path.
        bound: Vec<Vec<FieldIndex>>,
    },
    /// One field, in JSON.
    Field {
        /// The message that has the field.
        owner: MsgId,
        /// The field.
        field: &'a FieldPlan,
        /// Given by the path.
        bound: Vec<Vec<FieldIndex>>,
    },
    /// Bytes of any type.
    Raw,
}

/// What the HTTP answer is made of; of a stream, each piece.
#[derive(Debug, Clone, Copy)]
pub enum AnswerDescription<'a> {
    /// A message, in JSON.
    Message(MsgId),
    /// One field of a message, in JSON.
    Field {
        /// The message that has the field.
        owner: MsgId,
        /// The field.
        field: &'a FieldPlan,
    },
    /// Bytes of any type.
    Raw,
}

impl MethodPlan {
    /// How answers are printed.
    #[must_use]
    pub fn write_options(&self) -> &WriteOptions {
        &self.options.write
    }

    /// Describes the binding. Allocates; for documentation, not for requests.
    #[must_use]
    pub fn describe(&self) -> BindingDescription<'_> {
        let (query, query_is_cut) = self.query_parameters();
        BindingDescription {
            variables: self.variable_parameters(),
            query,
            query_is_cut,
            body: self.body_description(),
            answer: match self.answer {
                Answer::Message(message) => AnswerDescription::Message(message),
                Answer::Field(owner, index) => match self.schema.message(owner).field(index) {
                    Some(field) => AnswerDescription::Field { owner, field },
                    // Cannot happen: the plan was compiled with this schema.
                    None => AnswerDescription::Message(owner),
                },
                Answer::HttpBody(_) => AnswerDescription::Raw,
            },
        }
    }

    fn variable_parameters(&self) -> Vec<Parameter<'_>> {
        let named = self.variables.iter().zip(&self.names);
        let parameter = named.filter_map(|(steps, name)| {
            let step = steps.last()?;
            let field = rule::field_at(&self.schema, *step)?;
            Some(Parameter { name: name.to_string(), owner: step.message, field })
        });
        parameter.collect()
    }

    fn body_description(&self) -> BodyDescription<'_> {
        let inside = self.variables.iter().filter_map(|path| self.inside_body(path));
        let bound = inside.map(|path| path.iter().map(|step| step.field).collect()).collect();
        match &self.body {
            BodyPlan::None => BodyDescription::None,
            BodyPlan::Raw { .. } => BodyDescription::Raw,
            BodyPlan::Whole => BodyDescription::Message { message: self.method.input(), bound },
            BodyPlan::Field { path, .. } => {
                let last = path.last().and_then(|step| Some((step.message, rule::field_at(&self.schema, *step)?)));
                last.map_or(BodyDescription::None, |(owner, field)| BodyDescription::Field { owner, field, bound })
            }
        }
    }

    /// Walks the request message level by level, so that what is cut off is what lies deepest.
    fn query_parameters(&self) -> (Vec<Parameter<'_>>, bool) {
        let mut found = Vec::new();
        let mut cut = false;
        if matches!(self.body, BodyPlan::Whole) {
            return (found, cut);
        }
        let mut waiting: VecDeque<(MsgId, Vec<Step>)> = VecDeque::from([(self.method.input(), Vec::new())]);
        let mut messages = 1;
        while let Some((message, above)) = waiting.pop_front() {
            for (field, index) in self.schema.message(message).fields().iter().zip(0..) {
                let mut path = above.clone();
                path.push(Step { message, field: index });
                if self.is_given_elsewhere(&path) || self.is_extension(field) {
                    continue;
                }
                if is_parameter(field) {
                    let name = self.query_name(&path);
                    if self.options.query.passed_over.contains(&name) {
                        continue;
                    }
                    if found.len() == MAX_QUERY_PARAMETERS {
                        return (found, true);
                    }
                    found.push(Parameter { name, owner: message, field });
                } else if let Some(inner) = singular_message(field) {
                    let repeats = path.iter().any(|step| step.message == inner);
                    if repeats || messages == MAX_QUERY_PARAMETERS {
                        cut = true;
                        continue;
                    }
                    messages += 1;
                    waiting.push_back((inner, path));
                }
            }
        }
        (found, cut)
    }

    /// Whether path or body give this field, or exclude it.
    fn is_given_elsewhere(&self, path: &[Step]) -> bool {
        let schema = &self.schema;
        let by_path = self.variables.iter().any(|variable| **variable == *path || rule::clash(schema, variable, path));
        let body: Option<&[Step]> = match &self.body {
            BodyPlan::None | BodyPlan::Whole => None,
            BodyPlan::Field { path, .. } => Some(path),
            BodyPlan::Raw { data, .. } => data.split_last().map(|(_, field)| field),
        };
        by_path || body.is_some_and(|body| path.starts_with(body) || rule::clash(schema, body, path))
    }

    /// The name of an extension has dots in it, which a query key cannot express.
    fn is_extension(&self, field: &FieldPlan) -> bool {
        self.schema.proto_name(field).starts_with('[')
    }

    fn query_name(&self, path: &[Step]) -> String {
        let fields = path.iter().filter_map(|step| rule::field_at(&self.schema, *step));
        let proto = self.options.write.proto_names;
        let names = fields.map(|f| if proto { self.schema.proto_name(f) } else { self.schema.json_name(f) });
        names.collect::<Vec<_>>().join(".")
    }
}

/// Whether a text in the query can be this field, or an element of it.
fn is_parameter(field: &FieldPlan) -> bool {
    field.cardinality() != Cardinality::Map
        && (rule::is_text_value(field) || matches!(field.wkt(), Wkt::Struct | Wkt::Value | Wkt::ListValue))
}

/// The message of a field whose own fields a query can name.
fn singular_message(field: &FieldPlan) -> Option<MsgId> {
    let plain = field.cardinality() == Cardinality::Singular && field.wkt() == Wkt::None;
    field.message().filter(|_| plain)
}
