//! Copies of a route's requests for another service, whose answers are thrown away.
//!
//! ```text
//!   request ── its turn? small enough? ──► backend
//!                  │
//!                  └─ collected as it passes; when it is whole, and there is a place, a task of its own ──► mirror
//! ```
//! Invariants:
//! - Nothing here waits, fails or changes anything of the request itself. Its log, its metrics and its trace do not know of
//!   the copy.
//! - A copy holds at most [`MAX_REPLAY`] bytes of a body, and there are at most as many as the configuration allows. What
//!   is still being collected takes none of their places, or clients that begin and do not go on would take all of them;
//!   it has a bound of its own ([`MAX_COLLECTED`]).
//! - The copy says that it is one, in a field that no client may send. The host stays what it was: an invented one would
//!   not be found by whoever goes by hosts.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::{Body, Frame, SizeHint};
use tidegate_config::valid;

use crate::body::{BodyError, RequestBody};
use crate::exchange::Exchange;
use crate::ids::WorkerId;
use crate::tasks;
use crate::telemetry::metrics::{MirrorSeries, Mirrored};
use crate::time;
use crate::turns::{CIRCLE, Turns};
use crate::upstream::{CallDeadline, CallError, CallHead, Caller, Cluster, MAX_REPLAY, Outgoing, RetryPlan};

/// Tells a backend that nobody waits for its answer.
const MARK: HeaderName = HeaderName::from_static("x-tidegate-mirror");

const MARKED: HeaderValue = HeaderValue::from_static("true");

/// The deadline of copies on routes that have none.
const NO_TIMEOUT: Duration = Duration::from_secs(15);

/// Pieces of a body that are kept: each costs more than its bytes.
const MAX_PIECES: usize = 256;

/// Bytes of requests of one mirror that may be in collection at once, with their heads.
const MAX_COLLECTED: usize = 16 * 1024 * 1024;

/// A compiled `mirror`.
#[derive(Debug)]
pub struct Mirror {
    cluster: Arc<Cluster>,
    /// Of the circle of turns.
    share: u64,
    turns: Turns,
    in_flight: AtomicU32,
    max_in_flight: u32,
    collected: AtomicUsize,
    /// Of a copy, with the whole of its answer.
    timeout: Duration,
    retry: RetryPlan,
    series: Arc<MirrorSeries>,
}

