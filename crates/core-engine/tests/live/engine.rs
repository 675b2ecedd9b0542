//! A running engine, as its clients see it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use core_engine::{Server, Settings};
use prost::Message;
use protos::core_engine::v1 as pb;
use protos::core_engine::v1::core_engine_client::CoreEngineClient;
use protos::google::rpc::{BadRequest, ErrorInfo, RetryInfo};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How long something may take that takes no time.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Engine {
    pub client: CoreEngineClient<Channel>,
    pub channel: Channel,
    pub metrics: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Engine {
    /// With these settings, on free ports.
    pub async fn start(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engine.yaml");
        std::fs::write(&file, format!("listen: 127.0.0.1:0\nmetrics: 127.0.0.1:0\n{yaml}")).unwrap();
        let server = Server::bind(&Settings::load(&file).unwrap()).await.unwrap();
        let (address, metrics) = (server.address(), server.metrics_address());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve(stopped).await.unwrap();
        });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let client = CoreEngineClient::new(channel.clone());
        Self { client, channel, metrics, stop, serving, _folder: folder }
    }

    pub async fn stop(self) {
        let Self { client, channel, stop, serving, .. } = self;
        drop((client, channel));
        stop.send(()).unwrap();
        serving.await.unwrap();
    }

    pub async fn fetch(&self, symbols: &[&str], source: &str) -> Result<Vec<pb::MarketData>, Status> {
        let request = pb::FetchMarketDataRequest { symbols: texts(symbols), source_id: source.to_owned() };
        Ok(self.client.clone().fetch_market_data(request).await?.into_inner().market_data)
    }

    pub async fn bars(&self, symbol: &str, interval: &str, source: &str) -> Result<Vec<pb::MarketData>, Status> {
        let request = pb::GetBarsRequest {
            symbol: symbol.to_owned(),
            interval: interval.to_owned(),
            limit: None,
            source_id: source.to_owned(),
        };
        Ok(self.client.clone().get_bars(request).await?.into_inner().bars)
    }

    pub async fn connect(
        &self,
        source: &str,
        type_name: &str,
        config: &[(&str, &str)],
    ) -> Result<pb::ConnectDataSourceResponse, Status> {
        let config: BTreeMap<_, _> = config.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let request =
            pb::ConnectDataSourceRequest { source_id: source.to_owned(), config, r#type: type_name.to_owned() };
        Ok(self.client.clone().connect_data_source(request).await?.into_inner())
    }

    pub async fn disconnect(&self, source: &str, remove: bool) -> Result<pb::DisconnectDataSourceResponse, Status> {
        let request = pb::DisconnectDataSourceRequest { source_id: source.to_owned(), remove };
        Ok(self.client.clone().disconnect_data_source(request).await?.into_inner())
    }

    pub async fn stats(&self) -> pb::GetIngestionStatsResponse {
        let request = pb::GetIngestionStatsRequest::default();
        self.client.clone().get_ingestion_stats(request).await.unwrap().into_inner()
    }

    pub async fn source(&self, id: &str) -> pb::SourceStats {
        self.stats().await.sources.into_iter().find(|source| source.source_id == id).unwrap()
    }

    /// Waits until a source is as it should be.
    pub async fn until(&self, id: &str, wanted: impl Fn(&pb::SourceStats) -> bool) -> pb::SourceStats {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let source = self.source(id).await;
                if wanted(&source) {
                    return source;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        match found.await {
            Ok(source) => source,
            Err(_) => panic!("the source is {:#?}", self.source(id).await),
        }
    }
}

/// Waits until something holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

pub fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// What an error tells: code, message, and its details, each on a few words; whether it says when to come again.
pub fn told(status: &Status) -> (Code, String, Vec<String>) {
    let details = match status.details() {
        [] => Vec::new(),
        encoded => protos::google::rpc::Status::decode(encoded).unwrap().details,
    };
    let words = details.iter().map(|any| match any.type_url.as_str() {
        "type.googleapis.com/google.rpc.BadRequest" => {
            BadRequest::decode(&*any.value).unwrap().field_violations[0].field.clone()
        }
        "type.googleapis.com/google.rpc.ErrorInfo" => ErrorInfo::decode(&*any.value).unwrap().reason,
        "type.googleapis.com/google.rpc.RetryInfo" => {
            let delay = RetryInfo::decode(&*any.value).unwrap().retry_delay.unwrap();
            assert!(delay.seconds >= 0 && delay.nanos >= 0, "{delay:?}");
            "RETRY".to_owned()
        }
        other => other.to_owned(),
    });
    (status.code(), status.message().to_owned(), words.collect())
}

/// `symbol price volume` of each.
pub fn shown(values: &[pb::MarketData]) -> Vec<String> {
    values.iter().map(|value| format!("{} {} {}", value.symbol, value.price, value.volume)).collect()
}
