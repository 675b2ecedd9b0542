//! Binance and Coinbase: streams, losses, and how they are made good.

use protos::core_engine::v1 as pb;
use serde_json::json;

use super::engine::{Engine, eventually, shown};
use super::fake::{Exchange, Reply, Web, json as answer};

fn binance(exchange: &Exchange, web: &Web, more: &str) -> String {
    format!(
        "default_source: binance\nsources:\n  binance:\n    type: binance\n    connect: true\n    config: {{ url: \
         \"{}\", rest_url: \"{}\", symbols: \"BTCUSDT,ETHUSDT\"{more} }}\n",
        exchange.url(),
        web.url()
    )
}

fn trade(id: u64, price: &str) -> String {
    let time = 1_764_340_200_000_i64 + id as i64;
    json!({"stream": "btcusdt@trade", "data": {"e": "trade", "E": time, "s": "BTCUSDT", "t": id, "p": price, "q": "0.5",
        "T": time, "m": false, "M": true}})
    .to_string()
}

fn recent(ids: std::ops::RangeInclusive<u64>) -> Reply {
    let trades: Vec<_> = ids
        .map(|id| {
            json!({"id": id, "price": format!("{id}.5"), "qty": "1", "quoteQty": "1",
            "time": 1_764_340_200_000_i64 + id as i64, "isBuyerMaker": true, "isBestMatch": true})
        })
        .collect();
    answer(&json!(trades))
}

#[tokio::test]
async fn binance_streams_and_says_what_it_was_told_twice() {
    let (exchange, web) = (Exchange::start().await, Web::start(|_| Reply::Hang).await);
    let engine = Engine::start(&binance(&exchange, &web, ", channels: \"trade,ticker\"")).await;
    eventually("it subscribed", || async { !exchange.heard().is_empty() }).await;
    let expected =
        r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@ticker","btcusdt@trade","ethusdt@ticker","ethusdt@trade"]}"#;
    assert_eq!(exchange.heard(), [expected]);
    for text in [
        r#"{"result":null,"id":1}"#,
        &trade(7, "64000.10"),
        &trade(7, "64000.10"),
        "not JSON",
        r#"{"stream":"x","data":{"e":"trade","s":"BTCUSDT","t":8}}"#,
        r#"{"stream":"x","data":{"e":"somethingNew","s":"BTCUSDT"}}"#,
        &trade(8, "64000.25"),
    ] {
        exchange.send(text);
    }
    let source = engine.until("binance", |source| source.received == 2).await;
    assert_eq!(source.drops_by_kind["duplicate"], 1);
    assert_eq!(source.errors_by_kind["malformed_record"], 2);
    assert_eq!(source.state(), pb::SourceState::Connected);
    let values = engine.fetch(&["BTCUSDT", "ETHUSDT"], "").await.unwrap();
    assert_eq!(shown(&values), ["BTCUSDT 64000.25 0.5"]);
    let additional = &values[0].additional_data;
    assert_eq!((&*additional["currency"], &*additional["market"], &*additional["side"]), ("USDT", "binance", "buy"));

    let ticker = r#"{"stream":"ethusdt@ticker","data":{"e":"24hrTicker","E":1764340200000,"s":"ETHUSDT","c":"3400.5",
        "b":"3400.4","a":"3400.6","h":null,"Q":"1"}}"#;
    exchange.send(ticker);
    engine.until("binance", |source| source.received == 3).await;
    let values = engine.fetch(&["ETHUSDT"], "").await.unwrap();
    assert_eq!(shown(&values), ["ETHUSDT 3400.5 0"]);
    assert_eq!(values[0].additional_data["bid"], "3400.4");
    engine.stop().await;
}

#[tokio::test]
async fn what_was_missed_is_asked_for_and_what_is_lost_is_counted() {
    let (exchange, web) = (Exchange::start().await, Web::start(|_| recent(103..=109)).await);
    let engine = Engine::start(&binance(&exchange, &web, "")).await;
    eventually("it subscribed", || async { exchange.heard().len() == 1 }).await;
    exchange.send(trade(100, "1"));
    engine.until("binance", |source| source.received == 1).await;
    let request = pb::StreamMarketDataRequest { symbols: vec!["BTCUSDT".to_owned()], source_id: String::new() };
    let mut stream = engine.client.clone().stream_market_data(request).await.unwrap().into_inner();
    exchange.cut();
    eventually("it subscribed again", || async { exchange.heard().len() == 2 }).await;
    exchange.send(trade(110, "110.5"));
    // 103 to 109 were asked for; 101 and 102 are lost.
    let source = engine.until("binance", |source| source.received == 9).await;
    assert_eq!(source.errors_by_kind["missing_record"], 1);
    assert_eq!(source.last_error, "2 trades of BTCUSDT after number 100 never came");
    assert_eq!(web.seen()[0].target, "/api/v3/trades?symbol=BTCUSDT&limit=1000");
    // The stream of a client went on through all of it, in order.
    let mut prices = Vec::new();
    while prices.last().map(String::as_str) != Some("110.5") {
        let batch = stream.message().await.unwrap().unwrap();
        prices.extend(batch.market_data.into_iter().map(|value| value.price));
    }
    assert_eq!(prices, ["1", "103.5", "104.5", "105.5", "106.5", "107.5", "108.5", "109.5", "110.5"]);
    engine.stop().await;
}

