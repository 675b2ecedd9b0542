//! Rate limits: whether a request may pass, by all limits of its route together.
//!
//! Limits whose key needs no credential run first, before anything is paid for (`early`); those by user, API key or claim
//! run once it is known who asks (`late`). Of each stage a request takes of all limits or of none. What an early stage
//! took is not given back if a later one refuses: it paid for work that was done.
//!
//! Local limits are a few atomics and never wait. With limits in Redis, the local ones are looked at first, then one script
//! decides on all of Redis, and only then the local ones take (`remote`).

mod key;
mod remote;
mod settle;
mod state;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::HeaderMap;
use smallvec::SmallVec;
use tidegate_config::valid::{self, LimitKey, LimitStore, OnStoreError};
use tidegate_resilience::{Bucket, Claim, Nanos, Place, Quota, admit, check};

pub use self::state::Limiter;

use self::key::{Asker, KeyMaker};
use self::settle::Seen;
use crate::exchange::{Exchange, LimitLabel};
use crate::identity::{CredentialKind, Identity, KeyRate};
use crate::redis::Redis;
use crate::reject::Reject;
use crate::telemetry::metrics::{LimitCounter, LimitSeries, Metrics};
use crate::time;

/// A decision that waits for Redis.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<(), Reject>> + Send + 'a>>;

/// Claims of one stage; more than four limits of a stage cost an allocation.
type Claims<'a> = SmallVec<[Claim<'a>; 4]>;

/// The limits of one route, or of what has none.
#[derive(Debug, Default)]
pub struct Limits {
    early: Option<Stage>,
    late: Option<Stage>,
}

/// What limits are compiled with.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// What outlives snapshots.
    pub limiter: &'a Arc<Limiter>,
    /// Where decisions are counted.
    pub metrics: &'a Metrics,
    /// The Redis of the configuration.
    pub redis: Option<&'a Arc<Redis>>,
}

/// Limits that are asked together. Not empty.
#[derive(Debug)]
struct Stage {
    local: Box<[Limit]>,
    remote: Box<[Limit]>,
    redis: Option<Arc<Redis>>,
    limiter: Arc<Limiter>,
}

/// One limit, compiled.
#[derive(Debug)]
struct Limit {
    label: Arc<LimitLabel>,
    quota: Quota,
    cost: u32,
    /// It has a say.
    is_enforced: bool,
    on_store_error: OnStoreError,
    /// An API key's own rate takes the place of the limit's.
    by_api_key: bool,
    /// For keys that are the same for all.
    fixed: Option<Arc<Bucket>>,
    key: KeyMaker,
    series: Arc<LimitSeries>,
    shadow: settle::ShadowLog,
}

impl Limits {
    /// Compiles the limits of `route`; the limits of `defaults` for an empty name. Those that nothing has changed keep their
    /// buckets.
    #[must_use]
    pub fn compile(limits: &[valid::RateLimit], route: &str, around: Surroundings<'_>) -> Self {
        let stage = |is_late: bool| {
            let of_store = |store: LimitStore| -> Box<[Limit]> {
                let chosen = limits.iter().filter(|limit| limit.is_late() == is_late && limit.store == store);
                chosen.map(|limit| Limit::compile(limit, route, around)).collect()
            };
            let (local, remote) = (of_store(LimitStore::Local), of_store(LimitStore::Redis));
            let (redis, limiter) = (around.redis.cloned(), Arc::clone(around.limiter));
            (!local.is_empty() || !remote.is_empty()).then_some(Stage { local, remote, redis, limiter })
        };
        Self { early: stage(false), late: stage(true) }
    }

    /// The limits that need not know who asks. Runs before everything else that costs something.
    ///
    /// `Some`: Redis is asked, and the answer is to be waited for.
    ///
    /// # Errors
    /// `rate_limited`; `overloaded` if Redis is needed for a decision and does not answer.
    pub fn admit_early<'a>(
        &'a self,
        exchange: &'a Exchange,
        headers: &'a HeaderMap,
    ) -> Result<Option<Asking<'a>>, Reject> {
        match &self.early {
            None => Ok(None),
            // The head has just been read: that moment is as good as this one.
            Some(stage) => stage.admit(exchange, headers, nanos(exchange.started)),
        }
    }

    /// The limits by user, API key and claim. Runs once it is known who asks, and that they may.
    ///
    /// # Errors
    /// As [`Limits::admit_early`].
    pub fn admit_late<'a>(
        &'a self,
        exchange: &'a Exchange,
        headers: &'a HeaderMap,
    ) -> Result<Option<Asking<'a>>, Reject> {
        match &self.late {
            None => Ok(None),
            Some(stage) => stage.admit(exchange, headers, nanos(time::now())),
        }
    }

    /// Where its decisions are counted.
    pub fn series(&self) -> impl Iterator<Item = Arc<LimitSeries>> + '_ {
        self.all().map(|limit| Arc::clone(&limit.series))
    }

    /// Names of the limits, as they are asked.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all().map(|limit| &*limit.label.name)
    }

    fn all(&self) -> impl Iterator<Item = &Limit> {
        let stages = self.early.iter().chain(&self.late);
        stages.flat_map(|stage| stage.local.iter().chain(&stage.remote))
    }
}

