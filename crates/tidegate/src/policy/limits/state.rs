//! What limits remember beyond one configuration.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_config::valid;
use tidegate_resilience::{Bucket, Buckets, KeyHash, Nanos};

use crate::redis::{Clients, Redis};

/// Keys that this process remembers at once. About 50 bytes each.
const MAX_KEYS: usize = 1_000_000;

/// Refusals of Redis that are remembered at once.
const MAX_DENIALS: usize = 100_000;

/// Buckets of the process. A bucket is found by what its limit is, so a limit that a reload does not change goes on where
/// it was.
#[derive(Debug)]
pub struct Limiter {
    seeds: [RandomState; 2],
    table: Buckets,
    /// Of limits whose key is the same for all. Grows with configurations alone; who is gone is forgotten at the next one.
    fixed: Mutex<HashMap<KeyHash, Weak<Bucket>>>,
    /// Until when Redis has refused whom.
    denials: Buckets,
    clients: Clients,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            seeds: [RandomState::new(), RandomState::new()],
            table: Buckets::new(MAX_KEYS),
            fixed: Mutex::default(),
            denials: Buckets::new(MAX_DENIALS),
            clients: Clients::default(),
        }
    }
}

impl Limiter {
    /// The client of the Redis that these settings tell of, for `slots` threads. For the control thread.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn redis(&self, settings: &valid::Redis, slots: usize) -> Result<Arc<Redis>, String> {
        self.clients.get(settings, slots)
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.table.count()
    }

    pub(super) fn seeds(&self) -> &[RandomState; 2] {
        &self.seeds
    }

    pub(super) fn table(&self) -> &Buckets {
        &self.table
    }

    /// The bucket of this name, made if nobody has one.
    pub(super) fn fixed(&self, name: KeyHash) -> Arc<Bucket> {
        let mut known = self.fixed.lock();
        if let Some(bucket) = known.get(&name).and_then(Weak::upgrade) {
            return bucket;
        }
        known.retain(|_, bucket| bucket.strong_count() > 0);
        let bucket = Arc::new(Bucket::default());
        known.insert(name, Arc::downgrade(&bucket));
        bucket
    }

    /// Redis refuses `name` for so long.
    pub(super) fn denied(&self, name: KeyHash, wait: Duration, now: Nanos) {
        self.denials.with(name, now, |bucket| bucket.block_until(now.after(wait)));
    }

    /// How long Redis still refuses `name`, as far as is known here.
    pub(super) fn denied_for(&self, name: KeyHash, now: Nanos) -> Option<Duration> {
        let left = self.denials.find(name, |bucket| bucket.blocked_for(now))?;
        (!left.is_zero()).then_some(left)
    }
}
