//! Whether the process has too much to do, and which requests are refused for it.
//!
//! Each worker measures how late its loop comes round, the control thread how much memory the process has. What they
//! find stands in one number for each worker, which is zero while nothing is wrong: that is all a request looks at. The
//! decisions are pure; time, memory and chance are passed in.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tidegate_config::valid;

use crate::ids::{PerWorker, WorkerId};
use crate::time;

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(20);

/// Looks that count, so that lag is judged by its mean over 100 ms. A single stall is one look of them, and what waited
/// for it has waited already.
const LOOKS: usize = 5;

/// Between two looks at the memory.
pub const MEMORY_LOOK: Duration = Duration::from_millis(250);

/// Percent of the limit from which a pressure holds, and how far below that it ends, lest it comes and goes with each look.
const WARN_PERCENT: u64 = 80;
const TIGHT_PERCENT: u64 = 90;
const FULL_PERCENT: u64 = 95;
const RELIEF_PERCENT: u64 = 2;

/// Shares of requests are counted in these.
const ALL: u32 = 1 << 15;

/// The low bits of a worker's number are the share that its lag refuses; these say that memory refuses all, and new
/// WebSockets.
const MEMORY_FULL: u32 = 1 << 16;
const MEMORY_TIGHT: u32 = 1 << 17;
const MEMORY: u32 = MEMORY_FULL | MEMORY_TIGHT;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The loop of its worker comes round too late.
    Lag,
    /// The process has hardly any memory left.
    Memory,
    /// Its service has no place for it, and too many wait for one, or it waited in vain.
    Pending,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lag, Self::Memory, Self::Pending];

    /// The word of the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Memory => "memory",
            Self::Pending => "pending",
        }
    }
}

/// How much of the memory is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pressure {
    /// Less than 80 %, or there is no limit.
    #[default]
    None = 0,
    /// It is to be told.
    Warn = 1,
    /// From 90 % on: connections are not kept for another request, idle ones are closed, and no WebSocket is opened.
    Tight = 2,
    /// From 95 % on: new requests are refused.
    Full = 3,
}

impl Pressure {
    const BY_NUMBER: [Self; 4] = [Self::None, Self::Warn, Self::Tight, Self::Full];

    /// What follows on `self` when `resident` of `limit` bytes are used. It rises at once, and falls only some percent
    /// below where it began.
    #[must_use]
    pub fn next(self, resident: u64, limit: u64) -> Self {
        let at = |percent: u64| {
            let used = u128::from(resident) * 100;
            let (full, tight, warn) = (FULL_PERCENT, TIGHT_PERCENT, WARN_PERCENT);
            let reaches = |from: u64| used >= u128::from(limit) * u128::from(from - percent);
            [(full, Self::Full), (tight, Self::Tight), (warn, Self::Warn)]
                .into_iter()
                .find(|(from, _)| reaches(*from))
                .map_or(Self::None, |(_, pressure)| pressure)
        };
        at(0).max(at(RELIEF_PERCENT).min(self))
    }

    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warn => "warn",
            Self::Tight => "tight",
            Self::Full => "full",
        }
    }
}

/// What is refused of requests without a credential, in parts of [`ALL`], at a mean lag.
fn share(mean: Duration, lag: &valid::LagLimits) -> u32 {
    let over = mean.saturating_sub(lag.from).as_nanos();
    let range = lag.all.saturating_sub(lag.from).as_nanos().max(1);
    u32::try_from(over.saturating_mul(u128::from(ALL)) / range).unwrap_or(ALL).min(ALL)
}

/// The same of requests with one: nothing until half of the others are refused.
fn share_with_credential(share: u32) -> u32 {
    share.saturating_mul(2).saturating_sub(ALL)
}

/// The last few lags of a loop.
#[derive(Debug, Default)]
struct Looks {
    lags: [Duration; LOOKS],
    next: usize,
}

