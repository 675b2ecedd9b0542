//! HTTP/2 for clients, by the h2 crate behind the guard; one task for each stream.
//!
//! The crate leaves to its user what hyper would do: limits, keep-alive, graceful ends, and the way of a body in both
//! directions. The connection's task only moves frames; all work happens in the streams' tasks, which end, with
//! the request they run, as soon as the client resets the stream or the connection goes.

mod socket;
mod turnover;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use crate::body::{BodyError, RequestBody, WriteTimeout};
use crate::hints::Hints;
use crate::tasks;
use crate::time::now;

use crate::telemetry::answer::AnswerBody;
use crate::telemetry::metrics::Flood;

use super::Handle;
use super::connection::{Busy, Conn};
use super::drain::Lane;
use super::guard::clock::{Patience, Timeouts};
use super::guard::flood::MAX_FRAMES_PER_WINDOW;
use super::guard::{Guarded, Traffic};
use super::vet::vet;

use self::socket::Socket;
use self::turnover::{Made, Turnover};

/// Bounds of one HTTP/2 connection, announced in SETTINGS or enforced by the h2 crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Requests at once.
    pub streams: u32,
    /// Bytes of one request's body that may be on their way.
    pub stream_window_bytes: u32,
    /// Bytes of all bodies that may be on their way.
    pub connection_window_bytes: u32,
    /// All fields of a head, decoded, each with 32 bytes on top.
    pub header_list_bytes: u32,
    /// Bytes of one answer that are taken over before the client has room for them.
    pub send_buffer_bytes: usize,
    /// Frames in a second beside those of requests and bodies; in a minute a fifth of it, at least 2,000, beside what
    /// requests and answers explain.
    pub frames_per_second: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams: 100,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 1024 * 1024,
            header_list_bytes: 32 * 1024,
            send_buffer_bytes: 64 * 1024,
            frames_per_second: MAX_FRAMES_PER_WINDOW,
        }
    }
}

/// Streams that the client reset before they were looked at: beyond it GOAWAY.
const MAX_PENDING_RESETS: usize = 20;

/// Streams that had to be reset because of the client's errors, over the life of a connection: beyond it GOAWAY.
const MAX_ERROR_RESETS: usize = 1024;

/// Reset streams that are remembered, so that late frames of them are no errors, and for how long.
const MAX_REMEMBERED_RESETS: usize = 100;
const RESET_MEMORY: Duration = Duration::from_secs(1);

/// What h2 charges small DATA frames to: generous towards clients that send a body byte by byte, within the window.
const DATA_FRAME_BUDGET: usize = 512 * 1024;

/// How long an idle connection that was told to go may still begin a stream.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a stream that must be broken off waits for its last data to leave.
const FLUSH_BEFORE_RESET: Duration = Duration::from_millis(100);

/// The one place where options of the h2 crate are set: left alone it has no limit on streams and takes heads of
/// 16 MiB.
fn builder(limits: &Http2Limits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .initial_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_header_list_size(limits.header_list_bytes)
        .max_send_buffer_size(limits.send_buffer_bytes)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .reset_stream_duration(RESET_MEMORY)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .enable_connect_protocol();
    builder
}

