//! HTTP/1.0 and HTTP/1.1 for clients, by hyper behind the guard.
//!
//! hyper reads from the connection while a request is being answered, so a client that goes away ends the request at
//! once: its future, and all that it waits for, is dropped.

mod tunnel;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use crate::body::{AnyBody, BodyError, RequestBody, WriteTimeout};

use crate::telemetry::answer::AnswerBody;

use super::Handle;
use super::connection::{Busy, Conn, UNUSED_GRACE};
use super::date::DateCache;
use super::guard::{Guarded, Traffic};
use super::vet::vet;

pub(super) use self::tunnel::Granted;
use self::tunnel::Offer;

/// hyper's buffers grow up to this; above what the guard lets a head have, so that hyper never refuses one itself.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// While draining, a connection between two requests may bring one more within this time, which is then told to be the
/// last. A client that is about to send would otherwise lose its request to a close on the way.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// How long an answer that must be broken off waits for a client that does not take its last bytes.
const FLUSH_BEFORE_CLOSE: Duration = Duration::from_millis(100);

/// Fields for which hyper has room without allocating. The guard refuses what is above the listener's own limit.
const FIELDS_ON_THE_STACK: usize = 100;

fn builder(fields: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // hyper's own head timeout would make a timer for each request; the guard has a deadline for heads. Writing in
    // batches over pipelined requests would remove back-pressure, a limit of headers would move them to the heap.
    builder.header_read_timeout(None).max_buf_size(MAX_BUFFER_BYTES).half_close(false);
    if fields > FIELDS_ON_THE_STACK {
        builder.max_headers(fields);
    }
    builder
}

/// Serves requests until either side closes.
pub(super) async fn serve<Io, H>(io: Guarded<Io>, conn: Arc<Conn<H>>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handle,
{
    let (lane, traffic) = (&conn.lane, &conn.traffic);
    let fields = conn.settings().head.fields;
    let service = service_fn(|request| {
        let busy = Busy::begin(traffic, lane);
        let number = traffic.begun.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let conn = Arc::clone(&conn);
        async move { Ok::<_, Infallible>(answer(&conn, request, number, busy).await) }
    });
    let mut http = pin!(builder(fields).serve_connection(TokioIo::new(io), service).with_upgrades());
    let mut asked = lane.asked();
    let mut told = false;
    let mut grace: Option<Pin<Box<Sleep>>> = None;
    // An error has been answered by the guard or ends a connection that its client has left: nobody is to be told.
    let _ended = poll_fn(|cx| {
        let poll = http.as_mut().poll(cx);
        if poll.is_ready() || told {
            return poll;
        }
        let is_asked = std::mem::replace(&mut asked, lane.asked()) != asked && is_idle(traffic);
        let goes = is_asked || (lane.is_draining() && may_close(traffic, &mut grace, cx));
        if !goes {
            return poll;
        }
        told = true;
        http.as_mut().graceful_shutdown();
        http.as_mut().poll(cx)
    })
    .await;
    let granted = conn.granted.lock().take();
    if let Some(granted) = granted {
        Box::pin(granted.run::<Io>()).await;
    }
}

/// Whether a connection waits between two requests.
fn is_idle(traffic: &Traffic) -> bool {
    traffic.used.load(Ordering::Relaxed) && traffic.answering.load(Ordering::Relaxed) == 0
}

/// Whether an idle connection has had its time to bring one more request; one that comes is answered with
/// `connection: close`.
fn may_close(traffic: &Traffic, grace: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    let grace = grace.get_or_insert_with(|| {
        let used = traffic.used.load(Ordering::Relaxed);
        Box::pin(tokio::time::sleep(if used { IDLE_GRACE } else { UNUSED_GRACE }))
    });
    grace.as_mut().poll(cx).is_ready()
}

/// `number`: of the request on its connection, from 1.
async fn answer<H: Handle>(
    conn: &Conn<H>,
    mut request: Request<Incoming>,
    number: u64,
    busy: Busy,
) -> Response<Answer> {
    let asks = conn.traffic.asks_tunnel.load(Ordering::Relaxed);
    let mut offer = (asks != 0 && number >= asks).then(|| Offer::new(&mut request));
    let (mut parts, body) = request.into_parts();
    let response = match vet(&mut parts, &conn.settings().head) {
        Err(reject) => closing(conn.refuse(Some(parts), *reject)),
        Ok(()) => {
            let body = match offer.as_mut().and_then(Offer::socket) {
                Some(socket) => RequestBody::socket(socket),
                None => upload(body, &conn.traffic),
            };
            let sized = !matches!(body, RequestBody::Empty) && parts.headers.contains_key(CONTENT_LENGTH);
            let handled = conn.handle(Request::from_parts(parts, body)).await;
            let response = conn.settle(handled);
            if let Some(offer) = offer {
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return granted(conn, response, offer, busy);
                }
                conn.traffic.asks_tunnel.store(0, Ordering::Relaxed);
            }
            let leaves = conn.lane.is_draining() || conn.lane.worker.overload.is_tight();
            if leaves || must_close(&conn.traffic, sized) { closing(response) } else { response }
        }
    };
    response.map(|body| Answer { body, broken: None, traffic: Arc::clone(&conn.traffic), _busy: Some(busy) })
}

