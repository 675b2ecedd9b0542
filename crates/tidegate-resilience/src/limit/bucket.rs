//! What one asker has left: one atomic, so that a limit is exact across cores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::quota::{Debt, Quota};
use crate::nanos::Nanos;

/// A bucket, full at first. Eight bytes; which quota it has, whoever asks knows.
#[derive(Debug, Default)]
pub struct Bucket {
    /// When it will be full, in nanoseconds; what lies in the past means that it is.
    tat: AtomicU64,
}

/// A bucket has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// As it stays: a refused request takes nothing.
    pub debt: Debt,
    /// Until there is room for this request.
    pub wait: Duration,
}

impl Bucket {
    /// What a request would leave, without taking anything.
    ///
    /// # Errors
    /// There is no room.
    pub fn peek(&self, quota: Quota, cost: u32, now: Nanos) -> Result<Debt, Refused> {
        judge(self.tat.load(Ordering::Relaxed), quota, cost, now)
    }

    /// Takes the place of one request; gives what that leaves. One compare-and-exchange, repeated only if another core was
    /// faster.
    ///
    /// # Errors
    /// There is no room, and nothing was taken.
    pub fn take(&self, quota: Quota, cost: u32, now: Nanos) -> Result<Debt, Refused> {
        let mut tat = self.tat.load(Ordering::Relaxed);
        loop {
            let after = judge(tat, quota, cost, now)?;
            let full = now.get().saturating_add(after.get());
            match self.tat.compare_exchange_weak(tat, full, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(after),
                Err(found) => tat = found,
            }
        }
    }

    /// Gives back what [`Bucket::take`] took. Within one interval of that, it is as if nothing had been taken; later it may
    /// forgive one more request, as the bucket was full in between.
    pub fn give_back(&self, quota: Quota, cost: u32) {
        let price = quota.price_ns(cost);
        let less = |tat: u64| Some(tat.saturating_sub(price));
        let _always = self.tat.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Leaves nothing before `moment`, as somebody else said who keeps the real bucket.
    pub fn block_until(&self, moment: Nanos) {
        self.tat.fetch_max(moment.get(), Ordering::Relaxed);
    }

    /// How long [`Bucket::block_until`] still holds; zero if it does not.
    #[must_use]
    pub fn blocked_for(&self, now: Nanos) -> Duration {
        Nanos::new(self.full_at()).since(now)
    }

    /// Nothing is lacking: forgetting it changes nothing.
    pub(super) fn is_full(&self, now: Nanos) -> bool {
        self.full_at() <= now.get()
    }

    pub(super) fn full_at(&self) -> u64 {
        self.tat.load(Ordering::Relaxed)
    }
}

fn judge(tat: u64, quota: Quota, cost: u32, now: Nanos) -> Result<Debt, Refused> {
    let debt = quota.debt(Nanos::new(tat), now);
    quota.take(debt, cost).map_err(|wait| Refused { debt, wait })
}
