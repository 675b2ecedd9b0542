//! The breaker against a slow model, and the stories that its users tell.

use super::*;
use proptest::prelude::*;

/// Random bits that give the nominal open time.
const NO_JITTER: u64 = u64::MAX / 2;

fn ms(ms: u64) -> Nanos {
    Nanos::new(ms * 1_000_000)
}

fn settings(ratio: Option<(u32, u32)>, consecutive_failures: Option<u32>, probes: u16) -> BreakerSettings {
    let trip = |(percent, min_requests)| RatioTrip {
        ratio: Ratio::percent(percent),
        min_requests,
        window: Duration::from_secs(10),
    };
    BreakerSettings { failure_ratio: ratio.map(trip), consecutive_failures, open_for: Duration::from_secs(5), probes }
}

fn permit(admission: Admission) -> Permit {
    match admission {
        Admission::Admit(permit) | Admission::Probe { permit, .. } => permit,
        Admission::Refused { retry_after } => panic!("refused for {retry_after:?}"),
    }
}

fn retry_after(admission: &Admission) -> Option<u128> {
    match admission {
        Admission::Admit(_) | Admission::Probe { .. } => None,
        Admission::Refused { retry_after } => Some(retry_after.as_millis()),
    }
}

fn attempt(breaker: &Arc<Breaker>, outcome: Outcome, now: u64) -> Option<Transition> {
    let permit = permit(breaker.admit(ms(now)));
    breaker.record(permit, outcome, ms(now), NO_JITTER)
}

/// A breaker that opened at 0 for five seconds.
fn opened(probes: u16) -> Arc<Breaker> {
    let breaker = Arc::new(Breaker::new(settings(None, Some(1), probes)));
    assert!(matches!(attempt(&breaker, Outcome::Failure, 0), Some(Transition::Opened { .. })));
    breaker
}

#[test]
fn half_of_twenty_failures_open_it() {
    let breaker = Arc::new(Breaker::new(settings(Some((50, 20)), None, 3)));
    for now in 0..9 {
        assert_eq!(attempt(&breaker, Outcome::Failure, now), None);
        assert_eq!(attempt(&breaker, Outcome::Success, now), None);
    }
    assert_eq!(attempt(&breaker, Outcome::Success, 10), None);
    let cause = TripCause::FailureRatio { failures: 10, total: 20 };
    let expected = Transition::Opened { open_for: Duration::from_secs(5), cause };
    assert_eq!(attempt(&breaker, Outcome::Failure, 11), Some(expected));
    assert_eq!(retry_after(&breaker.admit(ms(1011))), Some(4000));
    assert_eq!(breaker.phase(), Phase::Open);
}

#[test]
fn a_success_between_failures_begins_the_count_anew() {
    let breaker = Arc::new(Breaker::new(settings(None, Some(3), 1)));
    for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Failure, Outcome::Failure] {
        assert_eq!(attempt(&breaker, outcome, 0), None);
    }
    let cause = TripCause::ConsecutiveFailures(3);
    let expected = Transition::Opened { open_for: Duration::from_secs(5), cause };
    assert_eq!(attempt(&breaker, Outcome::Failure, 0), Some(expected));
}

#[test]
fn it_is_open_twice_as_long_each_time_up_to_eight_times() {
    let breaker = opened(1);
    let mut now = 0;
    for open_for in [5, 10, 20, 40, 40, 40].map(|seconds| seconds * 1000) {
        assert_eq!(retry_after(&breaker.admit(ms(now + open_for - 1))), Some(1));
        now += open_for;
        let Admission::Probe { permit, is_first: true } = breaker.admit(ms(now)) else { panic!("no probe") };
        let transition = breaker.record(permit, Outcome::Failure, ms(now), NO_JITTER);
        assert!(matches!(transition, Some(Transition::Opened { cause: TripCause::ProbeFailed, .. })));
    }
    now += 40_000;
    assert_eq!(attempt(&breaker, Outcome::Success, now), Some(Transition::Closed));
    let again = attempt(&breaker, Outcome::Failure, now);
    assert!(matches!(again, Some(Transition::Opened { open_for, .. }) if open_for == Duration::from_secs(5)));
}

