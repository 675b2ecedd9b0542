//! Floods of HTTP/2 frames, written by hand, beside good clients that must not notice them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_testkit::client::raw_h2::{PREFACE, frame, get_order};
use tidegate_testkit::{Peer, Program, Script, shop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::BINARY;
use crate::load::{Ask, Lanes, Load};
use crate::scale::scaled;
use crate::vitals::Vitals;

const RATE: u32 = 500;
const LANES: Lanes = Lanes { http1: 12, http2: 4, fresh: 4 };
const CONNECTIONS: usize = 10;
const FRAMES: u32 = 100_000;
/// By how much the gateway may grow.
const GROWTH_KIB: u64 = 10_000;
/// A client that takes no answers has 30 s for it.
const CLOSED_WITHIN: Duration = Duration::from_secs(45);

const AUTHORITY: &str = "soak.test";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A field of 3,900 bytes into the table, and then 4,000 times that.
fn bomb() -> Vec<u8> {
    let mut block = get_order(AUTHORITY);
    // The length 3,900 in HPACK's integers: 127, and then the rest in groups of seven bits.
    block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xbd, 0x1d]);
    block.extend_from_slice(&[b'x'; 3_900]);
    block.extend_from_slice(&[0xbe; 4_000]);
    block
}

/// What an offender sends: once, and then for each number.
struct Flood {
    name: &'static str,
    first: fn() -> Vec<u8>,
    then: fn(u32) -> Vec<u8>,
    frames_each: u32,
    reads: bool,
}

const NOTHING: fn() -> Vec<u8> = Vec::new;

fn odd(number: u32) -> u32 {
    number * 2 + 1
}

const FLOODS: &[Flood] = &[
    Flood {
        name: "rapid reset",
        first: NOTHING,
        then: |number| {
            let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &get_order(AUTHORITY));
            bytes.extend(frame(RST_STREAM, 0, odd(number), &8_u32.to_be_bytes()));
            bytes
        },
        frames_each: 2,
        reads: true,
    },
    Flood {
        name: "made you reset",
        first: NOTHING,
        then: |number| {
            let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &get_order(AUTHORITY));
            bytes.extend(frame(WINDOW_UPDATE, 0, odd(number), &[0; 4]));
            bytes
        },
        frames_each: 2,
        reads: true,
    },
    Flood {
        name: "streams above the limit",
        first: NOTHING,
        then: |number| frame(HEADERS, END_HEADERS, odd(number), &get_order(AUTHORITY)),
        frames_each: 1,
        reads: true,
    },
    Flood {
        name: "continuation",
        first: || frame(HEADERS, 0, 1, &get_order(AUTHORITY)),
        then: |_| frame(CONTINUATION, 0, 1, b"\x00\x01y\x01z"),
        frames_each: 1,
        reads: true,
    },
    Flood {
        name: "HPACK bomb",
        first: NOTHING,
        then: |number| frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &bomb()),
        frames_each: 1,
        reads: true,
    },
    Flood {
        name: "empty data",
        first: || frame(HEADERS, END_HEADERS, 1, &get_order(AUTHORITY)),
        then: |_| frame(DATA, 0, 1, b""),
        frames_each: 1,
        reads: true,
    },
    Flood { name: "ping", first: NOTHING, then: |_| frame(PING, 0, 0, b"12345678"), frames_each: 1, reads: true },
    Flood { name: "settings", first: NOTHING, then: |_| frame(SETTINGS, 0, 0, b""), frames_each: 1, reads: true },
    Flood {
        name: "priority",
        first: NOTHING,
        then: |number| frame(PRIORITY, 0, odd(number), &[0, 0, 0, 0, 1]),
        frames_each: 1,
        reads: true,
    },
    Flood {
        name: "window update",
        first: NOTHING,
        then: |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        frames_each: 1,
        reads: true,
    },
    Flood {
        name: "never reading",
        first: NOTHING,
        then: |number| frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &get_order(AUTHORITY)),
        frames_each: 1,
        reads: false,
    },
];

