//! JSON text ↔ wire bytes.

pub(crate) mod append;
pub(crate) mod base64;
mod error;
mod inject;
mod keys;
pub(crate) mod number;
mod options;
mod read;
mod read_any;
mod read_scalar;
mod read_wkt;
mod scan;
pub(crate) mod text;
mod write;
mod write_map;
mod write_scalar;
mod write_slow;
mod write_wkt;

pub use error::{Expected, ReadError, ReadErrorKind, WriteError};
pub use inject::{Bound, BoundValue, Injection, InjectionFull};
pub use options::{Ignored, MAX_DEPTH, ReadOptions, UnknownFields, WriteOptions};
pub use read::{parse_field, parse_message};
pub use write::{print_field, print_message};

#[cfg(test)]
mod tests;
