//! Small HTTP/1.1 requests of control tasks, each on a connection of its own. Nothing of a client's request comes here.
//!
//! Bounds: [`CONNECT_TIME`] for the connection within [`TOTAL_TIME`] for all, and [`MAX_ANSWER`] bytes of answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;

use crate::dial::{self, DialError, Stream, TlsClient, TlsError, server_name};

/// For TCP and TLS.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// From the first packet to the end of the answer.
pub const TOTAL_TIME: Duration = Duration::from_secs(10);

/// Largest body of an answer.
pub const MAX_ANSWER: usize = 64 * 1024;

/// Largest head of an answer.
const MAX_HEAD: usize = 32 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// No connection.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// Not done within [`TOTAL_TIME`].
    #[error("not done within {TOTAL_TIME:?}")]
    TimedOut,
    /// The connection broke, or the answer is not HTTP/1.1.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The body broke off, or has more bytes than may be.
    #[error("the answer cannot be read: {0}")]
    Body(String),
}

/// Who is asked.
#[derive(Debug)]
pub struct Target {
    authority: HeaderValue,
    tls: Option<(TlsClient, ServerName<'static>)>,
}

impl Target {
    /// The server at `host` (a name or an IP address without brackets). Blocks on files if there is TLS.
    ///
    /// # Errors
    /// The host is no name that a certificate or a header may have.
    pub fn new(host: &str, port: u16, tls: Option<TlsClient>) -> Result<Self, TlsError> {
        let written = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let authority = HeaderValue::from_str(&written).map_err(|_| TlsError::Name(host.to_owned()))?;
        let tls = match tls {
            None => None,
            Some(client) => Some((client, server_name(host)?)),
        };
        Ok(Self { authority, tls })
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Any final one: redirects are not followed.
    pub status: StatusCode,
    /// Of the head.
    pub headers: HeaderMap,
    /// At most [`MAX_ANSWER`] bytes.
    pub body: Bytes,
}

/// Posts `body` to `target`, which has one of `addresses`. `fields` beside those that every request has.
///
/// # Errors
/// There is no whole answer; the request may have been seen.
pub async fn post(
    target: &Target,
    addresses: &[SocketAddr],
    path: &PathAndQuery,
    fields: &[(HeaderName, HeaderValue)],
    body: Bytes,
) -> Result<Answer, OutboundError> {
    send(Method::POST, target, addresses, path, fields, body, MAX_ANSWER).await
}

/// Gets `path` from `target`, which has one of `addresses`, with an answer of at most `max` bytes.
///
/// # Errors
/// There is no whole answer.
pub async fn get_up_to(
    target: &Target,
    addresses: &[SocketAddr],
    path: &PathAndQuery,
    max: usize,
) -> Result<Answer, OutboundError> {
    send(Method::GET, target, addresses, path, &[], Bytes::new(), max).await
}

/// Gets `path` over `stream`, from whoever is called `authority`. The caller bounds the time.
///
/// # Errors
/// There is no whole answer.
pub async fn get_over(stream: Stream, authority: HeaderValue, path: &PathAndQuery) -> Result<Answer, OutboundError> {
    exchange(stream, request(Method::GET, authority, path, Bytes::new()), MAX_ANSWER).await
}

async fn send(
    method: Method,
    target: &Target,
    addresses: &[SocketAddr],
    path: &PathAndQuery,
    fields: &[(HeaderName, HeaderValue)],
    body: Bytes,
    max: usize,
) -> Result<Answer, OutboundError> {
    let mut request = request(method, target.authority.clone(), path, body);
    request.headers_mut().extend(fields.iter().cloned());
    let asked = async {
        let tls = target.tls.as_ref().map(|(client, name)| (client, name));
        let stream = dial::connect(addresses, tls, CONNECT_TIME).await?;
        exchange(stream, request, max).await
    };
    tokio::time::timeout(TOTAL_TIME, asked).await.unwrap_or(Err(OutboundError::TimedOut))
}

fn request(method: Method, authority: HeaderValue, path: &PathAndQuery, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.clone().into();
    let headers = request.headers_mut();
    headers.insert(header::HOST, authority);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    request
}

async fn exchange(stream: Stream, request: Request<Full<Bytes>>, max: usize) -> Result<Answer, OutboundError> {
    let mut settings = http1::Builder::new();
    settings.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = settings.handshake(TokioIo::new(stream)).await?;
    // In this future, not in a task: dropping it closes the connection.
    let driven = async {
        // What went wrong with it, the request says.
        let _ended = connection.await;
        std::future::pending::<Infallible>().await
    };
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, max).collect().await;
        let body = body.map_err(|error| OutboundError::Body(error.to_string()))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    tokio::select! {
        answer = answered => answer,
        never = driven => match never {},
    }
}

#[cfg(test)]
mod tests;
