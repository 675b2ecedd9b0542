//! What must hold for every input, one module per crate, one function per fuzz target.
//!
//! The functions know nothing of the fuzzer: the crates' `tests/corpus.rs` include the same files and replay the
//! corpora on stable. A broken property panics.

pub mod codec;
pub mod config;
pub mod http1;
pub mod jwt;
pub mod market;
pub mod news;
pub mod route;
pub mod websocket;
