//! The only place that reads a clock, and the coarse timer wheel that holds all deadlines of a worker.
//!
//! A runtime timer per request costs a lock, a tree and a wake-up of the driver. Here arming and clearing a
//! deadline is a list operation in a slab, and one tick for each worker, only while something is armed, finds what is due.
//! Deadlines are met within one tick ([`TICK`]), never early.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

/// The resolution of deadlines.
pub const TICK: Duration = Duration::from_millis(5);

/// Slots of the wheel: one turn is about five seconds; later deadlines stay for more turns.
const SLOTS: usize = 1024;

/// End of a list in the slab.
const NONE: usize = usize::MAX;

/// Monotonic time; follows tokio's paused clock in tests.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long after a moment early in the life of the process `moment` is; zero before it.
#[must_use]
pub fn since_start(moment: Instant) -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(now);
    moment.saturating_duration_since(*START)
}

/// Wall-clock time in milliseconds since 1970, for ids and time stamps.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds of the system's monotonic clock, which other processes read too.
#[must_use]
pub fn monotonic_us() -> u64 {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(since.tv_sec).unwrap_or(0), u64::try_from(since.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

/// Wall-clock time in nanoseconds since 1970, for spans.
#[must_use]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// `unix_ms` as RFC 3339 in UTC with whole seconds: `2026-11-20T10:00:00Z`.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let stamp = rfc3339_ms(unix_ms);
    let seconds = stamp.first_chunk::<19>().map_or("", |seconds| std::str::from_utf8(seconds).unwrap_or(""));
    format!("{seconds}Z")
}

/// `unix_ms` as RFC 3339 in UTC with milliseconds, as ASCII and without an allocation: `2026-11-20T10:00:00.123Z`.
///
/// Times beyond the year 9999, which the form cannot tell, become its last moment.
///
/// Source: the days-to-civil algorithm of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#[must_use]
pub fn rfc3339_ms(unix_ms: u64) -> [u8; 24] {
    /// 9999-12-31T23:59:59.999Z.
    const LAST: u64 = 253_402_300_799_999;
    let unix_ms = unix_ms.min(LAST);
    let (seconds, milliseconds) = (unix_ms / 1000, unix_ms % 1000);
    let days = seconds / 86_400;
    let since_march_0000 = days + 719_468;
    let era = since_march_0000 / 146_097;
    let day_of_era = since_march_0000 % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let two = |number: u64| [digit(number / 10), digit(number)];
    let ([y1, y2], [y3, y4], [mo1, mo2], [d1, d2]) = (two(year / 100), two(year % 100), two(month), two(day));
    let ([h1, h2], [mi1, mi2], [s1, s2]) = (two(hour), two(minute), two(second));
    let (f1, [f2, f3]) = (digit(milliseconds / 100), two(milliseconds % 100));
    [y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2, b'.', f1, f2, f3, b'Z']
}

/// The last decimal digit of `number`.
fn digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or(0)
}

/// Deadlines of one worker.
#[derive(Debug)]
pub struct Wheel {
    started: Instant,
    state: Mutex<State>,
    armed: Notify,
}

#[derive(Debug)]
struct State {
    entries: Slab<Entry>,
    /// First entry of the list of each slot.
    heads: Box<[usize]>,
    /// The last tick that was swept.
    swept: u64,
}

#[derive(Debug)]
struct Entry {
    due: u64,
    previous: usize,
    next: usize,
    /// `None` once the deadline has passed.
    waker: Option<Waker>,
}

