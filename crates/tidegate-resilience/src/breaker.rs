//! The circuit breaker of a service.
//!
//! ```text
//!              too many failures
//!   Closed ───────────────────────▶ Open ◀──────────────┐
//!     ▲                               │ time is over    │ a probe fails: open twice as long,
//!     │ all probes succeed            ▼                 │ up to eight times
//!     └─────────────────────────── HalfOpen ────────────┘
//! ```
//!
//! Closed lets everything through, open refuses everything, half open lets a few probes through. Nothing happens by
//! itself: an open breaker becomes half open when somebody asks after its time.
//!
//! **Cost.** One atomic word says what is to be done. Closed, `admit` is one load, and `record` is a load and an
//! exchange in the [`Window`]; refusals take no lock either. Only what changes the state, and a probe, takes a short
//! lock, under which the word is rewritten.
//!
//! **Periods.** Each change begins a new period. A permit knows the period it was given in, and what is recorded with
//! it in another one is ignored: answers to requests from before the trouble must neither close the breaker nor open
//! it again.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::nanos::Nanos;
use crate::outcome::Outcome;
use crate::random::jittered;
use crate::ratio::Ratio;
use crate::window::Window;

/// By how much the time for which a breaker is open differs, so that gateways do not probe together.
const JITTER_PERCENT: u8 = 20;

/// The open time doubles this often: up to eight times what is configured.
const DOUBLINGS: u32 = 3;

/// What a refused client is told while probes are on their way: nobody knows yet.
const PROBING_RETRY_AFTER: Duration = Duration::from_secs(1);

/// When a breaker opens, for how long, and what closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Opens by the part of attempts that failed.
    pub failure_ratio: Option<RatioTrip>,
    /// Opens after so many failures without a success between them.
    pub consecutive_failures: Option<u32>,
    /// For how long it is open the first time, ± 20 %.
    pub open_for: Duration,
    /// Probes that are let through half open, at once and in all, and must all succeed; 0 counts as 1.
    pub probes: u16,
}

/// Opening by the part of attempts that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatioTrip {
    /// At this part or more of failures…
    pub ratio: Ratio,
    /// …among at least so many attempts…
    pub min_requests: u32,
    /// …within this time, by tenths.
    pub window: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        let trip = RatioTrip { ratio: Ratio::percent(50), min_requests: 20, window: Duration::from_secs(10) };
        Self { failure_ratio: Some(trip), consecutive_failures: None, open_for: Duration::from_secs(5), probes: 3 }
    }
}

/// What a breaker does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Lets everything through.
    Closed,
    /// Lets a few probes through.
    HalfOpen,
    /// Refuses everything.
    Open,
}

/// The answer to a request that wants through.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// Let through.
    Admit(Permit),
    /// Let through, and all depends on it.
    Probe {
        /// The right to the attempt.
        permit: Permit,
        /// Whether this one made the breaker half open: [`Admission::transition`].
        is_first: bool,
    },
    /// Refused.
    Refused {
        /// When to try again.
        retry_after: Duration,
    },
}

/// The right to one attempt. To be recorded; one that is dropped says nothing, and a probe gives its place back.
#[derive(Debug)]
pub struct Permit {
    period: u64,
    /// Of a probe, where its place is.
    probe: Option<Arc<Breaker>>,
}

/// A change, for log and metrics. Each is returned to exactly one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Requests are refused from now on.
    Opened {
        /// For this long.
        open_for: Duration,
        /// The reason.
        cause: TripCause,
    },
    /// Probes are let through.
    HalfOpened,
    /// Everything is let through again.
    Closed,
}

/// Why a breaker opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TripCause {
    /// Too large a part of the attempts failed.
    FailureRatio {
        /// Failures in the window.
        failures: u64,
        /// Attempts in the window.
        total: u64,
    },
    /// So many attempts in a row failed.
    ConsecutiveFailures(u32),
    /// It was half open and the backend is still in trouble.
    ProbeFailed,
}

impl Admission {
    /// The change that came with this answer.
    #[must_use]
    pub const fn transition(&self) -> Option<Transition> {
        match self {
            Self::Probe { is_first: true, .. } => Some(Transition::HalfOpened),
            Self::Admit(_) | Self::Probe { .. } | Self::Refused { .. } => None,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(breaker) = &self.probe {
            breaker.give_back(self.period);
        }
    }
}

/// The breaker of one service, shared by all cores.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// [`State`], written under the lock.
    state: AtomicU64,
    /// When open: until then. Written under the lock, before the state.
    open_until: AtomicU64,
    /// Failures since the last success.
    failures_in_row: AtomicU32,
    window: Option<Window>,
    probing: Mutex<Probing>,
}

