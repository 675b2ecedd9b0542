//! The end of a listener as the streams on it see it: answers that would go on for as long as their clients like are
//! told how long the drain may take.
//!
//! Until then it costs a stream one look at an atomic; one that waits for its backend is woken.

pub mod leave;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Shared by the streams of one listener on one worker.
#[derive(Debug, Default)]
pub struct Ending {
    window: OnceLock<Window>,
    cut: AtomicBool,
    begun: Arc<Notify>,
}

/// The time that a drain may take.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When it has begun.
    pub from: Instant,
    /// After this long what is left is cut.
    pub length: Duration,
}

/// Ready when a drain begins, or has begun since this was made.
pub type Begun = Pin<Box<OwnedNotified>>;

impl Ending {
    /// Drains from now on. The first call counts.
    pub fn begin(&self, window: Window) {
        let _first = self.window.set(window);
        self.begun.notify_waiters();
    }

    /// The time that the drain may take, once it has begun.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        self.window.get().copied()
    }

    /// What is left now is dropped, and not by its client.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Whether what was left was dropped.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// To be made before a look at [`Ending::window`], so that nothing is missed between the two.
    #[must_use]
    pub fn begun(&self) -> Begun {
        Box::pin(Arc::clone(&self.begun).notified_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::now;

    #[tokio::test]
    async fn who_waits_is_woken_and_who_looks_late_sees_the_first_window() {
        let ending = Arc::new(Ending::default());
        let before = ending.begun();
        let waiting = tokio::spawn(ending.begun());
        tokio::task::yield_now().await;
        assert!(ending.window().is_none());
        let second = Duration::from_secs(1);
        ending.begin(Window { from: now(), length: second });
        ending.begin(Window { from: now(), length: 2 * second });
        waiting.await.unwrap();
        before.await;
        assert_eq!(ending.window().map(|window| window.length), Some(second));
    }
}
