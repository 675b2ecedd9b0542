//! Whom limits count, and what they say, without a socket; and the script, in a real Redis, against the formula.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::{HeaderName, Request};
use proptest::prelude::*;
use serde_json::json;
use tidegate_config::source::Memory;
use tidegate_resilience::{Buckets, KeyHash};

use super::*;
use crate::exchange::Intake;
use crate::identity::Identity;
use crate::ids::{ConnInfo, WorkerId};
use crate::redis::Script;
use crate::reject::Reason;

/// Limits with the text of `rate_limits` on one route, and what they remember.
struct Bench {
    limiter: Arc<Limiter>,
    metrics: Metrics,
}

impl Bench {
    fn new() -> Self {
        Self { limiter: Arc::default(), metrics: Metrics::new(1, usize::MAX) }
    }

    fn limits(&self, text: &str) -> Limits {
        self.of_route("one", text, "[]")
    }

    fn of_route(&self, route: &str, text: &str, defaults: &str) -> Limits {
        let yaml = format!(
            "version: 1\nlisteners: [{{ name: a, address: '127.0.0.1:0' }}]\ndefaults: {{ rate_limits: {defaults} }}\n\
             routes: [{{ name: {route}, path: /, respond: {{ text: x }}, rate_limits: {text} }}]\n"
        );
        let source = Memory { files: [("a.yaml".into(), yaml.into())].into(), ..Memory::default() };
        let valid = tidegate_config::load(&source, Path::new("a.yaml")).map_err(|problems| problems.to_text());
        let valid = valid.unwrap().valid;
        let around = Surroundings { limiter: &self.limiter, metrics: &self.metrics, redis: None };
        Limits::compile(&valid.routes[0].policy.rate_limits, route, around)
    }
}

fn exchange(ip: &str, headers: &[(&str, &str)]) -> (Arc<Exchange>, HeaderMap) {
    let peer = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 1);
    let conn = Arc::new(ConnInfo::new(WorkerId::new(0), "a".into(), peer));
    let mut request = Request::new(());
    for (name, value) in headers {
        request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let parts = request.into_parts().0;
    (Exchange::begin(&conn, &parts, &Intake::default()), parts.headers)
}

fn identity(provider: &str, kind: CredentialKind, subject: &str, claims: &serde_json::Value) -> Identity {
    Identity {
        provider: provider.into(),
        kind,
        subject: subject.into(),
        roles: Box::default(),
        scopes: Box::default(),
        claims: claims.as_object().cloned().unwrap_or_default(),
        forward: Box::default(),
        rate: None,
    }
}

/// Whether the limits let one request pass, of both stages.
fn passes(limits: &Limits, exchange: &Exchange, headers: &HeaderMap) -> bool {
    let early = limits.admit_early(exchange, headers).map(|asking| assert!(asking.is_none()));
    early.and_then(|()| limits.admit_late(exchange, headers).map(|asking| assert!(asking.is_none()))).is_ok()
}

/// Address, fields, credential; and who that is to the limit.
type Asking<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<Identity>, u32);

