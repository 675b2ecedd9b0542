//! What each request pays: admitting and recording, and choosing an endpoint, by policy and by number of endpoints.
//!
//! Times are for reading beside each other, one run at a time; nothing here is a test.

#![expect(clippy::expect_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use divan::Bencher;
use tidegate_resilience::{
    Admission, Balancer, BalancerSettings, Breaker, BreakerSettings, Budget, BudgetSettings, Bulkhead, Candidate,
    EndpointRecord, Member, Nanos, Outcome, OutlierSettings, Outliers, PeakEwma, Policy, Query, Share, SlowStart,
    Tried, stable_hash,
};

fn main() {
    divan::main();
}

/// A clock that goes on by 10 µs with each request: 100,000 requests a second.
struct Clock(AtomicU64);

impl Clock {
    const fn new() -> Self {
        Self(AtomicU64::new(1 << 40))
    }

    fn now(&self) -> Nanos {
        Nanos::new(self.0.fetch_add(10_000, Relaxed))
    }
}

fn breaker(failure_ratio: bool) -> Arc<Breaker> {
    let mut settings = BreakerSettings { consecutive_failures: Some(5), ..BreakerSettings::default() };
    settings.failure_ratio = settings.failure_ratio.filter(|_| failure_ratio);
    Arc::new(Breaker::new(settings))
}

fn admit_and_record(breaker: &Arc<Breaker>, now: Nanos) {
    if let Admission::Admit(permit) = breaker.admit(now) {
        black_box(breaker.record(permit, Outcome::Success, now, 7).is_some());
    }
}

/// The floor: what the bench itself costs.
#[divan::bench]
fn a_clock_alone(bencher: Bencher<'_, '_>) {
    let clock = Clock::new();
    bencher.bench(|| black_box(clock.now()));
}

#[divan::bench(args = [false, true])]
fn closed_breaker_by_window(bencher: Bencher<'_, '_>, window: bool) {
    let (breaker, clock) = (breaker(window), Clock::new());
    bencher.bench(|| admit_and_record(&breaker, clock.now()));
}

/// Both cores at the same breaker, without pause: the worst there is.
#[divan::bench(threads = 2, args = [false, true])]
fn closed_breaker_two_threads(bencher: Bencher<'_, '_>, window: bool) {
    let breaker = breaker(window);
    bencher.bench(|| admit_and_record(black_box(&breaker), Nanos::new(1 << 40)));
}

#[divan::bench]
fn open_breaker(bencher: Bencher<'_, '_>) {
    let breaker = breaker(false);
    for _ in 0..5 {
        if let Admission::Admit(permit) = breaker.admit(Nanos::ZERO) {
            breaker.record(permit, Outcome::Failure, Nanos::ZERO, 7);
        }
    }
    bencher.bench(|| black_box(matches!(breaker.admit(black_box(Nanos::new(5))), Admission::Refused { .. })));
}

#[divan::bench]
fn bulkhead(bencher: Bencher<'_, '_>) {
    let bulkhead = Bulkhead::new(2000, 1024);
    bencher.bench(|| drop(black_box(Bulkhead::try_enter(&bulkhead))));
}

#[divan::bench]
fn budget_of_a_request(bencher: Bencher<'_, '_>) {
    let (budget, clock) = (Budget::new(BudgetSettings::default()), Clock::new());
    bencher.bench(|| budget.request(clock.now()));
}

#[divan::bench]
fn success_of_an_endpoint(bencher: Bencher<'_, '_>) {
    let (outliers, clock) = (Outliers::new(OutlierSettings::default()), Clock::new());
    let record = EndpointRecord::default();
    bencher.bench(|| black_box(outliers.record(&record, [&record], Outcome::Success, clock.now()).is_some()));
}

