//! Listeners and their certificates across reloads.

use std::net::TcpStream;

use tempfile::TempDir;
use tidegate::reload::Outcome;
use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::{Gateway, Peer, Script, eventually, get, shop, tls};

use super::ping;

const MAIN: &str = "{ name: main, address: \"127.0.0.1:0\" }";

fn listeners(more: &str) -> String {
    format!("listeners: [{MAIN}{more}]\n")
}

#[tokio::test]
async fn listeners_come_and_go_and_streams_on_them_end_in_good_order() {
    let held = Script::new().message(shop::event(1)).hold().message(shop::event(2)).status(0, "");
    let peer = Peer::with("WatchOrders", held).await;
    let shop = shop::config(peer.address(), "");
    let gateway = Gateway::start(&format!("{}{shop}", listeners("")));
    let (main, mut kept) = (gateway.address(), gateway.http1().await);
    let more = ", { name: more, address: \"127.0.0.1:0\", protocols: [http2] }";
    gateway.apply(&format!("{}{shop}", listeners(more))).await;
    let more = gateway.listener("more");
    assert_eq!(gateway.address(), main, "the others stay where they are");
    let mut http2 = Http2::connect(more).await;
    let mut stream = http2.start(&get("/v1/topics/a").header("accept", "application/x-ndjson"), true).await;
    assert_eq!(stream.head().await.unwrap().0, 200);
    assert_eq!(stream.piece().await.unwrap().unwrap(), "{\"sequence\":\"1\"}\n");

    gateway.apply(&format!("{}{shop}", listeners(""))).await;
    eventually("nobody listens", || async { TcpStream::connect(more).is_err() }).await;
    peer.release(1);
    assert_eq!(stream.piece().await.unwrap().unwrap(), "{\"sequence\":\"2\"}\n");
    assert_eq!(stream.piece().await, Ok(None));
    assert_eq!(kept.send(&get("/health/liveness")).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_new_connections_alone() {
    let folder = TempDir::new().unwrap();
    let (cert, _) = tls::write_certificate(folder.path());
    let first = folder.path().join("first.crt");
    std::fs::copy(&cert, &first).unwrap();
    let secure = ", { name: tls, address: \"127.0.0.1:0\", tls: { cert: tls.crt, key: tls.key } }";
    let yaml = format!("{}{}", listeners(secure), ping("one"));
    let gateway = Gateway::start_in(folder, &yaml);
    let address = gateway.listener("tls");
    let mut old = Http1::over(tls::connect(address, &first, &[]).await.unwrap());
    assert_eq!(old.send(&get("/ping")).await.text(), "one");

    // Half of a pair is refused; the old pair goes on.
    let other = TempDir::new().unwrap();
    let (new_cert, new_key) = tls::write_certificate(other.path());
    gateway.write("tls.crt", std::fs::read(&new_cert).unwrap());
    assert!(matches!(gateway.look().await, Outcome::Rejected { .. }));
    assert!(tls::connect(address, &first, &[]).await.is_ok());

    gateway.write("tls.key", std::fs::read(&new_key).unwrap());
    let Outcome::Applied { diff, .. } = gateway.look().await else { panic!("not applied") };
    let summary = diff.summary();
    assert!(summary.contains("2 files changed") && summary.contains("tls.crt"), "{summary}");
    assert!(tls::connect(address, &first, &[]).await.is_err());
    let mut new = Http1::over(tls::connect(address, &new_cert, &[]).await.unwrap());
    assert_eq!(new.send(&get("/ping")).await.text(), "one");
    assert_eq!(old.send(&get("/ping")).await.text(), "one", "a connection belongs to the process");
    gateway.stop().await;
}

#[tokio::test]
async fn protocols_of_a_listener_change_for_new_connections() {
    let gateway = Gateway::start(&format!("{}{}", listeners(""), ping("one")));
    let address = gateway.address();
    let mut old = gateway.http2().await;
    assert_eq!(old.send(&get("/ping")).await.text(), "one");
    let only = "listeners: [{ name: main, address: \"127.0.0.1:0\", protocols: [http1] }]\n";
    gateway.apply(&format!("{only}{}", ping("two"))).await;
    assert_eq!(gateway.address(), address);
    assert_eq!(old.send(&get("/ping")).await.text(), "two");
    assert_eq!(gateway.get("/ping").await.text(), "two");
    gateway.stop().await;
}
