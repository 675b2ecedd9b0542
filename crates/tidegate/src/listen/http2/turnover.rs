//! How many of its requests a client gives up as soon as it has made them. Pure.
//!
//! Each such request is routed, and perhaps sent to a backend, for nobody. Streams that are reset before they were looked at
//! are the business of the h2 crate; a client that waits until they are, to reset them then, is found here.
//!
//! Counted are requests and not frames, because a RST_STREAM may be no flight: gRPC clients send one when an answer has
//! ended before their request, and who resets a stream that it has been answered on has cost no more than others. An old
//! request does not count either: when a proxy's own timeout passes, or one of its clients leaves, a hundred requests go
//! at once, and nothing was flooded.

use std::time::{Duration, Instant};

/// Windows in which requests are counted, and the age from which on one may be given up.
const WINDOW: Duration = Duration::from_secs(1);

/// With fewer requests in a window there is no flood.
const FEWEST: u32 = 100;

/// A request, from when it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made(Instant);

impl Made {
    /// Whether it counts if it is given up now.
    pub(super) fn is_young(self, now: Instant) -> bool {
        now.saturating_duration_since(self.0) < WINDOW
    }
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Turnover {
    since: Instant,
    made: u32,
    /// In the window before: a new one has few, and what is given up in it may be of the old.
    made_before: u32,
}

impl Turnover {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, made: 0, made_before: 0 }
    }

    /// A request has been made. `forget` is called when a window begins, in which none has been given up.
    pub(super) fn made(&mut self, now: Instant, forget: impl FnOnce()) -> Made {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.made_before = std::mem::take(&mut self.made);
            self.since = now;
            forget();
        }
        self.made = self.made.saturating_add(1);
        Made(now)
    }

    /// Whether it is a flood that `given_up` requests were given up young in this window: more than half.
    pub(super) fn is_flood(&self, given_up: u32) -> bool {
        let made = self.made.max(self.made_before);
        made >= FEWEST && given_up > made / 2
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Makes a request every `pause`, and gives up those for which `leaves` says so after `age`. How many had been made when
    /// that was a flood, if it was.
    fn flood_after(requests: u32, pause: Duration, age: Duration, leaves: impl Fn(u32) -> bool) -> Option<u32> {
        let start = Instant::now();
        let (mut turnover, given_up) = (Turnover::new(start), Cell::new(0));
        let mut leaving: VecDeque<(Instant, Made)> = VecDeque::new();
        for number in 1..=requests {
            let now = start + pause * number;
            while let Some((at, made)) = leaving.pop_front_if(|(at, _)| *at <= now) {
                given_up.set(given_up.get() + u32::from(made.is_young(at)));
            }
            let made = turnover.made(now, || given_up.set(0));
            if leaves(number) {
                leaving.push_back((now + age, made));
            }
            if turnover.is_flood(given_up.get()) {
                return Some(number);
            }
        }
        None
    }

    #[test]
    fn who_makes_requests_to_give_them_up_is_found() {
        for age in [0, 10, 500, 900] {
            for pause in [1, 5] {
                let found = flood_after(3_000, pause * MILLISECOND, age * MILLISECOND, |_| true);
                assert!(found.is_some(), "one every {pause} ms, given up after {age} ms");
            }
        }
        let found = flood_after(3_000, MILLISECOND, 10 * MILLISECOND, |number| number > 1_000);
        assert!(found.is_some_and(|made| made < 2_100), "{found:?}: hidden behind good ones for a second");
    }

    #[test]
    fn half_of_them_may_be_given_up() {
        assert_eq!(flood_after(10_000, MILLISECOND, MILLISECOND, |number| number % 2 == 0), None);
        assert!(flood_after(10_000, MILLISECOND, MILLISECOND, |number| number % 3 > 0).is_some());
        let (mut turnover, start) = (Turnover::new(Instant::now()), Instant::now());
        for _ in 0..100 {
            turnover.made(start, || {});
        }
        assert_eq!([50, 51].map(|given_up| turnover.is_flood(given_up)), [false, true]);
    }

    #[test]
    fn few_requests_are_no_flood() {
        assert_eq!(flood_after(10_000, 11 * MILLISECOND, MILLISECOND, |_| true), None, "90 in a second");
    }

    #[test]
    fn old_requests_may_be_given_up_all_at_once() {
        assert_eq!(flood_after(10_000, MILLISECOND, 1_000 * MILLISECOND, |_| true), None);
    }

    /// As of a proxy, when one of its many clients leaves with all that it has asked, just as a window begins.
    #[test]
    fn who_leaves_among_many_is_no_flood() {
        let bursts = |number: u32| (200..300).contains(&(number % 1_000));
        assert_eq!(flood_after(10_000, MILLISECOND, 100 * MILLISECOND, bursts), None);
        let start = Instant::now();
        let mut turnover = Turnover::new(start);
        for _ in 0..1_000 {
            turnover.made(start, || {});
        }
        for _ in 0..100 {
            turnover.made(start + WINDOW, || {});
        }
        assert!(!turnover.is_flood(60), "of 1,100");
    }
}
