//! The engine under load, as its clients see it: printed, never asserted but for what must hold at any speed.
//!
//! The engine has a processor and one worker to itself; everything else has another, or what is measured is how the
//! system shares processors.
//!
//! `cargo test --release -p core-engine --test load -- --ignored --nocapture --test-threads 1`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and may fail by panic")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::Request;
use prost::Message;
use protos::core_engine::v1 as pb;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::net::TcpStream;

const SUBSCRIBERS: usize = 1_000;
const PER_CONNECTION: usize = 100;
const SYMBOLS: usize = 100;
/// Of all symbols together, evenly apart: 1,000 subscribers make 50,000 deliveries a second of it.
const TICKS_PER_SECOND: usize = 50;
/// Taken in beside them, from a source of its own that nobody subscribes to.
const UNASKED_PER_SECOND: usize = 100_000;
const UNASKED_SYMBOLS: usize = 200;
const REQUESTS_PER_SECOND: u32 = 5_000;
const ENGINE_CPU: usize = 0;
const LOAD_CPU: usize = 1;
const MEASURED: Duration = Duration::from_secs(20);

struct Engine {
    child: Child,
    address: String,
    /// Of the file that is replayed.
    _folder: tempfile::TempDir,
}

impl Engine {
    /// `unasked`: with a source that nobody asks for beside the one that is streamed.
    fn start(unasked: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut file = String::from("symbol,price,volume,timestamp\n");
        for tick in 0..TICKS_PER_SECOND * 60 {
            let millis = tick * 1_000 / TICKS_PER_SECOND;
            file.push_str(&format!("S{},{}.25,1,{millis}\n", tick % SYMBOLS, 100 + tick % 7));
        }
        std::fs::write(folder.path().join("load.csv"), file).unwrap();
        let mut file = String::from("symbol,price,volume,timestamp\n");
        for tick in 0..UNASKED_PER_SECOND {
            let millis = tick * 1_000 / UNASKED_PER_SECOND;
            file.push_str(&format!("U{},{}.25,1,{millis}\n", tick % UNASKED_SYMBOLS, 100 + tick % 7));
        }
        std::fs::write(folder.path().join("unasked.csv"), file).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_core-engine"))
            .args(["--listen", "127.0.0.1:0", "--replay-directory", folder.path().to_str().unwrap()])
            .args(["--default-source", "load", "--set", "default_source=load", "--set", "sources.load.type=replay"])
            .args(["--set", "sources.load.connect=true", "--set", "sources.load.config.path=load.csv"])
            .args(["--set", "sources.load.config.repeat=true"])
            .args(["--set", "sources.unasked.type=replay", "--set", &format!("sources.unasked.connect={unasked}")])
            .args(["--set", "sources.unasked.config.path=unasked.csv"])
            .args(["--set", "sources.unasked.config.repeat=true"])
            .env("TOKIO_WORKER_THREADS", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        keep_to(ENGINE_CPU, child.id());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["address"].as_str().map(str::to_owned)
        });
        Self { child, address: address.unwrap(), _folder: folder }
    }

    /// Processor seconds so far, and resident memory in MiB.
    fn used(&self) -> (f64, f64) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<f64> =
            stat.rsplit_once(')').unwrap().1.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: f64 = resident.split_whitespace().next().unwrap().parse().unwrap();
        // User and system time in hundredths; the state before them is no number.
        ((fields[10] + fields[11]) / 100.0, kilobytes / 1024.0)
    }

    /// A connection of plain `h2`: a client that costs more than the engine would be measured in its place.
    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sending, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .handshake(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        Client { sending: sending.ready().await.unwrap() }
    }
}

/// Keeps a process with its one thread, and the threads that it starts, to one processor.
fn keep_to(processor: usize, process: u32) {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(Pid::from_raw(process.try_into().unwrap()), &set).unwrap();
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone)]
struct Client {
    sending: SendRequest<Bytes>,
}

impl Client {
    /// Sends one message to a method of the engine; what is answered.
    fn call<M: Message>(&mut self, method: &str, message: &M) -> impl Future<Output = Answer> + use<M> {
        let request = Request::post(format!("http://engine/core_engine.v1.CoreEngine/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, mut body) = self.sending.send_request(request, false).unwrap();
        let message = message.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        body.send_data(frame.into(), true).unwrap();
        async { Answer { body: response.await.unwrap().into_body(), held: BytesMut::new() } }
    }
}

struct Answer {
    body: RecvStream,
    held: BytesMut,
}

impl Answer {
    /// The next message; none at the end of a call that went well.
    async fn message<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(head) = self.held.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.held.len() >= 5 + length {
                    self.held.advance(5);
                    return Some(M::decode(self.held.split_to(length)).unwrap());
                }
            }
            match self.body.data().await {
                Some(data) => {
                    let data = data.unwrap();
                    self.body.flow_control().release_capacity(data.len()).unwrap();
                    self.held.extend_from_slice(&data);
                }
                None => {
                    let trailers = self.body.trailers().await.unwrap().unwrap();
                    assert_eq!(trailers["grpc-status"], "0");
                    return None;
                }
            }
        }
    }
}

