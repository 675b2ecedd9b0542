//! Drawing by weight.

use super::Member;
use crate::random::Bits;

/// The weights of all endpoints.
#[derive(Debug)]
pub(super) enum Weights {
    /// So many, all with the same weight, which is not 0.
    Even { len: usize, weight: u32 },
    /// For each its weight, and the sum of the weights up to and with it.
    Uneven { each: Box<[u32]>, ends: Box<[u64]> },
}

impl Weights {
    pub(super) fn new(members: &[Member<'_>]) -> Self {
        let first = members.first().map_or(1, |member| member.weight);
        if first > 0 && members.iter().all(|member| member.weight == first) {
            return Self::Even { len: members.len(), weight: first };
        }
        let mut end = 0;
        let ends = members.iter().map(|member| {
            end += u64::from(member.weight);
            end
        });
        Self::Uneven { ends: ends.collect(), each: members.iter().map(|member| member.weight).collect() }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Even { len, .. } => *len,
            Self::Uneven { each, .. } => each.len(),
        }
    }

    /// The weight of one; 0 if there is none such.
    pub(super) fn get(&self, index: usize) -> u32 {
        match self {
            Self::Even { len, weight } => {
                if index < *len {
                    *weight
                } else {
                    0
                }
            }
            Self::Uneven { each, .. } => each.get(index).copied().unwrap_or(0),
        }
    }

    /// One by weight; `None` if all weights are 0. `but` is not drawn where that is easy: among equal weights.
    pub(super) fn draw(&self, bits: &mut Bits, but: Option<usize>) -> Option<usize> {
        match self {
            Self::Even { len, .. } => {
                let others = len.checked_sub(usize::from(but.is_some())).filter(|count| *count > 0)?;
                let drawn = usize::try_from(bits.below(u64::try_from(others).ok()?)).ok()?;
                Some(drawn + usize::from(but.is_some_and(|but| drawn >= but)))
            }
            Self::Uneven { ends, .. } => {
                let total = ends.last().copied().filter(|total| *total > 0)?;
                let drawn = bits.below(total);
                Some(ends.partition_point(|end| *end <= drawn))
            }
        }
    }
}
