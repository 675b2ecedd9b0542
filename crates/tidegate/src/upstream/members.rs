//! The endpoints of a service at one moment, and who of them gets a request.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tidegate_config::valid::BalancingPolicy;
use tidegate_resilience::{Balancer, BalancerSettings, Member, Policy, Query, TooManyEndpoints, Tried};

use super::endpoint::Endpoint;
use super::resilience::{Record, nanos};

/// A value that the control thread may replace while others use it. Until it does, reading it costs nothing but the look
/// whether it has.
#[derive(Debug)]
pub(super) struct Swap<T> {
    first: T,
    /// What has replaced it.
    later: ArcSwapOption<T>,
    is_replaced: AtomicBool,
}

/// The value of a [`Swap`] as it was when it was asked for.
pub(super) enum Current<'a, T> {
    First(&'a T),
    Later(Arc<T>),
}

impl<T> Swap<T> {
    pub(super) fn new(first: T) -> Self {
        Self { first, later: ArcSwapOption::empty(), is_replaced: AtomicBool::new(false) }
    }

    pub(super) fn current(&self) -> Current<'_, T> {
        // Beside the value that it points to there is nothing that would have to be seen in order.
        if !self.is_replaced.load(Ordering::Relaxed) {
            return Current::First(&self.first);
        }
        self.later.load_full().map_or(Current::First(&self.first), Current::Later)
    }

    /// Whether `current` has not been replaced since.
    pub(super) fn is_current(&self, current: &Current<'_, T>) -> bool {
        match current {
            Current::First(_) => !self.is_replaced.load(Ordering::Relaxed),
            Current::Later(then) => self.later.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, then)),
        }
    }

    /// Puts another value in its place.
    pub(super) fn replace(&self, value: T) {
        self.later.store(Some(Arc::new(value)));
        self.is_replaced.store(true, Ordering::Relaxed);
    }
}

impl<T> Deref for Current<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::First(value) => value,
            Self::Later(value) => value,
        }
    }
}

/// See the module.
pub(super) struct Members {
    endpoints: Box<[Arc<Endpoint>]>,
    /// In the same order.
    weights: Box<[u32]>,
    records: Box<[Arc<Record>]>,
    balancer: Balancer,
}

impl Members {
    /// Of endpoints with their weights.
    pub(super) fn new(policy: BalancingPolicy, weighed: Vec<(Arc<Endpoint>, u32)>) -> Result<Self, TooManyEndpoints> {
        let (endpoints, weights): (Vec<_>, Vec<_>) = weighed.into_iter().unzip();
        let members: Vec<Member<'_>> = endpoints
            .iter()
            .zip(&weights)
            .map(|(endpoint, weight)| Member { weight: *weight, identity: endpoint.name().as_bytes() })
            .collect();
        let policy = match policy {
            BalancingPolicy::LeastRequest => Policy::LeastRequest,
            BalancingPolicy::RoundRobin => Policy::RoundRobin,
            BalancingPolicy::PeakEwma => Policy::PeakEwma,
            BalancingPolicy::RingHash => Policy::RingHash,
            BalancingPolicy::Random => Policy::Random,
        };
        let balancer = Balancer::new(BalancerSettings { policy, ..BalancerSettings::default() }, &members)?;
        let records = endpoints.iter().map(|endpoint| Arc::clone(endpoint.shared_record())).collect();
        Ok(Self { endpoints: endpoints.into(), weights: weights.into(), records, balancer })
    }

    /// In the order of the configuration.
    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// In the same order.
    pub(super) fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// Whether the endpoint at `place` is for anybody: one without weight is not.
    pub(super) fn has_weight(&self, place: usize) -> bool {
        self.weights.get(place).is_some_and(|weight| *weight > 0)
    }

    /// How long until one of them may be connected to again, as far as that is known.
    pub(super) fn down_for(&self, now: Instant) -> Duration {
        let weighed = self.records.iter().zip(&self.weights).filter(|(_, weight)| **weight > 0);
        weighed.map(|(record, _)| record.down_for(now)).min().unwrap_or_default()
    }

    /// An endpoint for an attempt, by its place in the list; `key` for rings.
    pub(super) fn choose(&self, key: Option<u64>, tried: &Tried, now: Instant) -> Option<usize> {
        if let [weight] = *self.weights
            && weight > 0
        {
            return Some(0);
        }
        self.balancer.pick(&self.records, &Query { key, tried, now: nanos(now), random: fastrand::u64(..) })
    }

    /// An endpoint that is none of those that the request was sent to, or that have it at this moment.
    pub(super) fn choose_apart(&self, key: Option<u64>, has: &Tried, now: Instant) -> Option<(usize, &Arc<Endpoint>)> {
        // The eight that are remembered are enough.
        let place = self.choose(key, has, now).filter(|place| !has.contains(*place))?;
        Some((place, self.endpoints.get(place)?))
    }
}
