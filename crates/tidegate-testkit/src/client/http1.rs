//! HTTP/1.1, read and written byte by byte.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, End, Request};
use crate::soon;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection.
pub struct Http1 {
    io: Box<dyn Io>,
    unread: BytesMut,
    /// What is left of the answer that is being read.
    body: Body,
    trailers: HeaderMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunk(usize),
    ChunkHead,
    UntilClose,
    Done,
}

impl Http1 {
    /// Connects in clear text.
    ///
    /// # Panics
    /// If that fails.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon(TcpStream::connect(address)).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("an option of TCP");
        Self::over(stream)
    }

    /// Over a connection that is there already.
    pub fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { io: Box::new(io), unread: BytesMut::new(), body: Body::Done, trailers: HeaderMap::new() }
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the gateway takes none.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.io.write_all(bytes.as_ref())).await.expect("the gateway reads");
    }

    /// Sends bytes as they are, if the gateway still takes them.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon(self.io.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Sends a request and reads its answer.
    pub async fn send(&mut self, request: &Request) -> Answer {
        // A gateway that refuses early may have closed before it has read everything.
        let _taken = self.try_write(serialized(request)).await;
        if request.method == "HEAD" {
            let (status, headers) = self.head().await;
            return Answer { status, headers, body: Vec::new(), trailers: HeaderMap::new(), end: End::Clean };
        }
        self.answer().await
    }

    /// Reads a whole answer; informational ones are passed over.
    pub async fn answer(&mut self) -> Answer {
        let (status, headers) = self.head().await;
        let mut body = Vec::new();
        let end = loop {
            match self.piece().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break End::Clean,
                Err(end) => break end,
            }
        };
        Answer { status, headers, body, trailers: std::mem::take(&mut self.trailers), end }
    }

    /// Reads the head of an answer.
    ///
    /// # Panics
    /// If none comes.
    pub async fn head(&mut self) -> (u16, HeaderMap) {
        loop {
            let (status, headers) = self.any_head().await;
            if status < 200 {
                continue;
            }
            let length = headers.get("content-length").map(|value| value.to_str().expect("digits"));
            let chunked = headers.get("transfer-encoding").is_some();
            self.body = match (length, chunked, status) {
                (_, _, 204 | 304) => Body::Done,
                (_, true, _) => Body::ChunkHead,
                (Some(length), false, _) => Body::Length(length.parse().expect("a length")),
                (None, false, _) => Body::UntilClose,
            };
            return (status, headers);
        }
    }

    /// Reads the head of an answer, informational or not, and nothing behind it.
    ///
    /// # Panics
    /// If none comes.
    pub async fn any_head(&mut self) -> (u16, HeaderMap) {
        let first = self.line().await.expect("an answer");
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("no status line: {first:?}")).parse().expect("a status");
        (status, self.fields().await.expect("a complete head"))
    }

    /// Reads one piece of the body, of any length; `None` at its clean end.
    ///
    /// # Errors
    /// How it broke off.
    ///
    /// # Panics
    /// If the framing is wrong.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, End> {
        loop {
            match self.body {
                Body::Done | Body::Length(0) => return Ok(None),
                Body::Chunk(0) => {
                    assert_eq!(self.line().await.ok_or(End::Cut)?, "", "a chunk ends with a line break");
                    self.body = Body::ChunkHead;
                }
                Body::ChunkHead => {
                    let size = self.line().await.ok_or(End::Cut)?;
                    let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
                    if size == 0 {
                        self.trailers = self.fields().await.ok_or(End::Cut)?;
                        self.body = Body::Done;
                    } else {
                        self.body = Body::Chunk(size);
                    }
                }
                Body::Length(left) | Body::Chunk(left) => {
                    if self.unread.is_empty() && !self.read_more().await {
                        return Err(End::Cut);
                    }
                    let piece = self.unread.split_to(left.min(self.unread.len())).to_vec();
                    let left = left - piece.len();
                    self.body =
                        if matches!(self.body, Body::Chunk(_)) { Body::Chunk(left) } else { Body::Length(left) };
                    return Ok(Some(piece));
                }
                Body::UntilClose => {
                    if self.unread.is_empty() && !self.read_more().await {
                        self.body = Body::Done;
                        return Ok(None);
                    }
                    let all = self.unread.len();
                    return Ok(Some(self.unread.split_to(all).to_vec()));
                }
            }
        }
    }

    /// Reads body until `text` has come in it; gives everything since the last look.
    ///
    /// # Panics
    /// If the body ends before that.
    pub async fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let piece = self.piece().await.expect("the stream goes on").expect("the stream goes on");
            seen.push_str(std::str::from_utf8(&piece).expect("text"));
        }
        seen
    }

    /// True once the gateway has closed the connection and sent nothing more.
    pub async fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.read_more().await
    }

    async fn fields(&mut self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(headers);
            }
            let (name, value) = line.split_once(':').expect("a header line");
            let name = HeaderName::try_from(name).expect("a header name");
            headers.append(name, HeaderValue::from_str(value.trim()).expect("a header value"));
        }
    }

    /// One line without its end; `None` if the connection ends before.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.unread.split_to(end).to_vec()).expect("a line of text");
                self.unread.advance(2);
                return Some(line);
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// False at the end of the connection, clean or not.
    async fn read_more(&mut self) -> bool {
        matches!(soon(self.io.read_buf(&mut self.unread)).await, Ok(1..))
    }
}

fn serialized(request: &Request) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("host: shop.test\r\n");
    }
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = &request.body {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(request.body.as_deref().unwrap_or_default());
    bytes
}
