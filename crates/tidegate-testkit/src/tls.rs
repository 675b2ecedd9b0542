//! TLS towards the gateway and of backends behind it, and certificates for both.

mod front;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use self::front::Front;
use crate::soon;

/// Connects with `alpn` and trusts `certificate` (a PEM file) alone; the name that is asked for is `localhost`.
///
/// # Errors
/// The handshake failed.
///
/// # Panics
/// If the file is no certificate, or nothing listens.
pub async fn connect(address: SocketAddr, certificate: &Path, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    connect_as(address, certificate, alpn, None).await
}

/// The same, as the client that `client` says, if there is one.
///
/// # Errors
/// The handshake failed.
///
/// # Panics
/// If a file is no certificate, or nothing listens.
pub async fn connect_as(
    address: SocketAddr,
    certificate: &Path,
    alpn: &[&str],
    client: Option<&Client>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = soon(TcpStream::connect(address)).await.expect("the gateway listens");
    over(socket, certificate, alpn, client).await
}

/// The same over a connection that is there already.
///
/// # Errors
/// The handshake failed.
///
/// # Panics
/// If a file is no certificate.
pub async fn over(
    socket: TcpStream,
    certificate: &Path,
    alpn: &[&str],
    client: Option<&Client>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let roots =
        roots(CertificateDer::pem_file_iter(certificate).expect("a PEM file").map(|one| one.expect("a certificate")));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("TLS 1.2 and 1.3").with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(Client { certificate, key, .. }) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(vec![certificate.clone()], key).expect("a certificate with its key")
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    soon(TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}

/// Trusts these alone.
fn roots(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).expect("a certificate that can be trusted");
    }
    roots
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

/// Signs certificates of clients.
pub struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

/// A client's certificate and its key in PEM.
pub struct Client {
    /// In DER.
    pub certificate: CertificateDer<'static>,
    pem: String,
    key: String,
}

impl Client {
    /// Writes `client.crt` and `client.key` into `folder`.
    ///
    /// # Panics
    /// If the folder cannot be written to.
    pub fn write(&self, folder: &Path) {
        std::fs::write(folder.join("client.crt"), &self.pem).expect("the folder can be written to");
        std::fs::write(folder.join("client.key"), &self.key).expect("the folder can be written to");
    }
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pair = rcgen::KeyPair::generate().expect("a key");
        Self(rcgen::CertifiedIssuer::self_signed(params, pair).expect("a certificate"))
    }

    /// Its own certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A client with these alternative names: URIs, or DNS names.
    ///
    /// # Panics
    /// If a name can be neither.
    #[must_use]
    pub fn client(&self, names: &[&str]) -> Client {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let name = |name: &&str| {
            let text = (*name).try_into().expect("ASCII");
            if name.contains("://") { rcgen::SanType::URI(text) } else { rcgen::SanType::DnsName(text) }
        };
        params.subject_alt_names = names.iter().map(name).collect();
        let pair = rcgen::KeyPair::generate().expect("a key");
        let made = params.signed_by(&pair, &self.0).expect("a certificate");
        Client { certificate: made.der().clone(), pem: made.pem(), key: pair.serialize_pem() }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