impl Wheel {
    /// An empty wheel; [`Wheel::run`] must be polled by a task of the worker.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: now(),
            state: Mutex::new(State { entries: Slab::new(), heads: vec![NONE; SLOTS].into(), swept: 0 }),
            armed: Notify::new(),
        })
    }

    /// Turns the wheel for ever. Sleeps while nothing is armed, so an idle worker is never woken.
    pub async fn run(self: Arc<Self>) {
        loop {
            if self.state.lock().entries.is_empty() {
                self.armed.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.sweep(self.tick_of(now()));
        }
    }

    /// A future that is ready once `deadline` has passed; nothing is armed before it is polled.
    #[must_use]
    pub fn at(self: &Arc<Self>, deadline: Instant) -> Deadline {
        Deadline { wheel: Arc::clone(self), at: deadline, key: NONE }
    }

    fn tick_of(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.started);
        u64::try_from(since.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
    }

    fn arm(&self, at: Instant, waker: &Waker) -> usize {
        let mut state = self.state.lock();
        // The tick after the one that the deadline lies in has begun only when the deadline has passed.
        let due = self.tick_of(at).saturating_add(1).max(state.swept.saturating_add(1));
        let was_empty = state.entries.is_empty();
        if was_empty {
            state.swept = state.swept.max(self.tick_of(now()));
        }
        let due = due.max(state.swept.saturating_add(1));
        let key = state.insert(due, waker.clone());
        drop(state);
        if was_empty {
            self.armed.notify_one();
        }
        key
    }

    fn sweep(&self, tick: u64) {
        let mut due = Vec::new();
        {
            let mut state = self.state.lock();
            let behind = tick.saturating_sub(state.swept).min(SLOTS as u64);
            for back in 0..behind {
                state.collect(tick - back, tick, &mut due);
            }
            state.swept = state.swept.max(tick);
        }
        for waker in due {
            waker.wake();
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "keys come from the slab and slots are reduced by SLOTS")]
impl State {
    fn slot(due: u64) -> usize {
        usize::try_from(due % SLOTS as u64).unwrap_or(0)
    }

    fn insert(&mut self, due: u64, waker: Waker) -> usize {
        let head = self.heads[Self::slot(due)];
        let key = self.entries.insert(Entry { due, previous: NONE, next: head, waker: Some(waker) });
        if head != NONE {
            self.entries[head].previous = key;
        }
        self.heads[Self::slot(due)] = key;
        key
    }

    fn unlink(&mut self, key: usize) {
        let (due, previous, next) = {
            let entry = &self.entries[key];
            (entry.due, entry.previous, entry.next)
        };
        if previous == NONE {
            self.heads[Self::slot(due)] = next;
        } else {
            self.entries[previous].next = next;
        }
        if next != NONE {
            self.entries[next].previous = previous;
        }
    }

    /// Moves the wakers of all entries in the slot of `tick` that are due at `now` to `due`.
    fn collect(&mut self, tick: u64, now: u64, due: &mut Vec<Waker>) {
        let mut key = self.heads[Self::slot(tick)];
        while key != NONE {
            let next = self.entries[key].next;
            if self.entries[key].due <= now {
                self.unlink(key);
                due.extend(self.entries[key].waker.take());
            }
            key = next;
        }
    }
}

/// Ready once its time has passed. Dropping it clears it.
#[derive(Debug)]
pub struct Deadline {
    wheel: Arc<Wheel>,
    at: Instant,
    key: usize,
}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.key == NONE {
            if now() >= this.at {
                return Poll::Ready(());
            }
            this.key = this.wheel.arm(this.at, cx.waker());
            return Poll::Pending;
        }
        let mut state = this.wheel.state.lock();
        match state.entries.get_mut(this.key).map(|entry| &mut entry.waker) {
            Some(Some(waker)) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            Some(None) | None => Poll::Ready(()),
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if self.key == NONE {
            return;
        }
        let mut state = self.wheel.state.lock();
        if state.entries.get(self.key).is_some_and(|entry| entry.waker.is_some()) {
            state.unlink(self.key);
        }
        state.entries.try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_printed_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_168_496, "2026-11-20T09:54:56Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1000 + 999), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_met_within_two_ticks_and_never_early() {
        let wheel = Wheel::new();
        tokio::spawn(Arc::clone(&wheel).run());
        for ms in [1, 4, 5, 100, 5_119, 5_120, 17_003] {
            let begun = now();
            let wanted = Duration::from_millis(ms);
            wheel.at(begun + wanted).await;
            let took = now() - begun;
            assert!(took >= wanted && took <= wanted + 2 * TICK + Duration::from_millis(1), "{ms} ms took {took:?}");
        }
        assert!(wheel.state.lock().entries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_deadline_leaves_nothing_behind() {
        let wheel = Wheel::new();
        tokio::spawn(Arc::clone(&wheel).run());
        for _ in 0..1_000 {
            let armed = wheel.at(now() + Duration::from_secs(15));
            assert!(tokio::time::timeout(Duration::from_micros(1), armed).await.is_err());
        }
        let state = wheel.state.lock();
        assert!(state.entries.is_empty());
        assert!(state.heads.iter().all(|head| *head == NONE));
    }

    #[tokio::test(start_paused = true)]
    async fn many_deadlines_in_one_slot_are_all_met() {
        let wheel = Wheel::new();
        tokio::spawn(Arc::clone(&wheel).run());
        let at = now() + Duration::from_millis(20);
        let tasks: Vec<_> = (0..100).map(|_| tokio::spawn(wheel.at(at))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(now() >= at);
    }
}
