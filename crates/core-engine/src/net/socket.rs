//! A WebSocket to a server: small buffers, bounded messages, and an end to silence.
//!
//! Source: RFC 6455. A ping of the server is answered by the library with the next write or read; ours go out when half
//! of the patience has passed without a message.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::retry_after::retry_after;
use super::{Location, NetError, Stage, tls};

/// Read ahead of the parser.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Waits to be written, at most; we only ever send subscriptions and pings.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_MAX_BYTES: usize = 256 * 1024;

/// How long and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SocketLimits {
    /// From the name to the end of the handshake; also for each write.
    pub(crate) handshake: Duration,
    /// Between two messages.
    pub(crate) silence: Duration,
    /// Of one message.
    pub(crate) message_bytes: usize,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), silence: Duration::from_secs(30), message_bytes: 1024 * 1024 }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// An open WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<Pin<Box<dyn Duplex>>>,
    limits: SocketLimits,
    /// When the last message came.
    heard: Instant,
    pinged: bool,
}

/// What a WebSocket says.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// A message; one of bytes that are text counts as text.
    Text(Utf8Bytes),
    /// A ping or pong: the server is there, and has nothing to say.
    Alive,
}

impl Socket {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// As [`NetError`] tells.
    pub(crate) async fn dial(location: &Location, limits: SocketLimits) -> Result<Self, NetError> {
        let dialled = timeout(limits.handshake, handshake(location, limits)).await;
        let stream =
            dialled.unwrap_or(Err(NetError::Timeout { stage: Stage::Handshake, patience: limits.handshake }))?;
        Ok(Self { stream, limits, heard: Instant::now(), pinged: false })
    }

    /// Sends a text.
    ///
    /// # Errors
    /// As [`NetError`] tells.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), NetError> {
        self.write(Message::text(text)).await
    }

    /// Waits for the next thing that the server says. May be dropped while it waits; nothing is lost.
    ///
    /// # Errors
    /// `Timeout`, if there was silence for too long although we asked, or as [`NetError`] tells.
    pub(crate) async fn next(&mut self) -> Result<Heard, NetError> {
        loop {
            let patience = if self.pinged { self.limits.silence } else { self.limits.silence / 2 };
            match timeout_at(self.heard + patience, self.stream.next()).await {
                Ok(None) => return Err(NetError::Closed { code: None }),
                Ok(Some(Err(error))) => return Err(broken(error)),
                Ok(Some(Ok(message))) => {
                    self.heard = Instant::now();
                    self.pinged = false;
                    match message {
                        Message::Text(text) => return Ok(Heard::Text(text)),
                        Message::Binary(bytes) => {
                            return Utf8Bytes::try_from(bytes)
                                .map(Heard::Text)
                                .map_err(|_| NetError::Broken("a message is no text".to_owned()));
                        }
                        Message::Close(frame) => {
                            return Err(NetError::Closed { code: frame.map(|frame| frame.code.into()) });
                        }
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(Heard::Alive),
                    }
                }
                Err(_) if self.pinged => {
                    return Err(NetError::Timeout { stage: Stage::Silence, patience: self.limits.silence });
                }
                Err(_) => {
                    self.pinged = true;
                    self.write(Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    async fn write(&mut self, message: Message) -> Result<(), NetError> {
        timeout(self.limits.handshake, self.stream.send(message))
            .await
            .map_err(|_| NetError::Timeout { stage: Stage::Write, patience: self.limits.handshake })?
            .map_err(broken)
    }
}

async fn handshake(
    location: &Location,
    limits: SocketLimits,
) -> Result<WebSocketStream<Pin<Box<dyn Duplex>>>, NetError> {
    let (host, port) = location.endpoint();
    let unreachable = |error: std::io::Error| NetError::Unreachable(error.to_string());
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let stream: Pin<Box<dyn Duplex>> = if location.is_tls() {
        let name = ServerName::try_from(host).map_err(|error| NetError::Address(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(&tls::client_config()?));
        Box::pin(connector.connect(name, tcp).await.map_err(unreachable)?)
    } else {
        Box::pin(tcp)
    };
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = READ_BUFFER_BYTES;
    config.write_buffer_size = WRITE_BUFFER_BYTES;
    config.max_write_buffer_size = WRITE_BUFFER_MAX_BYTES;
    config.max_message_size = Some(limits.message_bytes);
    config.max_frame_size = Some(limits.message_bytes);
    let request = location.as_str().into_client_request().map_err(|error| NetError::Address(error.to_string()))?;
    let (stream, _) = client_async_with_config(request, stream, Some(config)).await.map_err(broken)?;
    Ok(stream)
}

fn broken(error: Error) -> NetError {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => NetError::Closed { code: None },
        Error::Io(error) => NetError::Broken(error.to_string()),
        Error::Http(response) => {
            let status = response.status().as_u16();
            of_response(status, response.headers())
        }
        Error::Capacity(_) => NetError::Broken("a message is too large".to_owned()),
        other => NetError::Broken(other.to_string()),
    }
}

/// A handshake that was refused.
fn of_response(status: u16, headers: &HeaderMap) -> NetError {
    super::error::of_status(status, retry_after(headers, Timestamp::now()))
        .unwrap_or(NetError::Status { status, body: Vec::new() })
}
