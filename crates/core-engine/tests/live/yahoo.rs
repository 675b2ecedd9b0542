//! Yahoo Finance: cookie, crumb, charts, and what its exchange is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use protos::core_engine::v1 as pb;
use serde_json::{Value, json};
use tonic::Code;

use super::engine::{Engine, shown, told};
use super::fake::{Reply, Seen, Web, json as answer, ok};

/// A half day in New York, with a minute without a trade. Prices as the server widens them.
pub fn chart(symbol: &str, close: f64) -> Value {
    json!({"chart": {"result": [{
        "meta": {
            "currency": "USD", "symbol": symbol, "exchangeName": "NMS", "fullExchangeName": "NasdaqGS",
            "instrumentType": "EQUITY", "gmtoffset": -18000, "exchangeTimezoneName": "America/New_York",
            "regularMarketTime": 1_764_354_780, "regularMarketPrice": close, "unheardOf": [1, {"x": null}],
            "tradingPeriods": [[{"start": 1_764_340_200, "end": 1_764_352_800}]],
        },
        "timestamp": [1_764_340_200, 1_764_340_260, 1_764_340_320],
        "indicators": {"quote": [{
            "open": [230.0, null, 231.0], "high": [232.5, null, 233.0], "low": [229.5, null, 230.5],
            "close": [231.25, null, close], "volume": [1000, null, 2500],
        }]},
    }], "error": null}})
}

/// What the real one answers.
pub fn speak(request: &Seen, crumb: &str) -> Reply {
    match request.path() {
        "/cookie" => Reply::Answer(
            404,
            vec![("set-cookie", "A3=d=AQ&S=x; Expires=Wed, 1 Jan 2099 00:00:00 GMT; Secure; HttpOnly".to_owned())],
            b"<html>".to_vec(),
        ),
        "/v1/test/getcrumb" => ok("text/plain", crumb),
        "/v8/finance/chart/NOPE" => Reply::Answer(
            404,
            Vec::new(),
            br#"{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}"#.to_vec(),
        ),
        path if request.header("cookie") != Some("A3=d=AQ&S=x")
            || !request.target.ends_with(&format!("crumb={crumb}")) =>
        {
            assert!(path.starts_with("/v8/"), "{path}");
            let body = br#"{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}"#;
            Reply::Answer(401, Vec::new(), body.to_vec())
        }
        path => answer(&chart(path.rsplit('/').next().unwrap(), 232.100_006_103_515_62)),
    }
}

pub fn settings(web: &Web, more: &str) -> String {
    format!(
        "default_source: yahoo\nsources:\n  yahoo:\n    type: yahoo_finance\n    connect: true\n    config: {{ url: \
         \"{url}\", cookie_url: \"{url}/cookie\", symbols: \"AAPL,MSFT\", requests_per_minute: 60000, burst: 100, \
         poll: 100ms{more} }}\n",
        url = web.url()
    )
}

#[tokio::test]
async fn candles_come_with_their_exchange() {
    let web = Web::start(|request| speak(request, "cr.umb")).await;
    let engine = Engine::start(&settings(&web, "")).await;
    engine.until("yahoo", |source| source.received >= 4).await;
    let values = engine.fetch(&["AAPL", "MSFT"], "").await.unwrap();
    assert_eq!(shown(&values), ["AAPL 232.1 2500", "MSFT 232.1 2500"]);
    let value = &values[0];
    assert_eq!(value.exchange_timezone, "America/New_York");
    assert_eq!(value.bar.as_ref().map(|bar| bar.high.as_str()), Some("233"));
    assert_eq!((&*value.additional_data["currency"], &*value.additional_data["market"]), ("USD", "NMS"));

    // A symbol that is not polled is asked for, and one that does not exist is not found.
    let values = engine.fetch(&["TSLA"], "yahoo").await.unwrap();
    assert_eq!(shown(&values), ["TSLA 232.1 2500"]);
    let error = engine.fetch(&["NOPE"], "yahoo").await.unwrap_err();
    let expected = "symbol NOPE is unknown to source yahoo".to_owned();
    assert_eq!(told(&error), (Code::NotFound, expected, vec!["UNKNOWN_SYMBOL".to_owned()]));

    // The same candles again are no news; the minute without a trade is counted as such.
    let source = engine.until("yahoo", |source| source.drops_by_kind.get("empty") >= Some(&4)).await;
    assert_eq!(source.received, 6);
    assert!(web.seen().iter().all(|seen| seen.header("user-agent").unwrap().starts_with("Mozilla/5.0 ")));
    engine.stop().await;
}

