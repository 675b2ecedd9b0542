//! A scripted HTTP/1.1 backend over raw sockets, which remembers every byte that it was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::peer::own_ip;

/// Most bytes of one request.
const MAX_REQUEST: usize = 64 * 1024 * 1024;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Request line and fields, without the empty line.
    pub head: String,
    /// Without its framing.
    pub body: Vec<u8>,
    /// On which connection, from 0.
    pub connection: usize,
    /// Which one on its connection, from 0.
    pub number: usize,
}

impl Heard {
    /// `GET /a?b HTTP/1.1`.
    #[must_use]
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    /// The values of a field, joined with `|`; empty if it is not there.
    #[must_use]
    pub fn field(&self, name: &str) -> String {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect::<Vec<_>>()
            .join("|")
    }
}

/// A step of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Waits for [`Web::release`].
    Wait,
    /// Closes the connection.
    Close,
    /// Closes it so that the other side sees a reset.
    Reset,
}

/// An answer with a length: `200 OK` and `body`.
#[must_use]
pub fn ok(body: &str) -> Vec<Part> {
    vec![bytes(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))]
}

/// These bytes.
#[must_use]
pub fn bytes(text: &str) -> Part {
    Part::Bytes(text.as_bytes().to_vec())
}

type Script = dyn Fn(&Heard) -> Vec<Part> + Send + Sync;

struct Shared {
    script: Box<Script>,
    heard: Mutex<Vec<Heard>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    gate: Semaphore,
}

/// A backend on a port of its own. It ends when it is dropped.
pub struct Web {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Web {
    /// A backend that answers each request with what `script` says; one that comes before its body has come is not seen.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(script: impl Fn(&Heard) -> Vec<Part> + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::new(own_ip(), 0), script).await
    }

    /// The same on a given address.
    ///
    /// # Panics
    /// If the address cannot be listened on.
    pub async fn start_at(address: SocketAddr, script: impl Fn(&Heard) -> Vec<Part> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            heard: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, address, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets one [`Part::Wait`] pass.
    pub fn release(&self) {
        self.shared.gate.add_permits(1);
    }

    /// All whole requests so far, in the order of their ends.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().clone()
    }

    /// The newest one.
    ///
    /// # Panics
    /// If there was none.
    #[must_use]
    pub fn last(&self) -> Heard {
        self.shared.heard.lock().last().expect("a request").clone()
    }

    /// Connections ever made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut serving = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        serving.spawn(async move {
            shared.open.fetch_add(1, Ordering::SeqCst);
            serve(socket, &shared, number).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Serves until either side closes.
async fn serve(mut socket: TcpStream, shared: &Shared, connection: usize) {
    let mut input = Vec::new();
    for number in 0.. {
        let heard = loop {
            if let Some((head, body, length)) = request(&input) {
                input.drain(..length);
                break Heard { head, body, connection, number };
            }
            match socket.read_buf(&mut input).await {
                Ok(1..) if input.len() < MAX_REQUEST => {}
                Ok(_) | Err(_) => return,
            }
        };
        let parts = (shared.script)(&heard);
        shared.heard.lock().push(heard);
        for part in parts {
            match part {
                Part::Bytes(bytes) => {
                    if socket.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Part::Wait => {
                    // The other side may go meanwhile, which ends the wait.
                    tokio::select! {
                        permit = shared.gate.acquire() => permit.expect("the gate stays open").forget(),
                        _ = socket.read_buf(&mut input) => return,
                    }
                }
                Part::Close => return,
                Part::Reset => {
                    let _ = socket.set_zero_linger();
                    return;
                }
            }
        }
    }
}

/// Head, body and length of the first request in `input`, if it is whole.
fn request(input: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    let end = input.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(input.get(..end - 4)?).into_owned();
    let lower = head.to_ascii_lowercase();
    if lower.contains("\r\ntransfer-encoding: chunked") {
        let (body, length) = chunks(input.get(end..)?)?;
        return Some((head, body, end + length));
    }
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let body = input.get(end..end + length)?.to_vec();
    Some((head, body, end + length))
}

fn chunks(mut input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, all) = (Vec::new(), input.len());
    loop {
        let line = input.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(input.get(..line)?).ok()?, 16).ok()?;
        let data = input.get(line + 2..line + 2 + size)?;
        body.extend_from_slice(data);
        input = input.get(line + 2 + size..)?.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((body, all - input.len()));
        }
    }
}
