//! TLS in front of a backend that speaks none.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{Authority, roots, write_certificate};

/// The first byte of a handshake, as all of TLS begin it (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// A listener of 127.0.0.1 with a certificate for `localhost`. It ends when it is dropped.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    agreed: Vec<String>,
    connections: usize,
    clear: usize,
}

impl Front {
    /// In front of `to`, with a new certificate that is written to `tls.crt` in `folder`. It agrees to one of `alpn`, what it
    /// likes best first; of `clients` it wants a certificate, if there are any.
    ///
    /// # Panics
    /// If there is no free port, or the folder cannot be written to.
    pub async fn start(folder: &Path, to: SocketAddr, alpn: &[&str], clients: Option<&Authority>) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config(folder, alpn, clients)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Arc::<Mutex<Seen>>::default();
        let accepting = tokio::spawn(accept(listener, acceptor, to, Arc::clone(&seen)));
        Self { address, seen, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What each connection whose handshake went well has agreed to; empty for nothing.
    #[must_use]
    pub fn agreed(&self) -> Vec<String> {
        self.seen.lock().agreed.clone()
    }

    /// Connections on which a byte came.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seen.lock().connections
    }

    /// Those among them that did not begin with a handshake.
    #[must_use]
    pub fn in_clear_text(&self) -> usize {
        self.seen.lock().clear
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn config(folder: &Path, alpn: &[&str], clients: Option<&Authority>) -> ServerConfig {
    let (chain, key) = write_certificate(folder);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.expect("TLS 1.2 and 1.3");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let authority = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots([authority])), provider).build();
            builder.with_client_cert_verifier(verifier.expect("an authority"))
        }
    };
    let chain = CertificateDer::pem_file_iter(chain).expect("a PEM file").map(|one| one.expect("a certificate"));
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let mut config = builder.with_single_cert(chain.collect(), key).expect("a certificate with its key");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr, seen: Arc<Mutex<Seen>>) {
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        serving.spawn(serve(stream, acceptor.clone(), to, Arc::clone(&seen)));
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, to: SocketAddr, seen: Arc<Mutex<Seen>>) {
    let mut first = [0];
    if !matches!(stream.peek(&mut first).await, Ok(1..)) {
        return;
    }
    {
        let mut seen = seen.lock();
        seen.connections += 1;
        seen.clear += usize::from(first != [HANDSHAKE]);
    }
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default();
    seen.lock().agreed.push(String::from_utf8_lossy(protocol).into_owned());
    let Ok(mut plain) = TcpStream::connect(to).await else { return };
    let _ended = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
}
