//! HTTP/1.1 towards backends.
//!
//! ```text
//!   request ──► exchange ──► upload  (head and body out, chunked if need be)
//!                  │            │
//!                 pool ──────► wire  (one connection, one request at a time)
//!                  ▲            │
//!                  └── answer ◄─┴── codec (head and body in)
//! ```
//! A connection is driven by whoever uses it, the request's future and then the body of its answer: no task, no channel,
//! no lock between a request and its bytes (docs/adr/011). It goes back to its worker's pool when both sides are done and
//! nothing is left over; otherwise it is closed. After a 101 it belongs to a tunnel (`tunnel`) and never goes back.

mod answer;
mod codec;
pub mod door;
mod exchange;
mod pool;
mod replay;
mod tunnel;
mod upload;
mod wire;

pub(super) use self::answer::{Download, Watch};
pub use self::codec::Fault;
pub(super) use self::exchange::{Begun, MAX_INTERIM, Outcome, Sent, exchange};
pub(super) use self::pool::{NoWire, Pool};
pub(super) use self::replay::Replay;
pub use self::replay::{BadBody, MAX_KEPT};
pub use self::tunnel::Tunnel;
