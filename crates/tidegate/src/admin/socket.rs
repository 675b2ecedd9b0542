//! The listening socket of the admin API and its connections: HTTP/1.1, few at a time, none of them forever.
//!
//! Whoever sends no complete head, reads nothing of an answer or stays silent between requests is cut off, so that nobody
//! can keep operators out by holding connections open.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};

use crate::{listen, tasks};

/// Connections at once: people, a scraper, a few scripts. More wait in the accept queue.
const MAX_CONNECTIONS: usize = 64;

/// For a complete head, from the connection's begin or the end of the answer before. Twice the usual interval of a
/// scraper; one that asks less often connects anew.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest head, and the largest piece of a body that is read at once.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long a client may take no byte of what is there for it.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after an error that concerns all connections, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket that nobody accepts from yet.
#[derive(Debug)]
pub struct Socket {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Socket {
    /// Binds `address`; port 0 takes a free one. If it is `shared`, other processes that say so too may hold it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn bind(address: SocketAddr, shared: bool) -> io::Result<Self> {
        Self::over(listen::listen(address, shared)?)
    }

    /// One that listens already.
    ///
    /// # Errors
    /// Those of the system.
    pub fn over(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// A copy that shares the queue of connections.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn copy(&self) -> io::Result<std::net::TcpListener> {
        self.socket.try_clone()
    }

    /// The address that is really bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until it is dropped; its connections end with the runtime.
    pub(super) async fn serve(self, router: Router) -> io::Result<()> {
        let listener = TcpListener::from_std(self.socket)?;
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // Nobody closes the semaphore.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Fails only if the client has gone.
                    let _gone = stream.set_nodelay(true);
                    let router = router.clone();
                    drop(tasks::spawn("admin connection", async move {
                        connection(stream, router).await;
                        drop(permit);
                    }));
                }
                Err(_) => sleep(ERROR_PAUSE).await,
            }
        }
        Ok(())
    }
}

/// Serves one connection to its end.
async fn connection(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let io = TokioIo::new(Impatient { stream, stalled: None });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin API broke off");
    }
}

/// A stream whose peer must take what it is sent.
struct Impatient<S> {
    stream: S,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// What an attempt to write came to, unless the peer has taken nothing for too long.
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(shut, cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::time::now;

    /// The client's end of a connection that is served.
    fn connected() -> DuplexStream {
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/large", get(async || "x".repeat(1 << 20)))
            .route("/order", post(async |body: Bytes| body.len().to_string()));
        let (client, server) = duplex(4096);
        tokio::spawn(connection(server, router));
        client
    }

    /// Everything that comes until the other side closes.
    async fn rest(client: &mut DuplexStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_complete_head_is_cut_off() {
        for sent in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
            let mut client = connected();
            let begun = now();
            client.write_all(sent.as_bytes()).await.unwrap();
            let answer = rest(&mut client).await;
            assert!(!answer.contains("200"), "{answer}");
            assert!(now() - begun >= HEAD_TIMEOUT, "{sent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_closed() {
        let mut client = connected();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("here"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_an_answer_is_cut_off() {
        let mut client = connected();
        client.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        sleep(STALL_TIMEOUT * 2).await;
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_gets_everything() {
        let mut client = connected();
        client.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut read = 0;
        let mut piece = [0; 4096];
        loop {
            sleep(STALL_TIMEOUT / 2).await;
            match client.read(&mut piece).await.unwrap() {
                0 => break,
                some => read += some,
            }
        }
        assert!(read > 1 << 20, "{read}");
    }

    #[tokio::test(start_paused = true)]
    async fn heads_are_bounded_and_garbage_ends_the_connection() {
        let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES));
        let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200));
        for (sent, status) in [
            (long.as_str(), "431"),
            (&many, "431"),
            ("\0\x01\x02\r\n\r\n", "400"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        ] {
            let mut client = connected();
            // The other side stops to read when it has seen enough.
            let _cut = client.write_all(sent.as_bytes()).await;
            let answer = rest(&mut client).await;
            assert!(answer.contains(status) && !answer.contains("200"), "{answer}");
        }
    }
}