impl Looks {
    /// Adds one, and gives the mean.
    fn add(&mut self, lag: Duration) -> Duration {
        if let Some(slot) = self.lags.get_mut(self.next) {
            *slot = lag;
        }
        self.next = self.next.saturating_add(1) % LOOKS;
        let sum: Duration = self.lags.iter().fold(Duration::ZERO, |sum, lag| sum.saturating_add(*lag));
        sum / u32::try_from(LOOKS).unwrap_or(1)
    }
}

/// What a worker looks at. Zero while nothing is wrong.
#[derive(Debug, Default)]
struct Slot {
    state: AtomicU32,
    refused: [AtomicU64; 3],
}

/// See the module. One for the process.
#[derive(Debug)]
pub struct Overload {
    slots: PerWorker<Slot>,
    /// Microseconds; `all` is zero if lag refuses nothing.
    lag_from: AtomicU32,
    lag_all: AtomicU32,
    /// Bytes, by the configuration; zero if that says nothing.
    limit: AtomicU64,
    /// A [`Pressure`].
    pressure: AtomicU8,
}

impl Default for Overload {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Overload {
    /// For this many workers. Refuses nothing before it is configured.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            slots: PerWorker::new(workers, |_| Slot::default()),
            lag_from: AtomicU32::new(0),
            lag_all: AtomicU32::new(0),
            limit: AtomicU64::new(0),
            pressure: AtomicU8::new(0),
        }
    }

    /// A configuration is in force.
    pub fn configure(&self, settings: &valid::Overload) {
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let lag = settings.lag.as_ref();
        self.lag_from.store(lag.map_or(0, |lag| micros(lag.from)), Ordering::Relaxed);
        self.lag_all.store(lag.map_or(0, |lag| micros(lag.all)), Ordering::Relaxed);
        self.limit.store(settings.memory_limit.unwrap_or(0), Ordering::Relaxed);
    }

    /// Bytes that the process may have by its configuration.
    #[must_use]
    pub fn memory_limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    fn lag_limits(&self) -> Option<valid::LagLimits> {
        let all = self.lag_all.load(Ordering::Relaxed);
        let time = |micros: u32| Duration::from_micros(u64::from(micros));
        (all > 0).then(|| valid::LagLimits { from: time(self.lag_from.load(Ordering::Relaxed)), all: time(all) })
    }

    /// Measures the lag of `worker`, on whose runtime this must run, until it is dropped.
    pub async fn watch_lag(&self, worker: WorkerId) {
        let mut looks = Looks::default();
        loop {
            let due = time::now() + LOOK;
            tokio::time::sleep_until(due.into()).await;
            self.lagged(worker, &mut looks, time::now().saturating_duration_since(due));
        }
    }

    fn lagged(&self, worker: WorkerId, looks: &mut Looks, lag: Duration) {
        let limits = self.lag_limits();
        // More than that says nothing more, so that a single stall refuses nobody.
        let mean = looks.add(limits.map_or(Duration::ZERO, |limits| lag.min(limits.all)));
        let share = limits.map_or(0, |limits| share(mean, &limits));
        let state = &self.slots.get(worker).state;
        // Two write here, this worker and the control thread, and each leaves the other's part alone.
        if state.load(Ordering::Relaxed) & !MEMORY != share {
            let _state = state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(state & MEMORY | share));
        }
    }

    /// The process has `resident` bytes of those that it may have; `None`: there is no limit. The pressure before and
    /// the one that holds now.
    pub fn measured(&self, resident: u64, limit: Option<u64>) -> (Pressure, Pressure) {
        let before = self.pressure();
        let now = limit.map_or(Pressure::None, |limit| before.next(resident, limit));
        self.pressure.store(now as u8, Ordering::Relaxed);
        let memory = match now {
            Pressure::None | Pressure::Warn => 0,
            Pressure::Tight => MEMORY_TIGHT,
            Pressure::Full => MEMORY,
        };
        for slot in self.slots.iter() {
            let _state =
                slot.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(state & !MEMORY | memory));
        }
        (before, now)
    }

    /// How much of the memory is used up.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let number = usize::from(self.pressure.load(Ordering::Relaxed));
        Pressure::BY_NUMBER.get(number).copied().unwrap_or_default()
    }

    /// Whether connections are to be closed rather than kept for another request.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.pressure() >= Pressure::Tight
    }

    /// Whether a request of `worker` is to be refused, and why. The questions are asked only if something is wrong:
    /// whether the request opens a WebSocket, whether it has a credential, and for a random number.
    #[must_use]
    pub fn sheds(
        &self,
        worker: WorkerId,
        opens_socket: impl FnOnce() -> bool,
        has_credential: impl FnOnce() -> bool,
        random: impl FnOnce() -> u32,
    ) -> Option<Cause> {
        let state = self.slots.get(worker).state.load(Ordering::Relaxed);
        if state == 0 {
            return None;
        }
        if state & MEMORY_FULL != 0 || state & MEMORY_TIGHT != 0 && opens_socket() {
            return Some(Cause::Memory);
        }
        let share = state & !MEMORY;
        if share == 0 {
            return None;
        }
        let share = if has_credential() { share_with_credential(share) } else { share };
        (random() % ALL < share).then_some(Cause::Lag)
    }

    /// A request was refused.
    pub fn refused(&self, worker: WorkerId, cause: Cause) {
        let [lag, memory, pending] = &self.slots.get(worker).refused;
        let cell = match cause {
            Cause::Lag => lag,
            Cause::Memory => memory,
            Cause::Pending => pending,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were refused, in the order of [`Cause::ALL`].
    #[must_use]
    pub fn refusals(&self) -> [u64; 3] {
        let mut sums = [0_u64; 3];
        for slot in self.slots.iter() {
            for (sum, cell) in sums.iter_mut().zip(&slot.refused) {
                *sum = sum.saturating_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }

    /// Workers that refuse requests because they come round too late.
    #[must_use]
    pub fn late_workers(&self) -> u64 {
        let late = |slot: &&Slot| slot.state.load(Ordering::Relaxed) & !MEMORY != 0;
        u64::try_from(self.slots.iter().filter(late).count()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerId = WorkerId::new(0);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn limits() -> valid::LagLimits {
        valid::LagLimits { from: ms(20), all: ms(100) }
    }

    fn configured() -> Overload {
        let overload = Overload::new(2);
        overload.configure(&valid::Overload { memory_limit: None, lag: Some(limits()) });
        overload
    }

    #[test]
    fn the_share_rises_from_the_first_bound_to_the_second() {
        for (mean, percent) in [(0, 0), (20, 0), (40, 25), (60, 50), (80, 75), (100, 100), (5_000, 100)] {
            assert_eq!(share(ms(mean), &limits()) * 100 / ALL, percent, "{mean} ms");
        }
    }

    #[test]
    fn who_has_a_credential_is_refused_later() {
        for (without, with) in [(0, 0), (25, 0), (50, 0), (75, 50), (100, 100)] {
            assert_eq!(share_with_credential(ALL * without / 100) * 100 / ALL, with, "{without} %");
        }
    }

    #[test]
    fn a_single_stall_counts_as_one_look_of_five() {
        let (overload, mut looks) = (configured(), Looks::default());
        let shed = |random: u32| overload.sheds(WORKER, || false, || false, || random);
        overload.lagged(WORKER, &mut looks, ms(60_000));
        assert_eq!(shed(0), None, "a mean of 20 ms");
        overload.lagged(WORKER, &mut looks, ms(90));
        assert_eq!(shed(0), Some(Cause::Lag), "38 ms");
        assert_eq!(shed(ALL - 1), None, "not all");
        for _ in 0..LOOKS {
            overload.lagged(WORKER, &mut looks, ms(120));
        }
        assert_eq!(shed(ALL - 1), Some(Cause::Lag), "100 ms");
        assert_eq!(overload.sheds(WorkerId::new(1), || false, || false, || 0), None, "another worker");
        assert_eq!(overload.late_workers(), 1);
        for _ in 0..LOOKS {
            overload.lagged(WORKER, &mut looks, Duration::ZERO);
        }
        assert_eq!((shed(0), overload.late_workers()), (None, 0));
    }

    #[test]
    fn a_worker_without_trouble_asks_nothing_of_a_request() {
        let overload = configured();
        assert_eq!(overload.sheds(WORKER, || panic!("asked"), || panic!("asked"), || panic!("asked")), None);
    }

    #[test]
    fn without_bounds_lag_refuses_nothing() {
        let (overload, mut looks) = (Overload::new(1), Looks::default());
        for _ in 0..LOOKS {
            overload.lagged(WORKER, &mut looks, ms(10_000));
        }
        assert_eq!(overload.sheds(WORKER, || true, || false, || 0), None);
        assert_eq!(overload.pressure(), Pressure::None);
    }

    #[test]
    fn pressure_rises_at_once_and_falls_a_little_later() {
        let mut pressure = Pressure::None;
        for (percent, expected) in [
            (79, Pressure::None),
            (80, Pressure::Warn),
            (79, Pressure::Warn),
            (77, Pressure::None),
            (90, Pressure::Tight),
            (96, Pressure::Full),
            (94, Pressure::Full),
            (92, Pressure::Tight),
            (88, Pressure::Tight),
            (87, Pressure::Warn),
            (10, Pressure::None),
            (200, Pressure::Full),
        ] {
            pressure = pressure.next(percent, 100);
            assert_eq!(pressure, expected, "{percent} %");
        }
        assert_eq!(Pressure::None.next(u64::MAX, u64::MAX), Pressure::Full);
        assert_eq!(Pressure::None.next(0, 1), Pressure::None);
    }

    #[test]
    fn full_memory_refuses_all_and_lag_does_not_change_that() {
        let (overload, mut looks) = (configured(), Looks::default());
        let shed = || overload.sheds(WORKER, || false, || true, || ALL - 1);
        assert_eq!(overload.measured(96, Some(100)), (Pressure::None, Pressure::Full));
        for lag in [ms(500), Duration::ZERO] {
            overload.lagged(WORKER, &mut looks, lag);
            assert_eq!(shed(), Some(Cause::Memory));
        }
        assert!(overload.is_tight());
        assert_eq!(overload.measured(96, None), (Pressure::Full, Pressure::None), "the limit is gone");
        assert_eq!(shed(), None);
        assert!(!overload.is_tight());
    }

    #[test]
    fn with_little_memory_no_websocket_is_opened_and_all_else_goes_on() {
        let (overload, mut looks) = (configured(), Looks::default());
        let shed = |socket: bool| overload.sheds(WORKER, || socket, || false, || ALL - 1);
        assert_eq!(overload.measured(92, Some(100)), (Pressure::None, Pressure::Tight));
        assert_eq!((shed(true), shed(false)), (Some(Cause::Memory), None));
        assert_eq!(overload.late_workers(), 0);
        for _ in 0..LOOKS {
            overload.lagged(WORKER, &mut looks, ms(500));
        }
        assert_eq!((shed(true), shed(false)), (Some(Cause::Memory), Some(Cause::Lag)), "each for its own reason");
        assert_eq!(overload.measured(10, Some(100)), (Pressure::Tight, Pressure::None));
        assert_eq!((shed(true), shed(false)), (Some(Cause::Lag), Some(Cause::Lag)));
    }

    #[test]
    fn refusals_are_counted_by_cause() {
        let overload = configured();
        for cause in [Cause::Lag, Cause::Lag, Cause::Pending] {
            overload.refused(WORKER, cause);
        }
        overload.refused(WorkerId::new(1), Cause::Memory);
        assert_eq!(overload.refusals(), [2, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_turns_in_time_has_no_lag() {
        let overload = configured();
        let _watching = tokio::time::timeout(ms(1_000), overload.watch_lag(WORKER)).await;
        assert_eq!(overload.late_workers(), 0);
    }
}
