//! One HTTP/2 connection: made, then driven by a task of its own until it is closed.
//!
//! The task handles frames and keepalive. It writes once per turn of the loop, however many calls have queued
//! frames, and needs no timer but one of its own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong, Reason};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use super::{Gauge, Pooled};
use crate::dial::{DialError, Stream};
use crate::ids::WorkerId;
use crate::time;
use crate::upstream::endpoint::{Endpoint, Keepalive};

/// What may wait per stream before the backend has to stop.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Room for 256 streams whose clients take nothing, before they hold up the others of the connection.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// As large as a stream's window: a message in one frame is passed on without a copy.
const MAX_FRAME_SIZE: u32 = STREAM_WINDOW;

/// Metadata of an answer, decoded.
const MAX_HEADER_LIST: u32 = 32 * 1024;

/// Unread small frames that a connection may hold: each of fewer than 256 bytes costs what it lacks. A stream window
/// full of frames of 10 bytes is 6 MiB, and must not close the connection for the other streams.
const DATA_FRAME_BUDGET: usize = 16 * 1024 * 1024;

/// Streams that we reset are remembered this long and up to this number, so that late frames are not taken for faults.
const REMEMBERED_RESETS: usize = 1024;

/// Bytes of one stream that wait for the backend's window.
const SEND_BUFFER: usize = 256 * 1024;

/// Length of a frame's head: with it the server's first frame, SETTINGS, has begun to arrive.
const FRAME_HEAD: u64 = 9;

/// An unused connection above the minimum is closed after this time.
const SHRINK_AFTER: Duration = Duration::from_secs(60);

/// How often a connection without keepalive looks at itself.
const REVIEW: Duration = Duration::from_secs(10);

/// Connects, and waits until the server's SETTINGS begin to arrive: only then it is known to speak HTTP/2.
pub(super) async fn establish(endpoint: &Arc<Endpoint>, worker: WorkerId) -> Result<(Pooled, Driver), DialError> {
    let begun = time::now();
    let gauge = Gauge::new(Arc::clone(&endpoint.pool(worker).demand));
    let attempt = async {
        let stream = endpoint.dial(endpoint.tls(), endpoint.connect_timeout).await?;
        if stream.agreed_http2() == Some(false) {
            endpoint.takes_http1();
            return Err(DialError::NoHttp2);
        }
        if let Some(peer) = stream.peer() {
            let _first = gauge.peer.set(peer);
        }
        let metered = Metered { stream, gauge: Arc::clone(&gauge) };
        let http2 = |error: h2::Error| DialError::Http2(error.to_string());
        let (sender, mut connection) = settings().handshake::<_, Bytes>(metered).await.map_err(http2)?;
        std::future::poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(DialError::Http2("closed in the handshake".to_owned()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(http2(error))),
            Poll::Pending if gauge.bytes_in.load(Ordering::Relaxed) >= FRAME_HEAD => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        Ok((sender, connection))
    };
    let (sender, mut connection) = match timeout(endpoint.connect_timeout, attempt).await {
        Ok(made) => made?,
        Err(_) if !endpoint.is_resolved() => return Err(DialError::Unresolved),
        Err(_) => return Err(DialError::TimedOut),
    };
    endpoint.series.connected(worker, time::now().saturating_duration_since(begun));
    gauge.limit.store(announced_limit(&connection), Ordering::Relaxed);
    let ping = connection.ping_pong();
    let driver = Driver::new(connection, ping, Arc::clone(&gauge), endpoint, worker);
    Ok((Pooled { sender, gauge }, driver))
}

fn settings() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_SIZE)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        // Nothing is sent before the peer has said how many streams it takes.
        .initial_max_send_streams(0)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        // Clients that leave make us reset streams. Over a connection's life that is no sign of an attack by the
        // backend, which is what the default of 1,024 guards against.
        .max_local_error_reset_streams(None)
        .data_frame_budget(DATA_FRAME_BUDGET);
    builder
}

fn announced_limit(connection: &Connection<Metered, Bytes>) -> u32 {
    u32::try_from(connection.max_concurrent_send_streams()).unwrap_or(u32::MAX)
}

/// Why a connection ended other than in good order.
enum Lost {
    Http2(h2::Error),
    /// No answer to a ping. Dropping the connection closes the socket and fails its streams.
    Silent,
}

