//! Listening sockets, and the loops that take connections from them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

use crate::clients::Seat;
use crate::ids::ConnInfo;
use crate::reject::{Reason, Reject};
use crate::tasks;
use crate::telemetry::metrics::ConnectionRefusal;
use crate::time::now;

use super::connection;
use super::drain::Lane;
use super::{Handle, Settings, http1};

/// Connections that may wait to be accepted; the system may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// What the system may keep of answers that a client's window has no room for. What is on its way is not counted, so this
/// slows nobody down: half of it is still there when the connection is asked for more, which is half a millisecond at
/// 1 Gbit/s. Without it the system takes in megabytes for a client that reads nothing, and each of them looks like
/// progress.
#[cfg(any(target_os = "android", target_os = "linux"))]
const MAX_UNSENT: u32 = 128 * 1024;

/// Pause after an error that concerns all connections, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// One line in the log for each such error within this time.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Descriptors that clients must leave to backends, files and the log: this share, and at least this many, but never
/// more than half of them.
const RESERVED_DESCRIPTORS_PERCENT: u64 = 5;
const RESERVED_DESCRIPTORS: u64 = 256;

/// Connections of a listener that may take of what is reserved: the clients of one do not keep another's from the first few,
/// which are enough for probes.
const OWN_CONNECTIONS: usize = 8;

