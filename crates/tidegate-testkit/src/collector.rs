//! A collector of traces: a tonic server with the service of the OpenTelemetry project, or HTTP/1.1 with its messages.
//!
//! What it was sent is decoded by that project's own types, so that field numbers are checked against the outside.

mod http;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
pub use opentelemetry_proto::tonic::trace::v1::Span;
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
pub use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::soon;

/// Most batches that wait to be looked at by a test.
const BATCHES: usize = 1_000;

/// A collector on a port of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    exports: mpsc::Receiver<ExportTraceServiceRequest>,
    url: String,
    serving: JoinHandle<()>,
}

/// How the next batch is answered instead of being taken.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Of gRPC, or of HTTP.
    pub status: u16,
    /// `grpc-status-details-bin`, decoded; nothing with HTTP.
    pub details: Vec<u8>,
    /// `retry-after`; nothing with gRPC.
    pub retry_after: Option<&'static str>,
}

#[derive(Debug)]
struct Shared {
    exports: mpsc::Sender<ExportTraceServiceRequest>,
    refusals: Mutex<VecDeque<Refusal>>,
}

impl Shared {
    fn next_refusal(&self) -> Option<Refusal> {
        self.refusals.lock().pop_front()
    }

    async fn take(&self, export: ExportTraceServiceRequest) {
        self.exports.send(export).await.expect("the collector is looked at");
    }
}

impl Collector {
    /// OTLP over gRPC.
    pub async fn grpc() -> Self {
        Self::grpc_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same on a given address, for one that comes back.
    ///
    /// # Panics
    /// If the address cannot be listened on.
    pub async fn grpc_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        Self::start(format!("grpc://{address}"), |shared| {
            let service = TraceServiceServer::new(Service(shared));
            let server = Server::builder().add_service(service);
            tokio::spawn(async move {
                server.serve_with_incoming(TcpIncoming::from(listener)).await.expect("the collector serves");
            })
        })
    }

    /// OTLP over HTTP, at `/v1/traces`.
    pub async fn http() -> Self {
        Self::http_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same on a given address, for one that comes back.
    ///
    /// # Panics
    /// If the address cannot be listened on.
    pub async fn http_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        Self::start(format!("http://{address}"), |shared| tokio::spawn(http::serve(listener, shared)))
    }

    fn start(url: String, serve: impl FnOnce(Arc<Shared>) -> JoinHandle<()>) -> Self {
        let (sender, exports) = mpsc::channel(BATCHES);
        let shared = Arc::new(Shared { exports: sender, refusals: Mutex::default() });
        let serving = serve(Arc::clone(&shared));
        Self { shared, exports, url, serving }
    }

    /// For the configuration.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next batch that is not refused already is answered with `refusal`.
    pub fn refuse(&self, refusal: Refusal) {
        self.shared.refusals.lock().push_back(refusal);
    }

    /// How many refusals were not used yet.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.shared.refusals.lock().len()
    }

    /// The next batch that was taken.
    ///
    /// # Panics
    /// If none comes.
    pub async fn export(&mut self) -> ExportTraceServiceRequest {
        soon(self.exports.recv()).await.expect("the collector runs")
    }

    /// Batches that were taken and not looked at, without waiting.
    pub fn waiting(&mut self) -> usize {
        self.exports.len()
    }

    /// The next spans, at least `count` of them.
    ///
    /// # Panics
    /// If so many do not come.
    pub async fn spans(&mut self, count: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        while spans.len() < count {
            let export = self.export().await;
            let scopes = export.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            spans.extend(scopes.flat_map(|scope| scope.spans));
        }
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Service(Arc<Shared>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if let Some(refusal) = self.0.next_refusal() {
            let code = i32::from(refusal.status).into();
            return Err(Status::with_details(code, "refused", refusal.details.into()));
        }
        self.0.take(request.into_inner()).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The attributes as text, `key=value`, sorted.
#[must_use]
pub fn texts(attributes: &[KeyValue]) -> Vec<String> {
    let mut texts: Vec<String> = attributes.iter().map(|pair| format!("{}={}", pair.key, text(pair))).collect();
    texts.sort();
    texts
}

/// The value of the attribute `key` as text; empty if there is none.
#[must_use]
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    attributes.iter().find(|pair| pair.key == key).map(text).unwrap_or_default()
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
