//! TLS of listeners: certificates, versions, and the protocols offered.

mod validity;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tidegate_config::valid::{ClientAuth, ClientCertificates, Protocol, Tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::identity::ClientCertificate;
use crate::time::unix_ms;

use super::{Settings, devcert};

/// A development certificate that is shown is made anew when it has less than this left. Longer than a browser session,
/// much shorter than its life.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// Most names of a client's certificate that are looked at.
const MAX_NAMES: usize = 64;

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
    #[error("{} and {}: {source}", cert.display(), key.display())]
    Pair {
        /// File of the certificate.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The roots of clients' certificates cannot be used.
    #[error("{}: {source}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::server::VerifierBuilderError,
    },
    /// The TLS library does not take the development certificate or has no randomness.
    #[error("TLS: {0}")]
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

    /// End of the leaf's validity in seconds since 1970.
    fn not_after(&self) -> Option<i64> {
        self.chain.first().and_then(|leaf| validity::not_after(leaf))
    }

    /// `clients` are the roots of clients' certificates.
    fn digest(&self, clients: Option<&Clients>) -> Digest {
        let mut context = Context::new(&SHA256);
        for root in clients.iter().flat_map(|clients| &clients.roots) {
            context.update(&root.len().to_be_bytes());
            context.update(root);
        }
        context.update(match clients.map(|clients| clients.auth) {
            None => b"none",
            Some(ClientAuth::Required) => b"must",
            Some(ClientAuth::Optional) => b"may ",
        });
        for part in self.chain.iter().map(|certificate| &**certificate).chain([self.key.secret_der()]) {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        finish(context)
    }
}

/// What is demanded of clients' certificates.
struct Clients {
    path: PathBuf,
    roots: Vec<CertificateDer<'static>>,
    auth: ClientAuth,
}

impl Clients {
    fn load(clients: &ClientCertificates) -> Result<Self, TlsError> {
        let pem = |source| TlsError::Pem { path: clients.ca.clone(), source };
        let roots = CertificateDer::pem_file_iter(&clients.ca).map_err(pem)?;
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(pem)?;
        if roots.is_empty() {
            return Err(TlsError::NoCertificate { path: clients.ca.clone() });
        }
        Ok(Self { path: clients.ca.clone(), roots, auth: clients.auth })
    }

    fn verifier(self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in self.roots {
            roots.add(root)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match self.auth {
            ClientAuth::Required => builder,
            ClientAuth::Optional => builder.allow_unauthenticated(),
        };
        builder.build().map_err(|source| TlsError::Roots { path: self.path, source })
    }
}

/// The certificate that the client has shown and the handshake has verified.
pub(super) fn client_certificate(stream: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    let mut context = Context::new(&SHA256);
    context.update(shown);
    // Read by the library before, or there would have been no handshake.
    let parsed = webpki::EndEntityCert::try_from(shown).ok()?;
    let names = parsed.valid_uri_names().chain(parsed.valid_dns_names());
    Some(ClientCertificate { thumbprint: finish(context), names: names.take(MAX_NAMES).map(Box::from).collect() })
}

/// A certificate that a listener shows, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateView {
    /// The files of chain and key; none if it is a development certificate.
    pub files: Vec<PathBuf>,
    /// End of its validity in seconds since 1970; `None` if the certificate does not say it in an understandable way.
    pub not_after_unix_s: Option<i64>,
}

/// End of a certificate's validity in seconds since 1970; `None` if it does not say that in an understandable way.
/// Reads the files, as a listener would.
///
/// # Errors
/// The files cannot be used.
pub fn certificate_end(cert: &Path, key: &Path) -> Result<Option<i64>, TlsError> {
    Identity::from_files(cert, key).map(|identity| identity.not_after())
}

/// Shakes hands with the clients of one listener.
pub(super) struct Acceptor {
    acceptor: TlsAcceptor,
    /// Over chain and key: the same content is no change, whatever has happened to the files.
    digest: Digest,
    /// Addresses that a development certificate was made for.
    made_for: Option<IpAddr>,
    pub(super) certificate: CertificateView,
}

/// SHA-256.
type Digest = [u8; 32];

impl Acceptor {
    /// Loads what `settings` ask for; `None` for clear text. `present` is what has been shown until now: it stays, and
    /// with it the tickets that clients hold, if nothing of it changes.
    pub(super) fn load(
        settings: &Settings,
        directory: Option<&Path>,
        present: Option<&Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let address = settings.address.ip();
        let present = present.filter(|present| present.offers(&settings.protocols));
        let identity = match &settings.tls {
            Tls::None => return Ok(None),
            Tls::Files { cert, key } => Identity::from_files(cert, key)?,
            Tls::Auto => {
                if let Some(present) = present
                    && present.made_for == Some(address)
                    && !present.expires_within(RENEW_BEFORE)
                {
                    return Ok(Some(Arc::clone(present)));
                }
                warn_if_public(&settings.name, settings.address);
                devcert::identity(directory, address)?
            }
        };
        let clients = settings.clients.as_ref().map(Clients::load).transpose()?;
        let digest = identity.digest(clients.as_ref());
        let made_for = (settings.tls == Tls::Auto).then_some(address);
        let certificate = CertificateView { files: settings.files(), not_after_unix_s: identity.not_after() };
        if let Some(present) = present
            && (present.digest, present.made_for, &present.certificate) == (digest, made_for, &certificate)
        {
            return Ok(Some(Arc::clone(present)));
        }
        let verifier = clients.map(Clients::verifier).transpose()?;
        let config = server_config(identity, &settings.protocols, verifier).map_err(|source| match &settings.tls {
            Tls::Files { cert, key } => TlsError::Pair { cert: cert.clone(), key: key.clone(), source },
            Tls::Auto | Tls::None => TlsError::Unusable(source),
        })?;
        let made = Self { acceptor: TlsAcceptor::from(Arc::new(config)), digest, made_for, certificate };
        if made.expires_within(Duration::ZERO) {
            let (listener, files) = (&*settings.name, &made.certificate.files);
            let until = made.certificate.not_after_unix_s;
            tracing::warn!(listener, ?files, ?until, "the certificate has expired: clients will refuse it");
        }
        Ok(Some(Arc::new(made)))
    }

    /// One handshake. The caller bounds its time.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    fn offers(&self, protocols: &[Protocol]) -> bool {
        self.acceptor.config().alpn_protocols == alpn(protocols)
    }

    /// Whether the certificate is known to be of no use at the end of `span` from now on.
    fn expires_within(&self, span: Duration) -> bool {
        let at = Duration::from_millis(unix_ms()).saturating_add(span).as_secs();
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        self.certificate.not_after_unix_s.is_some_and(|not_after| not_after < at)
    }
}

/// Whether the client chose HTTP/2. A client without ALPN speaks HTTP/1.
pub(super) fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn finish(context: Context) -> Digest {
    let mut digest = Digest::default();
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}

fn warn_if_public(listener: &str, address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(listener, %address, "`tls: auto` is for development: clients cannot trust this certificate");
    }
}

/// The provider is named here, because a process with two of them compiled in panics when it has to guess.
fn server_config(
    identity: Identity,
    protocols: &[Protocol],
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let asks_clients = clients.is_some();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = alpn(protocols);
    if asks_clients {
        // A session that is resumed would carry a certificate whose end nobody looks at again.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        return Ok(config);
    }
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
