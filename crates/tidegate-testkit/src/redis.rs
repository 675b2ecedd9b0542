//! A real Redis on a port of its own. Debian's package `redis-server` has the program (`scripts/test-tools.sh`).

use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::{eventually, peer, soon};

/// A running Redis without anything on disk. It is killed when it is dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Redis {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If there is no `redis-server`, or it does not answer.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more arguments, which [`Redis::restart`] does not repeat.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        // Another process may take the port in between; then this one ends, and the next try has another.
        for _ in 0..5 {
            let address = peer::free_port();
            let mut child = spawn(&folder, address, arguments);
            if answers(&mut child, address).await {
                return Self { child, address, folder };
            }
        }
        panic!("redis-server does not start");
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `redis: { url: … }`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills it, and waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn kill(&mut self) {
        soon(self.child.kill()).await.expect("a child can be killed");
    }

    /// Starts it again on its port, empty, after [`Redis::kill`].
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.folder, self.address, &[]);
        assert!(answers(&mut self.child, self.address).await, "redis-server does not start again");
    }

    /// Stops it with STOP: connections are accepted, and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// What it answers to a command, as it stands on the wire.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn command(&self, words: &[&str]) -> String {
        soon(command(self.address, words)).await.expect("redis answers")
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("redis runs"), signal).expect("redis runs");
    }
}

fn spawn(folder: &TempDir, address: SocketAddr, arguments: &[&str]) -> Child {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let mut server = Command::new("redis-server");
    server
        .args(["--port", &port, "--bind", &ip, "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .args(arguments);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    server.spawn().expect("redis-server is installed: scripts/test-tools.sh installs it")
}

/// Waits until it answers; `false` if it has ended instead.
async fn answers(child: &mut Child, address: SocketAddr) -> bool {
    let mut lives = true;
    eventually("redis answers", || {
        lives = child.try_wait().is_ok_and(|ended| ended.is_none());
        let lives = lives;
        async move { !lives || command(address, &["PING"]).await.is_ok_and(|answer| answer.starts_with("+PONG")) }
    })
    .await;
    lives
}

async fn command(address: SocketAddr, words: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.push_str("*1\r\n$4\r\nQUIT\r\n");
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned())
}
