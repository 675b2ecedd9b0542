//! Commands to the Redis that processes share: one connection for each worker, a time for every answer, and a small
//! breaker, so that a Redis that is down or hangs costs nobody more than a few of those times.
//!
//! Connections are made when they are first needed, by a task of the worker, with the sockets of `dial`. Whatever is
//! no answer (no connection, no answer in time, `LOADING`, `READONLY`, `OOM`, a wrong type) counts as a failure. After
//! three of them in a row nobody asks for a second; then a task of its own asks once, while requests still do without.

mod breaker;
mod connection;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};
use tidegate_config::valid;
use tokio::time::timeout;

use self::breaker::{Admission, Breaker};
use self::connection::{Door, Slot};
use crate::ids::{PerWorker, WorkerId};
use crate::{tasks, time};

/// The log hears of failures once in this time.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// How long a probe waits at least.
const PING_TIMEOUT: Duration = Duration::from_millis(250);

/// Why Redis has not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It failed a moment ago and is not asked.
    #[error("not asked: it failed a moment ago")]
    Open,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// No connection.
    #[error("{0}")]
    Connect(Arc<str>),
    /// The connection broke, or Redis answered with an error.
    #[error("{0}")]
    Answer(Arc<str>),
    /// An answer that no script of ours gives.
    #[error("an answer of another kind than expected")]
    Unexpected,
}

/// A script that Redis runs as one step.
#[derive(Debug)]
pub struct Script {
    code: &'static str,
    digest: OnceLock<String>,
}

/// One Redis of a configuration. See the module.
#[derive(Debug)]
pub struct Redis {
    door: Door,
    timeout: Duration,
    breaker: Breaker,
    slots: PerWorker<Slot>,
    /// When the log last heard of a failure, in nanoseconds since the start; 0: never.
    logged: AtomicU64,
    failures: AtomicU64,
}

/// The Redis of the process, kept while its settings stay the same.
#[derive(Debug, Default)]
pub struct Clients {
    known: Mutex<Option<(valid::Redis, Weak<Redis>)>>,
}

impl Script {
    /// From its source.
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        Self { code, digest: OnceLock::new() }
    }

    /// By which name Redis knows it.
    fn digest(&self) -> &str {
        self.digest.get_or_init(|| redis::Script::new(self.code).get_hash().to_owned())
    }
}

impl Clients {
    /// The client for these settings, for `slots` threads. The same one as before if they are the same. Reads the roots of
    /// the system for TLS: for the control thread.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn get(&self, settings: &valid::Redis, slots: usize) -> Result<Arc<Redis>, String> {
        let mut known = self.known.lock();
        // Where they stand is nothing that a connection knows.
        let place = |other: &valid::Redis| valid::Redis { place: settings.place.clone(), ..other.clone() };
        if let Some(client) =
            known.as_ref().filter(|(then, _)| place(then) == *settings).and_then(|(_, it)| it.upgrade())
        {
            return Ok(client);
        }
        let client = Arc::new(Redis::new(settings, slots)?);
        *known = Some((settings.clone(), Arc::downgrade(&client)));
        Ok(client)
    }
}

