//! What a balancer wants to know: of an endpoint, and of the request.

use std::sync::Arc;

use crate::nanos::Nanos;
use crate::slow_start::Share;

/// An endpoint, as a balancer sees it. Each answer is to be a load or two.
pub trait Candidate {
    /// Whether it should get requests: neither ejected nor ill.
    fn is_healthy(&self, now: Nanos) -> bool;

    /// Requests that it has not answered yet.
    fn in_flight(&self) -> u32;

    /// What one more request would cost, in any unit; only `PeakEwma` asks.
    fn cost(&self, now: Nanos) -> u64;

    /// The part of its weight that it has at the moment.
    fn share(&self, now: Nanos) -> Share;
}

impl<C: Candidate + ?Sized> Candidate for Arc<C> {
    fn is_healthy(&self, now: Nanos) -> bool {
        (**self).is_healthy(now)
    }

    fn in_flight(&self) -> u32 {
        (**self).in_flight()
    }

    fn cost(&self, now: Nanos) -> u64 {
        (**self).cost(now)
    }

    fn share(&self, now: Nanos) -> Share {
        (**self).share(now)
    }
}

/// Attempts that are remembered for one request.
const REMEMBERED: usize = 8;

/// The endpoints that one request has been sent to, by their places in the list: the last eight.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    places: [u32; REMEMBERED],
    count: u32,
}

impl Tried {
    /// Remembers one more, instead of the oldest if there are eight.
    pub fn push(&mut self, place: usize) {
        if let Some(slot) = self.places.get_mut(self.count as usize % REMEMBERED) {
            *slot = u32::try_from(place).unwrap_or(u32::MAX);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Whether that one is remembered.
    #[must_use]
    pub fn contains(&self, place: usize) -> bool {
        self.places.iter().take(self.count as usize).any(|tried| *tried as usize == place)
    }

    /// Whether this is the first attempt.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}
