//! One client from its handshake to its end.
//!
//! ```text
//!   Open ──► Closing: our close frame is said, the client's awaited for a second ──► Over
//!     └────────── the client has said its own, or has gone ──────────────────────────►┘
//! ```
//! Invariants:
//! - A client that takes nothing is not read, and nothing is asked for it: what waits is at most one full outbox and one
//!   message.
//! - A client that makes room for what it is sent lives, however late it comes to a ping that stands behind that.
//! - After a close frame nothing more is said.
//! - Whatever ends a session, even a drop, is told once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame};
use tidegate_config::units::Rate;
use tidegate_config::valid::Realtime;
use tidegate_ws::{CloseFrame, Event, Fault, Limits, Reader, Side, code};

use super::door::Place;
use super::inbound::{Inbound, Ping};
use super::outbox::Outbox;
use super::protocol::plain::{self, Kind, Request};
use super::requests::Requests;
use crate::body::{BodyError, BodyStream, Resumed};
use crate::ending::leave::{Leave, retry_after};
use crate::exchange::{Exchange, SocketEnd};
use crate::reject::{Reason, Reject};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::{ConnectionType, Gauged, ListenerSeries, Traffic};
use crate::time::{Deadline, Wheel, now, unix_ms};

/// Read in one turn at most, so that a client that never pauses does not hold the worker.
const READ: usize = 64 * 1024;

/// How long the client's close frame is awaited after ours.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// How long the fragments of one message may take.
const MESSAGE_WAIT: Duration = Duration::from_secs(10);

/// A session without anything to wait for is looked at this often.
const FAR: Duration = Duration::from_secs(3600);

/// Close codes beside those of the standard.
mod own_code {
    pub(super) const EXPIRED: u16 = 4401;
    pub(super) const GONE: u16 = 4408;
    pub(super) const TOO_MANY: u16 = 4429;
}

/// How sessions of an endpoint behave.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    limits: Limits,
    inbound: Rate,
    ping_interval: Duration,
    ping_timeout: Duration,
}

impl Settings {
    /// As configured.
    #[must_use]
    pub fn compile(realtime: &Realtime) -> Self {
        Self {
            limits: Limits { message: realtime.limits.max_message, ..Limits::default() },
            inbound: realtime.limits.inbound,
            ping_interval: realtime.ping_interval,
            ping_timeout: realtime.ping_timeout,
        }
    }
}

/// What a session is made of.
pub struct Opening<R> {
    /// What the client sends.
    pub client: BodyStream,
    /// That it takes what it is sent, after a while in which it did not.
    pub resumed: Resumed,
    /// What its messages do.
    pub requests: R,
    /// Its place among the open ones.
    pub place: Place,
    /// The handshake.
    pub exchange: Arc<Exchange>,
    /// Who is told.
    pub telemetry: Arc<Telemetry>,
    /// Of its worker.
    pub wheel: Arc<Wheel>,
}

/// See the module.
pub struct Session<R: Requests> {
    /// `None` once nothing more is wanted of it.
    client: Option<BodyStream>,
    resumed: Resumed,
    reader: Reader,
    /// Came, and was not understood yet.
    input: Bytes,
    talk: Talk<R>,
    times: Times,
    alarm: Option<(Instant, Deadline)>,
    wheel: Arc<Wheel>,
    leave: Leave,
    state: State,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Over,
}

/// Why a session is closed.
#[derive(Clone, Copy, Debug)]
struct Close {
    code: u16,
    reason: Reason,
}

impl Close {
    const fn new(code: u16, reason: Reason) -> Option<Self> {
        Some(Self { code, reason })
    }
}

impl From<Fault> for Close {
    fn from(fault: Fault) -> Self {
        let reason = match fault {
            Fault::TooLarge | Fault::TooManyFragments => Reason::PayloadTooLarge,
            _ => Reason::BadRequest,
        };
        Self { code: fault.close_code(), reason }
    }
}

/// When something is due.
#[derive(Debug)]
struct Times {
    settings: Settings,
    /// The client was last heard.
    heard: Instant,
    /// It was asked for a sign of life and has not been heard since; or, later, has made room for what it is sent.
    asked: Option<Instant>,
    /// Its present message has begun.
    message: Option<Instant>,
    /// Its token ends.
    expires: Option<Instant>,
    /// A ping is to be answered, unless another one comes before.
    pong: Option<Instant>,
    /// Its close frame is awaited no longer.
    closed: Option<Instant>,
}

