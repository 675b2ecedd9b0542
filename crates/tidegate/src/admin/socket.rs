//! The listening socket of the admin API, with a bound on its connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once: people, a scraper, a few scripts. More wait in the accept queue.
const MAX_CONNECTIONS: usize = 64;

/// Pause after an error that concerns all connections, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket that nobody accepts from yet.
#[derive(Debug)]
pub struct Socket {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl Socket {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// Those of the system.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::over(std::net::TcpListener::bind(address)?)
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

    /// Must run inside the runtime that will serve.
    pub(super) fn listen(self) -> io::Result<Bounded> {
        let listener = TcpListener::from_std(self.socket)?;
        Ok(Bounded { listener, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)) })
    }
}

/// Accepts while there is room.
pub(super) struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                // Nobody closes it.
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Fails only if the client has gone.
                    let _gone = stream.set_nodelay(true);
                    return (Held { stream, _permit: permit }, peer);
                }
                Err(_) => tokio::time::sleep(ERROR_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its place among the others.
pub(super) struct Held {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
