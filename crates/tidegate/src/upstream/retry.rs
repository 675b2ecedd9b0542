//! When a request is sent to the backend once more. Decisions only: whoever holds the request sends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName};
use tidegate_config::valid::{Retry, RetryOn};
use tidegate_resilience::{Backoff, Budget, Pushback};

use super::attempt::Caller;
use super::call::CallError;
use super::resilience::{Resilience, budget_settings, nanos};
use crate::reject::Reason;
use crate::time::{Wheel, now};

/// A backend that wants more time than this has it from its client, who is told, and not from us, who would hold everything
/// meanwhile.
const MAX_PUSHBACK: Duration = Duration::from_secs(1);

/// How often a call is made again because no backend has acted on it.
const MAX_UNSEEN: u32 = 2;

const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A route's compiled `retry` block.
#[derive(Clone, Debug)]
pub struct RetryPlan {
    max_retries: u32,
    connect: bool,
    reset: bool,
    timeout: bool,
    /// Bit `i` for gRPC code `i`.
    codes: u32,
    statuses: Vec<u16>,
    backoff: Backoff,
    per_try_timeout: Option<Duration>,
    non_idempotent: bool,
    /// Of this route alone.
    budget: Option<Arc<Budget>>,
}

/// What an attempt failed with, as far as a plan cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nothing was sent.
    Connect,
    Reset,
    Timeout,
    Code(u8),
    Status(u16),
}

impl Failed {
    /// Of a failure that has no status.
    pub(super) fn of(reason: Reason) -> Option<Self> {
        match reason {
            Reason::ConnectFailed | Reason::NoHealthyEndpoint => Some(Self::Connect),
            Reason::UpstreamReset => Some(Self::Reset),
            Reason::UpstreamTimeout => Some(Self::Timeout),
            _ => None,
        }
    }
}

impl RetryPlan {
    /// Compiles a checked block.
    #[must_use]
    pub fn compile(retry: &Retry) -> Self {
        let on = &retry.on.value;
        Self {
            max_retries: retry.max_retries.value,
            connect: on.contains(&RetryOn::ConnectFailure),
            reset: on.contains(&RetryOn::Reset),
            timeout: on.contains(&RetryOn::Timeout),
            codes: on.iter().fold(0, |codes, on| match on {
                RetryOn::Code(code) => codes | 1_u32.checked_shl(u32::from(*code)).unwrap_or(0),
                _ => codes,
            }),
            statuses: on
                .iter()
                .filter_map(|on| if let RetryOn::Status(status) = on { Some(*status) } else { None })
                .collect(),
            backoff: Backoff { base: retry.backoff_base.value, max: retry.backoff_max.value },
            per_try_timeout: retry.per_try_timeout.value,
            non_idempotent: retry.non_idempotent.value,
            budget: retry.budget.map(|budget| Arc::new(Budget::new(budget_settings(budget)))),
        }
    }

    /// One attempt, and no more but for what no backend has seen.
    #[must_use]
    pub fn never() -> Self {
        Self {
            max_retries: 0,
            connect: false,
            reset: false,
            timeout: false,
            codes: 0,
            statuses: Vec::new(),
            backoff: Backoff { base: Duration::ZERO, max: Duration::ZERO },
            per_try_timeout: None,
            non_idempotent: false,
            budget: None,
        }
    }

    /// Counts a request, from which the budget of retries grows.
    pub(super) fn requested(&self, resilience: &Resilience) {
        match &self.budget {
            Some(budget) => budget.request(nanos(now())),
            None => resilience.requested(now()),
        }
    }

    /// Takes a retry out of the budget.
    pub(super) fn may_retry(&self, resilience: &Resilience) -> bool {
        match &self.budget {
            Some(budget) => budget.try_take(nanos(now())) || resilience.was_exhausted(),
            None => resilience.may_retry(now()),
        }
    }

    /// Whether a request may be sent again that a backend may have acted on.
    #[must_use]
    pub fn repeats(&self, idempotent: bool) -> bool {
        self.max_retries > 0 && (idempotent || self.non_idempotent)
    }

    /// When one attempt ends that begins now.
    pub(super) fn attempt_ends(&self, begun: Instant, deadline: Option<Instant>) -> Option<Instant> {
        let own = self.per_try_timeout.map(|timeout| begun + timeout);
        match (own, deadline) {
            (Some(own), Some(deadline)) => Some(own.min(deadline)),
            (own, deadline) => own.or(deadline),
        }
    }

    /// Whether this failure is worth another attempt.
    pub(super) fn wants(&self, failed: Failed) -> bool {
        match failed {
            Failed::Connect => self.connect,
            Failed::Reset => self.reset,
            Failed::Timeout => self.timeout,
            Failed::Code(code) => self.codes.checked_shr(u32::from(code)).is_some_and(|codes| codes & 1 == 1),
            Failed::Status(status) => self.statuses.contains(&status),
        }
    }
}

/// The retries of one request.
#[derive(Debug)]
pub(super) struct Retries<'a> {
    plan: &'a RetryPlan,
    resilience: &'a Resilience,
    /// Attempts after the first that a plan allowed.
    made: u32,
    /// Attempts after others that no backend has acted on.
    unseen: u32,
    repeats: bool,
    deadline: Option<Instant>,
}

impl<'a> Retries<'a> {
    /// `idempotent`: the request may be repeated by what it is.
    pub(super) fn new(
        plan: &'a RetryPlan,
        resilience: &'a Resilience,
        idempotent: bool,
        deadline: Option<Instant>,
    ) -> Self {
        Self { plan, resilience, made: 0, unseen: 0, repeats: plan.repeats(idempotent), deadline }
    }

