//! Traces of the process: takes the spans of exchanges that have ended, and knows who collects them.

use std::sync::Arc;

use tidegate_config::valid::{Otlp, Tracing};
use tokio::sync::watch;

use super::finished::Finished;
use super::metrics::Counter;
use super::otlp::SpanQueue;
use super::span::{Clock, spans};

/// See the module. Whether an exchange is recorded was decided when it began.
#[derive(Debug)]
pub struct Tracer {
    queue: SpanQueue,
    collector: watch::Sender<Option<Arc<Otlp>>>,
}

impl Tracer {
    /// Nobody collects yet; spans that are lost are counted in `dropped`.
    #[must_use]
    pub fn new(dropped: Counter) -> Self {
        Self { queue: SpanQueue::new(dropped), collector: watch::Sender::new(None) }
    }

    /// From now on spans go to this collector: also what could not be sent to the last one. `None` ends the sending.
    pub fn configure(&self, tracing: Option<&Tracing>) {
        let collector = tracing.map(|tracing| &tracing.otlp);
        self.collector.send_if_modified(|known| {
            // A collector that moved to another line of the file is the same.
            let same = match (known.as_deref(), collector) {
                (Some(known), Some(collector)) => {
                    Otlp { place: collector.place.clone(), ..known.clone() } == *collector
                }
                (None, None) => true,
                _ => false,
            };
            let differs = !same;
            if differs {
                *known = collector.cloned().map(Arc::new);
            }
            differs
        });
    }

    /// A request has ended. Does nothing unless it was recorded.
    pub fn finish(&self, finished: &Finished<'_>) {
        let Some(context) = &finished.exchange.trace else { return };
        let Some(record) = context.record() else { return };
        self.queue.push(spans(finished, context, record, Clock::read()));
    }

    /// Spans that wait to be sent.
    #[must_use]
    pub fn queue(&self) -> &SpanQueue {
        &self.queue
    }

    /// Where they go, and when that changes.
    #[must_use]
    pub fn collector(&self) -> watch::Receiver<Option<Arc<Otlp>>> {
        self.collector.subscribe()
    }
}
