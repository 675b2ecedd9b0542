//! Proofs under load: the program as a process, real sockets, a backend in this process, and requests that keep coming
//! while something happens that must not be noticed.
//!
//! They take minutes, so they are ignored: `make soak` runs them one at a time, each prints one line of figures.
//! `SOAK_SCALE=0.1` makes the counts ten times smaller; without it they are those that `docs/operations.md` tells.
//!
//! **What counts as failed.** A request is in flight from its first byte on. It has to be answered, completely and
//! rightly, whatever happens to the gateway. There is one exception, which is HTTP/2's own: a stream that a GOAWAY or
//! REFUSED_STREAM names as not begun may be sent again, on another connection, and is counted as `retried`. A connection
//! that was closed before the client had something to send is `replaced`; only while a gateway ends for good, a client
//! without a connection may find nobody and is `turned away`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are what these tests are for")]

mod backends;
mod faults;
mod floods;
mod ledger;
mod load;
mod outages;
mod reloads;
mod scale;
mod slow;
mod streams;
mod terms;
mod upgrades;
mod vitals;

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
