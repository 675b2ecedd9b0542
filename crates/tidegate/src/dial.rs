//! Outgoing connections: TCP, TLS and sockets in the file system. The one place that sets options of outgoing sockets.
//!
//! It does not resolve names, keeps nothing and retries nothing: the pools do. There is no way from TLS back to plain
//! text, and none to an unverified certificate.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::time;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name of the endpoint has no address (yet).
    #[error("no address is known for the host")]
    Unresolved,
    /// TCP failed: refused, unreachable, no descriptors.
    #[error("connect: {0}")]
    Connect(#[source] io::Error),
    /// Not ready within the connect timeout.
    #[error("not ready within the connect timeout")]
    TimedOut,
    /// The TLS handshake failed; the certificate may be wrong or expired.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The other end speaks TLS but did not agree to HTTP/2.
    #[error("the other end does not offer HTTP/2")]
    NoHttp2,
    /// The HTTP/2 handshake failed.
    #[error("HTTP/2: {0}")]
    Http2(String),
}

/// Why TLS settings for backends cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not the PEM that it should be.
    #[error("{path}: {cause}")]
    File {
        /// The file as it was named.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The settings do not fit together: a key that is not the certificate's, no root that can be used.
    #[error("{0}")]
    Settings(String),
    /// Not a name that a certificate can have.
    #[error("`{0}` is not a host name")]
    Name(String),
}

/// TLS towards others: roots, client certificate, one protocol by ALPN. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    connector: TlsConnector,
    /// The other end must agree to it: HTTP/2 cannot be guessed.
    http2: bool,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient")
    }
}

impl TlsClient {
    /// Reads the files and builds the client. `ca` replaces the system's roots; `identity` is the client's certificate
    /// chain and key. All files are PEM. Blocks on files: for the control thread.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, a key that does not fit, no usable root.
    pub fn load(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        Self::build(ca, identity, &[b"h2"], true)
    }

    /// The same for HTTP/2, or HTTP/1.1 if the other end prefers that; see [`Stream::agreed_http2`].
    ///
    /// # Errors
    /// As [`TlsClient::load`].
    pub fn load_either(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        Self::build(ca, identity, &[b"h2", b"http/1.1"], false)
    }

    /// The same for HTTP/1.1.
    ///
    /// # Errors
    /// As [`TlsClient::load`].
    pub fn load_http1(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        Self::build(ca, identity, &[b"http/1.1"], false)
    }

    /// `http2`: nothing else is taken.
    fn build(
        ca: Option<&Path>,
        identity: Option<(&Path, &Path)>,
        protocols: &[&[u8]],
        http2: bool,
    ) -> Result<Self, TlsError> {
        let roots = match ca {
            Some(path) => Arc::new(roots_from(path)?),
            None => native_roots()?,
        };
        // Named, because rustls panics when it has to guess among several compiled-in providers.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Settings(error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Settings(error.to_string()))?
            .with_webpki_verifier(verifier);
        let mut settings = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(certificates(chain)?, private_key(key)?)
                .map_err(|error| TlsError::Settings(error.to_string()))?,
        };
        settings.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self { connector: TlsConnector::from(Arc::new(settings)), http2 })
    }

    async fn handshake(&self, tcp: TcpStream, name: ServerName<'static>) -> Result<Stream, DialError> {
        let tls = self.connector.connect(name, tcp).await.map_err(DialError::Tls)?;
        // Without ALPN the other end may speak HTTP/1.1 and take the preface for a request.
        if self.http2 && tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(DialError::NoHttp2);
        }
        Ok(Stream::Tls(Box::new(tls)))
    }
}

/// The name to ask for and to verify: a host name or an IP address.
///
/// # Errors
/// `Name` if it can be neither.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// A connected stream, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// A socket in the file system.
    Unix(UnixStream),
}

impl Stream {
    /// Whether the other end has agreed to HTTP/2; `None` in clear text, where nobody asks.
    #[must_use]
    pub fn agreed_http2(&self) -> Option<bool> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(tls) => Some(tls.get_ref().1.alpn_protocol() == Some(b"h2")),
        }
    }

    /// Who is at the other end; `None` if that has no address.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.peer_addr().ok(),
            Self::Tls(tls) => tls.get_ref().0.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// Connects to the first of `addresses` that answers, in their order, within `timeout` in all.
///
/// Each address gets an equal share of the time that is left, so that one that drops every packet does not use up the
/// time of the others. With `tls` the handshake is part of the attempt, and a failed one is final.
///
/// # Errors
/// The failure of the last address; `Unresolved` if there is none.
pub async fn connect(
    addresses: &[SocketAddr],
    tls: Option<(&TlsClient, &ServerName<'static>)>,
    timeout: Duration,
) -> Result<Stream, DialError> {
    let ends = time::now() + timeout;
    let mut failure = DialError::Unresolved;
    for (index, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = ends.saturating_duration_since(time::now()) / left;
        match tokio::time::timeout(share, connect_tcp(*address)).await {
            Ok(Ok(tcp)) => {
                let Some((client, name)) = tls else {
                    return Ok(Stream::Tcp(tcp));
                };
                let rest = ends.saturating_duration_since(time::now());
                let handshake = client.handshake(tcp, name.clone());
                return tokio::time::timeout(rest, handshake).await.unwrap_or(Err(DialError::TimedOut));
            }
            Ok(Err(error)) => failure = DialError::Connect(error),
            Err(_) => failure = DialError::TimedOut,
        }
    }
    Err(failure)
}

/// Connects to a socket in the file system.
///
/// # Errors
/// There is none, nobody listens, or not in time: its queue is full.
pub async fn connect_unix(path: &Path, timeout: Duration) -> Result<Stream, DialError> {
    let connected = tokio::time::timeout(timeout, UnixStream::connect(path)).await;
    connected.map_err(|_| DialError::TimedOut)?.map(Stream::Unix).map_err(DialError::Connect)
}

async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    // Frames are joined before they are written; Nagle's algorithm would only delay them.
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

fn roots_from(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::File { path: path.to_owned(), cause: error.to_string() })?;
    }
    Ok(roots)
}

/// The system's roots, read once: there are hundreds and they take milliseconds.
fn native_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // Some systems carry roots that webpki cannot parse; the others still count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        return Err(TlsError::Settings("the system has no root certificates; name a `ca` file".to_owned()));
    }
    Ok(Arc::clone(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |cause: String| TlsError::File { path: path.to_owned(), cause };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("no certificate in this file".to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| TlsError::File { path: path.to_owned(), cause: error.to_string() })
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
            Self::Unix(unix) => unix.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
