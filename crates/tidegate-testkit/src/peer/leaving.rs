//! A backend that goes away while it is asked, and says what it has not seen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::client::raw_h2::{PREFACE, frame};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status 200`, of the static table of HPACK.
const OK: &[u8] = &[0x88];

/// In front of another backend. It ends when it is dropped.
#[derive(Debug)]
pub struct Leaving {
    address: SocketAddr,
    newest: Arc<AtomicU32>,
    accepting: JoinHandle<()>,
}

impl Leaving {
    /// Listens in front of `to`. The first connection speaks HTTP/2 by itself: it takes what comes up to stream `last`, and when
    /// a request comes on a later one it says GOAWAY, that it has seen none after `last`; then it answers stream `last`, if that
    /// is not 0, with `first`. All other connections end at `to`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(to: SocketAddr, last: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let newest = Arc::new(AtomicU32::new(0));
        let accepting = tokio::spawn(accept(listener, to, last, Arc::clone(&newest)));
        Self { address, newest, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The newest stream on which a request has come to the first connection; 0 before there is one.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.newest.load(Ordering::SeqCst)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, last: u32, newest: Arc<AtomicU32>) {
    let mut serving = JoinSet::new();
    let mut is_first = true;
    while let Ok((mut stream, _)) = listener.accept().await {
        if std::mem::take(&mut is_first) {
            let newest = Arc::clone(&newest);
            serving.spawn(async move {
                // An error is the end of the connection.
                let _ended = leave(stream, last, &newest).await;
            });
            continue;
        }
        serving.spawn(async move {
            if let Ok(mut backend) = TcpStream::connect(to).await {
                let _ended = copy_bidirectional(&mut stream, &mut backend).await;
            }
        });
    }
}

async fn leave(mut stream: TcpStream, last: u32, newest: &AtomicU32) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE.len()]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [high, middle, low, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        stream.read_exact(&mut payload).await?;
        if kind == SETTINGS && flags & ACK == 0 {
            stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
        }
        if kind != HEADERS {
            continue;
        }
        let id = u32::from_be_bytes(id);
        newest.store(id, Ordering::SeqCst);
        if id > last {
            // No error: it only leaves.
            let gone = [last.to_be_bytes(), [0; 4]].concat();
            stream.write_all(&frame(GOAWAY, 0, 0, &gone)).await?;
            if last > 0 {
                stream.write_all(&frame(HEADERS, END_HEADERS, last, OK)).await?;
                stream.write_all(&frame(DATA, END_STREAM, last, b"first")).await?;
            }
        }
    }
}
