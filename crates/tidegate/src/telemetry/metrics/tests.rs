//! The page as a whole: what is on it, what outside programs make of it, and that nothing is lost on the way.

mod cost;
mod life;
mod pages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use tidegate_transcode::Code;

use crate::ids::{ListenerId, WorkerId};
use crate::reject::Reason;
use crate::telemetry::labels::RouteLabels;

use super::*;

/// Two workers and the control thread.
const SLOTS: usize = 3;
const ALL_SERIES: usize = 400_000;

fn worker(index: u16) -> WorkerId {
    WorkerId::new(index)
}

fn labels(route: &str, service: &str) -> RouteLabels {
    RouteLabels { route: route.into(), service: service.into(), rpc_method: None, template: "/v1/a".into() }
}

/// A request that took two milliseconds.
fn sample(listener: ListenerId, method: MethodId) -> Sample {
    Sample {
        listener,
        method,
        status: 200,
        reason: None,
        duration: Duration::from_millis(2),
        overhead_request: Some(Duration::from_micros(30)),
        overhead_response: Some(Duration::from_micros(200)),
        bytes_in: 10,
        bytes_out: 812,
        exemplar: None,
    }
}

fn text(metrics: &Metrics, now: Instant) -> String {
    metrics.page(Format::Text, now, &Observed::default())
}

/// The value of the only sample with this name and these labels.
fn value<'a>(page: &'a str, sample: &str) -> Option<&'a str> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
}

/// Names that a configuration may hold and that a careless page would break on.
const HOSTILE: [&str; 4] = ["a\"b", "back\\slash\\", "two\nlines # TYPE x counter", "{ü}=\"1\",le=\"2\"\t "];

/// A gateway in which everything has happened once, under names that are not nice.
fn eventful(names: &[&str]) -> (Metrics, Observed, Vec<Gauged>) {
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    metrics.name_method("PURGE");
    let mut open = Vec::new();
    let mut observed = observed();
    for (index, name) in (0..).zip(names) {
        let name: Arc<str> = Arc::from(*name);
        let listener = metrics.listener(&name);
        open.push(listener.connection(worker(0), ConnectionType::Http1));
        open.push(listener.connection(worker(1), ConnectionType::Http2));
        open.push(listener.request(worker(1)));
        drop(listener.request(worker(1)));
        for why in [
            ConnectionRefusal::Limit,
            ConnectionRefusal::TlsFailed,
            ConnectionRefusal::TlsTimeout,
            ConnectionRefusal::Protocol,
        ] {
            listener.refused(worker(0), why);
        }
        listener.flooded(worker(1), Flood::Control);
        listener.handshake(worker(1), Duration::from_millis(3));
        open.push(listener.socket(worker(0), ConnectionType::Http1));
        drop(listener.socket(worker(1), ConnectionType::Http2));
        listener.socket_ended(worker(1), Some(Reason::Overloaded));
        listener.socket_ended(worker(0), None);
        fill_route(&metrics, &metrics.route(&labels(&name, &name)), listener.id());
        fill_service(&metrics.service(&name));
        fill_auth(&metrics.auth(&name));
        observed.services.push(service_state(&name));
        observed.certificates.push(Certificate { name, not_after: 1_800_000_000 + index });
    }
    for name in names {
        fill_limit(&metrics.limit(&Arc::from(*name)));
        metrics.mirror(&Arc::from(*name), &Arc::from(*name)).came_to(Mirrored::Answered);
    }
    let unrouted =
        Sample { status: 404, reason: Some(Reason::RouteNotFound), ..sample(ListenerId(0), other(&metrics)) };
    metrics.unrouted().finished(worker(0), &unrouted);
    metrics.config.serves(&"0123456789abcdef".into(), 1_700_000_000_000);
    metrics.config.reloaded(Reload::Applied, 1_700_000_001_500);
    metrics.config.reloaded(Reload::Rejected, 1_700_000_002_000);
    metrics.spans_dropped.increment();
    metrics.sockets.received(worker(0), Traffic { messages: 2, raw: 40, wire: 52 });
    metrics.sockets.sent(worker(1), Traffic { messages: 3, raw: 300, wire: 306 });
    metrics.loop_lag(worker(0), Duration::from_micros(150));
    metrics.loop_lag(worker(1), Duration::from_secs(2));
    (metrics, observed, open)
}