/// Requests that a limit by `key` counts together: those with the same number.
fn counted_together(key: &str, askers: &[Asking<'_>]) {
    let bench = Bench::new();
    let limits = bench.limits(&format!("[{{ name: a, limit: 1/h, burst: 1, key: {key} }}]"));
    let mut seen = Vec::new();
    for (index, (ip, headers, who, number)) in askers.iter().enumerate() {
        let (exchange, headers) = exchange(ip, headers);
        if let Some(who) = who {
            let Identity { provider, kind, subject, claims, .. } = who;
            exchange.facts.identified(Arc::new(identity(provider, *kind, subject, &json!(claims))));
        }
        let is_first = !seen.contains(number);
        assert_eq!(passes(&limits, &exchange, &headers), is_first, "{key}, request {index}");
        seen.push(*number);
    }
}

#[test]
fn addresses_are_counted_by_themselves_and_networks_of_ipv6_together() {
    let none: &[(&str, &str)] = &[];
    counted_together(
        "ip",
        &[
            ("1.2.3.4", none, None, 1),
            ("1.2.3.5", none, None, 2),
            ("::ffff:1.2.3.4", none, None, 1),
            ("2001:db8:1:2::1", none, None, 3),
            ("2001:db8:1:2:ffff::9", none, None, 3),
            ("2001:db8:1:3::1", none, None, 4),
        ],
    );
    counted_together("global", &[("1.2.3.4", none, None, 1), ("2001:db8::1", none, None, 1)]);
    counted_together("endpoint", &[("1.2.3.4", none, None, 1), ("2001:db8::1", none, None, 1)]);
}

#[test]
fn users_are_counted_wherever_they_are_and_others_by_address() {
    let none: &[(&str, &str)] = &[];
    let user = |provider, subject| Some(identity(provider, CredentialKind::Token, subject, &json!({})));
    let key = |subject| Some(identity("partner", CredentialKind::ApiKey, subject, &json!({})));
    counted_together(
        "user",
        &[
            ("1.1.1.1", none, user("main", "ann"), 1),
            ("2.2.2.2", none, user("main", "ann"), 1),
            ("1.1.1.1", none, user("main", "bob"), 2),
            ("1.1.1.1", none, user("other", "ann"), 3),
            ("1.1.1.1", none, key("k1"), 4),
            ("1.1.1.1", none, None, 5),
            ("1.1.1.1", none, user("main", "1.1.1.1"), 6),
            ("1.1.1.1", none, None, 5),
        ],
    );
    counted_together(
        "api_key",
        &[
            ("1.1.1.1", none, key("k1"), 1),
            ("2.2.2.2", none, key("k1"), 1),
            ("1.1.1.1", none, key("k2"), 2),
            ("1.1.1.1", none, user("main", "ann"), 3),
            ("1.1.1.1", none, None, 3),
        ],
    );
}

#[test]
fn headers_and_claims_are_counted_by_their_values() {
    counted_together(
        "'header:X-Tenant'",
        &[
            ("1.1.1.1", &[("x-tenant", "a")], None, 1),
            ("2.2.2.2", &[("x-tenant", "a")], None, 1),
            ("1.1.1.1", &[("x-tenant", "b")], None, 2),
            ("1.1.1.1", &[], None, 3),
            ("1.1.1.1", &[("x-tenant", "")], None, 4),
            ("1.1.1.1", &[("x-tenant", "a"), ("x-tenant", "b")], None, 5),
            ("1.1.1.1", &[("x-tenant", "ab")], None, 6),
        ],
    );
    let none: &[(&str, &str)] = &[];
    let claims = |claims: serde_json::Value| Some(identity("main", CredentialKind::Token, "ann", &claims));
    counted_together(
        "'claim:realm.tenant'",
        &[
            ("1.1.1.1", none, claims(json!({"realm": {"tenant": "a"}})), 1),
            ("2.2.2.2", none, claims(json!({"realm": {"tenant": "a"}})), 1),
            ("1.1.1.1", none, claims(json!({"realm": {"tenant": 7}})), 2),
            ("1.1.1.1", none, claims(json!({"realm": {"tenant": "7"}})), 3),
            ("1.1.1.1", none, claims(json!({"realm": 1})), 4),
            ("1.1.1.1", none, None, 4),
        ],
    );
    counted_together(
        "[ip, 'header:x-a']",
        &[
            ("1.1.1.1", &[("x-a", "1")], None, 1),
            ("1.1.1.1", &[("x-a", "2")], None, 2),
            ("2.2.2.2", &[("x-a", "1")], None, 3),
            ("1.1.1.1", &[("x-a", "1")], None, 1),
        ],
    );
}

#[test]
fn a_limit_that_did_not_change_keeps_its_buckets_and_one_that_did_begins_anew() {
    let bench = Bench::new();
    let (one, headers) = exchange("1.2.3.4", &[]);
    for key in ["global", "ip"] {
        let text = |rate: &str| format!("[{{ name: {key}, limit: {rate}, burst: 1, key: {key} }}]");
        let first = bench.limits(&text("1/h"));
        assert!(passes(&first, &one, &headers) && !passes(&first, &one, &headers));
        let same = bench.limits(&text("1/h"));
        assert!(!passes(&same, &one, &headers), "{key}: compiled again");
        let shadow = bench.limits(&format!("[{{ name: {key}, limit: 1/h, burst: 1, key: {key}, shadow: true }}]"));
        assert!(passes(&shadow, &one, &headers));
        assert!(passes(&bench.limits(&text("2/h")), &one, &headers), "{key}: another rate");
        assert!(passes(&bench.of_route("two", &text("1/h"), "[]"), &one, &headers), "{key}: of another route");
    }
}

#[test]
fn routes_share_the_limits_that_they_inherit() {
    let bench = Bench::new();
    let (one, headers) = exchange("1.2.3.4", &[]);
    let all = "[{ name: all, limit: 1/h, burst: 2, key: ip }]";
    let (a, b) = (bench.of_route("a", "[]", all), bench.of_route("b", "[]", all));
    assert!(passes(&a, &one, &headers) && passes(&b, &one, &headers));
    assert!(!passes(&a, &one, &headers) && !passes(&b, &one, &headers));
    let by_route = "[{ name: all, limit: 1/h, burst: 1, key: [ip, route] }]";
    let (a, b) = (bench.of_route("a", "[]", by_route), bench.of_route("b", "[]", by_route));
    assert!(passes(&a, &one, &headers) && passes(&b, &one, &headers));
}

#[test]
fn an_api_key_has_the_rate_that_is_its_own() {
    let bench = Bench::new();
    let text = "[{ name: keys, limit: 1/h, burst: 1, key: api_key }, { name: all, limit: 100/s, key: global }]";
    let limits = bench.limits(text);
    let (asking, headers) = exchange("1.2.3.4", &[]);
    let rate = Some(KeyRate { requests: 5, per_ns: 1_000_000_000 });
    let own = Identity { rate, ..identity("partner", CredentialKind::ApiKey, "k1", &json!({})) };
    asking.facts.identified(Arc::new(own));
    assert!((0..5).all(|_| passes(&limits, &asking, &headers)));
    let refused = limits.admit_late(&asking, &headers).err().unwrap();
    assert_eq!(refused.reason, Reason::RateLimited);
    assert!(refused.retry_after.is_some_and(|wait| wait <= std::time::Duration::from_millis(200)));
    let (other, headers) = exchange("1.2.3.4", &[]);
    other.facts.identified(Arc::new(identity("partner", CredentialKind::ApiKey, "k2", &json!({}))));
    assert!(passes(&limits, &other, &headers) && !passes(&limits, &other, &headers));
}

#[test]
fn a_request_hears_of_its_tightest_limit() {
    let bench = Bench::new();
    let text = "[{ name: wide, limit: 100/s, burst: 50, key: ip }, { name: narrow, limit: 1/m, burst: 3, key: user }]";
    let limits = bench.limits(text);
    for (left, name) in [(2, "narrow"), (1, "narrow"), (0, "narrow"), (0, "narrow")] {
        let (asking, headers) = exchange("1.2.3.4", &[]);
        let passed = passes(&limits, &asking, &headers);
        let told = asking.facts.limits.tightest().unwrap();
        assert_eq!((told.remaining, &*told.label.name), (left, name));
        assert_eq!(told.is_refused, !passed);
    }
    let (asking, _) = exchange("1.2.3.4", &[]);
    assert!(passes(&Limits::default(), &asking, &HeaderMap::new()));
    assert!(asking.facts.limits.tightest().is_none());
    let shadow = bench.limits("[{ name: s, limit: 1/h, key: ip, shadow: true }]");
    assert!((0..3).all(|_| passes(&shadow, &asking, &HeaderMap::new())));
    assert!(asking.facts.limits.tightest().is_none(), "nobody need know of a limit that is tried out");
}

/// The script with a clock of the test's own: its last two arguments.
fn script_with_clock() -> Script {
    let text = include_str!("take.lua").replace("redis.call('TIME')", "{ ARGV[#ARGV - 1], ARGV[#ARGV] }");
    // Keys would go by the real clock.
    let text = text.replace("math.floor(debt / 1000000) + 1", "1000000000");
    assert!(!text.contains("TIME") && text.contains("'PX', 1000000000"));
    Script::new(Box::leak(text.into_boxed_str()))
}

/// Clients of a Redis that is as new as can be.
async fn clients(count: usize) -> (tidegate_testkit::Redis, Vec<Arc<Redis>>) {
    let server = tidegate_testkit::Redis::start().await;
    let yaml = format!(
        "version: 1\nlisteners: [{{ name: a, address: '127.0.0.1:0' }}]\nredis: {{ url: '{}', timeout: 5s }}\n",
        server.url()
    );
    let source = Memory { files: [("a.yaml".into(), yaml.into())].into(), ..Memory::default() };
    let settings = tidegate_config::load(&source, Path::new("a.yaml")).unwrap().valid.redis.unwrap();
    let clients = (0..count).map(|_| Arc::new(Redis::new(&settings, 1).unwrap())).collect();
    (server, clients)
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    requests: u64,
    burst: u64,
    cost: u32,
    is_enforced: bool,
}

fn rule() -> impl Strategy<Value = Rule> {
    let rate = prop::sample::select(vec![1, 3, 7, 100, 999, 30_000, 1_000_000]);
    (rate, 1..20_u64, 1..3_u32, prop::bool::weighted(0.8)).prop_map(|(requests, burst, cost, is_enforced)| Rule {
        requests,
        burst: burst.max(cost.into()),
        cost,
        is_enforced,
    })
}

/// Which client asks when, in microseconds after the one before, for whom.
type Schedule = Vec<(u64, usize, u64)>;

/// Runs a schedule through the script and through the formula; all answers must be the same.
async fn compare(clients: &[Arc<Redis>], script: &Script, case: u64, rules: &[Rule], schedule: &Schedule) {
    let table = Buckets::new(1_000_000);
    let mut now_us = 1_800_000_000_000_000_u64;
    for (step, client, who) in schedule {
        now_us += step;
        let name = |index: usize| format!("{case}:{who}:{index}");
        let quota = |rule: &Rule| Quota::new(rule.requests, 1_000_000_000, rule.burst);
        let keys: Vec<String> = (0..rules.len()).map(name).collect();
        let mut given: Vec<u64> =
            rules.iter().flat_map(|rule| remote::arguments(quota(rule), rule.cost, rule.is_enforced)).collect();
        given.extend([now_us / 1_000_000, now_us % 1_000_000]);
        let answer = clients[client % clients.len()].run(WorkerId::new(0), script, &keys, &given).await.unwrap();
        let (passed, states) = remote::read(&answer, rules.len()).unwrap();
        let mut claims: Vec<Claim<'_>> = (0_u64..)
            .zip(rules)
            .map(|(index, rule)| Claim {
                cost: rule.cost,
                is_enforced: rule.is_enforced,
                ..Claim::new(Place::Keyed(KeyHash::new([*who, index])), quota(rule))
            })
            .collect();
        // Nanoseconds since 1970 are as good a start as any.
        let expected = admit(&table, &mut claims, Nanos::new(now_us * 1_000));
        let told: Vec<(bool, u64)> = states.iter().map(|(room, debt)| (*room, debt.get())).collect();
        let wanted: Vec<(bool, u64)> = claims.iter().map(|claim| (claim.wait.is_none(), claim.debt.get())).collect();
        assert_eq!((passed, told), (expected, wanted), "{rules:?}");
    }
}

/// The same formula on both sides: random limits, random schedules, one process and two.
#[test]
fn the_script_says_what_the_formula_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_server, clients) = runtime.block_on(clients(2));
    let script = script_with_clock();
    let case = std::cell::Cell::new(0);
    let steps = prop::collection::vec((0..400_000_u64, 0..2_usize, 0..2_u64), 1..60);
    let rules = prop::collection::vec(rule(), 1..4);
    let mut runner = prop::test_runner::TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&(rules, steps, 1..3_usize), |(rules, steps, processes)| {
        case.set(case.get() + 1);
        // A schedule in a tenth of the time meets more full buckets.
        let quick = steps.iter().map(|(step, client, who)| (step / 1_000, *client, *who)).collect();
        runtime.block_on(async {
            compare(&clients[..processes], &script, case.get() * 2, &rules, &steps).await;
            compare(&clients[..processes], &script, case.get() * 2 + 1, &rules, &quick).await;
        });
        Ok(())
    });
    outcome.unwrap();
}

