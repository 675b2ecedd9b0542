//! The numbers of a route, a service or the whole process in brief, for people who look at them now.

use std::time::Duration;

use super::histogram::Histogram;
use super::registry::Metrics;
use super::route::{Cells, RouteSeries};
use super::table::{Bounds, DURATIONS, OVERHEADS};

/// Since the start of the process, or since the route came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests that have ended.
    pub requests: u64,
    /// Of them with a status from 400 to 499.
    pub client_errors: u64,
    /// Of them with a status from 500 on.
    pub server_errors: u64,
    /// Bodies of requests.
    pub bytes_in: u64,
    /// Bodies of answers.
    pub bytes_out: u64,
    /// From head to end.
    pub duration: Quantiles,
    /// Spent in the gateway before a backend was asked.
    pub overhead: Quantiles,
}

/// Upper bounds of the buckets that the quantiles fall into; `None` without events, or above the last bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of the events took no longer.
    pub p50: Option<Duration>,
    /// 95 of 100.
    pub p95: Option<Duration>,
    /// 99 of 100.
    pub p99: Option<Duration>,
}

impl RouteSeries {
    /// In brief.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(&self.sum())
    }
}

impl Metrics {
    /// All routes together, and what no route matched.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut sum = self.unrouted().sum();
        self.routes.all().iter().for_each(|route| sum.add(&route.sum()));
        Totals::of(&sum)
    }

    /// Requests that are being answered.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.listeners.all().iter().map(|listener| listener.requests()).sum()
    }
}

impl Totals {
    fn of(cells: &Cells) -> Self {
        let count = |admits: fn(u16) -> bool| {
            cells.outcomes.iter().filter(|(outcome, _)| admits(outcome.status)).map(|(_, count)| count).sum()
        };
        let mut durations = Histogram::<14>::default();
        cells.durations.iter().for_each(|(_, histogram)| durations.add(histogram));
        let [overhead, _] = &cells.overheads;
        let (bytes_in, bytes_out) = cells.bytes.unwrap_or_default();
        Self {
            requests: count(|_| true),
            client_errors: count(|status| (400..500).contains(&status)),
            server_errors: count(|status| status >= 500),
            bytes_in,
            bytes_out,
            duration: quantiles(&durations, DURATIONS),
            overhead: overhead.as_ref().map(|overhead| quantiles(overhead, OVERHEADS)).unwrap_or_default(),
        }
    }
}

fn quantiles<const N: usize>(histogram: &Histogram<N>, bounds: &Bounds) -> Quantiles {
    let view = histogram.view();
    let total = view.counts.iter().sum::<u64>().saturating_add(view.above);
    let quantile = |percent: u64| {
        let rank = total.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        let mut buckets = view.counts.iter().zip(bounds);
        let found = buckets.find(|(count, _)| {
            seen = seen.saturating_add(**count);
            seen >= rank
        });
        found.map(|(_, bound)| Duration::from_nanos(*bound))
    };
    Quantiles { p50: quantile(50), p95: quantile(95), p99: quantile(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let bounds: &Bounds = &[10, 100, 1_000];
        let mut histogram = Histogram::<3>::default();
        assert_eq!(quantiles(&histogram, bounds), Quantiles::default());
        for _ in 0..96 {
            histogram.observe(bounds, Duration::from_nanos(5), None);
        }
        for _ in 0..3 {
            histogram.observe(bounds, Duration::from_nanos(500), None);
        }
        histogram.observe(bounds, Duration::from_nanos(5_000), None);
        let nanos = |n| Some(Duration::from_nanos(n));
        assert_eq!(quantiles(&histogram, bounds), Quantiles { p50: nanos(10), p95: nanos(10), p99: nanos(1_000) });
    }
}
