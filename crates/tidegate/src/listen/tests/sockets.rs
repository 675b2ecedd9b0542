use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use super::*;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::{Format, Observed};

struct Served {
    address: SocketAddr,
    control: Arc<Control>,
    run: tokio::task::JoinHandle<std::io::Result<()>>,
    scripted: Arc<Scripted>,
}

fn serve(settings: Settings, options: &BindOptions) -> Served {
    let mut listeners = Listeners::bind(vec![settings], options).unwrap();
    let address = listeners.addresses()[0].1;
    let control = listeners.control();
    let scripted = Arc::new(Scripted::default());
    let worker = listeners.take(WorkerId::new(0)).unwrap();
    assert!(listeners.take(WorkerId::new(0)).is_none());
    let run = tokio::spawn(worker.run(Arc::clone(&scripted)));
    Served { address, control, run, scripted }
}

fn one_worker() -> BindOptions {
    BindOptions { workers: 1, ..BindOptions::default() }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn a_taken_address_is_a_typed_error() {
    let served = serve(settings(&BOTH), &one_worker());
    let mut second = settings(&BOTH);
    second.address = served.address;
    let error = Listeners::bind(vec![second.clone()], &one_worker()).unwrap_err();
    assert!(matches!(&error, ListenError::Taken { address, .. } if *address == served.address), "{error}");
    second.address = SocketAddr::from(([192, 0, 2, 1], 0));
    assert!(matches!(Listeners::bind(vec![second], &one_worker()), Err(ListenError::Bind { .. })));
}

#[tokio::test]
async fn draining_ends_when_the_last_request_does() {
    let Served { address, control, run, scripted } = serve(settings(&BOTH), &one_worker());
    assert!(get(address, "/").await.ends_with("hello"));
    let mut running = TcpStream::connect(address).await.unwrap();
    running.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).await.unwrap();
    eventually(Duration::from_secs(5), || scripted.running() == 1).await;
    control.drain();
    idle.read_to_string(&mut String::new()).await.unwrap();
    eventually(Duration::from_secs(5), || control.open_connections() == 1).await;
    assert!(TcpStream::connect(address).await.is_err(), "no longer listening");
    assert!(!run.is_finished());
    running.write_all(b"abc").await.unwrap();
    let mut reply = String::new();
    running.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("abc"), "{reply}");
    run.await.unwrap().unwrap();
    assert_eq!((control.open_connections(), control.open_requests()), (0, 0));
}

#[tokio::test]
async fn connections_in_the_accept_queue_are_served() {
    // Bound, but nobody accepts yet: the kernel completes the handshakes.
    let mut listeners = Listeners::bind(vec![settings(&BOTH)], &one_worker()).unwrap();
    let address = listeners.addresses()[0].1;
    let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(get(address, "/"))).collect();
    eventually(Duration::from_secs(5), || true).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let control = listeners.control();
    control.drain();
    listeners.take(WorkerId::new(0)).unwrap().run(Arc::new(Scripted::default())).await.unwrap();
    for reply in waiting {
        assert!(reply.await.unwrap().ends_with("hello"));
    }
}

#[tokio::test]
async fn one_connection_too_many_is_answered_and_closed() {
    let mut few = settings(&BOTH);
    few.max_connections = 1;
    let served = serve(few, &one_worker());
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    first.read_exact(&mut [0]).await.unwrap();
    let mut second = TcpStream::connect(served.address).await.unwrap();
    let mut reply = String::new();
    second.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 503") && reply.contains("overloaded"), "{reply}");
    drop(first);
    eventually(Duration::from_secs(5), || served.control.open_connections() == 0).await;
    assert!(get(served.address, "/").await.ends_with("hello"));
}

/// Connects with the ALPN names; `None` if the handshake fails.
async fn connect_tls(
    address: SocketAddr,
    directory: &std::path::Path,
    alpn: &[&str],
) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("development.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()
}

