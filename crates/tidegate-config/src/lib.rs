//! The YAML of tidegate: from text to checked, typed values, with all problems reported at once.
//!
//! The way of a configuration: [`source`] reads bytes, `yaml` turns them into [`node`] trees that know the line and
//! column of each key and value, `expand` fills in `${…}`, `decode` reads the [`raw`] types (what the author typed),
//! `resolve` merges `defaults` → service → route and checks across keys, and [`valid`] is the result. No stage stops
//! at its first problem: each adds to one [`Diagnostics`], which renders as text or JSON.
//!
//! This crate opens no sockets and knows no clock. Files and environment variables are read behind [`source::Source`]
//! alone.

pub mod diag;
pub mod valid;

pub use diag::{Code, Diagnostic, Diagnostics, Place, Severity};
pub use valid::Valid;
