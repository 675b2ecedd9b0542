//! The way to other people's servers: HTTP and WebSocket, over TLS or not, with a bound on everything.
//!
//! Whoever is at the other end may hang, flood, lie about a length, compress a gigabyte into a kilobyte, or answer with
//! an error page; each of these ends as a [`NetError`] within a named time and size. Nothing here knows what the bytes
//! mean.

pub(crate) mod guard;
pub(crate) mod http;
pub(crate) mod socket;

mod error;
mod location;
mod retry_after;
mod tls;

pub(crate) use error::{NetError, Stage};
pub(crate) use guard::{Guard, GuardLimits, Refusal};
pub(crate) use location::{Location, Scheme};
