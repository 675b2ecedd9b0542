//! What keeps a service up while its endpoints are not, as the algorithms of `tidegate_resilience` say. Shared by all
//! routes of the service and by all workers.
//!
//! Every attempt passes here twice: [`Resilience::admit`] lets it through, [`Resilience::ended`] hears what came of it.
//! While nothing is wrong that is a few operations on atomics.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tidegate_config::valid::{self, BalancingPolicy};
use tidegate_resilience::{
    Admission, Breaker, BreakerSettings, Budget, BudgetSettings, Candidate, EndpointRecord, Health, HealthSettings,
    Nanos, Outcome, OutlierSettings, Outliers, PeakEwma, Permit, Phase, Ratio, RatioTrip, Share, SlowStart, Status,
    Transition,
};

use super::members::Swap;
use crate::telemetry::metrics::{BreakerTurn, Ejection, ServiceSeries};
use crate::time;

/// How long an endpoint that came back gets less than its share.
const SLOW_START: SlowStart = SlowStart { window: Duration::from_secs(10) };

/// What a failure counts for in the average latency: it must not make an endpoint look fast.
const FAILED_LATENCY: Duration = Duration::from_secs(1);

/// The memory of latencies.
const EWMA_DECAY: Duration = Duration::from_secs(10);

/// `now` for the algorithms.
pub(super) fn nanos(now: Instant) -> Nanos {
    static START: LazyLock<Instant> = LazyLock::new(time::now);
    Nanos::after_start(now.saturating_duration_since(*START))
}

/// See the module.
#[derive(Debug)]
pub(super) struct Resilience {
    service: Arc<str>,
    breaker: Option<Arc<Breaker>>,
    outliers: Option<Outliers>,
    /// Latencies are taken down.
    by_latency: bool,
    budget: Budget,
    health: Option<HealthSettings>,
    /// Of all endpoints, as far as they are known.
    records: Swap<Box<[Arc<Record>]>>,
    series: Arc<ServiceSeries>,
}

/// What all workers know of one endpoint.
#[derive(Debug)]
pub(super) struct Record {
    name: Arc<str>,
    outlier: EndpointRecord,
    health: Health,
    ewma: PeakEwma,
    in_flight: AtomicU32,
    /// No connection can be made until then; 0: as far as is known, one can.
    down_until: AtomicU64,
}

/// What the breaker of a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets everything through, or there is none.
    Closed,
    /// Lets a few requests through.
    HalfOpen,
    /// Refuses everything.
    Open,
}

/// Why an endpoint gets no requests, or that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It may.
    Healthy,
    /// Checks of its health fail.
    Unhealthy,
    /// It failed too often.
    Ejected,
}

impl Condition {
    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }
}

impl BreakerState {
    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// The service takes no requests at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) retry_after: Duration,
}

impl Resilience {
    /// For endpoints with these records.
    pub(super) fn new(service: &valid::Service, series: &Arc<ServiceSeries>, records: Vec<Arc<Record>>) -> Self {
        let settings = &service.resilience;
        Self {
            service: service.name.as_str().into(),
            breaker: settings.breaker.as_ref().map(|settings| Arc::new(Breaker::new(breaker(settings)))),
            outliers: settings.outlier_detection.map(|settings| {
                Outliers::new(OutlierSettings {
                    consecutive_errors: settings.consecutive_errors,
                    base_ejection_time: settings.base_ejection_time,
                    max_ejection_percent: settings.max_ejection_percent,
                    ..OutlierSettings::default()
                })
            }),
            by_latency: settings.balancing.policy == BalancingPolicy::PeakEwma,
            budget: Budget::new(budget_settings(settings.budget)),
            health: settings.health_check.as_ref().map(|check| HealthSettings {
                interval: check.interval,
                healthy_threshold: check.healthy_threshold,
                unhealthy_threshold: check.unhealthy_threshold,
            }),
            records: Swap::new(records.into()),
            series: Arc::clone(series),
        }
    }

    /// The endpoints are others now.
    pub(super) fn replace(&self, records: &[Arc<Record>]) {
        self.records.replace(records.into());
    }

    /// Lets an attempt through to the service. The permit comes back with [`Resilience::ended`].
    pub(super) fn admit(&self, now: Instant) -> Result<Option<Permit>, Refused> {
        let Some(breaker) = &self.breaker else { return Ok(None) };
        let admission = breaker.admit(nanos(now));
        if let Some(transition) = admission.transition() {
            self.turned(transition);
        }
        match admission {
            Admission::Admit(permit) | Admission::Probe { permit, .. } => Ok(Some(permit)),
            Admission::Refused { retry_after } => Err(Refused { retry_after }),
        }
    }

    /// What came of an attempt at an endpoint, which took so long. Nothing is heard of an attempt that says
    /// nothing about the backend.
    pub(super) fn ended(
        &self,
        member: &Record,
        permit: Option<Permit>,
        outcome: Outcome,
        took: Duration,
        now: Instant,
    ) {
        let now = nanos(now);
        if let (Some(breaker), Some(permit)) = (&self.breaker, permit)
            && let Some(transition) = breaker.record(permit, outcome, now, fastrand::u64(..))
        {
            self.turned(transition);
        }
        if self.by_latency {
            let failed = outcome == Outcome::Failure;
            member.ewma.observe(if failed { took.max(FAILED_LATENCY) } else { took }, now);
        }
        let Some(outliers) = &self.outliers else { return };
        let all = self.records.current();
        let all = all.iter().map(|member| &member.outlier);
        if let Some(ejected) = outliers.record(&member.outlier, all, outcome, now) {
            self.series.ejected(Ejection::ConsecutiveErrors);
            let (service, endpoint, seconds) = (&*self.service, &*member.name, ejected.ejected_for.as_secs());
            tracing::warn!(service, endpoint, seconds, times = ejected.times, "an endpoint is left out: it fails");
        }
    }

