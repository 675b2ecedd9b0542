//! Names of things on the data plane: which worker, which connection, which request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::ending::Ending;
use crate::hints::Hints;
use crate::identity::ClientCertificate;

/// One data-plane thread, counted from 0. Every connection carries the one that accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(u16);

impl WorkerId {
    /// The worker number `index`; numbers above 65,535 do not occur (`runtime.workers` is bounded).
    #[must_use]
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The number, for indexing.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Two cache lines, so that neighbours never share one even with adjacent-line prefetch.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// One slot for each worker. In `per_core` a slot is touched by its own worker alone, so a lock
/// inside is never contended; in `shared` the same code runs with contention.
#[derive(Debug)]
pub struct PerWorker<T> {
    slots: Box<[Padded<T>]>,
}

impl<T> PerWorker<T> {
    /// Makes `workers` slots (at least one).
    pub fn new(workers: usize, mut make: impl FnMut(WorkerId) -> T) -> Self {
        let count = u16::try_from(workers.max(1)).unwrap_or(u16::MAX);
        Self { slots: (0..count).map(|index| Padded(make(WorkerId(index)))).collect() }
    }

    /// The slot of `worker`. A number beyond the last slot wraps, so this cannot fail.
    #[must_use]
    pub fn get(&self, worker: WorkerId) -> &T {
        let index = worker.index() % self.slots.len();
        #[expect(clippy::indexing_slicing, reason = "the index was reduced by the length, which is at least one")]
        &self.slots[index].0
    }

    /// All slots, in order of their workers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|slot| &slot.0)
    }

    /// How many slots there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len()
    }
}

/// A listener by number, as counters know it. Numbers are never used again in the life of a process, so that what ends
/// late is never counted for another listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// What is known of a client's connection from accept on. Shared by all its requests.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// The worker that accepted it and runs its requests.
    pub worker: WorkerId,
    /// Address of the socket's other end.
    pub peer: SocketAddr,
    /// Address that was connected to.
    pub local: SocketAddr,
    /// Name of the listener in the configuration.
    pub listener: Arc<str>,
    /// The same by number.
    pub listener_id: ListenerId,
    /// The connection is encrypted, so the scheme is `https`.
    pub tls: bool,
    /// The certificate that the client has shown; settled before the first request.
    pub certificate: OnceLock<ClientCertificate>,
    /// The end of the listener, for what would not end by itself.
    pub ending: Arc<Ending>,
    /// Interim answers for the client.
    pub hints: Arc<Hints>,
}

impl ConnInfo {
    /// A connection in clear text from `peer`, to an address and a listener of which no more than the name is known.
    #[must_use]
    pub fn new(worker: WorkerId, listener: Arc<str>, peer: SocketAddr) -> Self {
        Self {
            worker,
            peer,
            local: peer,
            listener,
            listener_id: ListenerId::default(),
            tls: false,
            certificate: OnceLock::new(),
            ending: Arc::default(),
            hints: Arc::default(),
        }
    }
}

/// The longest request id that is taken over from a client, in bytes.
pub const MAX_REQUEST_ID_LEN: usize = 128;

/// Identifies one request in the answer, the log and the metadata: `[A-Za-z0-9._-]{1,128}`.
///
/// A generated one is a ULID (26 characters: 48 bits of milliseconds, 80 random bits) and needs no allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Ulid([u8; 26]),
    Client(Box<str>),
}

impl RequestId {
    /// A new id from `unix_ms` and 80 of the bits of `random`.
    #[must_use]
    pub fn generate(unix_ms: u64, random: u128) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut bits = (u128::from(unix_ms) << 80) | (random & ((1 << 80) - 1));
        let mut text = [b'0'; 26];
        for place in text.iter_mut().rev() {
            let digit = usize::try_from(bits & 31).unwrap_or(0);
            *place = ALPHABET.get(digit).copied().unwrap_or(b'0');
            bits >>= 5;
        }
        Self(Repr::Ulid(text))
    }

    /// Takes over a client's id if it has the permitted form.
    #[must_use]
    pub fn from_client(value: &[u8]) -> Option<Self> {
        let permitted = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if value.is_empty() || value.len() > MAX_REQUEST_ID_LEN || !value.iter().all(permitted) {
            return None;
        }
        std::str::from_utf8(value).ok().map(|text| Self(Repr::Client(text.into())))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Ulid(text) => std::str::from_utf8(text).unwrap_or(""),
            Repr::Client(text) => text,
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_is_a_ulid_that_sorts_by_time() {
        let early = RequestId::generate(1_700_000_000_000, u128::MAX);
        let late = RequestId::generate(1_700_000_000_001, 0);
        assert_eq!(early.as_str().len(), 26);
        assert!(early.as_str() < late.as_str());
        assert!(RequestId::from_client(early.as_str().as_bytes()).is_some());
    }

    #[test]
    fn only_harmless_client_ids_are_taken_over() {
        for (value, taken) in [("abc-1_2.3", true), ("", false), ("a b", false), ("a\"b", false), ("ä", false)] {
            assert_eq!(RequestId::from_client(value.as_bytes()).is_some(), taken, "{value:?}");
        }
        assert!(RequestId::from_client(&[b'a'; 128]).is_some());
        assert!(RequestId::from_client(&[b'a'; 129]).is_none());
    }
}