/// The head of a 101. Its body follows when hyper has let go of the connection.
fn granted<H: Handle>(conn: &Conn<H>, response: Response<AnswerBody>, offer: Offer, busy: Busy) -> Response<Answer> {
    let (mut parts, body) = response.into_parts();
    let write_timeout = parts.extensions.remove::<WriteTimeout>();
    *conn.granted.lock() = Some(Box::new(offer.granted(body, busy, write_timeout)));
    let body = AnswerBody::untold(AnyBody::Empty);
    Response::from_parts(parts, Answer { body, broken: None, traffic: Arc::clone(&conn.traffic), _busy: None })
}

/// Whether the connection cannot carry another request. A body that the handler has let go of is read on by hyper only
/// if all of it is at hand and has a length.
fn must_close(traffic: &Traffic, sized: bool) -> bool {
    let abandoned = traffic.abandoned.load(Ordering::Relaxed);
    let at_hand = sized && traffic.whole.load(Ordering::Relaxed);
    traffic.aged.load(Ordering::Relaxed) || (abandoned && !at_hand)
}

fn closing(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn upload(body: Incoming, traffic: &Arc<Traffic>) -> RequestBody {
    traffic.abandoned.store(false, Ordering::Relaxed);
    if body.is_end_stream() {
        return RequestBody::Empty;
    }
    RequestBody::stream(Upload { body, traffic: Arc::clone(traffic), ended: false })
}

/// A request's body, with its errors in our words.
struct Upload {
    body: Incoming,
    traffic: Arc<Traffic>,
    ended: bool,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(poll, Poll::Ready(None | Some(Err(_)))) || (poll.is_ready() && self.body.is_end_stream()) {
            self.ended = true;
        }
        poll.map(|frame| frame.map(|frame| frame.map_err(|error| body_error(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.ended {
            self.traffic.abandoned.store(true, Ordering::Relaxed);
        }
    }
}

/// What the guard or hyper's decoder reported. The guard's two kinds are its own; any other broken framing is one that
/// hyper found first.
fn body_error(error: &hyper::Error) -> BodyError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::TimedOut => BodyError::Stalled,
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => BodyError::Malformed,
                _ => BodyError::Closed,
            };
        }
        source = error.source();
    }
    BodyError::Closed
}

/// An answer's body; while it exists the connection is busy. An error from it ends the connection without a last
/// chunk, so that nobody takes the part for the whole.
struct Answer {
    body: AnswerBody,
    broken: Option<Broken>,
    traffic: Arc<Traffic>,
    _busy: Option<Busy>,
}

/// An error that waits until what came before it is on the wire. hyper drops what it has not written yet, and with it
/// the head, or the words that tell the client what has happened.
struct Broken {
    error: BodyError,
    latest: Pin<Box<Sleep>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(broken) = &mut this.broken {
            let blocked = this.traffic.write_blocked.load(Ordering::Relaxed);
            if blocked && broken.latest.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(broken.error)));
        }
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Err(error)) = frame {
            this.broken = Some(Broken { error, latest: Box::pin(tokio::time::sleep(FLUSH_BEFORE_CLOSE)) });
            // hyper writes whenever a body has nothing for it.
            cx.waker().wake_by_ref();
            return Poll::Pending;
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

/// Writes an answer as bytes, for refusals that happen before there is a request. Ends with the connection.
pub(super) fn render(response: Response<AnswerBody>, date: &DateCache) -> Bytes {
    let (parts, body) = response.into_parts();
    // Refusals are rendered at once; a stream would have nobody to drive it.
    let body = body.into_bytes();
    let reason = parts.status.canonical_reason().unwrap_or("");
    let mut out = BytesMut::with_capacity(512);
    out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).as_bytes());
    let fields = parts
        .headers
        .iter()
        .filter(|(name, _)| ![&CONNECTION, &CONTENT_LENGTH, &TRANSFER_ENCODING, &DATE].contains(name));
    for (name, value) in fields {
        field(&mut out, name.as_str(), value.as_bytes());
    }
    field(&mut out, "content-length", body.len().to_string().as_bytes());
    field(&mut out, "connection", b"close");
    field(&mut out, "date", date.now().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out.freeze()
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
