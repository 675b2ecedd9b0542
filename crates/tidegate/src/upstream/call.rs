//! One gRPC call as messages in and messages out, with metadata, trailers and a deadline. Nobody else frames gRPC.
//!
//! It knows nothing of protobuf, of routes or of retries.
//!
//! Invariants:
//! - A call that is dropped, has failed or is past its deadline is reset with CANCEL at once, and its place in the
//!   connection is free.
//! - The backend may send more only when the messages that it sent were taken, which asking for the next one says; so
//!   at most one stream window (256 KiB) waits, beside one unfinished message below `max_message`.
//! - An answer without a final status is never a success.

mod answer;
mod error;
mod held;
mod raw;
mod sender;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, TE, USER_AGENT};
use http::uri::{self, Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tidegate_transcode::{Code, FrameReader};

use self::answer::Coding;
pub use self::error::{CallError, Failure, Malformed};
pub use self::held::Held;
pub use self::sender::{CallSender, SendStopped};
use super::attempt::{Attempt, Came};
use super::endpoint::Endpoint;
use super::h2_stream::H2Stream;
use super::hedge::Apart;
use crate::time::{Deadline, Wheel, now};

/// Metadata that every call carries on top of the caller's: reserve this many more fields in
/// [`CallHead::metadata`], and the map never has to grow.
pub const OWN_METADATA: usize = 5;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// A backend that gives up at its own deadline, which is ours rounded down, may be heard before ours has passed.
const DEADLINE_SLACK: Duration = Duration::from_millis(20);

/// What a call begins with.
#[derive(Clone, Debug)]
pub struct CallHead {
    /// `/pkg.Service/Method`.
    pub path: PathAndQuery,
    /// Instead of the endpoint's `host:port`.
    pub authority: Option<Authority>,
    /// Metadata, names in lower case. `te`, `user-agent` and `grpc-timeout` are set by the call, and so are
    /// `content-type` and `grpc-accept-encoding` if they are not there.
    pub metadata: HeaderMap,
    /// What a ring goes by; see [`Cluster::ring_key`](super::Cluster::ring_key).
    pub ring_key: Option<u64>,
    /// The client waits less than the route would: a deadline that passes then says nothing about the backend.
    pub waits_less: bool,
    /// Other attempts of the same request run beside it.
    pub apart: Option<Arc<Apart>>,
    /// Where what has come of its answer is counted until it is taken.
    pub held: Option<Held>,
}

impl CallHead {
    /// A call that nothing else is said about.
    #[must_use]
    pub fn new(path: PathAndQuery, metadata: HeaderMap) -> Self {
        Self { path, authority: None, metadata, ring_key: None, waits_less: false, apart: None, held: None }
    }
}

/// How long a call may take. A deadline that has passed ends the call with [`CallError::DeadlineExceeded`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallDeadline {
    /// As long as it likes.
    #[default]
    None,
    /// The whole call; the backend is told (`grpc-timeout`).
    Total(Instant),
    /// Until the first message, then [`Call::set_deadline`]; the backend is not told, or it would end the stream.
    FirstMessage(Instant),
}

impl CallDeadline {
    /// The whole call until `at`.
    #[must_use]
    pub fn total(at: Option<Instant>) -> Self {
        at.map_or(Self::None, Self::Total)
    }

    /// The same, or `at` if that comes first.
    pub(super) fn or_earlier(self, at: Option<Instant>) -> Self {
        match (self, at) {
            (Self::None, Some(at)) => Self::Total(at),
            (Self::Total(ours), Some(at)) => Self::Total(ours.min(at)),
            (Self::FirstMessage(ours), Some(at)) => Self::FirstMessage(ours.min(at)),
            (deadline, None) => deadline,
        }
    }

    /// The same, or `at` if that comes first; what had no deadline gets one for its first message alone.
    pub(super) fn until_first(self, at: Option<Instant>) -> Self {
        match (self, at) {
            (Self::None, Some(at)) => Self::FirstMessage(at),
            (deadline, at) => deadline.or_earlier(at),
        }
    }