/// What the gateway had open beside the clients in question, and a few that come and go.
const OTHERS: usize = 5;

/// Waits until the gateway has closed what it did not have `before`. A client that takes no byte cannot see it: the close
/// waits behind bytes for which it has no room.
pub(crate) async fn closed_unread(vitals: Vitals, before: usize) {
    while vitals.descriptors() > before + OTHERS {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends the flood and says how many frames went out, and after what time the gateway had closed the connection.
async fn offend(
    address: SocketAddr,
    flood: &'static Flood,
    frames: u32,
    (vitals, descriptors): (Vitals, usize),
) -> (u32, Option<Duration>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        let mut batch = PREFACE.to_vec();
        batch.extend(frame(SETTINGS, 0, 0, b""));
        batch.extend((flood.first)());
        let mut sent = 0;
        for number in 0..frames / flood.frames_each {
            batch.extend((flood.then)(number));
            if batch.len() > 8_192 {
                if writing.write_all(&batch).await.is_err() {
                    return (sent, None);
                }
                batch.clear();
            }
            sent += flood.frames_each;
        }
        let last = writing.write_all(&batch).await;
        (sent, last.ok().map(|()| writing))
    });
    let closed = if flood.reads {
        let mut buffer = vec![0; 16_384];
        let end = tokio::time::timeout(CLOSED_WITHIN, async {
            while matches!(reading.read(&mut buffer).await, Ok(read) if read > 0) {}
        });
        end.await.is_ok().then(|| begun.elapsed())
    } else {
        let end = tokio::time::timeout(CLOSED_WITHIN, closed_unread(vitals, descriptors));
        end.await.is_ok().then(|| begun.elapsed())
    };
    if closed.is_none() {
        sending.abort();
    }
    let sent = sending.await.map_or(frames, |(sent, _open)| sent);
    (sent, closed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn floods_of_frames() {
    let frames = u32::try_from(scaled(FRAMES as usize, 20_000)).unwrap();
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let mut program = Program::run(BINARY, &shop::config(peer.address(), ""));
    let address = program.listener("main").await;
    let vitals = Vitals(program.id());
    let load = Load::start(address, RATE, LANES, vec![Ask::exactly("/v1/orders/7", shop::ORDER_JSON)]);
    load.run_for(Duration::from_secs(3)).await;
    let (mut lines, mut faults) = (String::new(), String::new());
    for flood in FLOODS {
        let (before, open_before) = (vitals.resident_kib(), (vitals, vitals.descriptors()));
        let mut offenders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            offenders.spawn(offend(address, flood, frames, open_before));
        }
        let (mut sent, mut longest, mut open, mut most) = (0, Duration::ZERO, 0, before);
        while !offenders.is_empty() {
            while let Some(ended) = offenders.try_join_next() {
                let (frames, closed) = ended.unwrap();
                sent += frames;
                open += usize::from(closed.is_none());
                longest = longest.max(closed.unwrap_or_default());
            }
            most = most.max(vitals.resident_kib());
            load.run_for(Duration::from_millis(20)).await;
        }
        load.answered(100).await;
        let (seconds, grown) = (longest.as_secs_f64(), most.saturating_sub(before));
        write!(lines, "\n  {}: {sent} frames went out, closed within {seconds:.2} s, memory + {grown} KiB", flood.name)
            .unwrap();
        if open > 0 || grown > GROWTH_KIB {
            write!(faults, "\n  {}: {open} connections stayed open, memory + {grown} KiB", flood.name).unwrap();
        }
    }
    let tally = load.stop().await;
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    println!("floods_of_frames: {CONNECTIONS} connections x {frames} frames each; beside them {tally}{lines}");
    tally.assert_good();
    assert!(faults.is_empty(), "{faults}");
}
