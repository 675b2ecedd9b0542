//! Connections to Redis: how one is made, and which one a worker has.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use rustls_pki_types::ServerName;
use tidegate_config::valid;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::dial::{self, TlsClient};
use crate::tasks;

/// A connection, with its log-in: longer than a command may take, as it is needed once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that wait to be written. Beyond it requests wait, for as long as they wait for an answer.
const PIPELINE: usize = 256;

/// Where Redis is, and how one gets in.
#[derive(Debug)]
pub(super) struct Door {
    host: String,
    port: u16,
    /// As logs show it.
    name: String,
    tls: Option<(TlsClient, ServerName<'static>)>,
    login: Login,
}

/// What is said first. Not printed: there is a password in it.
struct Login(RedisConnectionInfo);

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// An open connection. Its task ends with it, whatever the other end does.
#[derive(Debug)]
pub(super) struct Connection {
    multiplexed: MultiplexedConnection,
    driver: JoinHandle<()>,
}

/// The connection of one worker.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
enum State {
    /// There is none; why the last one could not be opened.
    #[default]
    None,
    Failed(Arc<str>),
    /// Somebody is opening one.
    Opening,
    Open(Arc<Connection>),
}

impl Door {
    pub(super) fn new(settings: &valid::Redis) -> Result<Self, String> {
        let valid::Redis { host, port, tls, user, password, database, .. } = settings;
        let tls = if *tls {
            let client = TlsClient::load_http1(None, None).map_err(|error| error.to_string())?;
            Some((client, dial::server_name(host).map_err(|error| error.to_string())?))
        } else {
            None
        };
        let mut login = RedisConnectionInfo::default().set_db(i64::from(*database)).set_skip_set_lib_name();
        if let Some(user) = user {
            login = login.set_username(user.expose());
        }
        if let Some(password) = password {
            login = login.set_password(password.expose());
        }
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { host: host.clone(), port: *port, name, tls, login: Login(login) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A new connection, logged in; its task runs on this thread's runtime.
    pub(super) async fn connect(&self) -> Result<Arc<Connection>, Arc<str>> {
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await;
        opened.unwrap_or_else(|_| Err("not connected in time".into())).map_err(Arc::from)
    }

    async fn open(&self) -> Result<Arc<Connection>, String> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = addresses.map_err(|error| format!("the name {}: {error}", self.host))?.collect();
        let tls = self.tls.as_ref().map(|(client, name)| (client, name));
        let stream = dial::connect(&addresses, tls, CONNECT_TIMEOUT).await.map_err(|error| error.to_string())?;
        // Whoever asks has a time of their own.
        let settings = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(PIPELINE);
        let opened = MultiplexedConnection::new_with_config(&self.login.0, stream, settings).await;
        let (multiplexed, driver) = opened.map_err(|error| error.to_string())?;
        Ok(Arc::new(Connection { multiplexed, driver: tasks::spawn("redis", driver) }))
    }
}

impl Connection {
    pub(super) fn handle(&self) -> MultiplexedConnection {
        self.multiplexed.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Slot {
    /// The connection. If there is none, `open` has one opened, once for all who wait.
    pub(super) async fn connection(&self, open: impl Fn()) -> Result<Arc<Connection>, Arc<str>> {
        let mut waited = false;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let opens = {
                let mut state = self.state.lock();
                match &*state {
                    State::Open(connection) => return Ok(Arc::clone(connection)),
                    State::Failed(why) if waited => return Err(Arc::clone(why)),
                    State::Opening => false,
                    State::None | State::Failed(_) => {
                        *state = State::Opening;
                        true
                    }
                }
            };
            if opens {
                open();
            }
            changed.await;
            waited = true;
        }
    }

    /// What came of opening one.
    pub(super) fn opened(&self, opened: Result<Arc<Connection>, Arc<str>>) {
        *self.state.lock() = match opened {
            Ok(connection) => State::Open(connection),
            Err(why) => State::Failed(why),
        };
        self.changed.notify_waiters();
    }

    /// `connection` is of no use any more; a newer one stays.
    pub(super) fn close(&self, connection: &Arc<Connection>) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Open(known) if Arc::ptr_eq(known, connection)) {
            *state = State::None;
        }
    }

    /// The next request opens a new one.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Open(_)) {
            *state = State::None;
        }
    }
}
