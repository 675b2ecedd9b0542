//! What clients connected, and what came, after a restart; health and metrics of each source.

use protos::core_engine::v1 as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::engine::{Engine, eventually, told};
use super::fake::{Exchange, Reply, Web};

const SIMULATOR: &str = "default_source: simulator\nsources: { simulator: { type: simulator, connect: true, config: { \
                         symbols: \"A=5\", ticks_per_second: 100 } } }\n";

fn settings(folder: &tempfile::TempDir) -> String {
    format!(
        "{SIMULATOR}store: {{ path: \"{}\" }}\nallow_client_locations: true\n",
        folder.path().join("s.redb").display()
    )
}

fn state(sources: &pb::GetIngestionStatsResponse) -> Vec<String> {
    sources.sources.iter().map(|source| format!("{} {}", source.source_id, source.state().as_str_name())).collect()
}

#[tokio::test]
async fn sources_and_bars_are_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = Exchange::start().await;
    let engine = Engine::start(&settings(&folder)).await;
    exchange.send(r#"{"result":null,"id":1}"#);
    let config = [("url", &*exchange.url()), ("rest_url", ""), ("symbols", "BTCUSDT")];
    let answer = engine.connect("mine", "binance", &config).await.unwrap();
    assert_eq!((answer.symbols, answer.state), (vec!["BTCUSDT".to_owned()], pb::SourceState::Connected as i32));
    engine.connect("second", "simulator", &[("symbols", "B=7")]).await.unwrap();
    engine.connect("third", "simulator", &[]).await.unwrap();
    engine.disconnect("third", true).await.unwrap();
    assert_eq!(engine.disconnect("second", false).await.unwrap().state(), pb::SourceState::Disconnected);
    exchange.send(r#"{"data":{"e":"trade","s":"BTCUSDT","t":1,"p":"64000.5","q":"2","T":1764340200000,"m":true}}"#);
    engine.until("mine", |source| source.received == 1).await;
    engine.until("simulator", |source| source.received > 10).await;
    let expected =
        ["mine SOURCE_STATE_CONNECTED", "second SOURCE_STATE_DISCONNECTED", "simulator SOURCE_STATE_CONNECTED"];
    assert_eq!(state(&engine.stats().await), expected);
    engine.stop().await;

    let engine = Engine::start(&settings(&folder)).await;
    eventually("all are as they were", || async { state(&engine.stats().await) == expected }).await;
    let bars = engine.bars("BTCUSDT", "1d", "mine").await.unwrap();
    assert_eq!((&*bars[0].price, &*bars[0].volume), ("64000.5", "2"));
    // What is taken out stays out.
    engine.disconnect("mine", true).await.unwrap();
    engine.stop().await;
    let engine = Engine::start(&settings(&folder)).await;
    assert_eq!(state(&engine.stats().await), expected[1..]);
    engine.stop().await;
}

#[tokio::test]
async fn what_clients_may_not_is_named() {
    let engine = Engine::start(SIMULATOR).await;
    for (id, type_name, config, field) in [
        ("mine", "binance", ("url", "ws://127.0.0.1:1"), "config.url"),
        ("mine", "yahoo_finance", ("url", "http://127.0.0.1:1"), "config.url"),
        ("mine", "news_api", ("key_env", "HOME"), "config.key_env"),
        ("mine", "rss", ("feeds", "http://127.0.0.1:1"), "config.feeds"),
        ("mine", "rss", ("poll", "5m"), "config.feeds"),
        ("mine", "ftp", ("a", "b"), "type"),
        ("MINE", "simulator", ("seed", "1"), "source_id"),
        ("simulator", "replay", ("speed", "1"), "type"),
        ("", "simulator", ("seed", "1"), "source_id"),
    ] {
        let (code, _, details) = told(&engine.connect(id, type_name, &[config]).await.unwrap_err());
        assert_eq!((code, details), (Code::InvalidArgument, vec![field.to_owned()]), "{id} {type_name}");
    }
    assert_eq!(state(&engine.stats().await), ["simulator SOURCE_STATE_CONNECTED"]);
    let (code, _, details) = told(&engine.disconnect("simulator", true).await.unwrap_err());
    assert_eq!((code, details), (Code::InvalidArgument, vec!["remove".to_owned()]));
    let (code, message, _) = told(&engine.disconnect("nobody", false).await.unwrap_err());
    assert_eq!((code, &*message), (Code::NotFound, "source nobody is unknown; known are simulator"));
    engine.stop().await;
}

#[tokio::test]
async fn a_stream_hears_of_a_disconnect() {
    let engine = Engine::start(SIMULATOR).await;
    let request = pb::StreamMarketDataRequest { symbols: vec!["A".to_owned()], source_id: String::new() };
    let mut stream = engine.client.clone().stream_market_data(request).await.unwrap().into_inner();
    engine.disconnect("simulator", false).await.unwrap();
    let end = loop {
        if let Err(end) = stream.message().await {
            break end;
        }
    };
    assert_eq!(told(&end).2, ["SOURCE_DISCONNECTED"]);
    assert_eq!(told(&engine.fetch(&["A"], "").await.unwrap_err()).0, Code::Unavailable);
    engine.stop().await;
}

#[tokio::test]
async fn each_source_has_its_health_and_its_metrics() {
    let web = Web::start(|_| Reply::Hang).await;
    let hanging = format!("  feed: {{ type: rss, connect: true, config: {{ feeds: \"{}\" }} }}\n", web.url());
    let yaml =
        format!("default_source: simulator\nsources:\n  simulator: {{ type: simulator, connect: true }}\n{hanging}");
    let engine = Engine::start(&yaml).await;
    let health = |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut client = HealthClient::new(engine.channel.clone());
        async move { client.check(request).await.map(|answer| answer.into_inner().status).ok() }
    };
    eventually("the simulator serves", || async { health("source.simulator").await == Some(1) }).await;
    eventually("the feed does not", || async { health("source.feed").await == Some(2) }).await;
    assert_eq!(health("source.nobody").await, None);
    // One source that hangs is seen, and the engine is degraded and no more.
    engine.until("feed", |source| source.errors_by_kind.contains_key("slow")).await;
    let health = engine.client.clone().health_check(pb::HealthCheckRequest {}).await.unwrap().into_inner();
    assert_eq!((health.healthy, &*health.status), (true, "degraded"));
    assert!(!health.dependencies["feed"].healthy);

    let page = scrape(&engine, "/metrics").await;
    for line in [
        "core_engine_source_up{source=\"simulator\",type=\"simulator\"} 1",
        "core_engine_source_up{source=\"feed\",type=\"rss\"} 0",
        "core_engine_errors_total{source=\"feed\",kind=\"slow\"} ",
        "# TYPE core_engine_received_total counter",
        "core_engine_values_bytes ",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(scrape(&engine, "/").await.starts_with("HTTP/1.1 404 "));
    engine.stop().await;
}

async fn scrape(engine: &Engine, path: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(engine.metrics.unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).await.unwrap();
    page
}
