//! Which of the services that share a route gets a request.

use crate::ids::WorkerId;
use crate::turns::{CIRCLE, Turns};

/// The rows of a route that several services share.
#[derive(Debug)]
pub struct Split {
    /// Where the part of a row ends on the circle, rising, and the row. Rows without a part are not here.
    parts: Box<[(u64, usize)]>,
    turns: Turns,
}

impl Split {
    /// Of rows with their weights, for this many workers.
    #[must_use]
    pub fn new(rows: &[(usize, u32)], workers: usize) -> Self {
        let total: u64 = rows.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut sum = 0_u64;
        let ends = rows.iter().filter(|(_, weight)| *weight > 0).map(|(row, weight)| {
            sum = sum.saturating_add(u64::from(*weight));
            ((sum * CIRCLE).checked_div(total).unwrap_or(CIRCLE), *row)
        });
        Self { parts: ends.collect(), turns: Turns::new(workers) }
    }

    /// The row of the next request. Takes no lock, allocates nothing.
    #[must_use]
    pub fn next(&self, worker: WorkerId) -> usize {
        self.row(self.turns.next(worker))
    }

    /// The first row that gets requests.
    #[must_use]
    pub fn first(&self) -> usize {
        self.row(0)
    }

    fn row(&self, place: u64) -> usize {
        let part = self.parts.iter().find(|(end, _)| place < *end).or(self.parts.last());
        part.map_or(0, |(_, row)| *row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the first `turns` requests each row gets.
    fn counted(rows: &[(usize, u32)], turns: u32) -> Vec<u32> {
        let split = Split::new(rows, 1);
        let mut counts = vec![0; rows.len()];
        for _ in 0..turns {
            let row = split.next(WorkerId::new(0));
            counts[rows.iter().position(|(known, _)| *known == row).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn parts_are_right_for_few_requests_in_a_row_and_for_many() {
        assert_eq!(counted(&[(4, 90), (5, 10)], 100), [90, 10]);
        assert_eq!(counted(&[(4, 1), (5, 1)], 10), [5, 5]);
        for (weights, turns) in [(vec![90, 10], 1_000), (vec![1, 2, 3], 600), (vec![999, 1], 10_000), (vec![7], 9)] {
            let rows: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
            let total: u32 = weights.iter().sum();
            for (count, weight) in counted(&rows, turns).into_iter().zip(weights) {
                let wanted = turns * weight / total;
                assert!(count.abs_diff(wanted) <= 2, "{count} of {turns} instead of {wanted}");
            }
        }
    }

    #[test]
    fn a_weight_of_nothing_gets_nothing_and_sums_may_be_large() {
        assert_eq!(counted(&[(0, 0), (1, 3), (2, 0)], 1_000), [0, 1_000, 0]);
        let most: Vec<(usize, u32)> = (0..32).map(|row| (row, 1_000_000)).collect();
        assert!(counted(&most, 3_200).iter().all(|count| count.abs_diff(100) <= 4));
    }

    #[test]
    fn the_same_requests_come_to_the_same_services() {
        let split = || Split::new(&[(1, 3), (2, 2)], 2);
        let (one, other) = (split(), split());
        let turns = |split: &Split, worker| (0..50).map(|_| split.next(WorkerId::new(worker))).collect::<Vec<_>>();
        assert_eq!(turns(&one, 0), turns(&other, 1), "workers count for themselves");
        assert_eq!(one.first(), 1);
    }
}
