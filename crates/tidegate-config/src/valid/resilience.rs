//! What keeps a service up while its endpoints are not.

use std::time::Duration;

use super::origin::Setting;

/// The settings of one service.
#[derive(Clone, PartialEq, Debug)]
pub struct Resilience {
    /// Which endpoint gets a request.
    pub balancing: Balancing,
    /// `None`: nobody asks.
    pub health_check: Option<HealthCheck>,
    /// `None` with `outlier_detection: null`.
    pub outlier_detection: Option<OutlierDetection>,
    /// `None`: it never opens.
    pub breaker: Option<CircuitBreaker>,
    /// Requests at once; at least 1. 2,000 by default.
    pub max_concurrent: u32,
    /// Requests that wait for others to end. 1,024 by default.
    pub max_pending: u32,
    /// How much load retries may add.
    pub budget: RetryBudget,
}

/// What holds for a service that says nothing.
impl Default for Resilience {
    fn default() -> Self {
        Self {
            balancing: Balancing { policy: BalancingPolicy::LeastRequest, hash_on: None },
            health_check: None,
            outlier_detection: Some(OutlierDetection::default()),
            breaker: None,
            max_concurrent: 2_000,
            max_pending: 1_024,
            budget: RetryBudget { ratio: 0.2, min_per_second: 10 },
        }
    }
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self { consecutive_errors: 5, base_ejection_time: Duration::from_secs(10), max_ejection_percent: 50 }
    }
}

/// Which endpoint gets a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Balancing {
    /// The rule.
    pub policy: BalancingPolicy,
    /// Set exactly for [`BalancingPolicy::RingHash`].
    pub hash_on: Option<HashOn>,
}

/// How endpoints are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BalancingPolicy {
    /// The less busy of two; the default.
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// The cheaper of two, by latency and requests.
    PeakEwma,
    /// The same one for the same key.
    RingHash,
    /// Any.
    Random,
}

/// What a ring goes by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashOn {
    /// The client's address.
    Ip,
    /// The subject of the request's credential, else the client's address.
    User,
    /// The value of a header; lower case.
    Header(String),
}

/// How endpoints are asked whether they are well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// How.
    pub check: HealthCheckType,
    /// What HTTP asks for.
    pub path: String,
    /// The service that gRPC asks for; empty for the server as a whole.
    pub service: String,
    /// Time between two checks. 5 s by default.
    pub interval: Duration,
    /// 1 s by default.
    pub timeout: Duration,
    /// 2 by default.
    pub healthy_threshold: u32,
    /// 3 by default.
    pub unhealthy_threshold: u32,
}

/// How an endpoint is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthCheckType {
    /// `grpc.health.v1.Health/Check`.
    Grpc,
    /// A GET that is answered with 2xx.
    Http,
    /// A connection.
    Tcp,
}

/// When an endpoint is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutlierDetection {
    /// Failures in a row; at least 1. 5 by default.
    pub consecutive_errors: u32,
    /// 10 s by default.
    pub base_ejection_time: Duration,
    /// 0 to 100. 50 by default.
    pub max_ejection_percent: u8,
}

/// When requests are refused.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CircuitBreaker {
    /// Above 0 and at most 1. 0.5 by default. `None`: failures in a row alone open it, and `consecutive_failures` is set.
    pub failure_ratio: Option<f64>,
    /// 20 by default.
    pub min_requests: u32,
    /// 10 s by default.
    pub window: Duration,
    /// `None`: failures in a row alone do not open it.
    pub consecutive_failures: Option<u32>,
    /// 5 s by default.
    pub open_for: Duration,
    /// At least 1. 3 by default.
    pub half_open_requests: u32,
}

/// How much load retries may add to a service.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RetryBudget {
    /// Retries per request of the last 10 s. 0.2 by default.
    pub ratio: f64,
    /// Always allowed. 10 by default.
    pub min_per_second: u32,
}

/// The `retry` block of a route.
#[derive(Clone, PartialEq, Debug)]
pub struct Retry {
    /// Attempts after the first one. 1 by default, 0 with `retry: null`.
    pub max_retries: Setting<u32>,
    /// Failures that are worth another attempt.
    pub on: Setting<Vec<RetryOn>>,
    /// The longest first wait. 25 ms by default.
    pub backoff_base: Setting<Duration>,
    /// The longest wait of all. 250 ms by default.
    pub backoff_max: Setting<Duration>,
    /// Longest time of one attempt; `None`: what is left of the route's timeout.
    pub per_try_timeout: Setting<Option<Duration>>,
    /// Repeats also what may not be repeated.
    pub non_idempotent: Setting<bool>,
    /// A budget of this route alone; `None`: that of its service.
    pub budget: Option<RetryBudget>,
}

/// A kind of failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryOn {
    /// No connection could be made.
    ConnectFailure,
    /// The connection was lost before the answer.
    Reset,
    /// One attempt took too long.
    Timeout,
    /// A gRPC code, 1 to 16.
    Code(u8),
    /// An HTTP status, 400 to 599.
    Status(u16),
}
