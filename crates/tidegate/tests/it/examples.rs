//! The examples as they are shipped, in front of the real core engine.

use serde_json::{Value, json};
use tidegate_testkit::engine::{example, examples};
use tidegate_testkit::{Answer, Engine, Gateway, Peer, Request, Script, eventually, get, post};

const API: &str = "/api/v1";

/// Gateway and engine of the market-data example, ready.
async fn market_data() -> (Engine, Gateway) {
    let engine = Engine::start().await;
    let gateway = Gateway::start(&example("s0-market-data", engine.address()));
    eventually("ready", || async { gateway.get("/health/readiness").await.status == 200 }).await;
    (engine, gateway)
}

async fn end(engine: Engine, gateway: Gateway) {
    gateway.stop().await;
    engine.stop().await;
}

/// Names of an object's members, in their order on the wire.
fn names(value: &Value, text: &str) -> Vec<String> {
    let mut names: Vec<String> = value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    names.sort_by_key(|name| text.rfind(&format!("\"{name}\":")));
    names
}

/// The success envelope around `data`, with typed values in its metadata.
fn check_success(answer: &Answer, data: &str, source: &str, symbols: u64) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text());
    let body = answer.json();
    assert_eq!(names(&body, answer.text()), ["success", "message", data, "metadata", "timestamp"]);
    assert_eq!(body["success"], true);
    let metadata = &body["metadata"];
    assert_eq!((&metadata["source_id"], &metadata["symbols_count"]), (&json!(source), &json!(symbols)));
    // A whole number of milliseconds is written without a fraction.
    assert!(metadata["response_time"].is_number(), "{metadata}");
    assert_eq!(metadata["grpc_status"], "OK");
    check_time(&body["timestamp"]);
    body[data].clone()
}

/// The error envelope.
fn check_failure(answer: &Answer, status: u16, code: &str, message: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/json"), "{}", answer.text());
    let body = answer.json();
    assert_eq!(names(&body, answer.text()), ["success", "message", "metadata", "timestamp"]);
    assert_eq!(body["success"], false);
    assert_eq!(body["metadata"]["grpc_status"], code);
    assert_eq!(body["metadata"]["error"], body["message"]);
    let text = body["message"].as_str().unwrap();
    assert!(text.contains(message), "{message} in {text}");
    check_time(&body["timestamp"]);
}

fn check_time(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
}

fn fetch(body: &Value) -> Request {
    post(&format!("{API}/market-data/fetch"), body.to_string())
}

/// `fetch` until the simulator has values for all `symbols`.
async fn fetch_all(gateway: &Gateway, symbols: &[&str]) -> Answer {
    let request = fetch(&json!({"symbols": symbols, "source_id": "simulator"}));
    eventually("the simulator has values", || async {
        gateway.send(&request).await.json()["market_data"].as_array().map(Vec::len) == Some(symbols.len())
    })
    .await;
    gateway.send(&request).await
}

#[tokio::test]
async fn market_data_is_fetched() {
    let (engine, gateway) = market_data().await;
    let answer = fetch_all(&gateway, &["BTCUSDT", "ETHUSDT"]).await;
    let data = check_success(&answer, "market_data", "simulator", 2);
    assert_eq!((&data[0]["symbol"], &data[1]["symbol"]), (&json!("BTCUSDT"), &json!("ETHUSDT")));
    // Snake case, decimals and 64-bit numbers as text, and which data it is.
    for field in ["price", "volume", "timestamp", "sequence"] {
        assert!(data[0][field].is_string(), "{field} in {data}");
    }
    assert_eq!(data[0]["source_id"], "simulator");
    assert_eq!(data[0]["additional_data"]["origin"], "simulated");
    // Without a source, and with the names of JSON.
    let answer = gateway.send(&fetch(&json!({"symbols": ["BTCUSDT"], "sourceId": ""}))).await;
    check_success(&answer, "market_data", "simulator", 1);
    end(engine, gateway).await;
}

