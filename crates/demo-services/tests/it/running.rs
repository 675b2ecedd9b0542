//! Running services, and clients of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use demo_services::{Server, Service, Settings};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// All services in this process.
pub(crate) struct Running {
    pub(crate) addresses: BTreeMap<Service, SocketAddr>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// All services on free ports, in memory, with strategies that do not let a test wait.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.services.values_mut().for_each(|port| *port = 0);
    settings.strategy_interval = Duration::from_millis(10);
    settings.admin = Some("boss@example.com".to_owned());
    settings.token_secret = Some("the secret of these tests alone".to_owned());
    settings
}

impl Running {
    /// With an exchange that is empty.
    pub(crate) async fn start() -> Self {
        Self::start_with(&Settings { seed: false, ..settings() }).await
    }

    pub(crate) async fn start_with(settings: &Settings) -> Self {
        let server = Server::bind(settings).await.unwrap();
        let addresses = server.addresses().clone();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve(stopped).await.unwrap();
        });
        Self { addresses, stop, serving }
    }

    /// Begins the drain; its end can be awaited.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.serving
    }

    pub(crate) async fn channel(&self, service: Service) -> Channel {
        let address = self.addresses[&service];
        Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
    }

    /// A request of the user `ann`; `line` is a method and a path.
    pub(crate) fn call(&self, service: Service, line: &str) -> Call {
        let (method, path) = line.split_once(' ').unwrap();
        let address = self.addresses[&service];
        let request = Request::builder().method(method).uri(path).header("host", address.to_string());
        Call { address, request, user: Some("ann".to_owned()), body: Bytes::new() }
    }
}

/// A request that was not sent yet.
pub(crate) struct Call {
    address: SocketAddr,
    request: hyper::http::request::Builder,
    user: Option<String>,
    body: Bytes,
}

impl Call {
    pub(crate) fn user(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }

    pub(crate) fn anonymous(self) -> Self {
        Self { user: None, ..self }
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub(crate) fn text(self, body: &str) -> Self {
        Self { body: Bytes::from(body.to_owned()), ..self }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").text(&body.to_string())
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = self.request;
        if let Some(user) = self.user {
            request = request.header("x-user-id", user);
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request.body(Full::new(self.body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends it and expects a status.
    pub(crate) async fn expect(self, status: u16) -> Answer {
        let answer = self.send().await;
        assert_eq!(answer.status, StatusCode::from_u16(status).unwrap(), "{}", answer.body);
        answer
    }

    /// Sends it and expects a failure with this code.
    pub(crate) async fn refused(self, status: u16, code: &str) -> Answer {
        let answer = self.expect(status).await;
        assert_eq!(answer.body["error"]["code"], code, "{}", answer.body);
        answer
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `null` if there is none.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The fields at fault.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let fields = self.body["error"]["fields"].as_array().unwrap();
        fields.iter().map(|wrong| wrong["field"].as_str().unwrap()).collect()
    }
}
