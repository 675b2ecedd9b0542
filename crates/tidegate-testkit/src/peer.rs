//! A scripted gRPC backend over raw HTTP/2, which remembers everything that it was sent.

mod cut;
mod leaving;
mod record;
mod reflect;
mod script;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{RecvStream, server};
use http::Request;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::soon;
use cut::Cut;
pub use leaving::Leaving;
pub use record::Call;
use record::{Record, Seen};
pub use script::Script;
use script::{Ending, run};

/// Most calls that wait to be looked at by a test.
const CALLS: usize = 10_000;

/// A backend on a port of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Peer {
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    scripts: Mutex<HashMap<String, Script>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    calls: AtomicUsize,
    running: AtomicUsize,
    most_running: AtomicUsize,
    /// Permits for scripts that hold.
    gate: Semaphore,
    /// Bytes after which each connection is cut; `usize::MAX` for never.
    cut_after: AtomicUsize,
    going_away: Notify,
}

impl Peer {
    /// Starts a backend that answers every call with `UNIMPLEMENTED` until told otherwise.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::new(own_ip(), 0)).await
    }

    /// The same on a given address, for one that comes back.
    ///
    /// # Panics
    /// If the address cannot be listened on.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let (seen, calls) = mpsc::channel(CALLS);
        let shared = Arc::new(Shared {
            scripts: Mutex::new(HashMap::new()),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            cut_after: AtomicUsize::new(usize::MAX),
            going_away: Notify::new(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), seen));
        Self { shared, calls, address, accepting }
    }

    /// A backend whose calls of `method` (`GetOrder`) run `script`.
    pub async fn with(method: &str, script: Script) -> Self {
        let peer = Self::start().await;
        peer.on(method, script);
        peer
    }

    /// From now on, calls of `method` (`GetOrder`, or with its service, `shop.v1.OrderService/GetOrder`) run `script`.
    pub fn on(&self, method: &str, script: Script) {
        self.shared.scripts.lock().insert(method.to_owned(), script);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next call, in the order of their arrival.
    ///
    /// # Panics
    /// If none comes.
    pub async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.expect("the backend runs")
    }

    /// How many calls have arrived so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// The most calls that ran at once since this was asked before.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.shared.most_running.swap(self.shared.running.load(Ordering::SeqCst), Ordering::SeqCst)
    }

    /// How many connections have been accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Lets `scripts` scripts that hold go on.
    pub fn release(&self, scripts: usize) {
        self.shared.gate.add_permits(scripts);
    }

    /// Cuts each new connection after `bytes` bytes to the gateway, those of HTTP/2 itself included.
    pub fn cut_after(&self, bytes: usize) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// Sends GOAWAY on every connection; streams that run may end.
    pub fn go_away(&self) {
        self.shared.going_away.notify_waiters();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, seen: mpsc::Sender<Call>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let _ = socket.set_nodelay(true);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let (shared, seen) = (Arc::clone(&shared), seen.clone());
        connections.spawn(async move {
            serve(socket, Arc::clone(&shared), seen).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// A call that runs, until this is dropped.
struct Running(Arc<Shared>);

impl Running {
    fn begin(shared: &Arc<Shared>) -> Self {
        let running = shared.running.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_running.fetch_max(running, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One connection until either side closes it, or a script cuts it.
async fn serve(socket: TcpStream, shared: Arc<Shared>, seen: mpsc::Sender<Call>) {
    let cut = Cut::new(socket, shared.cut_after.load(Ordering::SeqCst));
    let mut builder = server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 22);
    let Ok(mut connection): Result<Connection<_, Bytes>, _> = builder.handshake(cut).await else { return };
    // Its tasks end with the connection.
    let mut calls = JoinSet::new();
    let cut = Arc::new(Notify::new());
    loop {
        tokio::select! {
            incoming = connection.accept() => {
                let Some(Ok((request, respond))) = incoming else { return };
                let (shared, seen, cut) = (Arc::clone(&shared), seen.clone(), Arc::clone(&cut));
                calls.spawn(async move {
                    if let Ending::CutConnection = answer(request, respond, &shared, &seen).await {
                        cut.notify_one();
                    }
                });
            }
            () = cut.notified() => return,
            () = shared.going_away.notified() => connection.graceful_shutdown(),
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: &Arc<Shared>,
    seen: &mpsc::Sender<Call>,
) -> Ending {
    let (parts, body) = request.into_parts();
    let (record, watching) = watch::channel(Seen::default());
    let record = Record::new(record);
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let method = path.rsplit('/').next().unwrap_or("").to_owned();
    shared.calls.fetch_add(1, Ordering::SeqCst);
    let _running = Running::begin(shared);
    // A full queue means that the test does not look at calls.
    let _unseen = seen.try_send(Call::new(&parts, watching));
    let reading = tokio::spawn(record.clone().read(body));
    let script = {
        let scripts = shared.scripts.lock();
        scripts.get(&path).or_else(|| scripts.get(&method)).cloned()
    };
    let script = script.unwrap_or_else(|| Script::new().trailers_only(12, "no script"));
    let ending = run(&script, &mut respond, &record, &shared.gate).await;
    if matches!(ending, Ending::CutConnection) {
        reading.abort();
    }
    ending
}

/// A server that sends `bytes` on every connection, whatever it is sent, and closes it after `read` bytes were read.
///
/// # Panics
/// If it cannot listen.
pub async fn blurt(bytes: &'static [u8], read: usize) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let task = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.write_all(bytes).await;
                let mut buffer = vec![0; 1024];
                let mut left = read;
                while left > 0 {
                    match tokio::io::AsyncReadExt::read(&mut socket, &mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => left = left.saturating_sub(count),
                    }
                }
            });
        }
    });
    (address, task)
}

/// An address of the loopback network that few other processes have, as long as 127.0.0.1 when it is written. Ports of that one
/// go to the next who asks for any, and tests run beside each other: one that a test has closed would soon be another's.
#[must_use]
pub fn own_ip() -> IpAddr {
    let id = std::process::id();
    let digit = |number: u32| u8::try_from(number % 10).unwrap_or(0);
    Ipv4Addr::new(127, 1 + digit(id / 100) % 9, digit(id / 10), digit(id)).into()
}

/// An address of [`own_ip`] that nothing listens on.
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn closed_port() -> SocketAddr {
    unused(own_ip())
}

/// An address of 127.0.0.1 that nothing listens on now, though somebody else may the next moment.
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn free_port() -> SocketAddr {
    unused(Ipv4Addr::LOCALHOST.into())
}

fn unused(ip: IpAddr) -> SocketAddr {
    let listener = std::net::TcpListener::bind((ip, 0)).expect("a free port");
    listener.local_addr().expect("a listener has an address")
}
