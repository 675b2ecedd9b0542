//! Passive ejection: an endpoint that fails again and again gets no requests for a while.
//!
//! Each endpoint has an [`EndpointRecord`], each service the rules ([`Outliers`]). Nothing happens by itself: an
//! ejection is a moment in the future, and an endpoint is back when that has passed. That is also why nobody counts
//! the ejected endpoints of a service: a count would have to be told of each return and of endpoints that disappear.
//! They are looked through when one more is to be ejected, which is rare, under a lock that nobody else takes.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use parking_lot::Mutex;

use crate::nanos::{Nanos, nanoseconds};
use crate::outcome::Outcome;

/// When an endpoint is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierSettings {
    /// Failures without a success between them; 0 counts as 1.
    pub consecutive_errors: u32,
    /// The first time so long, then twice, three times as long…
    pub base_ejection_time: Duration,
    /// …and never longer than this.
    pub max_ejection_time: Duration,
    /// Of all endpoints of the service, rounded down; the last one that is left is never ejected.
    pub max_ejection_percent: u8,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            base_ejection_time: Duration::from_secs(10),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 50,
        }
    }
}

/// An endpoint has been ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejected {
    /// For this long.
    pub ejected_for: Duration,
    /// How often in a row, this time included.
    pub times: u32,
}

/// What is remembered of one endpoint, shared by all cores.
#[derive(Debug, Default)]
pub struct EndpointRecord {
    errors_in_row: AtomicU32,
    /// How often it has been ejected, as of `back_at`. Written under the lock.
    times: AtomicU32,
    /// When the last ejection ends or ended; 0 if there was none. Written under the lock.
    back_at: AtomicU64,
}

/// The rules of one service.
#[derive(Debug)]
pub struct Outliers {
    settings: OutlierSettings,
    ejecting: Mutex<()>,
}

impl EndpointRecord {
    /// Whether it is ejected at `now`. One load.
    #[must_use]
    pub fn is_ejected(&self, now: Nanos) -> bool {
        now.get() < self.back_at.load(Relaxed)
    }

    /// When it came back from its last ejection, for [`SlowStart`](crate::SlowStart); `None` if it never was away or
    /// still is.
    #[must_use]
    pub fn back_since(&self, now: Nanos) -> Option<Nanos> {
        let back_at = self.back_at.load(Relaxed);
        (back_at != 0 && back_at <= now.get()).then_some(Nanos::new(back_at))
    }
}

impl Outliers {
    /// The rules.
    #[must_use]
    pub fn new(settings: OutlierSettings) -> Self {
        let consecutive_errors = settings.consecutive_errors.max(1);
        Self { settings: OutlierSettings { consecutive_errors, ..settings }, ejecting: Mutex::new(()) }
    }

