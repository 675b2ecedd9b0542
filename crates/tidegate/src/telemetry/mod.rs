//! What the process tells about itself: one place that every finished request passes.

pub mod access;
pub mod answer;
mod escape;
pub mod finished;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod route;
pub mod span;
pub mod tap;
pub mod tracer;
mod writer;

use std::sync::Arc;

use tidegate_config::valid::{AccessOutput, Observability};
use tidegate_transcode::Code;
use tokio::signal::unix::Signal;

use self::access::{AccessLine, AccessWriter};
use self::finished::Finished;
use self::metrics::{Exemplar, MethodId, Metrics, Sample};
use self::tap::Tap;
use self::tracer::Tracer;
use crate::time;

/// All of it that belongs to the process and outlives configurations.
#[derive(Debug)]
pub struct Telemetry {
    /// Counters and histograms.
    pub metrics: Metrics,
    /// One line for each request.
    pub access: AccessWriter,
    /// Spans of recorded requests.
    pub tracer: Tracer,
    /// Live views of requests.
    pub tap: Tap,
}

impl Telemetry {
    /// For `slots` threads: the workers and the control thread. Nothing is written before
    /// [`AccessWriter::start`].
    #[must_use]
    pub fn new(slots: usize, observability: &Observability) -> Arc<Self> {
        let output = observability.logs.access.as_ref().map_or(AccessOutput::Stdout, |access| access.output.clone());
        let metrics = Metrics::new(slots, observability.metrics.max_series);
        let tracer = Tracer::new(metrics.spans_dropped.clone());
        tracer.configure(observability.tracing.as_ref());
        Arc::new(Self { metrics, tracer, access: AccessWriter::new(slots, output), tap: Tap::default() })
    }

    /// Another configuration is in force.
    pub fn configure(&self, observability: &Observability) {
        self.metrics.set_max_series(observability.metrics.max_series);
        logs::levels().configure(observability.logs.level);
        if let Some(access) = &observability.logs.access {
            self.access.set_output(access.output.clone());
        }
        self.tracer.configure(observability.tracing.as_ref());
    }

    /// Lines that were lost, of the access log and of the process log.
    #[must_use]
    pub fn logs_dropped(&self) -> u64 {
        self.access.dropped().saturating_add(logs::dropped())
    }

    /// A request has ended. Called once for each, on its worker.
    pub fn finish(&self, finished: &Finished<'_>) {
        let worker = finished.exchange.worker();
        finished.route.series.finished(worker, &self.sample(finished));
        self.tracer.finish(finished);
        let access = finished.route.observe.access.as_ref();
        let tapped = self.tap.is_on();
        if access.is_none() && !tapped {
            return;
        }
        let line = line(finished);
        if let Some(settings) = access {
            self.access.record(worker, settings, &line);
        }
        if tapped {
            self.tap.offer(&line);
        }
    }

    fn sample(&self, finished: &Finished<'_>) -> Sample {
        let exchange = finished.exchange;
        Sample {
            listener: exchange.conn.listener_id,
            method: if exchange.is_parsed { self.metrics.method(&exchange.method) } else { MethodId::OTHER },
            status: finished.status_or_closed(),
            reason: finished.reason,
            duration: finished.duration,
            overhead_request: finished.overhead_request,
            overhead_response: finished.overhead_response,
            bytes_in: finished.bytes_in,
            bytes_out: finished.bytes_out,
            exemplar: finished
                .exchange
                .trace
                .as_ref()
                .filter(|trace| trace.record().is_some())
                .map(|trace| Exemplar { trace_id: trace.trace_id.bytes(), unix_ms: time::unix_ms() }),
        }
    }
}

impl Default for Telemetry {
    /// For one thread, with nothing configured.
    fn default() -> Self {
        let metrics = Metrics::new(1, usize::MAX);
        Self {
            tracer: Tracer::new(metrics.spans_dropped.clone()),
            metrics,
            access: AccessWriter::new(1, AccessOutput::Stdout),
            tap: Tap::default(),
        }
    }
}

/// Opens files again whenever `signal` comes: after a rotation their names mean other files.
pub async fn reopen_at(mut signal: Signal, telemetry: Arc<Telemetry>) {
    while signal.recv().await.is_some() {
        tracing::info!("opening log files again");
        telemetry.access.reopen();
    }
}

fn line<'a>(finished: &'a Finished<'_>) -> AccessLine<'a> {
    let exchange = finished.exchange;
    let parsed = exchange.is_parsed;
    let labels = &finished.route.labels;
    let socket = exchange.facts.socket();
    let identity = exchange.facts.identity();
    let named = |name: &'a str| (!name.is_empty()).then_some(name);
    AccessLine {
        unix_ms: time::unix_ms(),
        request_id: Some(exchange.request_id.as_str()),
        trace_id: exchange.trace.as_ref().map(|trace| trace.trace_id.as_bytes()),
        listener: Some(&exchange.conn.listener),
        client_ip: Some(exchange.client.ip),
        method: parsed.then(|| exchange.method.as_str().as_bytes()),
        host: exchange.host.as_ref().map(|host| host.as_bytes()),
        // A tunnel is asked for without one.
        path: named(exchange.uri.path()).filter(|_| parsed).map(str::as_bytes),
        http_version: parsed.then(|| exchange.version_word()),
        route: named(&labels.route),
        service: named(&labels.service),
        endpoint: finished.endpoint.map(|endpoint| &**endpoint),
        rpc_method: finished.rpc_method(),
        status: Some(finished.status_or_closed()),
        grpc_status: finished.grpc_status.map(Code::name),
        reason: finished.reason.map(|reason| reason.word()),
        bytes_in: Some(finished.bytes_in),
        bytes_out: Some(finished.bytes_out),
        duration: Some(finished.duration),
        overhead: finished.overhead(),
        upstream: finished.upstream,
        attempts: (finished.attempts > 0).then_some(finished.attempts),
        rate_limit_policy: exchange.facts.limits.tightest().map(|standing| &*standing.label.name),
        auth_provider: identity.map(|identity| &*identity.provider),
        subject: identity.map(|identity| identity.subject.as_bytes()).filter(|subject| !subject.is_empty()),
        close_code: socket.map(|socket| socket.close_code),
        messages_in: socket.map(|socket| socket.messages_in),
        messages_out: socket.map(|socket| socket.messages_out),
        user_agent: exchange.user_agent.as_ref().map(|agent| agent.as_bytes()),
        ..AccessLine::default()
    }
}