impl Times {
    /// When the next thing is due.
    fn next(&self) -> Instant {
        let sign = match self.asked {
            Some(asked) => asked + self.settings.ping_timeout,
            None => self.heard + self.settings.ping_interval,
        };
        let message = self.message.map(|begun| begun + MESSAGE_WAIT);
        let open = [Some(sign), message, self.expires, self.pong].into_iter().flatten().min();
        self.closed.or(open).unwrap_or_else(|| self.heard + FAR)
    }
}

impl<R: Requests> Session<R> {
    /// Begins to talk. `expires`: when the credential that opened it ends.
    pub fn open(opening: Opening<R>, settings: Settings, expires: Option<Instant>) -> Self {
        let Opening { client, resumed, requests, place, exchange, telemetry, wheel } = opening;
        let now = now();
        let told = Told::new(exchange, telemetry, place);
        Self {
            client: Some(client),
            resumed,
            reader: Reader::new(Side::Server, settings.limits),
            input: Bytes::new(),
            talk: Talk {
                requests,
                out: Outbox::default(),
                inbound: Inbound::new(settings.inbound),
                begun: now,
                late_pong: None,
            },
            times: Times { settings, heard: now, asked: None, message: None, expires, pong: None, closed: None },
            alarm: None,
            leave: Leave::of_socket(&told.exchange.conn.ending, &wheel),
            wheel,
            state: State::Open,
            told,
        }
    }

    /// Does what there is to do, in this order: a client whose answer to a ping has come is not taken for lost.
    fn turn(&mut self, cx: &mut Context<'_>) {
        if self.resumed.take()
            && let Some(asked) = &mut self.times.asked
        {
            *asked = now();
        }
        self.hear(cx);
        if self.state == State::Open {
            self.talk.requests.poll(cx, &mut self.talk.out);
            self.take_leave(cx);
        }
        self.watch(cx);
    }

    /// Reads what the client has sent.
    fn hear(&mut self, cx: &mut Context<'_>) {
        let mut left = READ;
        while self.state != State::Over {
            // What the client does not take must not grow by what it sends.
            if self.state == State::Open && self.talk.out.is_full() {
                return;
            }
            if !self.input.is_empty() {
                self.understand();
                continue;
            }
            if left == 0 {
                cx.waker().wake_by_ref();
                return;
            }
            let Some(client) = &mut self.client else { return };
            match client.as_mut().poll_frame(cx) {
                Poll::Pending => return self.reader.rest(),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    left = left.saturating_sub(data.len());
                    (self.times.heard, self.times.asked) = (now(), None);
                    self.told.received(data.len());
                    self.input = data;
                }
                Poll::Ready(Some(Err(_)) | None) => return self.over(code_of::LOST, Some(Reason::ClientClosed)),
            }
        }
    }

    /// Takes events out of the input, until it is empty or there is enough to say.
    fn understand(&mut self) {
        let mut rest = &self.input[..];
        let mut met = Met::Nothing;
        while matches!(met, Met::Nothing) && !(self.state == State::Open && self.talk.out.is_full()) {
            met = match self.reader.next(&mut rest) {
                Ok(None) => break,
                Ok(Some(Event::Close(close))) => Met::Close(close.map(|CloseFrame { code, .. }| code)),
                // What comes after our close frame has nobody to answer it.
                Ok(Some(_)) if self.state != State::Open => Met::Nothing,
                Ok(Some(event)) => {
                    if let Event::Text(_) | Event::Binary(_) = event {
                        self.times.message = None;
                    }
                    let closes = self.talk.met(event, self.times.heard, &mut self.told);
                    closes.map_or(Met::Nothing, Met::Closes)
                }
                Err(fault) => Met::Closes(fault.into()),
            };
        }
        let taken = self.input.len() - rest.len();
        self.input.advance(taken);
        self.times.pong = self.talk.late_pong.as_ref().map(|(at, _)| *at);
        self.times.message =
            if self.reader.is_inside_message() { self.times.message.or(Some(self.times.heard)) } else { None };
        match met {
            Met::Nothing => {}
            Met::Closes(close) => self.close(close),
            Met::Close(code) => self.closed_by_client(code),
        }
    }

    /// Closes from our side; a second reason changes nothing.
    fn close(&mut self, close: Close) {
        if self.state != State::Open {
            return;
        }
        self.talk.requests.end();
        self.talk.out.close(Some(close.code), close.reason.word());
        self.told.ends(close.code, Some(close.reason));
        self.state = State::Closing;
        self.times.closed = Some(now() + CLOSE_WAIT);
    }

    fn closed_by_client(&mut self, code: Option<u16>) {
        if self.state == State::Open {
            self.talk.requests.end();
            self.talk.out.close(code, "");
        }
        self.over(code.unwrap_or(code_of::NO_CODE), None);
    }

    /// Nothing more is heard. What waits is still said.
    fn over(&mut self, code: u16, reason: Option<Reason>) {
        self.talk.requests.end();
        self.told.ends(code, reason);
        self.state = State::Over;
        self.client = None;
        self.alarm = None;
    }

    /// Sends the client away when the gateway, or its listener, stops.
    fn take_leave(&mut self, cx: &mut Context<'_>) {
        if self.leave.poll(cx).is_pending() {
            return;
        }
        let after = u64::try_from(retry_after().as_millis()).unwrap_or(u64::MAX);
        self.talk.say(|out| plain::write_closing(Reason::Draining, after, out));
        self.close(Close { code: code::GOING_AWAY, reason: Reason::Draining });
    }

    /// Does what is due, and arranges to be woken for what will be.
    fn watch(&mut self, cx: &mut Context<'_>) {
        while self.state != State::Over {
            let next = self.times.next();
            let alarm = match &mut self.alarm {
                Some((at, alarm)) if *at <= next => alarm,
                alarm => &mut alarm.insert((next, self.wheel.at(next))).1,
            };
            if Pin::new(alarm).poll(cx).is_pending() {
                return;
            }
            self.alarm = None;
            self.tick(now());
        }
    }

    fn tick(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.times.closed) {
            return self.over(code_of::LOST, None);
        }
        if self.state != State::Open {
            return;
        }
        if is_due(self.times.expires) {
            return self.close(Close { code: own_code::EXPIRED, reason: Reason::AuthExpired });
        }
        if is_due(self.times.message.map(|begun| begun + MESSAGE_WAIT)) {
            return self.close(Close { code: code::POLICY, reason: Reason::BadRequest });
        }
        if is_due(self.times.pong) {
            self.times.pong = None;
            self.talk.answer_late_ping();
        }
        match self.times.asked {
            Some(asked) if now >= asked + self.times.settings.ping_timeout => {
                self.close(Close { code: own_code::GONE, reason: Reason::ClientClosed });
            }
            None if now >= self.times.heard + self.times.settings.ping_interval => {
                self.talk.out.ping();
                self.times.asked = Some(now);
            }
            Some(_) | None => {}
        }
    }
}

