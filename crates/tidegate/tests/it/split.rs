//! Routes whose requests several services share.

use serde_json::json;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::web::{bytes, ok};
use tidegate_testkit::{Gateway, Peer, Request, Script, Web, get, shop};

/// One worker, so that turns are counted in one place.
const ONE: &str = "runtime: { workers: 1 }\n";

#[tokio::test]
async fn each_service_gets_its_part_with_its_policies_and_keeps_its_requests() {
    let stable = Web::start(|_| ok("stable")).await;
    let canary = Web::start(|heard| match heard.line().contains("/again") && heard.number % 2 == 0 {
        true => vec![bytes("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")],
        false => ok("canary"),
    })
    .await;
    let yaml = |weights: &str| {
        format!(
            "{ONE}admin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  stable: {{ address: \"http://{}\", response_headers: {{ set: {{ x-of: stable }} }} }}\n\
             \x20 canary: {{ address: \"http://{}\", retry: {{ max_retries: 2, backoff: {{ base: 1ms, max: 1ms }} }} }}\n\
             routes:\n  - {{ name: api, path: \"/{{rest=**}}\", split: {weights}, rate_limits: [{{ name: all, limit: 300/d, burst: 300, key: global }}] }}\n",
            stable.address(),
            canary.address()
        )
    };
    let even = "[{ service: stable, weight: 3 }, { service: canary, weight: 1 }]";
    let gateway = Gateway::start(&yaml(even));
    let mut http1 = gateway.http1().await;
    let mut order = String::new();
    for _ in 0..200 {
        let answer = http1.send(&get("/x")).await;
        assert_eq!(answer.header("x-of") == "stable", answer.text() == "stable", "policies are the service's");
        order.push_str(answer.text().get(..1).unwrap());
    }
    assert_eq!((order.matches('s').count(), order.matches('c').count()), (150, 50));
    assert!(!order.contains("cc"), "turns are spread: {order}");
    let page = gateway.ask_admin(&get("/metrics")).await.text().to_owned();
    for (service, count) in [("stable", 150), ("canary", 50)] {
        let line = format!("route=\"api\",service=\"{service}\",method=\"GET\",code=\"200\",reason=\"\"}} {count}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
    let explained = serde_json::to_value(gateway.explain(&get("/x"))).unwrap();
    let split = explained["policies"].as_array().unwrap().iter().find(|policy| policy["name"] == "split").unwrap();
    assert_eq!(split["value"], json!({"stable": 3, "canary": 1}));
    assert!(split["note"].as_str().unwrap().ends_with("stable"), "{split}");

    // Nothing else changes: the limit goes on counting, whoever has the request.
    gateway.apply(&yaml("[{ service: stable, weight: 0 }, { service: canary, weight: 1 }]")).await;
    for _ in 0..20 {
        let answer = http1.send(&get("/again")).await;
        assert_eq!((answer.status, answer.text()), (200, "canary"), "retries stay with the service");
    }
    let seen = stable.heard().len();
    assert_eq!(seen, 150);
    let mut refused = 0;
    for _ in 0..100 {
        refused += usize::from(http1.send(&get("/x")).await.status == 429);
    }
    assert_eq!(refused, 20, "one limit for all that share the route");
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_that_is_down_takes_its_part_with_it_and_no_more() {
    let stable = Web::start(|_| ok("stable")).await;
    let yaml = format!(
        "{ONE}services:\n  stable: {{ address: \"http://{}\" }}\n  canary: {{ address: \"http://{}\" }}\n\
         routes:\n  - {{ name: api, path: /x, split: [{{ service: stable, weight: 9 }}, {{ service: canary, weight: 1 }}] }}\n",
        stable.address(),
        closed_port()
    );
    let gateway = Gateway::start(&yaml);
    let mut http1 = gateway.http1().await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(http1.send(&get("/x")).await.status == 503);
    }
    assert_eq!(failed, 10);
    gateway.stop().await;
}

#[tokio::test]
async fn calls_are_split_transcoded_and_as_they_are() {
    const GET: &str = "/shop.v1.OrderService/GetOrder";
    let old = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let new = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let split = "split: [{ service: old, weight: 1 }, { service: new, weight: 1 }]";
    let yaml = format!(
        "{ONE}services:\n  old: {{ address: \"{}\", descriptors: shop.pb }}\n  new: {{ address: \"{}\", descriptors: [shop.proto] }}\nroutes:\n\
         \x20 - {{ name: json, path: \"/orders/{{id}}\", method: GET, grpc: shop.v1.OrderService/GetOrder, {split} }}\n\
         \x20 - {{ name: native, path: \"/shop.v1.OrderService/{{method}}\", protocol: grpc, {split} }}\n",
        old.address(),
        new.address()
    );
    let gateway = Gateway::start(&yaml);
    let mut http1 = gateway.http1().await;
    for _ in 0..10 {
        assert_eq!(http1.send(&get("/orders/7")).await.status, 200);
    }
    assert_eq!((old.calls(), new.calls()), (5, 5));
    let mut http2 = gateway.http2().await;
    for _ in 0..10 {
        let call = Request::new("POST", GET).header("content-type", "application/grpc").header("te", "trailers");
        let answer = http2.send(&call.body([0; 5])).await;
        assert_eq!((answer.status, answer.trailer("grpc-status")), (200, "0"));
    }
    assert_eq!((old.calls(), new.calls()), (10, 10));
    gateway.stop().await;
}

#[tokio::test]
async fn services_with_other_answers_cannot_share_a_route() {
    let folder = tempfile::TempDir::new().unwrap();
    let proto = |more: &str, total: &str| {
        format!(
            "syntax = \"proto3\"; package p; message Q {{ string id = 1; {more} }} message A {{ {total} total = 1; }}\n\
             service S {{ rpc Get(Q) returns (A); }}"
        )
    };
    for (name, text) in
        [("one", proto("", "int64")), ("grown", proto("bool more = 2;", "int64")), ("other", proto("", "string"))]
    {
        std::fs::write(folder.path().join(format!("{name}.proto")), text).unwrap();
    }
    let yaml = |with: &str| {
        format!(
            "services:\n  one: {{ address: \"{0}\", descriptors: [one.proto] }}\n  with: {{ address: \"{0}\", descriptors: [{with}.proto] }}\n\
             routes:\n  - {{ name: get, path: \"/{{id}}\", method: GET, grpc: p.S/Get, split: [{{ service: one, weight: 1 }}, {{ service: with, weight: 1 }}] }}\n",
            closed_port()
        )
    };
    let gateway = Gateway::start_in(folder, &yaml("grown"));
    let folder = gateway.stop().await;
    let refused = Gateway::try_start_in(folder, &yaml("other")).unwrap_err();
    let why = "services \"one\" and \"with\" cannot share a route: field total of p.A has another type";
    assert!(refused.contains(why), "{refused}");
}
