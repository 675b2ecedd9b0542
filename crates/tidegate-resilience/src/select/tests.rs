//! Choices against a slow model of who may be chosen, and their distribution.

use super::*;
use proptest::prelude::*;
use std::cell::Cell;

const POLICIES: [Policy; 5] =
    [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma, Policy::Random, Policy::RingHash];

#[derive(Debug, Clone)]
struct Endpoint {
    identity: String,
    weight: u32,
    is_healthy: bool,
    in_flight: Cell<u32>,
    cost: u64,
    share: Share,
}

impl Candidate for Endpoint {
    fn is_healthy(&self, _: Nanos) -> bool {
        self.is_healthy
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    fn cost(&self, _: Nanos) -> u64 {
        self.cost
    }

    fn share(&self, _: Nanos) -> Share {
        self.share
    }
}

fn endpoint(weight: u32) -> Endpoint {
    let (is_healthy, in_flight, cost, share) = (true, Cell::new(0), 1000, Share::WHOLE);
    Endpoint { identity: String::new(), weight, is_healthy, in_flight, cost, share }
}

fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    let named =
        |(number, weight): (usize, &u32)| Endpoint { identity: format!("10.0.0.{number}:8080"), ..endpoint(*weight) };
    weights.iter().enumerate().map(named).collect()
}

fn balancer(policy: Policy, panic_below_percent: u8, endpoints: &[Endpoint]) -> Balancer {
    let members: Vec<Member<'_>> = (endpoints.iter())
        .map(|endpoint| Member { weight: endpoint.weight, identity: endpoint.identity.as_bytes() })
        .collect();
    Balancer::new(BalancerSettings { policy, panic_below_percent }, &members).unwrap()
}

fn query(tried: &Tried, number: u64) -> Query<'_> {
    Query { key: Some(mix(number)), tried, now: Nanos::ZERO, random: mix(number ^ 0xabcd) }
}

/// How often each one is chosen in 20,000 choices.
fn shares(policy: Policy, endpoints: &[Endpoint]) -> Vec<usize> {
    let balancer = balancer(policy, 0, endpoints);
    let mut counts = vec![0; endpoints.len()];
    let tried = Tried::default();
    for number in 0..20_000 {
        counts[balancer.pick(endpoints, &query(&tried, number)).unwrap()] += 1;
    }
    counts
}

#[track_caller]
fn check_shares(policy: Policy, endpoints: &[Endpoint], expected: &[usize], slack_percent: usize) {
    let counts = shares(policy, endpoints);
    let all: usize = expected.iter().sum();
    for (count, part) in counts.iter().zip(expected) {
        let slack = (20_000 * part / all) * slack_percent / 100;
        assert!(count.abs_diff(20_000 * part / all) <= slack, "{policy:?}: {counts:?} for {expected:?}");
    }
}

#[test]
fn weights_are_kept_by_idle_endpoints() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::Random] {
        check_shares(policy, &endpoints(&[1, 1, 1]), &[1, 1, 1], 4);
        check_shares(policy, &endpoints(&[1, 3, 0, 6]), &[1, 3, 0, 6], 6);
    }
    check_shares(Policy::RingHash, &endpoints(&[1; 10]), &[1; 10], 20);
    check_shares(Policy::RingHash, &endpoints(&[1, 3, 0, 6]), &[1, 3, 0, 6], 20);
}

#[test]
fn weights_are_kept_by_busy_endpoints() {
    // For `PeakEwma` they are equally quick: what one more costs grows with what runs.
    for policy in [Policy::LeastRequest, Policy::PeakEwma] {
        let mut endpoints = endpoints(&[1, 3]);
        let balancer = balancer(policy, 50, &endpoints);
        for number in 0..400 {
            let chosen = balancer.pick(&endpoints, &query(&Tried::default(), number)).unwrap();
            let busy = &mut endpoints[chosen];
            busy.in_flight.set(busy.in_flight.get() + 1);
            busy.cost += 1000;
        }
        assert!((99..=101).contains(&endpoints[0].in_flight.get()), "{policy:?} {endpoints:?}");
    }
}

