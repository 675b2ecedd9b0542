//! The load: N keep-alive connections, each sending its next request as soon as it has checked the last answer.
//!
//! That is a closed loop. It finds the cost per request and the throughput at saturation; its latencies are those of
//! a saturated gateway and say nothing about a half-loaded one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::check::Expected;
use crate::scenario::Scenario;
use crate::{cpu, http1};

/// Wrong answers whose text is kept for the report.
const SAMPLES_MAX: usize = 3;
/// Bytes of a wrong answer that are kept.
const SAMPLE_BYTES: usize = 400;
/// A run with this many errors will not become good, so it ends early.
const ERRORS_MAX: u64 = 1000;
/// How long answers may take to arrive after the end of the measurement before they count as missing.
const GRACE: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The gateway under test.
    pub target: SocketAddr,
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// Load before the measurement; its answers are checked but not counted.
    pub warm_up: Duration,
    /// Length of the measurement.
    pub measure: Duration,
    /// End after this many requests, warm-up included, if that comes first.
    pub requests_max: Option<u64>,
    /// Processes whose CPU time is to be measured: a name for the report and a process id each.
    pub watch: Vec<(String, u32)>,
}

/// What was measured. Errors are counted over the whole run, everything else over the measurement alone.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Right answers.
    pub requests: u64,
    /// Wrong, broken or missing answers and failed connections, warm-up included.
    pub errors: u64,
    /// The first few errors in words.
    pub samples: Vec<String>,
    /// Length of the measurement.
    pub seconds: f64,
    /// Right answers per second.
    pub requests_per_second: f64,
    /// Bytes of one answer on average, heads included.
    pub answer_bytes: f64,
    /// Latency at saturation.
    pub p50_us: u64,
    /// Latency at saturation.
    pub p99_us: u64,
    /// Latency at saturation.
    pub max_us: u64,
    /// Per watched process.
    pub cpu: Vec<CpuReport>,
}

/// CPU time of one process over the measurement.
#[derive(Debug, Serialize)]
pub struct CpuReport {
    /// As given in [`Options::watch`].
    pub name: String,
    /// User plus system time.
    pub seconds: f64,
    /// The same per right answer, in microseconds.
    pub us_per_request: f64,
}

/// Runs one load to its end.
///
/// # Errors
/// A watched process is gone, or no connection could be made. Wrong answers are no errors here: they are reported.
pub async fn run(scenario: &Scenario, options: &Options) -> anyhow::Result<Report> {
    let run = Arc::new(Run::new(scenario, options));
    let mut connections = JoinSet::new();
    for index in 0..options.connections {
        connections.spawn(drive(Arc::clone(&run), index));
    }
    pause(options.warm_up, &run).await;
    let errors_before = run.restart_tally();
    let before = cpu_now(&options.watch)?;
    let start = Instant::now();
    pause(options.measure, &run).await;
    let seconds = start.elapsed().as_secs_f64();
    let after = cpu_now(&options.watch)?;
    let mut tally = run.take_tally();
    run.stopped.store(true, Ordering::Relaxed);
    let drained = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tally.fail(format!("{} connections still wait for an answer", connections.len()));
        tally.errors += connections.len() as u64 - 1;
    }
    let late = run.take_tally();
    tally.errors += errors_before + late.errors;
    tally.samples.extend(late.samples);
    tally.samples.truncate(SAMPLES_MAX);
    let spent = options
        .watch
        .iter()
        .zip(before.iter().zip(after))
        .map(|((name, _), (before, after))| (name.clone(), after.saturating_sub(*before).as_secs_f64()));
    Ok(tally.report(seconds, spent))
}

/// Waits for the given time, or until the budget is used up or the errors are too many.
async fn pause(time: Duration, run: &Run) {
    let end = Instant::now() + time;
    while Instant::now() < end && !run.exhausted() {
        tokio::time::sleep(Duration::from_millis(10).min(end.saturating_duration_since(Instant::now()))).await;
    }
}

fn cpu_now(watch: &[(String, u32)]) -> anyhow::Result<Vec<Duration>> {
    watch.iter().map(|(name, pid)| cpu::used(*pid).with_context(|| format!("{name} is gone"))).collect()
}

/// What all connections share.
struct Run {
    target: SocketAddr,
    plans: Vec<Plan>,
    tally: Mutex<Tally>,
    /// Requests that may still be sent.
    budget: AtomicU64,
    in_flight: AtomicU64,
    stopped: AtomicBool,
}

struct Plan {
    name: String,
    request: Vec<u8>,
    expected: Mutex<Expected>,
}

struct Tally {
    requests: u64,
    bytes: u64,
    latency_us: Histogram<u64>,
    errors: u64,
    samples: Vec<String>,
}

