//! What a route demands of a request before its action runs, and what it lets through.

pub mod headers;
mod hygiene;
pub mod metadata;
pub mod timeout;
pub mod websocket;
