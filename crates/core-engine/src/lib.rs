//! The core engine: market data over gRPC, from sources that are simulated or replayed.
//!
//! It is the reference backend of the examples: small, real, and honest about its data, each value naming its source.
//! It knows nothing of gateways.
//!
//! ```text
//!   source ──ticks──► feed ──► ledger    counters, newest value of each symbol
//!   (one task each,        ├─► buffers   a ring per symbol
//!    kept by its slot)     └─► streams   a bounded queue per subscriber, conflated when full
//!
//!   client ──gRPC──► service ──► engine ──► slots, buffers, streams
//! ```
//!
//! Invariants: every queue, ring and table has a bound and a counter for what the bound refused; a price is a decimal
//! from the source to the wire; a source that fails is tried again and takes nothing else down.

pub mod server;
pub mod settings;

#[doc(hidden)]
pub mod fuzzing;

mod deadline;
mod engine;
mod error;
mod service;
mod status;

mod slot;
mod source;

mod buffers;
mod feed;
mod ledger;
mod streams;

#[cfg_attr(not(test), expect(dead_code, reason = "joined by the engine"))]
mod news;

mod clock;
mod tick;

#[cfg_attr(not(test), expect(dead_code, reason = "joined by the engine"))]
mod market;
#[cfg_attr(not(test), expect(dead_code, reason = "joined by the engine"))]
mod store;

pub use server::{Server, ServerError};
pub use settings::{Settings, SettingsError};
