//! Where backends are: sockets in the file system, names with many addresses; and how much each of them gets.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use tempfile::TempDir;
use tidegate_testkit::web::ok;
use tidegate_testkit::{Dns, Gateway, Part, Peer, Script, UnixDoor, Web, eventually, get, post, shop, soon};
use tokio::net::TcpListener;

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A backend that answers with its name, and waits before it does for `/slow`.
async fn named_at(address: SocketAddr, name: &'static str) -> Web {
    Web::start_at(address, move |heard| {
        let mut parts = ok(name);
        if heard.line().starts_with("GET /slow") {
            parts.insert(0, Part::Wait);
        }
        parts
    })
    .await
}

/// Backends at both addresses, on one port.
async fn both() -> (Web, Web) {
    let one = named_at((ONE, 0).into(), "one").await;
    let two = named_at((TWO, one.address().port()).into(), "two").await;
    (one, two)
}

fn config(endpoints: &str, more: &str) -> String {
    format!(
        "admin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  web: {{ protocol: http, endpoints: [{endpoints}], load_balancing: {{ policy: round_robin }}{more} }}
routes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: web, retry: null }}\n"
    )
}

/// Who answers so many requests.
async fn answers(gateway: &Gateway, count: usize) -> HashMap<String, usize> {
    let mut answers = HashMap::new();
    for _ in 0..count {
        let answer = gateway.get("/").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        *answers.entry(answer.text().to_owned()).or_default() += 1;
    }
    answers
}

fn counts(pairs: &[(&str, usize)]) -> HashMap<String, usize> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn backends_are_reached_through_sockets_in_the_file_system() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("web.sock");
    let web = Web::start(|heard| ok(&format!("{} {}", heard.field("host"), heard.body.len()))).await;
    let door = UnixDoor::open(&path, web.address());
    let check =
        ", health_check: { type: http, path: /up, interval: 20ms, unhealthy_threshold: 1, healthy_threshold: 1 }";
    let gateway = Gateway::start(&config(&format!("\"unix:{}\"", path.display()), check));
    for answer in gateway.send_both(&post("/a", "body").header("host", "shop.test")).await {
        assert_eq!((answer.status, answer.text()), (200, "shop.test 4"), "backends see the client's Host");
    }
    eventually("the health check goes the same way", || async {
        web.heard().iter().any(|heard| heard.line().starts_with("GET /up") && heard.field("host") == "localhost")
    })
    .await;
    drop(door);
    std::fs::remove_file(&path).unwrap();
    let gone = || async { gateway.send(&get("/a").header("x-new", "1")).await.status };
    // Connections that are open stay good; the check makes new ones.
    eventually("the check fails", || async { endpoints(&gateway).await.contains("\"unhealthy\"") }).await;
    let _door = UnixDoor::open(&path, web.address());
    eventually("it is back", || async { gone().await == 200 && endpoints(&gateway).await.contains("\"healthy\"") })
        .await;
    gateway.stop().await;
}