impl Stage {
    fn admit<'a>(
        &'a self,
        exchange: &'a Exchange,
        headers: &'a HeaderMap,
        now: Nanos,
    ) -> Result<Option<Asking<'a>>, Reject> {
        let asker = Asker { ip: exchange.client.ip, identity: exchange.facts.identity(), headers };
        let mut claims: Claims<'a> = self.local.iter().map(|limit| limit.claim(&asker)).collect();
        if self.remote.is_empty() {
            let passes = admit(self.limiter.table(), &mut claims, now);
            return settle::settle(exchange, now, passes, self.seen(&claims)).map(|()| None);
        }
        if !check(self.limiter.table(), &mut claims, now) {
            return settle::settle(exchange, now, false, self.seen(&claims)).map(|()| None);
        }
        self.ask(exchange, asker, claims, now)
    }

    /// What the local limits said.
    fn seen<'a>(&'a self, claims: &[Claim<'_>]) -> SmallVec<[Seen<'a>; 4]> {
        let both = self.local.iter().zip(claims);
        both.map(|(limit, claim)| Seen::of_claim(limit, claim, LimitCounter::Local)).collect()
    }
}

impl Limit {
    fn compile(limit: &valid::RateLimit, route: &str, around: Surroundings<'_>) -> Self {
        let valid::RateLimit { rate, burst, cost, .. } = limit;
        let per_ns = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        let name: Arc<str> = Arc::from(limit.name.as_str());
        let key = KeyMaker::compile(limit, route, around.limiter.seeds());
        let fixed = key.is_fixed().then(|| around.limiter.fixed(key.fixed()));
        Self {
            label: Arc::new(LimitLabel::new(&name, rate.requests, rate.per.as_secs(), u64::from(*burst))),
            quota: Quota::new(rate.requests, per_ns, u64::from(*burst)),
            cost: *cost,
            is_enforced: !limit.shadow,
            on_store_error: limit.on_store_error,
            by_api_key: limit.key.contains(&LimitKey::ApiKey),
            fixed,
            key,
            series: around.metrics.limit(&name),
            shadow: settle::ShadowLog::default(),
        }
    }

    /// What it asks of the local table.
    fn claim<'a>(&'a self, asker: &Asker<'_>) -> Claim<'a> {
        let place = match &self.fixed {
            Some(bucket) => Place::Fixed(bucket),
            None => Place::Keyed(self.key.local(asker)),
        };
        let quota = self.own_rate(asker.identity).map_or(self.quota, |rate| self.quota_of(rate));
        Claim { cost: self.cost, is_enforced: self.is_enforced, ..Claim::new(place, quota) }
    }

    /// The rate that an API key has of its own, where that counts.
    fn own_rate(&self, identity: Option<&Arc<Identity>>) -> Option<KeyRate> {
        let identity = identity.filter(|identity| identity.kind == CredentialKind::ApiKey)?;
        identity.rate.filter(|_| self.by_api_key)
    }

    /// Of a rate of its own, with the burst of one second.
    fn quota_of(&self, rate: KeyRate) -> Quota {
        Quota::new(rate.requests, rate.per_ns, own_burst(rate).max(u64::from(self.cost)))
    }
}

/// What the rate gives in a second, at least 1.
fn own_burst(rate: KeyRate) -> u64 {
    let in_a_second = u128::from(rate.requests) * 1_000_000_000 / u128::from(rate.per_ns.max(1));
    u64::try_from(in_a_second).unwrap_or(u64::MAX).max(1)
}

/// A moment as buckets count.
fn nanos(moment: std::time::Instant) -> Nanos {
    Nanos::after_start(time::since_start(moment))
}