/// Serves streams until either side closes.
pub(super) async fn serve<Io, H>(io: Guarded<Io>, conn: Arc<Conn<H>>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handle,
{
    let handshake = builder(&conn.settings().http2).handshake(io);
    let Ok(Ok(mut h2)) = tokio::time::timeout(conn.settings().timeouts.head, handshake).await else {
        return;
    };
    let pings = h2.ping_pong();
    let mut server = Server::new(conn, pings);
    poll_fn(|cx| server.poll(&mut h2, cx)).await;
}

/// The connection's own business, beside moving frames.
struct Server<H> {
    conn: Arc<Conn<H>>,
    streams: Arc<Streams>,
    life: Life,
    turnover: Turnover,
    /// The client is a proxy of ours: one of its clients must not cost all others their answers.
    is_trusted: bool,
    /// The client has been told to calm down.
    calmed: bool,
    pings: Option<PingPong>,
    /// How often idle connections had been asked to go at the last look.
    asked: usize,
    /// Wakes at the next time that `life` has something to do.
    timer: Pin<Box<Sleep>>,
}

impl<H: Handle> Server<H> {
    fn new(conn: Arc<Conn<H>>, pings: Option<PingPong>) -> Self {
        let begun = now();
        let life = Life::new(begun, conn.close_at, &conn.settings().timeouts);
        let timer = Box::pin(tokio::time::sleep_until(life.next(None).into()));
        let streams = Arc::new(Streams { begun, idle_since_ms: AtomicU64::new(0), given_up: AtomicU32::new(0) });
        let asked = conn.lane.asked();
        let is_trusted = conn.settings().trusts(conn.info.peer.ip());
        let turnover = Turnover::new(begun);
        Self { conn, streams, life, turnover, is_trusted, calmed: false, pings, asked, timer }
    }

    /// Ready when the connection has ended or must be dropped.
    fn poll<Io>(&mut self, h2: &mut Connection<Guarded<Io>, Bytes>, cx: &mut Context<'_>) -> Poll<()>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            match h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.begin(request, respond);
                    continue;
                }
                // The client closed, or broke the protocol and has been told by h2.
                Poll::Ready(Some(Err(error))) => {
                    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                        self.tell(Flood::Library);
                    }
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if self.is_flooded() {
                h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            if self.conn.lane.is_draining() && self.life.end() {
                h2.graceful_shutdown();
                continue;
            }
            if self.is_asked_to_go() {
                h2.graceful_shutdown();
                continue;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.turn(cx) {
                Turn::Wait => {}
                Turn::GoAway => h2.graceful_shutdown(),
                Turn::Drop => return Poll::Ready(()),
            }
        }
    }

    /// Whether the client has begun to do too much of something. Nothing more is read of it then.
    fn is_flooded(&mut self) -> bool {
        let flood = &self.conn.traffic.flood;
        if !self.is_trusted && self.turnover.is_flood(self.streams.given_up.load(Ordering::Relaxed)) {
            let _first = flood.set(Flood::Resets);
        }
        let Some(flood) = flood.get().filter(|_| !self.calmed) else { return false };
        self.tell(*flood);
        self.calmed = true;
        true
    }

    fn tell(&self, flood: Flood) {
        let info = &self.conn.info;
        self.conn.lane.listener.series.flooded(info.worker, flood);
        tracing::debug!(peer = %info.peer, rule = flood.word(), "a flood of HTTP/2: the connection is closed");
    }

    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let most = usize::try_from(self.conn.settings().http2.streams).unwrap_or(usize::MAX);
        if self.conn.traffic.answering.load(Ordering::Relaxed) >= most {
            // h2 has forgotten streams that were reset, but what runs for them has not ended yet.
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let conn = Arc::clone(&self.conn);
        let made = self.turnover.made(now(), || self.streams.given_up.store(0, Ordering::Relaxed));
        let mut open = Open::begin(&conn.traffic, &conn.lane, &self.streams, made);
        // Boxed: a spawned future is moved, and stands in its task more than once.
        let serving = Box::pin(async move {
            open.given_up = stream(&conn, request, respond).await.is_err();
            drop(open);
        });
        tasks::spawn("http2 stream", serving);
    }

    /// Whether idle connections were asked to go since the last look, and this is one.
    fn is_asked_to_go(&mut self) -> bool {
        let asked = self.conn.lane.asked();
        let (used, answering) = (&self.conn.traffic.used, &self.conn.traffic.answering);
        let is_idle = used.load(Ordering::Relaxed) && answering.load(Ordering::Relaxed) == 0;
        if std::mem::replace(&mut self.asked, asked) == asked || !is_idle || !self.life.leave(now()) {
            return false;
        }
        self.timer.as_mut().reset(self.life.next(Some(self.streams.idle_since())).into());
        true
    }

    /// The timer has fired.
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let now = now();
        let idle_since = (self.conn.traffic.answering.load(Ordering::Relaxed) == 0).then(|| self.streams.idle_since());
        let heard = self.conn.traffic.heard.swap(false, Ordering::Relaxed);
        let turn = self.life.turn(now, heard, idle_since);
        if let (Turn::Wait, true, Some(pings)) = (&turn, self.life.asks_at(now), &mut self.pings) {
            // The answer to the one before makes room for this one; its arrival has been noticed as bytes.
            let _pong = pings.poll_pong(cx);
            let _full = pings.send_ping(Ping::opaque());
        }
        self.timer.as_mut().reset(self.life.next(idle_since).into());
        turn
    }
}

