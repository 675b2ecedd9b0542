//! Keys that are fetched from their issuer.

use serde_json::json;
use tidegate_testkit::tokens::{Issuer, Signer, claims};
use tidegate_testkit::web::ok;
use tidegate_testkit::{Gateway, Web, eventually, get, soon};

use super::bearer;

fn config(web: &Web, keys: &str) -> String {
    format!(
        "auth: {{ default: [main], providers: {{ main: {{ type: jwt, {keys} }} }}, forward: {{ x-user-id: sub }} }}
services: {{ web: {{ endpoints: [\"http://{}\"] }} }}
routes:
  - {{ name: a, path: /a, service: web, auth_required: true }}
  - {{ name: ready, path: /other, service: web, auth_required: false }}
observability: {{ logs: {{ access: null }}, metrics: {{ public_path: /metrics }} }}
",
        web.address()
    )
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.send(&bearer(get("/a"), token)).await.status
}

#[tokio::test]
async fn keys_are_fetched_from_the_issuer_and_found_by_discovery() {
    let web = Web::start(|_| ok("hello")).await;
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    let token = signer.token(&claims("u1", json!({"iss": issuer.url()})));
    for keys in
        [format!("jwks: \"{}/jwks.json\"", issuer.url()), format!("issuer: \"{}\", discovery: true", issuer.url())]
    {
        let gateway = Gateway::start(&config(&web, &keys));
        assert_eq!(status(&gateway, &token).await, 200, "the first request waits for the first keys");
        assert_eq!(web.last().field("x-user-id"), "u1");
        assert_eq!(gateway.get("/health/readiness").await.status, 200);
        assert!(
            gateway
                .get("/metrics")
                .await
                .text()
                .contains("tidegate_jwks_refreshes_total{provider=\"main\",result=\"success\"} 1")
        );
        gateway.stop().await;
    }
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_new_key_is_fetched_once_for_all_who_wait() {
    let web = Web::start(|_| ok("hello")).await;
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::start(&[&old]).await;
    let gateway = Gateway::start(&config(&web, &format!("jwks: \"{}/jwks.json\"", issuer.url())));
    let (first, second) = (old.token(&claims("u1", json!({}))), new.token(&claims("u2", json!({}))));
    assert_eq!(status(&gateway, &first).await, 200);
    issuer.rotate(&[&new]);
    // The first fetch began less than 30 s ago: a token with an unknown key causes no other one.
    assert_eq!(status(&gateway, &second).await, 401);
    assert_eq!((status(&gateway, &first).await, issuer.fetches()), (200, 1));
    for number in 0..50 {
        let unknown = Signer::new(&format!("unknown-{number}")).token(&claims("u3", json!({})));
        assert_eq!(status(&gateway, &unknown).await, 401);
    }
    assert_eq!(issuer.fetches(), 1, "made-up key ids cost the issuer nothing");
    gateway.stop().await;
}

#[tokio::test]
async fn without_any_keys_nobody_is_let_in_and_nobody_is_blamed() {
    let web = Web::start(|_| ok("hello")).await;
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    issuer.fail(true);
    let gateway = Gateway::start(&config(&web, &format!("jwks: \"{}/jwks.json\"", issuer.url())));
    let token = signer.token(&claims("u1", json!({})));
    let answer = gateway.send(&bearer(get("/a"), &token)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "connect_failed"));
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(gateway.get("/a").await.status, 401, "no credential is no credential");
    assert_eq!(gateway.get("/other").await.status, 200);
    let readiness = gateway.get("/health/readiness").await;
    assert_eq!(readiness.status, 503);
    assert!(readiness.text().contains("jwks:main"), "{}", readiness.text());
    issuer.fail(false);
    assert_eq!(gateway.get("/health").await.json()["checks"]["jwks:main"]["status"], "warn");
    eventually("the keys are fetched", async || status(&gateway, &token).await == 200).await;
    eventually("ready", async || gateway.get("/health/readiness").await.status == 200).await;
    assert_eq!(gateway.get("/health").await.json()["checks"]["jwks:main"]["status"], "pass");
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_keys_and_known_tokens_of_what_has_not_changed() {
    let web = Web::start(|_| ok("hello")).await;
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    let keys = format!("jwks: \"{}/jwks.json\"", issuer.url());
    let gateway = Gateway::start(&config(&web, &keys));
    let token = signer.token(&claims("u1", json!({"iss": "us"})));
    assert_eq!(status(&gateway, &token).await, 200);
    issuer.fail(true);
    gateway.apply(&format!("# moved\n{}", config(&web, &keys)).replace("/other", "/more")).await;
    assert_eq!(status(&gateway, &token).await, 200);
    // Other rules, the same keys: what was known is checked anew, without a fetch.
    gateway.apply(&config(&web, &format!("{keys}, issuer: them"))).await;
    assert_eq!(status(&gateway, &token).await, 401);
    gateway.apply(&config(&web, &format!("{keys}, issuer: us"))).await;
    assert_eq!((status(&gateway, &token).await, issuer.fetches()), (200, 1));
    soon(gateway.stop()).await;
}
