//! What goes on at one listener: connections, handshakes, requests in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::ids::{ListenerId, PerWorker, WorkerId};
use crate::reject::Reason;

use super::budget::{Admission, Budget};
use super::histogram::Histogram;
use super::table::DURATIONS;

/// What a client's connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionType {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl ConnectionType {
    pub(super) const WORDS: [&'static str; 2] = ["http1", "http2"];

    fn of<T>(self, [http1, http2]: &[T; 2]) -> &T {
        match self {
            Self::Http1 => http1,
            Self::Http2 => http2,
        }
    }
}

/// Kinds of [`ConnectionRefusal`].
const REFUSALS: usize = 7;

/// Why a connection was closed before it could send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// There are as many as the listener or the process may have.
    Limit,
    /// The TLS handshake failed.
    TlsFailed,
    /// The TLS handshake took too long.
    TlsTimeout,
    /// The client speaks a protocol that the listener does not.
    Protocol,
    /// The client has as many as one may have.
    LimitPerIp,
    /// No header of the PROXY protocol came, or a broken one.
    ProxyHeader,
    /// Somebody who is no trusted proxy has connected where only those may.
    ProxyUntrusted,
}

impl ConnectionRefusal {
    pub(super) const WORDS: [&'static str; REFUSALS] =
        ["limit", "tls_failed", "tls_timeout", "protocol", "limit_per_ip", "proxy_header", "proxy_untrusted"];
}

/// Kinds of [`Flood`].
const FLOODS: usize = 4;

/// What a client of HTTP/2 does too much of: it is told to calm down, and its connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flood {
    /// Frames in a second, beside those of requests and bodies.
    Frames,
    /// Frames in a minute that neither requests nor answers explain.
    Control,
    /// Requests that it gives up as soon as it has made them.
    Resets,
    /// What the h2 crate bounds by itself: streams that are reset before they are looked at, or because of the client's
    /// errors, CONTINUATION, small DATA.
    Library,
}

impl Flood {
    pub(super) const ALL: [Self; FLOODS] = [Self::Frames, Self::Control, Self::Resets, Self::Library];

    /// As metrics and the log say it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Control => "control",
            Self::Resets => "resets",
            Self::Library => "library",
        }
    }
}

/// What has to be admitted before it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Gauges,
    Refusal(usize),
    Flood(Flood),
    Handshakes,
    Sockets,
    SocketEnd(Option<Reason>),
}

/// The numbers of one worker. On cache lines of its own, as neighbours belong to other workers.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cells {
    /// Gauges are kept as what began and what ended: a scrape between the two reads of a sum cannot go below zero.
    requests: Open,
    connections: [Open; 2],
    sockets: [Open; 2],
    /// Few different ones, in the order in which they came.
    socket_ends: Mutex<Vec<(Option<Reason>, u64)>>,
    refusals: [AtomicU64; REFUSALS],
    floods: [AtomicU64; FLOODS],
    handshakes: Mutex<Option<Box<Histogram<14>>>>,
}

#[derive(Debug, Default)]
struct Open {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Open {
    /// The ends are read first, so what is open is never taken for less than it is.
    fn count(&self) -> u64 {
        let ended = self.ended.load(Ordering::Acquire);
        self.begun.load(Ordering::Acquire).saturating_sub(ended)
    }
}

/// Something that a gauge counts until this is dropped, on whichever thread.
#[derive(Debug)]
pub struct Gauged {
    cells: Arc<Cells>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Request,
    Connection(ConnectionType),
    Socket(ConnectionType),
}

impl Cells {
    fn open(&self, what: What) -> &Open {
        match what {
            What::Request => &self.requests,
            What::Connection(protocol) => protocol.of(&self.connections),
            What::Socket(protocol) => protocol.of(&self.sockets),
        }
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.cells.open(self.what).ended.fetch_add(1, Ordering::Release);
    }
}

/// Series of one listener; lives as long as the listener is in the configuration, across reloads.
#[derive(Debug)]
pub struct ListenerSeries {
    pub(super) id: ListenerId,
    pub(super) name: Arc<str>,
    /// Behind an `Arc` each, because guards outlive calls, and a count that all workers share would be slow.
    workers: PerWorker<Arc<Cells>>,
    admission: Admission<Key>,
}

impl ListenerSeries {
    pub(super) fn new(id: ListenerId, name: Arc<str>, slots: usize, budget: Arc<Budget>) -> Self {
        Self { id, name, workers: PerWorker::new(slots, |_| Arc::default()), admission: Admission::new(budget) }
    }

    /// For [`super::Sample::listener`].
    #[must_use]
    pub fn id(&self) -> ListenerId {
        self.id
    }

    /// A request has begun; it is in flight until the guard is dropped.
    #[must_use]
    pub fn request(&self, worker: WorkerId) -> Gauged {
        self.gauged(worker, What::Request)
    }

    /// A connection has turned out to speak `protocol`; it is open until the guard is dropped.
    #[must_use]
    pub fn connection(&self, worker: WorkerId, protocol: ConnectionType) -> Gauged {
        self.gauged(worker, What::Connection(protocol))
    }

