//! The engine as its clients see it: over a real connection, on a free port.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::collections::BTreeMap;
use std::path::Path;

use core_engine::settings::StreamLimits;
use core_engine::{Server, Settings};
use prost::Message;
use protos::core_engine::v1 as pb;
use protos::core_engine::v1::core_engine_client::CoreEngineClient;
use protos::google::rpc::{BadRequest, ErrorInfo, RetryInfo};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};

const DAY: &str = "symbol,open,high,low,close,volume,timestamp,currency\n\
                   ACME,10.10,10.50,10.0000000000001,10.20,1000,2026-11-20T09:30:00Z,EUR\n\
                   ACME,10.20,10.40,10.15,10.3333333333333333,500.5,2026-11-20T09:31:00Z,EUR\n\
                   not a record\n\
                   ZEN,1,2,1,2,3,2026-11-20T09:32:00Z,\n";

/// A running engine. `replay` is its folder for files.
struct Running {
    client: CoreEngineClient<Channel>,
    channel: Channel,
    port: u16,
    replay: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let replay = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.replay_directory = replay.path().to_owned();
        Self::start_with(&settings, replay).await
    }

    async fn start_with(settings: &Settings, replay: tempfile::TempDir) -> Self {
        let server = Server::bind(settings).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve(stopped).await.unwrap();
        });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let client = CoreEngineClient::new(channel.clone());
        Self { client, channel, port: address.port(), replay, stop, serving }
    }

    async fn fetch(&mut self, symbols: &[&str], source_id: &str) -> Result<pb::FetchMarketDataResponse, Status> {
        let request = pb::FetchMarketDataRequest { symbols: texts(symbols), source_id: source_id.to_owned() };
        self.client.fetch_market_data(request).await.map(tonic::Response::into_inner)
    }

    async fn buffer(
        &mut self,
        symbol: &str,
        limit: Option<i32>,
        source_id: &str,
    ) -> Result<pb::GetMarketDataBufferResponse, Status> {
        let (symbol, source_id) = (symbol.to_owned(), source_id.to_owned());
        let request = pb::GetMarketDataBufferRequest { symbol, limit, source_id };
        self.client.get_market_data_buffer(request).await.map(tonic::Response::into_inner)
    }

    async fn connect(
        &mut self,
        source_id: &str,
        config: &[(&str, &str)],
    ) -> Result<pb::ConnectDataSourceResponse, Status> {
        let config: BTreeMap<_, _> = config.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let request = pb::ConnectDataSourceRequest { source_id: source_id.to_owned(), config, r#type: String::new() };
        self.client.connect_data_source(request).await.map(tonic::Response::into_inner)
    }

    async fn stream(
        &mut self,
        symbols: &[&str],
        source_id: &str,
    ) -> Result<tonic::Streaming<pb::StreamMarketDataResponse>, Status> {
        let request = pb::StreamMarketDataRequest { symbols: texts(symbols), source_id: source_id.to_owned() };
        self.client.stream_market_data(request).await.map(tonic::Response::into_inner)
    }

    async fn health(&mut self) -> pb::HealthCheckResponse {
        self.client.health_check(pb::HealthCheckRequest {}).await.unwrap().into_inner()
    }

    async fn stats(&mut self, source_id: &str) -> Result<pb::GetIngestionStatsResponse, Status> {
        let request = pb::GetIngestionStatsRequest { source_id: source_id.to_owned() };
        self.client.get_ingestion_stats(request).await.map(tonic::Response::into_inner)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(Path::new(self.replay.path()).join(name), text).unwrap();
    }
}

/// The defaults, on a free port.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.listen = "127.0.0.1:0".parse().unwrap();
    settings
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// What an error tells: code, message, and its details, each on a few words.
fn told(status: &Status) -> (Code, &str, Vec<String>) {
    let details = match status.details() {
        [] => Vec::new(),
        encoded => protos::google::rpc::Status::decode(encoded).unwrap().details,
    };
    let words = details.iter().map(|any| match any.type_url.as_str() {
        "type.googleapis.com/google.rpc.BadRequest" => {
            let violations = BadRequest::decode(&*any.value).unwrap().field_violations;
            format!("field {}", violations[0].field)
        }
        "type.googleapis.com/google.rpc.ErrorInfo" => ErrorInfo::decode(&*any.value).unwrap().reason,
        "type.googleapis.com/google.rpc.RetryInfo" => {
            format!("retry after {} s", RetryInfo::decode(&*any.value).unwrap().retry_delay.unwrap().seconds)
        }
        other => other.to_owned(),
    });
    (status.code(), status.message(), words.collect())
}

