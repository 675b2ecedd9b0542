//! How much calls have read of answers that nobody has got yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all calls hold together whose [`CallHead`](super::CallHead) has a copy of it.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<AtomicUsize>);

impl Held {
    /// How many there are now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
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
        self.all.0.fetch_add(bytes, Ordering::Relaxed);
        self.all.0.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
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