impl Run {
    fn new(scenario: &Scenario, options: &Options) -> Self {
        let host = options.target.to_string();
        let plans = scenario.exchanges.iter().map(|exchange| Plan {
            name: format!("{} {}", exchange.http.method, exchange.http.path),
            request: exchange.http.to_bytes(&host),
            expected: Mutex::new(Expected::new(exchange.status, exchange.answer.clone())),
        });
        Self {
            target: options.target,
            plans: plans.collect(),
            tally: Mutex::new(Tally::new()),
            budget: AtomicU64::new(options.requests_max.unwrap_or(u64::MAX)),
            in_flight: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    fn restart_tally(&self) -> u64 {
        // A run that is bounded by requests alone has no warm-up, and must not lose what came before the first look.
        if self.exhausted() {
            return 0;
        }
        let mut tally = self.tally.lock();
        let samples = std::mem::take(&mut tally.samples);
        let errors = std::mem::replace(&mut *tally, Tally::new()).errors;
        tally.samples = samples;
        errors
    }

    fn take_tally(&self) -> Tally {
        std::mem::replace(&mut *self.tally.lock(), Tally::new())
    }

    fn exhausted(&self) -> bool {
        let spent = self.budget.load(Ordering::Relaxed) == 0 && self.in_flight.load(Ordering::Relaxed) == 0;
        spent || self.tally.lock().errors >= ERRORS_MAX
    }

    /// Takes one request from the budget; `false` when the connection should end.
    fn admit(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        !self.stopped.load(Ordering::Relaxed)
            && self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Counts a failure; `false` when there were too many of them.
    fn fail(&self, what: String) -> bool {
        let mut tally = self.tally.lock();
        tally.fail(what);
        tally.errors < ERRORS_MAX
    }
}

/// Drives one connection, replacing it when it breaks, until the run ends.
async fn drive(run: Arc<Run>, index: usize) {
    // Each connection starts elsewhere in the list, so that neighbours ask for different things.
    let mut plans = run.plans.iter().cycle().skip(index % run.plans.len());
    let mut buffer = Vec::with_capacity(64 * 1024);
    'connect: while !run.stopped.load(Ordering::Relaxed) && run.budget.load(Ordering::Relaxed) > 0 {
        let mut stream = match TcpStream::connect(run.target).await {
            Ok(stream) => stream,
            Err(error) if run.fail(format!("cannot connect: {error}")) => continue,
            Err(_) => return,
        };
        // Fails only on a dead socket, and then so does the first write.
        let _ = stream.set_nodelay(true);
        buffer.clear();
        while let Some(plan) = plans.next().filter(|_| run.admit()) {
            run.in_flight.fetch_add(1, Ordering::Relaxed);
            let outcome = exchange(&mut stream, &mut buffer, plan, &run).await;
            run.in_flight.fetch_sub(1, Ordering::Relaxed);
            match outcome {
                Ok(true) => {}
                Ok(false) => continue 'connect,
                Err(what) if run.fail(format!("{}: {what}", plan.name)) => continue 'connect,
                Err(_) => return,
            }
        }
        return;
    }
}

/// Sends one request and checks its answer. `Ok(false)` means that the server closes the connection.
async fn exchange(stream: &mut TcpStream, buffer: &mut Vec<u8>, plan: &Plan, run: &Run) -> Result<bool, String> {
    let start = Instant::now();
    stream.write_all(&plan.request).await.map_err(|error| format!("cannot send: {error}"))?;
    loop {
        let read = stream.read_buf(buffer).await.map_err(|error| format!("cannot receive: {error}"))?;
        if read == 0 {
            return Err(format!("the connection ended inside an answer: {}", excerpt(buffer)));
        }
        let Some(answer) = http1::parse(buffer).map_err(|why| format!("{why:?}: {}", excerpt(buffer)))? else {
            continue;
        };
        if !plan.expected.lock().accepts(answer.status, &answer.body) {
            return Err(format!("wrong answer: {}", excerpt(buffer)));
        }
        if answer.len != buffer.len() {
            return Err(format!("bytes after the answer: {}", excerpt(&buffer[answer.len..])));
        }
        run.tally.lock().succeed(start.elapsed(), answer.len);
        let stays = !answer.closes;
        buffer.clear();
        return Ok(stays);
    }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SAMPLE_BYTES)]).into_owned()
}

impl Tally {
    #[expect(clippy::expect_used, reason = "the bounds are constants that the library accepts")]
    fn new() -> Self {
        let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("invariant: the bounds are valid");
        Self { requests: 0, bytes: 0, latency_us, errors: 0, samples: Vec::new() }
    }

    fn succeed(&mut self, latency: Duration, len: usize) {
        self.requests += 1;
        self.bytes += len as u64;
        self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    fn fail(&mut self, what: String) {
        self.errors += 1;
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(what);
        }
    }

    fn report(self, seconds: f64, spent: impl Iterator<Item = (String, f64)>) -> Report {
        let per_request = |total: f64| {
            if self.requests == 0 { 0.0 } else { total / self.requests as f64 }
        };
        Report {
            requests: self.requests,
            errors: self.errors,
            seconds,
            requests_per_second: self.requests as f64 / seconds,
            answer_bytes: per_request(self.bytes as f64),
            p50_us: self.latency_us.value_at_quantile(0.5),
            p99_us: self.latency_us.value_at_quantile(0.99),
            max_us: self.latency_us.max(),
            cpu: spent
                .map(|(name, seconds)| CpuReport { name, seconds, us_per_request: per_request(seconds * 1e6) })
                .collect(),
            samples: self.samples,
        }
    }
}