/// When a connection is asked for a sign of life, and when it ends. Pure.
#[derive(Debug)]
struct Life {
    idle: Duration,
    ping_interval: Duration,
    ping: Duration,
    close_at: Instant,
    /// The last time that the client was known to be alive.
    alive_at: Instant,
    /// When it was asked.
    asked_at: Option<Instant>,
    /// GOAWAY has been sent.
    ending: bool,
    /// It was told to go because nothing ran on it; if nothing has begun by then, it is dropped. Who never answers would be
    /// waited for otherwise.
    gone_at: Option<Instant>,
}

/// What to do when the timer has fired.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Wait,
    GoAway,
    Drop,
}

impl Life {
    fn new(now: Instant, close_at: Instant, timeouts: &Timeouts) -> Self {
        Self {
            idle: timeouts.idle,
            ping_interval: timeouts.ping_interval,
            ping: timeouts.ping,
            close_at,
            alive_at: now,
            asked_at: None,
            ending: false,
            gone_at: None,
        }
    }

    /// Marks the end; `false` if it was marked before.
    fn end(&mut self) -> bool {
        !std::mem::replace(&mut self.ending, true)
    }

    /// As [`Life::end`], of an idle connection, which is dropped if nothing begins on it.
    fn leave(&mut self, now: Instant) -> bool {
        self.gone_at = self.gone_at.or(Some(now + LAST_WORDS));
        self.end()
    }

    /// Whether the client is being asked since `now`.
    fn asks_at(&self, now: Instant) -> bool {
        self.asked_at == Some(now)
    }

    /// `heard`: bytes have come since the last turn. `idle_since`: there is no stream since then.
    fn turn(&mut self, now: Instant, heard: bool, idle_since: Option<Instant>) -> Turn {
        if heard {
            self.alive_at = now;
            self.asked_at = None;
        } else if self.asked_at.is_some_and(|asked| now >= asked + self.ping) {
            return Turn::Drop;
        } else if self.asked_at.is_none() && now >= self.alive_at + self.ping_interval {
            self.asked_at = Some(now);
        }
        if idle_since.is_none() {
            self.gone_at = None;
        } else if self.gone_at.is_some_and(|at| now >= at) {
            return Turn::Drop;
        }
        let idle = idle_since.is_some_and(|since| now >= since + self.idle);
        if (idle || now >= self.close_at) && self.end() {
            self.gone_at = idle.then(|| now + LAST_WORDS);
            return Turn::GoAway;
        }
        Turn::Wait
    }

    /// The next time that a turn could come to something.
    fn next(&self, idle_since: Option<Instant>) -> Instant {
        let sign = match self.asked_at {
            Some(asked) => asked + self.ping,
            None => self.alive_at + self.ping_interval,
        };
        if self.ending {
            return self.gone_at.map_or(sign, |at| sign.min(at));
        }
        let end = idle_since.map_or(self.close_at, |since| self.close_at.min(since + self.idle));
        sign.min(end)
    }
}

/// What the streams of a connection leave behind.
struct Streams {
    begun: Instant,
    /// When the last one has ended.
    idle_since_ms: AtomicU64,
    /// How many were given up young, in the window of [`Turnover`].
    given_up: AtomicU32,
}

impl Streams {
    fn idle_since(&self) -> Instant {
        self.begun + Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed))
    }
}

/// One stream is being served.
struct Open {
    busy: Option<Busy>,
    traffic: Arc<Traffic>,
    streams: Arc<Streams>,
    made: Made,
    /// The client did not wait for the end of the answer.
    given_up: bool,
}

