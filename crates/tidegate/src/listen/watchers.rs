//! Tasks that look at an atomic whenever they are polled, and are to be polled after it has changed.
//!
//! A waker stays where it is until its task has gone: nothing is used up by a change, so none is lost however it falls
//! between two looks, and a task that is polled pays nothing for being ready.

use std::task::{Context, Waker};

use parking_lot::Mutex;
use slab::Slab;
use smallvec::SmallVec;

/// So many are woken, then whoever comes or goes may: the first that are woken do at once.
const BATCH: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// One for each connection of a lane, whose number is bounded.
    wakers: Mutex<Slab<Waker>>,
}

impl Watchers {
    /// Has all of them polled. The change comes first.
    pub(super) fn wake(&self) {
        let mut from = 0;
        loop {
            let (batch, next) = self.batch(from);
            batch.into_iter().for_each(Waker::wake);
            let Some(next) = next else { return };
            from = next;
        }
    }

    /// The wakers of the entries from `from` on, as many as belong to a batch, and where the next one begins. Who is entered
    /// meanwhile looks after the change.
    fn batch(&self, from: usize) -> (SmallVec<[Waker; BATCH]>, Option<usize>) {
        let wakers = self.wakers.lock();
        let mut batch = SmallVec::new();
        for entry in from..wakers.capacity() {
            if batch.len() == BATCH {
                return (batch, Some(entry));
            }
            batch.extend(wakers.get(entry).cloned());
        }
        (batch, None)
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

    #[tokio::test]
    async fn all_are_woken_however_many_there_are() {
        let (watchers, told) = (Arc::new(Watchers::default()), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..3 * BATCH + 1)
            .map(|_| {
                let (watched, seen) = (Arc::clone(&watchers), Arc::clone(&told));
                tokio::spawn(async move {
                    let mut watch = watched.watch();
                    poll_fn(|cx| {
                        watch.stay(cx);
                        if seen.load(Ordering::SeqCst) == 1 { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                })
            })
            .collect();
        while watchers.wakers.lock().len() < tasks.len() {
            tokio::task::yield_now().await;
        }
        told.store(1, Ordering::SeqCst);
        watchers.wake();
        for task in tasks {
            task.await.unwrap();
        }
    }

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
