//! HTTP/2 over the h2 crate.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Answer, End, Request};
use crate::soon;

/// One connection; it ends when it is dropped.
#[derive(Debug)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    connection: JoinHandle<()>,
    scheme: &'static str,
}

/// A request that is under way.
#[derive(Debug)]
pub struct Running {
    /// The client's side, if it was left open.
    pub body: SendStream<Bytes>,
    answer: Option<ResponseFuture>,
    stream: Option<RecvStream>,
}

impl Http2 {
    /// Connects in clear text, with prior knowledge.
    ///
    /// # Panics
    /// If that fails.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon(TcpStream::connect(address)).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("an option of TCP");
        Self::over(stream, "http").await
    }

    /// Over a connection that is there already.
    ///
    /// # Panics
    /// If the peer does not speak HTTP/2.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, scheme: &'static str) -> Self {
        let (send, connection) = soon(h2::client::handshake(io)).await.expect("the gateway speaks HTTP/2");
        let connection = tokio::spawn(async move {
            // How it ends is seen on its streams.
            let _ended = connection.await;
        });
        Self { send, connection, scheme }
    }

    /// Sends a request and reads its answer.
    pub async fn send(&mut self, request: &Request) -> Answer {
        let mut running = self.start(request, true).await;
        running.answer().await
    }

    /// Asks for a WebSocket (RFC 8441). The client's side stays open.
    ///
    /// # Panics
    /// If the gateway takes none.
    pub async fn start_socket(&mut self, protocol: &'static str, request: &Request) -> Running {
        soon(poll_fn(|cx| self.send.poll_ready(cx))).await.expect("the connection is open");
        crate::eventually("extended CONNECT is announced", async || self.send.is_extended_connect_protocol_enabled())
            .await;
        let mut builder = http::Request::builder()
            .method("CONNECT")
            .uri(format!("{}://shop.test{}", self.scheme, request.target))
            .extension(h2::ext::Protocol::from_static(protocol));
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let head = builder.body(()).expect("a request of HTTP/2");
        let (answer, body) = self.send.send_request(head, false).expect("the connection is open");
        Running { body, answer: Some(answer), stream: None }
    }

    /// Sends a request; without `end` the client's side stays open.
    ///
    /// # Panics
    /// If the gateway takes no request.
    pub async fn start(&mut self, request: &Request, end: bool) -> Running {
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("{}://shop.test{}", self.scheme, request.target));
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if end && let Some(body) = &request.body {
            builder = builder.header("content-length", body.len());
        }
        let head = builder.body(()).expect("a request of HTTP/2");
        soon(poll_fn(|cx| self.send.poll_ready(cx))).await.expect("the connection is open");
        let no_body = request.body.as_ref().is_none_or(Vec::is_empty);
        let (answer, body) = self.send.send_request(head, end && no_body).expect("the connection is open");
        let mut running = Running { body, answer: Some(answer), stream: None };
        if !no_body {
            running.write(request.body.as_deref().unwrap_or_default(), end).await;
        }
        running
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Running {
    /// Both directions, after the head was read.
    ///
    /// # Panics
    /// Before the head was read.
    pub fn split(self) -> (SendStream<Bytes>, RecvStream) {
        (self.body, self.stream.expect("the head comes first"))
    }

    /// Sends a part of the body. What the gateway does not want any more is dropped.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>, end: bool) {
        let mut left = Bytes::copy_from_slice(bytes.as_ref());
        while !left.is_empty() {
            self.body.reserve_capacity(left.len());
            let Some(Ok(capacity)) = soon(poll_fn(|cx| self.body.poll_capacity(cx))).await else { return };
            let part = left.split_to(capacity.min(left.len()));
            if self.body.send_data(part, end && left.is_empty()).is_err() {
                return;
            }
        }
    }

    /// Ends the client's side.
    pub fn end(&mut self) {
        let _gone = self.body.send_data(Bytes::new(), true);
    }

    /// Resets the stream, as a client does that has lost interest.
    pub fn cancel(mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    /// Reads the head of the answer.
    ///
    /// # Errors
    /// The stream was reset.
    ///
    /// # Panics
    /// When called twice.
    pub async fn head(&mut self) -> Result<(u16, HeaderMap), End> {
        let answer = self.answer.take().expect("the head comes once");
        let (parts, stream) = soon(answer).await.map_err(|error| reset(&error))?.into_parts();
        self.stream = Some(stream);
        Ok((parts.status.as_u16(), parts.headers))
    }

    /// The next informational answer, if one comes before the answer.
    ///
    /// # Panics
    /// After the head was read.
    pub async fn hint(&mut self) -> Option<(u16, HeaderMap)> {
        let answer = self.answer.as_mut().expect("the head has not been read");
        let hint = soon(std::future::poll_fn(|cx| answer.poll_informational(cx))).await?.ok()?;
        Some((hint.status().as_u16(), hint.into_parts().0.headers))
    }

    /// Reads one piece of the body; `None` at its clean end.
    ///
    /// # Errors
    /// The stream was reset.
    ///
    /// # Panics
    /// Before the head was read.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, End> {
        let stream = self.stream.as_mut().expect("the head comes first");
        match soon(stream.data()).await {
            None => Ok(None),
            Some(Err(error)) => Err(reset(&error)),
            Some(Ok(piece)) => {
                let _gone = stream.flow_control().release_capacity(piece.len());
                Ok(Some(piece))
            }
        }
    }

    /// Reads the trailers, after the last piece; empty if there are none.
    ///
    /// # Panics
    /// Before the head was read, or if the stream is reset.
    pub async fn trailers(&mut self) -> HeaderMap {
        let stream = self.stream.as_mut().expect("the head comes first");
        soon(stream.trailers()).await.expect("a clean end").unwrap_or_default()
    }

    /// Reads the whole answer.
    ///
    /// # Panics
    /// If there is no head.
    pub async fn answer(&mut self) -> Answer {
        let (status, headers) = self.head().await.expect("an answer");
        let mut answer = Answer { status, headers, body: Vec::new(), trailers: HeaderMap::new(), end: End::Clean };
        loop {
            match self.piece().await {
                Ok(Some(piece)) => answer.body.extend_from_slice(&piece),
                Ok(None) => break,
                Err(end) => {
                    answer.end = end;
                    return answer;
                }
            }
        }
        let stream = self.stream.as_mut().expect("the head was read");
        match soon(stream.trailers()).await {
            Ok(trailers) => answer.trailers = trailers.unwrap_or_default(),
            Err(error) => answer.end = reset(&error),
        }
        answer
    }
}

fn reset(error: &h2::Error) -> End {
    error.reason().map_or(End::Cut, End::Reset)
}
