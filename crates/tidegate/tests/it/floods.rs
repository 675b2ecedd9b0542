//! Clients of HTTP/2 that send a great many frames, or begin a great many streams to leave them, and what becomes of
//! everybody else's requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidegate_testkit::client::raw_h2::{self, PREFACE, frame, get_order};
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, shop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const STREAMS: u32 = 100;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

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

/// A client that writes frames as it likes, and reads what comes.
struct Raw {
    writing: OwnedWriteHalf,
    /// Ends with the connection.
    reading: JoinHandle<()>,
    seen: Arc<Mutex<Read>>,
}

/// What such a client has read.
#[derive(Default)]
struct Read {
    pongs: usize,
    ended_streams: usize,
    go_away: Option<u32>,
}

impl Raw {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut reading, writing) = stream.into_split();
        let seen = Arc::new(Mutex::new(Read::default()));
        let noted = Arc::clone(&seen);
        let reading = tokio::spawn(async move {
            let mut head = [0; 9];
            while reading.read_exact(&mut head).await.is_ok() {
                let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
                if reading.read_exact(&mut payload).await.is_err() {
                    return;
                }
                let mut seen = noted.lock();
                match (head[3], head[4]) {
                    (PING, ACK) => seen.pongs += 1,
                    (GO_AWAY, _) => seen.go_away = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
                    (0 | HEADERS, flags) if flags & END_STREAM > 0 => seen.ended_streams += 1,
                    _ => {}
                }
            }
        });
        let mut raw = Self { writing, reading, seen };
        assert!(raw.write(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await);
        raw
    }

    /// Whether the gateway still takes it.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        !self.reading.is_finished() && self.writing.write_all(bytes).await.is_ok()
    }

    /// Whether the gateway answers a PING: what was sent before has been looked at.
    async fn is_answered(&mut self) -> bool {
        let before = self.seen.lock().pongs;
        if !self.write(&frame(PING, 0, 0, b"12345678")).await {
            return false;
        }
        eventually("it answers or leaves", async || self.reading.is_finished() || self.seen.lock().pongs > before)
            .await;
        self.seen.lock().pongs > before
    }
}

/// A route that no backend is needed for, and metrics; `more` is YAML at the top level.
fn config_with_ping(backend: SocketAddr, more: &str) -> String {
    let ping = format!("\nroutes:\n  - {{ name: ping, path: /ping, respond: {{ text: {} }} }}", "pong".repeat(100));
    let more = format!("observability: {{ metrics: {{ public_path: /metrics }} }}\n{more}");
    shop::config(backend, &more).replace("\nroutes:", &ping)
}

/// Whether the gateway has closed one connection for a flood, by this rule.
async fn is_counted(gateway: &Gateway, rule: &str) -> bool {
    let page = gateway.get("/metrics").await;
    page.text().contains(&format!("tidegate_http2_floods_total{{listener=\"main\",rule=\"{rule}\"}} 1\n"))
}

/// Far fewer than the gateway takes in a second, for as long as the client likes.
#[tokio::test]
async fn pings_that_never_end_are_a_flood_however_slow_and_disturb_nobody() {
    const AT_ONCE: usize = 50;
    let gateway = Gateway::start(&config_with_ping(([127, 0, 0, 1], 9).into(), ""));
    let (mut good, mut offender) = (gateway.http2().await, Raw::connect(gateway.address()).await);
    let pings = frame(PING, 0, 0, b"12345678").repeat(AT_ONCE);
    let mut sent = 0;
    while sent < 9_000 && offender.write(&pings).await && offender.is_answered().await {
        sent += AT_ONCE + 1;
        assert_eq!(good.send(&get("/ping")).await.status, 200);
    }
    assert!((1_900..2_500).contains(&sent), "closed after {sent}");
    eventually("it is closed", async || offender.reading.is_finished()).await;
    assert_eq!(offender.seen.lock().go_away, Some(ENHANCE_YOUR_CALM));
    assert!(is_counted(&gateway, "control").await);
    assert_eq!(good.send(&get("/ping")).await.status, 200);
    gateway.stop().await;
}

