//! REST and JSON to protobuf wire bytes and back, from plans that are compiled out of descriptors.
//!
//! The crate knows no sockets and no runtime: bytes go in, bytes come out.
#![forbid(unsafe_code)]

mod content_type;
mod error;
pub mod frame;
mod json_text;
pub mod status;
pub mod stream;

pub use content_type::check_json;
pub use error::{
    Fault, MAX_NAME_BYTES, MAX_VIOLATIONS, Reason, RequestError, ResponseError, Stage, Violation,
};
pub use frame::{Frame, FrameError, FrameReader};
pub use status::{Code, Status};
pub use stream::{End, StreamEncoder, StreamFormat, StreamOptions};
