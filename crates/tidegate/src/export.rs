//! Sends spans to the collector, on the control thread.
//!
//! ```text
//!   workers ──► SpanQueue ──► run: a batch when it is full or 5 s old ──► transport ──► collector
//!                  │                    ▲          │ down, or busy
//!             full: dropped             └──────────┘ back-off, or as long as the collector says
//! ```
//! A collector that is down costs a request nothing: the batch that failed is tried again, the queue fills, and what
//! finds no room is dropped and counted. One line says when it begins to fail and one when it works again.

mod transport;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_config::valid::Otlp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::transport::{Sent, Transport};
use crate::ids::WorkerId;
use crate::tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::ServiceSeries;
use crate::telemetry::otlp::{self, Resource};
use crate::upstream::{Resolver, Wheels};

/// After a failure: first and longest pause, ± 20 %.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The shortest and the longest pause that a collector may ask for: it can neither make us spin nor fall silent.
const ASKED: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// How long the end of the process waits for what is left.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// The running exporter.
#[derive(Debug)]
pub struct Exporter {
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Starts the task on the current runtime, which must be that of `slot`: the control thread's.
    #[must_use]
    pub fn start(telemetry: Arc<Telemetry>, wheels: Wheels, slot: WorkerId) -> Self {
        let (stopping, stopped) = watch::channel(false);
        let sender = Sender {
            collector: telemetry.tracer.collector(),
            stopped,
            means: Means { wheels, slot, resolver: Arc::new(Resolver::new()), series: telemetry.metrics.unlisted() },
            resource: Resource { instance: instance(fastrand::u128(..)).into() },
            telemetry,
            unsent: None,
            failing: false,
        };
        Self { stopping, task: tasks::spawn("export", sender.run()) }
    }

    /// Sends what is left, for [`FLUSH_TIME`] at most, and ends the task.
    pub async fn finish(self) {
        self.stopping.send_replace(true);
        let mut task = self.task;
        if timeout(FLUSH_TIME, &mut task).await.is_err() {
            task.abort();
            // So that it has told what it leaves behind.
            let _cancelled = task.await;
        }
    }
}

/// A batch that waits to be sent again.
struct Unsent {
    message: Bytes,
    spans: usize,
}

/// What a way to a collector is made of.
struct Means {
    wheels: Wheels,
    slot: WorkerId,
    resolver: Arc<Resolver>,
    /// Of the collector's cluster.
    series: Arc<ServiceSeries>,
}

/// The task.
struct Sender {
    telemetry: Arc<Telemetry>,
    /// Who collects, and when that changes.
    collector: watch::Receiver<Option<Arc<Otlp>>>,
    stopped: watch::Receiver<bool>,
    means: Means,
    resource: Resource,
    unsent: Option<Unsent>,
    /// The last attempt came to nothing, and the log knows.
    failing: bool,
}

impl Sender {
    async fn run(mut self) {
        let mut collector = self.collector.clone();
        loop {
            let transport = collector.borrow_and_update().clone().and_then(|collector| self.connect(&collector));
            let stop = tokio::select! {
                changed = collector.changed() => changed.is_err(),
                () = self.serve(transport.as_ref()) => true,
            };
            if stop {
                if let Some(transport) = &transport {
                    self.flush(transport).await;
                }
                return;
            }
        }
    }

    fn connect(&self, collector: &Otlp) -> Option<Transport> {
        match Transport::new(collector, &self.means) {
            Ok(transport) => Some(transport),
            Err(error) => {
                tracing::error!(collector = collector.text, %error, "no spans can be exported");
                None
            }
        }
    }

    /// Sends batches until the end is asked for; without a collector, drops them. Cancel-safe: a batch that is on its
    /// way stays in [`Sender::unsent`].
    async fn serve(&mut self, transport: Option<&Transport>) {
        match transport {
            Some(transport) => self.export(transport).await,
            None => self.discard().await,
        }
    }

    /// Requests that began while there was a collector still tell of themselves.
    async fn discard(&mut self) {
        while !self.is_stopping() {
            self.abandon();
            self.unless_stopped(self.telemetry.tracer.queue().due()).await;
        }
    }

    /// The end is looked at between two attempts and never breaks one off: the collector may have taken that batch
    /// already, and would get it twice.
    async fn export(&mut self, transport: &Transport) {
        let mut pause = BACKOFF.0;
        while !self.is_stopping() {
            if self.unsent.is_none() {
                self.unless_stopped(self.telemetry.tracer.queue().due()).await;
            }
            match self.send(transport).await {
                None => pause = BACKOFF.0,
                Some(asked) => {
                    let jittered = pause.mul_f64(0.8 + 0.4 * fastrand::f64());
                    let delay = asked.map_or(jittered, |asked| asked.clamp(ASKED.0, ASKED.1));
                    self.unless_stopped(sleep(delay)).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Whoever drops the exporter asks for the end as well.
    fn is_stopping(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    /// Waits for `event`, or until the end is asked for.
    async fn unless_stopped(&self, event: impl Future<Output = ()>) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            _stopped = stopped.wait_for(|stop| *stop) => {}
            () = event => {}
        }
    }

    /// Sends everything, each batch once, until one fails.
    async fn flush(&mut self, transport: &Transport) {
        loop {
            if self.unsent.is_none() {
                self.load();
            }
            if self.unsent.is_none() || self.send(transport).await.is_some() {
                return;
            }
        }
    }

    /// Takes the next batch from the queue, if there is one.
    fn load(&mut self) {
        let spans = self.telemetry.tracer.queue().take();
        if !spans.is_empty() {
            self.unsent = Some(Unsent { spans: spans.len(), message: otlp::encode(spans, &self.resource) });
        }
    }

    /// Drops what waits, and counts it.
    fn abandon(&mut self) {
        let queue = self.telemetry.tracer.queue();
        let spans = self.unsent.take().map_or(0, |batch| batch.spans) + queue.clear();
        if spans > 0 {
            queue.count_dropped(spans);
            tracing::warn!(spans, "spans were dropped, there is nobody to send them to");
        }
    }

    /// One attempt. `Some` if the batch has to be sent again: after the time that the collector asks for.
    async fn send(&mut self, transport: &Transport) -> Option<Option<Duration>> {
        if self.unsent.is_none() {
            self.load();
        }
        let batch = self.unsent.as_ref()?;
        let queue = self.telemetry.tracer.queue();
        match transport.send(batch.message.clone()).await {
            Sent::Taken(verdict) => {
                // A collector cannot have refused more than it was sent.
                let rejected = verdict.rejected.min(batch.spans);
                queue.count_dropped(rejected);
                if rejected > 0 {
                    tracing::debug!(spans = rejected, why = verdict.message, "the collector refused spans");
                }
                if self.failing {
                    tracing::info!(collector = transport.name(), dropped = queue.dropped(), "spans are exported again");
                }
                self.failing = false;
                self.unsent = None;
                None
            }
            Sent::Refused(error) => {
                queue.count_dropped(batch.spans);
                self.complain(transport, &error);
                self.unsent = None;
                None
            }
            Sent::Later { error, after } => {
                self.complain(transport, &error);
                Some(after)
            }
        }
    }

    /// Once for each outage.
    fn complain(&mut self, transport: &Transport, error: &str) {
        if !self.failing {
            tracing::warn!(collector = transport.name(), error, "spans cannot be exported; the gateway serves on");
        }
        self.failing = true;
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// A random UUID (RFC 9562, version 4).
fn instance(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

#[cfg(test)]
mod tests;
