//! What keeps a service up: balancing, health, ejection, breaker, budget; and the retries of a route.

use std::time::Duration;

use super::policy::is_token;
use super::{Resolver, place_of};
use crate::decode::{Count, Field, Item, Text};
use crate::diag::Code;
use crate::raw::{RawBreaker, RawBudget, RawHealthCheck, RawOutliers, RawPolicy, RawRetry, RawService};
use crate::valid::{
    Balancing, BalancingPolicy, CircuitBreaker, GRPC_CODES, HashOn, HealthCheck, HealthCheckType, OutlierDetection,
    Resilience, RetryBudget, RetryOn, ServiceProtocol,
};

/// Requests at once of one service, at most: each is a task's memory.
const MAX_CONCURRENT: u32 = 1_000_000;
/// More attempts than this are load, and no help.
const MAX_RETRIES: u32 = 10;
/// The longest of all times here.
const MAX_TIME: Duration = Duration::from_secs(86_400);

impl Resolver<'_> {
    pub(super) fn resilience(
        &mut self,
        raw: &RawService,
        protocol: Option<ServiceProtocol>,
        defaults: Option<&RawPolicy>,
    ) -> Option<Resilience> {
        let built_in = Resilience::default();
        let balancing = self.balancing(raw);
        let health_check = match raw.health_check.set() {
            None => Some(None),
            Some(item) => self.health_check(item, protocol).map(Some),
        };
        let outlier_detection = match &raw.outlier_detection {
            Field::Null(_) => Some(None),
            Field::Absent | Field::Invalid => Some(built_in.outlier_detection),
            Field::Set(item) => self.outliers(&item.value).map(Some),
        };
        let limits = raw.circuit_breaker.value().cloned().unwrap_or_default();
        let breaker = match raw.circuit_breaker.value() {
            None => Some(None),
            Some(raw) => self.breaker(raw).map(Some),
        };
        let max_concurrent = self.within(&limits.max_concurrent, built_in.max_concurrent, 1, MAX_CONCURRENT);
        let max_pending = self.within(&limits.max_pending, built_in.max_pending, 0, MAX_CONCURRENT);
        Some(Resilience {
            balancing: balancing?,
            health_check: health_check?,
            outlier_detection: outlier_detection?,
            breaker: breaker?,
            max_concurrent: max_concurrent?,
            max_pending: max_pending?,
            budget: budget(&raw.policy, defaults),
        })
    }

    fn balancing(&mut self, raw: &RawService) -> Option<Balancing> {
        let block = raw.load_balancing.value().cloned().unwrap_or_default();
        if block.policy.is_invalid() || block.hash_on.is_invalid() {
            return None;
        }
        let policy = block.policy.value().copied().unwrap_or(BalancingPolicy::LeastRequest);
        let hash_on = match (policy, block.hash_on.set()) {
            (BalancingPolicy::RingHash, None) => {
                let place = place_of(&block.policy)?;
                let help = "add hash_on: user, hash_on: ip, or hash_on: \"header:x-tenant\"";
                self.error_with(Code::MissingKey, place, "\"ring_hash\" needs \"hash_on\"", help);
                return None;
            }
            (BalancingPolicy::RingHash, Some(item)) => Some(self.hash_on(item)?),
            (_, None) => None,
            (_, Some(item)) => {
                let message = "\"hash_on\" does nothing with this policy";
                self.error_with(Code::Conflict, &item.place, message, "it belongs to policy: ring_hash");
                return None;
            }
        };
        Some(Balancing { policy, hash_on })
    }

    fn hash_on(&mut self, item: &Item<Text>) -> Option<HashOn> {
        match item.value.0.split_once(':') {
            None if item.value.0 == "ip" => Some(HashOn::Ip),
            None if item.value.0 == "user" => Some(HashOn::User),
            Some(("header", name)) if is_token(name) => Some(HashOn::Header(name.to_ascii_lowercase())),
            Some(_) | None => {
                let message = format!("{} is nothing that a ring can go by", item.shown());
                let help = "write \"user\", \"ip\" or \"header:x-tenant\"";
                self.error_with(Code::InvalidValue, &item.place, message, help);
                None
            }
        }
    }

    fn health_check(&mut self, item: &Item<RawHealthCheck>, protocol: Option<ServiceProtocol>) -> Option<HealthCheck> {
        let raw = &item.value;
        let check = *raw.type_.value()?;
        let wants = match check {
            HealthCheckType::Grpc => Some(ServiceProtocol::Grpc),
            HealthCheckType::Http => Some(ServiceProtocol::Http),
            HealthCheckType::Tcp => None,
        };
        if wants.is_some() && protocol.is_some() && wants != protocol {
            let message = "a check that the service does not speak";
            self.error_with(Code::Conflict, place_of(&raw.type_)?, message, "\"tcp\" fits every service");
            return None;
        }
        for (place, right) in [
            (place_of(&raw.path), check == HealthCheckType::Http),
            (place_of(&raw.service), check == HealthCheckType::Grpc),
        ] {
            if let Some(place) = place.filter(|_| !right) {
                self.error(Code::Conflict, place, "this key belongs to another type of check");
            }
        }
        let path = raw.path.value().map_or("/", |path| path.0.as_str());
        if let Some(place) = place_of(&raw.path)
            && !(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'))
        {
            self.error_with(Code::InvalidValue, place, "this is no path", "as in /health");
            return None;
        }
        let interval = self.time(&raw.interval, Duration::from_secs(5));
        let timeout = self.time(&raw.timeout, Duration::from_secs(1));
        let healthy_threshold = self.within(&raw.healthy_threshold, 2, 1, 100);
        let unhealthy_threshold = self.within(&raw.unhealthy_threshold, 3, 1, 100);
        Some(HealthCheck {
            check,
            path: path.to_owned(),
            service: raw.service.value().map(|service| service.0.clone()).unwrap_or_default(),
            interval: interval?,
            timeout: timeout?,
            healthy_threshold: healthy_threshold?,
            unhealthy_threshold: unhealthy_threshold?,
        })
    }

    fn outliers(&mut self, raw: &RawOutliers) -> Option<OutlierDetection> {
        let consecutive_errors = self.within(&raw.consecutive_errors, 5, 1, 1_000_000);
        let base_ejection_time = self.time(&raw.base_ejection_time, Duration::from_secs(10));
        let percent = self.within(&raw.max_ejection_percent, 50, 0, 100);
        Some(OutlierDetection {
            consecutive_errors: consecutive_errors?,
            base_ejection_time: base_ejection_time?,
            max_ejection_percent: u8::try_from(percent?).ok()?,
        })
    }

    fn breaker(&mut self, raw: &RawBreaker) -> Option<CircuitBreaker> {
        let failure_ratio = self.failure_ratio(raw);
        let min_requests = self.within(&raw.min_requests, 20, 1, 1_000_000);
        let window = self.time(&raw.window, Duration::from_secs(10));
        let consecutive_failures = match &raw.consecutive_failures {
            Field::Set(_) => Some(Some(self.within(&raw.consecutive_failures, 1, 1, 1_000_000)?)),
            Field::Absent | Field::Null(_) => Some(None),
            Field::Invalid => None,
        };
        let open_for = self.time(&raw.open_for, Duration::from_secs(5));
        let half_open_requests = self.within(&raw.half_open_requests, 3, 1, 1_000);
        Some(CircuitBreaker {
            failure_ratio: failure_ratio?,
            min_requests: min_requests?,
            window: window?,
            consecutive_failures: consecutive_failures?,
            open_for: open_for?,
            half_open_requests: half_open_requests?,
        })
    }

    /// The part of failures that opens a breaker, if any does.
    fn failure_ratio(&mut self, raw: &RawBreaker) -> Option<Option<f64>> {
        let place = match &raw.failure_ratio {
            Field::Absent => return Some(Some(0.5)),
            Field::Invalid => return None,
            Field::Set(item) if item.value.0 > 0.0 => return Some(Some(item.value.0)),
            Field::Set(item) => {
                self.error(Code::InvalidValue, &item.place, "\"failure_ratio\" is above 0 and at most 1");
                return None;
            }
            Field::Null(place) => place,
        };
        if raw.consecutive_failures.is_missing() {
            let message = "nothing opens this breaker";
            self.error_with(Code::Conflict, place, message, "add \"consecutive_failures\", or take this line away");
        }
        for (key, place) in [("min_requests", place_of(&raw.min_requests)), ("window", place_of(&raw.window))] {
            if let Some(place) = place {
                let message = format!("\"{key}\" does nothing without a \"failure_ratio\"");
                self.error(Code::Conflict, place, message);
            }
        }
        Some(None)
    }

    /// Reports what is wrong with the retries of a level; `is_route`: a budget is the service's.
    pub(super) fn check_retry(&mut self, raw: &RawRetry) {
        self.within(&raw.max_retries, 1, 0, MAX_RETRIES);
        for item in raw.retry_on.value().into_iter().flatten() {
            if retry_on(&item.value.0).is_none() {
                let message = format!("{} is no failure to retry on", item.shown());
                let help = "connect_failure, reset, timeout, a gRPC code such as unavailable, or a status such as 503";
                self.error_with(Code::InvalidValue, &item.place, message, help);
            }
        }
        if let Some(backoff) = raw.backoff.value() {
            self.time(&backoff.base, Duration::from_millis(25));
            self.time(&backoff.max, Duration::from_millis(250));
        }
        self.time(&raw.per_try_timeout, Duration::from_secs(1));
        if let Some(budget) = raw.budget.value() {
            self.within(&budget.min_per_second, 10, 0, 1_000_000);
        }
    }

    /// A number within bounds.
    pub(super) fn within(&mut self, field: &Field<Count>, default: u32, least: u32, most: u32) -> Option<u32> {
        let Some(item) = field.set() else { return (!field.is_invalid()).then_some(default) };
        if !(least..=most).contains(&item.value.0) {
            self.error(Code::InvalidValue, &item.place, format!("this number is from {least} to {most}"));
            return None;
        }
        Some(item.value.0)
    }

    /// A duration above zero, and no mistake.
    fn time(&mut self, field: &Field<crate::decode::Time>, default: Duration) -> Option<Duration> {
        let time = self.positive(field, default)?;
        if let Some(item) = field.set()
            && time > MAX_TIME
        {
            self.error(Code::InvalidValue, &item.place, "this duration is at most 24h");
            return None;
        }
        Some(time)
    }
}

