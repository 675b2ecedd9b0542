//! The core engine: market data and news over gRPC, from sources that are simulated, replayed or across the network.
//!
//! It is the reference backend of the examples: small, real, and honest about its data, each value naming its source.
//! It knows nothing of gateways.
//!
//! ```text
//!   source ──values──► feed ──► ledger    counters, newest value of each symbol
//!   (one task each,        ├──► streams   a bounded queue per subscriber, conflated when full
//!    kept by its slot)     ├──► tape      values and bars in memory ──► store   bars, articles and what
//!                          └──► press     articles in memory ─────────►         clients connected, on disk
//!
//!   client ──gRPC──► service ──► engine ──► slots, tape, press, streams
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
mod kept;
mod metrics;
mod probes;
mod service;
mod status;
mod study;

mod slot;
mod source;

mod feed;
mod ledger;
mod press;
mod rate;
mod streams;
mod tape;

mod clock;
mod net;
mod tick;

mod market;
mod news;
mod store;

#[cfg(test)]
mod load;

pub use server::{Server, ServerError};
pub use settings::{Settings, SettingsError};
