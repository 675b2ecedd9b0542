//! Round robin: a fixed sequence of turns, and one counter that all cores take their turn from.
//!
//! With weights, the sequence is worked out beforehand: each endpoint's turns lie evenly in it, as with smooth
//! weighted round robin, but a pick needs no lock and does not look at every endpoint.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Member;

/// The length of a sequence. Weights that need a longer one are rounded, none to nothing.
const MAX_TURNS: u64 = 4096;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    next: AtomicUsize,
    sequence: Sequence,
}

#[derive(Debug)]
enum Sequence {
    /// So many, in the order of the list.
    Plain(usize),
    /// Places in the list.
    Weighted(Box<[u16]>),
}

impl Turns {
    pub(super) fn new(members: &[Member<'_>]) -> Self {
        let first = members.first().map_or(1, |member| member.weight);
        let is_even = first > 0 && members.iter().all(|member| member.weight == first);
        let sequence = if is_even { Sequence::Plain(members.len()) } else { Sequence::Weighted(spread(members)) };
        Self { next: AtomicUsize::new(0), sequence }
    }

    /// The next one in turn; `None` if nobody ever has one.
    pub(super) fn next(&self) -> Option<usize> {
        let turn = self.next.fetch_add(1, Relaxed);
        match &self.sequence {
            Sequence::Plain(len) => turn.checked_rem(*len),
            Sequence::Weighted(places) => places.get(turn.checked_rem(places.len())?).copied().map(usize::from),
        }
    }
}

/// Each endpoint as often as its weight says: turn `t` of `w` lies at (`t` + ½) / `w` of the way.
fn spread(members: &[Member<'_>]) -> Box<[u16]> {
    let divisor = members.iter().fold(0, |divisor, member| greatest_common_divisor(divisor, member.weight)).max(1);
    let total: u64 = members.iter().map(|member| u64::from(member.weight / divisor)).sum();
    let count = |weight: u32| {
        let weight = u64::from(weight / divisor);
        if total > MAX_TURNS && weight > 0 { (weight * MAX_TURNS / total).max(1) } else { weight }
    };
    let turns_of = |(place, member): (u16, &Member<'_>)| {
        let count = count(member.weight);
        // At most 4,096 turns: the shift leaves room.
        (0..count).map(move |turn| (((2 * turn + 1) << 32) / (2 * count), place))
    };
    let mut turns: Vec<(u64, u16)> = (0..=u16::MAX).zip(members).flat_map(turns_of).collect();
    turns.sort_unstable();
    turns.into_iter().map(|(_, place)| place).collect()
}

const fn greatest_common_divisor(mut one: u32, mut other: u32) -> u32 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(weights: &[u32]) -> Vec<Member<'static>> {
        weights.iter().map(|weight| Member { weight: *weight, identity: b"" }).collect()
    }

    #[test]
    fn turns_of_heavy_endpoints_lie_apart() {
        assert_eq!(*spread(&members(&[4, 2, 2])), [0, 1, 2, 0]);
        assert_eq!(*spread(&members(&[5, 1])), [0, 0, 0, 1, 0, 0]);
        assert_eq!(*spread(&members(&[10, 0, 20])), [2, 0, 2]);
        assert!(spread(&members(&[0, 0])).is_empty());
    }

    #[test]
    fn long_sequences_are_rounded_and_nobody_is_forgotten() {
        let turns = spread(&members(&[u32::MAX, 1]));
        assert_eq!((turns.len(), turns.iter().filter(|place| **place == 1).count()), (4096, 1));
        let turns = spread(&members(&(1..=10_000).collect::<Vec<u32>>()));
        assert!(turns.len() < 20_000);
    }

    proptest! {
        /// Every beginning of the sequence is as fair as the distance of half a turn for each endpoint allows.
        #[test]
        fn every_endpoint_has_its_turns_and_every_beginning_is_fair(weights in prop::collection::vec(0..60_u32, 1..8)) {
            let sequence = spread(&members(&weights));
            let total: u32 = weights.iter().sum();
            for (place, weight) in (0..).zip(&weights) {
                let mut count = 0.0;
                for (length, turn) in (1..).zip(&*sequence) {
                    count += if *turn == place { 1.0 } else { 0.0 };
                    let part = f64::from(*weight) / f64::from(total);
                    let slack = 0.5 + weights.len() as f64 / 2.0 * part + 1e-6;
                    prop_assert!((count - f64::from(length) * part).abs() <= slack.max(1.0));
                }
                prop_assert!((count / sequence.len().max(1) as f64 - f64::from(*weight) / f64::from(total.max(1))).abs() < 1e-9);
            }
        }
    }
}