/// What only changes of state and probes need.
#[derive(Debug, Default)]
struct Probing {
    /// Probes whose outcome is not known yet.
    out: u16,
    succeeded: u16,
    /// How often the open time has been doubled.
    doublings: u32,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        let settings = BreakerSettings { probes: settings.probes.max(1), ..settings };
        Self {
            settings,
            state: AtomicU64::new(State::new(Phase::Closed, 0, 0).0),
            open_until: AtomicU64::new(0),
            failures_in_row: AtomicU32::new(0),
            window: settings.failure_ratio.map(|trip| Window::new(trip.window)),
            probing: Mutex::default(),
        }
    }

    /// Lets a request through or refuses it. Allocates nothing; closed or open, takes no lock.
    #[inline]
    pub fn admit(self: &Arc<Self>, now: Nanos) -> Admission {
        let state = State(self.state.load(Acquire));
        match state.phase() {
            Phase::Closed => Admission::Admit(Permit { period: state.period(), probe: None }),
            Phase::Open if now < self.open_until() => self.refused(now),
            Phase::HalfOpen if state.places() == 0 => Admission::Refused { retry_after: PROBING_RETRY_AFTER },
            Phase::Open | Phase::HalfOpen => self.admit_probe(now),
        }
    }

    /// Records what became of an attempt; `random` gives the jitter of the open time if this opens the breaker.
    ///
    /// A permit of another period counts for nothing. Allocates nothing; takes a lock only for probes and changes. A
    /// success never opens a breaker, even if it is the one that makes the attempts enough.
    #[inline]
    pub fn record(&self, mut permit: Permit, outcome: Outcome, now: Nanos, random: u64) -> Option<Transition> {
        if let Some(breaker) = permit.probe.take() {
            return breaker.settle(permit.period, outcome, now, random);
        }
        let state = State(self.state.load(Acquire));
        if state.phase() != Phase::Closed || state.period() != permit.period {
            return None;
        }
        if let Some(window) = &self.window {
            window.record(now, outcome);
        }
        match outcome {
            Outcome::Success => {
                // A store only when there is something to forget, so that the word stays shared between cores.
                if self.failures_in_row.load(Relaxed) != 0 {
                    self.failures_in_row.store(0, Relaxed);
                }
                None
            }
            Outcome::Failure => self.failed(permit.period, now, random),
        }
    }

    /// What it does at the moment. Open also after its time, until the next request asks.
    #[must_use]
    pub fn phase(&self) -> Phase {
        State(self.state.load(Acquire)).phase()
    }

    fn open_until(&self) -> Nanos {
        Nanos::new(self.open_until.load(Relaxed))
    }

    fn refused(&self, now: Nanos) -> Admission {
        Admission::Refused { retry_after: self.open_until().since(now) }
    }

    /// A place among the probes, if there is one; the first to ask after the open time begins them.
    #[cold]
    fn admit_probe(self: &Arc<Self>, now: Nanos) -> Admission {
        let mut probing = self.probing.lock();
        let state = State(self.state.load(Relaxed));
        let is_first = match state.phase() {
            Phase::Closed => return Admission::Admit(Permit { period: state.period(), probe: None }),
            Phase::Open if now < self.open_until() => return self.refused(now),
            Phase::HalfOpen if state.places() == 0 => {
                return Admission::Refused { retry_after: PROBING_RETRY_AFTER };
            }
            Phase::HalfOpen => false,
            Phase::Open => {
                (probing.out, probing.succeeded) = (0, 0);
                self.publish(State::new(Phase::HalfOpen, 0, state.next_period()));
                true
            }
        };
        probing.out += 1;
        self.publish_places(&probing);
        let period = State(self.state.load(Relaxed)).period();
        Admission::Probe { permit: Permit { period, probe: Some(Arc::clone(self)) }, is_first }
    }

    /// One more failure while closed.
    #[cold]
    fn failed(&self, period: u64, now: Nanos, random: u64) -> Option<Transition> {
        let in_row = self.failures_in_row.fetch_add(1, Relaxed).saturating_add(1);
        let cause = self.trip_cause(in_row, now)?;
        let mut probing = self.probing.lock();
        let state = State(self.state.load(Relaxed));
        // Somebody else's failure was quicker.
        if state.phase() != Phase::Closed || state.period() != period {
            return None;
        }
        probing.doublings = 0;
        Some(self.open(&probing, cause, now, random))
    }

    /// What a probe says, if the breaker has not changed since it was let through.
    #[cold]
    fn settle(&self, period: u64, outcome: Outcome, now: Nanos, random: u64) -> Option<Transition> {
        let mut probing = self.probing_in(period)?;
        probing.out = probing.out.saturating_sub(1);
        match outcome {
            Outcome::Failure => {
                probing.doublings = probing.doublings.saturating_add(1);
                Some(self.open(&probing, TripCause::ProbeFailed, now, random))
            }
            // It keeps its place: there are so many probes in all.
            Outcome::Success => {
                probing.succeeded = probing.succeeded.saturating_add(1);
                (probing.succeeded >= self.settings.probes).then(|| self.close(&probing))
            }
        }
    }

    /// A probe ended without an outcome.
    #[cold]
    fn give_back(&self, period: u64) {
        let Some(mut probing) = self.probing_in(period) else { return };
        probing.out = probing.out.saturating_sub(1);
        self.publish_places(&probing);
    }

    fn trip_cause(&self, in_row: u32, now: Nanos) -> Option<TripCause> {
        if self.settings.consecutive_failures.is_some_and(|limit| in_row >= limit) {
            return Some(TripCause::ConsecutiveFailures(in_row));
        }
        let trip = self.settings.failure_ratio?;
        let counts = self.window.as_ref()?.counts(now);
        let (failures, total) = (counts.failures, counts.total());
        let trips = total >= u64::from(trip.min_requests) && trip.ratio.is_reached(failures, total);
        trips.then_some(TripCause::FailureRatio { failures, total })
    }

    fn open(&self, probing: &Locked<'_>, cause: TripCause, now: Nanos, random: u64) -> Transition {
        let nominal = self.settings.open_for.saturating_mul(1 << probing.doublings.min(DOUBLINGS));
        let open_for = jittered(nominal, JITTER_PERCENT, random);
        self.open_until.store(now.after(open_for).get(), Relaxed);
        self.publish(State::new(Phase::Open, 0, State(self.state.load(Relaxed)).next_period()));
        Transition::Opened { open_for, cause }
    }

    fn close(&self, _: &Locked<'_>) -> Transition {
        if let Some(window) = &self.window {
            window.clear();
        }
        self.failures_in_row.store(0, Relaxed);
        self.publish(State::new(Phase::Closed, 0, State(self.state.load(Relaxed)).next_period()));
        Transition::Closed
    }

    fn publish_places(&self, probing: &Locked<'_>) {
        let taken = probing.out.saturating_add(probing.succeeded);
        let period = State(self.state.load(Relaxed)).period();
        self.publish(State::new(Phase::HalfOpen, self.settings.probes.saturating_sub(taken), period));
    }

    fn publish(&self, state: State) {
        self.state.store(state.0, Release);
    }

    /// The lock, if the breaker is still half open in that period.
    fn probing_in(&self, period: u64) -> Option<Locked<'_>> {
        let probing = self.probing.lock();
        let state = State(self.state.load(Relaxed));
        (state.phase() == Phase::HalfOpen && state.period() == period).then_some(probing)
    }
}

