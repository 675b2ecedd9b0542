//! What a route demands of a request before its action runs, and what it lets through.

pub mod access;
pub mod authn;
pub mod authz;
pub mod compress;
pub mod cors;
pub mod decompress;
mod forwarded;
pub mod headers;
mod hygiene;
pub mod limits;
pub mod metadata;
pub mod timeout;
pub mod validate;
pub mod websocket;
pub mod whole;