#[test]
fn an_endpoint_that_is_away_leaves_its_turns_to_all() {
    for policy in POLICIES {
        let mut endpoints = endpoints(&[1, 1, 1, 1]);
        endpoints[2].is_healthy = false;
        check_shares(policy, &endpoints, &[1, 1, 0, 1], 20);
    }
}

#[test]
fn many_endpoints_that_are_away_do_not_unbalance_the_rest() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::Random] {
        let mut endpoints = endpoints(&[1; 40]);
        endpoints.iter_mut().skip(2).for_each(|endpoint| endpoint.is_healthy = false);
        let counts = shares(policy, &endpoints);
        assert!(counts[0].abs_diff(10_000) < 500 && counts[1].abs_diff(10_000) < 500, "{policy:?}: {counts:?}");
    }
}

#[test]
fn slow_start_gives_a_newcomer_its_share() {
    let slow_start = crate::SlowStart { window: std::time::Duration::from_secs(10) };
    let half = slow_start.share(Nanos::ZERO, Nanos::new(5_000_000_000));
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::Random] {
        let mut endpoints = endpoints(&[1, 1]);
        endpoints[0].share = half;
        check_shares(policy, &endpoints, &[1, 2], 6);
    }
}

#[test]
fn the_better_of_two_is_chosen() {
    let mut endpoints = endpoints(&[1, 1]);
    (endpoints[0].cost, endpoints[1].cost) = (20_000, 1_000);
    assert_eq!(shares(Policy::PeakEwma, &endpoints), [0, 20_000]);
    endpoints[0].in_flight.set(1);
    assert_eq!(shares(Policy::LeastRequest, &endpoints), [0, 20_000]);
    endpoints[0].weight = 3;
    endpoints[1].in_flight.set(1);
    assert_eq!(shares(Policy::LeastRequest, &endpoints), [20_000, 0]);
}

/// The idle one of three is in two of three pairs, whichever place it has.
#[test]
fn every_pair_is_drawn_as_often() {
    for idle in 0..3 {
        let endpoints = endpoints(&[1, 1, 1]);
        (0..3).filter(|place| *place != idle).for_each(|place| endpoints[place].in_flight.set(1));
        let expected = [0, 1, 2].map(|place| if place == idle { 4 } else { 1 });
        check_shares(Policy::LeastRequest, &endpoints, &expected, 6);
    }
}

/// One of three never answers. Of a thousand requests it gets a few, and then no more.
#[test]
fn least_request_leaves_a_stuck_endpoint() {
    let endpoints = endpoints(&[1, 1, 1]);
    let balancer = balancer(Policy::LeastRequest, 50, &endpoints);
    let mut running = std::collections::VecDeque::new();
    for number in 0..1000 {
        let chosen = balancer.pick(&endpoints, &query(&Tried::default(), number)).unwrap();
        endpoints[chosen].in_flight.set(endpoints[chosen].in_flight.get() + 1);
        running.push_back(chosen);
        if running.len() > 4 {
            let ended = running.pop_front().unwrap();
            let stuck = u32::from(ended == 0);
            endpoints[ended].in_flight.set(endpoints[ended].in_flight.get() - 1 + stuck);
        }
    }
    assert!(endpoints[0].in_flight.get() < 10, "{endpoints:?}");
}

#[test]
fn too_many_endpoints_are_an_error_and_none_are_not() {
    let member = Member { weight: 1, identity: b"" };
    for policy in POLICIES {
        let settings = BalancerSettings { policy, panic_below_percent: 50 };
        let many = vec![member; MAX_ENDPOINTS + 1];
        assert_eq!(Balancer::new(settings, &many).unwrap_err(), TooManyEndpoints { count: MAX_ENDPOINTS + 1 });
        let balancer = Balancer::new(settings, &[]).unwrap();
        assert_eq!(balancer.pick::<Endpoint>(&[], &query(&Tried::default(), 1)), None);
        assert_eq!(balancer.pick(&endpoints(&[1]), &query(&Tried::default(), 1)), None, "not what it was compiled for");
        let balancer = Balancer::new(settings, &[member; 3]).unwrap();
        assert_eq!(balancer.pick(&endpoints(&[1]), &query(&Tried::default(), 1)), Some(0), "two have disappeared");
    }
}