#[test]
fn half_open_lets_as_many_probes_through_as_configured_and_all_must_succeed() {
    let breaker = opened(3);
    let [first, second, third] = [5000, 5001, 5002].map(|now| permit(breaker.admit(ms(now))));
    assert_eq!(retry_after(&breaker.admit(ms(5003))), Some(1000));
    assert_eq!(breaker.record(first, Outcome::Success, ms(5004), 0), None);
    assert_eq!(retry_after(&breaker.admit(ms(5004))), Some(1000), "three in all, not three at once");
    assert_eq!(breaker.record(second, Outcome::Success, ms(5005), 0), None);
    assert_eq!(breaker.record(third, Outcome::Success, ms(5006), 0), Some(Transition::Closed));
    assert!(matches!(breaker.admit(ms(5007)), Admission::Admit(_)));
}

#[test]
fn a_probe_that_is_dropped_gives_its_place_back() {
    let breaker = opened(1);
    let probe = permit(breaker.admit(ms(5000)));
    assert!(retry_after(&breaker.admit(ms(5000))).is_some());
    drop(probe);
    let Admission::Probe { permit: late, is_first: false } = breaker.admit(ms(5001)) else { panic!("no probe") };
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    assert_eq!(breaker.record(late, Outcome::Success, ms(5002), 0), Some(Transition::Closed));
}

#[test]
fn what_was_let_through_before_the_trouble_counts_for_nothing_after_it() {
    let breaker = Arc::new(Breaker::new(settings(None, Some(1), 1)));
    let [early, late] = [0, 0].map(|now| permit(breaker.admit(ms(now))));
    attempt(&breaker, Outcome::Failure, 0);
    assert_eq!(breaker.record(early, Outcome::Failure, ms(1), 0), None);
    let probe = permit(breaker.admit(ms(5000)));
    assert_eq!(breaker.record(probe, Outcome::Success, ms(5000), 0), Some(Transition::Closed));
    assert_eq!(breaker.record(late, Outcome::Failure, ms(5001), 0), None);
    assert_eq!(breaker.phase(), Phase::Closed);
}

#[test]
fn a_probe_of_an_earlier_half_open_time_takes_no_place_in_a_later_one() {
    let breaker = opened(2);
    let [failing, lost] = [5000, 5000].map(|now| permit(breaker.admit(ms(now))));
    breaker.record(failing, Outcome::Failure, ms(5000), NO_JITTER);
    let _one = permit(breaker.admit(ms(15_000)));
    drop(lost);
    let _two = permit(breaker.admit(ms(15_000)));
    assert!(retry_after(&breaker.admit(ms(15_000))).is_some());
}

#[test]
fn nothing_configured_never_opens() {
    let breaker = Arc::new(Breaker::new(settings(None, None, 0)));
    assert!((0..10_000).all(|now| attempt(&breaker, Outcome::Failure, now).is_none()));
}

/// The rules once more, with lists instead of counters.
struct Model {
    settings: BreakerSettings,
    phase: ModelPhase,
    /// Number of changes so far.
    changes: u64,
    /// Outcomes since it closed.
    outcomes: Vec<(u64, Outcome)>,
    doublings: u32,
}

enum ModelPhase {
    Closed,
    Open { until: u64 },
    HalfOpen { out: Vec<usize>, succeeded: u16 },
}

#[derive(Debug, PartialEq)]
enum Answer {
    Admit,
    Probe { first: bool },
    Refused,
}

impl Model {
    fn admit(&mut self, now: u64, id: usize) -> Answer {
        match &mut self.phase {
            ModelPhase::Closed => Answer::Admit,
            ModelPhase::Open { until } if now < *until => Answer::Refused,
            ModelPhase::Open { .. } => {
                self.changes += 1;
                self.phase = ModelPhase::HalfOpen { out: vec![id], succeeded: 0 };
                Answer::Probe { first: true }
            }
            ModelPhase::HalfOpen { out, succeeded } => {
                if out.len() + usize::from(*succeeded) >= usize::from(self.settings.probes) {
                    return Answer::Refused;
                }
                out.push(id);
                Answer::Probe { first: false }
            }
        }
    }

