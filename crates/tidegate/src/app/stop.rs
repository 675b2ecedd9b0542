//! What ends the process.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends the process: signals, or a test.
pub trait Stop {
    /// Ready each time somebody asks for the end. Cancel-safe.
    fn wait(&mut self) -> impl Future<Output = ()>;
}

/// TERM and INT.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }
}

impl Stop for Signals {
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
