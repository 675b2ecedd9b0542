//! A client joined with a backend after the backend's 101: bytes both ways, until one of them ends it.
//!
//! ```text
//!   client ── Client ──► task `tunnel upload` ──► write half
//!   client ◄─ Tunnel (the body of the answer) ◄── read half      one connection to the backend
//! ```
//! The directions go on by themselves, so that a reader who is slow holds up its own writer alone; what waits is one
//! read of each. The end of one direction is passed on, and the other one goes on. The connection never goes back to
//! the pool.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::answer::{Answer, Watch};
use super::pool::Lease;
use crate::body::{BodyError, BodyStream};
use crate::dial::Stream;
use crate::exchange::Exchange;
use crate::reject::Reason;
use crate::tasks;
use crate::telemetry::metrics::OpenTunnel;
use crate::time::{Deadline, now};

/// Bytes of one read. They stand on the stack, so that a tunnel at rest holds no buffer.
const READ: usize = 16 * 1024;

/// How long a client may still send after the backend, or the gateway, has ended its side: time for a last word.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// See the module. It is the body of the answer; dropped before its end it cuts both sides.
pub struct Tunnel {
    /// Came with the head of the 101.
    early: BytesMut,
    /// `None` once nothing more is wanted of the backend.
    backend: Option<ReadHalf<Stream>>,
    upload: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    watch: Watch,
    /// Armed while the backend is silent.
    silence: Option<Deadline>,
    ended: bool,
    // Given back at the end, in whatever way that comes.
    _lease: Lease,
    _open: OpenTunnel,
}

/// What the two directions know of each other.
struct Shared {
    begun: Instant,
    /// The last time that the client sent something, in milliseconds from the beginning.
    client_ms: AtomicU64,
    /// The client's side has broken.
    lost: AtomicBool,
    /// The client gets nothing more.
    ended: Notify,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tunnel")
    }
}

impl Tunnel {
    /// Joins `client` with the connection that `answer` came on.
    pub(in crate::upstream) fn open(answer: Answer, client: BodyStream, watch: Watch) -> Self {
        let begun = now();
        let client_ms = AtomicU64::new(0);
        let shared = Arc::new(Shared { begun, client_ms, lost: AtomicBool::new(false), ended: Notify::new() });
        let mut lease = answer.into_lease();
        let (mut early, mut halves) = (BytesMut::new(), None);
        if let Some(wire) = lease.take() {
            let (stream, input) = wire.into_parts();
            early = input;
            halves = Some(tokio::io::split(stream));
        }
        let (backend, upload) = match halves {
            Some((read, write)) => {
                let upload = upload(client, write, Arc::clone(&shared), Arc::clone(&watch.exchange));
                (Some(read), Some(tasks::spawn("tunnel upload", until_late(upload, Arc::clone(&shared)))))
            }
            None => (None, None),
        };
        let open = watch.attempt.endpoint().series.tunnel();
        Self { early, backend, upload, shared, watch, silence: None, ended: false, _lease: lease, _open: open }
    }

    /// The client gets nothing more. What it still says passes on for a moment.
    pub fn end(&mut self) {
        self.ended = true;
        self.backend = None;
        self.upload = None;
        self.shared.ended.notify_one();
    }

    /// Cuts both sides: what came so far may not be all.
    fn break_off(&mut self, reason: Reason, cause: &str) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        self.cut();
        self.watch.exchange.facts.failed(reason);
        let request_id = self.watch.exchange.request_id.as_str();
        tracing::debug!(request_id, reason = reason.word(), cause, "a tunnel was broken off");
        Poll::Ready(Some(Err(BodyError::BrokenOff)))
    }

    fn cut(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
        self.backend = None;
    }

    /// Whether the client's side has broken.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(upload) = &mut self.upload else { return false };
        if Pin::new(upload).poll(cx).is_pending() {
            return false;
        }
        self.upload = None;
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Neither side has sent anything for too long.
    fn is_idle_too_long(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(idle) = self.watch.idle_timeout else { return false };
        loop {
            let silence = self.silence.get_or_insert_with(|| self.watch.wheel.at(now() + idle));
            if Pin::new(silence).poll(cx).is_pending() {
                return false;
            }
            let until = self.shared.client_at() + idle;
            if until <= now() {
                return true;
            }
            self.silence = Some(self.watch.wheel.at(until));
        }
    }
}

impl Shared {
    fn client_sent(&self) {
        let since = now().saturating_duration_since(self.begun).as_millis();
        self.client_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn client_at(&self) -> Instant {
        self.begun + Duration::from_millis(self.client_ms.load(Ordering::Relaxed))
    }
}

impl Body for Tunnel {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if this.poll_lost(cx) {
            return this.break_off(Reason::ClientClosed, "the client has gone");
        }
        if !this.early.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.early).freeze()))));
        }
        let Some(backend) = &mut this.backend else {
            this.end();
            return Poll::Ready(None);
        };
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        match Pin::new(backend).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Ok(())) => {
                this.silence = None;
                Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(buffer.filled())))))
            }
            Poll::Ready(Err(error)) => this.break_off(Reason::UpstreamReset, &error.to_string()),
            Poll::Pending if this.is_idle_too_long(cx) => {
                this.break_off(Reason::UpstreamTimeout, "neither side has sent anything")
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // After `end` the task is on its own.
        self.cut();
    }
}

/// Passes on what the client sends, to its end.
async fn upload(mut client: BodyStream, mut backend: WriteHalf<Stream>, shared: Arc<Shared>, exchange: Arc<Exchange>) {
    let mut takes = true;
    while let Some(frame) = poll_fn(|cx| client.as_mut().poll_frame(cx)).await {
        let Ok(frame) = frame else {
            shared.lost.store(true, Ordering::Relaxed);
            return;
        };
        let Ok(data) = frame.into_data() else { continue };
        exchange.facts.received(data.len());
        shared.client_sent();
        // What a backend does not take any more is dropped: the client is told by the other direction.
        takes = takes && backend.write_all(&data).await.is_ok() && backend.flush().await.is_ok();
    }
    // An error means that it has closed by itself.
    let _closed = backend.shutdown().await;
}

/// Runs `upload`, but not for long once the client gets nothing more.
async fn until_late(upload: impl Future<Output = ()>, shared: Arc<Shared>) {
    let mut upload = pin!(upload);
    let mut late = pin!(async {
        shared.ended.notified().await;
        tokio::time::sleep(LAST_WORDS).await;
    });
    poll_fn(|cx| {
        if upload.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        ready!(late.as_mut().poll(cx));
        Poll::Ready(())
    })
    .await;
}
