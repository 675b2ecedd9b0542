//! An open loop: requests are due by the clock, whatever became of those before them.
//!
//! A lane is one client. It keeps one connection, or opens one for each request, and its share of the rate is its
//! schedule. A lane that is late sends at once, and its latencies count from the time when the request was due, so that
//! a gateway that stands still cannot hide behind requests that were never sent.

mod http1;
mod http2;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_testkit::PATIENCE;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use tally::Tally;

/// The longest that an answer may take. Longer than anything that a test waits for on purpose.
const ANSWER: Duration = Duration::from_secs(20);

/// Looks at an answer: what [`Load::mark`] was when the request was sent, the status, and the body.
pub(crate) type Judge = Arc<dyn Fn(u64, u16, &[u8]) -> Result<(), String> + Send + Sync>;

/// A `GET` and what must come of it.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) target: &'static str,
    pub(crate) judge: Judge,
}

impl Ask {
    /// One whose answer never differs.
    pub(crate) fn exactly(target: &'static str, body: &'static str) -> Self {
        let judge = move |_, status, found: &[u8]| {
            if (status, found) == (200, body.as_bytes()) { Ok(()) } else { Err(wrong(status, found)) }
        };
        Self { target, judge: Arc::new(judge) }
    }
}

/// A wrong answer in words.
pub(crate) fn wrong(status: u16, body: &[u8]) -> String {
    format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]))
}

/// How many lanes of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    /// HTTP/1.1, one connection as long as the gateway lets it.
    pub(crate) http1: usize,
    /// HTTP/2, one connection as long as the gateway lets it, requests beside each other.
    pub(crate) http2: usize,
    /// HTTP/1.1, a connection for each request.
    pub(crate) fresh: usize,
}

/// Clients that never stop.
pub(crate) struct Load {
    shared: Arc<Shared>,
    lanes: JoinSet<()>,
    begun: Instant,
}

struct Shared {
    address: SocketAddr,
    asks: Vec<Ask>,
    begun: Instant,
    period: Duration,
    stopped: AtomicBool,
    /// Nobody will listen any more, so a client may find nobody.
    ending: AtomicBool,
    mark: AtomicU64,
    tally: Mutex<Tally>,
}

/// What came of one request.
enum Outcome {
    Answered,
    TurnedAway,
    Failed(String),
}

impl Load {
    /// Begins to send `rate` requests per second, which the lanes share; each goes through `asks` in turn.
    pub(crate) fn start(address: SocketAddr, rate: u32, kinds: Lanes, asks: Vec<Ask>) -> Self {
        let count = kinds.http1 + kinds.http2 + kinds.fresh;
        let lanes = u32::try_from(count).expect("few lanes");
        let begun = Instant::now();
        let shared = Arc::new(Shared {
            address,
            asks,
            begun,
            period: Duration::from_secs(1) * lanes / rate,
            stopped: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            mark: AtomicU64::new(0),
            tally: Mutex::new(Tally::default()),
        });
        let mut lanes = JoinSet::new();
        for index in 0..count {
            let shared = Arc::clone(&shared);
            let offset = shared.period * u32::try_from(index).expect("few lanes") / u32::try_from(count).expect("few");
            let turns = Turns { shared, index, sent: 0, due: begun + offset };
            match index {
                _ if index < kinds.http1 => lanes.spawn(http1::lane(turns, true)),
                _ if index < kinds.http1 + kinds.http2 => lanes.spawn(http2::lane(turns)),
                _ => lanes.spawn(http1::lane(turns, false)),
            };
        }
        Self { shared, lanes, begun }
    }

    /// Requests that are sent from now on must see `mark` or something newer.
    pub(crate) fn mark(&self, mark: u64) {
        self.shared.mark.store(mark, Ordering::SeqCst);
    }

    /// From now on the gateway may end for good.
    pub(crate) fn expect_the_end(&self) {
        self.shared.ending.store(true, Ordering::SeqCst);
    }

    /// Waits for `count` more answers.
    ///
    /// # Panics
    /// If they do not come, or something failed.
    pub(crate) async fn answered(&self, count: usize) {
        let wanted = self.shared.tally.lock().answered() + count;
        let asked = tokio::time::timeout(PATIENCE.max(ANSWER), async {
            while self.shared.tally.lock().answered() < wanted {
                self.assert_good();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(asked.await.is_ok(), "no more answers: {}", self.shared.tally.lock());
    }

    /// Lets time pass.
    pub(crate) async fn run_for(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.assert_good();
            tokio::time::sleep_until(end.min(Instant::now() + Duration::from_millis(100))).await;
        }
    }

    /// # Panics
    /// If something has failed.
    pub(crate) fn assert_good(&self) {
        let tally = self.shared.tally.lock();
        assert!(tally.failed() == 0, "{tally}");
    }

    /// Waits for the lanes, which end by themselves when the gateway has ended, or stops them, and tells what they saw.
    pub(crate) async fn stop(mut self) -> Tally {
        self.shared.stopped.store(true, Ordering::SeqCst);
        while let Some(lane) = self.lanes.join_next().await {
            lane.expect("a lane does not panic");
        }
        let mut tally = std::mem::take(&mut *self.shared.tally.lock());
        tally.seconds = self.begun.elapsed().as_secs_f64();
        tally
    }
}

/// The schedule of a lane.
struct Turns {
    shared: Arc<Shared>,
    index: usize,
    sent: usize,
    due: Instant,
}

/// One request that is due.
#[derive(Clone)]
struct Turn {
    ask: Ask,
    due: Instant,
}

impl Turns {
    /// The next request, when it is due. None at the end.
    async fn next(&mut self) -> Option<Turn> {
        tokio::time::sleep_until(self.due).await;
        if self.shared.stopped.load(Ordering::SeqCst) {
            return None;
        }
        let ask = self.shared.asks[(self.index + self.sent) % self.shared.asks.len()].clone();
        let turn = Turn { ask, due: self.due };
        self.sent += 1;
        self.due += self.shared.period;
        Some(turn)
    }
}

impl Shared {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Counts the outcome. False if the lane has nothing left to do.
    fn count(&self, turn: &Turn, outcome: Outcome) -> bool {
        let mut tally = self.tally.lock();
        match outcome {
            Outcome::Answered => tally.answer(turn.due.elapsed()),
            Outcome::TurnedAway => {
                tally.turned_away += 1;
                return false;
            }
            Outcome::Failed(why) => {
                let at = self.begun.elapsed();
                tally.fail(format!("{at:.3?} {}: {why}", turn.ask.target));
            }
        }
        true
    }
}