#[tokio::test]
async fn health_tells_service_port_and_sources() {
    let mut engine = Running::start().await;
    let health = engine.health().await;
    assert!(health.healthy);
    assert_eq!((health.status.as_str(), health.version.as_str()), ("healthy", env!("CARGO_PKG_VERSION")));
    let details = health.details.unwrap();
    assert_eq!((details.service.as_str(), details.port), ("core-engine", u32::from(engine.port)));
    assert_eq!(details.processors, ["market_data", "news"]);
    assert!(details.cpus >= 1);
    // The replay is not listed: nobody connected it.
    assert_eq!(health.dependencies.keys().collect::<Vec<_>>(), ["simulator"]);
    let simulator = &health.dependencies["simulator"];
    assert!(simulator.healthy && simulator.last_success.is_some());
    assert_eq!(simulator.state(), pb::SourceState::Connected);
}

#[tokio::test]
async fn a_fetch_gives_each_symbol_once_in_the_order_of_the_request() {
    let mut engine = Running::start().await;
    let answer = engine.fetch(&["ETHUSDT", "BTCUSDT", "ETHUSDT"], "").await.unwrap();
    let symbols: Vec<_> = answer.market_data.iter().map(|value| value.symbol.as_str()).collect();
    assert_eq!(symbols, ["ETHUSDT", "BTCUSDT"]);
    assert_eq!((answer.source_id.as_str(), answer.symbols_count), ("simulator", 2));
    assert_eq!(answer.message, "market data fetched");
    for value in answer.market_data {
        assert!(value.price.split_once('.').is_some_and(|(_, places)| places.len() == 2), "{}", value.price);
        assert_eq!(value.additional_data["origin"], "simulated");
        assert!(value.timestamp.is_some() && value.sequence > 0);
    }
}

#[tokio::test]
async fn the_buffer_gives_the_newest_values_oldest_first() {
    let mut engine = Running::start().await;
    engine.connect("simulator", &[("ticks_per_second", "1000")]).await.unwrap();
    let mut stream = engine.stream(&["BTCUSDT"], "simulator").await.unwrap();
    let mut seen = 0;
    while seen < 5 {
        seen += stream.message().await.unwrap().unwrap().market_data.len();
    }
    let answer = engine.buffer("BTCUSDT", Some(3), "").await.unwrap();
    let sequences: Vec<_> = answer.market_data.iter().map(|value| value.sequence).collect();
    assert!(sequences.len() == 3 && sequences.is_sorted(), "{sequences:?}");
    assert_eq!((answer.symbol.as_str(), answer.source_id.as_str(), answer.symbols_count), ("BTCUSDT", "simulator", 1));
    assert!(answer.buffered >= 5);
    assert!(engine.buffer("BTCUSDT", None, "replay").await.unwrap().market_data.is_empty());
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_says_why() {
    let mut engine = Running::start().await;
    let many = vec!["A"; 101];
    for (refused, expected) in [
        (
            engine.fetch(&[], "").await.unwrap_err(),
            (Code::InvalidArgument, "symbols must not be empty", "field symbols"),
        ),
        (
            engine.fetch(&many, "").await.unwrap_err(),
            (Code::InvalidArgument, "symbols must be at most 100", "field symbols"),
        ),
        (
            engine.fetch(&["BTCUSDT", "B T"], "").await.unwrap_err(),
            (
                Code::InvalidArgument,
                "symbols[1] must be at most 32 letters, digits and . - _ / : ^ =",
                "field symbols[1]",
            ),
        ),
        (
            engine.fetch(&["BTCUSDT", "NOPE"], "").await.unwrap_err(),
            (Code::NotFound, "symbol NOPE is unknown to source simulator", "UNKNOWN_SYMBOL"),
        ),
        (
            engine.fetch(&["BTCUSDT"], "yahoo\n").await.unwrap_err(),
            (Code::NotFound, "source yahoo\\n is unknown; known are replay, simulator", "UNKNOWN_SOURCE"),
        ),
        (
            engine.buffer("NOPE", None, "").await.unwrap_err(),
            (Code::NotFound, "symbol NOPE is unknown", "UNKNOWN_SYMBOL"),
        ),
        (
            engine.buffer("", None, "").await.unwrap_err(),
            (Code::InvalidArgument, "symbol must not be empty", "field symbol"),
        ),
        (
            engine.buffer("BTCUSDT", Some(0), "").await.unwrap_err(),
            (Code::InvalidArgument, "limit must be 1 to 500", "field limit"),
        ),
        (
            engine.buffer("BTCUSDT", Some(-1), "").await.unwrap_err(),
            (Code::InvalidArgument, "limit must be 1 to 500", "field limit"),
        ),
        (
            engine.buffer("BTCUSDT", Some(501), "").await.unwrap_err(),
            (Code::InvalidArgument, "limit must be 1 to 500", "field limit"),
        ),
        (
            engine.stream(&["NOPE"], "").await.unwrap_err(),
            (Code::NotFound, "symbol NOPE is unknown to source simulator", "UNKNOWN_SYMBOL"),
        ),
        (
            engine.connect("", &[]).await.unwrap_err(),
            (Code::InvalidArgument, "source_id must not be empty", "field source_id"),
        ),
        (
            engine.connect("replay", &[]).await.unwrap_err(),
            (
                Code::InvalidArgument,
                "config.path is needed: a .csv, .ndjson or .jsonl file in the engine's folder for replays",
                "field config.path",
            ),
        ),
        (
            engine.connect("simulator", &[("seed", "x")]).await.unwrap_err(),
            (Code::InvalidArgument, "config.seed must be a whole number of 0 or more", "field config.seed"),
        ),
        (
            engine.stats("nope").await.unwrap_err(),
            (Code::NotFound, "source nope is unknown; known are replay, simulator", "UNKNOWN_SOURCE"),
        ),
    ] {
        let (code, message, detail) = expected;
        assert_eq!(told(&refused), (code, message, vec![detail.to_owned()]));
    }
}

#[tokio::test]
async fn a_source_that_is_down_says_so_until_it_is_connected() {
    let mut engine = Running::start().await;
    let down = |reason: &str| format!("source replay is down: {reason}");
    let details = || vec!["SOURCE_DOWN".to_owned(), "retry after 1 s".to_owned()];

    let refused = engine.fetch(&["ACME"], "replay").await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, down("nobody connected it yet").as_str(), details()));

    let missing = down("the file day.csv cannot be read: No such file or directory (os error 2)");
    let refused = engine.connect("replay", &[("path", "day.csv")]).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, missing.as_str(), details()));
    let refused = engine.stream(&["ACME"], "replay").await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, missing.as_str(), details()));
    let health = engine.health().await;
    assert!(health.healthy);
    assert_eq!(health.status, "degraded");
    assert_eq!(health.dependencies["replay"].state(), pb::SourceState::Down);
    let stats = engine.stats("replay").await.unwrap();
    assert_eq!(stats.sources[0].errors_by_kind, BTreeMap::from([("unavailable".to_owned(), 1)]));

    engine.write("day.csv", DAY);
    let connected = engine.connect("replay", &[("path", "day.csv")]).await.unwrap();
    assert_eq!(connected.symbols, ["ACME", "ZEN"]);
    assert_eq!(engine.health().await.status, "healthy");
}

