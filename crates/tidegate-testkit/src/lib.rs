//! The gateway in process and as a program, and scripted peers on both of its sides. For tests only.
//!
//! An end-to-end test is a backend, a gateway, a request and two looks: at the answer, and at what the backend saw.
//! Everything listens on a free port of 127.0.0.1, nothing waits for longer than [`PATIENCE`], and every failure is a
//! panic that fails the test.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

pub mod client;
pub mod collector;
pub mod demo;
pub mod dns;
pub mod engine;
pub mod gateway;
pub mod peer;
pub mod program;
pub mod redis;
pub mod shop;
pub mod tls;
pub mod tokens;
pub mod unix;
pub mod web;
pub mod websocket;

use std::future::Future;
use std::time::Duration;

/// Clients of real gRPC, for tests alone: the gateway has none of it.
pub use {tonic, tonic_reflection};

pub use client::{Answer, End, Request, delete, get, post};
pub use collector::Collector;
pub use demo::Demo;
pub use dns::Dns;
pub use engine::Engine;
pub use gateway::{Gateway, ask_admin};
pub use peer::{Peer, Script};
pub use program::Program;
pub use redis::Redis;
pub use unix::UnixDoor;
pub use web::{Heard, Part, Web};

/// The longest that anything in a test may take before it counts as hanging. Nothing that happens takes a tenth of it, except
/// on a machine that does ten other things.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits `future`, and fails the test after [`PATIENCE`].
///
/// # Panics
/// When the time is over.
pub async fn soon<F: Future>(future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("did not happen within {PATIENCE:?}"),
    }
}

/// Asks `condition` again and again until it is true, and fails the test after [`PATIENCE`].
///
/// # Panics
/// When the time is over.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let asked = tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(asked.await.is_ok(), "not within {PATIENCE:?}: {what}");
}

/// What `value` gives once it has begun to grow and then stays the same for a while, for what must not grow any more. A
/// machine that pauses for longer makes it less than it would become, so that no test fails for it.
///
/// # Panics
/// If it goes on changing, or never begins.
pub async fn settled(mut value: impl FnMut() -> usize) -> usize {
    const WHILE: Duration = Duration::from_millis(500);
    let settled = tokio::time::timeout(PATIENCE, async {
        let mut last = 0;
        loop {
            tokio::time::sleep(WHILE).await;
            match value() {
                now if now == last && now > 0 => return now,
                now => last = now,
            }
        }
    });
    settled.await.expect("it settles")
}
