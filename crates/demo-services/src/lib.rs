//! The demo services: small real backends for examples and tests. A trading system over HTTP, and users, orders,
//! positions, wallets, projects and simulations over gRPC, in one process with a port for each. They know nothing of
//! gateways.
//!
//! ```text
//!   HTTP ──► http ──┐                ┌─► exchange, configuration, identity,
//!                   ├──► backends ───┤   wallet, project, simulation     in memory, behind one lock each
//!   gRPC ──► rpc ───┘                └─► store                           on disk before a change is answered
//! ```
//!
//! Invariants: a change is answered when it is on disk, though others may see it a moment earlier; what is refused has
//! changed nothing; every table, history, queue and stream has a bound; amounts are decimals from one wire to the other.

pub mod server;
pub mod settings;

mod backends;
mod http;
mod rpc;

mod configuration;
mod exchange;
mod identity;
mod project;
mod simulation;
mod wallet;

mod fault;
mod feed;
mod fields;
mod ids;
mod page;

mod clock;
mod store;

pub use server::{Server, ServerError};
pub use settings::{Protocol, Service, Settings};
pub use store::StoreError;