impl Mirror {
    /// Compiles the mirror of a route for this many workers.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of the circle, which is no more"
    )]
    pub fn compile(
        mirror: &valid::Mirror,
        timeout: Option<Duration>,
        cluster: Arc<Cluster>,
        series: Arc<MirrorSeries>,
        workers: usize,
    ) -> Self {
        Self {
            cluster,
            share: (mirror.ratio * CIRCLE as f64) as u64,
            turns: Turns::new(workers),
            in_flight: AtomicU32::new(0),
            max_in_flight: mirror.max_in_flight,
            collected: AtomicUsize::new(0),
            timeout: timeout.unwrap_or(NO_TIMEOUT),
            retry: RetryPlan::never(),
            series,
        }
    }

    /// Where copies are counted.
    #[must_use]
    pub fn series(&self) -> Arc<MirrorSeries> {
        Arc::clone(&self.series)
    }

    /// The body of a request to an HTTP service, which leaves a copy behind if it is its turn.
    #[must_use]
    pub fn request(self: &Arc<Self>, exchange: &Exchange, outgoing: &Outgoing<'_>, body: RequestBody) -> RequestBody {
        let copied = || {
            let mut head = outgoing.head.clone();
            for part in [MARK.as_str().as_bytes(), b": ", MARKED.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
            Copied::Request { method: outgoing.method.clone(), head, trace: outgoing.trace.clone() }
        };
        self.collect(exchange, outgoing.ring_key, outgoing.length, body, copied)
    }

    /// The client's side of a call, as [`Mirror::request`].
    #[must_use]
    pub fn stream(self: &Arc<Self>, exchange: &Exchange, head: &CallHead, body: RequestBody) -> RequestBody {
        self.collect(exchange, head.ring_key, None, body, || copied_call(head))
    }

    /// A call whose messages are there; they stand in their frames.
    pub fn call(self: &Arc<Self>, exchange: &Exchange, head: &CallHead, frames: &Bytes) {
        let length = Some(frames.len() as u64);
        let body = RequestBody::full(frames.clone());
        let _as_it_was = self.collect(exchange, head.ring_key, length, body, || copied_call(head));
    }

    /// A call whose messages are not kept.
    pub fn pass_over(&self, worker: WorkerId) {
        if self.turns.next(worker) < self.share {
            self.series.came_to(Mirrored::NotRepeatable);
        }
    }

    fn collect(
        self: &Arc<Self>,
        exchange: &Exchange,
        ring_key: Option<u64>,
        length: Option<u64>,
        body: RequestBody,
        copied: impl FnOnce() -> Copied,
    ) -> RequestBody {
        if self.turns.next(exchange.worker()) >= self.share {
            return body;
        }
        if length.is_some_and(|length| length > MAX_REPLAY as u64) {
            self.series.came_to(Mirrored::NotRepeatable);
            return body;
        }
        let copy = |stock| {
            let (exchange, copied) = (exchange.aside(), copied());
            Copy { mirror: Arc::clone(self), stock, exchange, ring_key, copied, length, pieces: Vec::new(), bytes: 0 }
        };
        match body {
            RequestBody::Full(Some(bytes)) => {
                if let Some(place) = self.place() {
                    copy(None).with(&bytes, place);
                }
                RequestBody::full(bytes)
            }
            body if body.is_end_stream() => {
                if let Some(place) = self.place() {
                    copy(None).send(place);
                }
                body
            }
            body => {
                let mut copy = copy(Some(Stock { mirror: Arc::clone(self), bytes: 0 }));
                if copy.has_room(copy.copied.len()) {
                    return RequestBody::stream(Collecting { body, copy: Some(Box::new(copy)) });
                }
                self.series.came_to(Mirrored::Full);
                body
            }
        }
    }

    /// A place for a request that is whole; that there is none is counted.
    fn place(self: &Arc<Self>) -> Option<Place> {
        let place = Place::take(self);
        if place.is_none() {
            self.series.came_to(Mirrored::Full);
        }
        place
    }
}

fn copied_call(head: &CallHead) -> Copied {
    let mut head = head.clone();
    head.metadata.insert(MARK, MARKED);
    Copied::Call(Box::new(head))
}

/// One of the copies that there may be at once.
struct Place(Arc<Mirror>);

