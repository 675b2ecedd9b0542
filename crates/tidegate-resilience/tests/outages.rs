//! The parts together: a service of three endpoints at 2,000 requests a second in made-up time, and what its clients
//! and backends see when endpoints refuse, hang or come back. Everything is reproducible; nothing waits.
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tidegate_resilience::{
    Backoff, Balancer, BalancerSettings, Budget, BudgetSettings, Candidate, EndpointRecord, Member, Nanos, Outcome,
    OutlierSettings, Outliers, Query, Share, SlowStart, Tried,
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const REQUESTS_PER_SECOND: u64 = 2000;
const SLOW_START: SlowStart = SlowStart { window: Duration::from_secs(10) };

/// How an endpoint takes a request.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Answers after 2 ms.
    Well,
    /// Refuses at once.
    Down,
    /// Says nothing; the attempt ends after 1 s.
    Stuck,
}

#[derive(Default)]
struct Endpoint {
    record: EndpointRecord,
    in_flight: Cell<u32>,
}

impl Candidate for Endpoint {
    fn is_healthy(&self, now: Nanos) -> bool {
        !self.record.is_ejected(now)
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    fn cost(&self, _: Nanos) -> u64 {
        0
    }

    fn share(&self, now: Nanos) -> Share {
        self.record.back_since(now).map_or(Share::WHOLE, |since| SLOW_START.share(since, now))
    }
}

struct Request {
    tried: Tried,
    retries: u32,
}

/// What happens at a moment.
enum Event {
    Attempt(Request),
    End(Request, usize, Outcome),
}

/// What came of it, by second of the end of a request.
#[derive(Default)]
struct Ledger {
    succeeded: Vec<u64>,
    failed: Vec<u64>,
    /// Attempts that reached a backend, by second.
    attempts: Vec<u64>,
}

impl Ledger {
    fn sum(list: &[u64], seconds: std::ops::Range<usize>) -> u64 {
        list.iter().take(seconds.end).skip(seconds.start).sum()
    }
}

/// Runs the service for so many seconds; each request may be retried once.
fn run(seconds: u64, mood: impl Fn(usize, u64) -> Mood) -> Ledger {
    let endpoints: [Endpoint; 3] = Default::default();
    let members = [Member { weight: 1, identity: b"" }; 3];
    let balancer = Balancer::new(BalancerSettings::default(), &members).unwrap();
    let (budget, backoff) = (Budget::new(BudgetSettings::default()), Backoff::default());
    let outliers = Outliers::new(OutlierSettings::default());

    let space = usize::try_from(seconds).unwrap() + 3;
    let mut ledger = Ledger { succeeded: vec![0; space], failed: vec![0; space], attempts: vec![0; space] };
    let mut events: Vec<Event> = Vec::new();
    let mut queue: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let schedule = |queue: &mut BinaryHeap<_>, events: &mut Vec<Event>, at: u64, event: Event| {
        queue.push(Reverse((at, events.len())));
        events.push(event);
    };
    for number in 0..seconds * REQUESTS_PER_SECOND {
        let request = Request { tried: Tried::default(), retries: 0 };
        schedule(&mut queue, &mut events, number * SECOND / REQUESTS_PER_SECOND, Event::Attempt(request));
    }
    while let Some(Reverse((at, number))) = queue.pop() {
        let (now, second) = (Nanos::new(at), usize::try_from(at / SECOND).unwrap());
        let random = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let done = Event::Attempt(Request { tried: Tried::default(), retries: 0 });
        match std::mem::replace(&mut events[number], done) {
            Event::Attempt(mut request) => {
                if request.retries == 0 {
                    budget.request(now);
                }
                let query = Query { key: None, tried: &request.tried, now, random };
                let place = balancer.pick(&endpoints, &query).unwrap();
                request.tried.push(place);
                endpoints[place].in_flight.set(endpoints[place].in_flight.get() + 1);
                ledger.attempts[second] += 1;
                let (takes, outcome) = match mood(place, at / SECOND) {
                    Mood::Well => (2 * MS, Outcome::Success),
                    Mood::Down => (0, Outcome::Failure),
                    Mood::Stuck => (SECOND, Outcome::Failure),
                };
                schedule(&mut queue, &mut events, at + takes, Event::End(request, place, outcome));
            }
            Event::End(mut request, place, outcome) => {
                endpoints[place].in_flight.set(endpoints[place].in_flight.get() - 1);
                let all = endpoints.iter().map(|endpoint| &endpoint.record);
                outliers.record(&endpoints[place].record, all, outcome, now);
                if outcome == Outcome::Success {
                    ledger.succeeded[second] += 1;
                } else if request.retries < 1 && budget.try_take(now) {
                    let wait = backoff.next(request.retries, None, random).unwrap();
                    request.retries += 1;
                    let at = at + u64::try_from(wait.as_nanos()).unwrap();
                    schedule(&mut queue, &mut events, at, Event::Attempt(request));
                } else {
                    ledger.failed[second] += 1;
                }
            }
        }
    }
    let ended = ledger.succeeded.iter().sum::<u64>() + ledger.failed.iter().sum::<u64>();
    assert_eq!(ended, seconds * REQUESTS_PER_SECOND, "issued = answered + failed");
    ledger
}

#[test]
fn one_of_three_down_fails_nobody() {
    let ledger = run(60, |place, second| if place == 1 && second >= 10 { Mood::Down } else { Mood::Well });
    assert_eq!(ledger.failed.iter().sum::<u64>(), 0);
    let more = ledger.attempts.iter().sum::<u64>() - 60 * REQUESTS_PER_SECOND;
    assert!(more < 100, "{more} attempts were in vain: five for each ejection, and what was under way");
}

#[test]
fn one_of_three_that_comes_and_goes_fails_nobody() {
    let is_down = |place: usize, second: u64| second % 30 / 10 == place as u64 && second % 10 < 5;
    let ledger = run(120, |place, second| if is_down(place, second) { Mood::Down } else { Mood::Well });
    let failed = ledger.failed.iter().sum::<u64>();
    assert!(failed * 2000 <= 120 * REQUESTS_PER_SECOND, "{failed} are more than 0.05 %");
}

#[test]
fn one_of_three_stuck_is_left_alone() {
    let ledger =
        run(60, |place, second| if place == 1 && (10..40).contains(&second) { Mood::Stuck } else { Mood::Well });
    assert_eq!(ledger.failed.iter().sum::<u64>(), 0);
    let more = ledger.attempts.iter().sum::<u64>() - 60 * REQUESTS_PER_SECOND;
    assert!(more < 100, "{more} requests waited in vain");
}

#[test]
fn all_down_means_little_more_load_and_no_delay_afterwards() {
    let ledger = run(60, |_, second| if (10..40).contains(&second) { Mood::Down } else { Mood::Well });
    let attempts = Ledger::sum(&ledger.attempts, 10..40);
    let requests = 30 * REQUESTS_PER_SECOND;
    // A fifth of the requests and ten a second, and of those the ten seconds' worth that may come at once.
    let allowed = requests * 12 / 10 + 30 * 10 + 10 * 10;
    assert!((requests..=allowed).contains(&attempts), "{attempts} attempts, {allowed} allowed");
    assert_eq!(Ledger::sum(&ledger.failed, 41..63), 0, "as soon as they are back, so is the service");
}