fn fill_auth(series: &AuthSeries) {
    series.allowed();
    series.denied(Reason::AuthExpired);
    series.refreshed(true, 1_700_000_000_000);
    series.refreshed(false, 1_700_000_001_000);
}

fn other(metrics: &Metrics) -> MethodId {
    metrics.method(&Method::from_bytes(b"BREW").unwrap())
}

fn fill_route(metrics: &Metrics, route: &RouteSeries, listener: ListenerId) {
    let purge = Method::from_bytes(b"PURGE").unwrap();
    for (index, method) in [(0, Method::GET), (1, Method::GET), (1, purge)] {
        let exemplar = Exemplar { trace_id: [0xab; 16], unix_ms: 1_700_000_000_123 };
        let sample = Sample { exemplar: Some(exemplar), ..sample(listener, metrics.method(&method)) };
        route.finished(worker(index), &sample);
    }
    let late = Sample {
        status: 504,
        reason: Some(Reason::UpstreamTimeout),
        duration: Duration::from_secs(15),
        ..sample(listener, metrics.method(&Method::GET))
    };
    route.finished(worker(0), &late);
    for stage in [Stage::Path, Stage::Query, Stage::Body, Stage::Encode, Stage::Decode] {
        route.transcode_failed(worker(0), stage);
    }
    for direction in [Direction::Request, Direction::Response] {
        route.transcoded(worker(1), direction, Duration::from_micros(60));
    }
}

fn fill_limit(limit: &LimitSeries) {
    for counter in [LimitCounter::Local, LimitCounter::Redis] {
        for decision in [LimitDecision::Allow, LimitDecision::Deny, LimitDecision::WouldDeny] {
            limit.decided(worker(1), counter, decision);
        }
    }
    limit.store_failed();
}

fn fill_service(service: &Arc<ServiceSeries>) {
    for code in [Code::Ok, Code::Ok, Code::Unavailable] {
        service.attempted(worker(0), code, Duration::from_millis(1));
    }
    service.attempted_http(worker(0), HttpOutcome::Status(200), Duration::from_millis(1));
    service.attempted_http(worker(1), HttpOutcome::Failed(Reason::UpstreamReset), Duration::from_millis(1));
    for turn in [BreakerTurn::Open, BreakerTurn::HalfOpen, BreakerTurn::Closed] {
        service.breaker_turned(turn);
    }
    service.ejected(Ejection::ConsecutiveErrors);
    service.ejected(Ejection::HealthCheck);
    let _closed = service.tunnel();
    service.retried(true);
    service.retried(false);
    service.hedged(true);
    service.hedged(false);
    service.budget_exhausted();
    service.connected(worker(2), Duration::from_micros(400));
    for result in [SchemaRefresh::Unchanged, SchemaRefresh::Applied, SchemaRefresh::Rejected, SchemaRefresh::Failed] {
        service.schema_refreshed(result);
    }
}

fn service_state(name: &Arc<str>) -> ServiceState {
    // An endpoint may be written twice.
    let endpoint = |up| EndpointUp { endpoint: Arc::clone(name), up };
    ServiceState {
        name: Arc::clone(name),
        connections: Connections { idle: 1, connecting: 2, ready: 3, transient_failure: 4, shutdown: 5 },
        endpoints: vec![endpoint(false), endpoint(true), endpoint(false)],
        addresses: Addresses { healthy: 2, unhealthy: 1, ejected: 0 },
        breaker: Some(2),
        schema: Some(SchemaState { stale: true, digests: 2 }),
    }
}

fn observed() -> Observed {
    Observed {
        limit_keys: Some(3),
        build: Build { version: "0.1.0", revision: "abc1234", rustc: "1.95.0" },
        process: Process {
            cpu_nanos: Some(1_230_000_000),
            resident_bytes: Some(12_345_678),
            virtual_bytes: Some(123_456_789),
            memory_limit_bytes: Some(1_073_741_824),
            open_fds: Some(42),
            max_fds: Some(1_024),
            started_unix_nanos: Some(1_700_000_000_120_000_000),
            threads: Some(4),
        },
        draining: false,
        panics: 1,
        logs_dropped: 3,
        overload_refusals: vec![("lag", 5), ("memory", 0), ("pending", 7)],
        late_workers: 1,
        memory_pressure: 2,
        services: Vec::new(),
        certificates: Vec::new(),
    }
}