impl Open {
    fn begin(traffic: &Arc<Traffic>, lane: &Arc<Lane>, streams: &Arc<Streams>, made: Made) -> Self {
        traffic.used.store(true, Ordering::Relaxed);
        traffic.answering.fetch_add(1, Ordering::Relaxed);
        let (traffic, streams) = (Arc::clone(traffic), Arc::clone(streams));
        Self { busy: Some(Busy::begin(lane)), traffic, streams, made, given_up: false }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.busy.take());
        self.traffic.answering.fetch_sub(1, Ordering::Relaxed);
        let now = now();
        if self.given_up && self.made.is_young(now) {
            self.streams.given_up.fetch_add(1, Ordering::Relaxed);
        }
        let since = now.saturating_duration_since(self.streams.begun);
        self.streams.idle_since_ms.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Runs one request and sends its answer, unless the client has [`Gone`] before its end.
async fn stream<H: Handle>(
    conn: &Conn<H>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), Gone> {
    let (parts, body) = request.into_parts();
    let mut parts = Box::new(parts);
    let head_only = parts.method == Method::HEAD;
    let socket = socket::take_protocol(&mut parts);
    let vetted = socket.and_then(|socket| vet(&mut parts, &conn.settings().head).map(|()| socket));
    let response = match vetted {
        Err(reject) => conn.refuse(Some(parts), *reject),
        Ok(socket) => {
            let body = if socket {
                RequestBody::socket(Socket::new(body))
            } else {
                upload(body, &parts.headers, conn.settings().timeouts)
            };
            let handled = {
                let handled = pin!(conn.handle(parts, body));
                unless_reset(&mut respond, &conn.info.hints, handled).await
            };
            let Some(handled) = handled else { return Err(Gone) };
            conn.settle(handled)
        }
    };
    let date = conn.lane.worker.date.now();
    send(response, head_only, date, &mut respond, conn).await
}

/// The output of `future`, or `None` as soon as the client has given the stream up. That is looked at first: a request that
/// came together with its reset, or with the end of its connection, costs the backend nothing. The client gets the hints that
/// come meanwhile.
async fn unless_reset<F: Future>(
    respond: &mut SendResponse<Bytes>,
    hints: &Hints,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        let polled = future.as_mut().poll(cx);
        if hints.any() {
            let own = hints.take_own();
            own.into_iter().filter(|_| polled.is_pending()).for_each(|hint| send_hint(respond, hint));
        }
        polled.map(Some)
    })
    .await
}

fn send_hint(respond: &mut SendResponse<Bytes>, fields: HeaderMap) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::EARLY_HINTS;
    *response.headers_mut() = fields;
    // A stream that has gone is noticed by the answer.
    let _sent = respond.send_informational(response);
}

/// Fields that mean a connection of HTTP/1 and make an HTTP/2 message malformed (RFC 9113, section 8.2.2).
static CONNECTION_FIELDS: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The client does not take the answer any more: it has reset the stream, or gone.
struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

async fn send<H: Handle>(
    response: Response<AnswerBody>,
    head_only: bool,
    date: HeaderValue,
    respond: &mut SendResponse<Bytes>,
    conn: &Conn<H>,
) -> Result<(), Gone> {
    let (mut parts, mut body) = response.into_parts();
    let own = parts.extensions.remove::<WriteTimeout>();
    let patience = own.as_ref().map_or(conn.settings().timeouts.write, |own| own.wait);
    for name in &CONNECTION_FIELDS {
        parts.headers.remove(name);
    }
    parts.headers.entry(DATE).or_insert(date);
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        parts.status = StatusCode::OK;
    }
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless
        && let Some(length) = body.size_hint().exact()
        && !(head_only && length == 0)
    {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    let ends = head_only || bodiless || body.is_end_stream();
    let mut out = respond.send_response(Response::from_parts(parts, ()), ends)?;
    if ends {
        return Ok(());
    }
    let mut writer = Writer { patience, own, waited: Duration::ZERO, taken: 0 };
    loop {
        match next_frame(&mut body, &mut out).await? {
            None => {
                out.send_data(Bytes::new(), true)?;
                body.sent(0, true);
                return Ok(());
            }
            Some(Err(_)) => {
                // A body that breaks off has said why.
                body.sent(0, true);
                break_off(&mut out, &conn.traffic).await;
                return Ok(());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    writer.data(&mut out, &mut body, data, last).await?;
                    if last {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    out.send_trailers(trailers)?;
                    body.sent(0, true);
                    return Ok(());
                }
            },
        }
    }
}

