//! The books of one source: what came, what failed, and the newest value of each symbol.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::rate::Rate;
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
    /// It has not answered yet, half a second after it was asked; what came of it is told by another error or a value.
    Slow,
    /// It did not answer in time, or fell silent.
    Timeout,
    /// It sent more than we take.
    TooLarge,
    /// It ended in the middle of an answer.
    Truncated,
    /// It asked for a pause.
    Throttled,
    /// It refuses us altogether.
    Banned,
    /// It answered with an error.
    Refused,
    /// It answered with something that cannot be understood.
    MalformedAnswer,
    /// Records between two others never came.
    MissingRecord,
    /// It sends faster than we read; for the rest of the second nothing was read.
    Flood,
}

impl ErrorKind {
    /// The name in statistics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRecord => "malformed_record",
            Self::LateRecord => "late_record",
            Self::Unavailable => "unavailable",
            Self::Slow => "slow",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Truncated => "truncated",
            Self::Throttled => "throttled",
            Self::Banned => "banned",
            Self::Refused => "refused",
            Self::MalformedAnswer => "malformed_answer",
            Self::MissingRecord => "missing_record",
            Self::Flood => "flood",
        }
    }
}

/// Kinds of records that were not taken in, although nothing is wrong with the source; a closed list as well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum DropKind {
    /// A place without a price, as exchanges leave for minutes without a trade.
    Empty,
    /// It came before.
    Duplicate,
    /// Its publisher has taken it back.
    Removed,
    /// One record more than is read of a document.
    TooMany,
    /// One symbol more than a source may have values of.
    TooManySymbols,
}

impl DropKind {
    /// The name in statistics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Duplicate => "duplicate",
            Self::Removed => "removed",
            Self::TooMany => "too_many",
            Self::TooManySymbols => "too_many_symbols",
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
    /// Of them, or of what was asked for, in the last seconds.
    pub(crate) rate: Rate,
    pub(crate) errors: BTreeMap<ErrorKind, u64>,
    /// Records that were not taken in.
    pub(crate) drops: BTreeMap<DropKind, u64>,
    /// How much later than it happened the newest value came.
    pub(crate) lag: Option<SignedDuration>,
    /// When the source last gave any sign of life.
    pub(crate) heard: Option<Timestamp>,
    /// When, and what it said.
    pub(crate) last_error: Option<(Timestamp, String)>,
    pub(crate) last_success: Option<Timestamp>,
    /// How often it was connected.
    pub(crate) connects: u64,
}

impl Ledger {
    /// Books a value and keeps it as the newest of its symbol.
    pub(crate) fn success(&mut self, now: Timestamp, value: &Arc<Value>) {
        self.books.succeeded(now, 1);
        self.books.lag = Some(now.duration_since(value.tick.timestamp));
        self.newest.insert(Arc::clone(&value.tick.symbol), Arc::clone(value));
    }
}

impl Books {
    /// Books that `count` values came at once.
    pub(crate) fn succeeded(&mut self, now: Timestamp, count: u64) {
        self.last_success = Some(now);
        self.heard = Some(now);
        self.rate.add(now, count);
    }

    /// Books a record that was not taken in.
    pub(crate) fn dropped(&mut self, kind: DropKind, count: u64) {
        if count > 0 {
            *self.drops.entry(kind).or_default() += count;
        }
    }

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
