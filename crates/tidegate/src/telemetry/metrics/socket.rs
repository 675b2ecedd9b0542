//! What goes through WebSockets that end here: of the whole process, by worker.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::{PerWorker, WorkerId};

/// What went one way, or the sum of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Bytes of messages.
    pub raw: u64,
    /// Bytes with frames, and of control frames.
    pub wire: u64,
}

#[derive(Debug, Default)]
struct Way {
    messages: AtomicU64,
    raw: AtomicU64,
    wire: AtomicU64,
}

impl Way {
    fn add(&self, more: Traffic) {
        self.messages.fetch_add(more.messages, Ordering::Relaxed);
        self.raw.fetch_add(more.raw, Ordering::Relaxed);
        self.wire.fetch_add(more.wire, Ordering::Relaxed);
    }

    fn sum_into(&self, sum: &mut Traffic) {
        sum.messages += self.messages.load(Ordering::Relaxed);
        sum.raw += self.raw.load(Ordering::Relaxed);
        sum.wire += self.wire.load(Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub struct SocketTraffic {
    /// In, and out.
    workers: PerWorker<[Way; 2]>,
}

impl SocketTraffic {
    pub(super) fn new(slots: usize) -> Self {
        Self { workers: PerWorker::new(slots, |_| Default::default()) }
    }

    /// Clients have sent this.
    pub fn received(&self, worker: WorkerId, more: Traffic) {
        let [way, _] = self.workers.get(worker);
        way.add(more);
    }

    /// Clients were sent this.
    pub fn sent(&self, worker: WorkerId, more: Traffic) {
        let [_, way] = self.workers.get(worker);
        way.add(more);
    }

    /// In, and out.
    pub(super) fn sums(&self) -> [Traffic; 2] {
        let mut sums = [Traffic::default(); 2];
        for ways in self.workers.iter() {
            for (way, sum) in ways.iter().zip(&mut sums) {
                way.sum_into(sum);
            }
        }
        sums
    }
}
