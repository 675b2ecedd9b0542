//! The only place that spawns: every task is tracked, and a panic costs that task alone and is counted.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many tasks and requests have panicked since the start of the process.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Runs `future` as a task of the current runtime. `what` names it in the log if it panics.
pub fn spawn<F>(what: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    // Not an async block around `guard`: that would keep the future twice.
    tokio::spawn(Spawned { guarded: guard(what, future) })
}

/// As [`spawn`], for destructors, which may run where there is no runtime: then `future` is dropped.
pub fn spawn_or_drop<F>(what: &'static str, future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    if tokio::runtime::Handle::try_current().is_ok() {
        spawn(what, future);
    }
}

/// A future among others that are not of its kind.
pub type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Boxes the future that `make` makes, in memory that is there before it: a future that stands somewhere and is then boxed is
/// copied, with all the room that it has for what comes later.
#[inline]
pub fn boxed<F>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let room = Box::new_uninit();
    Box::into_pin(Box::write(room, make()))
}

/// Runs `running` beside each other, in the task of whoever asks.
pub async fn all(mut running: Vec<Boxed>) {
    poll_fn(|cx| {
        running.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

pin_project! {
    /// A task: what it came to is nobody's business but that of `guard`, which has counted and logged a panic.
    struct Spawned<F> {
        #[pin]
        guarded: Guarded<F>,
    }
}

impl<F: Future<Output = ()>> Future for Spawned<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().guarded.poll(cx).map(|_| ())
    }
}

/// Polls `future` such that a panic in it becomes `Err(Panicked)`, counted and logged.
pub fn guard<F: Future>(what: &'static str, future: F) -> Guarded<F> {
    Guarded { what, future }
}

/// The guarded future has panicked; what it held has been dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

pin_project! {
    /// See [`guard`].
    pub struct Guarded<F> {
        what: &'static str,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let future = this.future;
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => {
                PANICS.fetch_add(1, Ordering::Relaxed);
                tracing::error!(what = *this.what, "panic: the task has ended, the process goes on");
                Poll::Ready(Err(Panicked))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted_and_stays_in_its_task() {
        let before = panics();
        spawn("test", async { panic!("on purpose") }).await.unwrap();
        assert!(panics() > before);
        assert_eq!(guard("test", async { 7 }).await, Ok(7));
    }
}
