//! How much calls have read of answers that nobody has got yet, and whether they may read on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes that all calls hold together whose [`CallHead`](super::CallHead) has a copy of it.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<All>);

/// Read and written by whoever polls the calls, so nothing is ordered by it.
#[derive(Debug, Default)]
struct All {
    bytes: AtomicUsize,
    passes_over: AtomicBool,
}

impl Held {
    /// How many there are now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Says of each call that is polled from now on whether it is passed over: then it reads nothing more of its answer,
    /// not even to give room to its backend, and still ends at its deadline. Such a call is woken by its deadline alone,
    /// so it must be polled again when it is no longer passed over.
    pub fn pass_over(&self, passes_over: bool) {
        self.0.passes_over.store(passes_over, Ordering::Relaxed);
    }
}

/// What one call has of them; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    all: Held,
    bytes: usize,
}

impl Share {
    pub(super) fn new(all: Held) -> Self {
        Self { all, bytes: 0 }
    }

    /// It is this much from now on.
    pub(super) fn set(&mut self, bytes: usize) {
        let all = &self.all.0.bytes;
        all.fetch_add(bytes, Ordering::Relaxed);
        all.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }

    /// See [`Held::pass_over`].
    pub(super) fn is_passed_over(&self) -> bool {
        self.all.0.passes_over.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let all = Held::default();
        let (mut one, mut other) = (Share::new(all.clone()), Share::new(all.clone()));
        one.set(7);
        other.set(5);
        one.set(3);
        assert_eq!(all.bytes(), 8);
        drop(one);
        assert_eq!(all.bytes(), 5);
    }
}
