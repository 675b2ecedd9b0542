//! Floods of HTTP/2 frames, written by hand, beside good clients that must not notice them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_testkit::client::raw_h2::{PREFACE, frame, get, get_order};
use tidegate_testkit::{Peer, Program, Script, shop};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
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
/// The same where as many requests run as there are streams: that is what they take, and no flood. A thousand that hang, of
/// clients that reset nothing, were measured with 18,300 KiB at most.
const GROWTH_OF_REQUESTS_KIB: u64 = 20_000;
/// Calls of the good clients that the backend may have at once.
const GOOD_AT_ONCE: usize = 100;
/// On a machine with nothing else to do it is a part of a second.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
/// An offender whose connection is open for so long does not wait for its end.
const GIVEN_UP: Duration = Duration::from_secs(90);
/// Streams that one connection may have open.
const STREAMS: usize = 100;

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

/// `GET` of a route whose backend does not answer.
fn get_parts() -> Vec<u8> {
    get("/v1/orders/7/parts", AUTHORITY)
}

/// What an offender sends: once, and then for each number.
struct Flood {
    name: &'static str,
    first: fn() -> Vec<u8>,
    then: fn(u32) -> Vec<u8>,
    frames_each: u32,
    /// Between two numbers; none writes as fast as it goes.
    pause: Duration,
    /// With so many frames a bound is passed.
    enough: u32,
    /// How long the gateway waits after that, on purpose.
    patience: Duration,
    /// By how much it may grow.
    growth_kib: u64,
    reads: bool,
}

const FLOOD: Flood = Flood {
    name: "",
    first: Vec::new,
    then: |_| Vec::new(),
    frames_each: 1,
    pause: Duration::ZERO,
    enough: 1,
    patience: Duration::ZERO,
    growth_kib: GROWTH_KIB,
    reads: true,
};

fn odd(number: u32) -> u32 {
    number * 2 + 1
}

/// `one` of each of the `count` streams of a number.
fn each(number: u32, count: u32, one: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (number * count..(number + 1) * count).flat_map(|stream| one(odd(stream))).collect()
}

