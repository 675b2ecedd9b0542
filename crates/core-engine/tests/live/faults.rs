//! Servers that hang, flood, lie and talk nonsense: each is told by its own name, and none stops another source.

use std::io::Write;

use protos::core_engine::v1 as pb;

use super::engine::{Engine, eventually};
use super::fake::{Exchange, Reply, Web, json, ok};
use super::yahoo::{chart, settings, speak};

/// The reply to every chart, and the kind of error that it is booked as, while a simulator goes on.
async fn check(reply: Reply, more: &str, kind: &str) {
    let web = Web::start(move |request| match request.path().starts_with("/v8/") {
        true => reply.clone(),
        false => speak(request, "crumb"),
    })
    .await;
    let simulator =
        "  simulator: { type: simulator, connect: true, config: { symbols: \"A=5\", ticks_per_second: 200 } }\n";
    let engine = Engine::start(&(settings(&web, more) + simulator)).await;
    let before = engine.source("simulator").await.received;
    let source = engine.until("yahoo", |source| source.errors_by_kind.contains_key(kind)).await;
    assert_eq!(source.received, 0, "{kind}");
    engine.until("simulator", |simulator| simulator.received > before + 5).await;
    assert_eq!(engine.source("simulator").await.state(), pb::SourceState::Connected, "{kind}");
    engine.stop().await;
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_server_that_hangs_is_slow_and_then_too_late() {
    check(Reply::Hang, "", "slow").await;
    check(Reply::Hang, ", timeout: 100ms", "timeout").await;
    check(Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec()), ", timeout: 100ms", "timeout")
        .await;
}

#[tokio::test]
async fn a_server_that_lies_about_the_length_is_found_out() {
    check(Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}".to_vec()), "", "truncated").await;
    check(Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec()), "", "too_large").await;
    let text = chart("AAPL", 1.0).to_string();
    let short = format!("HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{text}");
    check(Reply::Raw(short.into_bytes()), "", "malformed_answer").await;
}

#[tokio::test]
async fn a_server_that_sends_too_much_is_not_listened_to() {
    check(Reply::Flood, "", "too_large").await;
    let bomb = Reply::Answer(200, vec![("content-encoding", "gzip".to_owned())], gzip(&vec![b' '; 8 << 20]));
    check(bomb, "", "too_large").await;
    check(json(&chart("AAPL", 1.0)), ", max_body_bytes: 100", "too_large").await;
}

#[tokio::test]
async fn nonsense_is_called_so() {
    check(ok("text/html", "<html>Oops</html>"), "", "malformed_answer").await;
    check(ok("application/json", "{\"chart\": {\"result\": [{\"meta\": 7}]}}"), "", "malformed_answer").await;
    let broken = Reply::Answer(200, vec![("content-encoding", "gzip".to_owned())], b"not gzip".to_vec());
    check(broken, "", "malformed_answer").await;
    check(Reply::Raw(b"\x00\x01\x02 what?\r\n\r\n".to_vec()), "", "unavailable").await;
    check(Reply::Answer(500, Vec::new(), b"Internal".to_vec()), "", "refused").await;
    check(Reply::Answer(302, vec![("location", "/v8/again".to_owned())], Vec::new()), "", "refused").await;
    check(Reply::Answer(403, Vec::new(), Vec::new()), "", "banned").await;
}

#[tokio::test]
async fn compressed_answers_are_read() {
    let web = Web::start(|request| match request.path().starts_with("/v8/") {
        true => {
            assert_eq!(request.header("accept-encoding"), Some("gzip"));
            let body = gzip(chart("AAPL", 1.5).to_string().as_bytes());
            Reply::Answer(200, vec![("content-encoding", "gzip".to_owned())], body)
        }
        false => speak(request, "crumb"),
    })
    .await;
    let engine = Engine::start(&settings(&web, "")).await;
    engine.until("yahoo", |source| source.received == 4).await;
    engine.stop().await;
}

#[tokio::test]
async fn an_exchange_that_floods_is_read_slowly() {
    let exchange = Exchange::start().await;
    for number in 0..5_000 {
        exchange.send(format!(r#"{{"stream":"x","data":{{"e":"noise","n":{number}}}}}"#));
    }
    let engine = Engine::start(&format!(
        "default_source: simulator\nsources:\n  simulator: {{ type: simulator, connect: true, config: {{ symbols: A, \
         ticks_per_second: 200 }} }}\n  binance: {{ type: binance, connect: true, config: {{ url: \"{}\", rest_url: \"\", \
         max_messages_per_second: 50 }} }}\n",
        exchange.url()
    ))
    .await;
    engine.until("binance", |source| source.errors_by_kind.contains_key("flood")).await;
    let before = engine.source("simulator").await.received;
    engine.until("simulator", |source| source.received > before + 20).await;
    engine.stop().await;
}

#[tokio::test]
async fn an_exchange_that_talks_nonsense_or_falls_silent_is_left() {
    let exchange = Exchange::start().await;
    let engine = Engine::start(&format!(
        "default_source: binance\nsources:\n  binance: {{ type: binance, connect: true, config: {{ url: \"{}\", rest_url: \
         \"\", silence: 200ms, max_message_bytes: 1000 }} }}\n",
        exchange.url()
    ))
    .await;
    eventually("it subscribed", || async { !exchange.heard().is_empty() }).await;
    for _ in 0..50 {
        exchange.send("nonsense");
    }
    let source = engine.until("binance", |source| source.errors_by_kind.contains_key("malformed_answer")).await;
    assert_eq!(source.errors_by_kind["malformed_record"], 50);
    eventually("it subscribed again", || async { exchange.heard().len() >= 2 }).await;
    exchange.send("x".repeat(2_000));
    let too_large = |source: &pb::SourceStats| source.last_error.contains("a message is too large");
    engine.until("binance", too_large).await;
    engine.stop().await;

    // A server that takes the connection and says nothing: not even the handshake.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let engine = Engine::start(&format!(
        "default_source: binance\nsources:\n  binance: {{ type: binance, connect: true, config: {{ url: \"ws://{}\", \
         timeout: 100ms }} }}\n",
        listener.local_addr().unwrap()
    ))
    .await;
    engine.until("binance", |source| source.errors_by_kind.contains_key("timeout")).await;
    engine.stop().await;
}
