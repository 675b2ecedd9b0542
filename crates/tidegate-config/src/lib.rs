//! The YAML of tidegate: from text to checked, typed values, with all problems reported at once.
//!
//! The way of a configuration: [`source`] reads bytes, `yaml` turns them into `node` trees that know the line and
//! column of each key and value, `expand` fills in `${…}`, `decode` reads the `raw` types (what the author typed),
//! `resolve` merges `defaults` → service → route and checks across keys, and [`valid`] is the result. No stage stops
//! at its first problem: each adds to one [`Diagnostics`], which renders as text or JSON. [`load()`] does it all.
//!
//! This crate opens no sockets and knows no clock. Files and environment variables are read behind [`source::Source`]
//! alone.
#![forbid(unsafe_code)]

mod load;

pub mod source;

mod yaml;

mod node;

mod expand;

mod decode;

mod raw;

mod resolve;

pub mod valid;

pub mod diag;

pub mod units;

pub mod secret;

pub mod schema;

pub use diag::{Code, Diagnostic, Diagnostics, Place, Severity};
pub use load::{Loaded, load};
pub use valid::Valid;
