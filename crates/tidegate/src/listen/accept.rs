//! Listening sockets, and the loops that take connections from them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::ids::ConnInfo;
use crate::reject::{Reason, Reject};
use crate::tasks;
use crate::time::now;

use super::connection;
use super::drain::WorkerState;
use super::{Handle, Listener, http1};

/// Connections that may wait to be accepted; the system may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Pause after an error that concerns all connections, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// One line in the log for each such error within this time.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Descriptors that clients must leave to backends, files and the log: this share, and at least this many.
const RESERVED_DESCRIPTORS_PERCENT: u64 = 5;
const RESERVED_DESCRIPTORS: u64 = 256;

/// Binds `address` once for each worker, so that the kernel deals connections out to them.
///
/// # Errors
/// Those of the system; `AddrInUse` also if another process of the same user shares the port, unless `share_ports`.
pub(super) fn bind(mut address: SocketAddr, workers: usize, share_ports: bool) -> io::Result<Vec<TcpListener>> {
    if !share_ports && address.port() != 0 {
        // With SO_REUSEPORT a second process that was started by mistake would bind and take half of the
        // connections. A plain socket does not share, so binding one finds the first process.
        drop(listen(address, false)?);
    }
    let reuse_port = workers > 1 || share_ports;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = listen(address, reuse_port)?;
        // With port 0 the others join the port that the first one was given.
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How many connections clients may hold, by the descriptors that the process may open.
fn descriptor_allowance() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let reserved = (limit / 100 * RESERVED_DESCRIPTORS_PERCENT).max(RESERVED_DESCRIPTORS);
    usize::try_from(limit.saturating_sub(reserved)).unwrap_or(usize::MAX).max(1)
}

/// Accepts until the worker drains, then once more whatever waits in the queue: a queue that is dropped is reset.
pub(super) async fn accept<H: Handle>(
    socket: tokio::net::TcpListener,
    listener: Arc<Listener>,
    worker: Arc<WorkerState>,
    handler: Arc<H>,
) {
    let allowance = descriptor_allowance().min(listener.settings.max_connections);
    let mut acceptor = Acceptor { listener, worker: Arc::clone(&worker), handler, allowance, logged: None };
    let mut draining = pin!(worker.draining());
    loop {
        tokio::select! {
            biased;
            () = &mut draining => break,
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => acceptor.take(stream, peer),
                Err(error) => acceptor.failed(&error).await,
            },
        }
    }
    // Without the runtime, which may not have heard yet of what has come last.
    let Ok(socket) = socket.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = socket.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            acceptor.take(stream, peer);
        }
    }
}

struct Acceptor<H> {
    listener: Arc<Listener>,
    worker: Arc<WorkerState>,
    handler: Arc<H>,
    /// Connections of this listener at once.
    allowance: usize,
    logged: Option<Instant>,
}

impl<H: Handle> Acceptor<H> {
    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Small answers must not wait for the acknowledgement of the one before. Fails only if the client has gone.
        let _gone = stream.set_nodelay(true);
        let info = ConnInfo {
            worker: self.worker.id,
            peer,
            local: self.listener.local,
            listener: Arc::clone(&self.listener.settings.name),
            tls: self.listener.tls.is_some(),
        };
        let Some(permit) = Permit::take(&self.listener, &self.worker, self.allowance) else {
            self.turn_away(&stream, &info);
            return;
        };
        let handler = Arc::clone(&self.handler);
        let worker = Arc::clone(&self.worker);
        // A future that is passed by value into another stands in it twice. So it is made inside and passed by
        // reference, and the whole is boxed for the same reason: this is the memory of an idle connection.
        let connection = Box::pin(async move {
            let connection = pin!(connection::serve(stream, info, handler, permit));
            worker.run_until_cut(connection).await;
        });
        tasks::spawn("connection", connection);
    }

    /// Answers a connection too many with 503, without waiting for anything. Under TLS only the close is left.
    fn turn_away(&self, stream: &TcpStream, info: &ConnInfo) {
        if info.tls {
            return;
        }
        let response = self.handler.refuse(info, Reject::new(Reason::Overloaded).close());
        // If the socket does not take it at once the client learns it from the close.
        let _full = stream.try_write(&http1::render(response, &self.worker.date));
    }

    /// An error of one connection (it has gone already) is passed over. Any other pauses the loop, which never ends.
    async fn failed(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return;
        }
        let now = now();
        if self.logged.is_none_or(|logged| now.saturating_duration_since(logged) >= ERROR_LOG_INTERVAL) {
            self.logged = Some(now);
            tracing::error!(listener = &*self.listener.settings.name, %error, "cannot accept connections");
        }
        tokio::time::sleep(ERROR_PAUSE).await;
    }
}

/// The right to one connection; gives it back when dropped.
pub(super) struct Permit {
    pub(super) listener: Arc<Listener>,
    pub(super) worker: Arc<WorkerState>,
}

impl Permit {
    fn take(listener: &Arc<Listener>, worker: &Arc<WorkerState>, allowance: usize) -> Option<Self> {
        if listener.open.fetch_add(1, Ordering::Relaxed) >= allowance {
            listener.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        worker.connection_opened();
        Some(Self { listener: Arc::clone(listener), worker: Arc::clone(worker) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.listener.open.fetch_sub(1, Ordering::Relaxed);
        self.worker.connection_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn workers_share_a_port_but_processes_do_not() {
        let first = bind(loopback(0), 3, false).unwrap();
        let port = first[0].local_addr().unwrap().port();
        assert!(first.iter().all(|socket| socket.local_addr().unwrap().port() == port));
        assert_eq!(bind(loopback(port), 3, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(bind(loopback(port), 1, true).unwrap().len(), 1, "shared on purpose");
    }

    #[test]
    fn a_port_is_free_again_at_once() {
        let port = bind(loopback(0), 2, false).unwrap()[0].local_addr().unwrap().port();
        assert!(bind(loopback(port), 2, false).is_ok());
    }
}
