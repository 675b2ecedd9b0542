//! Faults of the machine, under clients that must not notice them. Each comes, lasts, and goes; afterwards everything
//! must be as before.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_testkit::client::Http1;
use tidegate_testkit::collector::Collector;
use tidegate_testkit::{Peer, Program, Script, eventually, get, shop, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::BINARY;
use crate::load::{Ask, Lanes, Load, Tally};
use crate::scale::{free_address, scaled};
use crate::streams::Streams;
use crate::vitals::Vitals;

const RATE: u32 = 500;
const LANES: Lanes = Lanes { http1: 12, http2: 4, fresh: 4 };

/// A path that makes long lines of the access log: what a pipe and the buffers hold is full within seconds.
const LONG: &str = const_str();

const fn const_str() -> &'static str {
    const TEXT: [u8; 2_000] = {
        let mut text = [b'x'; 2_000];
        let (head, mut index) = (b"/ping/", 0);
        while index < head.len() {
            text[index] = head[index];
            index += 1;
        }
        text
    };
    match std::str::from_utf8(&TEXT) {
        Ok(text) => text,
        Err(_) => panic!("it is ASCII"),
    }
}

const DROPPED: &str = "tidegate_logs_dropped_total";

/// How long a fault lasts.
fn while_it_lasts() -> Duration {
    Duration::from_secs(scaled(20, 5) as u64)
}

async fn peer() -> Peer {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("WatchOrders", Script::new().every(Duration::from_secs(1), shop::event(1)));
    peer
}

/// In front of `peer`, with access lines to `output`.
fn config(peer: &Peer, output: &str, more: &str) -> String {
    let ping = "\nroutes:\n  - { name: ping, path: \"/ping/{rest=**}\", respond: { text: pong } }";
    let access = format!("{{ public_path: /metrics }}, logs: {{ access: {{ output: {output} }} }}");
    shop::config(peer.address(), &format!("observability: {{ metrics: {access} }}\n{more}")).replace("\nroutes:", ping)
}