impl Place {
    fn take(mirror: &Arc<Mirror>) -> Option<Self> {
        let place = Self(Arc::clone(mirror));
        // A place too many is given back by its drop.
        (mirror.in_flight.fetch_add(1, Ordering::Relaxed) < mirror.max_in_flight).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one request in collection takes of [`MAX_COLLECTED`].
struct Stock {
    mirror: Arc<Mirror>,
    bytes: usize,
}

impl Stock {
    /// Takes more; `false` if there is not that much left.
    fn take(&mut self, more: usize) -> bool {
        // What is too much is given back by the drop, with the rest.
        self.bytes = self.bytes.saturating_add(more);
        self.mirror.collected.fetch_add(more, Ordering::Relaxed).saturating_add(more) <= MAX_COLLECTED
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.mirror.collected.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a copy begins with.
enum Copied {
    Request { method: Method, head: Vec<u8>, trace: Option<Box<HeaderMap>> },
    Call(Box<CallHead>),
}

impl Copied {
    /// Bytes of it that clients and rules have a say in.
    fn len(&self) -> usize {
        match self {
            Self::Request { head, .. } => head.len(),
            Self::Call(head) => head.metadata.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
        }
    }
}

/// A copy whose request is on its way.
struct Copy {
    mirror: Arc<Mirror>,
    /// `None` if all of it is there at once.
    stock: Option<Stock>,
    exchange: Arc<Exchange>,
    ring_key: Option<u64>,
    copied: Copied,
    /// Of the body, if it was told.
    length: Option<u64>,
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Copy {
    fn has_room(&mut self, more: usize) -> bool {
        self.stock.as_mut().is_none_or(|stock| stock.take(more))
    }

    /// Keeps a piece of the body.
    ///
    /// # Errors
    /// What the copy comes to instead.
    fn keep(&mut self, piece: &Bytes) -> Result<(), Mirrored> {
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes > MAX_REPLAY || self.pieces.len() >= MAX_PIECES {
            return Err(Mirrored::NotRepeatable);
        }
        if !self.has_room(piece.len()) {
            return Err(Mirrored::Full);
        }
        self.pieces.push(piece.clone());
        Ok(())
    }

    fn with(mut self, body: &Bytes, place: Place) {
        match self.keep(body) {
            Ok(()) => self.send(place),
            Err(outcome) => self.came_to(outcome),
        }
    }

    /// The request is whole: asks the mirror, on the worker that calls this.
    fn send(mut self, place: Place) {
        self.stock = None;
        // Where there is no runtime any more the process ends.
        let _detached = tasks::spawn("mirror", self.run(place));
    }

    async fn run(self, place: Place) {
        let Self { mirror, exchange, ring_key, copied, pieces, .. } = self;
        let body = match <[Bytes; 1]>::try_from(pieces) {
            Ok([whole]) => whole,
            Err(pieces) => pieces.concat().into(),
        };
        let ends = time::now() + mirror.timeout;
        let asked = async {
            match copied {
                Copied::Request { method, head, trace } => {
                    let outgoing = Outgoing {
                        method,
                        head,
                        trace,
                        length: Some(body.len() as u64).filter(|length| *length > 0),
                        max_body: MAX_REPLAY as u64,
                        deadline: Some(ends),
                        idle_timeout: Some(mirror.timeout),
                        ring_key,
                        retry: &mirror.retry,
                        hedge: None,
                        hints: false,
                        accept: None,
                    };
                    mirror.ask(&exchange, outgoing, body).await
                }
                Copied::Call(head) => mirror.ask_method(&exchange, *head, body, CallDeadline::Total(ends)).await,
            }
        };
        mirror.series.came_to(if asked.await { Mirrored::Answered } else { Mirrored::Failed });
        drop(place);
    }

    fn came_to(&self, outcome: Mirrored) {
        self.mirror.series.came_to(outcome);
    }
}

impl Mirror {
    /// Whether there is an answer. What is left of it is read, so that its connection can be used again, but for no longer
    /// than the copy may take.
    async fn ask(&self, exchange: &Arc<Exchange>, outgoing: Outgoing<'_>, body: Bytes) -> bool {
        let deadline = CallDeadline::total(outgoing.deadline);
        let Ok(response) = self.cluster.forward(exchange, &outgoing, RequestBody::full(body)).await else {
            return false;
        };
        let mut answer = response.into_body();
        let read = pin!(async {
            while let Some(Ok(_thrown_away)) = std::future::poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await {}
        });
        let _in_time = deadline.within(self.cluster.wheel(exchange.worker()), read).await;
        true
    }

    /// Whether there is a status, or a message before the deadline.
    async fn ask_method(&self, exchange: &Exchange, head: CallHead, frames: Bytes, deadline: CallDeadline) -> bool {
        let caller = Caller::Exchange(exchange);
        let Ok(mut call) = self.cluster.call(caller, head, frames, true, deadline).await else { return false };
        let mut answered = false;
        loop {
            match call.next_message().await {
                Ok(Some(_thrown_away)) => answered = true,
                Ok(None) => return true,
                Err(error) => return answered || matches!(error, CallError::Status(_)),
            }
        }
    }
}

/// A body that is collected as it passes.
struct Collecting {
    body: RequestBody,
    /// `None` once it was sent, or given up.
    copy: Option<Box<Copy>>,
}

impl Body for Collecting {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let (Some(piece), Some(copy)) = (frame.data_ref(), &mut this.copy)
            && let Err(outcome) = copy.keep(piece)
        {
            copy.came_to(outcome);
            this.copy = None;
        }
        // Who knows the length does not ask for more.
        let has_all = this.copy.as_ref().is_some_and(|copy| copy.length == Some(copy.bytes as u64));
        let whole = match &frame {
            None => true,
            Some(Ok(frame)) => has_all || frame.is_trailers() || this.body.is_end_stream(),
            Some(Err(_)) => {
                // Whoever asks once more gets an end, which is not that of the whole.
                if let Some(copy) = this.copy.take() {
                    copy.came_to(Mirrored::Unfinished);
                }
                false
            }
        };
        if whole
            && let Some(copy) = this.copy.take()
            && let Some(place) = copy.mirror.place()
        {
            copy.send(place);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy {
            copy.came_to(Mirrored::Unfinished);
        }
    }
}