    /// A WebSocket that ends here was opened over `protocol`; it is open until the guard is dropped.
    #[must_use]
    pub fn socket(&self, worker: WorkerId, protocol: ConnectionType) -> Gauged {
        self.gauged(worker, What::Socket(protocol))
    }

    /// A WebSocket has ended; without a reason if the client said so.
    pub fn socket_ended(&self, worker: WorkerId, reason: Option<Reason>) {
        let mut ends = self.workers.get(worker).socket_ends.lock();
        match ends.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => ends.push((reason, 1)),
        }
    }

    fn gauged(&self, worker: WorkerId, what: What) -> Gauged {
        let cells = Arc::clone(self.workers.get(worker));
        cells.open(what).begun.fetch_add(1, Ordering::Release);
        Gauged { cells, what }
    }

    /// A connection was closed before it could send a request.
    pub fn refused(&self, worker: WorkerId, why: ConnectionRefusal) {
        let [limit, tls_failed, tls_timeout, protocol, per_ip, header, untrusted] = &self.workers.get(worker).refusals;
        let cell = match why {
            ConnectionRefusal::Limit => limit,
            ConnectionRefusal::TlsFailed => tls_failed,
            ConnectionRefusal::TlsTimeout => tls_timeout,
            ConnectionRefusal::Protocol => protocol,
            ConnectionRefusal::LimitPerIp => per_ip,
            ConnectionRefusal::ProxyHeader => header,
            ConnectionRefusal::ProxyUntrusted => untrusted,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was closed for a flood.
    pub fn flooded(&self, worker: WorkerId, flood: Flood) {
        let [frames, control, resets, library] = &self.workers.get(worker).floods;
        let cell = match flood {
            Flood::Frames => frames,
            Flood::Control => control,
            Flood::Resets => resets,
            Flood::Library => library,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// A handshake was completed.
    pub fn handshake(&self, worker: WorkerId, duration: Duration) {
        let mut slot = self.workers.get(worker).handshakes.lock();
        slot.get_or_insert_default().observe(DURATIONS, duration, None);
    }

    /// Requests in flight.
    pub(super) fn requests(&self) -> u64 {
        self.workers.iter().map(|cells| cells.requests.count()).sum()
    }

    /// Open connections, in the order of [`ConnectionType::WORDS`].
    pub(super) fn connections(&self) -> [u64; 2] {
        let sum = |protocol| self.workers.iter().map(|cells| cells.open(What::Connection(protocol)).count()).sum();
        [sum(ConnectionType::Http1), sum(ConnectionType::Http2)]
    }

    /// Open WebSockets, in the order of [`ConnectionType::WORDS`].
    pub(super) fn sockets(&self) -> [u64; 2] {
        let sum = |protocol| self.workers.iter().map(|cells| cells.open(What::Socket(protocol)).count()).sum();
        [sum(ConnectionType::Http1), sum(ConnectionType::Http2)]
    }

    /// WebSockets that have ended, by reason.
    pub(super) fn socket_ends(&self) -> Vec<(Option<Reason>, u64)> {
        let mut sums: Vec<(Option<Reason>, u64)> = Vec::new();
        for cells in self.workers.iter() {
            for (reason, count) in &*cells.socket_ends.lock() {
                match sums.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, sum)) => *sum += count,
                    None => sums.push((*reason, *count)),
                }
            }
        }
        sums.sort_by_key(|(reason, _)| reason.map_or("", Reason::word));
        sums
    }

    /// Whether a WebSocket was ever opened here.
    pub(super) fn had_sockets(&self) -> bool {
        let begun = |open: &Open| open.begun.load(Ordering::Relaxed) > 0;
        self.workers.iter().any(|cells| cells.sockets.iter().any(begun))
    }

    /// In the order of [`ConnectionRefusal::WORDS`].
    pub(super) fn refusals(&self) -> [u64; REFUSALS] {
        self.sums(|cells| &cells.refusals)
    }

    /// In the order of [`Flood::ALL`].
    pub(super) fn floods(&self) -> [u64; FLOODS] {
        self.sums(|cells| &cells.floods)
    }

    fn sums<const N: usize>(&self, counts: impl Fn(&Cells) -> &[AtomicU64; N]) -> [u64; N] {
        let mut sums = [0; N];
        for cells in self.workers.iter() {
            for (sum, count) in sums.iter_mut().zip(counts(cells)) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sums
    }

    pub(super) fn handshakes(&self) -> Histogram<14> {
        let mut sum = Histogram::default();
        for cells in self.workers.iter() {
            if let Some(histogram) = &*cells.handshakes.lock() {
                sum.add(histogram);
            }
        }
        sum
    }

    /// Whether these may be shown; asked at each scrape, as for services.
    pub(super) fn admit(&self, key: Key) -> bool {
        let series = match key {
            Key::Gauges => 1 + ConnectionType::WORDS.len(),
            Key::Sockets => ConnectionType::WORDS.len(),
            Key::Refusal(_) | Key::Flood(_) | Key::SocketEnd(_) => 1,
            Key::Handshakes => Histogram::<14>::SERIES,
        };
        self.admission.admit(key, series)
    }
}
