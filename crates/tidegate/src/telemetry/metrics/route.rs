//! What requests of one route came to, counted by each worker for itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::ids::{ListenerId, PerWorker, WorkerId};
use crate::reject::Reason;

use super::budget::{Admission, Budget, Gate, Refused};
use super::histogram::{Exemplar, Histogram};
use super::method::MethodId;
use super::table::{DURATIONS, OVERHEADS};

/// Conversions are measured on one request in this many.
const TRANSCODE_SAMPLING: u8 = 16;

/// Decides by chance whether the conversions of a request are measured.
#[must_use]
pub fn samples_transcoding() -> bool {
    fastrand::u8(..).is_multiple_of(TRANSCODE_SAMPLING)
}

/// One request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Where it came in.
    pub listener: ListenerId,
    /// Its method, from [`super::Metrics::method`].
    pub method: MethodId,
    /// Of the answer.
    pub status: u16,
    /// Why the gateway refused, if it did.
    pub reason: Option<Reason>,
    /// From head to end of the answer.
    pub duration: Duration,
    /// Spent in the gateway before a backend was asked, if one was.
    pub overhead_request: Option<Duration>,
    /// Spent in the gateway since.
    pub overhead_response: Option<Duration>,
    /// Of the body, on the wire.
    pub bytes_in: u64,
    /// Of the answer's body, on the wire.
    pub bytes_out: u64,
    /// For requests that are traced.
    pub exemplar: Option<Exemplar>,
}

/// The way to the backend or the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client.
    Request,
    /// To the client.
    Response,
}

impl Direction {
    pub(super) const ALL: [Self; 2] = [Self::Request, Self::Response];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// Where a conversion failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A variable of the path.
    Path,
    /// A parameter of the query.
    Query,
    /// The JSON of the body.
    Body,
    /// Writing the message for the backend.
    Encode,
    /// Reading the backend's message.
    Decode,
}

impl Stage {
    pub(super) const ALL: [Self; 5] = [Self::Path, Self::Query, Self::Body, Self::Encode, Self::Decode];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Body => "body",
            Self::Encode => "encode",
            Self::Decode => "decode",
        }
    }
}

/// Labels of `http_requests_total` that differ between requests of a route. Eight bytes, compared as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outcome {
    pub(super) listener: ListenerId,
    pub(super) status: u16,
    pub(super) method: MethodId,
    pub(super) reason: Option<Reason>,
}

/// What has to be admitted before it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Outcome(Outcome),
    Duration(MethodId),
    Overhead(Direction),
    Bytes,
    TranscodeError(Stage),
    Transcode(Direction),
}

type Latencies = Histogram<14>;
type Overheads = Histogram<10>;
const _: () = assert!(DURATIONS.len() == 14 && OVERHEADS.len() == 10);

/// The numbers of one worker, or the sum of all. What is `None` or not in a list had no event or was not admitted.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) outcomes: Vec<(Outcome, u64)>,
    pub(super) durations: Vec<(MethodId, Box<Latencies>)>,
    /// In the order of [`Direction::ALL`].
    pub(super) overheads: [Option<Box<Overheads>>; 2],
    /// In, out.
    pub(super) bytes: Option<(u64, u64)>,
    /// In the order of [`Stage::ALL`].
    pub(super) transcode_errors: [Option<u64>; 5],
    /// In the order of [`Direction::ALL`].
    pub(super) transcodes: [Option<Box<Overheads>>; 2],
}

/// What one worker counts.
#[derive(Debug, Default)]
struct Slot {
    cells: Cells,
    refused: Refused<Key>,
}

/// Series of one route name and service; lives as long as one of the two is in the configuration, across reloads.
#[derive(Debug)]
pub struct RouteSeries {
    pub(super) route: Arc<str>,
    pub(super) service: Arc<str>,
    slots: usize,
    /// Nothing is there before the first event, so that thousands of idle routes cost next to nothing.
    workers: OnceLock<PerWorker<Mutex<Option<Box<Slot>>>>>,
    admission: Admission<Key>,
}

impl RouteSeries {
    pub(super) fn new(route: Arc<str>, service: Arc<str>, slots: usize, budget: Arc<Budget>) -> Self {
        Self { route, service, slots, workers: OnceLock::new(), admission: Admission::new(budget) }
    }

    /// Counts a request that has ended. To be called on its worker: the lock is free then.
    pub fn finished(&self, worker: WorkerId, sample: &Sample) {
        self.with(worker, |cells, mut gate| cells.finished(&mut gate, sample));
    }

    /// Counts a conversion that failed.
    pub fn transcode_failed(&self, worker: WorkerId, stage: Stage) {
        self.with(worker, |cells, mut gate| cells.transcode_failed(&mut gate, stage));
    }

    /// Counts a conversion that was measured; see [`samples_transcoding`].
    pub fn transcoded(&self, worker: WorkerId, direction: Direction, duration: Duration) {
        let key = Key::Transcode(direction);
        self.with(worker, |cells, mut gate| {
            observe(cells.transcodes.get_mut(place(direction)), &mut gate, key, duration);
        });
    }