/// A number of the page of metrics.
async fn metric(address: SocketAddr, name: &str) -> usize {
    let page = Http1::connect(address).await.send(&get("/metrics")).await;
    let line = page.text().lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn orders() -> Vec<Ask> {
    vec![Ask::exactly("/v1/orders/7", shop::ORDER_JSON)]
}

fn orders_and_long_lines() -> Vec<Ask> {
    vec![Ask::exactly("/v1/orders/7", shop::ORDER_JSON), Ask::exactly(LONG, "pong")]
}

async fn end_of(mut program: Program, load: Load) -> (Tally, String) {
    let tally = load.stop().await;
    tally.assert_good();
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    (tally, program.log())
}

/// The sum of `lines` in the log's messages about lost lines.
fn lost(log: &str) -> usize {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["lines"].as_u64()).sum::<u64>().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn standard_output_is_blocked() {
    let peer = peer().await;
    let mut program = Program::run_changed(BINARY, &config(&peer, "stdout", ""), |command| {
        command.stdout(Stdio::piped());
    });
    let mut stdout = program.stdout().unwrap();
    let address = program.listener("main").await;
    let load = Load::start(address, RATE, LANES, orders_and_long_lines());
    load.run_for(while_it_lasts()).await;
    let mut looks = 1;
    while metric(address, DROPPED).await == 0 {
        load.run_for(Duration::from_secs(1)).await;
        looks += 1;
    }
    let reading = tokio::spawn(async move {
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        text
    });
    // It is told when it is over.
    program.logged("lines of a log were lost").await;
    load.run_for(Duration::from_secs(3)).await;
    let (tally, log) = end_of(program, load).await;
    let text = reading.await.unwrap();
    let written = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    let lost = lost(&log);
    println!("standard_output_is_blocked: {tally}; {written} lines written, {lost} counted as lost");
    assert_eq!(written + lost, tally.answered() + looks, "every line is written or counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn standard_error_is_blocked() {
    let peer = peer().await;
    let address = free_address();
    let listeners = format!("listeners: [{{ name: main, address: \"{address}\" }}]");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let program = Program::run_changed(BINARY, &config(&peer, "stderr", &listeners), |command| {
        command.stderr(writer).env("TIDEGATE_LOG", "debug");
    });
    eventually("it listens", || async { std::net::TcpStream::connect(address).is_ok() }).await;
    let load = Load::start(address, RATE, LANES, orders_and_long_lines());
    load.run_for(while_it_lasts()).await;
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    load.run_for(Duration::from_secs(3)).await;
    let (tally, _) = end_of(program, load).await;
    let text = reading.await.unwrap();
    let written = text.lines().filter(|line| line.contains("\"request_id\"")).count();
    let lost = lost(&text);
    println!("standard_error_is_blocked: {tally}; {written} lines of access written, {lost} lines counted as lost");
    assert!(lost > 0, "the pipe was not full");
    assert!(text.contains("\"stopped\""), "the last word is there");
}

/// A disk of 256 KiB, for which the program gets a mount namespace of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn the_disk_is_full() {
    let peer = peer().await;
    let script = "mkdir full && exec unshare --user --map-root-user --mount /bin/sh -c \
                  'mount -t tmpfs -o size=256k none full && exec \"$0\" run -c tidegate.yaml' \"$0\"";
    let mut program = Program::run_by_shell(BINARY, &config(&peer, "full/access.log", ""), script, Stdio::null());
    let load = Load::start(program.listener("main").await, RATE, LANES, orders());
    // As the program sees it.
    let folder = program.folder().strip_prefix("/").unwrap().to_owned();
    let log = PathBuf::from(format!("/proc/{}/root", program.id())).join(folder).join("full/access.log");
    program.logged("a log cannot be written").await;
    load.run_for(while_it_lasts()).await;
    assert!(std::fs::metadata(&log).unwrap().len() > 100_000, "the file is there");
    std::fs::File::create(&log).unwrap();
    eventually("lines are written again", || async { !lines(&log).is_empty() }).await;
    load.run_for(Duration::from_millis(200)).await;
    let after = lines(&log).len();
    let (tally, log) = end_of(program, load).await;
    println!("the_disk_is_full: {tally}; {} lines counted as lost, {after} written once there was room", lost(&log));
}

/// Every line of a file but the last, which may be about to be written.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Clients of three listeners want more descriptors than there are. Those who are too many are answered with 503; who is
/// there already, backends and the files of the configuration are not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn clients_want_more_descriptors_than_there_are() {
    const DESCRIPTORS: usize = 512;
    const WAVE: usize = 300;
    let peer = peer().await;
    let names = ["main", "second", "third"];
    let listeners = names.map(|name| format!("{{ name: {name}, address: \"127.0.0.1:0\" }}")).join(", ");
    let yaml = config(&peer, "access.log", &format!("listeners: [{listeners}]"));
    let script = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" run -c tidegate.yaml");
    let mut program = Program::run_by_shell(BINARY, &yaml, &script, Stdio::null());
    let mut addresses = Vec::new();
    for name in names {
        addresses.push(program.listener(name).await);
    }
    let address = addresses[0];
    let load = Load::start(address, RATE, Lanes { fresh: 0, ..LANES }, orders());
    let streams = Streams::open(address, "/v1/topics/a", 10).await;
    load.answered(200).await;
    let (mut flood, mut most) = (Vec::new(), 0);
    let end = Instant::now() + while_it_lasts();
    while Instant::now() < end {
        // Again and again, because clients that never ask are sent away after a while.
        for _wave in 0..10 {
            for address in addresses[1..].iter().cycle().take(WAVE) {
                flood.push(soon(TcpStream::connect(*address)).await.unwrap());
            }
            if is_refused(addresses[1]).await {
                break;
            }
        }
        assert!(is_refused(addresses[1]).await, "there is always room for one more");
        load.run_for(Duration::from_secs(2)).await;
        most = most.max(Vitals(program.id()).descriptors());
    }
    let file = program.folder().join("tidegate.yaml");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("pong", "ping")).unwrap();
    program.logged("\"reloaded\"").await;
    streams.all_receive().await;
    drop(flood);
    let recovered = recover(&load, &addresses).await;
    streams.assert_open();
    drop(streams);
    let (tally, log) = end_of(program, load).await;
    println!(
        "clients_want_more_descriptors_than_there_are: {tally}; {most} of {DESCRIPTORS} descriptors in use, new \
         connections {recovered:.2} s after that"
    );
    assert!((200..DESCRIPTORS - 100).contains(&most), "{most} descriptors were in use");
    assert!(!log.contains("cannot accept connections"), "{log}");
}

/// Nothing can be opened at all: no connection, no file. Clients wait in the queue of the kernel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn descriptors_run_out() {
    let peer = peer().await;
    let mut program = Program::run(BINARY, &config(&peer, "access.log", ""));
    let address = program.listener("main").await;
    let load = Load::start(address, RATE, Lanes { fresh: 0, ..LANES }, orders());
    let streams = Streams::open(address, "/v1/topics/a", 10).await;
    load.answered(200).await;
    let vitals = Vitals(program.id());
    let before = vitals.limit_descriptors(vitals.next_descriptor());
    let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(answers(address))).collect();
    program.logged("cannot accept connections").await;
    let file = program.folder().join("tidegate.yaml");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("pong", "ping")).unwrap();
    program.hang_up();
    load.run_for(while_it_lasts()).await;
    streams.all_receive().await;
    assert!(waiting.iter().all(|client| !client.is_finished()), "they wait");
    vitals.limit_descriptors(before);
    let recovered = recover(&load, &[address]).await;
    for client in waiting {
        assert!(client.await.unwrap(), "a client that waited is answered");
    }
    program.logged("\"reloaded\"").await;
    streams.assert_open();
    drop(streams);
    let (tally, _) = end_of(program, load).await;
    println!("descriptors_run_out: {tally}; 50 clients that waited and new ones answered {recovered:.2} s after that");
}