#[divan::bench]
fn latency_of_an_endpoint(bencher: Bencher<'_, '_>) {
    let (ewma, clock) = (PeakEwma::new(Duration::from_secs(10)), Clock::new());
    bencher.bench(|| {
        let now = clock.now();
        ewma.observe(Duration::from_nanos(1_000_000 + now.get() % 4096), now);
    });
}

struct Endpoint {
    name: String,
    record: EndpointRecord,
    ewma: PeakEwma,
}

const SLOW_START: SlowStart = SlowStart { window: Duration::from_secs(10) };

impl Candidate for Endpoint {
    fn is_healthy(&self, now: Nanos) -> bool {
        !self.record.is_ejected(now)
    }

    fn in_flight(&self) -> u32 {
        black_box(3)
    }

    fn cost(&self, now: Nanos) -> u64 {
        self.ewma.cost(3, now)
    }

    fn share(&self, now: Nanos) -> Share {
        self.record.back_since(now).map_or(Share::WHOLE, |since| SLOW_START.share(since, now))
    }
}

fn pick(bencher: Bencher<'_, '_>, policy: Policy, count: u32, weight: impl Fn(u32) -> u32, away: u32) {
    let clock = Clock::new();
    let endpoint = |number: u32| {
        let ewma = PeakEwma::new(Duration::from_secs(10));
        ewma.observe(Duration::from_micros(900 + u64::from(number)), clock.now());
        Arc::new(Endpoint { name: format!("10.0.0.{number}:8080"), record: EndpointRecord::default(), ewma })
    };
    let endpoints: Vec<Arc<Endpoint>> = (0..count).map(endpoint).collect();
    let settings =
        OutlierSettings { consecutive_errors: 1, base_ejection_time: Duration::MAX, ..OutlierSettings::default() };
    let outliers = Outliers::new(OutlierSettings { max_ejection_time: Duration::MAX, ..settings });
    for endpoint in endpoints.iter().take(away as usize) {
        let all = endpoints.iter().map(|endpoint| &endpoint.record);
        outliers.record(&endpoint.record, all, Outcome::Failure, clock.now());
    }
    let members: Vec<Member<'_>> = (0..count)
        .zip(&endpoints)
        .map(|(number, endpoint)| Member { weight: weight(number), identity: endpoint.name.as_bytes() })
        .collect();
    let balancer =
        Balancer::new(BalancerSettings { policy, panic_below_percent: 50 }, &members).expect("few endpoints");
    let tried = Tried::default();
    bencher.bench(|| {
        let now = clock.now();
        let random = now.get().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        black_box(balancer.pick(&endpoints, &Query { key: Some(random), tried: &tried, now, random }))
    });
}

const COUNTS: [u32; 3] = [3, 10, 100];

#[divan::bench(args = COUNTS)]
fn pick_round_robin(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, Policy::RoundRobin, count, |_| 1, 0);
}

#[divan::bench(args = COUNTS)]
fn pick_least_request(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, Policy::LeastRequest, count, |_| 1, 0);
}

#[divan::bench(args = COUNTS)]
fn pick_least_request_by_weight(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, Policy::LeastRequest, count, |number| number + 1, 0);
}

#[divan::bench(args = COUNTS)]
fn pick_least_request_a_third_away(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, Policy::LeastRequest, count, |_| 1, count / 3);
}

#[divan::bench(args = COUNTS)]
fn pick_peak_ewma(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, Policy::PeakEwma, count, |_| 1, 0);
}

#[divan::bench(args = COUNTS)]
fn pick_random(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, Policy::Random, count, |_| 1, 0);
}

#[divan::bench(args = COUNTS)]
fn pick_ring_hash(bencher: Bencher<'_, '_>, count: u32) {
    pick(bencher, Policy::RingHash, count, |_| 1, 0);
}

#[divan::bench]
fn hash_of_a_user(bencher: Bencher<'_, '_>) {
    bencher.bench(|| stable_hash(black_box(b"7f1c0a52-3a52-4a5d-9d9e-1d2b8f0c6a11")));
}
