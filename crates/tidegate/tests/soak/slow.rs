//! Thousands of clients that take their time, beside good ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_testkit::{Peer, Program, Script, shop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::BINARY;
use crate::floods::closed_unread;
use crate::load::{Ask, Lanes, Load};
use crate::scale::scaled;
use crate::vitals::Vitals;

const RATE: u32 = 500;
const LANES: Lanes = Lanes { http1: 12, http2: 4, fresh: 4 };
const CLIENTS: usize = 10_000;
/// Of one client, in the memory of the gateway.
const EACH_BYTES: u64 = 20_000;
/// By how much a client may outlive its deadline: ten thousand connect one after the other, and those that read nothing know
/// only when the last of them is gone.
const MARGIN: Duration = Duration::from_secs(15);
/// So many connect at once.
const WAVE: usize = 100;

/// Ways to be slow, and the seconds after which the gateway closes: `timeouts.head` in total, `body_grace`, `write`.
const KINDS: [(&str, u64); 5] =
    [("silent", 10), ("half a head", 10), ("half a body", 5), ("a byte now and then", 10), ("not reading", 30)];

/// Is slow in its way until the gateway closes the connection; after how long, if it does.
async fn client(address: SocketAddr, kind: usize, from: [u8; 4], gone: Arc<AtomicBool>) -> Option<Duration> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let (name, deadline) = KINDS[kind];
    if name == "not reading" {
        socket.set_recv_buffer_size(4_096).unwrap();
    }
    let stream = socket.connect(address).await.unwrap();
    let begun = Instant::now();
    timeout(Duration::from_secs(deadline) + MARGIN, dawdle(stream, name, &gone)).await.ok().map(|()| begun.elapsed())
}

async fn dawdle(mut stream: TcpStream, kind: &str, gone: &AtomicBool) {
    let begin: &[u8] = match kind {
        "half a head" => b"GET /v1/orders/7 HTTP/1.1\r\nhost: soak.te",
        "half a body" => b"POST /v1/orders HTTP/1.1\r\nhost: soak.test\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
        "a byte now and then" => b"GET ",
        "not reading" => &b"GET /large HTTP/1.1\r\nhost: soak.test\r\n\r\n".repeat(16),
        _ => b"",
    };
    if stream.write_all(begin).await.is_err() {
        return;
    }
    match kind {
        "not reading" => {
            while !gone.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(100)).await;
            }
        }
        "a byte now and then" => {
            let (mut reading, mut writing) = stream.into_split();
            let mut text = Vec::new();
            loop {
                match timeout(Duration::from_secs(3), reading.read_buf(&mut text)).await {
                    Err(_) if writing.write_all(b"/").await.is_ok() => {}
                    Ok(Ok(read)) if read > 0 => {}
                    _ => return,
                }
            }
        }
        // What the gateway says before it closes, and its close.
        _ => while matches!(stream.read(&mut [0; 512]).await, Ok(read) if read > 0) {},
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn ten_thousand_slow_clients() {
    let count = scaled(CLIENTS, 500);
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let large =
        format!("\nroutes:\n  - {{ name: large, path: /large, respond: {{ text: \"{}\" }} }}", "x".repeat(60_000));
    let yaml = shop::config(peer.address(), "").replace("\nroutes:", &large);
    let mut program = Program::run(BINARY, &yaml);
    let address = program.listener("main").await;
    let vitals = Vitals(program.id());
    let load = Load::start(address, RATE, LANES, vec![Ask::exactly("/v1/orders/7", shop::ORDER_JSON)]);
    load.run_for(Duration::from_secs(3)).await;
    let (before, open_before) = (vitals.resident_kib(), vitals.descriptors());
    let (mut clients, gone) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for index in 0..count {
        let (kind, from) = (index % KINDS.len(), [127, 0, 0, if index < count / 2 { 2 } else { 3 }]);
        let gone = Arc::clone(&gone);
        clients.spawn(async move { (kind, client(address, kind, from, gone).await) });
        if index % WAVE == WAVE - 1 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    load.run_for(Duration::from_secs(2)).await;
    let (most, descriptors) = (vitals.resident_kib(), vitals.descriptors());
    tokio::spawn(async move {
        closed_unread(vitals, open_before).await;
        gone.store(true, Ordering::SeqCst);
    });
    let (mut longest, mut open) = ([Duration::ZERO; KINDS.len()], [0; KINDS.len()]);
    while let Some(ended) = clients.join_next().await {
        let (kind, closed) = ended.unwrap();
        open[kind] += usize::from(closed.is_none());
        longest[kind] = longest[kind].max(closed.unwrap_or_default());
        load.assert_good();
    }
    load.answered(100).await;
    let tally = load.stop().await;
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    let each = most.saturating_sub(before) * 1024 / count as u64;
    let words: Vec<_> =
        KINDS.iter().zip(longest).map(|((kind, _), time)| format!("{kind} {:.1} s", time.as_secs_f64())).collect();
    println!(
        "ten_thousand_slow_clients: {count} of five kinds, {descriptors} descriptors open, {each} bytes each; the last of each \
         kind was closed after: {}; beside them {tally}",
        words.join(", ")
    );
    tally.assert_good();
    assert_eq!(open, [0; KINDS.len()], "{KINDS:?} stayed open");
    assert!(each <= EACH_BYTES || count < CLIENTS, "{each} bytes each");
}
