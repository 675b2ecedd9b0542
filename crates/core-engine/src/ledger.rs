//! The books of one source: what came, what failed, and the newest value of each symbol.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::tick::Value;

/// Kinds of errors, a closed list: they are names in statistics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum ErrorKind {
    /// A record could not be read; the next one was.
    MalformedRecord,
    /// A record is older than the one before it; it was taken in all the same.
    LateRecord,
    /// The source could not be opened, or broke.
    Unavailable,
}

impl ErrorKind {
    /// The name in statistics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRecord => "malformed_record",
            Self::LateRecord => "late_record",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The books and the newest values of one source.
#[derive(Default, Debug)]
pub(crate) struct Ledger {
    pub(crate) books: Books,
    /// Newest value of each symbol since it was connected. Bounded by the symbols that a source may cover.
    pub(crate) newest: HashMap<Arc<str>, Arc<Value>>,
}

/// Counters of one source; never reset.
#[derive(Clone, Default, Debug)]
pub(crate) struct Books {
    /// Values that were taken in; also the sequence number of the newest.
    pub(crate) received: u64,
    pub(crate) errors: BTreeMap<ErrorKind, u64>,
    /// When, and what it said.
    pub(crate) last_error: Option<(Timestamp, String)>,
    pub(crate) last_success: Option<Timestamp>,
    /// How often it was connected.
    pub(crate) connects: u64,
}

impl Ledger {
    /// Books a value and keeps it as the newest of its symbol.
    pub(crate) fn success(&mut self, now: Timestamp, value: &Arc<Value>) {
        self.books.last_success = Some(now);
        self.newest.insert(Arc::clone(&value.tick.symbol), Arc::clone(value));
    }
}

impl Books {
    /// Books an error.
    pub(crate) fn error(&mut self, now: Timestamp, kind: ErrorKind, message: String) {
        *self.errors.entry(kind).or_default() += 1;
        self.last_error = Some((now, message));
    }

    /// Errors of all kinds.
    pub(crate) fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }
}
