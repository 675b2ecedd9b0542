//! What stands between a route and its backend: who gets the request, how often, and beside whom.

use serde_json::json;
use tidegate_config::units::{bytes_text, duration_text};
use tidegate_config::valid::{BalancingPolicy, GRPC_CODES, HashOn, HealthCheckType, RetryOn, Service, ServiceProtocol};

use super::{Backend, Context, Origin, Rows, Standpoint, table};
use crate::action::transcode::Transcode;
use crate::upstream::{Cluster, Condition, EndpointView};

pub(super) fn circuit_breaker(context: &Context<'_>, rows: &mut Rows) {
    let Some(Backend { service, cluster, .. }) = context.backend() else { return };
    let origin = || Origin::of_service(&service.place);
    let settings = &service.resilience;
    rows.add(json!({"max_concurrent": settings.max_concurrent, "max_pending": settings.max_pending}), origin());
    let Some(breaker) = &settings.breaker else { return };
    let state = cluster.filter(|_| context.standpoint == Standpoint::Running).and_then(Cluster::breaker);
    let value = json!({
        "failure_ratio": breaker.failure_ratio,
        "min_requests": breaker.min_requests,
        "window": duration_text(breaker.window),
        "consecutive_failures": breaker.consecutive_failures,
        "open_for": duration_text(breaker.open_for),
        "half_open_requests": breaker.half_open_requests,
    });
    rows.add_noted(value, origin(), state.map(|state| state.word().to_owned()));
}

pub(super) fn retry(context: &Context<'_>, rows: &mut Rows) {
    let Some(Backend { route, service, .. }) = context.backend() else { return };
    let retry = &route.policy.retry;
    rows.add(json!({"max_retries": retry.max_retries.value}), &retry.max_retries.origin);
    if let Some(time) = retry.per_try_timeout.value {
        rows.add(json!({"per_try_timeout": duration_text(time)}), &retry.per_try_timeout.origin);
    }
    if retry.max_retries.value == 0 {
        return;
    }
    let words: Vec<String> = retry.on.value.iter().map(|on| retry_word(*on)).collect();
    rows.add(json!({"retry_on": words}), &retry.on.origin);
    rows.add_if_set(&retry.backoff_base, |base| json!({"backoff.base": duration_text(*base)}));
    rows.add_if_set(&retry.backoff_max, |max| json!({"backoff.max": duration_text(*max)}));
    rows.add_if_set(&retry.non_idempotent, |on| json!({"non_idempotent": on}));
    let (budget, origin) = match retry.budget {
        Some(own) => (own, Origin::at(&route.place)),
        None => (service.resilience.budget, Origin::of_service(&service.place)),
    };
    let text = format!("{} of the requests, and {} a second", budget.ratio, budget.min_per_second);
    rows.add(json!({"budget": text}), origin);
}

fn retry_word(on: RetryOn) -> String {
    match on {
        RetryOn::ConnectFailure => "connect_failure".to_owned(),
        RetryOn::Reset => "reset".to_owned(),
        RetryOn::Timeout => "timeout".to_owned(),
        RetryOn::Code(code) => {
            GRPC_CODES.get(usize::from(code)).map_or_else(String::new, |name| name.to_ascii_lowercase())
        }
        RetryOn::Status(status) => status.to_string(),
    }
}

pub(super) fn hedge(context: &Context<'_>, rows: &mut Rows) {
    let hedge = table::route(context.valid, context.compiled).and_then(|route| route.hedge.as_ref());
    let Some(hedge) = hedge else { return };
    let marked = context.compiled.action.transcode().is_some_and(Transcode::is_idempotent);
    let note =
        (!marked && !context.method.is_idempotent()).then(|| "not this request: it may not be sent twice".to_owned());
    let after = hedge.after.map(duration_text);
    let value = json!({"after": after, "percentile": hedge.percentile, "max_hedges": hedge.max_hedges});
    rows.add_noted(value, Origin::at(&hedge.place), note);
}

