//! TLS of listeners: certificates, versions, and the protocols offered.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_config::valid::{Protocol, Tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Settings, devcert};

/// Why a listener's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read or is not PEM.
    #[error("{}: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds no certificate.
    #[error("{}: no certificate in this file", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key are unusable or do not belong together.
    #[error("certificate and key: {0}")]
    Unusable(#[from] rustls::Error),
    /// No development certificate could be made.
    #[error("development certificate: {0}")]
    Development(#[from] rcgen::Error),
}

/// Certificate chain, leaf first, and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads PEM files.
    pub(super) fn from_files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            |source| TlsError::Pem { path, source }
        };
        let chain = CertificateDer::pem_file_iter(cert).map_err(pem(cert))?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem(cert))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { path: cert.to_owned() });
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
        Ok(Self { chain, key })
    }
}

/// Shakes hands with the clients of one listener.
pub(super) struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// Loads what `settings` ask for; `None` for clear text.
    pub(super) fn load(settings: &Settings, directory: Option<&Path>) -> Result<Option<Self>, TlsError> {
        let identity = match &settings.tls {
            Tls::None => return Ok(None),
            Tls::Files { cert, key } => Identity::from_files(cert, key)?,
            Tls::Auto => {
                warn_if_public(&settings.name, settings.address);
                devcert::identity(directory, settings.address.ip())?
            }
        };
        let config = server_config(identity, &settings.protocols)?;
        Ok(Some(Self(TlsAcceptor::from(Arc::new(config)))))
    }

    /// One handshake. The caller bounds its time.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}

/// Whether the client chose HTTP/2. A client without ALPN speaks HTTP/1.
pub(super) fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn warn_if_public(listener: &str, address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(listener, %address, "`tls: auto` is for development: clients cannot trust this certificate");
    }
}

/// The provider is named here, because a process with two of them compiled in panics when it has to guess.
fn server_config(identity: Identity, protocols: &[Protocol]) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = alpn(protocols);
    // Tickets are sealed with keys of this process, so any worker can resume any session without a shared store.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// What is offered, best first. A listener for HTTP/2 alone takes HTTP/1.1 last, to tell such a client in plain words
/// instead of a TLS alert that it came to the wrong place.
fn alpn(protocols: &[Protocol]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = protocols
        .iter()
        .map(|protocol| match protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        })
        .collect();
    if protocols == [Protocol::Http2] {
        names.push(b"http/1.1".to_vec());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_offered_in_their_order() {
        let cases: [(&[Protocol], &[&[u8]]); 4] = [
            (&[Protocol::Http2, Protocol::Http1], &[b"h2", b"http/1.1"]),
            (&[Protocol::Http1, Protocol::Http2], &[b"http/1.1", b"h2"]),
            (&[Protocol::Http1], &[b"http/1.1"]),
            (&[Protocol::Http2], &[b"h2", b"http/1.1"]),
        ];
        for (protocols, expected) in cases {
            assert_eq!(alpn(protocols), expected);
        }
    }

    #[test]
    fn a_file_without_certificate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("empty.pem");
        std::fs::write(&path, "nothing\n").unwrap();
        let error = Identity::from_files(&path, &path).err().unwrap().to_string();
        assert!(error.contains("empty.pem"), "{error}");
    }
}
