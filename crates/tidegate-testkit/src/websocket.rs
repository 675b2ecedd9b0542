//! WebSockets: an echo to put behind the gateway, and clients over both versions of HTTP.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
pub use futures_util;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
pub use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
pub use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
pub use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Http2, Running};
use crate::{get, soon};

/// Says every message back. It ends when it is dropped.
pub struct Echo {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Echo {
    /// An echo on a port of its own.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let open = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&open)));
        Self { address, open, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sockets that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Drops all connections, as a process does that dies.
    pub fn die(&self) {
        self.accepting.abort();
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, open: Arc<AtomicUsize>) {
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let open = Arc::clone(&open);
        serving.spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
            open.fetch_add(1, Ordering::SeqCst);
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                    break;
                }
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Opens a WebSocket over HTTP/1.1.
///
/// # Panics
/// If it is not opened.
pub async fn http1(address: SocketAddr, path: &str) -> WebSocketStream<TcpStream> {
    let stream = soon(TcpStream::connect(address)).await.expect("the gateway listens");
    stream.set_nodelay(true).expect("an option of TCP");
    over(stream, path).await
}

/// The same over a connection that is there already.
///
/// # Panics
/// If it is not opened.
pub async fn over<Io: AsyncRead + AsyncWrite + Unpin>(io: Io, path: &str) -> WebSocketStream<Io> {
    let request = format!("ws://localhost{path}").into_client_request().expect("a request");
    soon(tokio_tungstenite::client_async(request, io)).await.expect("a WebSocket").0
}

/// Opens a WebSocket over HTTP/2.
///
/// # Panics
/// If it is not opened.
pub async fn http2(connection: &mut Http2, path: &str) -> WebSocketStream<DuplexStream> {
    let mut running = connection.start_socket("websocket", &get(path)).await;
    let (status, headers) = running.head().await.expect("an answer");
    assert_eq!((status, headers.get("sec-websocket-accept")), (200, None));
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(pump(running, theirs));
    WebSocketStream::from_raw_socket(ours, Role::Client, None).await
}

/// Moves bytes between a stream of HTTP/2 and `io`.
async fn pump(running: Running, io: DuplexStream) {
    let (mut read, mut write) = tokio::io::split(io);
    let (mut sender, mut receiver) = running.split();
    let up = async move {
        let mut space = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = read.read(&mut space).await {
            let mut left = Bytes::copy_from_slice(space.get(..length).unwrap_or_default());
            while !left.is_empty() {
                sender.reserve_capacity(left.len());
                let Some(Ok(room)) = poll_fn(|cx| sender.poll_capacity(cx)).await else { return };
                if sender.send_data(left.split_to(room.min(left.len())), false).is_err() {
                    return;
                }
            }
        }
        let _gone = sender.send_data(Bytes::new(), true);
    };
    let down = async move {
        while let Some(Ok(data)) = receiver.data().await {
            let _gone = receiver.flow_control().release_capacity(data.len());
            if write.write_all(&data).await.is_err() {
                break;
            }
        }
        let _gone = write.shutdown().await;
    };
    tokio::join!(up, down);
}