impl Redis {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(settings: &valid::Redis, slots: usize) -> Result<Self, String> {
        Ok(Self {
            door: Door::new(settings)?,
            timeout: settings.timeout,
            breaker: Breaker::default(),
            slots: PerWorker::new(slots, |_| Slot::default()),
            logged: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// It failed a moment ago and is not to be asked. May start the task that asks whether it is back.
    pub fn is_out(self: &Arc<Self>) -> bool {
        match self.breaker.admit(now_ns()) {
            Admission::Call => false,
            Admission::Refused => true,
            Admission::Probe => {
                drop(tasks::spawn("redis", probe(Arc::clone(self))));
                true
            }
        }
    }

    /// Runs `script`, which answers with a list of whole numbers. To be called on `worker`.
    ///
    /// # Errors
    /// There is no answer within the timeout, or none that helps. It was counted, and is logged once a second.
    pub async fn run(
        self: &Arc<Self>,
        worker: WorkerId,
        script: &Script,
        keys: &[String],
        arguments: &[u64],
    ) -> Result<Vec<i64>, StoreError> {
        if self.is_out() {
            return Err(StoreError::Open);
        }
        let asked = timeout(self.timeout, self.ask(worker, script, keys, arguments)).await;
        let answer = asked.unwrap_or(Err(StoreError::TimedOut));
        match &answer {
            Ok(_) => self.succeeded(),
            Err(error) => self.failed(error),
        }
        answer
    }

    /// Asks whether it is there, on a connection of its own: for `check --online`.
    ///
    /// # Errors
    /// It is not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let connection = self.door.connect().await.map_err(StoreError::Connect)?;
        let mut multiplexed = connection.handle();
        let ping = redis::cmd("PING");
        // Nobody waits for it, so it may take its time.
        let asked = timeout(self.timeout.max(PING_TIMEOUT), ping.query_async::<String>(&mut multiplexed)).await;
        let answer = asked.map_err(|_| StoreError::TimedOut)?;
        answer.map(drop).map_err(|error| StoreError::Answer(error.to_string().into()))
    }

    async fn ask(
        self: &Arc<Self>,
        worker: WorkerId,
        script: &Script,
        keys: &[String],
        arguments: &[u64],
    ) -> Result<Vec<i64>, StoreError> {
        let slot = self.slots.get(worker);
        let connection = slot.connection(|| self.connecting(worker)).await.map_err(StoreError::Connect)?;
        let mut multiplexed = connection.handle();
        let command = |name: &str, script: &str| {
            let mut command =
                Cmd::with_capacity(3 + keys.len() + arguments.len(), 64 * (2 + keys.len()) + script.len());
            command.arg(name).arg(script).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        let mut asked = command("EVALSHA", script.digest()).query_async(&mut multiplexed).await;
        // It has not seen the script yet, or has forgotten it in a restart.
        if let Err(error) = &asked
            && error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        {
            asked = command("EVAL", script.code).query_async(&mut multiplexed).await;
        }
        asked.map_err(|error| self.broken(worker, &connection, &error))
    }

    /// Opens the connection of `worker`, in a task: a request that does not wait for it must not end it.
    fn connecting(self: &Arc<Self>, worker: WorkerId) {
        let redis = Arc::clone(self);
        let opening = async move {
            let opened = redis.door.connect().await;
            redis.slots.get(worker).opened(opened);
        };
        drop(tasks::spawn("redis", opening));
    }

    fn broken(&self, worker: WorkerId, connection: &Arc<connection::Connection>, error: &RedisError) -> StoreError {
        if error.is_io_error() || error.is_unrecoverable_error() {
            self.slots.get(worker).close(connection);
        }
        match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => StoreError::Unexpected,
            _ => StoreError::Answer(error.to_string().into()),
        }
    }

    fn succeeded(&self) {
        if self.breaker.succeeded() {
            tracing::info!(redis = self.door.name(), "Redis answers again");
        }
    }

    fn failed(&self, error: &StoreError) {
        let now = now_ns();
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.breaker.failed(now) {
            // Half-open connections would fail the first requests after it is back.
            self.slots.iter().for_each(Slot::clear);
        }
        let logged = self.logged.load(Ordering::Relaxed);
        let is_due =
            logged == 0 || now.saturating_sub(logged) >= u64::try_from(LOG_EVERY.as_nanos()).unwrap_or(u64::MAX);
        if is_due && self.logged.compare_exchange(logged, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.failures.store(0, Ordering::Relaxed);
            tracing::warn!(redis = self.door.name(), %error, failures, "Redis does not answer");
        }
    }
}

/// Asks once whether Redis is back; requests do without it meanwhile.
async fn probe(redis: Arc<Redis>) {
    match redis.ping().await {
        Ok(()) => redis.succeeded(),
        Err(error) => redis.failed(&error),
    }
}

/// Now, as the breaker counts: nanoseconds since the start, never 0.
fn now_ns() -> u64 {
    u64::try_from(time::since_start(time::now()).as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tidegate_config::Place;

    use super::*;

    static ECHO: Script = Script::new("return { tonumber(ARGV[1]), #KEYS }");

    fn settings(address: SocketAddr, line: u32) -> valid::Redis {
        valid::Redis {
            host: address.ip().to_string(),
            port: address.port(),
            tls: false,
            user: None,
            password: None,
            database: 0,
            timeout: Duration::from_secs(5),
            place: Place { file: "a.yaml".into(), line, column: 1, end_column: 2, path: "redis.url".into() },
        }
    }

    async fn ask(redis: &Arc<Redis>) -> Result<Vec<i64>, StoreError> {
        redis.run(WorkerId::new(0), &ECHO, &["a".to_owned()], &[7]).await
    }

    #[test]
    fn a_client_stays_while_its_settings_do_and_somebody_has_it() {
        let clients = Clients::default();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let first = clients.get(&settings(address, 1), 1).unwrap();
        let moved = clients.get(&settings(address, 2), 1).unwrap();
        assert!(Arc::ptr_eq(&first, &moved), "another line is no other Redis");
        let slower = valid::Redis { timeout: Duration::from_secs(6), ..settings(address, 1) };
        assert!(!Arc::ptr_eq(&first, &clients.get(&slower, 1).unwrap()));
        let gone = Arc::downgrade(&first);
        drop((first, moved));
        assert!(gone.upgrade().is_none(), "nobody holds what is gone");
    }

    #[tokio::test]
    async fn after_three_failures_nobody_asks_until_a_probe_was_answered() {
        let address = tidegate_testkit::peer::closed_port();
        let redis = Arc::new(Redis::new(&settings(address, 1), 1).unwrap());
        for _ in 0..3 {
            assert!(matches!(ask(&redis).await, Err(StoreError::Connect(_))));
        }
        assert_eq!(ask(&redis).await, Err(StoreError::Open));
        assert!(redis.is_out());
        // As if somebody had asked in the background.
        redis.succeeded();
        assert!(matches!(ask(&redis).await, Err(StoreError::Connect(_))));
    }

    #[tokio::test]
    async fn many_requests_share_one_connection_and_a_broken_one_is_replaced() {
        let server = tidegate_testkit::Redis::start().await;
        let redis = Arc::new(Redis::new(&settings(server.address(), 1), 1).unwrap());
        let (a, b, c) = tokio::join!(ask(&redis), ask(&redis), ask(&redis));
        assert_eq!([a, b, c], [const { [7, 1] }; 3].map(|answer| Ok(answer.to_vec())));
        let clients = async || server.command(&["CLIENT", "LIST"]).await.matches("addr=").count();
        // The one who asks is one of them; an address stands in a line twice.
        assert_eq!(clients().await, 2 * 2);
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        let mut failures = 0;
        while ask(&redis).await.is_err() {
            failures += 1;
            assert!(failures <= 2, "one failure at most tells of the end of a connection");
        }
        assert!(redis.ping().await.is_ok());
    }
}
