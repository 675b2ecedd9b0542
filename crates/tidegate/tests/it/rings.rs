//! One user, one endpoint: rings that go by who asks.

use std::collections::HashSet;
use std::net::SocketAddr;

use serde_json::json;
use tidegate_testkit::tokens::{claims, hs256};
use tidegate_testkit::web::ok;
use tidegate_testkit::{Gateway, Peer, Request, Script, Web, get, shop};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// More than any of three endpoints is missed by, but once in 10^35 runs.
const USERS: usize = 200;

/// A service with a ring by user over `addresses`, and who its users are.
fn config(addresses: [SocketAddr; 3], service: &str, routes: &str) -> String {
    format!(
        "auth:
  default: [local]
  providers: {{ local: {{ type: jwt, secret: \"{SECRET}\" }} }}
services:
  back: {{ endpoints: [{}]{service}, load_balancing: {{ policy: ring_hash, hash_on: user }} }}
routes:
{routes}\n",
        addresses.map(|address| format!("\"{address}\"")).join(", ")
    )
}

/// The request with one of the tokens of a user, which are all different.
fn of_user(request: &Request, user: usize, token: usize) -> Request {
    let token = hs256(SECRET, &claims(&format!("user-{user}"), json!({"jti": token})));
    request.clone().header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn a_user_stays_at_an_endpoint_over_http() {
    let webs = [Web::start(|_| ok("0")).await, Web::start(|_| ok("1")).await, Web::start(|_| ok("2")).await];
    let routes = "  - { name: private, path: /private, service: back, auth_required: true }
  - { name: open, path: /open, service: back }";
    let addresses = [webs[0].address(), webs[1].address(), webs[2].address()];
    let gateway = Gateway::start(&config(addresses, ", protocol: http", routes));
    let mut used = HashSet::new();
    for user in 0..USERS {
        let first = gateway.send(&of_user(&get("/private"), user, 0)).await.text().to_owned();
        for answer in gateway.send_both(&of_user(&get("/private"), user, 1)).await {
            assert_eq!((answer.status, answer.text()), (200, first.as_str()), "user {user}");
        }
        used.insert(first);
        if used.len() == webs.len() {
            break;
        }
    }
    assert_eq!(used.len(), webs.len(), "all have users: {used:?}");
    // Nobody is known here, so it is the address that counts, whatever the token says.
    let mut used = HashSet::new();
    for user in 0..20 {
        for answer in gateway.send_both(&of_user(&get("/open"), user, 0)).await {
            used.insert(answer.text().to_owned());
        }
    }
    assert_eq!(used.len(), 1, "{used:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_user_stays_at_an_endpoint_over_grpc_and_json() {
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(Peer::with("GetOrder", Script::ok(shop::order())).await);
    }
    let routes = "  - { name: json, path: \"/v1/orders/{id}\", method: GET, service: back, grpc: OrderService/GetOrder, auth_required: true }
  - { name: native, path: \"/shop.v1.OrderService/{method}\", service: back, protocol: grpc, auth_required: true }";
    let addresses = [peers[0].address(), peers[1].address(), peers[2].address()];
    let gateway = Gateway::start(&config(addresses, ", descriptors: shop.pb", routes));
    let native = Request::new("POST", "/shop.v1.OrderService/GetOrder")
        .header("content-type", "application/grpc")
        .body(vec![0; 5]);
    let mut used = HashSet::new();
    for user in 0..USERS {
        let before: Vec<usize> = peers.iter().map(Peer::calls).collect();
        for answer in gateway.send_both(&of_user(&get("/v1/orders/7"), user, 0)).await {
            assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON));
        }
        let answer = gateway.http2().await.send(&of_user(&native, user, 1)).await;
        assert_eq!(answer.trailer("grpc-status"), "0");
        let calls: Vec<usize> = peers.iter().zip(before).map(|(peer, before)| peer.calls() - before).collect();
        let place = calls.iter().position(|calls| *calls == 3);
        used.insert(place.unwrap_or_else(|| panic!("user {user} is at several endpoints: {calls:?}")));
        if used.len() == peers.len() {
            break;
        }
    }
    assert_eq!(used.len(), peers.len(), "all have users: {used:?}");
    let explained = gateway.explain(&of_user(&get("/v1/orders/7"), 1, 0));
    assert!(explained.policies.iter().any(|policy| policy.value == json!({"hash_on": "user"})));
    gateway.stop().await;
}
