//! Load, a backend and a floor for measuring gateways that turn REST into gRPC.
//!
//! One scenario file says which HTTP request the client sends, which protobuf message the backend must then receive,
//! what it answers, and which JSON the client must see. Load generator, backend and floor all read that same file, so
//! a gateway that answers fast and wrong cannot look good: both ends check every exchange.
//!
//! Everything here shares one core while the gateway under test has another, so the hot paths compare bytes with
//! bytes that were accepted before, and parse only what they have never seen.

pub mod scenario;

pub mod check;
pub mod cpu;
pub mod http1;
pub mod load;

pub mod backend;
pub mod floor;
pub mod frame;
pub mod schema;

pub mod web;
