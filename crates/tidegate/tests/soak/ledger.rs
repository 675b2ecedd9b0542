//! A book of requests: what was issued is answered rightly, or has failed in a way that its client saw. It is balanced
//! against the books of the backends at the end.
//!
//! Each request has an id, which decides its method and the bytes of its answer. The loop is open, as in `load`.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use loadgen::web;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The longest that an answer may take: more than any deadline of the gateway here.
const ANSWER: Duration = Duration::from_secs(25);
const SAMPLES: usize = 6;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Right and complete.
    Answered,
    /// A complete answer with another status.
    Refused(u16),
    /// The client saw that it got no answer, or not all of it.
    Broken(String),
    /// A complete answer with status 200 that is not the right one. Never to happen.
    Wrong(String),
}

/// One request in the book.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    id: u64,
    method: &'static str,
    /// When it was due.
    due: Instant,
    took: Duration,
    pub(crate) end: End,
}

impl Entry {
    fn is_post(&self) -> bool {
        self.method == "POST"
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Requests per second, all lanes together.
    pub(crate) rate: u32,
    /// Schedules, each with its share of the rate.
    pub(crate) lanes: u32,
    /// Methods by turns.
    pub(crate) methods: &'static [&'static str],
    pub(crate) target: &'static str,
}

/// Clients that go on until they are stopped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    lanes: JoinSet<()>,
}

struct Shared {
    address: SocketAddr,
    plan: Plan,
    next: AtomicU64,
    stopped: AtomicBool,
    /// Connections without a request.
    idle: Mutex<Vec<TcpStream>>,
    entries: Mutex<Vec<Entry>>,
}

