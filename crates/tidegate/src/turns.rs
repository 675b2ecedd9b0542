//! Turns that are dealt out by the multiples of the golden ratio and not by chance: parts of them are right for any few in a
//! row, and the same requests always have the same turns.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::ids::{PerWorker, WorkerId};

/// The golden part of a circle of 2^32 places.
const GOLDEN: u32 = 0x9E37_79B9;

/// All the places of the circle.
pub const CIRCLE: u64 = 1 << 32;

/// A count of turns. Each worker counts for itself.
pub struct Turns(PerWorker<AtomicU32>);

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turns")
    }
}

impl Turns {
    /// For this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self(PerWorker::new(workers, |_| AtomicU32::new(0)))
    }

    /// The place of the next turn of `worker` on the circle, below [`CIRCLE`]. The first is 0. Takes no lock.
    #[must_use]
    pub fn next(&self, worker: WorkerId) -> u64 {
        u64::from(self.0.get(worker).fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN))
    }
}
