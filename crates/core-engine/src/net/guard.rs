//! Restraint towards one server: how often it is asked, and when it is left alone.
//!
//! ```text
//!             failures in a row                    the pause is over
//!   Closed ───────────────────────► Open(pause) ───────────────────────► HalfOpen: one try
//!     ▲  ▲   throttled, banned           ▲                                  │      │
//!     │  └───────────────────────────────┼──────────── it succeeds ─────────┘      │
//!     │                                  └──────────── it fails: a longer pause ◄──┘
//!     └─ lets requests through, at the rate of its token bucket
//! ```
//! A pause doubles with every failure and is shortened at random, so that many engines do not come back at once. What
//! the server asks for (`Retry-After`) is the least that is given.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::NetError;

/// Pause when nothing else is said by a server that asks for one.
const THROTTLE_PAUSE: Duration = Duration::from_secs(30);
/// Pause when a server refuses us and does not say for how long.
const BAN_PAUSE: Duration = Duration::from_secs(15 * 60);
/// What who comes while the one try is under way is told to wait.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// What a guard allows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct GuardLimits {
    /// Time that a request is worth.
    pub(crate) per_request: Duration,
    /// Requests that may come at once after a rest.
    pub(crate) burst: u32,
    /// Failures in a row after which the server is left alone.
    pub(crate) failures: u32,
    /// First pause; it doubles up to the last.
    pub(crate) pause_first: Duration,
    pub(crate) pause_last: Duration,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            per_request: Duration::from_millis(500),
            burst: 4,
            failures: 3,
            pause_first: Duration::from_secs(1),
            pause_last: Duration::from_secs(60),
        }
    }
}

/// Why a request may not be made now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Our own rate.
    Rate(Duration),
    /// The server asked for a pause.
    Throttled(Duration),
    /// The server refuses us.
    Banned(Duration),
    /// It failed too often.
    Failing(Duration),
}

impl Refusal {
    /// When to come again.
    pub(crate) fn retry_after(self) -> Duration {
        match self {
            Self::Rate(after) | Self::Throttled(after) | Self::Banned(after) | Self::Failing(after) => after,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cause {
    Throttled,
    Banned,
    Failing,
}

/// The guard of one server.
#[derive(Debug)]
pub(crate) struct Guard {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: GuardLimits,
    /// When the bucket is full again.
    full_at: Instant,
    failures: u32,
    /// Set while open or half open.
    open: Option<(Instant, Cause)>,
    /// Whether the one try is under way.
    probing: bool,
}

/// The right to make one request. What came of it must be said; dropped without a word, it counts as not made.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a> {
    guard: &'a Guard,
    probe: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(GuardLimits::default())
    }
}

impl Guard {
    /// Closed, with a full bucket.
    pub(crate) fn new(limits: GuardLimits) -> Self {
        let state = State { limits, full_at: Instant::now(), failures: 0, open: None, probing: false };
        Self { state: Mutex::new(state) }
    }

    /// Goes on under other limits. What the server asked for is still given: whoever connects a source again does not
    /// end a ban.
    pub(crate) fn adopt(&self, limits: GuardLimits) {
        self.state.lock().limits = limits;
    }

    /// Lets a request through or says when to come again. Takes nothing from the bucket if it refuses.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub(crate) fn admit(&self) -> Result<Permit<'_>, Refusal> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let probe = match state.open {
            None => false,
            Some((until, cause)) if until > now => return Err(refusal(cause, until - now)),
            Some((_, cause)) if state.probing => return Err(refusal(cause, PROBE_PAUSE)),
            Some(_) => true,
        };
        let full_at = state.full_at.max(now);
        let most = state.limits.per_request.saturating_mul(state.limits.burst.saturating_sub(1));
        let ahead = full_at - now;
        if ahead > most {
            return Err(Refusal::Rate(ahead - most));
        }
        state.full_at = full_at + state.limits.per_request;
        state.probing |= probe;
        drop(state);
        Ok(Permit { guard: self, probe })
    }

    /// Why no request may be made for longer than our own rate wants, if so.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let state = self.state.lock();
        let (until, cause) = state.open?;
        Some(refusal(cause, until.saturating_duration_since(Instant::now())))
    }

    fn failed(&self, error: &NetError) {
        let mut state = self.state.lock();
        let now = Instant::now();
        let was_open = state.open.is_some();
        state.failures = state.failures.saturating_add(1);
        let pause = state.pause(state.failures.saturating_sub(state.limits.failures));
        let open = match error {
            NetError::Throttled { retry_after, .. } => {
                Some((retry_after.unwrap_or(THROTTLE_PAUSE).max(pause), Cause::Throttled))
            }
            NetError::Banned { retry_after, .. } => Some((retry_after.unwrap_or(BAN_PAUSE).max(pause), Cause::Banned)),
            _ if was_open || state.failures >= state.limits.failures => Some((pause, Cause::Failing)),
            _ => None,
        };
        if let Some((pause, cause)) = open {
            // A request that was under way when the guard opened must not shorten what was asked for.
            let until = now + pause;
            match state.open {
                Some((already, _)) if already > until => {}
                _ => state.open = Some((until, cause)),
            }
        }
    }

    fn succeeded(&self) {
        let mut state = self.state.lock();
        state.failures = 0;
        // An answer to a request that was sent before the server asked for a pause does not end the pause.
        if state.open.is_some_and(|(until, _)| until <= Instant::now()) {
            state.open = None;
        }
    }
}

