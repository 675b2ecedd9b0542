//! One RPC behind one HTTP binding, compiled: how a request becomes messages and how messages become an answer.
//!
//! A plan is made when the configuration is loaded and never changes. It knows no connection: requests go in as parts,
//! gRPC frames come out, and the other way round. A message is put together from three sources with a fixed order of
//! precedence: what the path binds cannot be changed; the body is next; the query fills the rest.
//!
//! ```text
//!   path ─► values inside the body's message ─► injection ─┐
//!      └──► values outside of it ───────────► bindings ──┐ ├─► reader of the body ─┐
//!   query ────────────────────────────────────────┘      └─┴──────────────────────► message
//! ```

mod alike;
mod describe;
mod message;

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_route::Template;

use crate::bind::QueryOptions;
use crate::error::{RequestError, ResponseError};
use crate::http_body::{self, HttpBody};
use crate::json::{self, Ignored, ReadOptions, WriteOptions};
use crate::plan::{FieldIndex, MsgId};
use crate::rule::{self, Binding, Body, PlanError, Step};
use crate::schema::{Idempotency, Method, Schema};

pub use describe::{AnswerDescription, BindingDescription, BodyDescription, MAX_QUERY_PARAMETERS, Parameter};
pub(crate) use message::{MessageBody, Values, is_nothing, merge};

/// Choices of a route about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOptions {
    /// How a JSON body is read.
    pub read: ReadOptions,
    /// How an answer is printed.
    pub write: WriteOptions,
    /// How the query is read.
    pub query: QueryOptions,
    /// Longest JSON value of an upload, in bytes. A unary body is bounded by whoever collects it.
    pub max_body: usize,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            read: ReadOptions::default(),
            write: WriteOptions::default(),
            query: QueryOptions::default(),
            max_body: 1024 * 1024,
        }
    }
}

/// What of an HTTP request goes into the message.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// The values of the template's variables, decoded, in the order of the template.
    pub captures: &'a [Cow<'a, str>],
    /// The query without its `?`, raw.
    pub query: Option<&'a str>,
    /// The whole body; empty for uploads, whose body goes through [`Upload`](crate::Upload).
    pub body: &'a [u8],
    /// The value of `content-type`.
    pub content_type: Option<&'a [u8]>,
}

/// What an answer consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// JSON, from [`MethodPlan::print`].
    Json,
    /// The data of an `HttpBody`, from [`MethodPlan::http_body`].
    HttpBody,
}

/// A compiled binding. Shared by `Arc`, used by all workers at once.
#[derive(Debug)]
pub struct MethodPlan {
    schema: Arc<Schema>,
    method: Method,
    path: String,
    /// Names of the template's variables, as written.
    names: Box<[Box<str>]>,
    /// Where they go, in the same order.
    variables: Box<[Box<[Step]>]>,
    body: BodyPlan,
    answer: Answer,
    options: CallOptions,
}

#[derive(Debug)]
enum BodyPlan {
    None,
    Whole,
    Field {
        path: Box<[Step]>,
        /// What stands before the last name in the body rule, for the field paths in errors. Empty at the top.
        outer: String,
        /// The message that the field is, if it is one.
        message: Option<MsgId>,
    },
    /// An `HttpBody`: the raw body and its type go into these two fields.
    Raw {
        content_type: Box<[Step]>,
        data: Box<[Step]>,
    },
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Message(MsgId),
    Field(MsgId, FieldIndex),
    /// The number of the field that is the `HttpBody`, or `None` if the message is one.
    HttpBody(Option<u32>),
}

impl MethodPlan {
    /// Compiles a binding.
    ///
    /// # Errors
    /// [`PlanError`] when the RPC is unknown or a variable, the body rule or the response rule does not fit its
    /// messages; it says which, with the column of a variable.
    pub fn compile(schema: &Arc<Schema>, binding: &Binding<'_>, options: &CallOptions) -> Result<Self, PlanError> {
        let method = rule::method(schema, binding.rpc)?;
        let variables = rule::variables(schema, method.input(), binding.template)?;
        Ok(Self {
            path: format!("/{}", method.full_name()),
            names: names(binding.template),
            body: body_plan(schema, &method, &binding.body, &variables)?,
            answer: answer_plan(schema, &method, binding.response_body.as_deref())?,
            variables: variables.into(),
            schema: Arc::clone(schema),
            method,
            options: options.clone(),
        })
    }

    /// The path of the RPC on the wire, `/pkg.Service/Method`.
    #[must_use]
    pub fn rpc_path(&self) -> &str {
        &self.path
    }

    /// The RPC: its names, messages and streaming kinds.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The schema that the plan was compiled with.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// What the `.proto` file promises about calling the method twice.
    #[must_use]
    pub fn idempotency(&self) -> Idempotency {
        self.method.idempotency()
    }