    /// What a check of an endpoint came to.
    pub(super) fn checked(&self, member: &Record, outcome: Outcome, now: Instant) {
        let Some(settings) = &self.health else { return };
        let before = member.health.status();
        let Some(status) = member.health.record(outcome, settings, nanos(now)) else { return };
        let (service, endpoint) = (&*self.service, &*member.name);
        match status {
            Status::Unhealthy => {
                self.series.ejected(Ejection::HealthCheck);
                tracing::warn!(service, endpoint, "an endpoint is left out: its health checks fail");
            }
            Status::Healthy if before == Status::Unhealthy => {
                tracing::info!(service, endpoint, "an endpoint is back: its health checks pass");
            }
            Status::Healthy | Status::Unknown => {}
        }
    }

    /// When checks are made; `None` if none are.
    pub(super) fn health(&self) -> Option<&HealthSettings> {
        self.health.as_ref()
    }

    /// Counts a request, from which the budget of retries grows.
    pub(super) fn requested(&self, now: Instant) {
        self.budget.request(nanos(now));
    }

    /// Takes a retry out of the budget.
    pub(super) fn may_retry(&self, now: Instant) -> bool {
        self.budget.try_take(nanos(now)) || self.was_exhausted()
    }

    /// Counts that a budget allowed no retry; always `false`.
    pub(super) fn was_exhausted(&self) -> bool {
        self.series.budget_exhausted();
        false
    }

    pub(super) fn breaker_state(&self) -> BreakerState {
        match self.breaker.as_ref().map(|breaker| breaker.phase()) {
            None | Some(Phase::Closed) => BreakerState::Closed,
            Some(Phase::HalfOpen) => BreakerState::HalfOpen,
            Some(Phase::Open) => BreakerState::Open,
        }
    }

    pub(super) fn has_breaker(&self) -> bool {
        self.breaker.is_some()
    }

    fn turned(&self, transition: Transition) {
        let service = &*self.service;
        match transition {
            Transition::Opened { open_for, cause } => {
                self.series.breaker_turned(BreakerTurn::Open);
                let milliseconds = u64::try_from(open_for.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(service, milliseconds, ?cause, "the circuit breaker is open: requests are refused");
            }
            Transition::HalfOpened => {
                self.series.breaker_turned(BreakerTurn::HalfOpen);
                tracing::info!(service, "the circuit breaker is half open: a few requests try the service");
            }
            Transition::Closed => {
                self.series.breaker_turned(BreakerTurn::Closed);
                tracing::info!(service, "the circuit breaker is closed");
            }
        }
    }
}

pub(super) fn budget_settings(budget: valid::RetryBudget) -> BudgetSettings {
    BudgetSettings { ratio: Ratio::new(budget.ratio), min_per_second: budget.min_per_second }
}

fn breaker(settings: &valid::CircuitBreaker) -> BreakerSettings {
    BreakerSettings {
        failure_ratio: settings.failure_ratio.map(|ratio| RatioTrip {
            ratio: Ratio::new(ratio),
            min_requests: settings.min_requests,
            window: settings.window,
        }),
        consecutive_failures: settings.consecutive_failures,
        open_for: settings.open_for,
        probes: u16::try_from(settings.half_open_requests).unwrap_or(u16::MAX),
    }
}

impl Record {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            outlier: EndpointRecord::default(),
            health: Health::default(),
            ewma: PeakEwma::new(EWMA_DECAY),
            in_flight: AtomicU32::new(0),
            down_until: AtomicU64::new(0),
        }
    }

    pub(super) fn entered(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// No connection can be made; nobody tries before `until` (`None`: before somebody says otherwise).
    pub(super) fn is_down_until(&self, until: Option<Instant>) {
        self.down_until.store(until.map_or(u64::MAX, |until| nanos(until).get().max(1)), Ordering::Relaxed);
    }

    /// A connection was made, or may be tried again.
    pub(super) fn is_up(&self) {
        // A store only when there is something to change, so that the line stays shared between cores.
        if self.down_until.load(Ordering::Relaxed) != 0 {
            self.down_until.store(0, Ordering::Relaxed);
        }
    }

    /// For how long nobody tries; zero if somebody may, or if it is not known.
    pub(super) fn down_for(&self, now: Instant) -> Duration {
        match self.down_until.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            until => Nanos::new(until).since(nanos(now)),
        }
    }

    pub(super) fn condition(&self, now: Instant) -> Condition {
        if self.health.status() == Status::Unhealthy {
            Condition::Unhealthy
        } else if self.outlier.is_ejected(nanos(now)) {
            Condition::Ejected
        } else {
            Condition::Healthy
        }
    }
}

impl Candidate for Record {
    fn is_healthy(&self, now: Nanos) -> bool {
        self.down_until.load(Ordering::Relaxed) <= now.get()
            && self.health.status() != Status::Unhealthy
            && !self.outlier.is_ejected(now)
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn cost(&self, now: Nanos) -> u64 {
        self.ewma.cost(self.in_flight(), now)
    }

    fn share(&self, now: Nanos) -> Share {
        match self.outlier.back_since(now).max(self.health.back_since()) {
            None => Share::WHOLE,
            Some(since) => SLOW_START.share(since, now),
        }
    }
}
