//! What is recorded of a sampled exchange while it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::HeaderValue;
use parking_lot::Mutex;
use tidegate_transcode::Code;

use super::SpanId;

/// Attempts of one exchange that get a span; later ones are only counted.
const MAX_ATTEMPTS: usize = 16;

/// Events of one exchange; later ones are left out.
const MAX_EVENTS: usize = 32;

/// Made for a sampled exchange only. Locked for moments by whoever works on the exchange; never contended.
#[derive(Debug)]
pub struct Record {
    /// The span that the client's request is.
    pub server: SpanId,
    /// `tracestate` as it is passed on.
    pub state: Option<HeaderValue>,
    log: Mutex<Log>,
}

/// Up to now.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// In the order of their beginnings.
    pub attempts: Vec<Attempt>,
    /// In the order of their times.
    pub events: Vec<Event>,
    /// The attempt that runs is one too many.
    beyond: bool,
}

/// One request to a backend.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its name, which the backend was told.
    pub span: SpanId,
    /// When the backend was asked.
    pub begun: Instant,
    /// Who was asked, as written in the configuration.
    pub endpoint: Option<Arc<str>>,
    /// Who answered the connection.
    pub peer: Option<SocketAddr>,
    /// `None` if it did not fail: what is known of the exchange counts then.
    pub failed: Option<Failed>,
}

/// How an attempt came to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// When it was known.
    pub at: Instant,
    /// The backend's, or the one that says the same.
    pub code: Code,
    /// A word of a closed list.
    pub error: &'static str,
}

/// Something that happened at a moment, mostly a policy's word.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// Of a closed list.
    pub name: &'static str,
    /// What there is to say about it.
    pub attributes: Vec<Attribute>,
}

impl Record {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(server: SpanId, state: Option<HeaderValue>) -> Self {
        Self { server, state, log: Mutex::default() }
    }

    /// A backend is about to be asked, under the name `span`.
    pub fn attempt(&self, span: SpanId, now: Instant) {
        let mut log = self.log.lock();
        log.beyond = log.attempts.len() == MAX_ATTEMPTS;
        if !log.beyond {
            log.attempts.push(Attempt { span, begun: now, endpoint: None, peer: None, failed: None });
        }
    }

    /// The attempt that runs has asked `endpoint`, which `peer` answers for if there is a connection.
    pub fn reached(&self, endpoint: &Arc<str>, peer: Option<SocketAddr>) {
        if let Some(attempt) = self.log.lock().running() {
            attempt.endpoint.get_or_insert_with(|| Arc::clone(endpoint));
            attempt.peer = attempt.peer.or(peer);
        }
    }

    /// The attempt that runs has failed: with this code of the backend, or one that the gateway gives it.
    pub fn failed(&self, now: Instant, code: Code, error: &'static str) {
        if let Some(attempt) = self.log.lock().running() {
            attempt.failed.get_or_insert(Failed { at: now, code, error });
        }
    }

    /// Of attempts that ran beside one another since there were `from` of them, the one at `endpoint` counts; the others were
    /// cancelled for it.
    pub fn cancelled(&self, from: usize, endpoint: &str, now: Instant) {
        for attempt in self.log.lock().attempts.iter_mut().skip(from) {
            if attempt.endpoint.as_deref() != Some(endpoint) {
                attempt.failed.get_or_insert(Failed { at: now, code: Code::Cancelled, error: "hedged" });
            }
        }
    }

    /// How many attempts there were.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.log.lock().attempts.len()
    }

    /// Something happened.
    pub fn event(&self, now: Instant, name: &'static str, attributes: Vec<Attribute>) {
        let mut log = self.log.lock();
        if log.events.len() < MAX_EVENTS {
            log.events.push(Event { at: now, name, attributes });
        }
    }

    /// What has happened. Called once, at the end.
    #[must_use]
    pub fn log(&self) -> Log {
        std::mem::take(&mut self.log.lock())
    }
}

impl Log {
    fn running(&mut self) -> Option<&mut Attempt> {
        if self.beyond { None } else { self.attempts.last_mut() }
    }
}

/// A fact about a span or an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Of a closed list.
    pub key: &'static str,
    /// What is said.
    pub value: Value,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A word of a closed list.
    Word(&'static str),
    /// A name of the configuration.
    Name(Arc<str>),
    /// Anything else, cut to [`MAX_TEXT`] bytes.
    Text(Box<str>),
    /// A number.
    Int(i64),
    /// A measure.
    Float(f64),
}

/// Longest text of an attribute, in bytes: bounds what a client can make us hold in the queue.
pub const MAX_TEXT: usize = 1024;

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<&Arc<str>> for Value {
    fn from(name: &Arc<str>) -> Self {
        Self::Name(Arc::clone(name))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(measure: f64) -> Self {
        Self::Float(measure)
    }
}

impl Value {
    /// Text that came from outside, cut between characters. Bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes.get(..MAX_TEXT).unwrap_or(bytes));
        Self::Text(text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().into())
    }
}
