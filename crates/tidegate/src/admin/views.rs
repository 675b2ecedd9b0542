//! What the admin API shows, as JSON. Times are in seconds unless their name says otherwise.

use std::time::Duration;

use serde_json::{Value, json};

use super::Handles;
use crate::explain;
use crate::listen::ListenerView;
use crate::snapshot::registry::Running;
use crate::snapshot::{CompiledRoute, Snapshot};
use crate::telemetry::metrics::{Quantiles, Totals};
use crate::upstream::BreakerState;
use crate::{time, version};

/// The state of the whole on one page.
pub(super) fn overview(handles: &Handles) -> Value {
    let Handles { registry, gateway, listeners, reloads, .. } = handles;
    let (snapshot, live) = (gateway.snapshot(), registry.live());
    let lifecycle = &registry.process.lifecycle;
    let metrics = &registry.process.telemetry.metrics;
    let views: Vec<_> = live.services.iter().flat_map(|service| service.cluster.endpoints()).collect();
    let out = views.iter().filter(|view| view.is_out()).count();
    json!({
        "version": version::VERSION,
        "revision": version::REVISION,
        "uptime_s": lifecycle.uptime_s(),
        "alive": registry.process.heartbeat.is_alive(),
        "draining": lifecycle.is_draining(),
        "pending": snapshot.health.pending(),
        "config": {
            "generation": snapshot.generation,
            "hash": &*snapshot.hash,
            "loaded_at": lifecycle.loaded_at(),
            "last_reload": lifecycle.last_reload(),
            "reloads_remembered": reloads.history().generations().len(),
        },
        "counts": {
            "routes": snapshot.routes.iter().filter(|route| route.index.is_some() && route.leads).count(),
            "services": live.services.len(),
            "listeners": listeners.listeners().len(),
            "endpoints": views.len(),
            "endpoints_out": out,
        },
        "connections": listeners.open_connections(),
        "requests_in_flight": metrics.in_flight(),
        "requests": totals(&metrics.totals()),
        "unrouted": totals(&metrics.unrouted().totals()),
    })
}

/// A row of the route table.
pub(super) fn route(route: &CompiledRoute) -> Value {
    json!({
        "name": route.name,
        "hosts": route.hosts,
        "methods": route.methods,
        "path": route.template.as_str(),
        "service": (!route.service.is_empty()).then_some(&route.service),
        "target": route.target,
        "weight": route.share.map(|(weight, _)| weight),
        "origin": route.origin,
        "requests": totals(&route.telemetry.series.totals()),
    })
}

/// All rows of one route, each with its policies in their order and with their places.
pub(super) fn rows(snapshot: &Snapshot, name: &str) -> Vec<Value> {
    let rows = snapshot.routes.iter().filter(|row| *row.name == *name);
    rows.map(|row| {
        let mut view = route(row);
        if let Some(members) = view.as_object_mut() {
            members.insert("policies".to_owned(), json!(explain::policies(snapshot, row)));
        }
        view
    })
    .collect()
}

/// A service with its endpoints, and those that still have requests and get no more.
pub(super) fn service(running: &Running) -> Value {
    let cluster = &running.cluster;
    let endpoints: Vec<Value> = cluster
        .endpoints()
        .iter()
        .chain(&cluster.leaving())
        .map(|view| {
            json!({
                "endpoint": &*view.name,
                "state": view.state.word(),
                "condition": view.condition.word(),
                "connections": view.connections,
                "in_flight": view.in_flight,
            })
        })
        .collect();
    json!({
        "name": &**cluster.name(),
        "endpoints": endpoints,
        "breaker": cluster.breaker().map(BreakerState::word),
        "schema": {
            "known": running.schema.is_some(),
            "stale": running.stale,
            "digest": running.schema.as_ref().map(|schema| short(&schema.digest())),
        },
    })
}

/// Enough of a digest to tell two apart: 16 hexadecimal digits.
fn short(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A listener as it is now.
pub(super) fn listener(view: &ListenerView) -> Value {
    json!({
        "name": &*view.name,
        "address": view.address,
        "tls": view.certificate.is_some(),
        "protocols": view.protocols.iter().map(|protocol| format!("{protocol:?}").to_lowercase()).collect::<Vec<_>>(),
        "connections": view.open_connections,
        "certificate": certificate(view),
    })
}

/// The certificate of a listener, if it has one.
pub(super) fn certificate(view: &ListenerView) -> Option<Value> {
    let certificate = view.certificate.as_ref()?;
    let not_after = certificate.not_after_unix_s.and_then(|seconds| u64::try_from(seconds).ok());
    let now = time::unix_ms() / 1000;
    Some(json!({
        "listener": &*view.name,
        "files": certificate.files,
        "not_after": not_after.map(|seconds| time::rfc3339(seconds.saturating_mul(1000))),
        "days_left": not_after.map(|seconds| seconds.saturating_sub(now) / 86_400),
    }))
}

fn totals(totals: &Totals) -> Value {
    json!({
        "total": totals.requests,
        "client_errors": totals.client_errors,
        "server_errors": totals.server_errors,
        "bytes_in": totals.bytes_in,
        "bytes_out": totals.bytes_out,
        "duration": quantiles(totals.duration),
        "overhead": quantiles(totals.overhead),
    })
}

/// Upper bounds, from the buckets of the metrics.
fn quantiles(quantiles: Quantiles) -> Value {
    let seconds = |quantile: Option<Duration>| quantile.map(|quantile| quantile.as_secs_f64());
    json!({"p50": seconds(quantiles.p50), "p95": seconds(quantiles.p95), "p99": seconds(quantiles.p99)})
}