/// The word or number of `retry_on`.
pub(super) fn retry_on(text: &str) -> Option<RetryOn> {
    match text {
        "connect_failure" => return Some(RetryOn::ConnectFailure),
        "reset" => return Some(RetryOn::Reset),
        "timeout" => return Some(RetryOn::Timeout),
        _ => {}
    }
    if let Some(status) = text.parse().ok().filter(|status| (400..=599).contains(status)) {
        return Some(RetryOn::Status(status));
    }
    let code = GRPC_CODES.iter().position(|name| name.eq_ignore_ascii_case(text) && text != *name)?;
    u8::try_from(code).ok().filter(|code| *code > 0).map(RetryOn::Code)
}

/// What retries do unless somebody says otherwise.
pub(super) fn default_retry_on() -> Vec<RetryOn> {
    vec![RetryOn::ConnectFailure, RetryOn::Code(14), RetryOn::Status(502), RetryOn::Status(503)]
}

/// Of the service, else of `defaults`, key by key.
fn budget(service: &RawPolicy, defaults: Option<&RawPolicy>) -> RetryBudget {
    merged([budget_of(service), defaults.and_then(budget_of)].into_iter().flatten())
}

/// What a level says of the budget.
pub(super) fn budget_of(policy: &RawPolicy) -> Option<&RawBudget> {
    policy.retry.value()?.budget.value()
}

/// Levels key by key, the nearest first.
pub(super) fn merged<'a>(levels: impl Iterator<Item = &'a RawBudget>) -> RetryBudget {
    let levels: Vec<&RawBudget> = levels.collect();
    RetryBudget {
        ratio: levels.iter().find_map(|budget| budget.ratio.value()).map_or(0.2, |ratio| ratio.0),
        min_per_second: levels.iter().find_map(|budget| budget.min_per_second.value()).map_or(10, |count| count.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_their_words() {
        for (text, expected) in [
            ("reset", Some(RetryOn::Reset)),
            ("unavailable", Some(RetryOn::Code(14))),
            ("deadline_exceeded", Some(RetryOn::Code(4))),
            ("503", Some(RetryOn::Status(503))),
            ("ok", None),
            ("UNAVAILABLE", None),
            ("200", None),
            ("600", None),
            ("5xx", None),
        ] {
            assert_eq!(retry_on(text), expected, "{text}");
        }
    }
}
