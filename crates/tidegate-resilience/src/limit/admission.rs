//! Several limits at once: a request passes if all admit it, and takes of all or of none.

use std::time::Duration;

use super::bucket::{Bucket, Refused};
use super::buckets::{Buckets, KeyHash};
use super::quota::{Debt, Quota};
use crate::nanos::Nanos;

/// What one limit is asked for, and what it said.
#[derive(Debug)]
pub struct Claim<'a> {
    /// Whose bucket.
    pub place: Place<'a>,
    /// How much there is.
    pub quota: Quota,
    /// How many places the request takes.
    pub cost: u32,
    /// `false`: the limit has no say; it takes if it has room and the others let the request pass.
    pub is_enforced: bool,
    /// The answer: what the bucket lacks then.
    pub debt: Debt,
    /// The answer: there is no room before that.
    pub wait: Option<Duration>,
}

/// Where a bucket is.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// The one bucket of a limit whose key is the same for all.
    Fixed(&'a Bucket),
    /// By the key.
    Keyed(KeyHash),
}

impl<'a> Claim<'a> {
    /// One place in a bucket.
    #[must_use]
    pub const fn new(place: Place<'a>, quota: Quota) -> Self {
        Self { place, quota, cost: 1, is_enforced: true, debt: Debt::NONE, wait: None }
    }

    /// The limit refuses the request, and has a say.
    #[must_use]
    pub const fn refuses(&self) -> bool {
        self.is_enforced && self.wait.is_some()
    }

    fn on<T>(&self, table: &Buckets, now: Nanos, mut what: impl FnMut(&Bucket) -> T) -> T {
        match self.place {
            Place::Fixed(bucket) => what(bucket),
            Place::Keyed(key) => table.with(key, now, what),
        }
    }

    fn answered(&mut self, answer: Result<Debt, Refused>) {
        (self.debt, self.wait) = match answer {
            Ok(debt) => (debt, None),
            Err(refused) => (refused.debt, Some(refused.wait)),
        };
    }

    fn peek(&mut self, table: &Buckets, now: Nanos) {
        let (quota, cost) = (self.quota, self.cost);
        let seen = match self.place {
            Place::Fixed(bucket) => bucket.peek(quota, cost, now),
            // Looking must not make a bucket: whoever is refused elsewhere leaves nothing behind.
            Place::Keyed(key) => match table.find(key, |bucket| bucket.peek(quota, cost, now)) {
                Some(seen) => seen,
                None => Bucket::default().peek(quota, cost, now),
            },
        };
        self.answered(seen);
    }

    fn take(&mut self, table: &Buckets, now: Nanos) {
        let (quota, cost) = (self.quota, self.cost);
        let taken = self.on(table, now, |bucket| bucket.take(quota, cost, now));
        self.answered(taken);
    }
}

