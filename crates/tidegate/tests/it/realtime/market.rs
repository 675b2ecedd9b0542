//! The tenth route of the market-data example, in front of the real core engine.

use serde_json::{Value, json};
use tidegate_testkit::engine::example;
use tidegate_testkit::websocket::WebSocketStream;
use tidegate_testkit::{Engine, Gateway, eventually};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{both, json as next, say};

const PATH: &str = "/api/v1/ws/market-data";

/// Symbols in the next messages, until each of `wanted` has come `times` times.
async fn hear<Io: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<Io>, wanted: &[&str], times: usize) {
    let mut seen: Vec<(&str, usize)> = wanted.iter().map(|symbol| (*symbol, 0)).collect();
    while seen.iter().any(|(_, count)| *count < times) {
        let message = next(socket).await;
        check(&message);
        for value in message["market_data"].as_array().unwrap() {
            let entry = seen.iter_mut().find(|(symbol, _)| value["symbol"] == *symbol);
            entry.unwrap_or_else(|| panic!("nobody asked for {value}")).1 += 1;
            assert!(value["price"].is_string() && value["additional_data"]["origin"] == "simulated", "{value}");
        }
    }
}

/// The envelope of the example.
fn check(message: &Value) {
    let names: Vec<&String> = message.as_object().unwrap().keys().collect();
    assert_eq!(names, ["market_data", "message", "metadata", "success", "timestamp"]);
    assert_eq!((&message["success"], &message["message"]), (&json!(true), &json!("market data")));
    let metadata = &message["metadata"];
    assert_eq!((&metadata["source_id"], &metadata["grpc_status"]), (&json!("simulator"), &json!("OK")));
    assert!(metadata["symbols_count"].is_u64() && metadata["response_time"].is_number(), "{metadata}");
}

#[tokio::test]
async fn market_data_flows_for_all_that_was_asked_for() {
    let engine = Engine::start().await;
    let gateway = Gateway::start(&example("s0-market-data", engine.address()));
    eventually("ready", || async { gateway.get("/health/readiness").await.status == 200 }).await;
    let (mut first, mut second, _connection) = both(&gateway, PATH).await;
    say(&mut first, r#"{"symbols":["BTCUSDT"],"source_id":"simulator"}"#).await;
    hear(&mut first, &["BTCUSDT"], 2).await;
    // Another request on the same socket: the first goes on.
    say(&mut first, r#"{"symbols":["ETHUSDT"]}"#).await;
    hear(&mut first, &["BTCUSDT", "ETHUSDT"], 3).await;
    say(&mut second, r#"{"symbols":["BTCUSDT","ETHUSDT"]}"#).await;
    hear(&mut second, &["BTCUSDT", "ETHUSDT"], 3).await;
    // What fails, fails alone.
    for (asked, code, text) in [
        (r#"{"symbols":["BTCUSDT"],"source_id":"nowhere"}"#, "NOT_FOUND", "nowhere"),
        (r#"{"symbols":["NOPE"]}"#, "NOT_FOUND", "NOPE"),
        (r#"{"symbols":[]}"#, "INVALID_ARGUMENT", "symbols"),
        (r#"{"source_id":"simulator"}"#, "INVALID_ARGUMENT", "a request needs \"symbols\""),
        ("nonsense", "INVALID_ARGUMENT", "not a JSON object"),
    ] {
        say(&mut second, asked).await;
        let failure = loop {
            let message = next(&mut second).await;
            if message["success"] == false {
                break message;
            }
        };
        assert_eq!(failure["metadata"]["grpc_status"], code, "{failure}");
        assert_eq!(failure["metadata"]["error"], failure["message"]);
        assert!(failure["message"].as_str().unwrap().contains(text), "{failure}");
    }
    hear(&mut second, &["BTCUSDT", "ETHUSDT"], 2).await;
    drop((first, second));
    gateway.stop().await;
    engine.stop().await;
}
