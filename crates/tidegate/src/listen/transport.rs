//! What carries a client's connection: TCP, or TLS above it.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// See the module.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether a close from now on, however it comes about, tells the client that it has not got everything.
    fn breaks_on_close(&self, breaks: bool);
}

impl Transport for TcpStream {
    fn breaks_on_close(&self, breaks: bool) {
        // By a reset. It fails only if the client has gone.
        let _gone = SockRef::from(self).set_linger(breaks.then_some(Duration::ZERO));
    }
}

impl Transport for TlsStream<TcpStream> {
    fn breaks_on_close(&self, breaks: bool) {
        self.get_ref().0.breaks_on_close(breaks);
    }
}

#[cfg(test)]
impl Transport for tokio::io::DuplexStream {
    fn breaks_on_close(&self, _: bool) {}
}