const FLOODS: &[Flood] = &[
    Flood {
        name: "rapid reset",
        then: |number| {
            let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &get_order(AUTHORITY));
            bytes.extend(frame(RST_STREAM, 0, odd(number), &8_u32.to_be_bytes()));
            bytes
        },
        frames_each: 2,
        ..FLOOD
    },
    Flood {
        name: "reset when heard",
        // Fifty requests, and then their resets.
        then: |number| match number % 2 {
            0 => each(number / 2, 50, |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get_parts())),
            _ => each(number / 2, 50, |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())),
        },
        frames_each: 50,
        pause: Duration::from_millis(50),
        enough: 200,
        growth_kib: GROWTH_OF_REQUESTS_KIB,
        ..FLOOD
    },
    Flood {
        name: "made you reset",
        then: |number| {
            let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &get_order(AUTHORITY));
            bytes.extend(frame(WINDOW_UPDATE, 0, odd(number), &[0; 4]));
            bytes
        },
        frames_each: 2,
        ..FLOOD
    },
    Flood {
        name: "streams above the limit",
        then: |number| frame(HEADERS, END_HEADERS, odd(number), &get_order(AUTHORITY)),
        ..FLOOD
    },
    Flood {
        name: "continuation",
        first: || frame(HEADERS, 0, 1, &get_order(AUTHORITY)),
        then: |_| frame(CONTINUATION, 0, 1, b"\x00\x01y\x01z"),
        ..FLOOD
    },
    Flood {
        name: "HPACK bomb",
        then: |number| frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &bomb()),
        ..FLOOD
    },
    Flood {
        name: "empty data",
        first: || frame(HEADERS, END_HEADERS, 1, &get_order(AUTHORITY)),
        then: |_| frame(DATA, 0, 1, b""),
        ..FLOOD
    },
    Flood { name: "ping", then: |_| frame(PING, 0, 0, b"12345678"), ..FLOOD },
    Flood {
        name: "slow ping",
        then: |_| frame(PING, 0, 0, b"12345678").repeat(50),
        frames_each: 50,
        pause: Duration::from_millis(100),
        enough: 2_000,
        ..FLOOD
    },
    Flood { name: "settings", then: |_| frame(SETTINGS, 0, 0, b""), ..FLOOD },
    Flood { name: "priority", then: |number| frame(PRIORITY, 0, odd(number), &[0, 0, 0, 0, 1]), ..FLOOD },
    Flood { name: "window update", then: |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()), ..FLOOD },
    Flood {
        name: "never reading",
        then: |number| frame(HEADERS, END_HEADERS | END_STREAM, odd(number), &get_order(AUTHORITY)),
        // `timeouts.write`, from when nothing fits any more.
        patience: Duration::from_secs(35),
        reads: false,
        ..FLOOD
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

/// How far an offender has got.
struct Progress {
    /// Frames that went out.
    sent: u32,
    /// When the frame that passes a bound was about to go out.
    passed: Instant,
}

async fn write(writing: &mut OwnedWriteHalf, flood: &Flood, frames: u32, progress: &Mutex<Progress>) {
    let mut batch = PREFACE.to_vec();
    batch.extend(frame(SETTINGS, 0, 0, b""));
    batch.extend((flood.first)());
    let each = flood.frames_each;
    for (number, sent) in (0..frames / each).map(|number| (number, (number + 1) * each)) {
        batch.extend((flood.then)(number));
        if (flood.enough..flood.enough + each).contains(&sent) {
            progress.lock().passed = Instant::now();
        }
        if batch.len() > 8_192 || frames - sent < each || !flood.pause.is_zero() {
            if writing.write_all(&batch).await.is_err() {
                return;
            }
            batch.clear();
            progress.lock().sent = sent;
        }
        if !flood.pause.is_zero() {
            tokio::time::sleep(flood.pause).await;
        }
    }
}

/// Sends the flood and says how many frames went out, and how long after the bound was passed the gateway had closed the
/// connection.
async fn offend(
    address: SocketAddr,
    flood: &'static Flood,
    frames: u32,
    (vitals, descriptors): (Vitals, usize),
) -> (u32, Option<Duration>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let progress = Mutex::new(Progress { sent: 0, passed: Instant::now() });
    let sending = async {
        write(&mut writing, flood, frames, &progress).await;
        std::future::pending::<()>().await;
    };
    let closed = async {
        if flood.reads {
            let mut buffer = vec![0; 16_384];
            while matches!(reading.read(&mut buffer).await, Ok(read) if read > 0) {}
        } else {
            closed_unread(vitals, descriptors).await;
        }
    };
    let closed = tokio::select! {
        () = closed => true,
        () = sending => false,
        () = tokio::time::sleep(GIVEN_UP) => false,
    };
    let Progress { sent, passed } = progress.into_inner();
    (sent, closed.then(|| passed.elapsed()))
}

/// What the offenders of one flood have come to.
struct Figures {
    sent: u32,
    longest: Duration,
    open: usize,
    grown_kib: u64,
    calls: usize,
    at_once: usize,
}

impl Figures {
    /// Lets them begin, and waits until each has come to its end.
    async fn of(flood: &'static Flood, frames: u32, gateway: (SocketAddr, Vitals), peer: &Peer, load: &Load) -> Self {
        let (address, vitals) = gateway;
        let (before, open_before, calls) = (vitals.resident_kib(), vitals.descriptors(), peer.calls());
        let mut offenders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            offenders.spawn(offend(address, flood, frames, (vitals, open_before)));
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
        let (calls, at_once) = (peer.calls() - calls, peer.most_at_once());
        // What was given up may run on at the backend for two seconds (`upstream/resets.rs`): the next flood is not to have it.
        while peer.most_at_once() > GOOD_AT_ONCE {
            load.run_for(Duration::from_millis(100)).await;
        }
        Self { sent, longest, open, grown_kib: most.saturating_sub(before), calls, at_once }
    }

    fn are_good(&self, flood: &Flood) -> bool {
        self.open == 0
            && self.longest <= flood.patience + CLOSED_WITHIN
            && self.grown_kib <= flood.growth_kib
            && self.at_once <= CONNECTIONS * STREAMS + GOOD_AT_ONCE
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, longest, open, grown_kib, calls, at_once } = self;
        let seconds = longest.as_secs_f64();
        write!(f, "{sent} frames went out, closed {seconds:.2} s after a bound was passed, {open} stayed open, ")?;
        write!(f, "memory + {grown_kib} KiB, {calls} calls at the backend, {at_once} at once")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn floods_of_frames() {
    let frames = u32::try_from(scaled(FRAMES as usize, 20_000)).unwrap();
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("DownloadParts", Script::new());
    let mut program = Program::run(BINARY, &shop::config(peer.address(), ""));
    let address = program.listener("main").await;
    let vitals = Vitals(program.id());
    let load = Load::start(address, RATE, LANES, vec![Ask::exactly("/v1/orders/7", shop::ORDER_JSON)]);
    load.run_for(Duration::from_secs(3)).await;
    let (mut lines, mut faults) = (String::new(), String::new());
    for flood in FLOODS {
        let figures = Figures::of(flood, frames, (address, vitals), &peer, &load).await;
        write!(lines, "\n  {}: {figures}", flood.name).unwrap();
        if !figures.are_good(flood) {
            write!(faults, "\n  {}: {figures}", flood.name).unwrap();
        }
    }
    let tally = load.stop().await;
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    println!("floods_of_frames: {CONNECTIONS} connections x {frames} frames each; beside them {tally}{lines}");
    tally.assert_good();
    assert!(faults.is_empty(), "{faults}");
}