/// The next piece of the answer, while the client still wants it.
async fn next_frame(
    body: &mut AnswerBody,
    out: &mut SendStream<Bytes>,
) -> Result<Option<Result<Frame<Bytes>, BodyError>>, Gone> {
    poll_fn(|cx| {
        if let Poll::Ready(frame) = body.poll_untold(cx) {
            return Poll::Ready(Ok(frame));
        }
        out.poll_reset(cx).map(|_| Err(Gone))
    })
    .await
}

/// Resets a stream whose answer cannot be finished, after what was handed over has left: a reset overtakes data that
/// waits. The connection's task writes in its next turn, unless the socket is full.
async fn break_off(out: &mut SendStream<Bytes>, traffic: &Traffic) {
    let deadline = now() + FLUSH_BEFORE_RESET;
    loop {
        tokio::task::yield_now().await;
        if !traffic.write_blocked.load(Ordering::Relaxed) || now() >= deadline {
            break;
        }
        tokio::time::sleep(FLUSH_BEFORE_RESET / 10).await;
    }
    out.send_reset(Reason::INTERNAL_ERROR);
}

/// Sends data as fast as the client takes it.
struct Writer {
    /// How long the client may take nothing.
    patience: Duration,
    /// If the answer says so itself.
    own: Option<WriteTimeout>,
    /// Spent waiting for room since `taken` began to be counted.
    waited: Duration,
    /// What the client took meanwhile.
    taken: usize,
}

/// Less than this in a write timeout of waiting is no progress: a client that makes room byte by byte takes nothing.
const MIN_TAKEN: usize = 1024;

impl Writer {
    /// Sends `data`; an empty piece is sent only if it is the `last` one, as other empty frames count as an attack.
    async fn data(
        &mut self,
        out: &mut SendStream<Bytes>,
        body: &mut AnswerBody,
        mut data: Bytes,
        last: bool,
    ) -> Result<(), Gone> {
        if data.is_empty() {
            if last {
                out.send_data(data, true)?;
                body.sent(0, true);
            }
            return Ok(());
        }
        while !data.is_empty() {
            out.reserve_capacity(data.len());
            let capacity = match out.capacity() {
                0 => self.capacity(out, body).await?,
                capacity => capacity,
            };
            let piece = data.split_to(capacity.min(data.len()));
            self.taken = self.taken.saturating_add(piece.len());
            let (bytes, complete) = (piece.len(), last && data.is_empty());
            out.send_data(piece, complete)?;
            body.sent(bytes, complete);
        }
        Ok(())
    }

    /// Waits for room. A client that makes none, or next to none, for too long loses the stream.
    async fn capacity(&mut self, out: &mut SendStream<Bytes>, body: &mut AnswerBody) -> Result<usize, Gone> {
        let begun = now();
        let room = self.room(out, body).await;
        self.waited += now().saturating_duration_since(begun);
        if self.waited >= self.patience {
            if self.taken < MIN_TAKEN {
                return self.give_up(out, body);
            }
            (self.waited, self.taken) = (Duration::ZERO, 0);
        }
        room
    }

    async fn room(&self, out: &mut SendStream<Bytes>, body: &mut AnswerBody) -> Result<usize, Gone> {
        let mut waited = false;
        let room = poll_fn(|cx| {
            loop {
                let Poll::Ready(capacity) = out.poll_capacity(cx) else {
                    body.held_up();
                    waited = true;
                    return Poll::Pending;
                };
                match capacity {
                    Some(Ok(0)) => {}
                    Some(Ok(capacity)) => return Poll::Ready(Ok(capacity)),
                    Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                }
            }
        });
        match tokio::time::timeout(self.patience, room).await {
            Ok(room) => {
                if let Some(own) = self.own.as_ref().filter(|_| waited && room.is_ok()) {
                    own.resumed.tell();
                }
                room
            }
            Err(_) => self.give_up(out, body),
        }
    }

    /// The client takes nothing.
    fn give_up<T>(&self, out: &mut SendStream<Bytes>, body: &AnswerBody) -> Result<T, Gone> {
        if self.own.is_some() {
            body.overdue();
        }
        out.send_reset(Reason::CANCEL);
        Err(Gone)
    }
}

