//! A configuration that changes all the time, under clients that must not notice more than its answers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_testkit::client::Http1;
use tidegate_testkit::{Peer, Program, Script, eventually, gateway, get, shop};

use crate::BINARY;
use crate::load::{Ask, Lanes, Load, wrong};
use crate::scale::{free_address, scaled};
use crate::streams::Streams;
use crate::vitals::Vitals;

const RELOADS: usize = 1_000;
const STREAMS: usize = 1_000;
const RATE: u32 = 2_000;
/// Reloads after which the first look at the memory is taken. Even, as the last one is: both have the same listeners.
const WARM_UP: usize = 50;

/// Configuration number `number`. Every second one has another listener, other routes and other names of routes.
fn config(number: u64, backend: SocketAddr, extra: SocketAddr) -> String {
    let odd = !number.is_multiple_of(2);
    let name = if odd { "odd" } else { "even" };
    let more = if odd { format!(", {{ name: extra, address: \"{extra}\" }}") } else { String::new() };
    gateway::complete(&format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}{more}]
observability: {{ metrics: {{ public_path: /metrics }}, logs: {{ access: {{ output: /dev/null }} }} }}
defaults: {{ envelope: numbered, errors: {{ format: envelope }} }}
envelopes:
  numbered: {{ error: {{ number: {number}, route: \"{{{{ route }}}}\" }} }}
services:
  shop: {{ address: \"{backend}\", descriptors: shop.pb }}
routes:
  - {{ name: ping-{name}, path: /ping, respond: {{ text: \"{number} {name}\" }} }}
  - {{ name: fails-{name}, path: /fails, service: shop, grpc: OrderService/CreateOrder }}
  - {{ name: order, path: \"/v1/orders/{{id}}\", service: shop, grpc: OrderService/GetOrder }}
  - {{ name: watch, path: \"/v1/topics/{{topic}}\", service: shop, grpc: OrderService/WatchOrders }}
  - {{ name: only-{name}, path: /only-{name}, respond: {{ text: \"{number} {name}\" }} }}
"
    ))
}

/// What a request may see of configurations: one that was in force when it was sent, or has been written since, and all
/// of that one.
fn one_configuration(mark: u64, written: u64, number: u64, name: &str) -> Result<(), String> {
    let belongs = name == if number.is_multiple_of(2) { "even" } else { "odd" };
    if belongs && (mark..=written).contains(&number) {
        return Ok(());
    }
    Err(format!("configuration {number} answers as {name:?}, between {mark} and {written}"))
}

/// `"7 odd"`.
fn in_text(mark: u64, written: u64, text: &str) -> Result<(), String> {
    let (number, name) = text.split_once(' ').ok_or_else(|| format!("no number: {text}"))?;
    one_configuration(mark, written, number.parse().map_err(|_| text.to_owned())?, name)
}

/// `{"number":7,"route":"fails-odd"}`: the number stands in the envelope, the name in the route.
fn in_envelope(mark: u64, written: u64, body: &[u8]) -> Result<(), String> {
    let json: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let (number, route) =
        (json["number"].as_u64(), json["route"].as_str().and_then(|name| name.strip_prefix("fails-")));
    let (Some(number), Some(name)) = (number, route) else { return Err(json.to_string()) };
    one_configuration(mark, written, number, name)
}

fn asks(written: &Arc<AtomicU64>) -> Vec<Ask> {
    let ping = |target: &'static str, name: Option<&'static str>| {
        let written = Arc::clone(written);
        let judge = move |mark, status, body: &[u8]| {
            let newest = written.load(Ordering::SeqCst);
            match (status, name) {
                (200, _) => in_text(mark, newest, &String::from_utf8_lossy(body)),
                // The route is not there in every second configuration, but such a one must have been in force.
                (404, Some(name)) if newest > mark || (mark % 2 == 0) != (name == "even") => Ok(()),
                _ => Err(wrong(status, body)),
            }
        };
        Ask { target, judge: Arc::new(judge) }
    };
    let written_by_then = Arc::clone(written);
    let fails = move |mark, status, body: &[u8]| {
        if status != 409 {
            return Err(wrong(status, body));
        }
        in_envelope(mark, written_by_then.load(Ordering::SeqCst), body)
    };
    let order = Ask::exactly("/v1/orders/7", shop::ORDER_JSON);
    let fails = Ask { target: "/fails", judge: Arc::new(fails) };
    let only = [ping("/only-odd", Some("odd")), ping("/only-even", Some("even"))];
    let [odd, even] = only;
    vec![order.clone(), ping("/ping", None), order.clone(), fails, order.clone(), odd, order, even]
}

fn replace(folder: &Path, text: &str) {
    let fresh = folder.join("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, folder.join("tidegate.yaml")).unwrap();
}

/// Writes configuration `number`, and waits until it is in force.
async fn reload(program: &mut Program, number: u64, text: &str) {
    replace(program.folder(), text);
    // The watched folder tells the others.
    if number.is_multiple_of(10) {
        program.hang_up();
    }
    program.logged(&format!("\"generation\":{},", number + 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn a_thousand_reloads_under_load() {
    let reloads = scaled(RELOADS, WARM_UP + 2) & !1;
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    // ALREADY_EXISTS is 409.
    peer.on("CreateOrder", Script::fails(6, "no"));
    peer.on("WatchOrders", Script::new().every(Duration::from_secs(2), shop::event(1)));
    let extra = free_address();
    let config = |number: u64| config(number, peer.address(), extra);
    let mut program = Program::run(BINARY, &config(0));
    let address = program.listener("main").await;
    program.logged("\"started\"").await;
    let vitals = Vitals(program.id());
    let written = Arc::new(AtomicU64::new(0));
    let load = Load::start(address, RATE, Lanes { http1: 24, http2: 8, fresh: 0 }, asks(&written));
    let streams = Streams::open(address, "/v1/topics/a", scaled(STREAMS, 100)).await;
    streams.all_receive().await;
    let begun = Instant::now();
    let mut warm = (0, 0);
    for number in 1..=reloads as u64 {
        written.store(number, Ordering::SeqCst);
        reload(&mut program, number, &config(number)).await;
        load.mark(number);
        load.assert_good();
        streams.assert_open();
        if number % 2 == 1 {
            let answer = Http1::connect(extra).await.send(&get("/ping")).await;
            assert_eq!((answer.status, answer.text()), (200, format!("{number} odd").as_str()));
        }
        if number == WARM_UP as u64 {
            streams.all_receive().await;
            warm = (vitals.resident_kib(), vitals.descriptors());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    streams.all_receive().await;
    eventually("the listener is gone", || async { std::net::TcpStream::connect(extra).is_err() }).await;
    eventually("as many descriptors as before", || async { vitals.descriptors() <= warm.1 }).await;
    let (memory, descriptors) = (vitals.resident_kib(), vitals.descriptors());
    let page = Http1::connect(address).await.send(&get("/metrics")).await;
    let counted =
        page.text().lines().find(|line| line.starts_with("tidegate_config_reloads_total{result=\"applied\"}"));
    assert_eq!(counted.and_then(|line| line.rsplit(' ').next()), Some(reloads.to_string().as_str()), "{counted:?}");
    let (count, tally) = (streams.count(), load.stop().await);
    drop(streams);
    let growth = memory as f64 / warm.0 as f64 * 100.0 - 100.0;
    println!(
        "a_thousand_reloads_under_load: {reloads} reloads in {seconds:.0} s; {tally}; {count} streams, none closed; \
         {} KiB after {WARM_UP} reloads and {memory} KiB after all of them ({growth:+.1} %); {} and {descriptors} \
         descriptors",
        warm.0, warm.1
    );
    tally.assert_good();
    assert!(growth <= 5.0, "memory has grown by {growth:.1} %");
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    assert!(!program.log().contains("\"level\":\"error\""), "{}", program.log());
}
