//! Requests on a WebSocket: each is one call, with one answer or a stream of them.
//!
//! A message of a backend is asked for only while the client takes what it was sent, so a slow client holds up its own
//! streams. Of messages that have not come whole no more than [`MAX_HELD`] is read, beyond which only the call that has
//! most reads on: it needs the least to be whole, and room comes of that. The others are passed over, and still end at
//! their deadlines.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use tidegate_config::valid::RealtimeRequest;
use tidegate_config::{Code as ProblemCode, Diagnostic};
use tidegate_route::Captures;
use tidegate_transcode::plan::FieldIndex;
use tidegate_transcode::{AnswerKind, RequestParts};

use super::Transcode;
use crate::action::failure::FailureStyle;
use crate::exchange::Exchange;
use crate::realtime::outbox::Outbox;
use crate::realtime::protocol::plain::{self, Id, Request};
use crate::realtime::requests::Requests;
use crate::reject::{Reason, Reject};
use crate::time::now;
use crate::upstream::{Call, CallDeadline, CallError, CallHead, Caller, Held, OWN_METADATA};

/// Calls of one client that run at once.
const MAX_CALLS: usize = 32;

/// Bytes of unfinished answers of one client above which only one of its calls goes on.
const MAX_HELD: usize = 1024 * 1024;

/// The longest text of a field that an object must have, in a refusal.
const MAX_NAME: usize = 64;

/// A compiled `request` of an endpoint.
#[derive(Debug)]
pub struct SocketCalls {
    transcode: Arc<Transcode>,
    failure: Arc<FailureStyle>,
    /// What an object must have, and the refusal if it has not.
    needs: Option<(FieldIndex, String)>,
    defaults: Vec<Default>,
}

/// A field that an object has unless it says otherwise.
#[derive(Debug)]
struct Default {
    field: FieldIndex,
    /// With its name and a comma before it.
    json: Vec<u8>,
}

impl SocketCalls {
    /// Compiles `request` over its method, which `transcode` calls with the object as the body.
    ///
    /// # Errors
    /// The method or a field is not what it must be.
    pub fn compile(
        request: &RealtimeRequest,
        transcode: Arc<Transcode>,
        failure: Arc<FailureStyle>,
    ) -> Result<Self, Diagnostic> {
        let (plan, method) = (&transcode.plan, transcode.plan.method());
        let wrong = |text: &str| Diagnostic::error(ProblemCode::Descriptors, text).at(&request.rpc_place);
        if method.is_client_streaming() {
            return Err(wrong("a request is for an RPC that takes one message"));
        }
        if plan.answer_kind() == AnswerKind::HttpBody {
            return Err(wrong("a request is for an RPC whose answers are JSON, not google.api.HttpBody"));
        }
        let find = |name: &str| plan.schema().find_field(method.input(), name);
        let missing = |name: &str| {
            let text = format!("{} has no field \"{name}\"", plan.schema().message(method.input()).full_name());
            Diagnostic::error(ProblemCode::InvalidValue, text)
        };
        let needs = match &request.needs {
            None => None,
            Some((name, place)) => {
                let field = find(name).ok_or_else(|| missing(name).at(place))?;
                let shown = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or_default();
                Some((field, format!("a request needs \"{shown}\"")))
            }
        };
        let default = |(name, json): &(String, Vec<u8>)| {
            let field = find(name).ok_or_else(|| missing(name).at(&request.defaults_place))?;
            let mut written = format!(",{}:", serde_json::Value::from(name.as_str())).into_bytes();
            written.extend_from_slice(json);
            Ok(Default { field, json: written })
        };
        let defaults = request.defaults.iter().map(default).collect::<Result<_, Diagnostic>>()?;
        Ok(Self { needs, defaults, failure, transcode })
    }

    /// The call.
    #[must_use]
    pub fn transcode(&self) -> &Arc<Transcode> {
        &self.transcode
    }

