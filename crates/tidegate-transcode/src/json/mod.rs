//! JSON text ↔ wire bytes.

mod error;
mod inject;
mod options;
pub(crate) mod text;

pub use error::{Expected, ReadError, ReadErrorKind, WriteError};
pub use inject::{Bound, BoundValue, Injection, InjectionFull};
pub use options::{Ignored, MAX_DEPTH, ReadOptions, UnknownFields, WriteOptions};