async fn tls_http1(stream: tokio_rustls::client::TlsStream<TcpStream>) -> String {
    let mut stream = stream;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let directory = tempfile::tempdir().unwrap();
    let options = BindOptions { certificate_directory: Some(directory.path().to_owned()), ..one_worker() };
    let mut both = settings(&BOTH);
    both.tls = Tls::Auto;
    let served = serve(both, &options);
    let connect = |alpn: &'static [&'static str]| connect_tls(served.address, directory.path(), alpn);
    let stream = connect(&["http/1.1"]).await.unwrap();
    assert!(tls_http1(stream).await.ends_with("hello"));
    let stream = connect(&[]).await.unwrap();
    assert!(tls_http1(stream).await.ends_with("hello"), "no ALPN is HTTP/1");
    assert!(connect(&["spdy/1"]).await.is_none(), "nothing in common is an alert");
    let stream = connect(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().uri("https://localhost/").body(()).unwrap();
    let response: h2::client::ResponseFuture = send.send_request(request, true).unwrap().0;
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), Bytes::from_static(b"hello"));
}

#[tokio::test]
async fn strict_http2_tells_http1_clients_in_plain_words() {
    let directory = tempfile::tempdir().unwrap();
    let options = BindOptions { certificate_directory: Some(directory.path().to_owned()), ..one_worker() };
    let mut strict = settings(&[Protocol::Http2]);
    strict.tls = Tls::Auto;
    let served = serve(strict, &options);
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = connect_tls(served.address, directory.path(), alpn).await.unwrap();
        let reply = tls_http1(stream).await;
        assert!(reply.starts_with("HTTP/1.1 505") && reply.contains("only HTTP/2"), "{alpn:?}: {reply}");
    }
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let options = BindOptions { certificate_directory: Some(directory.path().to_owned()), ..one_worker() };
    let mut hasty = settings(&BOTH);
    hasty.tls = Tls::Auto;
    hasty.timeouts.handshake = Duration::from_millis(100);
    let served = serve(hasty, &options);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&[0x16, 3, 1]).await.unwrap();
    assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn what_becomes_of_connections_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let telemetry = Arc::<Telemetry>::default();
    let metrics = &telemetry.metrics;
    let options = BindOptions {
        telemetry: Arc::clone(&telemetry),
        certificate_directory: Some(directory.path().to_owned()),
        ..one_worker()
    };
    let shown = |line: &str| {
        let page = metrics.page(Format::Text, crate::time::now(), &Observed::default());
        page.lines().any(|found| found == line)
    };
    let mut clear = settings(&BOTH);
    (clear.name, clear.max_connections) = ("clear".into(), 1);
    let clear = serve(clear, &options);
    let mut open = TcpStream::connect(clear.address).await.unwrap();
    open.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").await.unwrap();
    eventually(Duration::from_secs(5), || clear.scripted.running() == 1).await;
    // Says nothing: what it had said would be unread at the close, and the answer be lost to a reset.
    let mut reply = String::new();
    TcpStream::connect(clear.address).await.unwrap().read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    assert!(shown("tidegate_connections{listener=\"clear\",protocol=\"http1\"} 1"));
    assert!(shown("tidegate_http_requests_in_flight{listener=\"clear\"} 1"));
    assert!(shown("tidegate_connections_rejected_total{listener=\"clear\",reason=\"limit\"} 1"));
    drop(open);
    eventually(Duration::from_secs(5), || {
        shown("tidegate_connections{listener=\"clear\",protocol=\"http1\"} 0")
            && shown("tidegate_http_requests_in_flight{listener=\"clear\"} 0")
    })
    .await;

    let mut strict = settings(&[Protocol::Http2]);
    (strict.name, strict.tls) = ("strict".into(), Tls::Auto);
    strict.timeouts.handshake = Duration::from_millis(500);
    let strict = serve(strict, &options);
    let rejected = |reason| format!("tidegate_connections_rejected_total{{listener=\"strict\",reason=\"{reason}\"}} 1");
    assert!(connect_tls(strict.address, directory.path(), &["spdy/1"]).await.is_none());
    let stream = connect_tls(strict.address, directory.path(), &["http/1.1"]).await.unwrap();
    assert!(tls_http1(stream).await.starts_with("HTTP/1.1 505"));
    let (send, connection) =
        h2::client::handshake(connect_tls(strict.address, directory.path(), &["h2"]).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let _silent = TcpStream::connect(strict.address).await.unwrap();
    eventually(Duration::from_secs(5), || {
        ["tls_failed", "tls_timeout", "protocol"].map(rejected).iter().all(|line| shown(line))
    })
    .await;
    assert!(shown("tidegate_connections{listener=\"strict\",protocol=\"http2\"} 1"));
    assert!(shown("tidegate_tls_handshake_duration_seconds_count{listener=\"strict\"} 2"));
    drop(send);
}