/// Codes that stand in no close frame.
mod code_of {
    /// The client's close frame has none.
    pub(super) const NO_CODE: u16 = 1005;
    /// There was no close frame.
    pub(super) const LOST: u16 = 1006;
}

/// What came out of the input that ends something.
enum Met {
    Nothing,
    /// A close frame, with its code.
    Close(Option<u16>),
    /// Something that the session must not go on with.
    Closes(Close),
}

impl<R: Requests + Unpin> Body for Session<R> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        this.turn(cx);
        if let Some((frames, sent)) = this.talk.out.take() {
            this.told.sent(sent);
            return Poll::Ready(Some(Ok(Frame::data(frames))));
        }
        if this.state == State::Over { Poll::Ready(None) } else { Poll::Pending }
    }

    fn is_end_stream(&self) -> bool {
        false
    }
}

/// The conversation: what messages come to.
struct Talk<R> {
    requests: R,
    out: Outbox,
    inbound: Inbound,
    begun: Instant,
    late_pong: Option<(Instant, Box<[u8]>)>,
}

impl<R: Requests> Talk<R> {
    /// Something has come as a whole; why the session is to be closed, if it is.
    fn met(&mut self, event: Event<'_>, now: Instant, told: &mut Told) -> Option<Close> {
        let since = now.saturating_duration_since(self.begun);
        match event {
            Event::Text(text) => {
                told.message(text.len());
                self.message(text, since)
            }
            Event::Binary(bytes) => {
                told.message(bytes.len());
                Close::new(code::UNSUPPORTED, Reason::UnsupportedMediaType)
            }
            Event::Ping(payload) => match self.inbound.pinged(since) {
                Ping::Answer => {
                    self.out.pong(payload);
                    None
                }
                Ping::Later(at) => {
                    self.late_pong = Some((self.begun + at, payload.into()));
                    None
                }
                Ping::Close => Close::new(code::POLICY, Reason::RateLimited),
            },
            Event::Pong(_) | Event::Close(_) => None,
        }
    }