impl Traffic {
    pub(crate) fn start(address: SocketAddr, plan: Plan) -> Self {
        let (next, stopped) = (AtomicU64::new(1), AtomicBool::new(false));
        let (idle, entries) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { address, plan, next, stopped, idle, entries });
        let (period, begun) = (Duration::from_secs(1) * plan.lanes / plan.rate, Instant::now());
        let mut lanes = JoinSet::new();
        for index in 0..plan.lanes {
            lanes.spawn(lane(Arc::clone(&shared), begun + period * index / plan.lanes, period));
        }
        Self { shared, lanes }
    }

    /// Requests that have ended.
    pub(crate) fn ended(&self) -> usize {
        self.shared.entries.lock().len()
    }

    /// Waits until a request that was due after this moment is answered rightly.
    pub(crate) async fn recovers(&self) -> Duration {
        let begun = Instant::now();
        let is_good = |entry: &&Entry| entry.due > begun && entry.end == End::Answered;
        loop {
            if let Some(good) = self.shared.entries.lock().iter().rev().take(5_000).rfind(is_good) {
                return good.due + good.took - begun;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is answered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the clients, each after its answer.
    pub(crate) async fn stop(mut self) -> Ledger {
        self.shared.stopped.store(true, Ordering::SeqCst);
        while let Some(lane) = self.lanes.join_next().await {
            lane.expect("a lane does not panic");
        }
        let issued = self.shared.next.load(Ordering::SeqCst) - 1;
        Ledger { issued, entries: std::mem::take(&mut self.shared.entries.lock()) }
    }
}

/// Sends what is due, whether what was sent before has been answered or not.
async fn lane(shared: Arc<Shared>, mut due: Instant, period: Duration) {
    let mut requests = JoinSet::new();
    loop {
        tokio::time::sleep_until(due).await;
        while requests.try_join_next().is_some() {}
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        let id = shared.next.fetch_add(1, Ordering::SeqCst);
        requests.spawn(request(Arc::clone(&shared), id, due));
        due += period;
    }
    while requests.join_next().await.is_some() {}
}

/// One request, over a connection that waits or a new one.
async fn request(shared: Arc<Shared>, id: u64, due: Instant) {
    let methods = shared.plan.methods;
    let method = methods[usize::try_from(id).expect("it fits") % methods.len()];
    let mut kept = shared.idle.lock().pop();
    let end = match tokio::time::timeout(ANSWER, ask(&shared, id, method, &mut kept)).await {
        Ok(Ok(end)) => end,
        Ok(Err(why)) => End::Broken(why),
        Err(_) => End::Broken(format!("no answer within {ANSWER:?}")),
    };
    if !matches!(end, End::Broken(_) | End::Wrong(_)) {
        shared.idle.lock().extend(kept);
    }
    shared.entries.lock().push(Entry { id, method, due, took: due.elapsed(), end });
}

async fn ask(shared: &Shared, id: u64, method: &str, kept: &mut Option<TcpStream>) -> Result<End, String> {
    // A connection that the gateway has closed between two requests carries none.
    if kept.as_ref().is_some_and(
        |stream| !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
    ) {
        *kept = None;
    }
    if kept.is_none() {
        *kept = Some(TcpStream::connect(shared.address).await.map_err(|error| format!("cannot connect: {error}"))?);
    }
    let Some(stream) = kept.as_mut() else { return Err("no connection".to_owned()) };
    // Fails only on a dead socket, and then so does the write.
    let _ = stream.set_nodelay(true);
    let body = if matches!(method, "POST" | "PUT") { "content-length: 4\r\n\r\nbody" } else { "\r\n" };
    let head = format!("{method} {} HTTP/1.1\r\nhost: soak.test\r\n{}: {id}\r\n{body}", shared.plan.target, web::ID);
    stream.write_all(head.as_bytes()).await.map_err(|error| format!("cannot send: {error}"))?;
    let mut buffer = Vec::with_capacity(2048);
    loop {
        let read = stream.read_buf(&mut buffer).await;
        if read.map_err(|error| format!("cannot receive: {error}"))? == 0 {
            return Err(format!("the connection ended after {} bytes of the answer", buffer.len()));
        }
        let Some(answer) = loadgen::http1::parse(&buffer).map_err(|why| format!("{why:?}"))? else { continue };
        let end = match answer.status {
            200 if *answer.body == *web::body_of(id) => End::Answered,
            200 => End::Wrong(String::from_utf8_lossy(&answer.body).into_owned()),
            status => End::Refused(status),
        };
        if answer.closes {
            *kept = None;
        }
        return Ok(end);
    }
}

/// The book at its end.
pub(crate) struct Ledger {
    pub(crate) issued: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Ledger {
    /// Balances it: each id has one end, no answer was wrong, no `POST` reached backends twice, and what was answered had
    /// reached one.
    ///
    /// # Panics
    /// If it cannot be balanced.
    pub(crate) fn balance(&self, received: &[(String, u64)]) {
        let mut ids: Vec<u64> = self.entries.iter().map(|entry| entry.id).collect();
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(1..=self.issued), "issued {} and ended {}: {self}", self.issued, ids.len());
        let wrong = self.entries.iter().find(|entry| matches!(entry.end, End::Wrong(_)));
        assert!(wrong.is_none(), "{wrong:?}\n{self}");
        let mut times: HashMap<u64, u32> = HashMap::new();
        for (_, id) in received {
            *times.entry(*id).or_default() += 1;
        }
        for entry in &self.entries {
            let seen = times.get(&entry.id).copied().unwrap_or(0);
            assert!(!entry.is_post() || seen <= 1, "POST {} was delivered {seen} times: {:?}", entry.id, entry.end);
            assert!(entry.end != End::Answered || seen > 0, "{} was answered and not received", entry.id);
        }
    }

    /// How many were asked with a method that may be repeated, and how many of them were not answered.
    pub(crate) fn idempotent(&self) -> (usize, usize) {
        let all = self.entries.iter().filter(|entry| !entry.is_post());
        all.fold((0, 0), |(all, failed), entry| (all + 1, failed + usize::from(entry.end != End::Answered)))
    }

    /// How many were not answered.
    pub(crate) fn failed(&self) -> usize {
        self.entries.iter().filter(|entry| entry.end != End::Answered).count()
    }

    /// The requests that were due in a time.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Self {
        let due = self.entries.iter().filter(|entry| entry.due >= from && entry.due < to);
        let entries: Vec<_> = due.cloned().collect();
        Self { issued: entries.len() as u64, entries }
    }

    /// The time in milliseconds within which `share` of the requests ended.
    pub(crate) fn within_ms(&self, share: f64) -> f64 {
        let mut times: Vec<_> = self.entries.iter().map(|entry| entry.took).collect();
        times.sort_unstable();
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (idempotent, lost) = self.idempotent();
        write!(
            f,
            "{} issued, {} answered, p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms; failed {lost} of {idempotent} that may be \
             repeated, {} of {} POST",
            self.issued,
            self.entries.len() - self.failed(),
            self.within_ms(0.5),
            self.within_ms(0.99),
            self.within_ms(1.0),
            self.failed() - lost,
            self.entries.len() - idempotent
        )?;
        let failed = self.entries.iter().filter(|entry| entry.end != End::Answered);
        failed.take(SAMPLES).try_for_each(|entry| write!(f, "\n  {} {} {:?}", entry.method, entry.id, entry.end))
    }
}