/// Waits for new connections at each address, which must be served within 5 s. Says after how many seconds.
async fn recover(load: &Load, addresses: &[SocketAddr]) -> f64 {
    let went = Instant::now();
    for address in addresses {
        while !answers(*address).await {
            assert!(went.elapsed() < Duration::from_secs(5), "{:?}", went.elapsed());
            load.run_for(Duration::from_millis(10)).await;
        }
    }
    let recovered = went.elapsed();
    assert!(recovered < Duration::from_secs(5), "{recovered:?}");
    let fresh = Load::start(addresses[0], 100, Lanes { http1: 0, http2: 0, fresh: 4 }, orders());
    fresh.answered(200).await;
    fresh.stop().await.assert_good();
    recovered.as_secs_f64()
}

/// Whether a new connection is turned away as one too many.
async fn is_refused(address: SocketAddr) -> bool {
    let answer = Http1::connect(address).await.send(&get("/v1/orders/7")).await;
    answer.status == 503 && answer.reason() == "overloaded"
}

/// Whether a new connection is served, however long that takes.
async fn answers(address: SocketAddr) -> bool {
    let connected = TcpStream::connect(address).await;
    let Ok(mut stream) = connected else { return false };
    let asked = stream.write_all(b"GET /v1/orders/7 HTTP/1.1\r\nhost: soak.test\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200")
}

const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// The wall clock alone, as when somebody sets it: the monotonic one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn the_clock_is_moved_by_an_hour() {
    let library = FAKETIME.iter().find(|path| Path::new(path).exists()).expect("Debian's package libfaketime");
    let peer = peer().await;
    let clock = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(clock.path(), "+0\n").unwrap();
    let mut program = Program::run_changed(BINARY, &config(&peer, "access.log", ""), |command| {
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock.path());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    });
    let address = program.listener("main").await;
    let log = program.folder().join("access.log");
    let load = Load::start(address, RATE, LANES, orders());
    let streams = Streams::open(address, "/v1/topics/a", 20).await;
    load.answered(500).await;
    let mut seen = Vec::new();
    for shift in ["+3600", "-3600", "+0"] {
        std::fs::write(clock.path(), format!("{shift}\n")).unwrap();
        load.run_for(while_it_lasts() / 2).await;
        streams.all_receive().await;
        for path in ["/health/liveness", "/health/readiness"] {
            assert_eq!(Http1::connect(address).await.send(&get(path)).await.status, 200, "{path} at {shift}");
        }
        let last = lines(&log).pop().unwrap();
        seen.push(last["ts"].as_str().unwrap().to_owned());
        assert!(last["duration_ms"].as_f64().unwrap() < 60_000.0, "{last}");
    }
    streams.assert_open();
    drop(streams);
    let (tally, _) = end_of(program, load).await;
    println!("the_clock_is_moved_by_an_hour: {tally}; the log's clock said {}", seen.join(", "));
    assert!(seen[0] > seen[2] && seen[2] > seen[1], "the clock was not moved");
}

/// First nobody listens, then somebody takes connections and says nothing, then there is a collector again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn the_collector_of_traces_is_down() {
    for scheme in ["grpc", "http"] {
        let peer = peer().await;
        let collector = free_address();
        let tracing = format!("tracing: {{ otlp: \"{scheme}://{collector}\", sample_ratio: 1.0 }}, metrics:");
        let mut program = Program::run(BINARY, &config(&peer, "/dev/null", "").replace("metrics:", &tracing));
        let address = program.listener("main").await;
        let vitals = Vitals(program.id());
        let load = Load::start(address, RATE, LANES, orders());
        load.run_for(while_it_lasts() / 2).await;
        let memory = vitals.resident_kib();
        load.run_for(while_it_lasts() / 2).await;
        let silent = TcpListener::bind(collector).await.unwrap();
        let keeping = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = silent.accept().await {
                kept.push(stream);
            }
        });
        load.run_for(while_it_lasts() / 2).await;
        let grown = vitals.resident_kib();
        keeping.abort();
        assert!(keeping.await.is_err_and(|error| error.is_cancelled()), "the silent collector is gone");
        let dropped = metric(address, "tidegate_spans_dropped_total").await;
        let back = Instant::now();
        let mut collector = match scheme {
            "grpc" => Collector::grpc_at(collector).await,
            _ => Collector::http_at(collector).await,
        };
        while collector.waiting() == 0 {
            load.run_for(Duration::from_millis(50)).await;
            assert!(back.elapsed() < Duration::from_secs(60), "no spans come");
        }
        let recovered = back.elapsed().as_secs_f64();
        let (tally, _) = end_of(program, load).await;
        assert!(!collector.export().await.resource_spans.is_empty());
        println!(
            "the_collector_of_traces_is_down ({scheme}): {tally}; {dropped} spans dropped, {memory} and then {grown} \
             KiB, spans arrive {recovered:.1} s after the collector is back"
        );
        assert!(dropped > 0, "nothing was dropped");
    }
}