    pub(super) fn at(self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Total(at) | Self::FirstMessage(at) => Some(at),
        }
    }

    /// What `future` gives, or `None` at the deadline. Arms nothing if the future is ready at once.
    ///
    /// It is pinned by whoever asks, because to move one here means to copy all the room that it has.
    pub async fn within<F: Future>(self, wheel: &Arc<Wheel>, mut future: Pin<&mut F>) -> Option<F::Output> {
        let mut timer = self.at().map(|at| wheel.at(at));
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            match &mut timer {
                Some(timer) => Pin::new(timer).poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// What a unary call succeeded with.
#[derive(Debug)]
pub struct UnaryAnswer {
    /// Initial metadata.
    pub metadata: HeaderMap,
    /// The message, without prefix, inflated.
    pub message: Bytes,
    /// Trailing metadata, with `grpc-status`.
    pub trailers: HeaderMap,
}

/// An open call. See the module for what dropping it means.
pub struct Call {
    /// `None` once the call has ended.
    stream: Option<H2Stream>,
    wheel: Arc<Wheel>,
    deadline: Option<Instant>,
    timer: Option<Deadline>,
    head: Option<HeaderMap>,
    coding: Coding,
    reader: FrameReader,
    max_message: usize,
    trailers: Option<HeaderMap>,
    /// Success is one message, and not status OK alone.
    unary: bool,
    held: Option<held::Share>,
    attempt: Attempt,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("endpoint", self.endpoint()).field("open", &self.stream.is_some()).finish()
    }
}

impl Call {
    pub(super) fn new(
        stream: H2Stream,
        wheel: Arc<Wheel>,
        deadline: CallDeadline,
        max_message: usize,
        attempt: Attempt,
        held: Option<Held>,
    ) -> Self {
        let deadline = deadline.at();
        Self {
            stream: Some(stream),
            timer: deadline.map(|at| wheel.at(at)),
            wheel,
            deadline,
            head: None,
            coding: Coding::Identity,
            reader: FrameReader::new(max_message),
            max_message,
            trailers: None,
            unary: false,
            held: held.map(held::Share::new),
            attempt,
        }
    }

    /// `given` of the bytes that were read has left the reader as a message.
    fn count(&mut self, given: usize) {
        if let Some(held) = &mut self.held {
            // The one message of a unary call waits here for the status.
            held.set(self.reader.buffered() + if self.unary { given } else { 0 });
        }
    }

    /// Name of the endpoint that got the call, as written in the configuration.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<str> {
        self.attempt.endpoint().name()
    }

    /// The address that answers for the endpoint; `None` once the call has ended.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.as_ref()?.peer()
    }

    /// The sending half, once; only of a call that was opened without an end.
    pub fn take_sender(&mut self) -> Option<CallSender> {
        self.stream.as_mut()?.take_sender().map(CallSender::new)
    }

    /// From now on the call ends at `at` (never, if `None`).
    pub fn set_deadline(&mut self, at: Option<Instant>) {
        self.deadline = at;
        self.timer = at.map(|at| self.wheel.at(at));
    }

    /// Waits for the answer of a call with one request and one answer, to its end.
    ///
    /// # Errors
    /// Everything but status OK with exactly one message.
    pub fn unary(mut self) -> impl Future<Output = Result<UnaryAnswer, CallError>> + Send {
        self.unary = true;
        // A block, because an async function would hold the call twice.
        async move {
            let mut message = None;
            while let Some(next) = poll_fn(|cx| self.poll_message(cx)).await? {
                if message.replace(next).is_some() {
                    return Err(self.fail(Malformed::ExtraMessage.into()));
                }
            }
            let Some(message) = message else {
                return Err(self.fail(Malformed::NoMessage.into()));
            };
            self.attempt.ended(Code::Ok);
            Ok(UnaryAnswer {
                metadata: self.head.take().unwrap_or_default(),
                message,
                trailers: self.trailers.take().unwrap_or_default(),
            })
        }
    }

    /// Waits for the initial metadata.
    ///
    /// # Errors
    /// The call failed before there was any; then it has ended.
    pub async fn head(&mut self) -> Result<&HeaderMap, CallError> {
        poll_fn(|cx| self.poll_head(cx)).await?;
        Ok(self.head.get_or_insert_default())
    }

    /// Waits for the next message; `None` is the end of a call with status OK.
    ///
    /// Asking says that all messages before were taken, so that the backend may send as much again. Cancel-safe: a
    /// future that is dropped loses nothing.
    ///
    /// # Errors
    /// The call failed; it has ended.
    pub async fn next_message(&mut self) -> Result<Option<Bytes>, CallError> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// As [`Call::next_message`], for hand-written bodies.
    pub fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, CallError>> {
        ready!(self.poll_head(cx))?;
        loop {
            match self.ready_message() {
                Ok(Some(message)) => {
                    self.count(message.len());
                    return Poll::Ready(Ok(Some(message)));
                }
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(self.malformed(cx, malformed))),
            }
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Ok(None));
            };
            if self.held.as_ref().is_some_and(held::Share::is_passed_over) {
                return self.poll_deadline_unread(cx).map(Err);
            }
            stream.release();
            match stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    self.reader.push(data);
                    self.count(0);
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = self.lost(error);
                    return Poll::Ready(Err(self.fail(error)));
                }
                Poll::Ready(None) => {
                    let ended = ready!(self.poll_end(cx));
                    return Poll::Ready(ended.map(|()| None));
                }
                Poll::Pending => return self.poll_deadline(cx).map(Err),
            }
        }
    }

    /// The next message if it is there already, so that messages which wait are written together. Does not say that
    /// the messages before were taken. `None`: ask [`Call::next_message`].
    ///
    /// # Errors
    /// The call failed; it has ended.
    pub fn waiting_message(&mut self, cx: &mut Context<'_>) -> Result<Option<Bytes>, CallError> {
        loop {
            match self.ready_message() {
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => {}
                Err(malformed) => return Err(self.malformed(cx, malformed)),
            }
            let Some(stream) = &mut self.stream else { return Ok(None) };
            match stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => self.reader.push(data),
                Poll::Ready(Some(Err(error))) => {
                    let error = self.lost(error);
                    return Err(self.fail(error));
                }
                Poll::Ready(None) | Poll::Pending => return Ok(None),
            }
        }
    }

    /// Trailing metadata, after the end.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        if self.head.is_some() {
            return Poll::Ready(Ok(()));
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        match stream.poll_head(cx) {
            Poll::Ready(Ok(parts)) => match answer::check_head(&parts) {
                Ok(coding) => {
                    self.coding = coding;
                    if !self.unary {
                        // How long its messages go on is not to keep others out, nor a breaker half open.
                        self.attempt.settle(Came::Grpc(Code::Ok));
                    }
                    self.head = Some(parts.headers);
                    Poll::Ready(Ok(()))
                }
                Err(failure) => Poll::Ready(Err(self.failed(failure))),
            },
            Poll::Ready(Err(error)) => {
                let error = self.lost(error);
                Poll::Ready(Err(self.fail(error)))
            }
            Poll::Pending => self.poll_deadline(cx).map(Err),
        }
    }

    /// The end of the body was seen: reads the status, and frees the stream.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        let trailers = match stream.poll_trailers(cx) {
            Poll::Ready(Ok(trailers)) => trailers,
            Poll::Ready(Err(error)) => {
                let error = self.lost(error);
                return Poll::Ready(Err(self.fail(error)));
            }
            Poll::Pending => return self.poll_deadline(cx).map(Err),
        };
        // A failure without messages has its status in the head: "trailers only".
        let trailers = trailers.or_else(|| self.head.clone()).unwrap_or_default();
        match answer::read_status(&trailers) {
            None => Poll::Ready(Err(self.failed(answer::missing_status()))),
            Some(Err(status)) => {
                let failure = Failure { status, metadata: trailers, cause: None };
                Poll::Ready(Err(self.failed(Box::new(failure))))
            }
            Some(Ok(())) => {
                if let Err(cut) = self.reader.finish() {
                    return Poll::Ready(Err(self.fail(Malformed::Frame(cut).into())));
                }
                if !self.unary {
                    self.attempt.ended(Code::Ok);
                }
                self.trailers = Some(trailers);
                self.stream = None;
                self.timer = None;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        ready!(self.poll_timer(cx));
        Poll::Ready(self.fail(CallError::DeadlineExceeded))
    }

    /// The same where the backend answers and is not read: that its time is over is no fault of its own.
    fn poll_deadline_unread(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        ready!(self.poll_timer(cx));
        self.attempt.cut_short();
        Poll::Ready(self.fail(CallError::DeadlineExceeded))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => Pin::new(timer).poll(cx),
            None => Poll::Pending,
        }
    }

    fn ready_message(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.reader.next_frame()? {
            None => Ok(None),
            Some(frame) if frame.compressed => answer::inflate(self.coding, &frame.message, self.max_message).map(Some),
            Some(frame) => Ok(Some(frame.message)),
        }
    }

    /// Ends the call, and resets it unless it has ended by itself.
    pub(super) fn fail(&mut self, error: CallError) -> CallError {
        self.stream = None;
        self.timer = None;
        self.attempt.failed(error)
    }

    fn failed(&mut self, failure: Box<Failure>) -> CallError {
        let at_deadline = failure.status.code == Code::Cancelled && self.is_near_deadline();
        self.fail(if at_deadline { CallError::DeadlineExceeded } else { CallError::Status(failure) })
    }

    /// Broken frames are the lesser fault if the call failed anyway: its status tells more.
    fn malformed(&mut self, cx: &mut Context<'_>, malformed: Malformed) -> CallError {
        if let Some(stream) = &mut self.stream
            && stream.is_end()
            && let Poll::Ready(Ok(Some(trailers))) = stream.poll_trailers(cx)
            && let Some(Err(status)) = answer::read_status(&trailers)
        {
            return self.failed(Box::new(Failure { status, metadata: trailers, cause: None }));
        }
        self.fail(malformed.into())
    }

    pub(super) fn lost(&self, error: h2::Error) -> CallError {
        if error.is_remote() && error.reason() == Some(h2::Reason::CANCEL) && self.is_near_deadline() {
            return CallError::DeadlineExceeded;
        }
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        // GOAWAY reaches only those streams as an error that it declares unprocessed.
        let unprocessed = error.is_remote() && (refused || error.is_go_away());
        CallError::Reset { endpoint: Arc::clone(self.endpoint()), error, unprocessed }
    }

    fn is_near_deadline(&self) -> bool {
        self.deadline.is_some_and(|at| now() + DEADLINE_SLACK >= at)
    }
}

