//! A gateway that is told to end while it is busy.

use std::time::{Duration, Instant};

use tidegate_testkit::{Peer, Program, Script, shop};

use crate::BINARY;
use crate::load::{Ask, Lanes, Load, Tally};
use crate::scale::scaled;

const TERMS: usize = 100;
const RATE: u32 = 400;
/// Each of them asks ten times a second. A gateway that ends waits longer than that before it closes a connection that
/// carries nothing, so that none of them can meet the close with a request that is already on its way.
const LANES: Lanes = Lanes { http1: 24, http2: 6, fresh: 10 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn a_hundred_terms_under_load() {
    let terms = scaled(TERMS, 5);
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    // So slow that some are always under way, and some begin on streams that were opened before the end.
    peer.on("Download", Script::new().pause(Duration::from_millis(400)).message(download()).status(0, ""));
    let yaml = shop::config(peer.address(), "drain: { readiness_delay: 50ms, timeout: 10s }");
    let (mut all, mut longest) = (Tally::default(), Duration::ZERO);
    for number in 0..terms {
        let mut program = Program::run(BINARY, &yaml);
        let address = program.listener("main").await;
        program.logged("\"started\"").await;
        let quick = Ask::exactly("/v1/orders/7", shop::ORDER_JSON);
        let slow = Ask::exactly("/v1/orders/7/file", "file");
        let mut asks = vec![quick; 9];
        asks.push(slow);
        let load = Load::start(address, RATE, LANES, asks);
        load.answered(200 + number % 10 * 10).await;
        load.expect_the_end();
        let told = Instant::now();
        program.terminate();
        let code = program.code().await;
        longest = longest.max(told.elapsed());
        let tally = load.stop().await;
        assert_eq!((code, tally.failed()), (0, 0), "term {number}: {tally}\n{}", program.log());
        all.join(tally);
    }
    println!(
        "a_hundred_terms_under_load: {terms} times TERM, each ended with 0, the slowest after {:.1} s of 10 s; {all}",
        longest.as_secs_f64()
    );
    all.assert_good();
}

fn download() -> bytes::Bytes {
    shop::message("google.api.HttpBody", serde_json::json!({ "contentType": "text/plain", "data": "ZmlsZQ==" }))
}
