//! Clients that listen to server-sent events and notice when they are left alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_testkit::client::Http2;
use tidegate_testkit::{get, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Streams that one HTTP/2 connection carries; the gateway allows no more.
const PER_CONNECTION: usize = 100;

/// How long the next event of a stream may take, with some hundred others before it.
const EVENT: Duration = Duration::from_secs(60);

/// Open streams.
pub(crate) struct Streams {
    /// Bytes that each has received.
    received: Arc<Vec<AtomicU64>>,
    ended: Arc<Mutex<Vec<String>>>,
    listening: JoinSet<()>,
    /// Dropped, they close.
    _connections: Vec<Http2>,
}

impl Streams {
    /// Opens `count` streams of `target`, half of them on connections of their own over HTTP/1.1, half over HTTP/2.
    pub(crate) async fn open(address: SocketAddr, target: &'static str, count: usize) -> Self {
        let received: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let ended = Arc::new(Mutex::new(Vec::new()));
        let mut listening = JoinSet::new();
        let mut connections: Vec<Http2> = Vec::new();
        for index in 0..count {
            let (received, ended) = (Arc::clone(&received), Arc::clone(&ended));
            if index % 2 == 0 {
                let stream = over_http1(address, target).await;
                listening.spawn(async move {
                    let why = listen_http1(stream, &received[index]).await;
                    ended.lock().push(why);
                });
                continue;
            }
            if (index / 2) % PER_CONNECTION == 0 {
                connections.push(Http2::connect(address).await);
            }
            let connection = connections.last_mut().expect("one was opened");
            let mut stream = connection.start(&get(target).header("accept", "text/event-stream"), true).await;
            assert_eq!(stream.head().await.expect("an answer").0, 200);
            listening.spawn(async move {
                let why = loop {
                    match stream.piece().await {
                        Ok(Some(piece)) => received[index].fetch_add(piece.len() as u64, Ordering::Relaxed),
                        Ok(None) => break "ended by HTTP/2".to_owned(),
                        Err(end) => break format!("{end:?}"),
                    };
                };
                ended.lock().push(why);
            });
        }
        Self { received, ended, listening, _connections: connections }
    }

    /// # Panics
    /// If one has ended.
    pub(crate) fn assert_open(&self) {
        let ended = self.ended.lock();
        assert!(ended.is_empty(), "{} streams have ended: {:?}", ended.len(), ended.first());
    }

    /// Waits until each of them has received something more.
    ///
    /// # Panics
    /// If one does not.
    pub(crate) async fn all_receive(&self) {
        let bytes = || self.received.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = bytes();
        let asked = tokio::time::timeout(EVENT, async {
            while bytes().iter().zip(&before).any(|(now, before)| now <= before) {
                self.assert_open();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(asked.await.is_ok(), "a stream receives nothing");
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.listening.len()
    }
}

async fn over_http1(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = soon(TcpStream::connect(address)).await.expect("the gateway listens");
    let request = format!("GET {target} HTTP/1.1\r\nhost: soak.test\r\naccept: text/event-stream\r\n\r\n");
    soon(stream.write_all(request.as_bytes())).await.expect("the gateway reads");
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(soon(stream.read_buf(&mut head)).await.expect("an answer") > 0, "an answer");
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Reads until the stream ends, and says how.
async fn listen_http1(mut stream: TcpStream, received: &AtomicU64) -> String {
    let mut buffer = vec![0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return "closed over HTTP/1.1".to_owned(),
            Ok(read) => received.fetch_add(read as u64, Ordering::Relaxed),
            Err(error) => return error.to_string(),
        };
    }
}
