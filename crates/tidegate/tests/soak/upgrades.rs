//! One program after the other takes over, and no client is told.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_testkit::{Peer, Program, Script, eventually, shop};

use crate::BINARY;
use crate::load::{Ask, Lanes, Load};
use crate::scale::scaled;

const UPGRADES: usize = 50;
const RATE: u32 = 1_000;

/// Waits until the next program can take over.
async fn offers(path: &Path) {
    eventually("a socket for successors", || async { std::os::unix::net::UnixStream::connect(path).is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn fifty_upgrades_under_load() {
    let upgrades = scaled(UPGRADES, 5);
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("WatchOrders", Script::new().message(shop::event(1)).pause(Duration::from_millis(300)).status(0, ""));
    let yaml = shop::config(peer.address(), "drain: { timeout: 10s }");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("handover");
    let start = || Program::run_with(BINARY, &yaml, &["--handover", path.to_str().unwrap()]);
    let mut present = start();
    let address = present.listener("main").await;
    offers(&path).await;
    let order = Ask::exactly("/v1/orders/7", shop::ORDER_JSON);
    let stream = Ask::exactly("/v1/topics/a", r#"[{"sequence":"1"}]"#);
    let lanes = Lanes { http1: 30, http2: 10, fresh: 30 };
    let mut asks = vec![order; 9];
    asks.push(stream);
    let load = Load::start(address, RATE, lanes, asks);
    load.answered(500).await;
    let begun = Instant::now();
    for number in 0..upgrades {
        let mut next = start();
        assert_eq!(next.listener("main").await, address, "{}", next.log());
        next.logged("took over").await;
        assert_eq!(present.code().await, 0, "upgrade {number}: {}", present.log());
        load.answered(200).await;
        present = next;
        offers(&path).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let tally = load.stop().await;
    println!("fifty_upgrades_under_load: {upgrades} upgrades in {seconds:.0} s; {tally}");
    tally.assert_good();
    present.terminate();
    assert_eq!(present.code().await, 0, "{}", present.log());
}