/// Binds `address` once for each worker, so that the kernel deals connections out to them.
///
/// # Errors
/// Those of the system; `AddrInUse` also if another process of the same user shares the port, unless `share`.
pub(super) fn bind(mut address: SocketAddr, workers: usize, share: bool) -> io::Result<Vec<TcpListener>> {
    if !share && address.port() != 0 {
        // With SO_REUSEPORT a second process that was started by mistake would bind and take half of the
        // connections. A plain socket does not share, so binding one finds the first process.
        drop(listen(address, false)?);
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        // Also for a single worker: a later configuration may want a part of what this address covers.
        let socket = listen(address, true)?;
        // With port 0 the others join the port that the first one was given.
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// One listening socket, which other sockets of this user may join if `reuse_port` (`SO_REUSEPORT`).
///
/// # Errors
/// Those of the system.
pub fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    bound_unsent(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Bounds what waits in the system for clients of a listening socket. Its connections inherit that.
///
/// # Errors
/// Those of the system.
///
/// Source: `TCP_NOTSENT_LOWAT` of Linux 3.12, copied with the socket by `inet_csk_clone_lock`.
pub(super) fn bound_unsent(socket: &SockRef<'_>) -> io::Result<()> {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_notsent_lowat(MAX_UNSENT)?;
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _its_own = socket;
    Ok(())
}

/// How many connections the clients of all listeners together may hold, so that descriptors are left for the rest of the
/// process. One for all of them: each for itself could use up what another one has left.
#[derive(Debug)]
pub(super) struct Descriptors {
    open: AtomicUsize,
    most: usize,
}

impl Descriptors {
    /// By the limit of this process.
    pub(super) fn of_this_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        Self { open: AtomicUsize::new(0), most: for_clients(limit) }
    }
}

/// The part of `limit` that is for clients.
fn for_clients(limit: u64) -> usize {
    let reserved = (limit / 100 * RESERVED_DESCRIPTORS_PERCENT).max(RESERVED_DESCRIPTORS).min(limit / 2);
    usize::try_from(limit - reserved).unwrap_or(usize::MAX).max(1)
}

/// Counts one more, unless there are `most` already.
fn one_more(open: &AtomicUsize, most: usize) -> bool {
    let fits = open.fetch_add(1, Ordering::Relaxed) < most;
    if !fits {
        open.fetch_sub(1, Ordering::Relaxed);
    }
    fits
}

/// Accepts until the lane drains, then once more whatever waits in the queue: a queue that is dropped is reset. Ends
/// with the last connection of the lane.
pub(super) async fn accept<H: Handle>(socket: tokio::net::TcpListener, lane: Arc<Lane>, handler: Arc<H>) {
    let mut acceptor = Acceptor { lane: Arc::clone(&lane), handler, logged: None };
    let mut draining = pin!(lane.draining());
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
    if let Ok(socket) = socket.into_std() {
        acceptor.empty(&socket);
    }
    lane.socket_emptied();
    lane.ended().await;
}

struct Acceptor<H> {
    lane: Arc<Lane>,
    handler: Arc<H>,
    logged: Option<Instant>,
}

impl<H: Handle> Acceptor<H> {
    /// Takes everything that waits in the queue.
    fn empty(&self, socket: &TcpListener) {
        loop {
            let (stream, peer) = match socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                // Nothing waits any more, or no descriptor is left for it.
                Err(_) => return,
            };
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.take(stream, peer);
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        // Small answers must not wait for the acknowledgement of the one before. Fails only if the client has gone.
        let _gone = stream.set_nodelay(true);
        let lane = &self.lane;
        // Once for each connection: what is exchanged later holds for later ones.
        let live = lane.listener.live();
        let info = ConnInfo {
            local: lane.listener.local,
            listener_id: lane.listener.series.id(),
            tls: live.tls.is_some(),
            ending: Arc::clone(&lane.ending),
            ..ConnInfo::new(lane.worker.id, Arc::clone(&lane.listener.name), peer)
        };
        let Some(mut permit) = Permit::take(lane, live.settings.max_connections) else {
            lane.listener.series.refused(info.worker, ConnectionRefusal::Limit);
            return turn_away(&*self.handler, &stream, info, lane);
        };
        // Behind a proxy the client is known only later.
        if !live.settings.proxy_protocol && !permit.sit(peer.ip(), &live.settings) {
            lane.listener.series.refused(info.worker, ConnectionRefusal::LimitPerIp);
            return turn_away(&*self.handler, &stream, info, lane);
        }
        let (handler, lane, info) = (Arc::clone(&self.handler), Arc::clone(lane), Box::new(info));
        let opening = tasks::boxed(|| connection::open(stream, info, live, handler, permit));
        // A future that is passed by value into another stands in it twice. So it is made inside and passed by reference: this
        // is the memory of an idle connection.
        tasks::spawn("connection", async move {
            let connection = pin!(connection::serve(opening));
            lane.run_until_cut(connection).await;
        });
    }

    /// An error of one connection (it has gone already) is passed over. Any other pauses the loop, which never ends.
    async fn failed(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        let now = now();
        if self.logged.is_none_or(|logged| now.saturating_duration_since(logged) >= ERROR_LOG_INTERVAL) {
            self.logged = Some(now);
            tracing::error!(listener = &*self.lane.listener.name, %error, "cannot accept connections");
        }
        tokio::time::sleep(ERROR_PAUSE).await;
    }
}

/// Answers a connection too many with 503, without waiting for anything. Under TLS only the close is left.
pub(super) fn turn_away<H: Handle>(handler: &H, stream: &TcpStream, info: ConnInfo, lane: &Lane) {
    if info.tls {
        return;
    }
    let response = handler.refuse(&Arc::new(info), None, Reject::new(Reason::Overloaded).close());
    // If the socket does not take it at once the client learns it from the close.
    let _full = stream.try_write(&http1::render(response, &lane.worker.date));
}

/// Only the connection that was about to be accepted is concerned: it has gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// The right to one connection; gives it back when dropped.
pub(super) struct Permit {
    pub(super) lane: Arc<Lane>,
    /// If connections of one client are counted.
    seat: Option<Seat>,
}

impl Permit {
    fn take(lane: &Arc<Lane>, most: usize) -> Option<Self> {
        let (descriptors, open) = (&lane.worker.descriptors, &lane.listener.open);
        if !one_more(open, most) {
            return None;
        }
        let is_one_of_few = open.load(Ordering::Relaxed) <= OWN_CONNECTIONS;
        if !one_more(&descriptors.open, if is_one_of_few { usize::MAX } else { descriptors.most }) {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        lane.connection_opened();
        Some(Self { lane: Arc::clone(lane), seat: None })
    }

    /// Counts the connection as one of `client`'s; `false`: it has as many as it may have.
    pub(super) fn sit(&mut self, client: IpAddr, settings: &Settings) -> bool {
        let Some(most) = settings.max_connections_per_ip.filter(|_| !settings.trusts(client)) else { return true };
        self.seat = self.lane.listener.clients.seat(client, most);
        self.seat.is_some()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lane.worker.descriptors.open.fetch_sub(1, Ordering::Relaxed);
        self.lane.listener.open.fetch_sub(1, Ordering::Relaxed);
        self.lane.connection_closed();
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
    fn clients_leave_descriptors_to_the_rest() {
        let limits = [(1, 1), (64, 32), (512, 256), (1_024, 768), (20_000, 19_000)];
        for (limit, clients) in limits {
            assert_eq!(for_clients(limit), clients, "{limit}");
        }
        assert!(for_clients(u64::MAX) > 1 << 60);
    }

    /// What the system takes in for a client of `socket` that reads nothing.
    fn taken_in(socket: &TcpListener) -> usize {
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(false).unwrap();
        let (mut stream, _) = socket.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let (piece, mut taken) = ([0; 16 * 1024], 0);
        loop {
            match io::Write::write(&mut stream, &piece) {
                Ok(bytes) => taken += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn little_is_taken_in_for_a_client_that_reads_nothing() {
        // With what is on its way, and what waits at the client.
        let bound = 1024 * 1024;
        let ours = taken_in(&listen(loopback(0), true).unwrap());
        assert!(ours < bound, "{ours}");
        // Sockets that were bound by somebody else.
        let passed = TcpListener::bind(loopback(0)).unwrap();
        let (unbounded, copy) = (taken_in(&passed), passed.try_clone().unwrap());
        super::super::Inherited::default().add("main".to_owned(), None, passed.into()).unwrap();
        let inherited = taken_in(&copy);
        assert!(inherited < bound && inherited < unbounded, "{inherited}, without the bound {unbounded}");
    }

    #[test]
    fn a_port_is_free_again_at_once() {
        let port = bind(loopback(0), 2, false).unwrap()[0].local_addr().unwrap().port();
        assert!(bind(loopback(port), 2, false).is_ok());
    }
}
