//! The admin API: what operators see and do, on a listener and a thread of its own, so that nothing they do delays a
//! request.
//!
//! It reads everything and changes only what has a named operation. Order of work for one request: [`guard`] (who may ask)
//! → [`api`] (which operation) → a view, or an order to the control thread.

mod api;
mod config;
mod dashboard;
mod effective;
mod guard;
mod problem;
mod socket;
mod tap;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tidegate_config::valid;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};

use crate::gateway::Gateway;
use crate::listen::Control;
use crate::reload::ReloadHandle;
use crate::snapshot::registry::Registry;

pub use socket::Socket;

/// What the admin API reads and orders. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Services, telemetry, where the process stands.
    pub registry: Arc<Registry>,
    /// The snapshot in force.
    pub gateway: Arc<Gateway>,
    /// The listeners.
    pub listeners: Arc<Control>,
    /// Asks for reloads.
    pub reloads: ReloadHandle,
    /// Asks for the end of the process.
    pub drain: mpsc::Sender<()>,
}

/// A running admin API. Ends when it is told to, or when it is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves on `socket`, from a thread of its own.
    ///
    /// # Errors
    /// The system refused a thread or a runtime.
    pub fn start(socket: Socket, settings: &valid::Admin, handles: Handles) -> std::io::Result<Self> {
        let address = socket.address();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, mut stopped) = watch::channel(false);
        let router = api::router(handles, guard::Door::new(address, settings.token.clone()));
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    // Not the graceful way: a live view has no end of its own.
                    _ = stopped.wait_for(|stop| *stop) => {}
                    served = socket.serve(router) => {
                        if let Err(error) = served {
                            tracing::error!(%error, "the admin API cannot serve");
                        }
                    }
                }
            });
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// The address that is really bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic has been told by the thread itself.
            let _ended = thread.join();
        }
    }
}
