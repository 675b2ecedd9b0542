//! The engine in front of servers that speak what the real ones speak: what is asked, what is made of the answers, and
//! what is told when they misbehave.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a test may fail by panic")]
#![allow(unreachable_pub, missing_docs, reason = "a test has no users")]

mod engine;
mod fake;

mod exchanges;
mod faults;
mod news;
mod restart;
mod yahoo;