fn upload(body: RecvStream, headers: &HeaderMap, timeouts: Timeouts) -> RequestBody {
    if body.is_end_stream() {
        return RequestBody::Empty;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    RequestBody::stream(Upload {
        body,
        left: length,
        data_done: false,
        timeouts,
        patience: Patience::default(),
        late: None,
    })
}

/// A request's body. What is handed out makes room in the windows at once; what the handler does not ask for stays
/// within them.
struct Upload {
    body: RecvStream,
    /// Bytes still to come, if the client said.
    left: Option<u64>,
    data_done: bool,
    timeouts: Timeouts,
    patience: Patience,
    /// Made when the client lets us wait.
    late: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Upload {
    fn took(&mut self, bytes: usize) {
        // Fails only if the stream is closed, and then there is nothing to make room for.
        let _closed = self.body.flow_control().release_capacity(bytes);
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
        self.patience.took(bytes);
        if let Some((since, _)) = self.late.take() {
            self.patience.waited(now().saturating_duration_since(since));
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let allowance = self.patience.left(&self.timeouts);
        let (_, late) = self.late.get_or_insert_with(|| {
            let since = now();
            (since, Box::pin(tokio::time::sleep_until((since + allowance).into())))
        });
        late.as_mut().poll(cx).map(|()| Some(Err(BodyError::Stalled)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if !this.data_done {
            match this.body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    this.took(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(body_error(&error)))),
                Poll::Ready(None) => this.data_done = true,
                Poll::Pending => return this.poll_late(cx),
            }
        }
        match this.body.poll_trailers(cx) {
            Poll::Ready(Ok(trailers)) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(body_error(&error)))),
            Poll::Pending => this.poll_late(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What ended a body early: the client's wish or its absence, or a body that contradicts its own length.
fn body_error(error: &h2::Error) -> BodyError {
    if error.is_library() { BodyError::Malformed } else { BodyError::Closed }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn life() -> (Life, Instant) {
        let begun = Instant::now();
        (Life::new(begun, begun + 3600 * SECOND, &Timeouts::default()), begun)
    }

    #[test]
    fn a_silent_client_is_asked_and_then_dropped() {
        let (mut life, begun) = life();
        assert_eq!(life.next(None), begun + 30 * SECOND);
        assert_eq!(life.turn(begun + 30 * SECOND, false, None), Turn::Wait);
        assert!(life.asks_at(begun + 30 * SECOND));
        assert_eq!(life.next(None), begun + 40 * SECOND);
        assert_eq!(life.turn(begun + 40 * SECOND, false, None), Turn::Drop);
    }

    #[test]
    fn any_byte_is_a_sign_of_life() {
        let (mut life, begun) = life();
        for round in 1..100 {
            assert_eq!(life.turn(begun + round * 30 * SECOND, round % 2 == 0, None), Turn::Wait, "round {round}");
        }
    }

    #[test]
    fn an_idle_connection_is_told_to_go_once() {
        let (mut life, begun) = life();
        assert_eq!(life.next(Some(begun)), begun + 30 * SECOND);
        assert_eq!(life.turn(begun + 59 * SECOND, true, Some(begun)), Turn::Wait);
        assert_eq!(life.next(Some(begun)), begun + 60 * SECOND);
        assert_eq!(life.turn(begun + 60 * SECOND, true, Some(begun)), Turn::GoAway);
        assert_eq!(life.turn(begun + 61 * SECOND, true, Some(begun)), Turn::Wait);
        assert_eq!(life.next(Some(begun)), begun + 60 * SECOND + LAST_WORDS);
        assert_eq!(life.turn(begun + 60 * SECOND + LAST_WORDS, true, Some(begun)), Turn::Drop);
    }

    #[test]
    fn a_stream_that_begins_at_the_last_moment_may_end() {
        let (mut life, begun) = life();
        assert_eq!(life.turn(begun + 60 * SECOND, true, Some(begun)), Turn::GoAway);
        assert_eq!(life.turn(begun + 61 * SECOND, true, None), Turn::Wait);
        assert_eq!(life.turn(begun + 70 * SECOND, true, Some(begun + 65 * SECOND)), Turn::Wait);
    }

    #[test]
    fn an_old_connection_is_told_to_go_even_if_busy() {
        let (mut life, begun) = life();
        assert_eq!(life.turn(begun + 3600 * SECOND, true, None), Turn::GoAway);
    }
}