/// The request of a call, for any endpoint: [`address`] completes it.
///
/// # Errors
/// `DeadlineExceeded` if there is no time left.
pub(super) fn request(metadata: HeaderMap, deadline: CallDeadline, now: Instant) -> Result<Request<()>, CallError> {
    let left = deadline.at().map(|at| at.saturating_duration_since(now));
    if left == Some(Duration::ZERO) {
        return Err(CallError::DeadlineExceeded);
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = metadata;
    let headers = request.headers_mut();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    // A call that passes through brings these two from its client.
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/grpc"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))));
    headers.entry(GRPC_ACCEPT_ENCODING).or_insert(HeaderValue::from_static(answer::ACCEPTED_CODINGS));
    match (deadline, left) {
        (CallDeadline::Total(_), Some(left)) => headers.insert(GRPC_TIMEOUT, timeout_value(left)),
        _ => headers.remove(GRPC_TIMEOUT),
    };
    Ok(request)
}

/// Addresses `request` to `endpoint`.
pub(super) fn address(
    request: &mut Request<()>,
    endpoint: &Endpoint,
    path: &PathAndQuery,
    authority: Option<&Authority>,
) -> Result<(), CallError> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(endpoint.scheme());
    parts.authority = Some(authority.unwrap_or_else(|| endpoint.authority()).clone());
    parts.path_and_query = Some(path.clone());
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| CallError::Head(error.to_string()))?;
    Ok(())
}

