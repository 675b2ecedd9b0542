//! Cross-origin requests: preflights end at the gateway, and every answer of a route says who may read it.

use tidegate_testkit::client::Answer;
use tidegate_testkit::web::bytes;
use tidegate_testkit::{Gateway, Part, Request, Web, get};

const GOOD: &str = "https://good.example";
const EVIL: &str = "https://good.example.evil.com";

async fn web() -> Web {
    Web::start(|heard| {
        let status = if heard.line().contains("/fault") { "500 No" } else { "200 OK" };
        let head = "access-control-allow-origin: *\r\naccess-control-allow-methods: PATCH\r\nvary: accept\r\n";
        vec![bytes(&format!("HTTP/1.1 {status}\r\n{head}content-length: 2\r\n\r\nok"))] as Vec<Part>
    })
    .await
}

fn gateway(web: &Web) -> Gateway {
    Gateway::start(&format!(
        "defaults: {{ cors: {{ allow_origins: ['{GOOD}'], allow_credentials: true, expose_headers: [x-page] }} }}
services:
  web: {{ endpoints: [\"http://{}\"] }}
  dead: {{ endpoints: [\"http://127.0.0.1:9\"], retry: null }}
routes:
  - {{ name: get, path: /a, method: GET, service: web }}
  - {{ name: post, path: /a, method: POST, service: web, cors: {{ allow_headers: [x-tenant] }} }}
  - {{ name: any, path: /any, service: web, cors: {{ allow_origins: ['*'], allow_credentials: false }} }}
  - {{ name: fault, path: /fault, service: web }}
  - {{ name: dead, path: /dead, service: dead }}
  - {{ name: own, path: /own, service: web, cors: null }}
  - {{ name: ping, path: /ping, method: GET, respond: {{ text: pong }} }}
",
        web.address()
    ))
}

fn preflight(path: &str, origin: &str, method: &str) -> Request {
    Request::new("OPTIONS", path).header("origin", origin).header("access-control-request-method", method)
}

/// All values of `Vary`.
fn vary(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_gateway_for_the_route_that_it_asks_for() {
    let web = web().await;
    let gateway = gateway(&web);
    for answer in gateway.send_both(&preflight("/a", GOOD, "GET")).await {
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!(answer.header("access-control-allow-origin"), GOOD);
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert_eq!(answer.header("access-control-allow-methods"), "GET, HEAD");
        assert_eq!(answer.header("access-control-max-age"), "600");
        assert_eq!(answer.header("access-control-expose-headers"), "");
        let expected = ["origin, access-control-request-method, access-control-request-headers"];
        assert_eq!(vary(&answer), expected);
    }
    let post = preflight("/a", GOOD, "POST").header("access-control-request-headers", "x-tenant");
    let answer = gateway.send(&post).await;
    assert_eq!((answer.status, answer.header("access-control-allow-headers")), (204, "x-tenant"));
    assert_eq!(answer.header("access-control-allow-methods"), "POST");
    assert_eq!(gateway.send(&preflight("/ping", GOOD, "GET")).await.status, 204);
    let private = preflight("/a", GOOD, "GET").header("access-control-request-private-network", "true");
    assert_eq!(gateway.send(&private).await.header("access-control-allow-private-network"), "");
    assert_eq!(web.heard().len(), 0, "no preflight reaches the backend");
    gateway.stop().await;
}

#[tokio::test]
async fn a_preflight_that_is_not_allowed_grants_nothing_and_reaches_nobody() {
    let web = web().await;
    let gateway = gateway(&web);
    let twice = preflight("/a", GOOD, "GET").header("origin", GOOD);
    let header = preflight("/a", GOOD, "POST").header("access-control-request-headers", "x-other");
    for request in [preflight("/a", EVIL, "GET"), preflight("/a", GOOD, "DELETE"), header, twice] {
        for answer in gateway.send_both(&request).await {
            assert_eq!((answer.status, answer.reason().as_str()), (403, "forbidden"));
            let granted = answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(granted.count(), 0, "{:?}", answer.headers);
            assert!(vary(&answer)[0].starts_with("origin"));
        }
    }
    let missing = gateway.send(&preflight("/nothing", GOOD, "GET")).await;
    assert_eq!((missing.status, missing.header("access-control-allow-origin")), (404, ""));
    assert_eq!(web.heard().len(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn answers_and_refusals_say_who_may_read_them() {
    let web = web().await;
    let gateway = gateway(&web);
    for (path, status) in
        [("/a", 200), ("/fault", 500), ("/dead", 503), ("/nothing", 404), ("/ping", 200), ("/health", 200)]
    {
        let good = gateway.send(&get(path).header("origin", GOOD)).await;
        assert_eq!((good.status, good.header("access-control-allow-origin")), (status, GOOD), "{path}");
        assert_eq!(good.header("access-control-allow-credentials"), "true");
        assert_eq!(good.header("access-control-expose-headers"), "x-page");
        assert_eq!(good.header("access-control-allow-methods"), "", "the backend's word is gone");
        for request in [get(path).header("origin", EVIL), get(path)] {
            let other = gateway.send(&request).await;
            assert_eq!((other.status, other.header("access-control-allow-origin")), (status, ""), "{path}");
            assert!(vary(&other).contains(&"origin"), "{path}: {:?}", vary(&other));
        }
    }
    let answer = gateway.send(&get("/a")).await;
    assert_eq!(vary(&answer), ["accept", "origin"]);
    let any = gateway.send(&get("/any").header("origin", EVIL)).await;
    assert_eq!((any.header("access-control-allow-origin"), any.header("access-control-allow-credentials")), ("*", ""));
    gateway.stop().await;
}

#[tokio::test]
async fn without_rules_everything_is_the_backends_matter() {
    let web = web().await;
    let gateway = gateway(&web);
    let answer = gateway.send(&preflight("/own", EVIL, "GET")).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin"), vary(&answer)),
        (200, "*", vec!["accept"])
    );
    assert_eq!(web.last().line(), "OPTIONS /own HTTP/1.1");
    let options = gateway.send(&Request::new("OPTIONS", "/any").header("origin", GOOD)).await;
    assert_eq!(options.status, 200, "no preflight without a method");
    assert_eq!(web.last().line(), "OPTIONS /any HTTP/1.1");
    gateway.stop().await;
}

#[tokio::test]
async fn an_explanation_tells_what_becomes_of_a_preflight() {
    let web = web().await;
    let gateway = gateway(&web);
    let granted = gateway.explain(&preflight("/a", GOOD, "POST"));
    assert_eq!((granted.matched.as_deref(), granted.would_answer.is_none()), (Some("post"), true));
    let text = granted.to_text();
    assert!(
        text.contains("  cors           allow_origins https://good.example") && text.contains("granted by the gateway"),
        "{text}"
    );
    let refused = gateway.explain(&preflight("/a", EVIL, "GET"));
    assert_eq!(refused.would_answer.map(|refusal| refusal.status), Some(403));
    gateway.stop().await;
}
