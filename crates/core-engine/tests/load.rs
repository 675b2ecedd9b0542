//! The engine under load, as its clients see it: printed, never asserted but for what must hold at any speed.
//!
//! `cargo test --release -p core-engine --test load -- --ignored --nocapture`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and may fail by panic")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use protos::core_engine::v1 as pb;
use protos::core_engine::v1::core_engine_client::CoreEngineClient;
use tonic::transport::Channel;

const SUBSCRIBERS: usize = 1_000;
const PER_CONNECTION: usize = 100;
const SYMBOLS: usize = 100;
/// Of all symbols together, evenly apart: 1,000 subscribers make 50,000 deliveries a second of it.
const TICKS_PER_SECOND: usize = 50;
const REQUESTS_PER_SECOND: u32 = 5_000;
const MEASURED: Duration = Duration::from_secs(20);

struct Engine {
    child: Child,
    address: String,
    /// Of the file that is replayed.
    _folder: tempfile::TempDir,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut file = String::from("symbol,price,volume,timestamp\n");
        for tick in 0..TICKS_PER_SECOND * 60 {
            let millis = tick * 1_000 / TICKS_PER_SECOND;
            file.push_str(&format!("S{},{}.25,1,{millis}\n", tick % SYMBOLS, 100 + tick % 7));
        }
        std::fs::write(folder.path().join("load.csv"), file).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_core-engine"))
            .args(["--listen", "127.0.0.1:0", "--replay-directory", folder.path().to_str().unwrap()])
            .args(["--default-source", "load", "--set", "default_source=load", "--set", "sources.load.type=replay"])
            .args(["--set", "sources.load.connect=true", "--set", "sources.load.config.path=load.csv"])
            .args(["--set", "sources.load.config.repeat=true"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
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

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads from all subscribers, in threads of their own, so that their work is not in the way of requests.
fn subscribe(engine: &Engine, delivered: &Arc<AtomicU64>, lost: &Arc<AtomicU64>) -> tokio::runtime::Runtime {
    let readers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    readers.block_on(async {
        for _ in 0..SUBSCRIBERS / PER_CONNECTION {
            let client = CoreEngineClient::new(engine.channel().await);
            for _ in 0..PER_CONNECTION {
                let request = pb::StreamMarketDataRequest { symbols: symbols(), source_id: String::new() };
                let mut stream = client.clone().stream_market_data(request).await.unwrap().into_inner();
                let (delivered, lost) = (Arc::clone(delivered), Arc::clone(lost));
                tokio::spawn(async move {
                    while let Ok(Some(message)) = stream.message().await {
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

#[test]
#[ignore = "measures"]
fn streams_and_requests_at_once() {
    let engine = Engine::start();
    let (delivered, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let readers = subscribe(&engine, &delivered, &lost);
    let requests = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    requests.block_on(measure(&engine, &delivered, &lost));
    readers.shutdown_background();
}

async fn measure(engine: &Engine, delivered: &AtomicU64, lost: &AtomicU64) {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(CoreEngineClient::new(engine.channel().await));
    }
    let symbols = symbols();
    tokio::time::sleep(Duration::from_secs(3)).await;

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
            let mut client = clients[number % clients.len()].clone();
            number += 1;
            let symbol = symbols[number % SYMBOLS].clone();
            requests.spawn(async move {
                let request = pb::FetchMarketDataRequest { symbols: vec![symbol], source_id: String::new() };
                client.fetch_market_data(request).await.unwrap();
                // From before it was sent: a client that is late hides nothing.
                due.elapsed()
            });
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let deliveries = (delivered.load(Ordering::Relaxed) - before) as f64 / seconds;
    let (cpu, memory) = engine.used();
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
    println!("engine: {:.2} of a core, {memory:.0} MiB", (cpu - cpu_before) / seconds);
}