    fn message(&mut self, text: &str, since: Duration) -> Option<Close> {
        let command = plain::read(text);
        if !self.inbound.admits(since) {
            let id = command.as_ref().map_or_else(|bad| bad.id.as_ref(), |command| command.id.as_ref());
            let reject = Reject::new(Reason::RateLimited).detail("too many messages");
            self.requests.refuse(id, None, &reject, &mut self.out);
            return self.erred(since);
        }
        let command = match command {
            Ok(command) => command,
            Err(bad) => {
                self.requests.refuse(bad.id.as_ref(), None, &bad.reject(), &mut self.out);
                return self.erred(since);
            }
        };
        let id = command.id.as_ref();
        let refused = match command.kind {
            Kind::Request => match self.requests.begin(&Request { id, text }) {
                Ok(()) => return None,
                Err(reject) => vec![(None, reject)],
            },
            Kind::Ping => {
                self.say(|out| plain::write_pong(id, unix_ms(), out));
                return None;
            }
            Kind::Channels(channels) => {
                let refused = |channel| (Some(channel), Reject::new(Reason::RouteNotFound).detail("no such channel"));
                channels.into_iter().map(refused).collect()
            }
            Kind::Unknown => vec![(None, Reject::new(Reason::BadRequest).detail("unknown \"type\""))],
        };
        for (channel, reject) in refused {
            self.requests.refuse(id, channel.as_deref(), &reject, &mut self.out);
        }
        self.erred(since)
    }

    /// A message was refused.
    fn erred(&mut self, since: Duration) -> Option<Close> {
        if self.inbound.erred(since) { Close::new(own_code::TOO_MANY, Reason::RateLimited) } else { None }
    }

    /// Says something that is no answer to a request, where such things are said.
    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.requests.is_alone() {
            return;
        }
        let written: Result<(), std::convert::Infallible> = self.out.text(|out| {
            write(out);
            Ok(())
        });
        let Ok(()) = written;
    }

    fn answer_late_ping(&mut self) {
        if let Some((_, payload)) = self.late_pong.take() {
            self.out.pong(&payload);
        }
    }
}

/// Who is told of a session, and what.
struct Told {
    exchange: Arc<Exchange>,
    telemetry: Arc<Telemetry>,
    listener: Arc<ListenerSeries>,
    messages_in: u64,
    messages_out: u64,
    /// How it ends, once that is known.
    end: Option<(u16, Option<Reason>)>,
    // Given back at the end, in whatever way that comes.
    _gauge: Gauged,
    _place: Place,
}

impl Told {
    fn new(exchange: Arc<Exchange>, telemetry: Arc<Telemetry>, place: Place) -> Self {
        let listener = telemetry.metrics.listener(&exchange.conn.listener);
        let protocol =
            if exchange.version == http::Version::HTTP_2 { ConnectionType::Http2 } else { ConnectionType::Http1 };
        let gauge = listener.socket(exchange.worker(), protocol);
        Self { exchange, telemetry, listener, messages_in: 0, messages_out: 0, end: None, _gauge: gauge, _place: place }
    }

    fn received(&self, bytes: usize) {
        self.exchange.facts.received(bytes);
        let more = Traffic { wire: bytes as u64, ..Traffic::default() };
        self.telemetry.metrics.sockets.received(self.exchange.worker(), more);
    }

    fn message(&mut self, bytes: usize) {
        self.messages_in += 1;
        let more = Traffic { messages: 1, raw: bytes as u64, wire: 0 };
        self.telemetry.metrics.sockets.received(self.exchange.worker(), more);
    }

    fn sent(&mut self, sent: Traffic) {
        self.messages_out += sent.messages;
        self.telemetry.metrics.sockets.sent(self.exchange.worker(), sent);
    }

    /// The first end counts.
    fn ends(&mut self, code: u16, reason: Option<Reason>) {
        if self.end.is_none() {
            self.end = Some((code, reason));
            if let Some(reason) = reason {
                self.exchange.facts.failed(reason);
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let facts = &self.exchange.facts;
        // Without an end the transport has given up: it has said why, or the client has gone.
        let (close_code, reason) = self.end.unwrap_or_else(|| {
            let otherwise = if self.exchange.conn.ending.is_cut() { Reason::Draining } else { Reason::ClientClosed };
            (code_of::LOST, Some(facts.failure().unwrap_or(otherwise)))
        });
        facts.socket_ended(SocketEnd { close_code, messages_in: self.messages_in, messages_out: self.messages_out });
        self.listener.socket_ended(self.exchange.worker(), reason);
    }
}
