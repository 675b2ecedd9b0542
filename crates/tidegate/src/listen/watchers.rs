//! Tasks that look at an atomic whenever they are polled, and are to be polled after it has changed.
//!
//! A waker stays where it is until its task has gone: nothing is used up by a change, so none is lost however it falls
//! between two looks, and a task that is polled pays nothing for being ready.

use std::task::{Context, Waker};

use parking_lot::Mutex;
use slab::Slab;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// One for each connection of a lane, whose number is bounded.
    wakers: Mutex<Slab<Waker>>,
}

impl Watchers {
    /// Has all of them polled. The change comes first.
    pub(super) fn wake(&self) {
        self.wakers.lock().iter().for_each(|(_, waker)| waker.wake_by_ref());
    }

    /// One that is not polled yet.
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch { of: self, entry: None }
    }
}

/// One watcher, until it is dropped.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    of: &'a Watchers,
    entry: Option<usize>,
}

impl Watch<'_> {
    /// To be called in each poll, before the look, and always by the same task.
    pub(super) fn stay(&mut self, cx: &Context<'_>) {
        if self.entry.is_none() {
            self.entry = Some(self.of.wakers.lock().insert(cx.waker().clone()));
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // Not under the lock: a waker may be the last that is left of a task.
        let _waker = self.entry.and_then(|entry| self.of.wakers.lock().try_remove(entry));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use super::*;

    /// A task that was polled between a change and the word of it is told of the next one, too.
    #[tokio::test]
    async fn a_change_that_is_seen_before_it_is_told_uses_nothing_up() {
        let (watchers, stage) = (Arc::new(Watchers::default()), Arc::new(AtomicUsize::new(0)));
        let (watched, seen) = (Arc::clone(&watchers), Arc::clone(&stage));
        let task = tokio::spawn(async move {
            let mut watch = watched.watch();
            poll_fn(|cx| {
                watch.stay(cx);
                if seen.load(Ordering::SeqCst) == 2 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
        for change in 1..=2 {
            tokio::task::yield_now().await;
            watchers.wake();
            stage.store(change, Ordering::SeqCst);
            tokio::task::yield_now().await;
            watchers.wake();
        }
        task.await.unwrap();
        assert!(watchers.wakers.lock().is_empty());
    }
}
