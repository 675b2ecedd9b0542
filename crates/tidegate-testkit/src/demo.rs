//! The real demo services in this process, and the examples in front of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use demo_services::{Server, Service, Settings};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Gateway;
use crate::engine::examples;

/// The services that an example needs, on free ports, in memory.
#[derive(Debug)]
pub struct Demo {
    addresses: BTreeMap<Service, SocketAddr>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Demo {
    /// Starts `services`, with an exchange that is empty. Tokens are signed with `secret`; `boss@example.com` becomes an
    /// administrator.
    ///
    /// # Panics
    /// If they do not start.
    pub async fn start(services: &[Service], secret: &str) -> Self {
        let settings = Settings {
            services: services.iter().map(|service| (*service, 0)).collect(),
            strategy_interval: Duration::from_millis(10),
            admin: Some("boss@example.com".to_owned()),
            token_secret: Some(secret.to_owned()),
            seed: false,
            ..Settings::default()
        };
        let server = Server::bind(&settings).await.expect("the services start");
        let addresses = server.addresses().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ended = stopped.await;
            };
            server.serve(stopped).await.expect("the services serve");
        });
        Self { addresses, stop, serving }
    }

    /// A gateway with the shipped configuration of the example `name`, whose ports are replaced by real ones. Files that
    /// stand beside it are there.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn gateway(&self, name: &str) -> Gateway {
        Gateway::start_in(beside(name), &self.example(name))
    }

    /// The configuration of the example `name`, with real ports.
    ///
    /// # Panics
    /// If there is no such example.
    #[must_use]
    pub fn example(&self, name: &str) -> String {
        let path = examples().join(name).join("tidegate.yaml");
        let yaml = std::fs::read_to_string(path).expect("an example has a configuration");
        assert!(yaml.contains("127.0.0.1:8080") && yaml.contains("127.0.0.1:9901"), "the addresses to replace");
        let yaml = yaml
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9901", "127.0.0.1:0")
            .replace("access: { output: stdout }", "access: { output: /dev/null }");
        self.placed_in(&yaml)
    }

    /// `yaml` with the addresses of these services in place of their usual ones. An example whose services end one by
    /// one is placed in several of these.
    #[must_use]
    pub fn placed_in(&self, yaml: &str) -> String {
        let mut yaml = yaml.to_owned();
        for (service, address) in &self.addresses {
            for host in ["127.0.0.1", "localhost"] {
                yaml = yaml.replace(&format!("{host}:{}\"", service.port()), &format!("{address}\""));
            }
        }
        yaml
    }

    /// Ends the services.
    ///
    /// # Panics
    /// If they end badly.
    pub async fn stop(self) {
        drop(self.stop);
        crate::soon(self.serving).await.expect("the services do not panic");
    }
}

/// A folder with the files of the example `name`.
///
/// # Panics
/// If there is no such example.
#[must_use]
pub fn beside(name: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for entry in std::fs::read_dir(examples().join(name)).expect("an example has files") {
        let path = entry.expect("a file").path();
        let to = folder.path().join(path.file_name().expect("a name"));
        std::fs::copy(&path, to).expect("files can be copied");
    }
    folder
}
