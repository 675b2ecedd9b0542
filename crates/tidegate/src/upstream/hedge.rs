//! Attempts beside the first one: when they begin, and which answer counts.
//!
//! ```text
//!   first ────────────────────────────► answer
//!     └─ wait ─► second ──────► good answer: counts, the first one is dropped, which cancels it
//! ```
//! A later attempt begins only at an endpoint that does not have the request, if the budget of retries and the service have
//! room for it. Routes without hedging have none of this.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tidegate_config::valid;
use tidegate_resilience::{Latencies, Tried};

use super::resilience::nanos;
use crate::time::{Wheel, now};

/// A route's compiled `hedge`.
#[derive(Debug)]
pub struct Hedge {
    after: Option<Duration>,
    percentile: Option<u8>,
    max_hedges: u32,
    /// How long answers took; empty without `percentile`.
    latencies: Latencies,
}

impl Hedge {
    /// Compiles a checked block.
    #[must_use]
    pub fn compile(hedge: &valid::Hedge) -> Self {
        let valid::Hedge { after, percentile, max_hedges, .. } = *hedge;
        Self { after, percentile, max_hedges, latencies: Latencies::default() }
    }

    /// How long an attempt that begins now is waited for before there is another one; `None` if nobody can tell yet.
    fn wait(&self) -> Option<Duration> {
        let Some(percent) = self.percentile else { return self.after };
        let usual = self.latencies.percentile(nanos(now()), percent)?;
        Some(usual.max(self.after.unwrap_or_default()))
    }

    /// An answer has come so long after its first attempt had begun. If a later attempt has brought it, the first one would
    /// have taken longer still, which is enough: it was one of the slow ones.
    fn answered(&self, begun: Instant) {
        if self.percentile.is_some() {
            let now = now();
            self.latencies.record(nanos(now), now.saturating_duration_since(begun));
        }
    }
}

/// The endpoints that have a request, for attempts that run beside one another.
#[derive(Debug, Default)]
pub struct Apart(Mutex<Tried>);

impl Apart {
    /// The one at `place` has it now.
    pub(super) fn push(&self, place: usize) {
        self.0.lock().push(place);
    }

    /// All of them.
    pub(super) fn places(&self) -> Tried {
        self.0.lock().clone()
    }
}

/// One attempt. Dropping it cancels it.
pub(super) type Attempting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What became of a race.
pub(super) struct Raced<T> {
    /// Of the attempt that counts.
    pub(super) outcome: T,
    /// That attempt was not the first one.
    pub(super) later: bool,
    /// There was more than one.
    pub(super) hedged: bool,
}

/// Runs `first`, and those that `next` gives while it takes long, until one has an outcome that `settles` the request, or none
/// is left that could. Outcomes that do not count are `spent`.
pub(super) async fn race<'a, T>(
    (hedge, wheel): (&Hedge, &Arc<Wheel>),
    first: Attempting<'a, T>,
    mut next: impl FnMut() -> Option<Attempting<'a, T>>,
    settles: impl Fn(&T) -> bool,
    mut spent: impl FnMut(T),
) -> Raced<T> {
    let begun = now();
    let mut running: SmallVec<[(u32, Attempting<'a, T>); 3]> = SmallVec::new();
    running.push((0, first));
    let mut started = 0;
    let mut timer = hedge.wait().map(|wait| wheel.at(now() + wait));
    let (number, outcome) = poll_fn(|cx| {
        loop {
            let mut at = 0;
            while let Some((number, attempt)) = running.get_mut(at) {
                let Poll::Ready(outcome) = attempt.as_mut().poll(cx) else {
                    at += 1;
                    continue;
                };
                let number = *number;
                drop(running.remove(at));
                if settles(&outcome) || running.is_empty() {
                    return Poll::Ready((number, outcome));
                }
                spent(outcome);
            }
            let Some(waiting) = &mut timer else { return Poll::Pending };
            if Pin::new(waiting).poll(cx).is_pending() {
                return Poll::Pending;
            }
            timer = None;
            let Some(attempt) = next() else { return Poll::Pending };
            started += 1;
            running.push((started, attempt));
            if started < hedge.max_hedges {
                timer = hedge.wait().map(|wait| wheel.at(now() + wait));
            }
        }
    })
    .await;
    if settles(&outcome) {
        hedge.answered(begun);
    }
    Raced { outcome, later: number > 0, hedged: started > 0 }
}