#[test]
fn the_last_eight_attempts_are_remembered() {
    let mut tried = Tried::default();
    (0..9).for_each(|place| tried.push(place));
    assert!(!tried.contains(0) && (1..9).all(|place| tried.contains(place)));
}

#[test]
fn hashes_of_keys_never_change() {
    assert_eq!(stable_hash(b"user-17"), 0x7d0a_bcd8_e211_1067);
}

fn some_endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let share = prop_oneof![
        Just(Share::WHOLE),
        (0..10_u64).prop_map(|second| {
            let slow_start = crate::SlowStart { window: std::time::Duration::from_secs(10) };
            slow_start.share(Nanos::ZERO, Nanos::new(second * 1_000_000_000))
        })
    ];
    let one = (prop_oneof![2 => Just(1_u32), 1 => 0..5_u32], any::<bool>(), 0..4_u32, 0..4_u64, share);
    let one = one.prop_map(|(weight, is_healthy, in_flight, cost, share)| Endpoint {
        is_healthy,
        in_flight: Cell::new(in_flight),
        cost,
        share,
        ..endpoint(weight)
    });
    let named = |mut all: Vec<Endpoint>| {
        all.iter_mut().enumerate().for_each(|(number, one)| one.identity = format!("[::1]:{number}"));
        all
    };
    prop::collection::vec(one, 0..20).prop_map(named)
}

proptest! {
    #[test]
    fn only_those_that_may_be_chosen_are(
        endpoints in some_endpoints(),
        policy in prop::sample::select(&POLICIES[..]),
        panic_below_percent in 0..101_u8,
        tried_places in prop::collection::vec(0..20_usize, 0..8),
        random: u64,
        key: Option<u64>,
    ) {
        let balancer = balancer(policy, panic_below_percent, &endpoints);
        let mut tried = Tried::default();
        tried_places.iter().for_each(|place| tried.push(*place));

        let weighed: Vec<usize> = (0..endpoints.len()).filter(|place| endpoints[*place].weight > 0).collect();
        let healthy: Vec<usize> = weighed.iter().copied().filter(|place| endpoints[*place].is_healthy).collect();
        let panics = healthy.len() * 100 < weighed.len() * usize::from(panic_below_percent);
        let usable = if panics { weighed } else { healthy };
        let fresh: Vec<usize> = usable.iter().copied().filter(|place| !tried_places.contains(place)).collect();
        let allowed = if fresh.is_empty() { usable } else { fresh };

        for number in 0..20 {
            let query = Query { key, tried: &tried, now: Nanos::ZERO, random: mix(random ^ number) };
            match balancer.pick(&endpoints, &query) {
                Some(chosen) => prop_assert!(allowed.contains(&chosen), "{} of {:?}", chosen, allowed),
                None => prop_assert!(allowed.is_empty()),
            }
        }
    }

    /// An endpoint that comes takes keys only for itself; seen the other way round, one that goes leaves only its own.
    #[test]
    fn on_the_ring_only_keys_of_the_endpoint_that_comes_or_goes_move(
        weights in prop::collection::vec(1..6_u32, 2..12),
        at: prop::sample::Index,
        keys in prop::collection::vec(any::<u64>(), 200),
    ) {
        let all = endpoints(&weights);
        let gone = at.index(all.len());
        let mut rest = all.clone();
        rest.remove(gone);
        let (before, after) = (balancer(Policy::RingHash, 0, &all), balancer(Policy::RingHash, 0, &rest));
        let mut away = all.clone();
        away[gone].is_healthy = false;
        let tried = Tried::default();
        for key in keys {
            let query = Query { key: Some(key), tried: &tried, now: Nanos::ZERO, random: key };
            let owner = before.pick(&all, &query).unwrap();
            let heir = &rest[after.pick(&rest, &query).unwrap()].identity;
            if owner != gone {
                prop_assert_eq!(heir, &all[owner].identity);
            }
            let substitute = before.pick(&away, &query).unwrap();
            prop_assert_eq!(heir, &all[substitute].identity, "away and gone are the same to a key");
        }
    }
}