#[tokio::test]
async fn a_replay_keeps_every_digit_and_ends_its_streams_when_it_ends() {
    let mut engine = Running::start().await;
    engine.write("day.csv", DAY);
    engine.connect("replay", &[("path", "day.csv"), ("speed", "max")]).await.unwrap();
    // Opened before or after the end of the file: in both cases the stream ends well.
    let mut stream = engine.stream(&["ZEN", "ACME"], "replay").await.unwrap();
    let mut last = None;
    while let Some(message) = stream.message().await.unwrap() {
        last = message.market_data.into_iter().rfind(|value| value.symbol == "ACME").or(last);
    }
    let value = last.unwrap();
    assert_eq!((value.price.as_str(), value.volume.as_str()), ("10.3333333333333333", "500.5"));
    assert_eq!(value.bar.unwrap().low, "10.15");
    assert_eq!(value.additional_data, BTreeMap::from([("currency", "EUR"), ("origin", "replayed")].map(own)));

    let buffered = engine.buffer("ACME", None, "replay").await.unwrap();
    assert_eq!(buffered.market_data[0].bar.as_ref().unwrap().low, "10.0000000000001");
    assert_eq!(buffered.market_data[0].timestamp.unwrap().seconds, 1_795_167_000);

    let source = engine.stats("replay").await.unwrap().sources.remove(0);
    assert_eq!((source.r#type.as_str(), source.state()), ("replay", pb::SourceState::Finished));
    assert_eq!((source.received, source.errors, source.connects), (3, 1, 1));
    assert_eq!(source.last_error, "day.csv, line 4: has 1 fields, the first line has 8");
    // The last values stay readable.
    assert_eq!(engine.fetch(&["ZEN"], "replay").await.unwrap().market_data[0].price, "2");
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn the_settings_of_the_live_example_are_good() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/s0-market-data/live.yaml");
    assert_eq!(Settings::load(Path::new(file)).unwrap().metrics.unwrap().port(), 9902);
}

#[tokio::test]
async fn the_settings_of_the_example_serve_their_recorded_morning() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/s3-core-engine/engine.yaml");
    let mut settings = Settings::load(Path::new(file)).unwrap();
    settings.listen = self::settings().listen;
    let mut engine = Running::start_with(&settings, tempfile::tempdir().unwrap()).await;
    assert_eq!(engine.health().await.dependencies.keys().collect::<Vec<_>>(), ["morning", "simulator"]);
    let value = engine.fetch(&["ACME"], "morning").await.unwrap().market_data.remove(0);
    assert!(value.bar.is_some());
    assert_eq!(value.additional_data, BTreeMap::from([("currency", "EUR"), ("origin", "replayed")].map(own)));
    let stats = engine.stats("morning").await.unwrap();
    assert_eq!((stats.total.unwrap().errors, stats.sources[0].symbols_count), (0, 2));
}

#[tokio::test]
async fn a_stream_delivers_until_its_source_is_connected_again() {
    let mut engine = Running::start().await;
    engine.connect("simulator", &[("ticks_per_second", "200")]).await.unwrap();
    let mut stream = engine.stream(&["AAPL"], "").await.unwrap();
    let mut sequences = Vec::new();
    while sequences.len() < 3 {
        let message = stream.message().await.unwrap().unwrap();
        assert_eq!((message.source_id.as_str(), message.symbols_count), ("simulator", 1));
        sequences.extend(message.market_data.iter().map(|value| value.sequence));
    }
    // Each symbol moves once per step, and there are ten.
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 10), "{sequences:?}");
    assert_eq!(engine.stats("").await.unwrap().streams.unwrap().open, 1);

    engine.connect("simulator", &[("symbols", "MSFT")]).await.unwrap();
    let end = loop {
        if let Err(status) = stream.message().await {
            break status;
        }
    };
    let message = "source simulator was connected again; open the stream again";
    let details = vec!["SOURCE_REPLACED".to_owned(), "retry after 0 s".to_owned()];
    assert_eq!(told(&end), (Code::Unavailable, message, details));
    assert_eq!(engine.fetch(&["AAPL"], "").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let mut engine = Running::start().await;
    engine.connect("simulator", &[("latency", "60s")]).await.unwrap();
    let mut request =
        tonic::Request::new(pb::FetchMarketDataRequest { symbols: texts(&["AAPL"]), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let status = engine.client.fetch_market_data(request).await.unwrap_err();
    assert_eq!(told(&status), (Code::DeadlineExceeded, "the deadline is exceeded", vec![]));
}

#[tokio::test]
async fn the_bounds_of_streams_hold() {
    let replay = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.streams = StreamLimits { queue: 4, max_open: 1 };
    let mut engine = Running::start_with(&settings, replay).await;
    let _open = engine.stream(&["AAPL"], "").await.unwrap();
    let refused = engine.stream(&["AAPL"], "").await.unwrap_err();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "too many streams are open, the most is 1", vec![]));
}