    fn with(&self, worker: WorkerId, count: impl FnOnce(&mut Cells, Gate<'_, Key>)) {
        let workers = self.workers.get_or_init(|| PerWorker::new(self.slots, |_| Mutex::new(None)));
        let mut slot = workers.get(worker).lock();
        let Slot { cells, refused } = &mut **slot.get_or_insert_default();
        count(cells, Gate { admission: &self.admission, refused });
    }

    /// The sum over all workers.
    pub(super) fn sum(&self) -> Cells {
        let mut sum = Cells::default();
        for slot in self.workers.get().into_iter().flat_map(PerWorker::iter) {
            if let Some(slot) = &*slot.lock() {
                sum.add(&slot.cells);
            }
        }
        sum
    }

    pub(super) fn is_empty(&self) -> bool {
        self.admission.is_empty()
    }

    /// Forgets requests that came over listeners which are no more.
    pub(super) fn retain_listeners(&self, is_there: impl Fn(ListenerId) -> bool) {
        for slot in self.workers.get().into_iter().flat_map(PerWorker::iter) {
            if let Some(slot) = &mut *slot.lock() {
                slot.cells.outcomes.retain(|(outcome, _)| is_there(outcome.listener));
            }
        }
        self.admission.retain(|key| match key {
            Key::Outcome(outcome) => is_there(outcome.listener),
            Key::Duration(_) | Key::Overhead(_) | Key::Bytes | Key::TranscodeError(_) | Key::Transcode(_) => true,
        });
    }
}

impl Cells {
    fn finished(&mut self, gate: &mut Gate<'_, Key>, sample: &Sample) {
        let Sample { listener, method, status, reason, .. } = *sample;
        let outcome = Outcome { listener, status, method, reason };
        match self.outcomes.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, count)) => *count += 1,
            None if gate.admit(Key::Outcome(outcome), 1) => self.outcomes.push((outcome, 1)),
            None => {}
        }
        if let Some(durations) = self.durations_of(gate, method) {
            durations.observe(DURATIONS, sample.duration, sample.exemplar);
        }
        for (direction, overhead) in Direction::ALL.into_iter().zip([sample.overhead_request, sample.overhead_response])
        {
            if let Some(overhead) = overhead {
                observe(self.overheads.get_mut(place(direction)), gate, Key::Overhead(direction), overhead);
            }
        }
        if self.bytes.is_none() && gate.admit(Key::Bytes, 2) {
            self.bytes = Some((0, 0));
        }
        if let Some((bytes_in, bytes_out)) = &mut self.bytes {
            *bytes_in = bytes_in.saturating_add(sample.bytes_in);
            *bytes_out = bytes_out.saturating_add(sample.bytes_out);
        }
    }

    /// A list, because a route has one or two methods.
    fn durations_of(&mut self, gate: &mut Gate<'_, Key>, method: MethodId) -> Option<&mut Latencies> {
        let place = self.durations.iter().position(|(known, _)| *known == method);
        if place.is_none() {
            if !gate.admit(Key::Duration(method), Latencies::SERIES) {
                return None;
            }
            self.durations.push((method, Box::default()));
        }
        let last = self.durations.len().saturating_sub(1);
        self.durations.get_mut(place.unwrap_or(last)).map(|(_, histogram)| &mut **histogram)
    }

    fn transcode_failed(&mut self, gate: &mut Gate<'_, Key>, stage: Stage) {
        let Some(cell) =
            Stage::ALL.iter().position(|known| *known == stage).and_then(|at| self.transcode_errors.get_mut(at))
        else {
            return;
        };
        match cell {
            Some(count) => *count += 1,
            None if gate.admit(Key::TranscodeError(stage), 1) => *cell = Some(1),
            None => {}
        }
    }

    /// Adds the numbers of another worker or of another service's part of the route.
    pub(super) fn add(&mut self, other: &Self) {
        for (outcome, more) in &other.outcomes {
            match self.outcomes.iter_mut().find(|(known, _)| known == outcome) {
                Some((_, count)) => *count += more,
                None => self.outcomes.push((*outcome, *more)),
            }
        }
        for (method, more) in &other.durations {
            match self.durations.iter_mut().find(|(known, _)| known == method) {
                Some((_, histogram)) => histogram.add(more),
                None => self.durations.push((*method, more.clone())),
            }
        }
        add_histograms(&mut self.overheads, &other.overheads);
        add_histograms(&mut self.transcodes, &other.transcodes);
        if let Some((more_in, more_out)) = other.bytes {
            let (bytes_in, bytes_out) = self.bytes.unwrap_or_default();
            self.bytes = Some((bytes_in.saturating_add(more_in), bytes_out.saturating_add(more_out)));
        }
        for (count, more) in self.transcode_errors.iter_mut().zip(other.transcode_errors) {
            *count = more.map_or(*count, |more| Some(count.unwrap_or(0) + more));
        }
    }
}

const fn place(direction: Direction) -> usize {
    match direction {
        Direction::Request => 0,
        Direction::Response => 1,
    }
}

fn observe(cell: Option<&mut Option<Box<Overheads>>>, gate: &mut Gate<'_, Key>, key: Key, duration: Duration) {
    let Some(cell) = cell else { return };
    if cell.is_none() && gate.admit(key, Overheads::SERIES) {
        *cell = Some(Box::default());
    }
    if let Some(histogram) = cell {
        histogram.observe(OVERHEADS, duration, None);
    }
}

fn add_histograms(sums: &mut [Option<Box<Overheads>>; 2], more: &[Option<Box<Overheads>>; 2]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        match (sum, more) {
            (Some(sum), Some(more)) => sum.add(more),
            (sum @ None, Some(more)) => *sum = Some(more.clone()),
            (_, None) => {}
        }
    }
}
