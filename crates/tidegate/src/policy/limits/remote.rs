//! Limits that are counted in Redis.
//!
//! One script decides on all of them, by the clock of Redis, so that processes whose clocks differ count alike. It mirrors
//! [`Quota`], in nanoseconds relative to now: moments are kept in microseconds and the rest, so that every number stays
//! below 2^53, which is what Lua has. A key goes away by itself when its bucket is full.
//!
//! All keys of a request are one script call, so they must be on one server: a Redis Cluster is not supported.

use std::time::Duration;

use smallvec::SmallVec;
use tidegate_config::valid::OnStoreError;
use tidegate_resilience::{Claim, Debt, KeyHash, Nanos, Quota, admit};

use super::key::Asker;
use super::settle::{Seen, settle};
use super::{Asking, Claims, Limit, Stage, nanos};
use crate::exchange::Exchange;
use crate::redis::{Redis, Script, StoreError};
use crate::reject::{Reason, Reject};
use crate::telemetry::metrics::LimitCounter;
use crate::time;
use std::sync::Arc;

/// KEYS: buckets. ARGV, for each: its price and its capacity in nanoseconds, and 1 if it may refuse. The answer: 1 if the
/// request passes, then for each bucket 1 if it has room, and its debt (after the request if it has).
pub(super) static SCRIPT: Script = Script::new(include_str!("take.lua"));

/// Numbers for each bucket that the script is given.
const ARGUMENTS: usize = 3;

/// One limit as Redis is asked for it.
struct Ask<'a> {
    limit: &'a Limit,
    quota: Quota,
    /// Its name here, for refusals that are remembered.
    local: KeyHash,
}

impl Stage {
    /// Asks Redis, whose local limits have room.
    pub(super) fn ask<'a>(
        &'a self,
        exchange: &'a Exchange,
        asker: Asker<'a>,
        claims: Claims<'a>,
        now: Nanos,
    ) -> Result<Option<Asking<'a>>, Reject> {
        let asks: SmallVec<[Ask<'a>; 2]> = self.remote.iter().map(|limit| Ask::new(limit, &asker)).collect();
        let denied = asks.iter().filter(|ask| ask.limit.is_enforced).filter_map(|ask| {
            let wait = self.limiter.denied_for(ask.local, now)?;
            Some(ask.refused(wait))
        });
        let denied: SmallVec<[Seen<'a>; 2]> = denied.collect();
        if !denied.is_empty() {
            return settle(exchange, now, false, denied).map(|()| None);
        }
        let Some(redis) = self.redis.as_ref().filter(|redis| !redis.is_out()) else {
            return self.without(exchange, &asker, claims).map(|()| None);
        };
        Ok(Some(Box::pin(self.wait(redis, exchange, asker, asks, claims))))
    }

    async fn wait<'a>(
        &'a self,
        redis: &'a Arc<Redis>,
        exchange: &'a Exchange,
        asker: Asker<'a>,
        asks: SmallVec<[Ask<'a>; 2]>,
        mut claims: Claims<'a>,
    ) -> Result<(), Reject> {
        let keys: Vec<String> = asks.iter().map(|ask| ask.limit.key.remote(&asker)).collect();
        let arguments: Vec<u64> = asks.iter().flat_map(Ask::arguments).collect();
        let asked = nanos(time::now());
        let answer = redis.run(exchange.worker(), &SCRIPT, &keys, &arguments).await;
        let Ok((passes, states)) = answer.and_then(|answer| read(&answer, asks.len())) else {
            return self.without(exchange, &asker, claims);
        };
        let now = nanos(time::now());
        let mut seen: SmallVec<[Seen<'a>; 4]> =
            asks.iter().zip(states).map(|(ask, (has_room, debt))| ask.seen(has_room, debt)).collect();
        if !passes {
            for (ask, one) in asks.iter().zip(&seen) {
                if let Some(wait) = one.wait.filter(|_| ask.limit.is_enforced) {
                    // From when it was asked: rather once too often than a client that is kept out for too long.
                    self.limiter.denied(ask.local, wait, asked);
                }
            }
            return settle(exchange, now, false, seen);
        }
        // Others may have taken the last place meanwhile. Then Redis has counted a request that did not pass.
        let passes = admit(self.limiter.table(), &mut claims, now);
        seen.extend(self.seen(&claims));
        settle(exchange, now, passes, seen)
    }

    /// Redis does not answer: each of its limits does as it says.
    fn without<'a>(&'a self, exchange: &Exchange, asker: &Asker<'_>, mut claims: Claims<'a>) -> Result<(), Reject> {
        self.remote.iter().for_each(|limit| limit.series.store_failed());
        if self.remote.iter().any(|limit| limit.is_enforced && limit.on_store_error == OnStoreError::Deny) {
            return Err(Reject::new(Reason::Overloaded).cause("a limit needs Redis, which does not answer"));
        }
        let here = || self.remote.iter().filter(|limit| limit.on_store_error == OnStoreError::Local);
        claims.extend(here().map(|limit| limit.claim(asker)));
        let now = nanos(time::now());
        let passes = admit(self.limiter.table(), &mut claims, now);
        let both = self.local.iter().chain(here()).zip(&claims);
        let seen: SmallVec<[Seen<'_>; 4]> =
            both.map(|(limit, claim)| Seen::of_claim(limit, claim, LimitCounter::Local)).collect();
        settle(exchange, now, passes, seen)
    }
}

impl<'a> Ask<'a> {
    fn new(limit: &'a Limit, asker: &Asker<'_>) -> Self {
        let Claim { quota, .. } = limit.claim(asker);
        Self { limit, quota, local: limit.key.local(asker) }
    }

    fn arguments(&self) -> [u64; ARGUMENTS] {
        arguments(self.quota, self.limit.cost, self.limit.is_enforced)
    }

    fn seen(&self, has_room: bool, debt: Debt) -> Seen<'a> {
        // Redis keeps the debt, and the formula says what it means: it is the same on both sides.
        let wait = if has_room { None } else { self.quota.take(debt, self.limit.cost).err().or(Some(Duration::ZERO)) };
        Seen { limit: self.limit, quota: self.quota, debt, wait, counter: LimitCounter::Redis }
    }

    /// As it is remembered.
    fn refused(&self, wait: Duration) -> Seen<'a> {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let lacking = self.quota.capacity_ns().saturating_sub(self.quota.price_ns(self.limit.cost));
        let debt = Debt::new(lacking.saturating_add(wait_ns));
        Seen { limit: self.limit, quota: self.quota, debt, wait: Some(wait), counter: LimitCounter::Redis }
    }
}

/// What the script is given for one bucket.
pub(super) fn arguments(quota: Quota, cost: u32, is_enforced: bool) -> [u64; ARGUMENTS] {
    [quota.price_ns(cost), quota.capacity_ns(), u64::from(is_enforced)]
}

/// Whether a request passes, and of each bucket whether it has room, and its debt.
pub(super) type Answer = (bool, Vec<(bool, Debt)>);

/// The answer of the script for so many buckets.
pub(super) fn read(answer: &[i64], buckets: usize) -> Result<Answer, StoreError> {
    let (passes, states) = answer.split_first().ok_or(StoreError::Unexpected)?;
    let (pairs, rest) = states.as_chunks::<2>();
    if pairs.len() != buckets || !rest.is_empty() {
        return Err(StoreError::Unexpected);
    }
    let state = |[has_room, debt]: &[i64; 2]| (*has_room == 1, Debt::new(u64::try_from(*debt).unwrap_or(0)));
    Ok((*passes == 1, pairs.iter().map(state).collect()))
}