pub(super) fn service(context: &Context<'_>, rows: &mut Rows) {
    let Some(Backend { service, cluster, .. }) = context.backend() else { return };
    let origin = || Origin::of_service(&service.place);
    let states = match (context.standpoint, cluster) {
        (Standpoint::Running, Some(cluster)) => {
            let views = cluster.endpoints();
            let word = |view: &EndpointView| match view.condition {
                Condition::Healthy => view.state.word().to_owned(),
                other => format!("{} ({})", view.state.word(), other.word()),
            };
            Some(views.iter().map(word).collect::<Vec<_>>().join(", "))
        }
        (Standpoint::Running | Standpoint::Offline, _) => None,
    };
    rows.add(json!({"name": service.name}), origin());
    let endpoints: Vec<String> = service.endpoints.iter().map(ToString::to_string).collect();
    rows.add_noted(json!({"endpoints": endpoints}), origin(), states);
    balancing(service, rows);
    rows.add(json!({"connect_timeout": duration_text(service.connect_timeout)}), origin());
    connections(service, rows);
    if service.protocol == ServiceProtocol::Grpc {
        rows.add(json!({"max_message": bytes_text(service.max_message)}), origin());
    }
    if let Some(tls) = service.tls.as_ref().filter(|_| service.endpoints.iter().any(|endpoint| endpoint.tls)) {
        let roots = tls.ca.as_ref().map_or_else(|| "the system's roots".to_owned(), |path| path.display().to_string());
        let value =
            json!({"tls": {"ca": roots, "client_certificate": tls.client.is_some(), "server_name": tls.server_name}});
        rows.add(value, origin());
    }
}

fn balancing(service: &Service, rows: &mut Rows) {
    let origin = || Origin::of_service(&service.place);
    let settings = &service.resilience;
    let policy = match settings.balancing.policy {
        BalancingPolicy::LeastRequest => "least_request",
        BalancingPolicy::RoundRobin => "round_robin",
        BalancingPolicy::PeakEwma => "peak_ewma",
        BalancingPolicy::RingHash => "ring_hash",
        BalancingPolicy::Random => "random",
    };
    let hash_on = settings.balancing.hash_on.as_ref().map(|on| match on {
        HashOn::Ip => "ip".to_owned(),
        HashOn::User => "user".to_owned(),
        HashOn::Header(name) => format!("header:{name}"),
    });
    rows.add(json!({"load_balancing": policy}), origin());
    if let Some(hash_on) = hash_on {
        rows.add(json!({"hash_on": hash_on}), origin());
    }
    if let Some(check) = &settings.health_check {
        let kind = match check.check {
            HealthCheckType::Grpc => "grpc",
            HealthCheckType::Http => "http",
            HealthCheckType::Tcp => "tcp",
        };
        let every = duration_text(check.interval);
        rows.add(json!({"health_check": {"type": kind, "interval": every}}), origin());
    }
    let outliers = settings.outlier_detection.map(|outliers| {
        let (errors, time) = (outliers.consecutive_errors, duration_text(outliers.base_ejection_time));
        format!("after {errors} errors for {time}, at most {} %", outliers.max_ejection_percent)
    });
    rows.add(json!({"outlier_detection": outliers}), origin());
}

/// How many there may be, and what keeps those of HTTP/2.
fn connections(service: &Service, rows: &mut Rows) {
    let origin = || Origin::of_service(&service.place);
    let connections = &service.connections;
    let http2 = service.http2 || service.protocol == ServiceProtocol::Grpc;
    let text = match connections.http1 {
        _ if http2 => format!("{} to {}", connections.min, connections.max),
        None => "one for each request".to_owned(),
        Some((min, u32::MAX)) => format!("one for each request; {min} stay"),
        Some((min, max)) => format!("{min} to {max}"),
    };
    rows.add(json!({"connections": text}), origin());
    if !http2 {
        return;
    }
    let keepalive = connections
        .keepalive
        .map(|ping| format!("every {}, answer within {}", duration_text(ping.interval), duration_text(ping.timeout)));
    rows.add(json!({"keepalive": keepalive}), origin());
}

pub(super) fn mirror(context: &Context<'_>, rows: &mut Rows) {
    let mirror = table::route(context.valid, context.compiled).and_then(|route| route.mirror.as_ref());
    let Some(mirror) = mirror else { return };
    let service = context.valid.services.get(mirror.service).map(|service| &service.name);
    let value = json!({"service": service, "ratio": mirror.ratio, "max_in_flight": mirror.max_in_flight});
    rows.add(value, Origin::at(&mirror.place));
}