/// Without the answers it would be one after sixty requests.
#[tokio::test]
async fn frames_that_answers_explain_are_no_flood() {
    let gateway = Gateway::start(&config_with_ping(([127, 0, 0, 1], 9).into(), ""));
    let mut client = Raw::connect(gateway.address()).await;
    let block = raw_h2::get("/ping", "a.test");
    let update = frame(WINDOW_UPDATE, 0, 0, &100_u32.to_be_bytes());
    for number in 0..200 {
        assert!(client.write(&frame(HEADERS, 0x5, number * 2 + 1, &block)).await);
        assert!(client.write(&update.repeat(39)).await);
        assert!(client.is_answered().await, "{number} requests: {:?}", client.seen.lock().go_away);
    }
    let ended = |seen: &Read| (seen.ended_streams, seen.go_away);
    assert_eq!(ended(&client.seen.lock()), (200, None));
    gateway.stop().await;
}

/// Asks on [`STREAMS`] streams, waits until the backend has got that, and resets them; again and again. After how many
/// rounds the gateway had closed the connection.
async fn ask_and_leave(raw: &mut Raw, rounds: u32, seen: &Mutex<Seen>) -> Option<u32> {
    let block = get_order("a.test");
    for round in 0..rounds {
        let numbers = (round * STREAMS..(round + 1) * STREAMS).map(|number| number * 2 + 1);
        let wanted = seen.lock().heads + STREAMS;
        let asking: Vec<u8> = numbers.clone().flat_map(|number| frame(HEADERS, 0x5, number, &block)).collect();
        let leaving: Vec<u8> = numbers.flat_map(|number| frame(RST_STREAM, 0, number, &8_u32.to_be_bytes())).collect();
        if !raw.write(&asking).await {
            return Some(round);
        }
        let arrived = async || raw.reading.is_finished() || seen.lock().heads >= wanted;
        eventually("all are asked, or it is closed", arrived).await;
        if !raw.write(&leaving).await || !raw.is_answered().await {
            return Some(round);
        }
    }
    None
}

#[tokio::test]
async fn who_waits_to_be_heard_and_then_leaves_is_a_flood_and_disturbs_nobody() {
    let (backend, seen) = counting_backend().await;
    let gateway = Gateway::start(&config_with_ping(backend, "runtime: { workers: 1 }"));
    let (mut good, mut offender) = (gateway.http2().await, Raw::connect(gateway.address()).await);
    let leaving = ask_and_leave(&mut offender, 20, &seen);
    let asking = async {
        for _ in 0..100 {
            assert_eq!(good.send(&get("/ping")).await.status, 200);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (closed, ()) = tokio::join!(leaving, asking);
    assert!(closed.is_some(), "it went on");
    eventually("it is closed", async || offender.reading.is_finished()).await;
    assert_eq!(offender.seen.lock().go_away, Some(ENHANCE_YOUR_CALM));
    assert!(is_counted(&gateway, "resets").await);
    assert_eq!(good.send(&get("/ping")).await.status, 200);
    gateway.stop().await;
}

/// It stands for many clients, and what one of them does must not cost the others their answers.
#[tokio::test]
async fn a_trusted_proxy_may_leave_as_its_clients_do() {
    let (backend, seen) = counting_backend().await;
    let proxies = "client_ip: { trusted_proxies: [127.0.0.1] }\nruntime: { workers: 1 }";
    let gateway = Gateway::start(&config_with_ping(backend, proxies));
    let mut proxy = Raw::connect(gateway.address()).await;
    assert_eq!(ask_and_leave(&mut proxy, 4, &seen).await, None);
    assert!(proxy.is_answered().await);
    gateway.stop().await;
}