#[tokio::test]
async fn buckets_in_redis_go_by_themselves_and_what_is_no_bucket_is_an_empty_one() {
    let (server, clients) = clients(1).await;
    let quota = Quota::new(1, 1_000_000_000, 2);
    let keys = ["a".to_owned()];
    let given = remote::arguments(quota, 1, true);
    let ask = || clients[0].run(WorkerId::new(0), &remote::SCRIPT, &keys, &given);
    assert_eq!(ask().await.unwrap()[..2], [1, 1]);
    let ttl = server.command(&["PTTL", "a"]).await;
    let ttl: u64 = ttl.trim_start_matches(':').trim().parse().unwrap();
    assert!((1..=1_001).contains(&ttl), "{ttl} ms for a bucket that lacks one second");
    // Garbage, and a moment far away, as after a jump of the clock: nobody waits longer than for one filling.
    server.command(&["SET", "a", "garbage"]).await;
    assert_eq!(ask().await.unwrap()[..2], [1, 1]);
    server.command(&["SET", "a", "9000000000000000:0"]).await;
    let answer = ask().await.unwrap();
    assert_eq!(answer, [0, 0, i64::try_from(quota.capacity_ns()).unwrap()]);
    // The script is forgotten with a flush of scripts, as in a restart.
    server.command(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(ask().await.unwrap()[0], 0);
    // Of the wrong type: as no answer.
    server.command(&["DEL", "a"]).await;
    server.command(&["LPUSH", "a", "x"]).await;
    assert!(ask().await.is_err());
}