/// What operators are shown of the endpoints.
async fn endpoints(gateway: &Gateway) -> String {
    gateway.ask_admin(&get("/api/services/web")).await.text().to_owned()
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_a_failed_connection() {
    let folder = TempDir::new().unwrap();
    let gateway = Gateway::start(&config(&format!("\"unix:{}/none.sock\"", folder.path().display()), ""));
    for answer in gateway.send_both(&get("/a")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (503, "connect_failed"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn calls_go_through_a_socket_in_the_file_system() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("shop.sock");
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let _door = UnixDoor::open(&path, peer.address());
    let config =
        shop::config(peer.address(), "").replace(&peer.address().to_string(), &format!("unix:{}", path.display()));
    let gateway = Gateway::start(&config);
    for answer in gateway.send_both(&get("/v1/orders/7")).await {
        assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON));
        assert_eq!(peer.call().await.path, "/shop.v1.OrderService/GetOrder");
    }
    gateway.stop().await;
}

fn dns_endpoint(dns: &Dns, port: u16) -> String {
    format!("\"dns://{}/web.test.:{port}\"", dns.address())
}

#[tokio::test]
async fn each_address_of_a_name_is_an_endpoint() {
    let (one, two) = both().await;
    let dns = Dns::start().await;
    dns.set("web.test", &[ONE, TWO], 0);
    let gateway = Gateway::start(&config(&dns_endpoint(&dns, one.address().port()), ""));
    assert_eq!(answers(&gateway, 10).await, counts(&[("one", 5), ("two", 5)]));
    // On one connection, so on one worker, whose connections to backends are its own.
    let mut http2 = gateway.http2().await;
    for _ in 0..2 {
        http2.send(&get("/")).await;
    }
    let connections = one.connections() + two.connections();
    let asked = dns.asked("web.test");
    eventually("the name is looked up again", || async { dns.asked("web.test") > asked + 1 }).await;
    for _ in 0..4 {
        assert_eq!(http2.send(&get("/")).await.status, 200);
    }
    assert_eq!(one.connections() + two.connections(), connections, "an answer in another order changes nothing");
    gateway.stop().await;
}

#[tokio::test]
async fn addresses_come_and_go_and_running_requests_end_where_they_are() {
    let (one, two) = both().await;
    let dns = Dns::start().await;
    dns.set("web.test", &[ONE], 0);
    let gateway = Gateway::start(&config(&dns_endpoint(&dns, one.address().port()), ""));
    assert_eq!(answers(&gateway, 4).await, counts(&[("one", 4)]));
    let mut http2 = gateway.http2().await;
    let mut slow = http2.start(&get("/slow"), true).await;
    eventually("the slow request is running", || async {
        one.heard().iter().any(|heard| heard.line().contains("/slow"))
    })
    .await;
    dns.set("web.test", &[TWO], 0);
    eventually("new requests go to the new address", || async { gateway.get("/").await.text() == "two" }).await;
    assert_eq!(answers(&gateway, 4).await, counts(&[("two", 4)]));
    one.release();
    let answer = slow.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "one"), "it ends where it began");
    eventually("nothing is kept open to what has gone", || async { one.open() == 0 }).await;
    dns.fails(true);
    let asked = dns.asked("web.test");
    eventually("the failure was heard", || async { dns.asked("web.test") > asked + 1 }).await;
    assert_eq!(answers(&gateway, 4).await, counts(&[("two", 4)]), "the last good answer stays");
    dns.fails(false);
    dns.set("web.test", &[], 0);
    let asked = dns.asked("web.test");
    eventually("that there is none was heard", || async { dns.asked("web.test") > asked }).await;
    assert_eq!(answers(&gateway, 4).await, counts(&[("two", 4)]));
    dns.set("web.test", &[TWO, ONE], 0);
    eventually("both are used", || async { answers(&gateway, 2).await == counts(&[("one", 1), ("two", 1)]) }).await;
    drop(two);
    gateway.stop().await;
}

#[tokio::test]
async fn requests_wait_for_the_first_answer_of_a_name_and_no_longer() {
    let one = named_at((ONE, 0).into(), "one").await;
    let dns = Dns::start().await;
    let endpoint = dns_endpoint(&dns, one.address().port());
    let gateway = Gateway::start(&config(&endpoint, ", connect_timeout: 100ms"));
    let answer = gateway.get("/").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "no_healthy_endpoint"));
    gateway.stop().await;
    let gateway = Gateway::start(&config(&endpoint, ", connect_timeout: 9s"));
    let mut http2 = gateway.http2().await;
    let mut waiting = http2.start(&get("/"), true).await;
    eventually("the name was asked for", || async { dns.asked("web.test") > 1 }).await;
    dns.set("web.test", &[ONE], 60);
    assert_eq!(waiting.answer().await.text(), "one");
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_a_name() {
    let one = named_at((ONE, 0).into(), "one").await;
    let dns = Dns::start().await;
    dns.set("web.test", &[ONE], 60);
    let endpoint = dns_endpoint(&dns, one.address().port());
    let gateway = Gateway::start(&config(&endpoint, ""));
    assert_eq!(answers(&gateway, 1).await, counts(&[("one", 1)]));
    dns.fails(true);
    gateway.apply(&config(&endpoint, ", connect_timeout: 1s")).await;
    assert_eq!(answers(&gateway, 4).await, counts(&[("one", 4)]), "the new cluster knows the address");
    gateway.stop().await;
}