/// Asks all limits without taking anything; `true` if a request would pass.
pub fn check(table: &Buckets, claims: &mut [Claim<'_>], now: Nanos) -> bool {
    claims.iter_mut().for_each(|claim| claim.peek(table, now));
    !claims.iter().any(Claim::refuses)
}

/// Takes of all limits, or of none; `true` if the request passes. The answers stand in the claims.
///
/// All are looked at first, so a refused request takes nothing. Between the look and the taking another core may have
/// taken the last place; then what was taken is given back. So never too many pass; at worst, a third request that came
/// within that moment is refused although there was room for it.
pub fn admit(table: &Buckets, claims: &mut [Claim<'_>], now: Nanos) -> bool {
    if let [one] = claims {
        one.take(table, now);
        return !one.refuses();
    }
    if !check(table, claims, now) {
        return false;
    }
    for index in 0..claims.len() {
        let Some(claim) = claims.get_mut(index) else { break };
        claim.take(table, now);
        if claim.refuses() {
            give_back(table, claims.get(..index).unwrap_or_default(), now);
            return false;
        }
    }
    true
}

/// Gives back what [`admit`] took for these claims.
pub fn give_back(table: &Buckets, claims: &[Claim<'_>], now: Nanos) {
    for claim in claims.iter().filter(|claim| claim.wait.is_none()) {
        claim.on(table, now, |bucket| bucket.give_back(claim.quota, claim.cost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const MS: u64 = 1_000_000;

    fn key(number: u64) -> KeyHash {
        KeyHash::new([number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number])
    }

    /// The slow model: a bucket of places that come back one after the other, in exact fractions.
    #[derive(Default)]
    struct Model {
        /// Of each key: places that are taken, times the period; and when that was.
        buckets: HashMap<u64, (u128, u64)>,
    }

    #[derive(Debug, Clone, Copy)]
    struct Limit {
        requests: u64,
        per_ms: u64,
        burst: u64,
        cost: u32,
        is_enforced: bool,
    }

    impl Model {
        fn taken(&self, key: u64, limit: Limit, now: u64) -> u128 {
            let (taken, then) = self.buckets.get(&key).copied().unwrap_or((0, now));
            taken.saturating_sub(u128::from(now - then) * u128::from(limit.requests))
        }

        fn has_room(&self, key: u64, limit: Limit, now: u64) -> bool {
            let period = u128::from(limit.per_ms * MS);
            self.taken(key, limit, now) + u128::from(limit.cost) * period <= u128::from(limit.burst) * period
        }

        /// All or nothing.
        fn admit(&mut self, asked: &[(u64, Limit)], now: u64) -> bool {
            let room: Vec<bool> = asked.iter().map(|(key, limit)| self.has_room(*key, *limit, now)).collect();
            if asked.iter().zip(&room).any(|((_, limit), room)| limit.is_enforced && !room) {
                return false;
            }
            for ((key, limit), _) in asked.iter().zip(&room).filter(|(_, room)| **room) {
                let taken = self.taken(*key, *limit, now) + u128::from(limit.cost) * u128::from(limit.per_ms * MS);
                self.buckets.insert(*key, (taken, now));
            }
            true
        }
    }

    fn limit() -> impl Strategy<Value = Limit> {
        // Rates that divide their period, so that the model and the rounded interval agree to the nanosecond.
        let rate = prop::sample::select(vec![(1, 1), (1, 7), (2, 10), (10, 1000), (100, 1000), (1000, 1000), (5, 100)]);
        (rate, 1..30_u64, 1..3_u32, prop::bool::weighted(0.8)).prop_map(
            |((requests, per_ms), burst, cost, is_enforced)| Limit {
                requests,
                per_ms,
                burst: burst.max(u64::from(cost)),
                cost,
                is_enforced,
            },
        )
    }

    proptest! {
        #[test]
        fn a_request_passes_exactly_when_the_model_lets_it(
            limits in prop::collection::vec(limit(), 1..4),
            schedule in prop::collection::vec((0..40_u64, 0..3_u64), 1..300),
        ) {
            let table = Buckets::new(1_000_000);
            let mut model = Model::default();
            let mut now = 0;
            for (step, client) in schedule {
                now += step * MS / 4;
                let keys = |index: usize| client * 100 + index as u64;
                let asked: Vec<(u64, Limit)> = limits.iter().enumerate().map(|(index, limit)| (keys(index), *limit)).collect();
                let mut claims: Vec<Claim<'_>> = asked.iter().map(|(number, limit)| Claim {
                    cost: limit.cost,
                    is_enforced: limit.is_enforced,
                    ..Claim::new(Place::Keyed(key(*number)), Quota::new(limit.requests, limit.per_ms * MS, limit.burst))
                }).collect();
                let expected: Vec<bool> = asked.iter().map(|(key, limit)| model.has_room(*key, *limit, now)).collect();
                let passes = admit(&table, &mut claims, Nanos::new(now));
                prop_assert_eq!(passes, model.admit(&asked, now));
                for (claim, room) in claims.iter().zip(expected) {
                    prop_assert_eq!(claim.wait.is_none(), room);
                }
            }
        }

        /// The promise: in any span of time, at most burst + rate × time.
        #[test]
        fn never_more_than_burst_and_rate(
            requests in 1..2000_u64,
            burst in 1..50_u64,
            steps in prop::collection::vec(0..3_000_000_u64, 1..500),
        ) {
            let quota = Quota::new(requests, 1000 * MS, burst);
            let bucket = Bucket::default();
            let (mut now, mut passed) = (0, Vec::new());
            for step in steps {
                now += step;
                passed.extend(bucket.take(quota, 1, Nanos::new(now)).is_ok().then_some(now));
            }
            for (index, first) in passed.iter().enumerate() {
                for (further, last) in passed[index..].iter().enumerate() {
                    let allowed = u128::from(burst) + u128::from(last - first) * u128::from(requests) / u128::from(1000 * MS);
                    prop_assert!((further as u128) < allowed + 1);
                }
            }
        }
    }

    #[test]
    fn a_refused_request_takes_nothing_and_leaves_nothing() {
        let table = Buckets::new(1000);
        let empty = Bucket::default();
        let narrow = Quota::new(1, 1000 * MS, 1);
        let wide = Quota::new(1000, 1000 * MS, 10);
        let claims = || [Claim::new(Place::Keyed(key(1)), wide), Claim::new(Place::Fixed(&empty), narrow)];
        assert!(admit(&table, &mut claims(), Nanos::ZERO));
        for _ in 0..100 {
            let mut again = claims();
            assert!(!admit(&table, &mut again, Nanos::ZERO));
            assert_eq!(wide.remaining(again[0].debt), 8, "what one more would leave");
        }
        let mut other = [Claim::new(Place::Keyed(key(2)), wide), Claim::new(Place::Fixed(&empty), narrow)];
        assert!(!admit(&table, &mut other, Nanos::ZERO));
        assert_eq!(table.count(), 1, "somebody who was refused has no bucket");
    }

    #[test]
    fn a_limit_without_a_say_takes_only_what_passes() {
        let table = Buckets::new(1000);
        let (watched, real) = (Bucket::default(), Bucket::default());
        let quota = |burst| Quota::new(1, 1000 * MS, burst);
        let ask = || {
            let shadow = Claim { is_enforced: false, ..Claim::new(Place::Fixed(&watched), quota(2)) };
            let mut claims = [shadow, Claim::new(Place::Fixed(&real), quota(3))];
            let passes = admit(&table, &mut claims, Nanos::ZERO);
            (passes, claims[0].wait.is_some())
        };
        assert_eq!([ask(), ask(), ask(), ask()], [(true, false), (true, false), (true, true), (false, true)]);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let table = Buckets::new(1000);
        let quota = Quota::new(1, 1000 * MS, 1);
        let mut claims = [Claim::new(Place::Keyed(key(7)), quota)];
        assert!(admit(&table, &mut claims, Nanos::ZERO));
        give_back(&table, &claims, Nanos::ZERO);
        assert!(admit(&table, &mut claims, Nanos::ZERO) && !admit(&table, &mut claims, Nanos::ZERO));
        // What was not taken is not given back.
        give_back(&table, &claims, Nanos::ZERO);
        assert!(!admit(&table, &mut claims, Nanos::ZERO));
    }

    #[test]
    fn cores_together_get_what_one_would() {
        let table = Buckets::new(1000);
        let bucket = Bucket::default();
        let (one, two) = (Quota::new(1, 3_600_000 * MS, 500), Quota::new(1, 3_600_000 * MS, 300));
        let passed: usize = std::thread::scope(|scope| {
            let run = || {
                let ask = |_: &i32| {
                    let mut claims = [Claim::new(Place::Keyed(key(1)), one), Claim::new(Place::Fixed(&bucket), two)];
                    admit(&table, &mut claims, Nanos::ZERO)
                };
                (0..1000).filter(ask).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 300);
        let left = table.with(key(1), Nanos::ZERO, |bucket| one.remaining(bucket.peek(one, 0, Nanos::ZERO).unwrap()));
        assert_eq!(left, 200, "what the other refused was given back");
    }
}