/// Proof that the state may be rewritten.
type Locked<'b> = MutexGuard<'b, Probing>;

/// The word that says what to do. From the top: period, free places of probes, phase.
#[derive(Clone, Copy)]
struct State(u64);

const PHASE_BITS: u32 = 2;
const PLACES_BITS: u32 = 16;
const PERIOD_SHIFT: u32 = PHASE_BITS + PLACES_BITS;

impl State {
    fn new(phase: Phase, places: u16, period: u64) -> Self {
        let phase = match phase {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        };
        Self(period << PERIOD_SHIFT | u64::from(places) << PHASE_BITS | phase)
    }

    const fn phase(self) -> Phase {
        match self.0 & ((1 << PHASE_BITS) - 1) {
            0 => Phase::Closed,
            1 => Phase::HalfOpen,
            _ => Phase::Open,
        }
    }

    const fn places(self) -> u64 {
        (self.0 >> PHASE_BITS) & ((1 << PLACES_BITS) - 1)
    }

    const fn period(self) -> u64 {
        self.0 >> PERIOD_SHIFT
    }

    /// The number of the period after this one; they repeat after 2^46.
    const fn next_period(self) -> u64 {
        self.period().wrapping_add(1) & (u64::MAX >> PERIOD_SHIFT)
    }
}

#[cfg(test)]
mod tests;
