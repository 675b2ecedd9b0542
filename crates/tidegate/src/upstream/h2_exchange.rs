//! One attempt at an HTTP backend over HTTP/2: the request out on a stream of its own, the answer in.
//!
//! The same as `h1::exchange`, with the framing of HTTP/2: a body flows as the windows of either side allow, and what the
//! client does not take the backend does not send.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason as Code;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{self, Authority, PathAndQuery};
use http::{Method, Request, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};

use super::attempt::Came;
use super::endpoint::Endpoint;
use super::h1::{BadBody, Fault, MAX_INTERIM, NoWire, Outcome, Replay, Sent, Watch};
use super::h2_pool::{self, OpenError};
use super::h2_stream::{self, H2Stream, Sending};
use crate::body::BodyError;
use crate::exchange::Exchange;
use crate::ids::WorkerId;
use crate::reject::Reason;
use crate::time::Deadline;

/// What an answer begins with: its head, and the stream that the rest comes on.
pub(super) struct Begun {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Of the body, if the head says it.
    length: Option<u64>,
    stream: H2Stream,
    upload: Option<Upload>,
}

impl Begun {
    /// All of it has come, and all of the request is sent.
    pub(super) fn is_whole(&self) -> bool {
        self.stream.is_end() && self.upload.is_none()
    }
}

/// Sends a request to `endpoint` and waits for the head of its answer; `None` if the endpoint has turned out to speak
/// HTTP/1.1. Must run on the runtime of `worker`.
///
/// # Errors
/// See [`Outcome`]. Dropping the future resets the stream.
pub(super) async fn exchange(
    endpoint: &Arc<Endpoint>,
    worker: WorkerId,
    sent: &Sent<'_>,
    body: &mut Replay,
    exchange: &Arc<Exchange>,
) -> Result<Option<Begun>, Outcome> {
    let request = request(sent, endpoint).ok_or(Outcome::Malformed(Fault("the request has no form in HTTP/2")))?;
    let no_body = body.is_end();
    let opened = h2_pool::open(endpoint, worker, &mut Some(request), no_body).await;
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(OpenError::Http1) => return Ok(None),
        Err(OpenError::Down(error)) => {
            return Err(Outcome::NoWire(NoWire::Down { error, dialled: true, known: false }));
        }
        Err(OpenError::Full) => return Err(Outcome::NoWire(NoWire::Full)),
        Err(OpenError::Shutdown) => return Err(Outcome::NoWire(NoWire::Shutdown)),
        Err(OpenError::Head(_)) => return Err(Outcome::Malformed(Fault("the request has no form in HTTP/2"))),
    };
    if let Some(record) = exchange.record() {
        record.reached(endpoint.name(), stream.peer());
    }
    let upload = if no_body { None } else { stream.take_sender() };
    let announced = sent.length.filter(|_| !sent.is_head);
    let mut upload = upload.map(|stream| Upload { stream, data: Bytes::new(), announced });
    let mut interim = 0;
    let head = poll_fn(|cx| {
        if let Some(Err(Stopped::Body(bad))) = poll_upload(cx, &mut upload, body, exchange) {
            return Poll::Ready(Err(Outcome::Body(bad)));
        }
        while let Poll::Ready(Some(early)) = stream.poll_interim(cx) {
            interim += 1;
            if sent.hints && early.status() == StatusCode::EARLY_HINTS && interim <= MAX_INTERIM {
                exchange.hint(early.into_parts().0.headers);
            }
            if interim > MAX_INTERIM {
                return Poll::Ready(Err(Outcome::Malformed(Fault("interim answers that nobody asked for"))));
            }
        }
        stream.poll_head(cx).map_err(|error| lost(&error))
    })
    .await?;
    if head.status.is_informational() {
        return Err(Outcome::Malformed(Fault("a status that HTTP/2 does not have")));
    }
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    Ok(Some(Begun { status: head.status, headers: head.headers, length, stream, upload }))
}

/// The request of `sent`, whose head has been written for HTTP/1.1. `None` for what HTTP/2 has no form for.
fn request(sent: &Sent<'_>, endpoint: &Endpoint) -> Option<Request<()>> {
    let mut lines = sent.head.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut request = Request::new(());
    let headers = request.headers_mut();
    let mut host = None;
    for line in lines {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 2..)?);
        let name = HeaderName::from_bytes(name).ok()?;
        let value = HeaderValue::from_bytes(value).ok()?;
        if name == HOST {
            host = Some(value);
        } else if name != CONNECTION {
            // In HTTP/2 it does not exist, and `te` stands without it (RFC 9113, section 8.2.2).
            headers.append(name, value);
        }
    }
    for (name, value) in sent.more.into_iter().flatten() {
        headers.append(name, value.clone());
    }
    if let Some(length) = sent.length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut parts = uri::Parts::default();
    parts.scheme = Some(endpoint.scheme());
    parts.authority = match host {
        Some(host) => Some(Authority::try_from(host.as_bytes()).ok()?),
        None => Some(endpoint.authority().clone()),
    };
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.version_mut() = Version::HTTP_2;
    Some(request)
}

