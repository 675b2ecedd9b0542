//! tidegate: REST/JSON to gRPC, from one YAML file.
//!
//! Modules in reading order; a module uses modules of an earlier row only (`ARCHITECTURE.md`).

// Row 0: plain types.
pub mod body;
pub mod ids;
pub mod tasks;
pub mod time;
// Row 1: refusals.
pub mod reject;
// Row 2: outgoing connections.
pub mod dial;
// Row 3: backends.
pub mod upstream;
// Row 7: one request.
pub mod gateway;
// Row 8: where clients connect.
pub mod listen;