/// `left` for `grpc-timeout`, rounded down: at most eight digits of milliseconds, else seconds.
fn timeout_value(left: Duration) -> HeaderValue {
    const LARGEST: u128 = 99_999_999;
    let (number, unit) = match left.as_millis() {
        ms @ 0..=LARGEST => (ms, b'm'),
        ms => ((ms / 1000).min(LARGEST), b'S'),
    };
    let number = u32::try_from(number).unwrap_or(0);
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    let mut value = [0; 11];
    let len = digits.len().min(value.len() - 1);
    let (text, rest) = value.split_at_mut(len);
    text.copy_from_slice(digits.get(..len).unwrap_or_default());
    if let Some(place) = rest.first_mut() {
        *place = unit;
    }
    let written = value.get(..=len).unwrap_or_default();
    HeaderValue::from_bytes(written).unwrap_or_else(|_| HeaderValue::from_static("0m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeout_has_at_most_eight_digits_and_never_more_than_is_left() {
        for (left, expected) in [
            (Duration::from_micros(1_999), "1m"),
            (Duration::from_micros(10), "0m"),
            (Duration::from_secs(15), "15000m"),
            (Duration::from_millis(99_999_999), "99999999m"),
            (Duration::from_millis(100_000_000), "100000S"),
            (Duration::from_secs(u64::MAX), "99999999S"),
        ] {
            assert_eq!(timeout_value(left), expected, "{left:?}");
        }
    }
}
