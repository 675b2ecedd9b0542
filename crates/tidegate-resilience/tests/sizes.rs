//! What a request costs in heap allocations, and how large things are. Counts and bytes, never times.

use std::sync::Arc;
use std::time::Duration;

use tidegate_resilience::{
    Admission, Balancer, BalancerSettings, Breaker, BreakerSettings, Bucket, Buckets, Budget, BudgetSettings, Bulkhead,
    Candidate, Claim, EndpointRecord, Health, KeyHash, Member, Nanos, Outcome, OutlierSettings, Outliers, PeakEwma,
    Permit, Place, Policy, Query, Quota, Share, SlowStart, Tried, admit,
};

/// An endpoint as the gateway would have it.
struct Endpoint {
    record: EndpointRecord,
    ewma: PeakEwma,
}

const SLOW_START: SlowStart = SlowStart { window: Duration::from_secs(10) };

impl Candidate for Endpoint {
    fn is_healthy(&self, now: Nanos) -> bool {
        !self.record.is_ejected(now)
    }

    fn in_flight(&self) -> u32 {
        0
    }

    fn cost(&self, now: Nanos) -> u64 {
        self.ewma.cost(0, now)
    }

    fn share(&self, now: Nanos) -> Share {
        self.record.back_since(now).map_or(Share::WHOLE, |since| SLOW_START.share(since, now))
    }
}

fn endpoints(count: usize) -> Vec<Endpoint> {
    let new = |_| Endpoint { record: EndpointRecord::default(), ewma: PeakEwma::new(Duration::from_secs(10)) };
    (0..count).map(new).collect()
}

fn admitted(breaker: &Arc<Breaker>, now: Nanos) -> Permit {
    let Admission::Admit(permit) = breaker.admit(now) else { panic!("not closed") };
    permit
}

#[test]
fn a_request_allocates_nothing() {
    let settings = BreakerSettings { consecutive_failures: Some(5), ..BreakerSettings::default() };
    let breaker = Arc::new(Breaker::new(settings));
    let (budget, bulkhead) = (Budget::new(BudgetSettings::default()), Bulkhead::new(2000, 1024));
    let outliers = Outliers::new(OutlierSettings::default());
    let endpoints = endpoints(10);
    let counted = allocation_counter::measure(|| {
        for number in 0..1000_u64 {
            let now = Nanos::new(number * 50_000_000);
            let _entry = Bulkhead::try_enter(&bulkhead).unwrap();
            let permit = admitted(&breaker, now);
            budget.request(now);
            // A failure now and then, but never enough of them.
            let outcome = if number % 4 == 0 { Outcome::Failure } else { Outcome::Success };
            assert_eq!(breaker.record(permit, outcome, now, number), None);
            let all = endpoints.iter().map(|endpoint| &endpoint.record);
            assert_eq!(outliers.record(&endpoints[0].record, all, outcome, now), None);
            endpoints[0].ewma.observe(Duration::from_millis(number), now);
            let _ = budget.try_take(now);
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn an_open_breaker_and_its_probes_allocate_nothing() {
    let settings = BreakerSettings { consecutive_failures: Some(1), ..BreakerSettings::default() };
    let breaker = Arc::new(Breaker::new(settings));
    let counted = allocation_counter::measure(|| {
        let permit = admitted(&breaker, Nanos::ZERO);
        assert!(breaker.record(permit, Outcome::Failure, Nanos::ZERO, 0).is_some());
        assert!(matches!(breaker.admit(Nanos::ZERO), Admission::Refused { .. }));
        let later = Nanos::after_start(Duration::from_secs(10));
        let Admission::Probe { permit, .. } = breaker.admit(later) else { panic!("no probe") };
        breaker.record(permit, Outcome::Success, later, 0);
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_choice_allocates_nothing() {
    let endpoints = endpoints(100);
    let outliers = Outliers::new(OutlierSettings { consecutive_errors: 1, ..OutlierSettings::default() });
    for sick in [0, 60] {
        for endpoint in &endpoints[..sick] {
            let all = endpoints.iter().map(|endpoint| &endpoint.record);
            outliers.record(&endpoint.record, all, Outcome::Failure, Nanos::ZERO);
        }
        for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma, Policy::Random, Policy::RingHash] {
            let members: Vec<Member<'_>> = (1..=100).map(|weight| Member { weight, identity: b"endpoint" }).collect();
            let settings = BalancerSettings { policy, panic_below_percent: 0 };
            let balancer = Balancer::new(settings, &members).unwrap();
            let mut tried = Tried::default();
            let counted = allocation_counter::measure(|| {
                for random in 0..100_u64 {
                    let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let query = Query { key: Some(random), tried: &tried, now: Nanos::new(1), random };
                    let chosen = balancer.pick(&endpoints, &query).unwrap();
                    tried.push(chosen);
                }
            });
            assert_eq!(counted.count_total, 0, "{policy:?}, {sick} away");
        }
    }
}

/// A permit rides in every request, the records in every endpoint.
#[test]
fn what_there_are_many_of_is_small() {
    assert!(size_of::<Permit>() <= 16, "{}", size_of::<Permit>());
    assert!(size_of::<EndpointRecord>() <= 16, "{}", size_of::<EndpointRecord>());
    assert!(size_of::<PeakEwma>() <= 16, "{}", size_of::<PeakEwma>());
    assert!(size_of::<Health>() <= 16, "{}", size_of::<Health>());
    assert!(size_of::<Tried>() <= 72, "{}", size_of::<Tried>());
    assert!(size_of::<Bucket>() <= 8, "{}", size_of::<Bucket>());
    assert!(size_of::<Breaker>() <= 320, "{}", size_of::<Breaker>());
}

/// A key as the gateway would make it.
fn key(number: u64) -> KeyHash {
    KeyHash::new([
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        number.wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31),
    ])
}

#[test]
fn a_known_key_costs_no_allocation_whatever_its_limits_say() {
    let (table, all) = (Buckets::new(1_000_000), Bucket::default());
    let quota = Quota::new(1000, 1_000_000_000, 10);
    let ask = |number: u64, now: u64| {
        let mut claims = [Claim::new(Place::Keyed(key(number)), quota), Claim::new(Place::Fixed(&all), quota)];
        admit(&table, &mut claims, Nanos::new(now))
    };
    (0..100).for_each(|number| assert!(ask(number, number * 1_000_000_000)));
    let counted = allocation_counter::measure(|| {
        let passed = (0..10_000_u64).filter(|turn| ask(turn % 100, 100_000_000_000 + turn * 1_000)).count();
        assert!(passed > 10 && passed < 100, "{passed}");
    });
    assert_eq!(counted.count_total, 0);
}

/// The promise is 200 MB.
#[test]
fn a_million_keys_take_less_than_64_mb() {
    let counted = allocation_counter::measure(|| {
        let table = Buckets::new(1_000_000);
        let quota = Quota::new(1, 3_600_000_000_000, 10);
        for number in 0..1_000_000 {
            let taken = table.with(key(number), Nanos::ZERO, |bucket| bucket.take(quota, 1, Nanos::ZERO));
            assert!(taken.is_ok());
        }
        assert_eq!(table.count(), 1_000_000);
        std::mem::forget(table);
    });
    println!("{} bytes now, {} at most", counted.bytes_current, counted.bytes_max);
    assert!(counted.bytes_max < 64 << 20, "{}", counted.bytes_max);
}
