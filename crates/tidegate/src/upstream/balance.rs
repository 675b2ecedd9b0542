//! Which endpoint gets the next call.
//!
//! Every worker balances its own calls by its own counts: nothing is shared between cores, and the sum of balanced
//! parts is balanced. Two random choices and the less loaded of them come close to the least loaded of all, and leave
//! a stuck endpoint by themselves, because its open calls grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::endpoint::Endpoint;
use crate::ids::WorkerId;

/// How endpoints are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The less loaded of two random ones.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
}

/// A worker's place in the sequence of choices.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU64);

/// Chooses among the endpoints that `tried` does not exclude (bit `i` for endpoint `i`; endpoints from 64 on are
/// never excluded). One that is down is chosen only if all of them are.
pub(super) fn pick<'a>(
    policy: Policy,
    endpoints: &'a [Arc<Endpoint>],
    worker: WorkerId,
    turn: &Turn,
    tried: u64,
) -> Option<(usize, &'a Arc<Endpoint>)> {
    if let [only] = endpoints {
        return (tried & 1 == 0).then_some((0, only));
    }
    let count = endpoints.len();
    let turn = turn.0.fetch_add(1, Ordering::Relaxed);
    let (first, second) = match policy {
        Policy::LeastRequest => two_of(count, scatter(turn)),
        Policy::RoundRobin => {
            let start = usize::try_from(turn % count.max(1) as u64).unwrap_or(0);
            (start, start)
        }
    };
    let endpoint = |index: &usize| endpoints.get(*index);
    let usable = |index: &usize| is_untried(tried, *index) && endpoint(index).is_some_and(|one| !one.is_down(worker));
    let load = |index: &usize| endpoint(index).map(|one| one.in_flight(worker));
    let chosen = [first, second]
        .into_iter()
        .filter(usable)
        .min_by_key(load)
        .or_else(|| from(first, count).find(usable))
        .or_else(|| from(first, count).find(|index| is_untried(tried, *index)))?;
    endpoints.get(chosen).map(|endpoint| (chosen, endpoint))
}

fn is_untried(tried: u64, index: usize) -> bool {
    index >= 64 || tried & (1 << index) == 0
}

/// All indices below `count`, from `first` on and around.
fn from(first: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |step| first.wrapping_add(step) % count.max(1))
}

/// Two different numbers below `count`, which is at least 2.
fn two_of(count: usize, random: u64) -> (usize, usize) {
    let many = u64::try_from(count).unwrap_or(u64::MAX).max(2);
    let first = random % many;
    let second = (first + 1 + (random >> 32) % (many - 1)) % many;
    (usize::try_from(first).unwrap_or(0), usize::try_from(second).unwrap_or(0))
}

/// Spreads consecutive numbers over all of 64 bits. Source: the finaliser of SplitMix64.
fn scatter(turn: u64) -> u64 {
    let mut mixed = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_choices_differ_and_are_even() {
        for count in [2, 3, 7] {
            let mut seen = vec![0_u32; count];
            for turn in 0..7_000 {
                let (first, second) = two_of(count, scatter(turn));
                assert_ne!(first, second);
                seen[first] += 1;
                seen[second] += 1;
            }
            let even = 14_000 / u32::try_from(count).unwrap();
            assert!(seen.iter().all(|hits| hits.abs_diff(even) < even / 10), "{seen:?}");
        }
    }
}
