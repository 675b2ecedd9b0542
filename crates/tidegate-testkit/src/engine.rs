//! The real core engine in process: the backend of the examples, with server reflection.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use core_engine::{Server, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::peer::own_ip;
use crate::soon;

/// A running core engine. It ends when it is dropped.
#[derive(Debug)]
pub struct Engine {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Engine {
    /// Starts one with its default settings on a free port: the simulator with ten symbols.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::new(own_ip(), 0)).await
    }

    /// The same on a given address, for one that comes back.
    pub async fn start_at(address: SocketAddr) -> Self {
        Self::serve(Settings::default(), address).await
    }

    /// Starts one with the settings of a file, but on a free port.
    ///
    /// # Panics
    /// If the file is wrong.
    pub async fn from_file(path: &Path) -> Self {
        let settings = Settings::load(path).expect("settings of a core engine");
        Self::serve(settings, SocketAddr::new(own_ip(), 0)).await
    }

    async fn serve(mut settings: Settings, address: SocketAddr) -> Self {
        settings.listen = address;
        let server = Server::bind(&settings).await.expect("the address is free");
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            // Asked to stop, or dropped.
            let stopped = async { drop(stopped.await) };
            server.serve(stopped).await.expect("the engine serves");
        });
        Self { address, stop, serving }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and waits until its port is free.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn stop(self) {
        drop(self.stop);
        soon(self.serving).await.expect("the engine does not panic");
    }
}

/// The folder of the examples.
#[must_use]
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").canonicalize().expect("the examples are there")
}

/// The configuration of an example, with the engine at `engine` and the listener on a free port.
///
/// # Panics
/// If there is no such example.
#[must_use]
pub fn example(name: &str, engine: SocketAddr) -> String {
    let folder = examples().join(name);
    let yaml = std::fs::read_to_string(folder.join("tidegate.yaml")).expect("an example has a configuration");
    assert!(yaml.contains("127.0.0.1:50052") && yaml.contains("127.0.0.1:8080"), "the addresses to replace");
    yaml.replace("127.0.0.1:50052", &engine.to_string())
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9901", "127.0.0.1:0")
        .replace("../..", &examples().join("..").canonicalize().expect("the root").display().to_string())
}
