//! The cheapest gateway that could exist: HTTP/1.1 by hyper, one raw `h2` connection to the backend, no transcoding.
//!
//! It moves the same bytes on both sides as a real gateway would, but takes them from the scenario file: the request
//! frame is ready, and the JSON goes out as soon as the backend's answer is complete and as long as it must be. What
//! it costs is the price of the hop; what a gateway costs beyond it is the gateway's own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::scenario::Scenario;
use crate::{frame, schema};

const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 24;

/// The prepared halves of every exchange.
#[derive(Debug)]
pub struct Table {
    rpc_uri: http::Uri,
    /// By path and query alone, so that a look-up needs no key of its own; method and body decide among the rest.
    exchanges: HashMap<String, Vec<Prepared>>,
}

#[derive(Debug, Clone)]
struct Prepared {
    method: Method,
    request_body: Bytes,
    request_value: Option<Value>,
    request_frame: Bytes,
    response_len: usize,
    answer: Bytes,
}

impl Table {
    /// Prepares the exchanges of `scenario`.
    ///
    /// # Errors
    /// The RPC is unknown, a value does not fit its message type, or a path is no path.
    pub fn new(scenario: &Scenario, descriptor_set: &[u8]) -> anyhow::Result<Self> {
        let method = schema::find_method(descriptor_set, &scenario.rpc)?;
        let mut exchanges: HashMap<String, Vec<Prepared>> = HashMap::new();
        for exchange in &scenario.exchanges {
            let frame_of = |descriptor, json| -> anyhow::Result<Bytes> {
                Ok(frame::wrap(&schema::message(&descriptor, json)?.encode_to_vec()))
            };
            let mut response_len = 0;
            for response in &exchange.responses {
                response_len += frame_of(method.output(), response)?.len();
            }
            let body = exchange.http.body.as_ref().map(ToString::to_string);
            let prepared = Prepared {
                method: exchange.http.method.parse().context("not a method")?,
                request_body: body.unwrap_or_default().into(),
                request_value: exchange.http.body.clone(),
                request_frame: frame_of(method.input(), &exchange.request)?,
                response_len,
                answer: exchange.answer.to_string().into(),
            };
            exchanges.entry(exchange.http.path.clone()).or_default().push(prepared);
        }
        Ok(Self { rpc_uri: format!("http://backend/{}", scenario.rpc).parse()?, exchanges })
    }

    fn find(&self, request: &Request<Incoming>, body: &[u8]) -> Option<&Prepared> {
        let path = request.uri().path_and_query()?.as_str();
        let mut candidates = self.exchanges.get(path)?.iter().filter(|found| found.method == *request.method());
        // The load generator spells a body as it is here; whoever tries things out by hand need not.
        candidates.clone().find(|found| found.request_body == body).or_else(|| {
            let value = serde_json::from_slice(body).ok()?;
            candidates.find(|found| found.request_value.as_ref() == Some(&value))
        })
    }
}

/// Connects to the backend, then serves until the future is dropped.
///
/// # Errors
/// The backend cannot be reached, or the listener fails.
pub async fn serve(listener: TcpListener, backend: SocketAddr, table: Arc<Table>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(backend).await.context("cannot reach the backend")?;
    stream.set_nodelay(true)?;
    let (upstream, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake::<_, Bytes>(stream)
        .await?;
    tokio::spawn(async move {
        // When this ends every later request fails, and the load generator says so.
        let _ = connection.await;
    });
    loop {
        let (stream, _) = listener.accept().await.context("accept failed")?;
        stream.set_nodelay(true)?;
        let (table, upstream) = (Arc::clone(&table), upstream.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| handle(&table, upstream.clone(), request));
            // A client that leaves is how every run ends.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(
    table: &Table,
    upstream: SendRequest<Bytes>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let Ok(body) = request.body_mut().collect().await else {
        return Ok(refusal(StatusCode::BAD_REQUEST));
    };
    let Some(prepared) = table.find(&request, &body.to_bytes()).cloned() else {
        return Ok(refusal(StatusCode::NOT_FOUND));
    };
    match call(table, upstream, &prepared).await {
        Ok(true) => {
            let mut response = Response::new(Full::new(prepared.answer));
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            Ok(response)
        }
        Ok(false) | Err(_) => Ok(refusal(StatusCode::BAD_GATEWAY)),
    }
}

/// Whether the backend answered with OK and with as many bytes as it should.
async fn call(table: &Table, upstream: SendRequest<Bytes>, prepared: &Prepared) -> Result<bool, h2::Error> {
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.uri_mut() = table.rpc_uri.clone();
    *head.version_mut() = Version::HTTP_2;
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    head.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let (response, mut stream) = upstream.ready().await?.send_request(head, false)?;
    stream.send_data(prepared.request_frame.clone(), true)?;
    let mut body = response.await?.into_body();
    let mut len = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        len += chunk.len();
        body.flow_control().release_capacity(chunk.len())?;
    }
    let trailers = body.trailers().await?;
    let ok = trailers.is_some_and(|trailers| trailers.get("grpc-status").is_some_and(|status| status == "0"));
    Ok(ok && len == prepared.response_len)
}

fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