#[tokio::test]
async fn the_weight_of_a_name_may_change_while_its_addresses_do() {
    let (one, two) = both().await;
    let dns = Dns::start().await;
    dns.set("web.test", &[ONE], 0);
    let name = dns_endpoint(&dns, one.address().port());
    let weighed =
        |weight: u32| config(&format!("{{ address: {name}, weight: {weight} }}, \"http://{}\"", two.address()), "");
    let gateway = Gateway::start(&weighed(1));
    eventually("the name is known", || async { gateway.get("/").await.text() == "one" }).await;
    assert_eq!(answers(&gateway, 4).await, counts(&[("one", 2), ("two", 2)]));
    gateway.apply(&weighed(3)).await;
    assert_eq!(answers(&gateway, 8).await, counts(&[("one", 6), ("two", 2)]));
    dns.set("web.test", &[TWO], 0);
    eventually("the name is followed", || async { answers(&gateway, 4).await == counts(&[("two", 4)]) }).await;
    dns.set("web.test", &[ONE], 0);
    let parts = counts(&[("one", 6), ("two", 2)]);
    eventually("with its weight", || async { answers(&gateway, 8).await == parts }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn health_of_addresses_that_come_is_checked() {
    let one = named_at((ONE, 0).into(), "one").await;
    let dead = (TWO, one.address().port());
    let dns = Dns::start().await;
    dns.set("web.test", &[ONE], 0);
    let check = ", health_check: { type: tcp, interval: 20ms, unhealthy_threshold: 1 }";
    let gateway = Gateway::start(&config(&dns_endpoint(&dns, dead.1), check));
    assert_eq!(answers(&gateway, 1).await, counts(&[("one", 1)]));
    dns.set("web.test", &[ONE, TWO], 0);
    eventually("the check finds nobody at the new address", || async {
        endpoints(&gateway).await.contains("\"unhealthy\"")
    })
    .await;
    assert_eq!(answers(&gateway, 6).await, counts(&[("one", 6)]));
    gateway.stop().await;
}

#[tokio::test]
async fn calls_spread_over_the_addresses_of_a_name() {
    let mut one = Peer::start_at((ONE, 0).into()).await;
    let mut two = Peer::start_at((TWO, one.address().port()).into()).await;
    for peer in [&one, &two] {
        peer.on("GetOrder", Script::ok(shop::order()));
    }
    let dns = Dns::start().await;
    dns.set("shop.test", &[TWO, ONE], 0);
    let endpoint = format!("dns://{}/shop.test.:{}", dns.address(), one.address().port());
    let yaml = shop::config(one.address(), "");
    let yaml = yaml.replace(
        &format!("address: \"{}\"", one.address()),
        &format!("endpoints: [\"{endpoint}\"], load_balancing: {{ policy: round_robin }}"),
    );
    let gateway = Gateway::start(&yaml);
    for _ in 0..4 {
        assert_eq!(gateway.get("/v1/orders/7").await.text(), shop::ORDER_JSON);
    }
    assert_eq!((one.calls(), two.calls()), (2, 2));
    assert_eq!(one.call().await.path, two.call().await.path);
    gateway.stop().await;
}

/// The first address takes connections and says nothing, so the call waits until it has gone.
#[tokio::test]
async fn a_call_that_waits_for_an_address_follows_a_name_that_moves() {
    let peer = Peer::start_at((TWO, 0).into()).await;
    peer.on("GetOrder", Script::ok(shop::order()));
    let silent = TcpListener::bind((ONE, peer.address().port())).await.unwrap();
    let dns = Dns::start().await;
    dns.set("shop.test", &[ONE], 0);
    let yaml = shop::config(peer.address(), "defaults: { retry: null }").replace(
        &format!("address: \"{}\"", peer.address()),
        &format!("endpoints: [\"dns://{}/shop.test.:{}\"], connect_timeout: 14s", dns.address(), peer.address().port()),
    );
    let gateway = Gateway::start(&yaml);
    let mut http2 = gateway.http2().await;
    let mut waiting = http2.start(&get("/v1/orders/7"), true).await;
    let _connection = soon(silent.accept()).await.unwrap();
    dns.set("shop.test", &[TWO], 0);
    assert_eq!(waiting.answer().await.text(), shop::ORDER_JSON);
    gateway.stop().await;
}

#[tokio::test]
async fn weights_say_how_much_an_endpoint_gets() {
    let webs = [
        named_at(([127, 0, 0, 1], 0).into(), "heavy").await,
        named_at(([127, 0, 0, 1], 0).into(), "light").await,
        named_at(([127, 0, 0, 1], 0).into(), "none").await,
    ];
    let [heavy, light, none] = [&webs[0], &webs[1], &webs[2]].map(Web::address);
    for policy in ["round_robin", "least_request", "peak_ewma", "random", "ring_hash, hash_on: \"header:x-key\""] {
        let yaml = format!(
            "services:\n  web: {{ load_balancing: {{ policy: {policy} }}, endpoints: [{{ address: \"http://{heavy}\", weight: 9 }}, \"http://{light}\", {{ address: \"http://{none}\", weight: 0 }}] }}
routes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: web }}\n"
        );
        let gateway = Gateway::start(&yaml);
        let mut answers: HashMap<String, usize> = HashMap::new();
        let mut http1 = gateway.http1().await;
        for number in 0..200 {
            let answer = http1.send(&get("/").header("x-key", &number.to_string())).await;
            *answers.entry(answer.text().to_owned()).or_default() += 1;
        }
        let of = |name: &str| answers.get(name).copied().unwrap_or(0);
        assert_eq!(of("none"), 0, "{policy}");
        if policy == "round_robin" {
            assert_eq!((of("heavy"), of("light")), (180, 20));
        } else if policy == "peak_ewma" {
            // One late answer outweighs any weight for a while.
            assert!(of("light") > 0 && of("heavy") > 0, "{answers:?}");
        } else {
            assert!(of("light") > 0 && of("heavy") > 3 * of("light"), "{policy} {answers:?}");
        }
        gateway.stop().await;
    }
}