/// Reads from all subscribers, in a thread of their own that gives way, so that their work is not in the way of requests.
fn subscribe(engine: &Engine, delivered: &Arc<AtomicU64>, lost: &Arc<AtomicU64>) -> tokio::runtime::Runtime {
    let readers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(|| {
            rustix::process::nice(19).unwrap();
        })
        .enable_all()
        .build()
        .unwrap();
    let request = pb::StreamMarketDataRequest { symbols: symbols(), source_id: String::new() };
    readers.block_on(async {
        for _ in 0..SUBSCRIBERS / PER_CONNECTION {
            let mut client = engine.connect().await;
            for _ in 0..PER_CONNECTION {
                let mut stream = client.call("StreamMarketData", &request).await;
                let (delivered, lost) = (Arc::clone(delivered), Arc::clone(lost));
                tokio::spawn(async move {
                    while let Some(message) = stream.message::<pb::StreamMarketDataResponse>().await {
                        delivered.fetch_add(message.market_data.len() as u64, Ordering::Relaxed);
                        lost.fetch_add(u64::from(message.conflated + message.dropped), Ordering::Relaxed);
                    }
                });
            }
        }
    });
    readers
}

fn symbols() -> Vec<String> {
    (0..SYMBOLS).map(|number| format!("S{number}")).collect()
}

/// Values that all sources have brought so far.
async fn taken_in(client: &mut Client) -> u64 {
    let mut answer = client.call("GetIngestionStats", &pb::GetIngestionStatsRequest::default()).await;
    let stats: pb::GetIngestionStatsResponse = answer.message().await.unwrap();
    stats.total.unwrap().received
}

#[test]
#[ignore = "measures"]
fn streams_and_requests_at_once() {
    at_once(false);
}

#[test]
#[ignore = "measures"]
fn streams_requests_and_a_hundred_thousand_values_a_second_at_once() {
    at_once(true);
}

fn at_once(unasked: bool) {
    let engine = Engine::start(unasked);
    // This thread, and those that it starts.
    keep_to(LOAD_CPU, 0);
    let (delivered, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let readers = subscribe(&engine, &delivered, &lost);
    let requests = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    requests.block_on(measure(&engine, &delivered, &lost));
    readers.shutdown_background();
}

async fn measure(engine: &Engine, delivered: &AtomicU64, lost: &AtomicU64) {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(engine.connect().await);
    }
    let symbols = symbols();
    tokio::time::sleep(Duration::from_secs(3)).await;

    let taken_before = taken_in(&mut clients[0]).await;
    let (before, cpu_before, started) = (delivered.load(Ordering::Relaxed), engine.used().0, Instant::now());
    let mut requests = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let per_tick = REQUESTS_PER_SECOND / 1_000;
    let mut number = 0;
    while started.elapsed() < MEASURED {
        ticks.tick().await;
        // The timer itself is up to a millisecond late, which is not the engine's doing.
        let due = Instant::now();
        for _ in 0..per_tick {
            let among = number % clients.len();
            number += 1;
            let symbol = symbols[number % SYMBOLS].clone();
            let request = pb::FetchMarketDataRequest { symbols: vec![symbol], source_id: String::new() };
            let answer = clients[among].call("FetchMarketData", &request);
            requests.spawn(async move {
                let mut answer = answer.await;
                let found: pb::FetchMarketDataResponse = answer.message().await.unwrap();
                assert_eq!(found.market_data.len(), 1);
                assert!(answer.message::<pb::FetchMarketDataResponse>().await.is_none());
                // From before it was sent: a client that is late hides nothing.
                due.elapsed()
            });
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let deliveries = (delivered.load(Ordering::Relaxed) - before) as f64 / seconds;
    let (cpu, memory) = engine.used();
    let taken = (taken_in(&mut clients[0]).await - taken_before) as f64 / seconds;
    let mut latencies = requests.join_all().await;
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "subscribers: {SUBSCRIBERS}, deliveries/s: {deliveries:.0}, conflated or dropped: {}",
        lost.load(Ordering::Relaxed)
    );
    println!(
        "requests/s: {:.0}, p50 {:?}, p99 {:?}, p99.9 {:?}, worst {:?}",
        latencies.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    println!("taken in: {taken:.0} values/s");
    println!("engine: {:.2} of a core, {memory:.0} MiB", (cpu - cpu_before) / seconds);
}