    /// Readies the calls of one client, whose handshake `parts` are.
    ///
    /// # Errors
    /// Headers that cannot become metadata, or a path that cannot be decoded.
    pub fn ready(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        mut parts: Box<Parts>,
        path: &str,
        captures: &Captures,
    ) -> Result<Calls, Reject> {
        let transcode = &self.transcode;
        let values = captures.decode_all(path, transcode.escape).map_err(|error| Reject::bad_path(&error))?;
        let ring_key = transcode.cluster.ring_key(exchange, &parts.headers);
        let sorted = transcode.metadata.sort(exchange, &mut parts, &values, OWN_METADATA)?;
        let held = Held::default();
        Ok(Calls {
            values: values.into_iter().map(|value| value.into_owned().into()).collect(),
            head: CallHead {
                ring_key,
                held: Some(held.clone()),
                ..CallHead::new(transcode.path.clone(), sorted.metadata)
            },
            held,
            exchange: Arc::clone(exchange),
            plan: Arc::clone(self),
            running: Vec::new(),
            turn: 0,
        })
    }

    /// The object of a client with what it does not say.
    fn completed<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, Reject> {
        let method = self.transcode.plan.method();
        let mut present = Vec::new();
        let mut json = serde_json::Deserializer::from_str(text);
        let find = |name: &str| self.transcode.plan.schema().find_field(method.input(), name);
        let read = json.deserialize_map(Names { find, present: &mut present });
        read.map_err(|_| Reject::new(Reason::BadRequest).detail("the message is not a JSON object"))?;
        if let Some((field, text)) = &self.needs
            && !present.contains(field)
        {
            return Err(Reject::new(Reason::BadRequest).detail(text.clone()));
        }
        let absent: Vec<&Default> = self.defaults.iter().filter(|default| !present.contains(&default.field)).collect();
        let Some(open) = text.trim_end().strip_suffix('}').filter(|_| !absent.is_empty()) else {
            return Ok(Cow::Borrowed(text));
        };
        let mut whole = open.as_bytes().to_vec();
        for default in absent {
            let is_first = whole.trim_ascii_end().ends_with(b"{");
            whole.extend_from_slice(default.json.get(usize::from(is_first)..).unwrap_or_default());
        }
        whole.push(b'}');
        String::from_utf8(whole).map(Cow::Owned).map_err(|_| Reject::new(Reason::Internal))
    }
}

/// Finds out which fields of a message an object has.
struct Names<'a, F> {
    find: F,
    present: &'a mut Vec<FieldIndex>,
}

impl<'de, F: Fn(&str) -> Option<FieldIndex>> Visitor<'de> for Names<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            self.present.extend((self.find)(&name));
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// The calls of one client. Dropping it cancels them.
pub struct Calls {
    plan: Arc<SocketCalls>,
    exchange: Arc<Exchange>,
    /// Of the path's variables.
    values: Box<[Box<str>]>,
    /// What each call begins with.
    head: CallHead,
    /// By all that run.
    held: Held,
    running: Vec<Running>,
    /// Who is asked first, so that one busy stream does not keep the others silent.
    turn: usize,
}

struct Running {
    id: Option<Id>,
    begun: Instant,
    answered: bool,
    /// What it has of [`Calls::held`].
    held: usize,
    state: State,
}

enum State {
    /// One message, to the end.
    Unary(Pin<Box<dyn Future<Output = Result<Bytes, CallError>> + Send>>),
    Opening(Pin<Box<dyn Future<Output = Result<Call, CallError>> + Send>>),
    Open(Box<Call>),
    /// The one message was written.
    Ended,
}

