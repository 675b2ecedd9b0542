//! Early hints on their way to a client: interim answers that its connection sends as soon as it can.
//!
//! Whoever has one leaves it with the connection, under the task that works on the request; that task of the listener, which
//! polls the request, finds it there right after. So a request without hints costs a load, and no channel.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::task;

/// Hints of one connection that wait. There are never many: each is taken after the poll in which it came.
#[derive(Debug, Default)]
pub struct Hints {
    any: AtomicBool,
    waiting: Mutex<Vec<(Option<task::Id>, HeaderMap)>>,
}

impl Hints {
    /// Leaves a hint for the request that this task works on.
    pub fn leave(&self, fields: HeaderMap) {
        self.waiting.lock().push((task::try_id(), fields));
        self.any.store(true, Ordering::Release);
    }

    /// Whether some wait. A load.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Those of this task, in their order.
    #[must_use]
    pub fn take_own(&self) -> Vec<HeaderMap> {
        let own = task::try_id();
        let mut waiting = self.waiting.lock();
        let (mine, others) = std::mem::take(&mut *waiting).into_iter().partition(|(task, _)| *task == own);
        *waiting = others;
        self.any.store(!waiting.is_empty(), Ordering::Release);
        Vec::into_iter(mine).map(|(_, fields)| fields).collect()
    }

    /// All, of a connection that has one request at a time.
    #[must_use]
    pub fn take_all(&self) -> Vec<HeaderMap> {
        let mut waiting = self.waiting.lock();
        self.any.store(false, Ordering::Release);
        waiting.drain(..).map(|(_, fields)| fields).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use std::sync::Arc;

    use super::*;

    fn hint(value: &'static str) -> HeaderMap {
        [(http::header::LINK, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[tokio::test]
    async fn a_task_finds_its_own_hints_and_no_others() {
        let hints = Arc::new(Hints::default());
        assert!(!hints.any());
        let other = Arc::clone(&hints);
        tokio::spawn(async move { other.leave(hint("theirs")) }).await.unwrap();
        let own = Arc::clone(&hints);
        let taken = tokio::spawn(async move {
            own.leave(hint("one"));
            own.leave(hint("two"));
            own.take_own()
        });
        assert_eq!(taken.await.unwrap(), [hint("one"), hint("two")]);
        assert!(hints.any());
        assert_eq!(hints.take_all(), [hint("theirs")]);
        assert!(!hints.any());
    }
}
