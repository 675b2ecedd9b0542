//! Rate limits from end to end: whom they count, what a client is told, and what becomes of them when Redis goes away.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_testkit::client::{Answer, Http1, Request};
use tidegate_testkit::peer::{closed_port, free_port};
use tidegate_testkit::{Gateway, Program, Redis, Web, eventually, get, web};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// Routes that answer by themselves; `routes` are items of a YAML list.
fn config(top: &str, routes: &str) -> String {
    format!("{top}\nroutes:\n{routes}\n")
}

fn route(name: &str, limits: &str) -> String {
    format!("  - {{ name: {name}, path: /{name}, respond: {{ text: ok }}, rate_limits: {limits} }}\n")
}

/// The statuses of `count` requests on one connection.
async fn ask(gateway: &Gateway, request: &Request, count: usize) -> Vec<u16> {
    let mut client = gateway.http1().await;
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.send(request).await.status);
    }
    statuses
}

fn passed(statuses: &[u16]) -> usize {
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

/// Seconds that a slow machine may have taken a few of.
fn within(text: &str, seconds: std::ops::RangeInclusive<u32>) -> bool {
    text.parse().is_ok_and(|number| seconds.contains(&number))
}

fn fields(answer: &Answer) -> HashMap<String, String> {
    let names = ["ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let there = names.iter().filter(|name| answer.headers.contains_key(**name));
    there.map(|name| ((*name).to_owned(), answer.header(name).to_owned())).collect()
}

#[tokio::test]
async fn a_client_hears_how_it_stands_and_when_to_come_back() {
    let limits = "[{ name: all, limit: 1000/s, key: global }, { name: per-ip, limit: 2/m, burst: 2, key: ip }]";
    let gateway = Gateway::start(&config("", &(route("a", limits) + &route("free", "[]"))));
    {
        let mut client = gateway.http1().await;
        let first = client.send(&get("/a")).await;
        assert_eq!(first.status, 200);
        assert_eq!(first.header("ratelimit-policy"), "\"per-ip\";q=2;w=60");
        assert_eq!(first.header("ratelimit"), "\"per-ip\";r=1;t=30");
        assert_eq!(first.header("x-ratelimit-limit"), "2");
        assert_eq!(first.header("x-ratelimit-remaining"), "1");
        assert_eq!(first.header("x-ratelimit-reset"), "30");
        assert_eq!(client.send(&get("/a")).await.header("x-ratelimit-remaining"), "0");
        let refused = client.send(&get("/a")).await;
        assert_eq!((refused.status, refused.reason().as_str()), (429, "rate_limited"));
        assert_eq!(refused.header("content-type"), "application/problem+json");
        assert_eq!(refused.header("cache-control"), "no-store");
        assert!(within(refused.header("retry-after"), 20..=30), "{}", refused.header("retry-after"));
        assert_eq!(refused.header("ratelimit-policy"), "\"per-ip\";q=2;w=60");
        let seconds = refused.header("ratelimit").strip_prefix("\"per-ip\";r=0;t=").unwrap_or_default();
        assert!(within(seconds, 50..=60), "{}", refused.header("ratelimit"));
        assert!(fields(&client.send(&get("/free")).await).is_empty());
    }
    let refused = gateway.http2().await.send(&get("/a")).await;
    assert_eq!(refused.status, 429, "another connection is the same client");
    gateway.stop().await;
}

#[tokio::test]
async fn limits_of_defaults_services_and_routes_must_all_admit() {
    let backend = Web::start(|_| {
        vec![web::bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-ratelimit-limit: 7\r\nratelimit: theirs\r\n\r\nok")]
    })
    .await;
    let top = format!(
        "defaults: {{ rate_limits: [{{ name: all, limit: 1/h, burst: 8, key: ip }}] }}\n\
         services: {{ web: {{ address: 'http://{}', rate_limits: [{{ name: web, limit: 1/h, burst: 5, key: ip }}] }} }}",
        backend.address()
    );
    let routes = "
  - { name: a, path: /a, service: web, rate_limits: [{ name: a, limit: 1/h, burst: 3, key: ip }] }
  - { name: b, path: /b, service: web }
  - { name: c, path: /c, respond: { text: ok } }
  - { name: d, path: /d, service: web, rate_limits: null }";
    let gateway = Gateway::start(&config(&top, routes));
    assert_eq!(passed(&ask(&gateway, &get("/a"), 10).await), 3, "of its own");
    let b = gateway.get("/b").await;
    assert_eq!(b.header("ratelimit-policy"), "\"web\";q=1;w=3600");
    let seconds = b.header("ratelimit").strip_prefix("\"web\";r=1;t=").unwrap_or_default();
    assert!(within(seconds, 14_300..=14_400), "what was refused took nothing of the others: {seconds}");
    assert_eq!((b.header("x-ratelimit-limit"), b.text()), ("5", "ok"), "in the place of what the backend says");
    assert_eq!(passed(&ask(&gateway, &get("/b"), 10).await), 1, "of the service");
    assert_eq!(passed(&ask(&gateway, &get("/c"), 10).await), 3, "of all");
    assert_eq!(passed(&ask(&gateway, &get("/d"), 20).await), 20, "removed");
    let d = gateway.get("/d").await;
    assert_eq!((d.header("x-ratelimit-limit"), d.header("ratelimit")), ("7", "theirs"));
    assert_eq!(backend.heard().len(), 3 + 2 + 21, "a refused request reaches nobody");
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_without_a_route_pays_and_the_gateways_own_paths_do_not() {
    let top = "defaults: { rate_limits: [{ name: all, limit: 1/h, burst: 5, key: ip }] }
observability: { metrics: { public_path: /metrics }, logs: { access: { output: /dev/null } } }";
    let routes = "  - { name: a, path: /a, method: GET, respond: { text: ok } }";
    let gateway = Gateway::start(&config(top, routes));
    let mut client = gateway.http1().await;
    for (request, status) in [
        (get("/nowhere"), 404),
        (Request::new("DELETE", "/a"), 405),
        (get("/a%00"), 400),
        (get("/a"), 200),
        (get("/nowhere"), 404),
        (get("/nowhere"), 429),
        (get("/a"), 429),
        (Request::new("DELETE", "/a"), 429),
        (get("/a%00"), 429),
    ] {
        let answer = client.send(&request).await;
        assert_eq!(answer.status, status, "{request:?}");
        assert!(answer.headers.contains_key("ratelimit"), "{request:?}");
    }
    for path in ["/health", "/health/liveness", "/health/readiness", "/version", "/metrics"] {
        let answer = client.send(&get(path)).await;
        assert_eq!((answer.status, fields(&answer).len()), (200, 0), "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn addresses_are_those_behind_trusted_proxies_alone() {
    let limits = "[{ name: per-ip, limit: 1/h, burst: 2, key: ip }]";
    let from = |ip: &str| get("/a").header("x-forwarded-for", ip);
    let gateway = Gateway::start(&config("", &route("a", limits)));
    let mut statuses = Vec::new();
    for index in 0..5 {
        statuses.extend(ask(&gateway, &from(&format!("10.1.1.{index}")), 1).await);
    }
    assert_eq!(passed(&statuses), 2, "what a client says of itself changes nothing");
    gateway.stop().await;
    let gateway = Gateway::start(&config("client_ip: { trusted_proxies: [127.0.0.1/32] }", &route("a", limits)));
    assert_eq!(passed(&ask(&gateway, &from("10.1.1.1"), 5).await), 2);
    assert_eq!(passed(&ask(&gateway, &from("::ffff:10.1.1.1"), 5).await), 0);
    assert_eq!(passed(&ask(&gateway, &from("2001:db8::1"), 5).await), 2);
    assert_eq!(passed(&ask(&gateway, &from("2001:db8::ffff:1"), 5).await), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn headers_routes_and_combinations_count_apart() {
    let limit = |key: &str| format!("[{{ name: l, limit: 1/h, burst: 2, key: {key} }}]");
    let routes = route("header", &limit("'header:X-Tenant'"))
        + &route("both", &limit("[ip, 'header:x-tenant']"))
        + "  - { name: x, path: '/x/{id}', respond: { text: ok }, rate_limits: [{ name: r, limit: 1/h, burst: 3, key: endpoint }] }\n"
        + &route("user", &limit("user"));
    let gateway = Gateway::start(&config("", &routes));
    for path in ["/header", "/both"] {
        for tenant in ["a", "b"] {
            assert_eq!(passed(&ask(&gateway, &get(path).header("x-tenant", tenant), 4).await), 2, "{path} {tenant}");
        }
        assert_eq!(passed(&ask(&gateway, &get(path), 4).await), 2, "{path} without a tenant");
    }
    let mut statuses = Vec::new();
    for id in 0..6 {
        statuses.extend(ask(&gateway, &get(&format!("/x/{id}")), 1).await);
    }
    assert_eq!(passed(&statuses), 3, "paths of one route share its bucket");
    assert_eq!(passed(&ask(&gateway, &get("/user"), 5).await), 2, "nobody is known, so by address");
    gateway.stop().await;
}

#[tokio::test]
async fn every_stream_of_a_connection_counts() {
    let gateway = Gateway::start(&config("", &route("a", "[{ name: l, limit: 1/h, burst: 10, key: ip }]")));
    let mut client = gateway.http2().await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(client.start(&get("/a"), true).await);
    }
    let mut statuses = Vec::new();
    for mut stream in streams {
        statuses.push(stream.answer().await.status);
    }
    assert_eq!(passed(&statuses), 10);
    gateway.stop().await;
}

#[tokio::test]
async fn a_limit_in_shadow_mode_counts_and_refuses_nothing() {
    let top = "observability: { metrics: { public_path: /metrics }, logs: { access: { output: access.log } } }";
    let routes = route("a", "[{ name: tried, limit: 1/h, burst: 2, key: ip, shadow: true }]")
        + &route("b", "[{ name: real, limit: 1/h, burst: 2, key: ip }]");
    let mut program = Program::run(BINARY, &config(top, &routes));
    let mut client = Http1::connect(program.listener("main").await).await;
    for _ in 0..5 {
        let answer = client.send(&get("/a")).await;
        assert_eq!((answer.status, fields(&answer).len()), (200, 0));
    }
    for status in [200, 200, 429] {
        assert_eq!(client.send(&get("/b")).await.status, status);
    }
    let line = program.logged("a limit in shadow mode would have refused requests").await;
    assert!(line.contains("\"limit\":\"tried\""), "{line}");
    let page = client.send(&get("/metrics")).await;
    for wanted in [
        "tidegate_rate_limit_decisions_total{policy=\"tried\",decision=\"allow\",store=\"local\"} 2",
        "tidegate_rate_limit_decisions_total{policy=\"tried\",decision=\"would_deny\",store=\"local\"} 3",
        "tidegate_rate_limit_decisions_total{policy=\"real\",decision=\"allow\",store=\"local\"} 2",
        "tidegate_rate_limit_decisions_total{policy=\"real\",decision=\"deny\",store=\"local\"} 1",
        "tidegate_rate_limit_keys 2",
    ] {
        assert!(page.text().lines().any(|line| line == wanted), "{wanted}\n{}", page.text());
    }
    let log = program.folder().join("access.log");
    let said = || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().any(|line| line.contains("\"status\":429") && line.contains("\"rate_limit_policy\":\"real\""))
    };
    eventually("the access log names the limit that refused", said).await;
}

#[tokio::test]
async fn a_reload_keeps_the_buckets_of_limits_that_stay() {
    let limit =
        |name: &str, rate: &str, key: &str| format!("[{{ name: {name}, limit: {rate}, burst: 2, key: {key} }}]");
    let yaml = |rate: &str| {
        config("", &(route("a", &limit("a", rate, "ip")) + &route("b", &limit("b", "1/h", "global")))) + "# changed\n"
    };
    let gateway = Gateway::start(&yaml("1/h"));
    assert_eq!(passed(&ask(&gateway, &get("/a"), 3).await), 2);
    assert_eq!(passed(&ask(&gateway, &get("/b"), 3).await), 2);
    gateway.apply(&(yaml("1/h") + &route("c", "[]"))).await;
    assert_eq!(passed(&ask(&gateway, &get("/a"), 3).await), 0);
    assert_eq!(passed(&ask(&gateway, &get("/b"), 3).await), 0);
    gateway.apply(&yaml("2/h")).await;
    assert_eq!(passed(&ask(&gateway, &get("/a"), 3).await), 2, "it is another limit now");
    assert_eq!(passed(&ask(&gateway, &get("/b"), 3).await), 0);
    gateway.stop().await;
}

/// With one limit in Redis by address.
fn in_redis(redis: &Redis, burst: u32, more: &str) -> String {
    let limits = format!("[{{ name: shared, limit: 1/h, burst: {burst}, key: ip, store: redis{more} }}]");
    let metrics = "observability: { metrics: { public_path: /metrics }, logs: { access: { output: /dev/null } } }";
    // A machine that is busy must not make Redis look dead.
    let top = format!("redis: {{ url: '{}', timeout: 5s }}\n{metrics}", redis.url());
    config(&top, &(route("a", &limits) + &route("free", "[]")))
}

#[tokio::test]
async fn two_gateways_on_one_redis_admit_together_what_one_would() {
    let redis = Redis::start().await;
    let gateways = [Gateway::start(&in_redis(&redis, 50, "")), Gateway::start(&in_redis(&redis, 50, ""))];
    let some = async |gateway: &Gateway| passed(&ask(gateway, &get("/a"), 60).await);
    let [one, two] = &gateways;
    let (a, b, c, d) = tokio::join!(some(one), some(two), some(one), some(two));
    assert_eq!(a + b + c + d, 50);
    let answer = gateways[0].get("/a").await;
    assert_eq!((answer.status, answer.header("ratelimit-policy")), (429, "\"shared\";q=1;w=3600"));
    assert!(within(answer.header("retry-after"), 3_500..=3_600));
    for gateway in gateways {
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_redis_refuses_is_remembered_and_takes_nothing() {
    let redis = Redis::start().await;
    let gateway = Gateway::start(&in_redis(&redis, 2, ""));
    assert_eq!(passed(&ask(&gateway, &get("/a"), 2).await), 2);
    let keys = redis.command(&["KEYS", "*"]).await;
    assert!(keys.contains("tidegate:limit:shared:"), "{keys}");
    assert!(!keys.contains("127.0.0.1"), "a key tells nothing of a client");
    let name = keys.lines().find(|line| line.starts_with("tidegate:")).unwrap().to_owned();
    let before = redis.command(&["GET", &name]).await;
    assert_eq!(passed(&ask(&gateway, &get("/a"), 20).await), 0);
    assert_eq!(redis.command(&["GET", &name]).await, before, "whoever keeps knocking recovers as fast");
    let stats = redis.command(&["INFO", "commandstats"]).await;
    let calls = |command: &str| -> u32 {
        let line =
            stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls="))).unwrap_or("0");
        line.split(',').next().unwrap().parse().unwrap()
    };
    assert_eq!(calls("evalsha") + calls("eval"), 2 + 2, "the script is loaded once, and of the refusals one asks");
    gateway.stop().await;
}

#[tokio::test]
async fn local_limits_take_nothing_of_what_redis_refuses() {
    let redis = Redis::start().await;
    let limits = "[{ name: shared, limit: 1/h, burst: 2, key: global, store: redis },
      { name: here, limit: 1/h, burst: 5, key: ip }]";
    let top = format!("redis: {{ url: '{}', timeout: 5s }}", redis.url());
    let gateway = Gateway::start(&config(&top, &route("a", limits)));
    assert_eq!(passed(&ask(&gateway, &get("/a"), 10).await), 2);
    redis.command(&["FLUSHALL"]).await;
    // What is remembered of the refusal goes with the limit that it belongs to.
    gateway.apply(&config(&top, &route("a", &limits.replace("burst: 2", "burst: 4")))).await;
    assert_eq!(passed(&ask(&gateway, &get("/a"), 10).await), 3, "five, less the two that passed");
    gateway.stop().await;
}

#[tokio::test]
async fn without_redis_the_same_limit_holds_here() {
    let mut redis = Redis::start().await;
    let gateway = Gateway::start(&in_redis(&redis, 10, ""));
    assert_eq!(passed(&ask(&gateway, &get("/a"), 3).await), 3);
    redis.kill().await;
    let statuses = ask(&gateway, &get("/a"), 40).await;
    assert_eq!(passed(&statuses), 10, "a bucket of its own");
    assert_eq!(passed(&ask(&gateway, &get("/free"), 10).await), 10);
    let page = gateway.get("/metrics").await;
    assert!(page.text().contains("tidegate_rate_limit_store_errors_total{policy=\"shared\"} 40"), "{}", page.text());
    redis.restart().await;
    // The pause of the breaker, then a probe; Redis knows nothing of before.
    eventually("Redis is asked again", || async { gateway.get("/a").await.status == 200 }).await;
    let left = passed(&ask(&gateway, &get("/a"), 20).await);
    assert_eq!(left, 9);
    gateway.stop().await;
}

#[tokio::test]
async fn a_redis_that_hangs_costs_a_few_requests_their_wait_and_nobody_an_error() {
    let redis = Redis::start().await;
    let yaml = in_redis(&redis, 700, "").replace("timeout: 5s", "timeout: 50ms");
    let gateway = Gateway::start(&yaml);
    assert_eq!(passed(&ask(&gateway, &get("/a"), 5).await), 5);
    redis.pause();
    assert_eq!(passed(&ask(&gateway, &get("/a"), 100).await), 100);
    redis.resume();
    let redis_counts = || async {
        let before = gateway.get("/a").await.header("x-ratelimit-remaining").to_owned();
        // The local bucket has lost a hundred; that of Redis has not.
        before.parse::<u32>().is_ok_and(|left| left > 650)
    };
    eventually("Redis is asked again", redis_counts).await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_holds_without_redis_the_limit_says() {
    let nobody = closed_port();
    let limits = |error: &str| {
        format!(
            "[{{ name: l, limit: 1/h, burst: 2, key: ip, store: redis, on_store_error: {error} }}, {{ name: here, limit: 1/h, burst: 4, key: ip }}]"
        )
    };
    let routes = route("local", &limits("local")) + &route("allow", &limits("allow")) + &route("deny", &limits("deny"));
    let gateway = Gateway::start(&config(&format!("redis: {{ url: 'redis://{nobody}' }}"), &routes));
    assert_eq!(passed(&ask(&gateway, &get("/local"), 8).await), 2);
    assert_eq!(passed(&ask(&gateway, &get("/allow"), 8).await), 4, "the others still hold");
    for _ in 0..8 {
        let denied = gateway.get("/deny").await;
        assert_eq!((denied.status, denied.reason().as_str()), (503, "overloaded"));
        assert_eq!(denied.header("retry-after"), "1");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn requests_go_on_while_redis_comes_and_goes() {
    let mut redis = Redis::start().await;
    let gateway = Gateway::start(&in_redis(&redis, 1_000_000, "").replace("1/h", "1000000/s").replace("5s", "50ms"));
    let done = std::sync::atomic::AtomicBool::new(false);
    let load = async {
        let mut client = gateway.http1().await;
        let mut count = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            assert_eq!(client.send(&get("/a")).await.status, 200);
            count += 1;
        }
        count
    };
    let faults = async {
        for round in 0..3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if round == 1 {
                redis.pause();
                tokio::time::sleep(Duration::from_millis(300)).await;
                redis.resume();
            } else {
                redis.kill().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                redis.restart().await;
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (count, ()) = tokio::join!(load, faults);
    assert!(count > 50, "{count}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_redis_with_a_password_is_logged_into_and_the_password_is_told_to_nobody() {
    let redis = Redis::start().await;
    redis.command(&["CONFIG", "SET", "requirepass", "planted-secret"]).await;
    let limits = "[{ name: l, limit: 1/h, burst: 2, key: ip, store: redis, on_store_error: deny }]";
    let yaml = |password: &str| {
        let url = format!("redis://:{password}@{}/3", redis.address());
        config(&format!("redis: {{ url: '{url}', timeout: 5s }}"), &route("a", limits))
    };
    let gateway = Gateway::start(&yaml("planted-secret"));
    assert_eq!(passed(&ask(&gateway, &get("/a"), 3).await), 2);
    gateway.stop().await;
    let mut program = Program::run(BINARY, &yaml("wrong-planted-secret"));
    let address = program.listener("main").await;
    assert_eq!(Http1::connect(address).await.send(&get("/a")).await.status, 503);
    let line = program.logged("Redis does not answer").await;
    assert!(!program.log().contains("planted-secret"), "{line}");
}

#[tokio::test]
async fn check_asks_redis_too() {
    let redis = Redis::start().await;
    let yaml = |address: &str| {
        format!(
            "version: 1\nlisteners: [{{ name: a, address: '127.0.0.1:0' }}]\nredis: {{ url: 'redis://{address}' }}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    for (address, code) in [(redis.address(), 0), (closed_port(), 1)] {
        std::fs::write(folder.path().join("a.yaml"), yaml(&address.to_string())).unwrap();
        let said = tidegate_testkit::program::output(BINARY, folder.path(), &["check", "--online", "-c", "a.yaml"], "");
        let said = said.await;
        assert_eq!(said.code, code, "{}{}", said.stdout, said.stderr);
        assert_eq!(format!("{}{}", said.stdout, said.stderr).contains("redis_failed"), code != 0);
    }
}

#[tokio::test]
async fn explain_shows_the_limits_with_their_origin_and_charges_nothing() {
    let top = "defaults: { rate_limits: [{ name: all, limit: 50/s, key: global }] }";
    let limits = "[{ name: mine, limit: 1/h, burst: 2, key: user }]";
    let gateway = Gateway::start(&config(top, &route("a", limits)));
    let explained = gateway.explain(&get("/a"));
    let shown: Vec<_> = explained.policies.iter().filter(|policy| policy.name == "limits").collect();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0].value, serde_json::json!({"all": {"limit": "50/s", "burst": 50, "key": ["global"]}}));
    assert_eq!((shown[0].origin.level.as_str(), shown[0].origin.line), ("defaults", Some(5)));
    assert_eq!(shown[1].value, serde_json::json!({"mine": {"limit": "1/h", "burst": 2, "key": ["user"]}}));
    assert_eq!(shown[1].origin.level, "route");
    for _ in 0..5 {
        assert!(gateway.explain(&get("/a")).would_answer.is_none());
    }
    assert_eq!(passed(&ask(&gateway, &get("/a"), 5).await), 2);
    gateway.stop().await;
}

const PAGE: &str = include_str!("../../../../docs/rate-limits.md");

#[tokio::test]
async fn the_configuration_of_the_page_is_good_and_its_routes_name_their_limits() {
    let yaml = PAGE.split("```yaml\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), yaml).unwrap();
    let said = tidegate_testkit::program::output(BINARY, folder.path(), &["check", "-c", "a.yaml"], "").await;
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let said = tidegate_testkit::program::output(BINARY, folder.path(), &["routes", "-c", "a.yaml"], "").await;
    for (route, limits) in [
        ("orders", "global,per-ip,per-tenant,per-user"),
        ("search", "global,per-ip,search"),
        ("status", "-"),
        ("system-health", "-"),
    ] {
        let line = said.stdout.lines().find(|line| line.starts_with(route)).unwrap_or_default();
        assert!(line.split_whitespace().any(|cell| cell == limits), "{route} {limits}: {line}");
    }
}

/// A Redis with a certificate for `localhost`, and the folder of that.
async fn redis_with_tls() -> (Redis, std::net::SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = tidegate_testkit::tls::write_certificate(folder.path());
    let address = free_port();
    let port = address.port().to_string();
    let [cert, key] = [cert, key].map(|path| path.to_str().unwrap().to_owned());
    let tls = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    (Redis::start_with(&tls).await, address, folder)
}

#[tokio::test]
async fn redis_is_reached_over_tls_and_only_with_a_certificate_that_is_trusted() {
    let (_redis, address, folder) = redis_with_tls().await;
    let limits = "[{ name: l, limit: 1/h, burst: 2, key: ip, store: redis, on_store_error: deny }]";
    let top = format!("redis: {{ url: 'rediss://localhost:{}', timeout: 5s }}", address.port());
    let yaml = config(&top, &route("a", limits));
    let roots = folder.path().join("tls.crt");
    for (trusted, statuses) in [(true, [200, 200, 429]), (false, [503, 503, 503])] {
        let mut program = Program::run_changed(BINARY, &yaml, |command| {
            if trusted {
                command.env("SSL_CERT_FILE", &roots);
            }
        });
        let mut client = Http1::connect(program.listener("main").await).await;
        for status in statuses {
            assert_eq!(client.send(&get("/a")).await.status, status, "{}", program.log());
        }
    }
}