    /// What is expected of a record: `None`, or the phase it leads to.
    fn record(&mut self, id: usize, given_in: u64, outcome: Outcome, now: u64) -> Option<Phase> {
        if given_in != self.changes {
            return None;
        }
        match &mut self.phase {
            ModelPhase::Open { .. } => None,
            ModelPhase::Closed => {
                self.outcomes.push((now, outcome));
                let row = self.outcomes.iter().rev().take_while(|(_, outcome)| *outcome == Outcome::Failure).count();
                let by_row = self.settings.consecutive_failures.is_some_and(|limit| row >= limit as usize);
                let recent = || self.outcomes.iter().filter(|(at, _)| now / 1000 - at / 1000 < 10);
                let failures = recent().filter(|(_, outcome)| *outcome == Outcome::Failure).count() as u64;
                let total = recent().count() as u64;
                let by_ratio = self.settings.failure_ratio.is_some_and(|trip| {
                    total >= u64::from(trip.min_requests) && trip.ratio.is_reached(failures, total)
                });
                (outcome == Outcome::Failure && (by_row || by_ratio)).then(|| {
                    self.doublings = 0;
                    Phase::Open
                })
            }
            ModelPhase::HalfOpen { out, succeeded } => {
                out.retain(|other| *other != id);
                if outcome == Outcome::Failure {
                    self.doublings = (self.doublings + 1).min(3);
                    return Some(Phase::Open);
                }
                *succeeded += 1;
                (*succeeded == self.settings.probes).then_some(Phase::Closed)
            }
        }
    }

    fn enter(&mut self, transition: Transition, now: u64) {
        self.changes += 1;
        self.phase = match transition {
            Transition::Opened { open_for, .. } => {
                let nominal = self.settings.open_for * (1 << self.doublings);
                assert!(open_for >= nominal * 8 / 10 && open_for <= nominal * 12 / 10, "{open_for:?} for {nominal:?}");
                ModelPhase::Open { until: now + u64::try_from(open_for.as_nanos().div_ceil(1_000_000)).unwrap() }
            }
            Transition::Closed => {
                self.outcomes.clear();
                ModelPhase::Closed
            }
            Transition::HalfOpened => panic!("recording never opens by half"),
        };
    }

    fn cancel(&mut self, id: usize) {
        if let ModelPhase::HalfOpen { out, .. } = &mut self.phase {
            out.retain(|other| *other != id);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Admit,
    Record { which: prop::sample::Index, outcome: Outcome, random: u64 },
    Cancel(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![Just(Outcome::Success), Just(Outcome::Failure)];
    prop_oneof![
        2 => prop_oneof![0..100_u64, 0..4_000_u64, 0..50_000_u64].prop_map(Step::Wait),
        6 => Just(Step::Admit),
        5 => (any::<prop::sample::Index>(), outcome, any::<u64>())
            .prop_map(|(which, outcome, random)| Step::Record { which, outcome, random }),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
    ]
}

proptest! {
    #[test]
    fn the_breaker_does_what_the_model_does(
        ratio in prop::option::of((1..100_u32, 0..8_u32)),
        consecutive in prop::option::of(1..5_u32),
        probes in 1..4_u16,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let settings = settings(ratio, consecutive, probes);
        let breaker = Arc::new(Breaker::new(settings));
        let mut model = Model {
            settings, phase: ModelPhase::Closed, changes: 0, outcomes: Vec::new(), doublings: 0,
        };
        let mut permits: Vec<(usize, u64, Permit)> = Vec::new();
        let mut now = 0;
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Wait(time) => now += time,
                Step::Admit => {
                    let expected = model.admit(now, id);
                    let (answer, permit) = match breaker.admit(ms(now)) {
                        Admission::Admit(permit) => (Answer::Admit, Some(permit)),
                        Admission::Probe { permit, is_first } => (Answer::Probe { first: is_first }, Some(permit)),
                        Admission::Refused { .. } => (Answer::Refused, None),
                    };
                    prop_assert_eq!(answer, expected);
                    permits.extend(permit.map(|permit| (id, model.changes, permit)));
                }
                Step::Record { which, outcome, random } if !permits.is_empty() => {
                    let (id, given_in, permit) = permits.swap_remove(which.index(permits.len()));
                    let expected = model.record(id, given_in, outcome, now);
                    let transition = breaker.record(permit, outcome, ms(now), random);
                    prop_assert_eq!(transition.map(|_| breaker.phase()), expected);
                    if let Some(transition) = transition {
                        model.enter(transition, now);
                    }
                }
                Step::Cancel(which) if !permits.is_empty() => {
                    let (id, given_in, permit) = permits.swap_remove(which.index(permits.len()));
                    drop(permit);
                    if given_in == model.changes {
                        model.cancel(id);
                    }
                }
                Step::Record { .. } | Step::Cancel(_) => {}
            }
        }
    }
}
