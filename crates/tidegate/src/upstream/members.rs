//! The endpoints of a service at one moment, and who of them gets a request.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tidegate_config::valid::BalancingPolicy;
use tidegate_resilience::{Balancer, BalancerSettings, Member, Policy, Query, TooManyEndpoints, Tried};

use super::endpoint::Endpoint;
use super::resilience::{Record, nanos};

/// A value that is the same for as long as its owner lives, or one that the control thread replaces while others use it.
/// The first kind costs nothing to read.
#[derive(Debug)]
pub(super) enum Swap<T> {
    Fixed(T),
    Changing(ArcSwap<T>),
}

/// The value of a [`Swap`] as it was when it was asked for.
pub(super) enum Current<'a, T> {
    Fixed(&'a T),
    Changing(Arc<T>),
}

impl<T> Swap<T> {
    pub(super) fn new(value: T, changes: bool) -> Self {
        if changes { Self::Changing(ArcSwap::from_pointee(value)) } else { Self::Fixed(value) }
    }

    pub(super) fn current(&self) -> Current<'_, T> {
        match self {
            Self::Fixed(value) => Current::Fixed(value),
            Self::Changing(value) => Current::Changing(value.load_full()),
        }
    }

    /// Whether `current` has not been replaced since.
    pub(super) fn is_current(&self, current: &Current<'_, T>) -> bool {
        match (self, current) {
            (Self::Changing(now), Current::Changing(then)) => Arc::ptr_eq(&now.load(), then),
            _ => true,
        }
    }

    /// Puts another value in its place, if it is of the kind that changes.
    pub(super) fn replace(&self, value: T) {
        if let Self::Changing(current) = self {
            current.store(Arc::new(value));
        }
    }
}

impl<T> Deref for Current<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Fixed(value) => value,
            Self::Changing(value) => value,
        }
    }
}

/// See the module.
pub(super) struct Members {
    endpoints: Box<[Arc<Endpoint>]>,
    records: Box<[Arc<Record>]>,
    balancer: Balancer,
}

impl Members {
    pub(super) fn new(policy: BalancingPolicy, endpoints: Vec<Arc<Endpoint>>) -> Result<Self, TooManyEndpoints> {
        let members: Vec<Member<'_>> = endpoints
            .iter()
            .map(|endpoint| Member { weight: endpoint.weight, identity: endpoint.name().as_bytes() })
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
        Ok(Self { endpoints: endpoints.into(), records, balancer })
    }

    /// In the order of the configuration.
    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// In the same order.
    pub(super) fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// An endpoint for an attempt, by its place in the list; `key` for rings.
    pub(super) fn choose(&self, key: Option<u64>, tried: &Tried, now: Instant) -> Option<usize> {
        if let [only] = &*self.endpoints
            && only.weight > 0
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