/// A stream that was lost before its answer began. What the backend declares that it has not seen may be sent again,
/// whatever it is.
fn lost(error: &h2::Error) -> Outcome {
    let refused = error.is_reset() && error.reason() == Some(Code::REFUSED_STREAM);
    // GOAWAY reaches only those streams as an error that it declares unprocessed.
    let unseen = error.is_remote() && (refused || error.is_go_away());
    let error = io::Error::other(error.to_string());
    if unseen { Outcome::Unseen(error) } else { Outcome::Lost { error, untouched: false } }
}

/// The body of a request on its way. Dropped half-way it cancels the stream.
struct Upload {
    stream: Sending,
    data: Bytes,
    /// Bytes that the head announced and that have not come yet.
    announced: Option<u64>,
}

/// Why sending ended.
enum Stopped {
    /// The backend takes no more; it may have answered.
    Stream,
    /// The client's body cannot be sent, so the request must not be completed.
    Body(BadBody),
}

impl From<h2_stream::Stopped> for Stopped {
    fn from(_: h2_stream::Stopped) -> Self {
        Self::Stream
    }
}

/// Goes on with an upload if there is one; how it has ended, if it has.
fn poll_upload(
    cx: &mut Context<'_>,
    upload: &mut Option<Upload>,
    body: &mut Replay,
    exchange: &Exchange,
) -> Option<Result<(), Stopped>> {
    let Poll::Ready(ended) = upload.as_mut()?.poll(cx, body, exchange) else { return None };
    *upload = None;
    Some(ended)
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>, body: &mut Replay, exchange: &Exchange) -> Poll<Result<(), Stopped>> {
        loop {
            if self.stream.poll_stopped(cx).is_ready() {
                return Poll::Ready(Err(Stopped::Stream));
            }
            if self.data.is_empty() {
                match ready!(body.poll_data(cx, exchange)) {
                    Some(Err(bad)) => return Poll::Ready(Err(Stopped::Body(bad))),
                    Some(Ok(data)) => {
                        self.counts(data.len())?;
                        self.data = data;
                    }
                    None => {
                        self.is_whole()?;
                        return Poll::Ready(Ok(self.stream.send(Bytes::new(), true)?));
                    }
                }
            }
            let room = ready!(self.stream.poll_room(cx, self.data.len()))?;
            let piece = self.data.split_to(room);
            let end = self.data.is_empty() && body.is_end();
            if end {
                self.is_whole()?;
            }
            self.stream.send(piece, end)?;
            if end {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// More than the head announced would be another message than the client's.
    fn counts(&mut self, bytes: usize) -> Result<(), Stopped> {
        if let Some(announced) = &mut self.announced {
            *announced = announced.checked_sub(bytes as u64).ok_or(WRONG_LENGTH)?;
        }
        Ok(())
    }

    fn is_whole(&self) -> Result<(), Stopped> {
        if self.announced.unwrap_or(0) == 0 { Ok(()) } else { Err(WRONG_LENGTH) }
    }
}

const WRONG_LENGTH: Stopped = Stopped::Body(BadBody::Broken(BodyError::Malformed));

/// The body of an answer. Reads from the backend only when the client takes more.
pub(super) struct Download {
    stream: H2Stream,
    upload: Option<Upload>,
    body: Replay,
    watch: Watch,
    /// What the head says, less what has come.
    length: Option<u64>,
    /// Armed while the backend is silent.
    silence: Option<Deadline>,
    data_done: bool,
    ended: bool,
}

impl Download {
    /// `body` is what is left of the request's.
    pub(super) fn new(begun: Begun, body: Replay, watch: Watch) -> Self {
        let Begun { length, stream, upload, .. } = begun;
        Self { stream, upload, body, watch, length, silence: None, data_done: false, ended: false }
    }

    fn end(&mut self) {
        self.ended = true;
        self.watch.attempt.came(Came::Http(self.watch.status));
    }

    /// What was sent so far is not the whole, and the client must see that.
    fn break_off(&mut self, reason: Reason, cause: &str) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        self.upload = None;
        Poll::Ready(Some(Err(self.watch.broken_off(reason, cause))))
    }

    fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.watch.is_silent_too_long(&mut self.silence, cx) {
            return self.break_off(Reason::UpstreamTimeout, "the backend is silent");
        }
        Poll::Pending
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if this.upload.is_some() {
            // A backend that reads is not silent, and one that waits for the client is not to blame.
            this.silence = None;
            let sent = poll_upload(cx, &mut this.upload, &mut this.body, &this.watch.exchange);
            if let Some(Err(Stopped::Body(_))) = sent {
                return this.break_off(Reason::BadRequest, "the body of the request cannot be sent");
            }
        }
        this.stream.release();
        while !this.data_done {
            match this.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => {
                    this.silence = None;
                    this.length = this.length.map(|length| length.saturating_sub(data.len() as u64));
                    if this.stream.is_end() {
                        this.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return this.break_off(Reason::UpstreamReset, &error.to_string()),
                Poll::Ready(None) => this.data_done = true,
                Poll::Pending => return this.poll_silent(cx),
            }
        }
        match this.stream.poll_trailers(cx) {
            Poll::Ready(Ok(trailers)) => {
                this.end();
                let trailers = trailers.filter(|_| this.watch.exchange.takes_trailers);
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Poll::Ready(Err(error)) => this.break_off(Reason::UpstreamReset, &error.to_string()),
            Poll::Pending => this.poll_silent(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