#[tokio::test]
async fn an_exchange_that_is_gone_is_down_and_comes_back() {
    let (exchange, web) = (Exchange::start().await, Web::start(|_| Reply::Hang).await);
    let settings = binance(&exchange, &web, "");
    drop(exchange);
    let engine = Engine::start(&settings).await;
    let source = engine.until("binance", |source| source.errors >= 3).await;
    assert_eq!(source.state(), pb::SourceState::Down);
    assert!(source.reason.starts_with("the server cannot be reached"), "{}", source.reason);
    let error = engine.fetch(&["BTCUSDT"], "").await.unwrap_err();
    let (code, _, details) = super::engine::told(&error);
    assert_eq!((code, details), (tonic::Code::Unavailable, vec!["SOURCE_DOWN".to_owned(), "RETRY".to_owned()]));
    engine.stop().await;
}

#[tokio::test]
async fn coinbase_misses_a_trade_by_its_heartbeat() {
    let (exchange, web) = (
        Exchange::start().await,
        Web::start(|request| {
            assert_eq!(request.target, "/products/BTC-USD/trades?limit=1000");
            answer(&json!([
                {"time": "2026-11-28T10:00:02.5Z", "trade_id": 12, "price": "102.25", "size": "0.1", "side": "sell"},
                {"time": "2026-11-28T10:00:01.5Z", "trade_id": 11, "price": "101.25", "size": "0.1", "side": "buy"},
                {"time": "2026-11-28T10:00:00.5Z", "trade_id": 10, "price": "100.25", "size": "0.1", "side": "buy"},
            ]))
        })
        .await,
    );
    let engine = Engine::start(&format!(
        "default_source: coinbase\nsources:\n  coinbase:\n    type: coinbase\n    connect: true\n    config: {{ url: \
         \"{}\", rest_url: \"{}\", symbols: \"BTC-USD\" }}\n",
        exchange.url(),
        web.url()
    ))
    .await;
    eventually("it subscribed", || async { !exchange.heard().is_empty() }).await;
    let expected = r#"{"channels":["matches","heartbeat"],"product_ids":["BTC-USD"],"type":"subscribe"}"#;
    assert_eq!(exchange.heard(), [expected]);
    exchange.send(r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#);
    exchange.send(
        r#"{"type":"last_match","trade_id":10,"maker_order_id":"a","taker_order_id":"b","side":"buy","size":"0.1",
        "price":"100.25","product_id":"BTC-USD","sequence":50,"time":"2026-11-28T10:00:00.5Z"}"#,
    );
    exchange.send(
        r#"{"type":"heartbeat","last_trade_id":10,"product_id":"BTC-USD","sequence":51,"time":"2026-11-28T10:00:01Z"}"#,
    );
    exchange.send(
        r#"{"type":"heartbeat","last_trade_id":12,"product_id":"BTC-USD","sequence":90,"time":"2026-11-28T10:00:03Z"}"#,
    );
    let source = engine.until("coinbase", |source| source.received == 3).await;
    assert_eq!(source.errors, 0, "{source:?}");
    let values = engine.fetch(&["BTC-USD"], "").await.unwrap();
    assert_eq!(shown(&values), ["BTC-USD 102.25 0.1"]);
    assert_eq!((&*values[0].additional_data["currency"], &*values[0].additional_data["side"]), ("USD", "buy"));
    engine.stop().await;
}

#[tokio::test]
async fn an_exchange_that_refuses_what_was_asked_for_is_down() {
    let (exchange, web) = (Exchange::start().await, Web::start(|_| Reply::Hang).await);
    exchange.send(r#"{"code":2,"msg":"Invalid request: unknown symbol"}"#);
    let engine = Engine::start(&binance(&exchange, &web, "")).await;
    let source = engine.until("binance", |source| source.errors_by_kind.contains_key("refused")).await;
    assert_eq!(source.last_error, "the server answers: error 2: Invalid request: unknown symbol");
    engine.stop().await;
}
