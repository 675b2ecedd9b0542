//! What must hold when many threads ask at once. None of it depends on who is quicker.
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use tidegate_resilience::{
    Admission, Breaker, BreakerSettings, Budget, BudgetSettings, Bulkhead, Counts, EndpointRecord, Nanos, Outcome,
    OutlierSettings, Outliers, Permit, Ratio, Transition, Window,
};

const THREADS: u32 = 4;

/// Runs `work` in all threads, which begin together.
fn together<R: Send>(work: impl Fn(u32) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(THREADS as usize);
    let (work, barrier) = (&work, &barrier);
    std::thread::scope(|scope| {
        let begin = |thread| {
            scope.spawn(move || {
                barrier.wait();
                work(thread)
            })
        };
        let running: Vec<_> = (0..THREADS).map(begin).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn seconds(seconds: u64) -> Nanos {
    Nanos::after_start(Duration::from_secs(seconds))
}

#[test]
fn a_window_loses_nothing_and_counts_nothing_twice() {
    let window = Window::new(Duration::from_secs(10));
    // The buckets of an earlier turn are emptied by whoever comes first.
    (0..10).for_each(|second| window.record(seconds(second), Outcome::Failure));
    together(|thread| {
        for number in 0..20_000_u64 {
            let outcome = if thread == 0 { Outcome::Failure } else { Outcome::Success };
            window.record(seconds(10 + number % 10), outcome);
        }
    });
    assert_eq!(window.counts(seconds(19)), Counts { successes: 60_000, failures: 20_000 });
}

#[test]
fn a_budget_gives_out_what_it_has_and_no_more() {
    for round in 0..50 {
        let budget = Budget::new(BudgetSettings { ratio: Ratio::new(0.5), min_per_second: 1 });
        let now = seconds(round);
        (0..100).for_each(|_| budget.request(now));
        let taken = together(|_| (0..50).filter(|_| budget.try_take(now)).count());
        assert_eq!(taken.iter().sum::<usize>(), 60, "{taken:?}");
    }
}

#[test]
fn a_bulkhead_is_never_too_full_and_empty_in_the_end() {
    let bulkhead = Bulkhead::new(3, 2);
    let inside = AtomicU32::new(0);
    let entered = together(|_| {
        let mut entered = 0_u32;
        for _ in 0..20_000 {
            let Ok(_entry) = Bulkhead::try_enter(&bulkhead) else { continue };
            entered += 1;
            assert!(inside.fetch_add(1, SeqCst) < 3);
            inside.fetch_sub(1, SeqCst);
        }
        entered
    });
    assert!(entered.iter().sum::<u32>() > 0);
    assert_eq!((bulkhead.inside(), bulkhead.pending()), (0, 0));
}

/// Who waits sleeps only if nobody can have missed it: that is the order which the module prescribes.
#[test]
fn whoever_leaves_sees_those_who_wait() {
    let bulkhead = Arc::new(Bulkhead::new(1, THREADS));
    let (bell, woken) = (parking_lot::Condvar::new(), parking_lot::Mutex::new(0_u64));
    together(|_| {
        for _ in 0..5_000 {
            let entry = match Bulkhead::try_enter(&*bulkhead) {
                Ok(entry) => entry,
                Err(_) => {
                    let wait = Bulkhead::try_wait(&*bulkhead).unwrap();
                    let mut count = woken.lock();
                    let entry = loop {
                        if let Ok(entry) = Bulkhead::try_enter(&*bulkhead) {
                            break entry;
                        }
                        bell.wait(&mut count);
                    };
                    drop(wait);
                    entry
                }
            };
            drop(entry);
            if bulkhead.is_waited_for() {
                *woken.lock() += 1;
                bell.notify_one();
            }
        }
    });
    assert_eq!((bulkhead.inside(), bulkhead.pending()), (0, 0));
}

fn admit(breaker: &Arc<Breaker>, now: Nanos) -> Option<Permit> {
    match breaker.admit(now) {
        Admission::Admit(permit) | Admission::Probe { permit, .. } => Some(permit),
        Admission::Refused { .. } => None,
    }
}

#[test]
fn a_breaker_changes_once_however_many_see_the_reason() {
    for round in 0..200 {
        let settings = BreakerSettings { consecutive_failures: Some(2), probes: 2, ..BreakerSettings::default() };
        let breaker = Arc::new(Breaker::new(settings));
        let opened = together(|_| {
            let mut opened = 0;
            for _ in 0..20 {
                let Some(permit) = admit(&breaker, seconds(0)) else { continue };
                opened += usize::from(breaker.record(permit, Outcome::Failure, seconds(0), round).is_some());
            }
            opened
        });
        assert_eq!(opened.iter().sum::<usize>(), 1);

        let probes = together(|_| {
            let (mut permits, mut changes) = (Vec::new(), 0);
            for _ in 0..5 {
                let admission = breaker.admit(seconds(10));
                changes += usize::from(admission.transition() == Some(Transition::HalfOpened));
                if let Admission::Probe { permit, .. } = admission {
                    permits.push(permit);
                }
            }
            (permits, changes)
        });
        assert_eq!(probes.iter().map(|(_, changes)| changes).sum::<usize>(), 1);
        let mut permits: Vec<Permit> = probes.into_iter().flat_map(|(permits, _)| permits).collect();
        assert_eq!(permits.len(), 2);
        assert_eq!(breaker.record(permits.pop().unwrap(), Outcome::Success, seconds(10), 0), None);
        let change = breaker.record(permits.pop().unwrap(), Outcome::Success, seconds(10), 0);
        assert_eq!(change, Some(Transition::Closed));
    }
}

/// Probes come and go in all threads; there are never more than two, and no place is lost.
#[test]
fn probes_that_are_dropped_leave_their_places() {
    let settings = BreakerSettings { consecutive_failures: Some(1), probes: 2, ..BreakerSettings::default() };
    let breaker = Arc::new(Breaker::new(settings));
    let permit = admit(&breaker, seconds(0)).unwrap();
    breaker.record(permit, Outcome::Failure, seconds(0), 0);
    let out = AtomicU32::new(0);
    together(|_| {
        for _ in 0..5_000 {
            let Some(probe) = admit(&breaker, seconds(10)) else { continue };
            assert!(out.fetch_add(1, SeqCst) < 2);
            out.fetch_sub(1, SeqCst);
            drop(probe);
        }
    });
    let (_first, _second) = (admit(&breaker, seconds(10)).unwrap(), admit(&breaker, seconds(10)).unwrap());
    assert!(admit(&breaker, seconds(10)).is_none());
}

#[test]
fn no_more_endpoints_are_ejected_than_allowed_however_many_fail_at_once() {
    for _ in 0..200 {
        let outliers = Outliers::new(OutlierSettings { consecutive_errors: 3, ..OutlierSettings::default() });
        let records: Vec<EndpointRecord> = (0..THREADS).map(|_| EndpointRecord::default()).collect();
        let ejected = together(|thread| {
            let own = &records[thread as usize];
            // Others have every chance to come between the count and what is made of it.
            let all = || records.iter().inspect(|_| std::thread::yield_now());
            (0..30).filter_map(|_| outliers.record(own, all(), Outcome::Failure, seconds(1))).count()
        });
        assert_eq!(ejected.iter().sum::<usize>(), 2, "half of four");
        assert_eq!(records.iter().filter(|record| record.is_ejected(seconds(1))).count(), 2);
    }
}
