//! TLS towards the gateway, and certificates for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::soon;

/// Connects with `alpn` and trusts `certificate` (a PEM file) alone; the name that is asked for is `localhost`.
///
/// # Errors
/// The handshake failed.
///
/// # Panics
/// If the file is no certificate, or nothing listens.
pub async fn connect(address: SocketAddr, certificate: &Path, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = soon(TcpStream::connect(address)).await.expect("the gateway listens");
    over(socket, certificate, alpn).await
}

/// The same over a connection that is there already.
///
/// # Errors
/// The handshake failed.
///
/// # Panics
/// If the file is no certificate.
pub async fn over(socket: TcpStream, certificate: &Path, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certificate).expect("a PEM file") {
        roots.add(certificate.expect("a certificate")).expect("a certificate that can be trusted");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("TLS 1.2 and 1.3").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    soon(TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}

/// The protocol that was agreed on; empty if none.
#[must_use]
pub fn agreed(stream: &TlsStream<TcpStream>) -> String {
    String::from_utf8_lossy(stream.get_ref().1.alpn_protocol().unwrap_or_default()).into_owned()
}

/// Writes a new certificate for `localhost` and its key into `folder`: `tls.crt` and `tls.key`.
///
/// # Panics
/// If the folder cannot be written to.
pub fn write_certificate(folder: &Path) -> (PathBuf, PathBuf) {
    const FAR: Duration = Duration::from_secs(1000 * 24 * 3600);
    write_certificate_until(folder, SystemTime::now() + FAR)
}

/// The same, of one that ends at this time.
///
/// # Panics
/// If the folder cannot be written to.
pub fn write_certificate_until(folder: &Path, end: SystemTime) -> (PathBuf, PathBuf) {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_after = end.into();
    let pair = rcgen::KeyPair::generate().expect("a key");
    let made = params.self_signed(&pair).expect("a certificate");
    let (cert, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&cert, made.pem()).expect("the folder can be written to");
    std::fs::write(&key, pair.serialize_pem()).expect("the folder can be written to");
    (cert, key)
}