impl State {
    /// The pause after so many failures beyond those that opened the guard: half to the whole of a doubled one.
    fn pause(&self, beyond: u32) -> Duration {
        let doubled = self.limits.pause_first.saturating_mul(1 << beyond.min(20));
        jittered(doubled.min(self.limits.pause_last))
    }
}

impl Permit<'_> {
    /// The server did what was asked, or refused it for a reason that lies in the request.
    pub(crate) fn succeeded(self) {
        self.guard.succeeded();
    }

    /// It did not.
    pub(crate) fn failed(self, error: &NetError) {
        self.guard.failed(error);
    }

    /// Whichever of both it was.
    pub(crate) fn settle<T>(self, outcome: Result<T, NetError>) -> Result<T, NetError> {
        match &outcome {
            Err(error) if !error.is_answer() => self.failed(error),
            _ => self.succeeded(),
        }
        outcome
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.guard.state.lock().probing = false;
        }
    }
}

fn refusal(cause: Cause, after: Duration) -> Refusal {
    match cause {
        Cause::Throttled => Refusal::Throttled(after),
        Cause::Banned => Refusal::Banned(after),
        Cause::Failing => Refusal::Failing(after),
    }
}

/// Half to the whole of a pause, at random.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(GuardLimits {
            per_request: Duration::from_secs(1),
            burst: 2,
            failures: 2,
            pause_first: Duration::from_secs(10),
            pause_last: Duration::from_secs(40),
        })
    }

    fn broken() -> NetError {
        NetError::Truncated
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_request_a_second() {
        let guard = guard();
        guard.admit().unwrap().succeeded();
        guard.admit().unwrap().succeeded();
        assert_eq!(guard.admit().unwrap_err(), Refusal::Rate(Duration::from_secs(1)));
        pass(1).await;
        guard.admit().unwrap().succeeded();
        assert!(guard.admit().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_one_try_closes_it() {
        let guard = guard();
        guard.admit().unwrap().failed(&broken());
        assert_eq!(guard.refusal(), None);
        guard.admit().unwrap().failed(&broken());
        let Err(Refusal::Failing(after)) = guard.admit() else { panic!("it is open") };
        assert!((5..=10).contains(&after.as_secs()), "{after:?}");
        pass(11).await;
        let probe = guard.admit().unwrap();
        assert_eq!(guard.admit().unwrap_err(), Refusal::Failing(PROBE_PAUSE));
        probe.failed(&broken());
        let Err(Refusal::Failing(after)) = guard.admit() else { panic!("it is open again") };
        assert!((10..=20).contains(&after.as_secs()), "{after:?}");
        pass(21).await;
        // A try that is given up is no try.
        drop(guard.admit().unwrap());
        guard.admit().unwrap().succeeded();
        assert_eq!(guard.refusal(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_is_given() {
        let guard = guard();
        let late = guard.admit().unwrap();
        let retry_after = Some(Duration::from_secs(120));
        guard.admit().unwrap().failed(&NetError::Throttled { status: 429, retry_after });
        late.succeeded();
        let Err(Refusal::Throttled(after)) = guard.admit() else { panic!("it is open") };
        assert_eq!(after.as_secs(), 120);
        pass(119).await;
        assert!(guard.admit().is_err());
        pass(2).await;
        guard.admit().unwrap().failed(&NetError::Banned { status: 418, retry_after: None });
        let Err(Refusal::Banned(after)) = guard.admit() else { panic!("we are banned") };
        assert_eq!(after, BAN_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_blames_the_request_is_no_failure() {
        let guard = guard();
        for _ in 0..5 {
            pass(1).await;
            let permit = guard.admit().unwrap();
            let _ = permit.settle::<()>(Err(NetError::Status { status: 404, body: Vec::new() }));
        }
        assert_eq!(guard.refusal(), None);
    }
}