#[tokio::test]
async fn bars_and_indicators_are_made_of_candles() {
    let web = Web::start(|request| speak(request, "crumb")).await;
    let engine = Engine::start(&settings(&web, "")).await;
    engine.until("yahoo", |source| source.received >= 4).await;
    let minutes = engine.bars("AAPL", "1m", "yahoo").await.unwrap();
    assert_eq!(shown(&minutes), ["AAPL 231.25 1000", "AAPL 232.1 2500"]);
    let days = engine.bars("AAPL", "1d", "yahoo").await.unwrap();
    assert_eq!(shown(&days), ["AAPL 232.1 3500"]);
    // Midnight in New York, five hours behind.
    assert_eq!(days[0].timestamp.as_ref().unwrap().seconds, 1_764_306_000);
    assert_eq!(days[0].exchange_timezone, "America/New_York");
    let bar = days[0].bar.as_ref().unwrap();
    assert_eq!((&*bar.open, &*bar.high, &*bar.low), ("230", "233", "229.5"));

    let request = pb::GetIndicatorsRequest {
        symbol: "AAPL".to_owned(),
        interval: "1m".to_owned(),
        indicators: vec!["sma:2".to_owned(), "bollinger:2".to_owned(), "rsi:14".to_owned()],
        ..Default::default()
    };
    let found = engine.client.clone().get_indicators(request.clone()).await.unwrap().into_inner();
    let shown: Vec<_> = found
        .indicators
        .iter()
        .map(|indicator| {
            let points: Vec<_> = indicator
                .points
                .iter()
                .map(|point| format!("{}<{}<{}", point.lower, point.value, point.upper))
                .collect();
            format!("{} {}", indicator.name, points.join(" "))
        })
        .collect();
    assert_eq!(shown, ["sma:2 <231.675<", "bollinger:2 230.825<231.675<232.525", "rsi:14 "]);

    let bad = pb::GetIndicatorsRequest { indicators: vec!["macd".to_owned()], ..request };
    let error = engine.client.clone().get_indicators(bad).await.unwrap_err();
    assert_eq!((told(&error).0, told(&error).2), (Code::InvalidArgument, vec!["indicators[0]".to_owned()]));
    let error = engine.bars("AAPL", "5m", "yahoo").await.unwrap_err();
    assert_eq!((told(&error).0, told(&error).2), (Code::InvalidArgument, vec!["interval".to_owned()]));
    let error = engine.bars("NOPE", "1m", "yahoo").await.unwrap_err();
    assert_eq!(told(&error).0, Code::NotFound);
    engine.stop().await;
}

#[tokio::test]
async fn a_crumb_that_is_no_longer_taken_is_had_anew() {
    let web = Web::start(|request| speak(request, "first")).await;
    let engine = Engine::start(&settings(&web, "")).await;
    engine.until("yahoo", |source| source.received >= 4).await;
    web.now(|request| speak(request, "second"));
    // Only with the second crumb is there an answer at all.
    assert_eq!(shown(&engine.fetch(&["TSLA"], "").await.unwrap()), ["TSLA 232.1 2500"]);
    let crumbs = web.seen().iter().filter(|seen| seen.path() == "/v1/test/getcrumb").count();
    assert!(crumbs >= 2, "{crumbs}");
    engine.stop().await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let asked = Arc::new(AtomicU32::new(0));
    let counting = Arc::clone(&asked);
    let web = Web::start(move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
        Reply::Answer(429, vec![("retry-after", "600".to_owned())], b"Too Many Requests\r\n".to_vec())
    })
    .await;
    let engine = Engine::start(&settings(&web, "")).await;
    let source = engine.until("yahoo", |source| source.state() == pb::SourceState::Throttled).await;
    assert_eq!(source.reason, "the server asks for a pause (status 429)");
    let error = engine.fetch(&["AAPL"], "").await.unwrap_err();
    let (code, _, details) = told(&error);
    assert_eq!((code, details), (Code::ResourceExhausted, vec!["SOURCE_THROTTLED".to_owned(), "RETRY".to_owned()]));
    // Connecting again is no way around it.
    let before = asked.load(Ordering::Relaxed);
    let error = engine.connect("yahoo", "", &[]).await.unwrap_err();
    assert_eq!(told(&error).0, Code::ResourceExhausted);
    assert_eq!(asked.load(Ordering::Relaxed), before);
    engine.stop().await;
}
