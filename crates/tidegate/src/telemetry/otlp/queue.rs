//! Spans that wait for the exporter.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::telemetry::metrics::Counter;
use crate::telemetry::span::Span;

/// Spans that may wait. With texts of at most 1 KiB that is a few MiB.
pub const QUEUE: usize = 2_048;

/// Spans that are sent at once: below the 4 MiB that collectors take in one message.
pub const BATCH: usize = 512;

/// How long a span waits for others to be sent along with it.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Filled by the workers, emptied by the exporter. Only sampled requests take its lock.
#[derive(Debug)]
pub struct SpanQueue {
    waiting: Mutex<VecDeque<Span>>,
    /// The first span came, or a batch is full.
    changed: Notify,
    dropped: Counter,
}

impl SpanQueue {
    /// An empty queue; what is lost is counted in `dropped`.
    #[must_use]
    pub fn new(dropped: Counter) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), dropped }
    }

    /// Adds `spans` as far as there is room, and counts the others as dropped.
    pub fn push(&self, spans: Vec<Span>) {
        let mut waiting = self.waiting.lock();
        let before = waiting.len();
        let room = QUEUE.saturating_sub(before);
        let dropped = spans.len().saturating_sub(room);
        waiting.extend(spans.into_iter().take(room));
        let after = waiting.len();
        drop(waiting);
        if dropped > 0 {
            self.count_dropped(dropped);
        }
        if (before == 0 && after > 0) || (before < BATCH && after >= BATCH) {
            self.changed.notify_one();
        }
    }

    /// Takes the oldest spans, at most [`BATCH`].
    pub fn take(&self) -> Vec<Span> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    /// Throws away what waits, and says how much that was.
    pub fn clear(&self) -> usize {
        std::mem::take(&mut *self.waiting.lock()).len()
    }

    /// Waits until a batch is full, or the first span has waited for [`INTERVAL`]. Nothing wakes it while no spans
    /// come. Cancel-safe.
    pub async fn due(&self) {
        self.reaches(1).await;
        let _elapsed = tokio::time::timeout(INTERVAL, self.reaches(BATCH)).await;
    }

    async fn reaches(&self, count: usize) {
        while self.waiting.lock().len() < count {
            self.changed.notified().await;
        }
    }

    /// `count` spans were lost, here or on their way.
    pub fn count_dropped(&self, count: usize) {
        self.dropped.add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// How many spans were lost since the start of the process.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::span::tests::span;

    fn spans(count: usize) -> Vec<Span> {
        (0..count).map(|_| span()).collect()
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let queue = SpanQueue::new(Counter::default());
        queue.push(spans(QUEUE - 1));
        assert_eq!(queue.dropped(), 0);
        queue.push(spans(3));
        assert_eq!(queue.dropped(), 2);
        assert_eq!(queue.take().len(), BATCH);
        queue.push(spans(BATCH));
        assert_eq!(queue.dropped(), 2);
        queue.push(spans(1));
        assert_eq!(queue.dropped(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_due_when_it_is_full_or_has_waited() {
        let queue = SpanQueue::new(Counter::default());
        let due = |within: Duration| tokio::time::timeout(within, queue.due());
        assert!(due(INTERVAL * 10).await.is_err(), "nothing is due without spans");
        queue.push(spans(1));
        assert!(due(INTERVAL / 2).await.is_err());
        assert!(due(INTERVAL * 2).await.is_ok());
        queue.push(spans(BATCH - 2));
        assert!(due(INTERVAL / 2).await.is_err());
        queue.push(spans(1));
        assert!(due(Duration::from_millis(1)).await.is_ok());
    }
}
