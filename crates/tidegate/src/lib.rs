//! tidegate: REST/JSON to gRPC, from one YAML file.
//!
//! Modules in reading order; a module uses modules of an earlier row only (`ARCHITECTURE.md`).

// Row 0: plain types.
pub mod body;
pub mod clients;
pub mod ending;
pub mod fill;
pub mod hints;
pub mod identity;
pub mod ids;
pub mod lines;
pub mod tasks;
pub mod time;
pub mod trace;
pub mod turns;
pub mod version;
// Row 1: one exchange, refusals, where the process stands, what it tells.
pub mod exchange;
pub mod head;
pub mod heartbeat;
pub mod lifecycle;
pub mod notify;
pub mod reject;
pub mod telemetry;
// Row 2: outgoing connections, the Redis that processes share.
pub mod dial;
pub mod outbound;
pub mod overload;
pub mod redis;
// Row 3: backends, and what routes demand.
pub mod policy;
pub mod upstream;
// Row 4: WebSockets that end here.
pub mod realtime;
// Row 5: what routes do.
pub mod action;
// Row 6: one compiled configuration.
pub mod snapshot;
// Row 7: one request, what would become of one, and the documentation of all.
pub mod explain;
pub mod gateway;
pub mod openapi;
pub mod pipeline;
// Row 8: where clients connect; what changes while the process runs.
pub mod admin;
pub mod export;
pub mod jwks;
pub mod listen;
pub mod refresh;
pub mod reload;
pub mod scrape;
// Row 9: the process.
pub mod app;
pub mod cli;
#[doc(hidden)]
pub mod fuzzing;
