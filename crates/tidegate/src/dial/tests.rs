//! Handshakes with a real TLS server whose certificates are made for the test.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate authority and what it signed, as PEM files in a folder of their own.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `<name>.crt` and `<name>.key`.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let paths = (self.file(&format!("{name}.crt")), self.file(&format!("{name}.key")));
        std::fs::write(&paths.0, chain).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    /// A server called `name` that says "hi" after the handshake.
    async fn serve(&self, name: &str, alpn: &[&[u8]], demand_client: bool) -> SocketAddr {
        let (chain, key) = self.sign(name);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if demand_client {
            let roots = Arc::new(roots_from(&self.file("ca.crt")).unwrap());
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap(),
            )
        } else {
            builder.with_no_client_auth()
        };
        let mut settings = builder.with_single_cert(certificates(&chain).unwrap(), private_key(&key).unwrap()).unwrap();
        settings.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(settings));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(mut tls) = acceptor.accept(socket).await {
                    let _ = tls.write_all(b"hi").await;
                    let _ = tls.shutdown().await;
                }
            }
        });
        address
    }
}

/// Connects and reads: with TLS 1.3 a server refuses a client certificate only after the client's handshake is done.
async fn greet(address: SocketAddr, client: &TlsClient, name: &str) -> Result<String, DialError> {
    let name = server_name(name).unwrap();
    let mut stream = connect(&[address], Some((client, &name)), Duration::from_secs(5)).await?;
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).await.map_err(DialError::Tls)?;
    Ok(greeting)
}

#[tokio::test]
async fn the_name_and_the_issuer_of_a_certificate_must_be_right() {
    let authority = Authority::new();
    let address = authority.serve("orders.test", &[b"h2"], false).await;
    let client = TlsClient::load(Some(&authority.file("ca.crt")), None).unwrap();
    assert_eq!(greet(address, &client, "orders.test").await.unwrap(), "hi");
    assert!(matches!(greet(address, &client, "other.test").await, Err(DialError::Tls(_))));

    let stranger = Authority::new();
    let distrustful = TlsClient::load(Some(&stranger.file("ca.crt")), None).unwrap();
    assert!(matches!(greet(address, &distrustful, "orders.test").await, Err(DialError::Tls(_))));
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_it() {
    let authority = Authority::new();
    let address = authority.serve("orders.test", &[b"h2"], true).await;
    let ca = authority.file("ca.crt");
    let anonymous = TlsClient::load(Some(&ca), None).unwrap();
    assert!(matches!(greet(address, &anonymous, "orders.test").await, Err(DialError::Tls(_))));
    let (chain, key) = authority.sign("gateway");
    let known = TlsClient::load(Some(&ca), Some((&chain, &key))).unwrap();
    assert_eq!(greet(address, &known, "orders.test").await.unwrap(), "hi");
}

#[tokio::test]
async fn a_server_without_http2_is_refused() {
    let authority = Authority::new();
    let client = TlsClient::load(Some(&authority.file("ca.crt")), None).unwrap();
    let silent = authority.serve("orders.test", &[], false).await;
    assert!(matches!(greet(silent, &client, "orders.test").await, Err(DialError::NoHttp2)));
    let old = authority.serve("orders.test", &[b"http/1.1"], false).await;
    assert!(matches!(greet(old, &client, "orders.test").await, Err(DialError::Tls(_))));
}

#[tokio::test]
async fn a_handshake_without_end_stops_at_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let authority = Authority::new();
    let client = TlsClient::load(Some(&authority.file("ca.crt")), None).unwrap();
    let name = server_name("orders.test").unwrap();
    let begun = time::now();
    let outcome = connect(&[address], Some((&client, &name)), Duration::from_millis(100)).await;
    assert!(matches!(outcome, Err(DialError::TimedOut)));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_addresses_of_a_name_are_tried_in_order() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limit = Duration::from_secs(5);
    let Stream::Tcp(tcp) = connect(&[nobody, address], None, limit).await.unwrap() else {
        panic!("no TLS was asked for")
    };
    assert_eq!(tcp.peer_addr().unwrap(), address);
    assert!(tcp.nodelay().unwrap());
    assert!(matches!(connect(&[nobody], None, limit).await, Err(DialError::Connect(_))));
    assert!(matches!(connect(&[], None, limit).await, Err(DialError::Unresolved)));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let (chain, key) = authority.sign("gateway");
    let ca = authority.file("ca.crt");
    std::fs::write(authority.file("empty.pem"), "").unwrap();
    for (ca, chain, key, expected) in [
        (authority.file("none.crt"), &chain, &key, "none.crt"),
        (authority.file("empty.pem"), &chain, &key, "no certificate in this file"),
        (ca.clone(), &key, &key, "no certificate in this file"),
        (ca.clone(), &chain, &chain, "gateway.crt"),
    ] {
        let error = TlsClient::load(Some(&ca), Some((chain, key))).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let foreign = authority.sign("other").1;
    assert!(matches!(TlsClient::load(Some(&ca), Some((&chain, &foreign))), Err(TlsError::Settings(_))));
    assert!(matches!(server_name("a b"), Err(TlsError::Name(_))));
}
