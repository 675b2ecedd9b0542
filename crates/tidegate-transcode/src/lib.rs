//! REST and JSON to protobuf wire bytes and back, from plans that are compiled out of descriptors.
//!
//! Descriptors are compiled once into flat plans ([`schema`], [`plan`]). A request body goes from JSON text to wire bytes
//! in one pass and an answer goes from wire bytes to JSON text in one pass; there is no message object in between. The
//! crate knows no sockets, no runtime and no clock: bytes go in, bytes come out.
#![forbid(unsafe_code)]

pub mod json;
pub mod plan;
pub mod schema;
pub mod wire;
pub mod wkt;

mod any;
mod bind;
mod content_type;
mod error;
mod faults;
pub mod frame;
pub mod grpc_web;
mod http_body;
mod method;
mod query;
mod rule;
pub mod status;
pub mod stream;
mod upload;

pub use bind::QueryOptions;
pub use content_type::{check_json, check_json_sequence};
pub use error::{Fault, MAX_NAME_BYTES, MAX_VIOLATIONS, Reason, RequestError, ResponseError, Stage, Violation};
pub use frame::{Frame, FrameError, FrameMeter, FrameReader};
pub use http_body::HttpBody;
pub use method::{
    AnswerDescription, AnswerKind, BindingDescription, BodyDescription, CallOptions, MAX_QUERY_PARAMETERS, MethodPlan,
    Parameter, RequestParts,
};
pub use rule::{Binding, Body, Place, PlanError, PlanErrorKind};
pub use schema::{Idempotency, Method, Note, Schema, SchemaError};
pub use status::{Code, Status};
pub use stream::{End, StreamEncoder, StreamFormat, StreamOptions};
pub use upload::{MAX_PIECE, Upload};
