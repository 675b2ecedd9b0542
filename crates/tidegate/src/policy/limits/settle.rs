//! What follows from a decision: counts, what the client is told, the refusal.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_resilience::{Claim, Debt, Nanos, Quota};

use super::{Limit, own_burst};
use crate::exchange::{Exchange, LimitLabel, Standing};
use crate::reject::{Reason, Reject};
use crate::telemetry::metrics::{LimitCounter, LimitDecision};

/// The log hears of each limit in shadow mode once in this time, in nanoseconds.
const LOG_EVERY_NS: u64 = 1_000_000_000;

/// What one limit said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) limit: &'a Limit,
    pub(super) quota: Quota,
    pub(super) debt: Debt,
    /// There is no room before that.
    pub(super) wait: Option<Duration>,
    pub(super) counter: LimitCounter,
}

/// What a limit in shadow mode would have refused since the log heard of it.
#[derive(Debug, Default)]
pub(super) struct ShadowLog {
    /// When that was, in nanoseconds since the start; 0: never.
    logged: AtomicU64,
    refused: AtomicU64,
}

impl<'a> Seen<'a> {
    pub(super) fn of_claim(limit: &'a Limit, claim: &Claim<'_>, counter: LimitCounter) -> Self {
        Self { limit, quota: claim.quota, debt: claim.debt, wait: claim.wait, counter }
    }

    fn refuses(&self) -> bool {
        self.limit.is_enforced && self.wait.is_some()
    }

    fn decision(&self, passes: bool) -> Option<LimitDecision> {
        match (self.wait, self.limit.is_enforced) {
            (Some(_), true) => Some(LimitDecision::Deny),
            (Some(_), false) => Some(LimitDecision::WouldDeny),
            // Another limit refuses, so nothing was taken of this one.
            (None, _) => passes.then_some(LimitDecision::Allow),
        }
    }

    fn standing(&self, label: Arc<LimitLabel>) -> Standing {
        Standing {
            label,
            remaining: self.quota.remaining(self.debt),
            full_in: self.debt.full_in(),
            is_refused: self.refuses(),
        }
    }
}

/// Counts what the limits said, and tells the exchange how it stands with the tightest of those that have a say.
///
/// # Errors
/// `rate_limited`, unless the request `passes`.
pub(super) fn settle<'a>(
    exchange: &Exchange,
    now: Nanos,
    passes: bool,
    seen: impl AsRef<[Seen<'a>]>,
) -> Result<(), Reject> {
    let seen = seen.as_ref();
    for one in seen {
        if let Some(decision) = one.decision(passes) {
            one.limit.series.decided(exchange.worker(), one.counter, decision);
            if decision == LimitDecision::WouldDeny {
                one.limit.shadow.refused(&one.limit.label.name, now);
            }
        }
    }
    let enforced = seen.iter().filter(|one| one.limit.is_enforced);
    let tightest = if passes {
        enforced.min_by_key(|one| (one.quota.remaining(one.debt), Reverse(one.debt)))
    } else {
        // Whoever waits for the longest of them need not be refused by the next.
        enforced.filter(|one| one.refuses()).max_by_key(|one| one.wait)
    };
    if let Some(tightest) = tightest {
        exchange.facts.limits.told(tightest.standing(tightest.label(exchange)));
    }
    if passes {
        return Ok(());
    }
    let mut reject = Reject::new(Reason::RateLimited);
    reject.retry_after = tightest.and_then(|one| one.wait);
    reject.cause = tightest.map(|one| format!("limit {}", one.limit.label.name).into());
    Err(reject)
}

impl Seen<'_> {
    /// As the limit is for this request: an API key may have a rate of its own.
    fn label(&self, exchange: &Exchange) -> Arc<LimitLabel> {
        match self.limit.own_rate(exchange.facts.identity()) {
            None => Arc::clone(&self.limit.label),
            Some(rate) => {
                let window_s = rate.per_ns.div_ceil(1_000_000_000);
                let burst = own_burst(rate).max(u64::from(self.limit.cost));
                Arc::new(LimitLabel::new(&self.limit.label.name, rate.requests, window_s, burst))
            }
        }
    }
}

impl ShadowLog {
    fn refused(&self, limit: &str, now: Nanos) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let (now, logged) = (now.get().max(1), self.logged.load(Ordering::Relaxed));
        let is_due = logged == 0 || now.saturating_sub(logged) >= LOG_EVERY_NS;
        if is_due && self.logged.compare_exchange(logged, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.refused.fetch_sub(refused, Ordering::Relaxed);
            tracing::info!(limit, refused, "a limit in shadow mode would have refused requests");
        }
    }
}
