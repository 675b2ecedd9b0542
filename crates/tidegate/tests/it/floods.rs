//! Clients that begin a great many streams to leave them, and what becomes of everybody else's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidegate_testkit::client::raw_h2::{PREFACE, frame, get_order};
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, shop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const STREAMS: u32 = 100;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

/// A client that has sent `GET /v1/orders/7` on each of [`STREAMS`] streams.
async fn offender(address: SocketAddr) -> TcpStream {
    let block = get_order("a.test");
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, b""));
    for number in 0..STREAMS {
        // The head, which is the end of the request.
        bytes.extend(frame(HEADERS, 0x5, number * 2 + 1, &block));
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream
}

/// One connection to backends for everybody.
fn config(backend: SocketAddr) -> String {
    shop::config(backend, "runtime: { workers: 1 }")
}

/// Stops everything on this thread, the backend included.
#[expect(clippy::disallowed_methods, reason = "nothing may run meanwhile")]
fn stall() {
    std::thread::sleep(Duration::from_millis(50));
}

/// The h2 crate, on which the backend here is built as many are, ends a connection on which 21 streams are reset before
/// they were looked at.
#[tokio::test]
async fn clients_that_leave_with_many_requests_cost_nobody_an_answer() {
    let peer = Peer::with("GetOrder", Script::new().hold().message(shop::order()).status(0, "")).await;
    let gateway = Gateway::start(&config(peer.address()));
    let (mut first, mut second) = (gateway.http1().await, gateway.http2().await);
    let request = get("/v1/orders/7");
    let asking = async { tokio::join!(first.send(&request), second.send(&request)) };
    let leaving = async {
        eventually("both are asked", async || peer.calls() == 2).await;
        for _ in 0..5 {
            let offender = offender(gateway.address()).await;
            // Requests and resets wait for the backend together.
            stall();
            drop(offender);
            stall();
            let seen = peer.calls();
            eventually("it looks at them", async || peer.calls() > seen).await;
        }
        peer.release(usize::try_from(STREAMS).unwrap() * 5 + 2);
    };
    let ((one, other), ()) = tokio::join!(asking, leaving);
    assert_eq!([one.status, other.status], [200, 200], "{} {}", one.text(), other.text());
    assert_eq!(peer.open_connections(), peer.connections(), "none was closed");
    gateway.stop().await;
}

/// What a backend sees of frames.
#[derive(Default)]
struct Seen {
    heads: u32,
    /// When each reset had arrived.
    resets: Vec<Instant>,
}

/// A backend that answers nothing and counts.
async fn counting_backend() -> (SocketAddr, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Seen::default())));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(count_frames(stream, Arc::clone(&counted)));
        }
    });
    (address, seen)
}

/// Ends with the connection.
async fn count_frames(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) -> std::io::Result<()> {
    let thousand_streams = [0, 3, 0, 0, 0x03, 0xe8];
    stream.write_all(&frame(SETTINGS, 0, 0, &thousand_streams)).await?;
    stream.read_exact(&mut [0; 24]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await?;
        match (head[3], head[4]) {
            (HEADERS, _) => seen.lock().heads += 1,
            (RST_STREAM, _) => seen.lock().resets.push(Instant::now()),
            (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, ACK, 0, b"")).await?,
            _ => {}
        }
    }
}

/// All are reset in the end, but ten at once and then five a second, or when they have run on for two seconds.
#[tokio::test]
async fn many_streams_are_not_reset_at_once() {
    let (backend, seen) = counting_backend().await;
    let gateway = Gateway::start(&config(backend));
    let offender = offender(gateway.address()).await;
    eventually("all are asked", async || seen.lock().heads == STREAMS).await;
    let left = Instant::now();
    drop(offender);
    let all = usize::try_from(STREAMS).unwrap();
    eventually("all are reset", async || seen.lock().resets.len() == all).await;
    for (before, at) in seen.lock().resets.iter().enumerate() {
        let after = at.duration_since(left);
        assert!(before < 10 || after >= Duration::from_millis(200), "reset {before} came after {after:?}");
    }
    gateway.stop().await;
}