    /// Whether one more attempt may follow one that a backend may have acted on; asked before the request is kept for it.
    pub(super) fn repeats(&self) -> bool {
        self.repeats && self.made < self.plan.max_retries
    }

    /// The same for an attempt with this failure. Without a connection nothing was sent, so any request may follow.
    fn may_follow(&self, failed: Failed) -> bool {
        self.repeats() || (failed == Failed::Connect && self.made < self.plan.max_retries)
    }

    /// The wait before another attempt; `None` if there is to be none. `said`: headers or trailers of the answer. Takes from
    /// the budget.
    pub(super) fn after(&mut self, failed: Failed, said: Option<&HeaderMap>) -> Option<Duration> {
        if !self.may_follow(failed) || !self.plan.wants(failed) {
            return None;
        }
        let wait = self.plan.backoff.next(self.made, said.and_then(pushback), fastrand::u64(..))?;
        if self.is_too_long(wait) || !self.plan.may_retry(self.resilience) {
            return None;
        }
        self.made += 1;
        Some(wait)
    }

    /// Whether nobody should wait so long, or no time would be left then.
    pub(super) fn is_too_long(&self, wait: Duration) -> bool {
        let at = now() + wait;
        wait > MAX_PUSHBACK.max(self.plan.backoff.max) || self.deadline.is_some_and(|deadline| at >= deadline)
    }

    /// Takes from the budget for a request that no backend has acted on, whatever the plan says.
    pub(super) fn resends(&self) -> bool {
        self.plan.may_retry(self.resilience)
    }

    /// Waits until a call that has failed may be made again; `false` if it may not. `asked`: a backend has got it.
    pub(super) async fn again(
        &mut self,
        (caller, wheel): (Caller<'_>, &Arc<Wheel>),
        error: &CallError,
        asked: bool,
    ) -> bool {
        // What no backend has acted on may be sent again whatever it is, but not for ever.
        let unprocessed = asked && error.is_unprocessed() && self.unseen < MAX_UNSEEN;
        let wait = if unprocessed && self.resends() {
            self.unseen += 1;
            Some(Duration::ZERO)
        } else {
            failed(error).and_then(|(failed, said)| self.after(failed, said))
        };
        let Some(wait) = wait else { return false };
        caller.failed(error.reason(), now());
        if !wait.is_zero() {
            pause(wheel, wait).await;
        }
        true
    }

    /// How many were made.
    pub(super) fn made(&self) -> u32 {
        self.made
    }
}

/// What the backend says about coming back. Source: gRFC A6; RFC 9110, section 10.2.3.
fn pushback(said: &HeaderMap) -> Option<Pushback> {
    if let Some(value) = said.get(PUSHBACK) {
        return Some(Pushback::from_grpc(value.as_bytes()));
    }
    Pushback::from_retry_after(said.get(RETRY_AFTER)?.as_bytes())
}

/// Waits before another attempt.
pub(super) async fn pause(wheel: &Arc<Wheel>, wait: Duration) {
    wheel.at(now() + wait).await;
}

/// What a call failed with, and what the backend said along with it; `None` if no other attempt would help.
fn failed(error: &CallError) -> Option<(Failed, Option<&HeaderMap>)> {
    match error {
        CallError::Status(failure) => Some((Failed::Code(failure.status.code.number()), Some(&failure.metadata))),
        other => Failed::of(other.reason()).map(|failed| (failed, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tests::{series, service};

    const ALL: [Failed; 5] = [Failed::Connect, Failed::Reset, Failed::Timeout, Failed::Code(14), Failed::Status(503)];

    /// Retries on everything.
    fn eager(max_retries: u32) -> RetryPlan {
        RetryPlan {
            max_retries,
            connect: true,
            reset: true,
            timeout: true,
            codes: u32::MAX,
            statuses: vec![503],
            ..RetryPlan::never()
        }
    }

    #[test]
    fn without_a_connection_any_request_may_follow() {
        let resilience = Resilience::new(&service(&[]), &series(), Vec::new());
        let allowed = |plan: &RetryPlan, idempotent, deadline| {
            ALL.map(|failed| Retries::new(plan, &resilience, idempotent, deadline).after(failed, None).is_some())
        };
        assert_eq!(allowed(&eager(1), true, None), [true; 5]);
        assert_eq!(allowed(&eager(1), false, None), [true, false, false, false, false]);
        assert_eq!(allowed(&eager(0), true, None), [false; 5], "retry: null");
        assert_eq!(allowed(&eager(1), false, Some(now())), [false; 5], "no time is left");
        let silent = RetryPlan { connect: false, ..eager(1) };
        assert_eq!(allowed(&silent, false, None), [false; 5], "not in retry_on");
        let dry = Arc::new(Budget::new(tidegate_resilience::BudgetSettings {
            ratio: tidegate_resilience::Ratio::new(0.0),
            min_per_second: 0,
        }));
        assert_eq!(allowed(&RetryPlan { budget: Some(dry), ..eager(1) }, false, None), [false; 5], "no budget");
        let plan = eager(2);
        let mut retries = Retries::new(&plan, &resilience, false, None);
        let made = std::iter::from_fn(|| retries.after(Failed::Connect, None)).count();
        assert_eq!(made, 2);
    }

    #[test]
    fn an_attempt_has_its_time_be_it_the_only_one() {
        let begun = now();
        let ms = |ms| begun + Duration::from_millis(ms);
        for max_retries in [0, 1] {
            let plan = RetryPlan { per_try_timeout: Some(Duration::from_millis(100)), ..eager(max_retries) };
            for (deadline, ends) in [(None, 100), (Some(500), 100), (Some(50), 50)] {
                assert_eq!(plan.attempt_ends(begun, deadline.map(ms)), Some(ms(ends)));
            }
        }
        assert_eq!(eager(0).attempt_ends(begun, None), None);
    }
}