    /// Records what became of an attempt at `endpoint`, and ejects it if that is one failure too many.
    ///
    /// `all` gives the records of all endpoints of the service, `endpoint` among them. A success is one load. A
    /// failure that is not yet one too many is one exchange; `all` is walked and the lock taken only for an ejection,
    /// or for one that the percentage forbids, which is tried again after as many further errors. What is recorded
    /// while an endpoint is away (from before, or because all are used) changes nothing.
    pub fn record<'e>(
        &self,
        endpoint: &EndpointRecord,
        all: impl IntoIterator<Item = &'e EndpointRecord>,
        outcome: Outcome,
        now: Nanos,
    ) -> Option<Ejected> {
        if outcome == Outcome::Success {
            // A store only when there is something to forget, so that the line stays shared between cores.
            if endpoint.errors_in_row.load(Relaxed) != 0 {
                endpoint.errors_in_row.store(0, Relaxed);
            }
            return None;
        }
        if endpoint.is_ejected(now) {
            return None;
        }
        let errors = endpoint.errors_in_row.fetch_add(1, Relaxed).saturating_add(1);
        if errors < self.settings.consecutive_errors {
            return None;
        }
        self.eject(endpoint, all, now)
    }

    #[cold]
    fn eject<'e>(
        &self,
        endpoint: &EndpointRecord,
        all: impl IntoIterator<Item = &'e EndpointRecord>,
        now: Nanos,
    ) -> Option<Ejected> {
        let _ejecting = self.ejecting.lock();
        endpoint.errors_in_row.store(0, Relaxed);
        if endpoint.is_ejected(now) || !self.may_eject_one_more(all, now) {
            return None;
        }
        let times = self.remembered(endpoint, now).saturating_add(1);
        let OutlierSettings { base_ejection_time, max_ejection_time, .. } = self.settings;
        let ejected_for = base_ejection_time.saturating_mul(times).min(max_ejection_time);
        endpoint.times.store(times, Relaxed);
        endpoint.back_at.store(now.after(ejected_for).get(), Relaxed);
        Some(Ejected { ejected_for, times })
    }

    fn may_eject_one_more<'e>(&self, all: impl IntoIterator<Item = &'e EndpointRecord>, now: Nanos) -> bool {
        let (mut count, mut away) = (0_u64, 0_u64);
        for record in all {
            count += 1;
            away += u64::from(record.is_ejected(now));
        }
        let most = count * u64::from(self.settings.max_ejection_percent) / 100;
        away < most.min(count.saturating_sub(1))
    }

    /// How often it was ejected, less one for each base time that it has been well since.
    fn remembered(&self, endpoint: &EndpointRecord, now: Nanos) -> u32 {
        let well_for = nanoseconds(now.since(Nanos::new(endpoint.back_at.load(Relaxed))));
        let forgiven = well_for / nanoseconds(self.settings.base_ejection_time).max(1);
        endpoint.times.load(Relaxed).saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Nanos {
        Nanos::after_start(Duration::from_secs(seconds))
    }

    fn records(count: usize) -> Vec<EndpointRecord> {
        (0..count).map(|_| EndpointRecord::default()).collect()
    }

    /// As many failures as it takes.
    fn fail(outliers: &Outliers, records: &[EndpointRecord], which: usize, now: u64) -> Option<Ejected> {
        let failure = |_| outliers.record(&records[which], records, Outcome::Failure, seconds(now));
        (0..5).filter_map(failure).last()
    }

    #[test]
    fn five_errors_in_a_row_eject_for_longer_each_time_and_patience_comes_back() {
        let (outliers, records) = (Outliers::new(OutlierSettings::default()), records(2));
        let mut now = 0;
        for times in 1..=40_u32 {
            let ejected_for = Duration::from_secs(u64::from(times * 10).min(300));
            assert_eq!(fail(&outliers, &records, 0, now), Some(Ejected { ejected_for, times }));
            assert!(records[0].is_ejected(seconds(now)) && records[0].back_since(seconds(now)).is_none());
            now += ejected_for.as_secs();
            assert!(!records[0].is_ejected(seconds(now)));
            assert_eq!(records[0].back_since(seconds(now)), Some(seconds(now)));
        }
        let ejected = fail(&outliers, &records, 0, now + 385).map(|ejected| ejected.times);
        assert_eq!(ejected, Some(3), "38 of 40 forgiven after 385 s");
    }

    #[test]
    fn a_success_between_errors_begins_the_count_anew() {
        let (outliers, records) = (Outliers::new(OutlierSettings::default()), records(2));
        for round in 0..100 {
            let outcome = if round % 5 == 4 { Outcome::Success } else { Outcome::Failure };
            assert_eq!(outliers.record(&records[0], &records, outcome, seconds(0)), None);
        }
    }

    #[test]
    fn the_percentage_rounds_down_and_the_last_is_never_ejected() {
        for (count, percent, expected) in
            [(1, 100, 0), (2, 50, 1), (2, 49, 0), (3, 50, 1), (3, 100, 2), (4, 50, 2), (5, 0, 0), (9, 255, 8)]
        {
            let settings = OutlierSettings { max_ejection_percent: percent, ..OutlierSettings::default() };
            let (outliers, records) = (Outliers::new(settings), records(count));
            let ejected = (0..count).filter(|which| fail(&outliers, &records, *which, 0).is_some()).count();
            assert_eq!(ejected, expected, "{percent} % of {count}");
        }
    }

    #[test]
    fn an_ejection_that_was_forbidden_is_tried_again_after_as_many_errors() {
        let (outliers, records) = (Outliers::new(OutlierSettings::default()), records(2));
        assert!(fail(&outliers, &records, 0, 0).is_some() && fail(&outliers, &records, 1, 0).is_none());
        let failure = || outliers.record(&records[1], &records, Outcome::Failure, seconds(10));
        assert_eq!((0..4).find_map(|_| failure()), None);
        assert!(failure().is_some(), "the other one is back");
    }

    /// The rules once more, with what is counted written out.
    #[derive(Default, Clone)]
    struct Model {
        errors: u32,
        /// Beginning and end of the last ejection, and how often there was one.
        last: Option<(u64, u64)>,
        times: u32,
    }

    impl Model {
        fn is_away(&self, now: u64) -> bool {
            self.last.is_some_and(|(_, end)| now < end)
        }
    }

    proptest! {
        #[test]
        fn ejection_does_what_the_model_does(
            count in 1..6_usize,
            percent in 0..101_u8,
            steps in prop::collection::vec((0..30_u64, any::<prop::sample::Index>(), 0..4_u8), 1..300),
        ) {
            let settings = OutlierSettings {
                consecutive_errors: 2,
                max_ejection_time: Duration::from_secs(35),
                max_ejection_percent: percent,
                ..OutlierSettings::default()
            };
            let (outliers, records) = (Outliers::new(settings), records(count));
            let mut models = vec![Model::default(); count];
            let mut now = 0;
            for (step, which, what) in steps {
                now += step / 8;
                let which = which.index(count);
                let outcome = if what == 0 { Outcome::Success } else { Outcome::Failure };
                let ejected = outliers.record(&records[which], &records, outcome, seconds(now));

                let away = models.iter().filter(|model| model.is_away(now)).count();
                let model = &mut models[which];
                let mut expected = None;
                if outcome == Outcome::Success {
                    model.errors = 0;
                } else if !model.is_away(now) {
                    model.errors += 1;
                    if model.errors == 2 {
                        model.errors = 0;
                        if (away + 1) * 100 <= count * usize::from(percent) && away + 1 < count {
                            let well = model.last.map_or(now, |(_, end)| now - end);
                            model.times = model.times.saturating_sub(u32::try_from(well / 10).unwrap()) + 1;
                            let time = (10 * u64::from(model.times)).min(35);
                            model.last = Some((now, now + time));
                            expected = Some(Ejected { ejected_for: Duration::from_secs(time), times: model.times });
                        }
                    }
                }
                prop_assert_eq!(ejected, expected);
                for (record, model) in records.iter().zip(&models) {
                    prop_assert_eq!(record.is_ejected(seconds(now)), model.is_away(now));
                }
            }
        }
    }
}
