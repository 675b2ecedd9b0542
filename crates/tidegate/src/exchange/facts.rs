//! What is learnt of an exchange while it runs. Written by the action, read once at the end.
//!
//! Atomics, because the body of an answer is polled by another task than the request's future; nothing contends.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_transcode::Code;

use super::standing::Standings;
use crate::identity::Identity;
use crate::reject::Reason;

/// No gRPC status is known.
const NO_CODE: u8 = u8::MAX;

/// Bytes of early hints that a client gets for one request.
const MAX_HINT_BYTES: u64 = 8 * 1024;

/// See the module. Times are counted from the start of the exchange.
#[derive(Debug)]
pub struct Facts {
    endpoint: Mutex<Option<Arc<str>>>,
    attempts: AtomicU32,
    /// When the request was handed to a backend, in nanoseconds; 0: never.
    asked_ns: AtomicU64,
    /// When the backend's answer, or the first message of it, was there; 0: never.
    answered_ns: AtomicU64,
    /// Spent waiting for the client's body.
    client_wait_ns: AtomicU64,
    bytes_in: AtomicU64,
    hint_bytes: AtomicU64,
    code: AtomicU8,
    failed: OnceLock<Reason>,
    identity: OnceLock<Arc<Identity>>,
    socket: OnceLock<SocketEnd>,
    /// How it stands with its limits.
    pub limits: Standings,
}

/// What is told of a WebSocket that ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketEnd {
    /// The code of the first close frame, whoever sent it; 1005 if that had none, 1006 if there was no such frame.
    pub close_code: u16,
    /// Messages of the client.
    pub messages_in: u64,
    /// Messages to the client.
    pub messages_out: u64,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            endpoint: Mutex::new(None),
            attempts: AtomicU32::new(0),
            asked_ns: AtomicU64::new(0),
            answered_ns: AtomicU64::new(0),
            client_wait_ns: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            hint_bytes: AtomicU64::new(0),
            code: AtomicU8::new(NO_CODE),
            failed: OnceLock::new(),
            identity: OnceLock::new(),
            socket: OnceLock::new(),
            limits: Standings::default(),
        }
    }
}

impl Facts {
    /// A backend is asked, `elapsed` after the start. Counts an attempt.
    pub fn asked(&self, elapsed: Duration) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        // The first attempt counts: what lies between attempts is waiting too.
        let _later = self.asked_ns.compare_exchange(0, nanoseconds(elapsed), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The backend has answered, or failed to, `elapsed` after the start. The first word counts: what becomes of a
    /// stream after its first message is no answer.
    pub fn answered(&self, elapsed: Duration) {
        let _later = self.answered_ns.compare_exchange(0, nanoseconds(elapsed), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Names the endpoint that was asked, as written in the configuration. The last one stays.
    pub fn endpoint_is(&self, endpoint: &Arc<str>) {
        *self.endpoint.lock() = Some(Arc::clone(endpoint));
    }

    /// The backend said how the call ended.
    pub fn code_is(&self, code: Code) {
        self.code.store(code.number(), Ordering::Relaxed);
    }

    /// `bytes` of the request's body have come.
    pub fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// There are `bytes` of early hints; `false` if the client is not to get so many.
    pub fn hints(&self, bytes: usize) -> bool {
        let before = self.hint_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        before.saturating_add(bytes as u64) <= MAX_HINT_BYTES
    }

    /// The client let us wait for its body.
    pub fn waited(&self, waited: Duration) {
        self.client_wait_ns.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(0), Ordering::Relaxed);
    }

    /// The answer has begun and could not be finished.
    pub fn failed(&self, reason: Reason) {
        let _first = self.failed.set(reason);
    }

    /// A credential of the request was accepted: it speaks for `identity`.
    pub fn identified(&self, identity: Arc<Identity>) {
        let _first = self.identity.set(identity);
    }

    /// The WebSocket has ended.
    pub fn socket_ended(&self, end: SocketEnd) {
        let _first = self.socket.set(end);
    }

    /// What is told of a WebSocket that ended here.
    #[must_use]
    pub fn socket(&self) -> Option<SocketEnd> {
        self.socket.get().copied()
    }

    /// Who sends the request; `None` if no credential was accepted.
    #[must_use]
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.get()
    }

    /// The endpoint that was asked.
    #[must_use]
    pub fn endpoint(&self) -> Option<Arc<str>> {
        self.endpoint.lock().clone()
    }

    /// How often a backend was asked.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// What the backend said.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        Code::from_number(self.code.load(Ordering::Relaxed).into())
    }

    /// Bytes of the request's body.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Why the answer broke off.
    #[must_use]
    pub fn failure(&self) -> Option<Reason> {
        self.failed.get().copied()
    }

    /// Time until the backend had answered, from when it was asked.
    #[must_use]
    pub fn upstream(&self) -> Option<Duration> {
        Some(self.answered_at()?.saturating_sub(self.asked_at()?))
    }

    /// Time spent waiting for the client's body.
    #[must_use]
    pub fn client_wait(&self) -> Duration {
        Duration::from_nanos(self.client_wait_ns.load(Ordering::Relaxed))
    }

    /// The gateway's own time before the backend was asked: without waiting for the client's body.
    #[must_use]
    pub fn overhead_before(&self) -> Option<Duration> {
        Some(self.asked_at()?.saturating_sub(self.client_wait()))
    }

    /// When the backend was first asked.
    #[must_use]
    pub fn asked_at(&self) -> Option<Duration> {
        time(&self.asked_ns)
    }

    /// When the backend had answered.
    #[must_use]
    pub fn answered_at(&self) -> Option<Duration> {
        time(&self.answered_ns)
    }
}

/// Never 0, which means never.
fn nanoseconds(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).max(1)
}

fn time(of: &AtomicU64) -> Option<Duration> {
    match of.load(Ordering::Relaxed) {
        0 => None,
        nanoseconds => Some(Duration::from_nanos(nanoseconds)),
    }
}
