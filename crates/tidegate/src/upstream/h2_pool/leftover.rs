//! Streams of a connection that run on for nobody until they may be reset (`resets`), and go earlier for a call that
//! finds no room.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::time::timeout_at;

use super::Gauge;
use crate::time;
use crate::upstream::resets::Turn;

impl Gauge {
    /// Nobody wants the stream any more that was opened as `number`.
    pub(in crate::upstream) fn give_up(self: &Arc<Self>, number: u32) -> GivenUp {
        // Backends look at streams in their order.
        let looked_at = number <= self.answered.load(Ordering::Relaxed);
        match self.resets.turn(number, looked_at, self.limit.load(Ordering::Relaxed), time::now()) {
            Turn::Now => GivenUp::Now,
            Turn::Counted => GivenUp::Counted,
            Turn::At(due) => {
                self.takes_place();
                GivenUp::Later(Leftover { due, gauge: Arc::clone(self) })
            }
        }
    }
}

/// What is to be done about a stream that nobody wants any more.
pub(in crate::upstream) enum GivenUp {
    /// Reset it.
    Now,
    /// Keep it until [`Leftover::turn`], then reset it.
    Later(Leftover),
    /// Drop it: its other half was given up before, and whichever goes last resets it.
    Counted,
}

/// The place in its connection of a stream that runs on for nobody. Gives it back when dropped.
pub(in crate::upstream) struct Leftover {
    due: Instant,
    gauge: Arc<Gauge>,
}

impl Leftover {
    /// Until the stream is to be reset.
    pub(in crate::upstream) async fn turn(&self) {
        // Calls that came before this was waited for have asked nobody.
        if self.gauge.demand.waiting.load(Ordering::Relaxed) > self.gauge.room() {
            return;
        }
        // Late or asked to go is the same.
        let _asked = timeout_at(self.due.into(), self.gauge.give_way.notified()).await;
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        self.gauge.resets.is_gone();
        self.gauge.closed();
    }
}
