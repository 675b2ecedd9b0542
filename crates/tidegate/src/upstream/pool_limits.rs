//! What the workers may have of the connections that a service allows to each endpoint.

use crate::ids::WorkerId;

/// How many connections a worker may have to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolLimits {
    /// Made as requests come, and then kept.
    pub(super) min: usize,
    pub(super) max: usize,
}

impl PoolLimits {
    /// The share of `worker` in `(min, max)`, which are for `workers` together. At least one of each, and no more for a
    /// thread that is not among them.
    pub(super) fn deal_out((min, max): (u32, u32), worker: WorkerId, workers: usize) -> Self {
        if worker.index() >= workers {
            return Self { min: 1, max: 1 };
        }
        let share = |all: u32| {
            let (all, workers) = (usize::try_from(all).unwrap_or(usize::MAX), workers.max(1));
            let extra = usize::from(worker.index() < all % workers);
            (all / workers).saturating_add(extra).max(1)
        };
        let max = share(max);
        Self { min: share(min).min(max), max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_dealt_out_to_the_workers() {
        type Case = ((u32, u32), usize, &'static [(usize, usize)]);
        let cases: &[Case] = &[
            ((1, 4), 1, &[(1, 4), (1, 1)]),
            ((1, 4), 2, &[(1, 2), (1, 2), (1, 1)]),
            ((5, 20), 3, &[(2, 7), (2, 7), (1, 6)]),
            ((1, 2), 4, &[(1, 1), (1, 1), (1, 1), (1, 1)]),
        ];
        for (all, workers, expected) in cases {
            for (index, (min, max)) in (0..).zip(*expected) {
                let limits = PoolLimits::deal_out(*all, WorkerId::new(index), *workers);
                assert_eq!(limits, PoolLimits { min: *min, max: *max }, "{all:?} {workers} {index}");
            }
        }
    }
}