impl State {
    /// The next message; `None` at the good end.
    fn poll(&mut self, idle: Option<Duration>, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, CallError>> {
        loop {
            match self {
                Self::Unary(call) => {
                    let message = std::task::ready!(call.as_mut().poll(cx))?;
                    *self = Self::Ended;
                    return Poll::Ready(Ok(Some(message)));
                }
                Self::Opening(call) => {
                    let call = std::task::ready!(call.as_mut().poll(cx))?;
                    *self = Self::Open(Box::new(call));
                }
                Self::Open(call) => {
                    let message = std::task::ready!(call.poll_message(cx))?;
                    if message.is_some() {
                        call.set_deadline(idle.map(|idle| now() + idle));
                    }
                    return Poll::Ready(Ok(message));
                }
                Self::Ended => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl Calls {
    fn open(&self, frame: Bytes) -> State {
        let (transcode, exchange) = (Arc::clone(&self.plan.transcode), Arc::clone(&self.exchange));
        let head = self.head.clone();
        let ends = transcode.timeout.map(|timeout| now() + timeout);
        if transcode.plan.method().is_server_streaming() {
            let deadline = ends.map_or(CallDeadline::None, CallDeadline::FirstMessage);
            return State::Opening(Box::pin(async move {
                transcode.cluster.call(Caller::Exchange(&exchange), head, frame, true, deadline).await
            }));
        }
        let deadline = CallDeadline::total(ends);
        State::Unary(Box::pin(async move {
            let retry = (&transcode.retry, transcode.idempotent);
            let called = transcode.cluster.unary(Caller::Exchange(&exchange), head, frame, deadline, retry).await;
            called.map(|(answer, _)| answer.message).map_err(|(error, _)| error)
        }))
    }

    /// Follows each call; as long as too much is held only the one that has most reads on. Whether any was passed over.
    fn follow_all(&self, running: &mut Vec<Running>, cx: &mut Context<'_>, out: &mut Outbox) -> bool {
        let most = running.iter().map(|call| call.held).max().unwrap_or(0);
        // One of those that have most: messages of one size come in pieces of one size.
        let mut goes_on = true;
        let mut is_passed_over = false;
        running.retain_mut(|call| {
            let is_too_much = self.held.bytes() > MAX_HELD;
            let waits = is_too_much && (call.held < most || !std::mem::take(&mut goes_on));
            is_passed_over |= waits;
            if out.is_full() {
                return true;
            }
            self.held.pass_over(waits);
            // Nobody else has its turn meanwhile, so what is more or less then is its own.
            let others = self.held.bytes().saturating_sub(call.held);
            let ended = self.follow(call, cx, out);
            call.held = self.held.bytes().saturating_sub(others);
            !ended
        });
        is_passed_over
    }

    /// Writes what has come of a call until it has no more, or `out` is full; whether it has ended.
    fn follow(&self, call: &mut Running, cx: &mut Context<'_>, out: &mut Outbox) -> bool {
        while !out.is_full() {
            let Poll::Ready(next) = call.state.poll(self.plan.transcode.idle_timeout, cx) else { return false };
            let failed = match next {
                Ok(Some(message)) => {
                    let since = if call.answered { now() } else { call.begun };
                    call.answered = true;
                    self.plan.write_message(&self.exchange, call.id.as_ref(), since, &message, out).err()
                }
                Ok(None) => {
                    self.plan.write_end(call.id.as_ref(), out);
                    return true;
                }
                Err(error) => Some(self.plan.transcode.described(error)),
            };
            if let Some(reject) = failed {
                self.plan.write_failure(&self.exchange, (call.id.as_ref(), None), call.begun, &reject, out);
                return true;
            }
        }
        false
    }
}

impl Requests for Calls {
    fn begin(&mut self, request: &Request<'_>) -> Result<(), Reject> {
        if self.running.len() >= MAX_CALLS {
            return Err(Reject::new(Reason::RateLimited).detail("too many requests at once on this connection"));
        }
        let transcode = &self.plan.transcode;
        let body = self.plan.completed(request.text)?;
        let captures: Vec<Cow<'_, str>> = self.values.iter().map(|value| Cow::Borrowed(&**value)).collect();
        let parts = RequestParts { captures: &captures, query: None, body: body.as_bytes(), content_type: None };
        let mut frame = Vec::new();
        let encoded = transcode.plan.encode_unary(&parts, &mut frame);
        encoded.map_err(|error| transcode.refused(&self.exchange, error))?;
        let state = self.open(frame.into());
        self.running.push(Running { id: request.id.cloned(), begun: now(), answered: false, held: 0, state });
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox) {
        let mut running = std::mem::take(&mut self.running);
        let count = running.len();
        let first = self.turn.checked_rem(count).unwrap_or(0);
        running.rotate_left(first);
        loop {
            let before = (running.len(), self.held.bytes());
            let is_passed_over = self.follow_all(&mut running, cx, out);
            // What one has given back is for those that were passed over. Nobody is once nothing more comes of anybody.
            if !is_passed_over || out.is_full() || before == (running.len(), self.held.bytes()) {
                break;
            }
        }
        self.running = running;
        self.turn = usize::from(out.is_full());
    }

    fn refuse(&self, id: Option<&Id>, channel: Option<&str>, reject: &Reject, out: &mut Outbox) {
        self.plan.write_failure(&self.exchange, (id, channel), now(), reject, out);
    }

    fn is_alone(&self) -> bool {
        self.plan.transcode.envelope.is_some()
    }

    fn end(&mut self) {
        self.running.clear();
    }
}

impl SocketCalls {
    /// Writes a message of a backend. `since`: what the answer took is counted from here.
    fn write_message(
        &self,
        exchange: &Exchange,
        id: Option<&Id>,
        since: Instant,
        message: &Bytes,
        out: &mut Outbox,
    ) -> Result<(), Reject> {
        let transcode = &self.transcode;
        out.text(|out| match &transcode.envelope {
            Some(shape) => transcode.wrap(shape, exchange, milliseconds(since), message, out),
            None => plain::write_data(id, out, |out| transcode.plan.print(message, out))
                .map_err(|error| transcode.unprintable(exchange, error)),
        })
    }

    fn write_end(&self, id: Option<&Id>, out: &mut Outbox) {
        if self.transcode.envelope.is_some() {
            return;
        }
        let written: Result<(), Infallible> = out.text(|out| {
            plain::write_end(id, out);
            Ok(())
        });
        let Ok(()) = written;
    }

    fn write_failure(
        &self,
        exchange: &Exchange,
        (id, channel): (Option<&Id>, Option<&str>),
        since: Instant,
        reject: &Reject,
        out: &mut Outbox,
    ) {
        let status = self.failure.status(reject);
        let plainly = |out: &mut Vec<u8>| plain::write_error(id, channel, reject, status.as_u16(), out);
        let written: Result<(), Infallible> = out.text(|out| {
            if !self.failure.fill_envelope(exchange, reject, milliseconds(since), out) {
                plainly(out);
            }
            Ok(())
        });
        let Ok(()) = written;
    }
}

/// Since `begun`, with three decimals.
fn milliseconds(begun: Instant) -> f64 {
    let micros = now().saturating_duration_since(begun).as_micros();
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0
}

/// What an endpoint without requests does with them.
pub struct NoCalls;

impl Requests for NoCalls {
    fn begin(&mut self, _: &Request<'_>) -> Result<(), Reject> {
        Err(Reject::new(Reason::BadRequest).detail("nothing can be asked for here; \"type\" is missing"))
    }

    fn poll(&mut self, _: &mut Context<'_>, _: &mut Outbox) {}

    fn refuse(&self, id: Option<&Id>, channel: Option<&str>, reject: &Reject, out: &mut Outbox) {
        let status = reject.reason.status().as_u16();
        let written: Result<(), Infallible> = out.text(|out| {
            plain::write_error(id, channel, reject, status, out);
            Ok(())
        });
        let Ok(()) = written;
    }

    fn is_alone(&self) -> bool {
        false
    }

    fn end(&mut self) {}
}