#[tokio::test]
async fn market_data_is_read_from_the_buffer() {
    let (engine, gateway) = market_data().await;
    fetch_all(&gateway, &["BTCUSDT"]).await;
    for answer in gateway.send_both(&get(&format!("{API}/market-data/buffer?symbol=BTCUSDT&limit=1"))).await {
        let data = check_success(&answer, "market_data", "simulator", 1);
        assert_eq!(data.as_array().map(Vec::len), Some(1));
    }
    let answer = gateway.get(&format!("{API}/market-data/buffer?symbol=BTCUSDT")).await;
    check_success(&answer, "market_data", "simulator", 1);
    end(engine, gateway).await;
}

#[tokio::test]
async fn market_data_is_streamed() {
    let (engine, gateway) = market_data().await;
    fetch_all(&gateway, &["BTCUSDT"]).await;
    let mut http1 = gateway.http1().await;
    http1.write(format!("GET {API}/market-data/stream?symbols=BTCUSDT HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    let (status, headers) = http1.head().await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    let mut events = String::new();
    while events.matches("\n\n").count() < 3 {
        events.push_str(&http1.until("\n\n").await);
    }
    for event in events.split("\n\n").take(3) {
        let event: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event["market_data"][0]["symbol"], "BTCUSDT");
    }
    drop(http1);
    // The engine hears that the client has left.
    eventually("no stream is open", || async {
        gateway.get(&format!("{API}/ingestion/stats")).await.json()["stats"]["streams"]["open"] == 0
    })
    .await;
    end(engine, gateway).await;
}

#[tokio::test]
async fn sources_are_connected() {
    let (engine, gateway) = market_data().await;
    let config = json!({"seed": "7", "ticks_per_second": "20", "symbols": "BTCUSDT=64000,ETHUSDT=3400"});
    let request = json!({"source_id": "simulator", "config": config});
    let answer = gateway.post(&format!("{API}/data-sources/connect"), request.to_string()).await;
    let symbols = check_success(&answer, "symbols", "simulator", 2);
    assert_eq!(symbols, json!(["BTCUSDT", "ETHUSDT"]));
    let answer = gateway.get(&format!("{API}/ingestion/stats")).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(names(&body, answer.text()), ["success", "message", "stats", "metadata", "timestamp"]);
    let source = body["stats"]["sources"].as_array().unwrap().iter().find(|source| source["source_id"] == "simulator");
    assert_eq!(source.unwrap()["connects"], "2");
    let one = gateway.get(&format!("{API}/ingestion/stats?source_id=simulator")).await.json();
    assert_eq!(one["stats"]["sources"].as_array().map(Vec::len), Some(1));
    end(engine, gateway).await;
}

#[tokio::test]
async fn bars_and_indicators_are_made_of_what_was_fetched() {
    let (engine, gateway) = market_data().await;
    fetch_all(&gateway, &["BTCUSDT"]).await;
    let answer = gateway.get(&format!("{API}/market-data/bars?symbol=BTCUSDT&interval=1d")).await;
    let body = answer.json();
    assert_eq!(names(&body, answer.text()), ["success", "message", "bars", "metadata", "timestamp"]);
    assert_eq!((&body["bars"][0]["symbol"], &body["metadata"]["interval"]), (&json!("BTCUSDT"), &json!("1d")));
    assert!(body["bars"][0]["bar"]["high"].is_string(), "{body}");
    let answer =
        gateway.get(&format!("{API}/market-data/indicators?symbol=BTCUSDT&interval=1d&indicators=sma:1")).await;
    let indicators = &answer.json()["indicators"];
    assert_eq!(indicators[0]["name"], "sma:1");
    assert!(indicators[0]["points"][0]["value"].is_string(), "{indicators}");
    let bad = gateway.get(&format!("{API}/market-data/bars?symbol=BTCUSDT&interval=5m")).await;
    check_failure(&bad, 400, "INVALID_ARGUMENT", "interval must be 1s, 1m, 1h or 1d");
    end(engine, gateway).await;
}

#[tokio::test]
async fn news_have_an_envelope_of_their_own() {
    let (engine, gateway) = market_data().await;
    let answer = gateway.get(&format!("{API}/news/buffer?limit=5")).await;
    let body = answer.json();
    assert_eq!((answer.status, &body["news_items"]), (200, &json!([])), "{body}");
    assert_eq!(names(&body, answer.text()), ["success", "message", "news_items", "metadata", "timestamp"]);
    assert_eq!((&body["metadata"]["items_count"], &body["metadata"]["grpc_status"]), (&json!(0), &json!("OK")));
    let fetch = |body: Value| post(&format!("{API}/news/fetch"), body.to_string());
    // The default engine has no source of news.
    let asked = json!({"keywords": ["rates"], "source_id": "", "hours_back": 24});
    check_failure(&gateway.send(&fetch(asked)).await, 400, "INVALID_ARGUMENT", "no source of news is connected");
    check_failure(&gateway.send(&fetch(json!({"keywords": []}))).await, 400, "INVALID_ARGUMENT", "keywords");
    let unknown = json!({"keywords": ["rates"], "source_id": "nope"});
    check_failure(&gateway.send(&fetch(unknown)).await, 404, "NOT_FOUND", "source nope is unknown; known are");
    end(engine, gateway).await;
}

#[tokio::test]
async fn without_a_network_there_are_news_that_say_what_they_are() {
    let engine = Engine::from_file(&examples().join("s0-market-data/offline.yaml")).await;
    let gateway = Gateway::start(&example("s0-market-data", engine.address()));
    let asked = post(&format!("{API}/news/fetch"), json!({"keywords": ["simulated"]}).to_string());
    eventually("there are news", || async { gateway.send(&asked).await.json()["news_items"][0].is_object() }).await;
    let body = gateway.send(&asked).await.json();
    for item in body["news_items"].as_array().unwrap() {
        assert!(item["title"].as_str().unwrap().starts_with("Simulated no. "), "{item}");
        assert!(item["url"].as_str().unwrap().starts_with("https://news.invalid/"), "{item}");
        assert_eq!((&item["author"], &item["source"]), (&json!("simulator"), &json!("simulator")), "{item}");
    }
    end(engine, gateway).await;
}

#[tokio::test]
async fn sources_are_made_disconnected_and_removed() {
    let (engine, gateway) = market_data().await;
    let call = |what: &str, body: Value| post(&format!("{API}/data-sources/{what}"), body.to_string());
    let made = json!({"source_id": "mine", "type": "simulator", "config": {"symbols": "A=5"}});
    let answer = gateway.send(&call("connect", made)).await;
    assert_eq!(check_success(&answer, "symbols", "mine", 1), json!(["A"]));
    let answer = gateway.send(&call("disconnect", json!({"source_id": "mine"}))).await;
    assert_eq!((answer.status, &answer.json()["message"]), (200, &json!("data source mine disconnected")));
    check_failure(
        &gateway.send(&fetch(&json!({"symbols": ["A"], "source_id": "mine"}))).await,
        503,
        "UNAVAILABLE",
        "source mine is down: it was disconnected",
    );
    let answer = gateway.send(&call("disconnect", json!({"source_id": "mine", "remove": true}))).await;
    assert_eq!((answer.status, &answer.json()["message"]), (200, &json!("data source mine removed")));
    let answer = gateway.send(&call("disconnect", json!({"source_id": "mine"}))).await;
    check_failure(&answer, 404, "NOT_FOUND", "source mine is unknown");
    let elsewhere = json!({"source_id": "mine", "type": "rss", "config": {"feeds": "http://127.0.0.1:1/"}});
    let answer = gateway.send(&call("connect", elsewhere)).await;
    check_failure(&answer, 400, "INVALID_ARGUMENT", "config.feeds can be set by the engine's owner alone");
    end(engine, gateway).await;
}

#[tokio::test]
async fn health_and_pings_answer() {
    let (engine, gateway) = market_data().await;
    let health = gateway.get(&format!("{API}/health")).await;
    let body = health.json();
    assert_eq!((health.status, &body["healthy"], &body["status"]), (200, &json!(true), &json!("healthy")));
    assert_eq!(body["details"]["port"], engine.address().port());
    assert_eq!(body["dependencies"]["simulator"]["healthy"], true);
    let ping = gateway.get(&format!("{API}/ping")).await;
    assert_eq!((ping.status, ping.text()), (200, r#"{"success":true,"message":"pong"}"#));
    let ping = gateway.get(&format!("{API}/ping/core-engine")).await;
    let body = ping.json();
    assert_eq!(
        (&body["success"], &body["message"], &body["status"]),
        (&json!(true), &json!("pong"), &json!("healthy"))
    );
    end(engine, gateway).await;
}

#[tokio::test]
async fn failures_have_the_status_of_their_code_and_the_error_envelope() {
    let (engine, gateway) = market_data().await;
    let buffer = |query: &str| get(&format!("{API}/market-data/buffer?{query}"));
    let connect = |body: Value| post(&format!("{API}/data-sources/connect"), body.to_string());
    let cases = [
        (fetch(&json!({"symbols": ["NOPE"]})), 404, "NOT_FOUND", "symbol NOPE is unknown to source simulator"),
        (fetch(&json!({"symbols": ["BTCUSDT"], "source_id": "nope"})), 404, "NOT_FOUND", "source nope is unknown"),
        (fetch(&json!({"symbols": []})), 400, "INVALID_ARGUMENT", "symbols"),
        (buffer("symbol=NOPE"), 404, "NOT_FOUND", "symbol NOPE is unknown"),
        (buffer("symbol=BTCUSDT&limit=0"), 400, "INVALID_ARGUMENT", "limit must be 1 to 500"),
        (buffer("symbol=BTCUSDT&limit=501"), 400, "INVALID_ARGUMENT", "limit must be 1 to 500"),
        (buffer("symbol=BTCUSDT&limit=many"), 400, "INVALID_ARGUMENT", "does not fit the type"),
        (buffer("symbol=BTCUSDT&source_id=nope"), 404, "NOT_FOUND", "source nope is unknown"),
        (fetch(&json!({"symbols": ["BTCUSDT"], "keywords": []})), 400, "INVALID_ARGUMENT", "unknown field"),
        (post(&format!("{API}/market-data/fetch"), "{"), 400, "INVALID_ARGUMENT", "not valid JSON"),
        (connect(json!({"source_id": "simulator", "config": {"seed": "x"}})), 400, "INVALID_ARGUMENT", "seed"),
        (connect(json!({"source_id": "nope"})), 404, "NOT_FOUND", "source nope is unknown"),
        (get(&format!("{API}/nothing")), 404, "NOT_FOUND", "no route"),
        (get(&format!("{API}/market-data/fetch")), 405, "UNIMPLEMENTED", "method not allowed"),
    ];
    for (request, status, code, message) in cases {
        for answer in gateway.send_both(&request).await {
            check_failure(&answer, status, code, message);
        }
    }
    end(engine, gateway).await;
}

#[tokio::test]
async fn a_source_that_is_down_says_when_to_come_back() {
    let (engine, gateway) = market_data().await;
    let connect = json!({"source_id": "replay", "config": {"path": "nothing.csv"}});
    let answer = gateway.post(&format!("{API}/data-sources/connect"), connect.to_string()).await;
    check_failure(&answer, 503, "UNAVAILABLE", "source replay is down");
    let answer = gateway.send(&fetch(&json!({"symbols": ["X"], "source_id": "replay"}))).await;
    check_failure(&answer, 503, "UNAVAILABLE", "source replay is down");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    end(engine, gateway).await;
}

#[tokio::test]
async fn the_deadline_is_408_here() {
    let (engine, gateway) = market_data().await;
    let slow = json!({"source_id": "simulator", "config": {"latency": "60s"}});
    assert_eq!(gateway.post(&format!("{API}/data-sources/connect"), slow.to_string()).await.status, 200);
    let request = fetch(&json!({"symbols": ["BTCUSDT"]})).header("request-timeout", "0.3");
    check_failure(&gateway.send(&request).await, 408, "DEADLINE_EXCEEDED", "");
    end(engine, gateway).await;
}

#[tokio::test]
async fn an_engine_that_goes_away_is_told_in_the_envelope() {
    let (engine, gateway) = market_data().await;
    let address = engine.address();
    assert_eq!(gateway.get(&format!("{API}/health")).await.status, 200);
    engine.stop().await;
    let answer = gateway.get(&format!("{API}/health")).await;
    check_failure(&answer, 503, "UNAVAILABLE", "");
    assert_eq!(gateway.get(&format!("{API}/ping")).await.status, 200);
    assert_eq!(gateway.get("/health/readiness").await.status, 200, "readiness does not depend on backends");
    let engine = Engine::start_at(address).await;
    eventually("it is back", || async { gateway.get(&format!("{API}/health")).await.status == 200 }).await;
    end(engine, gateway).await;
}

/// The timeouts of the reference system go along as deadlines, and 408 is the status of one that has passed: a
/// scripted backend stands for the engine.
#[tokio::test]
async fn each_route_has_its_timeout_and_its_status_map() {
    let mut peer = Peer::start().await;
    let sources =
        "[../../crates/protos/proto/core_engine/v1/core_engine.proto], proto_paths: [../../crates/protos/proto]";
    let root = examples().join("..").canonicalize().unwrap().display().to_string();
    let yaml = example("s0-market-data", peer.address());
    let gateway = Gateway::start(&yaml.replace("reflection", sources).replace("../..", &root));
    let cases = [
        ("FetchMarketData", fetch(&json!({})), 30),
        ("GetMarketDataBuffer", get(&format!("{API}/market-data/buffer")), 10),
        ("StreamMarketData", get(&format!("{API}/market-data/stream")), 15),
        ("GetBars", get(&format!("{API}/market-data/bars")), 10),
        ("GetIndicators", get(&format!("{API}/market-data/indicators")), 10),
        ("FetchNews", post(&format!("{API}/news/fetch"), "{}"), 30),
        ("GetNewsBuffer", get(&format!("{API}/news/buffer")), 10),
        ("ConnectDataSource", post(&format!("{API}/data-sources/connect"), "{}"), 30),
        ("DisconnectDataSource", post(&format!("{API}/data-sources/disconnect"), "{}"), 30),
        ("GetIngestionStats", get(&format!("{API}/ingestion/stats")), 10),
        ("HealthCheck", get(&format!("{API}/health")), 5),
        ("HealthCheck", get(&format!("{API}/ping/core-engine")), 5),
    ];
    for (method, request, seconds) in cases {
        peer.on(method, Script::fails(4, "too%20late"));
        check_failure(&gateway.send(&request).await, 408, "DEADLINE_EXCEEDED", "too late");
        let call = peer.call().await;
        assert_eq!(call.path, format!("/core_engine.v1.CoreEngine/{method}"));
        let Some(left) = call.text("grpc-timeout").strip_suffix('m') else {
            // A stream has a deadline for its first message alone, so its call has none.
            assert_eq!(method, "StreamMarketData");
            continue;
        };
        let left: u64 = left.parse().unwrap();
        assert!(left <= seconds * 1000 && left + 1000 > seconds * 1000, "{method}: {left}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_small_gateway_before_the_core_engine() {
    let engine = Engine::from_file(&examples().join("s3-core-engine/engine.yaml")).await;
    let gateway = Gateway::start(&example("s3-core-engine", engine.address()));
    // Descriptors come from the source, so it is ready at once.
    assert_eq!(gateway.get("/health/readiness").await.status, 200);
    assert_eq!(gateway.get("/ping").await.text(), r#"{"message":"pong"}"#);
    let health = gateway.get("/health").await;
    assert_eq!((health.status, &health.json()["details"]["service"]), (200, &json!("core-engine")));
    assert_eq!(gateway.get("/health/gateway").await.json()["status"], "pass");
    let ping = gateway.get("/ping/core-engine").await;
    assert_eq!(names(&ping.json(), ping.text()), ["message", "status", "version", "duration_ms"]);
    for (target, symbol) in
        [("/v1/market-data?symbols=AAPL", "AAPL"), ("/v1/market-data?symbols=ACME&source_id=morning", "ACME")]
    {
        eventually("values", || async { gateway.get(target).await.json()[0]["symbol"] == symbol }).await;
    }
    let bars = gateway.get("/v1/market-data/ACME?limit=1").await.json();
    assert_eq!((bars.as_array().map(Vec::len), &bars[0]["additional_data"]["origin"]), (Some(1), &json!("replayed")));
    assert!(gateway.get("/v1/stats").await.json()["total"]["received"].is_string());
    let answer = gateway.get("/v1/market-data/NOPE").await;
    assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"));
    assert_eq!(answer.json()["details"][0]["reason"], "UNKNOWN_SYMBOL");
    end(engine, gateway).await;
}
