//! The page of metrics: what is counted, and what is looked up for it, written on the control thread.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::action::metrics::Order;
use crate::listen::Control;
use crate::overload::Cause;
use crate::snapshot::registry::{Live, Registry, Running, SchemaOrigin};
use crate::telemetry::metrics::{
    Addresses, Build, Certificate, Connections, EndpointUp, Format, Observed, Process, SchemaState, ServiceState,
};
use crate::upstream::{BreakerState, Condition, EndpointState};
use crate::{tasks, time};

/// Writes pages for as long as there is somebody who may ask for them.
pub async fn serve(mut orders: mpsc::Receiver<Order>, registry: Arc<Registry>, listeners: Arc<Control>) {
    while let Some(order) = orders.recv().await {
        // Who has stopped waiting needs none.
        let _gone = order.answer.send(page(order.format, &registry, &listeners));
    }
}

/// The page of this moment.
#[must_use]
pub fn page(format: Format, registry: &Registry, listeners: &Control) -> String {
    let live = registry.live();
    let overload = &registry.process.overload;
    let mut process = Process::read();
    process.memory_limit_bytes = overload.memory_limit().or(process.memory_limit_bytes);
    let observed = Observed {
        build: Build::default(),
        process,
        draining: registry.process.lifecycle.is_draining(),
        panics: tasks::panics(),
        logs_dropped: registry.process.telemetry.logs_dropped(),
        limit_keys: has_limits(&live).then(|| registry.process.limiter.keys() as u64),
        overload_refusals: Cause::ALL.into_iter().map(Cause::word).zip(overload.refusals()).collect(),
        late_workers: overload.late_workers(),
        memory_pressure: overload.pressure() as u64,
        services: live.services.iter().map(service).collect(),
        certificates: certificates(listeners),
    };
    registry.process.telemetry.metrics.page(format, time::now(), &observed)
}

fn has_limits(live: &Live) -> bool {
    let valid = &live.valid;
    !valid.defaults.rate_limits.is_empty() || valid.routes.iter().any(|route| !route.policy.rate_limits.is_empty())
}

/// Certificates of listeners, by the name of the listener that shows them.
fn certificates(listeners: &Control) -> Vec<Certificate> {
    let mut certificates = Vec::new();
    for view in listeners.listeners() {
        let not_after = view.certificate.and_then(|certificate| certificate.not_after_unix_s);
        // One that ended before 1970 has ended.
        if let Some(not_after) = not_after.map(|seconds| u64::try_from(seconds).unwrap_or(0)) {
            certificates.push(Certificate { name: view.name, not_after });
        }
    }
    certificates
}

fn service(running: &Running) -> ServiceState {
    let views = running.cluster.endpoints();
    let mut connections = Connections { shutdown: running.cluster.leaving().len() as u64, ..Connections::default() };
    let mut addresses = Addresses::default();
    for view in &views {
        let open = view.connections as u64;
        match view.state {
            EndpointState::Idle => connections.idle += 1,
            EndpointState::Connecting => connections.connecting += 1,
            EndpointState::Ready => connections.ready += open,
            EndpointState::TransientFailure => connections.transient_failure += 1,
            EndpointState::Shutdown => connections.shutdown += 1,
        }
        match view.condition {
            Condition::Ejected => addresses.ejected += 1,
            _ if view.is_out() => addresses.unhealthy += 1,
            _ => addresses.healthy += 1,
        }
    }
    let endpoints = views
        .iter()
        .map(|view| EndpointUp {
            endpoint: Arc::clone(&view.name),
            up: !view.is_out() && view.state != EndpointState::Shutdown,
        })
        .collect();
    ServiceState {
        name: Arc::clone(running.cluster.name()),
        connections,
        endpoints,
        addresses,
        breaker: running.cluster.breaker().map(|state| match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        }),
        schema: schema(running),
    }
}

fn schema(running: &Running) -> Option<SchemaState> {
    match running.origin {
        SchemaOrigin::None | SchemaOrigin::Files(..) => None,
        SchemaOrigin::Reflection(_) => Some(SchemaState {
            stale: running.stale || running.freshness.is_stale(),
            digests: running.freshness.digests() as u64,
        }),
    }
}
