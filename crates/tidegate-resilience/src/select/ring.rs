//! Consistent hashing: a ring of points, a number of them for each endpoint, and each key belongs to the next point.
//!
//! Where the points of an endpoint lie depends on its identity alone. So an endpoint that comes takes keys only for
//! itself, and one that goes leaves only its own; Maglev's table would be faster by one search and move a few more.
//!
//! Source: Karger and others, "Consistent Hashing and Random Trees", 1997; ketama.

use super::{Member, stable_hash};
use crate::random::{GOLDEN, mix};

/// Points for each unit of weight: the keys of equal endpoints differ by 6 % or so.
const POINTS: u64 = 256;

/// Points in all, 8 bytes each. If that is too few, all endpoints get half as many, and so on; only where that
/// begins, more keys move than must.
const MAX_POINTS: u64 = 1 << 16;

/// Points that are looked at from a key on. With half of the endpoints away, one key in 2^64 sees no other.
const LOOKED_AT: usize = 64;

/// The lower bits of a point that hold the place of its endpoint.
const PLACE: u64 = 0xffff;

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    /// Sorted: a position in the upper bits, the place of the endpoint in the lower ones.
    points: Box<[u64]>,
    /// Hashes of all identities, by place.
    identities: Box<[u64]>,
}

impl Ring {
    pub(super) fn new(members: &[Member<'_>]) -> Self {
        let identities: Box<[u64]> = members.iter().map(|member| stable_hash(member.identity)).collect();
        let count = |halvings: u32, weight: u32| {
            let points = (u64::from(weight) * POINTS) >> halvings;
            if weight > 0 { points.max(1) } else { 0 }
        };
        let total = |halvings: &u32| members.iter().map(|member| count(*halvings, member.weight)).sum::<u64>();
        // Forty bits are all that a weight times its points has.
        let halvings = (0..40).find(|halvings| total(halvings) <= MAX_POINTS).unwrap_or(40);
        let points_of = |((place, member), identity): ((u64, &Member<'_>), &u64)| {
            let identity = *identity;
            let point = move |number: u64| mix(identity.wrapping_add(number.wrapping_mul(GOLDEN))) & !PLACE | place;
            (0..count(halvings, member.weight)).map(point)
        };
        let mut points: Vec<u64> = (0..=PLACE).zip(members).zip(&identities).flat_map(points_of).collect();
        points.sort_unstable();
        Self { points: points.into(), identities }
    }

    /// The places of the endpoints of the next points from a key on, as often as they have one there.
    pub(super) fn from(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let start = self.points.partition_point(|point| *point < key & !PLACE);
        let (before, behind) = self.points.split_at(start);
        let points = behind.iter().chain(before).take(LOOKED_AT);
        points.filter_map(|point| usize::try_from(point & PLACE).ok())
    }

    /// The hash of the identity of an endpoint.
    pub(super) fn identity(&self, place: usize) -> u64 {
        self.identities.get(place).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_has_a_bound_and_a_point_for_everybody() {
        for weights in [vec![1; 3], vec![100; 300], vec![u32::MAX, 1, 0], vec![1; 1 << 16], vec![u32::MAX; 1 << 16]] {
            let names: Vec<String> = (0..weights.len()).map(|number| number.to_string()).collect();
            let members: Vec<Member<'_>> = (weights.iter().zip(&names))
                .map(|(weight, name)| Member { weight: *weight, identity: name.as_bytes() })
                .collect();
            let ring = Ring::new(&members);
            assert!(ring.points.len() <= 1 << 16 && ring.points.is_sorted());
            let mut has_points = vec![false; weights.len()];
            ring.points.iter().for_each(|point| has_points[usize::try_from(point & PLACE).unwrap()] = true);
            assert!(weights.iter().zip(has_points).all(|(weight, has)| has == (*weight > 0)));
        }
    }
}