    /// Whether a body is read at all.
    #[must_use]
    pub fn takes_body(&self) -> bool {
        !matches!(self.body, BodyPlan::None)
    }

    /// Whether the body is taken as it is, whatever its content type.
    #[must_use]
    pub fn takes_raw_body(&self) -> bool {
        matches!(self.body, BodyPlan::Raw { .. })
    }

    /// What the answers are.
    #[must_use]
    pub fn answer_kind(&self) -> AnswerKind {
        match self.answer {
            Answer::Message(_) | Answer::Field(..) => AnswerKind::Json,
            Answer::HttpBody(_) => AnswerKind::HttpBody,
        }
    }

    /// Appends the gRPC frame of a request with one message: five bytes of prefix and the message.
    ///
    /// Allocates only what `out` needs, for a small request.
    ///
    /// # Errors
    /// [`RequestError`]; `out` is as it was then.
    pub fn encode_unary(&self, parts: &RequestParts<'_>, out: &mut Vec<u8>) -> Result<Ignored, RequestError> {
        self.check_body(parts)?;
        let values = self.values(parts)?;
        let body = MessageBody { text: parts.body, content_type: parts.content_type };
        self.write_frame(values, (!parts.body.is_empty()).then_some(body), out)
    }

    /// Appends the JSON of one answer: the message or the field that the response rule names.
    ///
    /// # Errors
    /// [`ResponseError`] when `message` is not what the schema says, or has no JSON form; `out` is as it was then.
    pub fn print(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), ResponseError> {
        let start = out.len();
        let printed = match self.answer {
            Answer::Message(id) => json::print_message(&self.schema, id, message, &self.options.write, out),
            Answer::Field(id, field) => json::print_field(&self.schema, id, field, message, &self.options.write, out),
            Answer::HttpBody(_) => {
                json::print_message(&self.schema, self.method.output(), message, &self.options.write, out)
            }
        };
        printed.map_err(|error| {
            out.truncate(start);
            ResponseError::from(error)
        })
    }

    /// Finds the body in an answer of kind [`AnswerKind::HttpBody`], without a copy. For other answers it is empty.
    ///
    /// # Errors
    /// [`ResponseError`] when `message` is malformed or its content type cannot be a header.
    pub fn http_body<'a>(&self, message: &'a [u8]) -> Result<HttpBody<'a>, ResponseError> {
        match self.answer {
            Answer::HttpBody(field) => http_body::read(message, field),
            Answer::Message(_) | Answer::Field(..) => http_body::read(&[], None),
        }
    }

    pub(crate) fn max_body(&self) -> usize {
        self.options.max_body
    }
}

fn names(template: &Template) -> Box<[Box<str>]> {
    template.variables().iter().map(|variable| variable.field_path.as_str().into()).collect()
}

fn body_plan(schema: &Schema, method: &Method, body: &Body, variables: &[Box<[Step]>]) -> Result<BodyPlan, PlanError> {
    let raw = |at: &[Step], message: MsgId| {
        let path = |number: u32| {
            let field = schema.message(message).find_number(number).unwrap_or_default();
            at.iter().copied().chain([Step { message, field }]).collect()
        };
        BodyPlan::Raw { content_type: path(http_body::CONTENT_TYPE), data: path(http_body::DATA) }
    };
    match body {
        Body::None => Ok(BodyPlan::None),
        Body::Whole if rule::is_http_body(schema, method.input()) => Ok(raw(&[], method.input())),
        Body::Whole => Ok(BodyPlan::Whole),
        Body::Field(name) => {
            let path = rule::body_field(schema, method.input(), name, variables)?;
            let field = path.last().and_then(|step| rule::field_at(schema, *step));
            let message = field.and_then(|field| field.message());
            if let (Some(field), Some(message)) = (field, message)
                && rule::is_http_body_field(schema, field)
            {
                return Ok(raw(&path, message));
            }
            let outer = name.rsplit_once('.').map_or("", |(outer, _)| outer).to_owned();
            Ok(BodyPlan::Field { message, path, outer })
        }
    }
}

fn answer_plan(schema: &Schema, method: &Method, field: Option<&str>) -> Result<Answer, PlanError> {
    let output = method.output();
    let Some(name) = field else {
        return Ok(if rule::is_http_body(schema, output) { Answer::HttpBody(None) } else { Answer::Message(output) });
    };
    let index = rule::response_field(schema, output, name)?;
    let plan = schema.message(output).field(index);
    Ok(match plan.filter(|field| rule::is_http_body_field(schema, field)) {
        Some(field) => Answer::HttpBody(Some(field.number())),
        None => Answer::Field(output, index),
    })
}
