//! How much a client may say. Pure: times are counted from the start of its session.

use std::time::Duration;

use tidegate_config::units::Rate;

/// Errors within [`ERROR_WINDOW`] that close a connection.
const MAX_ERRORS: u32 = 20;
const ERROR_WINDOW: Duration = Duration::from_secs(5);

/// Pings in a second that are all answered; of those above only the newest is.
const ANSWERED_PINGS: u32 = 20;
/// Pings in a second that close a connection.
const MAX_PINGS: u32 = 200;
const PING_WINDOW: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Inbound {
    /// Time that a message takes up.
    each_ns: u64,
    /// Time that may be taken up ahead: one burst.
    ahead_ns: u64,
    /// Until when time is taken up.
    taken_ns: u64,
    errors: Window,
    pings: Window,
}

/// How many there were since its first one.
#[derive(Debug, Default)]
struct Window {
    since: Duration,
    count: u32,
}

impl Window {
    /// One more; how many there are now.
    fn count(&mut self, now: Duration, length: Duration) -> u32 {
        if self.count == 0 || now.saturating_sub(self.since) >= length {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

/// What becomes of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// It is answered.
    Answer,
    /// It is answered at this time, unless another one comes before.
    Later(Duration),
    /// The connection is closed.
    Close,
}

impl Inbound {
    /// Messages may come at this rate, and as many as come in one second of it at once.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let each_ns = nanos(rate.per) / rate.requests.max(1);
        let burst = (nanos(Duration::from_secs(1)) / each_ns.max(1)).max(1);
        let ahead_ns = each_ns.saturating_mul(burst);
        Self { each_ns, ahead_ns, taken_ns: 0, errors: Window::default(), pings: Window::default() }
    }

    /// Whether another message may come at `now`. One that may not takes nothing.
    pub fn admits(&mut self, now: Duration) -> bool {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let taken = self.taken_ns.max(now).saturating_add(self.each_ns);
        if taken.saturating_sub(now) > self.ahead_ns {
            return false;
        }
        self.taken_ns = taken;
        true
    }

    /// A message was refused; whether that was one too many.
    pub fn erred(&mut self, now: Duration) -> bool {
        self.errors.count(now, ERROR_WINDOW) >= MAX_ERRORS
    }

    /// A ping has come.
    pub fn pinged(&mut self, now: Duration) -> Ping {
        let pings = self.pings.count(now, PING_WINDOW);
        if pings <= ANSWERED_PINGS {
            Ping::Answer
        } else if pings <= MAX_PINGS {
            Ping::Later(self.pings.since.saturating_add(PING_WINDOW))
        } else {
            Ping::Close
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let mut inbound = Inbound::new(Rate { requests: 100, per: SECOND });
        assert_eq!((0..1000).filter(|_| inbound.admits(SECOND)).count(), 100);
        assert_eq!((0..1000).filter(|_| inbound.admits(SECOND + SECOND / 2)).count(), 50);
        assert!(inbound.admits(SECOND * 100));
        let mut rare = Inbound::new(Rate { requests: 6, per: 60 * SECOND });
        assert!(rare.admits(SECOND) && !rare.admits(2 * SECOND) && rare.admits(11 * SECOND));
    }

    #[test]
    fn twenty_errors_in_five_seconds_are_too_many() {
        let mut inbound = Inbound::new(Rate { requests: 1, per: SECOND });
        assert!((0..19).all(|_| !inbound.erred(SECOND)));
        assert!(inbound.erred(2 * SECOND));
        let mut slow = Inbound::new(Rate { requests: 1, per: SECOND });
        assert!((0..100).all(|at| !slow.erred(SECOND / 2 * at)));
    }

    #[test]
    fn pings_are_answered_within_bounds() {
        let mut inbound = Inbound::new(Rate { requests: 1, per: SECOND });
        assert!((0..20).all(|_| inbound.pinged(SECOND) == Ping::Answer));
        assert!((20..200).all(|_| inbound.pinged(SECOND) == Ping::Later(2 * SECOND)));
        assert_eq!(inbound.pinged(SECOND), Ping::Close);
        assert_eq!(inbound.pinged(2 * SECOND), Ping::Answer);
    }
}
