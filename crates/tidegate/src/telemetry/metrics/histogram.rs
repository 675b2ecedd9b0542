//! Durations counted in buckets, with the last sampled request of each bucket as its example.

use std::time::Duration;

use super::table::Bounds;

/// A request that was traced, as an example of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// As in `traceparent`.
    pub trace_id: [u8; 16],
    /// When it ended.
    pub unix_ms: u64,
}

/// An exemplar with the duration that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) exemplar: Exemplar,
    pub(super) nanos: u64,
}

/// Nanoseconds, at most 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The cells of one histogram with `N` bounds, which the caller names at each event. Not shared between threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Histogram<const N: usize> {
    /// Events in each bucket, not in those below.
    counts: [u64; N],
    /// Events above the last bound.
    above: u64,
    sum_nanos: u64,
    /// One place for each bucket and one for `above`; empty until the first.
    exemplars: Vec<Option<Kept>>,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { counts: [0; N], above: 0, sum_nanos: 0, exemplars: Vec::new() }
    }
}

impl<const N: usize> Histogram<N> {
    /// Lines of the page: the buckets, the one without bound, the sum and the count.
    pub(super) const SERIES: usize = N + 3;

    /// Counts one event. `bounds` are the `N` of the family, always the same.
    pub(super) fn observe(&mut self, bounds: &Bounds, duration: Duration, exemplar: Option<Exemplar>) {
        let nanos = nanos(duration);
        // No search by halves: a dozen comparisons without branches are faster.
        let bucket = bounds.iter().take(N).filter(|bound| nanos > **bound).count();
        let count = self.counts.get_mut(bucket).unwrap_or(&mut self.above);
        *count += 1;
        self.sum_nanos = self.sum_nanos.saturating_add(nanos);
        if let Some(exemplar) = exemplar {
            self.keep(bucket, Kept { exemplar, nanos });
        }
    }

    fn keep(&mut self, bucket: usize, kept: Kept) {
        if self.exemplars.is_empty() {
            self.exemplars = vec![None; N + 1];
        }
        if let Some(place) = self.exemplars.get_mut(bucket)
            && place.is_none_or(|before| before.exemplar.unix_ms <= kept.exemplar.unix_ms)
        {
            *place = Some(kept);
        }
    }

    /// Adds what another worker has counted.
    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.above += other.above;
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
        for (bucket, kept) in other.exemplars.iter().enumerate() {
            if let Some(kept) = kept {
                self.keep(bucket, *kept);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.above == 0 && self.counts.iter().all(|count| *count == 0)
    }

    pub(super) fn view(&self) -> View<'_> {
        View { counts: &self.counts, above: self.above, sum_nanos: self.sum_nanos, exemplars: &self.exemplars }
    }
}

/// A histogram as the page needs it, without its length in the type.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) counts: &'a [u64],
    pub(super) above: u64,
    pub(super) sum_nanos: u64,
    /// Empty, or one more than counts.
    pub(super) exemplars: &'a [Option<Kept>],
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &Bounds = &[10, 100];

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::<2>::default();
        assert!(histogram.is_empty());
        for nanos in [0, 10, 11, 100, 101, 1_000] {
            histogram.observe(BOUNDS, Duration::from_nanos(nanos), None);
        }
        assert_eq!((histogram.counts, histogram.above, histogram.sum_nanos), ([2, 2], 2, 1_222));
        assert!(histogram.exemplars.is_empty(), "nothing is allocated for requests that are not traced");
    }

    #[test]
    fn the_last_exemplar_of_a_bucket_is_kept_over_all_workers() {
        let exemplar = |id, unix_ms| Some(Exemplar { trace_id: [id; 16], unix_ms });
        let (mut one, mut two) = (Histogram::<2>::default(), Histogram::<2>::default());
        one.observe(BOUNDS, Duration::from_nanos(5), exemplar(1, 10));
        one.observe(BOUNDS, Duration::from_nanos(500), exemplar(2, 11));
        two.observe(BOUNDS, Duration::from_nanos(6), exemplar(3, 12));
        two.observe(BOUNDS, Duration::from_nanos(600), exemplar(4, 9));
        one.add(&two);
        let kept: Vec<_> = one.exemplars.iter().map(|kept| kept.map(|kept| kept.exemplar.trace_id[0])).collect();
        assert_eq!(kept, [Some(3), None, Some(2)]);
        assert_eq!((one.counts, one.above), ([2, 0], 2));
    }
}
