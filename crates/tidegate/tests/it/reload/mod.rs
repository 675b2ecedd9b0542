//! Another configuration while the gateway runs: what changes, and what must not notice.

mod bad;
mod descriptors;
mod listeners;
mod put;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidegate::reload::{Outcome, Trigger};
use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, shop};

/// A route `/ping` that answers `text`.
fn ping(text: &str) -> String {
    format!("routes: [{{ name: ping, path: /ping, method: GET, respond: {{ text: {text} }} }}]\n")
}

/// The refusal as a person reads it.
fn refused(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Rejected { diagnostics } => diagnostics.to_text(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn routes_come_and_go() {
    let gateway = Gateway::start(&ping("one"));
    assert_eq!(gateway.get("/ping").await.text(), "one");
    assert_eq!(gateway.apply(&ping("two").replace("/ping", "/pong")).await, 2);
    assert_eq!(gateway.get("/ping").await.status, 404);
    assert_eq!(gateway.get("/pong").await.text(), "two");
    gateway.stop().await;
}

#[tokio::test]
async fn what_has_not_changed_is_no_new_generation() {
    let gateway = Gateway::start(&ping("one"));
    let hash = gateway.hash();
    assert!(matches!(gateway.reload().await, Outcome::Unchanged));
    gateway.write_config(&ping("one"));
    assert!(matches!(gateway.reload().await, Outcome::Unchanged), "the same bytes in another file");
    // A comment is another text and another hash, and differs in nothing.
    gateway.write_config(&format!("{}# a comment\n", ping("one")));
    let Outcome::Applied { generation, diff } = gateway.reload().await else { panic!("not applied") };
    assert_eq!((generation, diff.summary().as_str()), (2, "no differences"));
    assert_ne!(gateway.hash(), hash);
    gateway.write_config(&ping("one"));
    assert!(matches!(gateway.reload().await, Outcome::Applied { generation: 3, .. }));
    assert_eq!(gateway.hash(), hash, "the same configuration has the same name");
    gateway.stop().await;
}

#[tokio::test]
async fn the_difference_and_the_last_ten_configurations_are_told() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    let moved = shop::config(peer.address(), "drain: { readiness_delay: 0s, timeout: 6s }")
        .replace("descriptors: shop.pb", "descriptors: shop.pb, connect_timeout: 7s")
        .replace("{ name: chat", "{ name: talk")
        .replace("path: \"/v1/topics/{topic}\"", "path: \"/v1/topic/{topic}\", timeout: 3s");
    // Lines that move are no change.
    gateway.write_config(&format!("\n\n{moved}"));
    let Outcome::Applied { diff, .. } = gateway.reload().await else { panic!("not applied") };
    let lines: Vec<String> = diff.changes.iter().map(ToString::to_string).collect();
    let expected = [
        "service changed: shop (connect_timeout 2s → 7s)",
        "route added: talk",
        "route removed: chat",
        "route changed: watch (path /v1/topics/{topic} → /v1/topic/{topic}, timeout 15s → 3s)",
        "block changed: drain (timeout 5s → 6s)",
    ];
    assert_eq!(lines, expected);

    for number in 0..10 {
        gateway.apply(&ping(&format!("n{number}"))).await;
    }
    let kept = gateway.reloads().history().generations();
    let numbers: Vec<u64> = kept.iter().map(|kept| kept.generation).collect();
    assert_eq!(numbers, (3..=12).rev().collect::<Vec<_>>());
    assert!(kept.iter().all(|kept| kept.trigger == Trigger::Admin && kept.hash.len() == 16 && kept.at_ms > 0));
    gateway.write_config("version: 1\nrotues: []");
    refused(&gateway.reload().await);
    let last = gateway.reloads().history().last().unwrap();
    assert!(refused(&last.outcome).contains("rotues"));
    gateway.stop().await;
}

#[tokio::test]
async fn what_needs_a_restart_is_refused_as_a_whole() {
    let gateway = Gateway::start(&ping("one"));
    let fixed = [
        ("runtime: { workers: 1 }", "runtime.workers"),
        ("runtime: { workers: 2, model: shared }", "runtime.model"),
        ("admin: { address: \"127.0.0.1:0\" }", "admin.address"),
        ("observability: { logs: { format: text } }", "observability.logs.format"),
    ];
    for (yaml, key) in fixed {
        gateway.write_config(&format!("{yaml}\n{}", ping("two")));
        let Outcome::NeedsRestart { fields } = gateway.reload().await else { panic!("{key}") };
        assert_eq!(fields, [key]);
        assert_eq!(gateway.get("/ping").await.text(), "one");
    }
    gateway.write_config(&ping("one"));
    assert!(matches!(gateway.reload().await, Outcome::Unchanged));
    gateway.stop().await;
}

/// Each of two configurations names itself twice: in its envelope, and through the backend that it calls. A request
/// that saw parts of both would get an answer with two names.
#[tokio::test]
async fn a_request_sees_one_whole_configuration() {
    let mut peers = Vec::new();
    let mut configs = Vec::new();
    for name in ["A", "B"] {
        let order = shop::message("Order", serde_json::json!({ "id": 7, "customerName": name }));
        let peer = Peer::with("GetOrder", Script::ok(order)).await;
        let envelope = format!("wrap: {{ success: {{ by: {name}, order: \"{{{{ response }}}}\" }} }}");
        configs.push(format!(
            "services: {{ shop: {{ address: \"{}\", descriptors: shop.pb }} }}
envelopes: {{ {envelope} }}
routes: [{{ name: order, path: \"/orders/{{id}}\", method: GET, service: shop, grpc: OrderService/GetOrder, envelope: wrap }}]
",
            peer.address()
        ));
        peers.push(peer);
    }
    let gateway = Arc::new(Gateway::start(&configs[0]));
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut clients = Vec::new();
    for number in 0..4 {
        let (address, done, seen) = (gateway.address(), Arc::clone(&done), Arc::clone(&seen));
        clients.push(tokio::spawn(async move {
            let mut http1 = Http1::connect(address).await;
            let mut http2 = Http2::connect(address).await;
            while !done.load(Ordering::Relaxed) {
                let request = get("/orders/7");
                let answer = if number % 2 == 0 { http1.send(&request).await } else { http2.send(&request).await };
                assert_eq!(answer.status, 200, "{}", answer.text());
                let json = answer.json();
                let by = json["by"].as_str().unwrap();
                assert_eq!(json["order"]["customerName"], by, "{json}");
                seen[usize::from(by == "B")].fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for number in 0..60 {
        let before = seen[(number + 1) % 2].load(Ordering::Relaxed);
        gateway.apply(&configs[(number + 1) % 2]).await;
        let enough = || async { seen[(number + 1) % 2].load(Ordering::Relaxed) > before };
        eventually("requests see the new configuration", enough).await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    // One of them is in force; of the other nothing is left.
    eventually("the connections that nobody uses are closed", || async { peers[1].open_connections() == 0 }).await;
    assert!(peers[0].open_connections() > 0);
    Arc::try_unwrap(gateway).unwrap().stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_where_it_began_while_its_service_moves() {
    let held = Script::new().message(shop::event(1)).hold().message(shop::event(2)).status(0, "");
    let mut old = Peer::with("WatchOrders", held).await;
    old.on("GetOrder", Script::new().hold().message(shop::order()).status(0, ""));
    let new = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(old.address(), ""));
    let mut http2 = gateway.http2().await;
    let mut stream = http2.start(&get("/v1/topics/a").header("accept", "application/x-ndjson"), true).await;
    let mut waiting = http2.start(&get("/v1/orders/7"), true).await;
    old.call().await;
    old.call().await;
    assert_eq!(stream.head().await.unwrap().0, 200);
    assert_eq!(stream.piece().await.unwrap().unwrap(), "{\"sequence\":\"1\"}\n");

    gateway.apply(&shop::config(new.address(), "")).await;
    assert_eq!(gateway.get("/v1/orders/7").await.text(), shop::ORDER_JSON);
    assert_eq!((new.calls(), old.calls()), (1, 2));
    old.release(2);
    assert_eq!(stream.piece().await.unwrap().unwrap(), "{\"sequence\":\"2\"}\n");
    assert_eq!(stream.piece().await, Ok(None));
    assert_eq!(waiting.answer().await.text(), shop::ORDER_JSON);
    eventually("the old connections are closed", || async { old.open_connections() == 0 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn connections_and_streams_survive_fifty_reloads() {
    let held = Script::new().message(shop::event(1)).hold().message(shop::event(2)).status(0, "");
    let peer = Peer::with("WatchOrders", held).await;
    peer.on("GetOrder", Script::ok(shop::order()));
    let config = |number: usize| {
        let name = format!("\n  - {{ name: ping, path: /ping, respond: {{ text: n{number} }} }}");
        shop::config(peer.address(), "").replace("\nroutes:", &format!("\nroutes:{name}"))
    };
    let gateway = Gateway::start(&config(0));
    let sse = get("/v1/topics/a").header("accept", "text/event-stream");
    let mut streams = Vec::new();
    let mut connection = gateway.http2().await;
    for _ in 0..20 {
        let mut stream = connection.start(&sse, true).await;
        assert_eq!(stream.head().await.unwrap().0, 200);
        assert!(!stream.piece().await.unwrap().unwrap().is_empty());
        streams.push(stream);
    }
    let (mut http1, mut http2) = (gateway.http1().await, gateway.http2().await);
    assert_eq!(http1.send(&get("/v1/orders/7")).await.status, 200);
    for number in 1..=50 {
        gateway.apply(&config(number)).await;
        assert_eq!(http1.send(&get("/ping")).await.text(), format!("n{number}"));
        assert_eq!(http2.send(&get("/ping")).await.text(), format!("n{number}"));
        assert_eq!(http1.send(&get("/v1/orders/7")).await.text(), shop::ORDER_JSON);
    }
    let connections = peer.connections();
    peer.release(streams.len());
    for mut stream in streams {
        let mut rest = Vec::new();
        while let Some(piece) = stream.piece().await.unwrap() {
            rest.extend_from_slice(&piece);
        }
        assert!(String::from_utf8(rest).unwrap().contains("\"sequence\":\"2\""));
    }
    // Four at most for two workers: the service was never connected to anew.
    assert!(connections <= 5, "{connections} connections");
    gateway.stop().await;
}

#[tokio::test]
async fn a_new_timeout_is_new_connections_and_an_unchanged_service_keeps_its_own() {
    let (kept, changed) = (Peer::start().await, Peer::start().await);
    for peer in [&kept, &changed] {
        peer.on("GetOrder", Script::ok(shop::order()));
    }
    let config = |timeout: &str| {
        format!(
            "services:
  kept: {{ address: \"{}\", descriptors: shop.pb }}
  changed: {{ address: \"{}\", descriptors: shop.pb, connect_timeout: {timeout} }}
routes:
  - {{ name: kept, path: \"/kept/{{id}}\", service: kept, grpc: OrderService/GetOrder }}
  - {{ name: changed, path: \"/changed/{{id}}\", service: changed, grpc: OrderService/GetOrder }}
",
            kept.address(),
            changed.address()
        )
    };
    let gateway = Gateway::start(&format!("runtime: {{ workers: 1 }}\n{}", config("2s")));
    let ask = async || {
        assert_eq!(gateway.get("/kept/7").await.status, 200);
        assert_eq!(gateway.get("/changed/7").await.status, 200);
    };
    ask().await;
    // Behind a comment, so that the service stands on another line.
    gateway.apply(&format!("runtime: {{ workers: 1 }}\n# moved\n{}", config("3s"))).await;
    ask().await;
    assert_eq!((kept.connections(), changed.connections()), (1, 2));
    gateway.stop().await;
}