/// The task of one connection.
pub(super) struct Driver {
    connection: Connection<Metered, Bytes>,
    ping: Option<PingPong>,
    /// An answer to a ping is due when the timer fires.
    pinged: bool,
    keepalive: Option<Keepalive>,
    timer: Pin<Box<Sleep>>,
    gauge: Arc<Gauge>,
    endpoint: Weak<Endpoint>,
    worker: WorkerId,
    /// `Gauge::total` at the last review, and since when it has not changed.
    unused: (u32, Instant),
}

impl Driver {
    fn new(
        connection: Connection<Metered, Bytes>,
        ping: Option<PingPong>,
        gauge: Arc<Gauge>,
        endpoint: &Arc<Endpoint>,
        worker: WorkerId,
    ) -> Self {
        let keepalive = endpoint.keepalive();
        Self {
            connection,
            ping,
            pinged: false,
            keepalive,
            timer: Box::pin(sleep(keepalive.map_or(REVIEW, |ping| ping.interval))),
            gauge,
            endpoint: Arc::downgrade(endpoint),
            worker,
            unused: (0, time::now()),
        }
    }

    /// Until the connection is closed, by whichever side.
    pub(super) async fn run(mut self) {
        let ended = std::future::poll_fn(|cx| self.poll(cx)).await;
        let Some(endpoint) = self.endpoint.upgrade() else { return };
        match ended {
            Ok(()) => {}
            Err(Lost::Silent) => {
                tracing::debug!(endpoint = %endpoint.name(), "connection lost: no answer to a ping");
            }
            Err(Lost::Http2(error)) => {
                tracing::debug!(endpoint = %endpoint.name(), %error, "connection lost");
                if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                    endpoint.ping_less_often();
                }
            }
        }
        endpoint.pool(self.worker).retire(&self.gauge);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(ended.map_err(Lost::Http2));
            }
            self.note_limit();
            if self.pinged && self.poll_pong(cx)?.is_ready() {
                self.pinged = false;
                self.rest();
            }
            ready!(self.timer.as_mut().poll(cx));
            self.review()?;
        }
    }

    /// The peer may change its limit at any time.
    fn note_limit(&self) {
        let limit = announced_limit(&self.connection);
        if self.gauge.limit.swap(limit, Ordering::SeqCst) < limit {
            self.gauge.demand.changed.notify_waiters();
        }
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Lost> {
        match &mut self.ping {
            Some(ping) => match ping.poll_pong(cx) {
                Poll::Ready(answer) => answer.map(|_| Poll::Ready(())).map_err(Lost::Http2),
                Poll::Pending => Ok(Poll::Pending),
            },
            None => Ok(Poll::Ready(())),
        }
    }

    /// The timer fired: an answer is overdue, or it is time to look whether the connection is alive and needed.
    fn review(&mut self) -> Result<(), Lost> {
        if self.pinged {
            return Err(Lost::Silent);
        }
        self.shrink();
        match (self.keepalive, &mut self.ping) {
            (Some(keepalive), Some(ping)) if self.gauge.open.load(Ordering::Relaxed) > 0 => {
                ping.send_ping(Ping::opaque()).map_err(Lost::Http2)?;
                self.pinged = true;
                self.wake_in(keepalive.timeout);
            }
            _ => self.rest(),
        }
        Ok(())
    }

    fn shrink(&mut self) {
        let total = self.gauge.total.load(Ordering::Relaxed);
        let now = time::now();
        if total != self.unused.0 || self.gauge.open.load(Ordering::Relaxed) > 0 {
            self.unused = (total, now);
            return;
        }
        if now.saturating_duration_since(self.unused.1) >= SHRINK_AFTER
            && let Some(endpoint) = self.endpoint.upgrade()
        {
            endpoint.pool(self.worker).retire_surplus(&self.gauge);
        }
    }

    fn rest(&mut self) {
        self.wake_in(self.keepalive.map_or(REVIEW, |keepalive| keepalive.interval));
    }

    fn wake_in(&mut self, pause: Duration) {
        self.timer.as_mut().reset(tokio::time::Instant::from_std(time::now() + pause));
    }
}

/// Counts what is read, for the handshake.
struct Metered {
    stream: Stream,
    gauge: Arc<Gauge>,
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = buf.filled().len().saturating_sub(before);
        this.gauge.bytes_in.fetch_add(u64::try_from(read).unwrap_or(0), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