#[tokio::test]
async fn a_stop_ends_streams_and_then_the_server() {
    let mut engine = Running::start().await;
    let mut stream = engine.stream(&["AAPL"], "").await.unwrap();
    engine.stop.send(()).unwrap();
    let end = loop {
        if let Err(status) = stream.message().await {
            break status;
        }
    };
    assert_eq!(told(&end), (Code::Unavailable, "the engine is shutting down", vec![]));
    drop((stream, engine.client, engine.channel));
    engine.serving.await.unwrap();
}

#[tokio::test]
async fn the_health_service_answers() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    let engine = Running::start().await;
    let mut health = HealthClient::new(engine.channel.clone());
    for service in ["", "core_engine.v1.CoreEngine"] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(HealthCheckRequest { service: "nope".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

/// Asks one version of the reflection service for the file with our service.
macro_rules! check_reflection {
    ($channel:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol("core_engine.v1.CoreEngine".to_owned())),
        };
        let mut client = ServerReflectionClient::new($channel);
        let requests = futures_util::stream::iter([request]);
        let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::FileDescriptorResponse(found)) = answer else { panic!("{answer:?}") };
        let file = prost_types::FileDescriptorProto::decode(&*found.file_descriptor_proto[0]).unwrap();
        assert_eq!(file.name(), "core_engine/v1/core_engine.proto");
        assert_eq!(file.service[0].method.len(), 12);
        assert_eq!(file.enum_type[0].name(), "SourceState");
    }};
}

#[tokio::test]
async fn reflection_answers_in_both_versions() {
    let engine = Running::start().await;
    check_reflection!(engine.channel.clone(), v1);
    check_reflection!(engine.channel.clone(), v1alpha);
}
