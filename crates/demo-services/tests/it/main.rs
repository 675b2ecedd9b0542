//! The services as their clients see them: over real connections, on free ports.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]

mod running;

mod http;
mod program;
mod restart;
mod rpc;
