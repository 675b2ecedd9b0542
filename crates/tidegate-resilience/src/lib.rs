//! What keeps a service up while its endpoints are not: breaker, bulkhead, retry budget, back-off, balancing, ejection
//! and health; and how often a client may ask.
//!
//! Algorithms only. There is no clock, no task, no socket and no source of random numbers here: moments ([`Nanos`])
//! and random bits are parameters, and whoever calls does the waiting, the logging and the counting; what changed is
//! returned. So each one is tested against a slow model over random schedules.
//!
//! All state is shared by all cores and asked for every request. While nothing is wrong, that is a few operations on
//! atomics that others seldom write: no lock, no allocation. Locks are short and taken only by what changes a state.
//!
//! | question | asked | answered by |
//! |---|---|---|
//! | may the service have this request? | once, and again for each retry | [`Breaker`], [`Bulkhead`] |
//! | which endpoint? | for each attempt | [`Balancer`], over [`EndpointRecord`], [`Health`], [`PeakEwma`], [`SlowStart`] |
//! | what does the outcome say? | after each attempt | [`Breaker`], [`Outliers`], [`PeakEwma`] |
//! | once more, and when? | after a failure | [`Budget`], [`Backoff`] |
//! | has the client asked too often? | before all of this | [`admit`], over [`Quota`] and [`Buckets`] |
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use tidegate_resilience::{Admission, Breaker, BreakerSettings, Nanos, Outcome, Transition};
//!
//! let settings = BreakerSettings { consecutive_failures: Some(1), probes: 1, ..BreakerSettings::default() };
//! let breaker = Arc::new(Breaker::new(settings));
//!
//! let Admission::Admit(permit) = breaker.admit(Nanos::ZERO) else { panic!("closed") };
//! let opened = breaker.record(permit, Outcome::Failure, Nanos::ZERO, 0);
//! assert!(matches!(opened, Some(Transition::Opened { .. })));
//! assert!(matches!(breaker.admit(Nanos::ZERO), Admission::Refused { .. }));
//!
//! let later = Nanos::after_start(Duration::from_secs(6));
//! let Admission::Probe { permit, .. } = breaker.admit(later) else { panic!("half open") };
//! assert_eq!(breaker.record(permit, Outcome::Success, later, 0), Some(Transition::Closed));
//! ```
#![forbid(unsafe_code)]

mod nanos;

mod ratio;

mod random;

mod outcome;

mod window;

mod breaker;

mod bulkhead;

mod budget;

mod backoff;

mod ewma;

mod latencies;

mod slow_start;

mod select;

mod outlier;

mod health;

mod limit;

pub use backoff::{Backoff, Pushback};
pub use breaker::{Admission, Breaker, BreakerSettings, Permit, Phase, RatioTrip, Transition, TripCause};
pub use budget::{Budget, BudgetSettings};
pub use bulkhead::{Bulkhead, Entry, Wait};
pub use ewma::PeakEwma;
pub use health::{Health, HealthSettings, Status};
pub use latencies::Latencies;
pub use limit::{Bucket, Buckets, Claim, Debt, KeyHash, Place, Quota, Refused, admit, check, give_back};
pub use nanos::Nanos;
pub use outcome::Outcome;
pub use outlier::{Ejected, EndpointRecord, OutlierSettings, Outliers};
pub use ratio::Ratio;
pub use select::{
    Balancer, BalancerSettings, Candidate, MAX_ENDPOINTS, Member, Policy, Query, TooManyEndpoints, Tried, stable_hash,
};
pub use slow_start::{Share, SlowStart};
pub use window::{Counts, Window};
