//! Listeners that come, change and go while others serve.

use std::path::Path;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use super::*;

/// Served by two workers of one runtime.
struct Serving {
    control: Arc<Control>,
    scripted: Arc<Scripted>,
    run: Vec<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Serving {
    fn start(settings: Vec<Settings>) -> Self {
        let options = BindOptions { workers: 2, ..BindOptions::default() };
        let mut listeners = Listeners::bind(settings, &options).unwrap();
        let scripted = Arc::new(Scripted::default());
        let parts = (0..2).map(|worker| listeners.take(WorkerId::new(worker)).unwrap());
        let run = parts.map(|part| tokio::spawn(part.run(Arc::clone(&scripted)))).collect();
        Self { control: listeners.control(), scripted, run }
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.view(name).unwrap_or_else(|| panic!("no listener {name}")).address
    }

    fn view(&self, name: &str) -> Option<ListenerView> {
        self.control.listeners().into_iter().find(|view| &*view.name == name)
    }

    fn exchange(&self, settings: Vec<Settings>) -> ListenerChanges {
        self.control.apply(self.control.plan(settings).unwrap())
    }

    /// Everything ends.
    async fn stop(self) {
        self.control.drain();
        for run in self.run {
            run.await.unwrap().unwrap();
        }
        assert_eq!((self.control.open_connections(), self.control.open_requests()), (0, 0));
    }
}

fn named(name: &str) -> Settings {
    Settings { name: name.into(), ..settings(&BOTH) }
}

fn at(name: &str, address: SocketAddr) -> Settings {
    Settings { address, ..named(name) }
}

fn changes(added: &[&str], removed: &[&str], changed: &[&str]) -> ListenerChanges {
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    ListenerChanges { added: names(added), removed: names(removed), changed: names(changed) }
}

async fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

/// A connection with a request that waits for three bytes of its body.
async fn waiting(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").await.unwrap();
    stream
}

/// Sends the three bytes and gives what comes until the connection ends or, with an answer, stays.
async fn finish(stream: &mut TcpStream) -> String {
    stream.write_all(b"abc").await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"abc") {
        let read = stream.read_buf(&mut reply).await.unwrap();
        assert!(read > 0, "ended after {}", String::from_utf8_lossy(&reply));
    }
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn listeners_come_and_go_while_others_serve() {
    let serving = Serving::start(vec![named("stays"), named("goes")]);
    let (stays, goes) = (serving.address("stays"), serving.address("goes"));
    let mut on_stays = waiting(stays).await;
    let mut on_goes = waiting(goes).await;
    let mut idle = TcpStream::connect(goes).await.unwrap();
    eventually(Duration::from_secs(5), || serving.control.open_requests() == 2).await;
    let done = serving.exchange(vec![named("stays"), named("comes")]);
    assert_eq!(done, changes(&["comes"], &["goes"], &[]));
    assert_eq!(serving.address("stays"), stays, "port 0 keeps the port that it was given");
    assert!(get(serving.address("comes")).await.ends_with("hello"));
    assert!(get(stays).await.ends_with("hello"));
    eventually_refused(goes).await;
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0, "idle connections of a listener that is gone are closed");
    assert!(finish(&mut on_goes).await.contains("connection: close"));
    assert!(!finish(&mut on_stays).await.contains("connection: close"));
    eventually(Duration::from_secs(5), || serving.control.open_connections() == 1).await;
    // What was taken out can be put back at the same address.
    assert_eq!(serving.exchange(vec![named("stays"), at("goes", goes)]), changes(&["goes"], &["comes"], &[]));
    assert!(get(goes).await.ends_with("hello"));
    drop(on_stays);
    serving.stop().await;
}

async fn eventually_refused(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "{address} still listens");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_listener_that_is_gone_does_not_finish_in_time_is_cut() {
    let serving = Serving::start(vec![named("stays"), named("goes")]);
    let mut on_goes = waiting(serving.address("goes")).await;
    let mut on_stays = waiting(serving.address("stays")).await;
    eventually(Duration::from_secs(5), || serving.scripted.running() == 2).await;
    let plan = serving.control.plan(vec![named("stays")]).unwrap().drain_within(Duration::from_millis(50));
    serving.control.apply(plan);
    assert_eq!(on_goes.read(&mut [0]).await.unwrap_or(0), 0);
    eventually(Duration::from_secs(5), || serving.scripted.running() == 1).await;
    assert!(finish(&mut on_stays).await.ends_with("abc"));
    drop(on_stays);
    serving.stop().await;
}

#[tokio::test]
async fn new_settings_hold_for_new_connections() {
    let serving = Serving::start(vec![named("a")]);
    let address = serving.address("a");
    let mut before = waiting(address).await;
    eventually(Duration::from_secs(5), || serving.scripted.running() == 1).await;
    let only_http2 = Settings { protocols: vec![Protocol::Http2], ..named("a") };
    assert_eq!(serving.exchange(vec![only_http2.clone()]), changes(&[], &[], &["a"]));
    assert_eq!(serving.exchange(vec![only_http2]), changes(&[], &[], &[]), "the same again is no change");
    assert!(get(address).await.starts_with("HTTP/1.1 505"));
    assert!(finish(&mut before).await.starts_with("HTTP/1.1 200"));
    before.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    before.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("hello"), "an old connection goes on as it began: {reply}");
    serving.stop().await;
}

#[tokio::test]
async fn a_listener_moves_and_addresses_are_passed_on() {
    let serving = Serving::start(vec![named("a"), named("b")]);
    let (one, two) = (serving.address("a"), serving.address("b"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(serving.exchange(vec![at("a", free), named("b")]), changes(&[], &[], &["a"]));
    assert!(get(free).await.ends_with("hello"));
    eventually_refused(one).await;
    // Each takes over the address of the other, and a third gets one of a wildcard.
    serving.exchange(vec![at("a", two), at("b", free)]);
    assert_eq!((serving.address("a"), serving.address("b")), (two, free));
    for address in [two, free] {
        assert!(get(address).await.ends_with("hello"));
    }
    let wildcard = SocketAddr::from(([0, 0, 0, 0], two.port()));
    assert_eq!(serving.exchange(vec![at("a", wildcard), at("b", free)]), changes(&[], &[], &["a"]));
    assert!(get(two).await.ends_with("hello"));
    serving.exchange(vec![at("c", two)]);
    assert!(get(two).await.ends_with("hello"));
    serving.stop().await;
}

#[tokio::test]
async fn connections_that_wait_are_served_when_a_listener_is_renamed() {
    let serving = Serving::start(vec![named("first")]);
    let address = serving.address("first");
    for round in 0..20 {
        let asking: Vec<_> = (0..10).map(|_| tokio::spawn(get(address))).collect();
        tokio::task::yield_now().await;
        serving.exchange(vec![at(&format!("name-{round}"), address)]);
        for reply in asking {
            assert!(reply.await.unwrap().ends_with("hello"));
        }
    }
    serving.stop().await;
}

#[tokio::test]
async fn a_plan_that_fails_or_is_dropped_changes_nothing() {
    let serving = Serving::start(vec![named("a")]);
    let address = serving.address("a");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = std::net::TcpListener::bind(taken).unwrap();
    let error = serving.control.plan(vec![named("new"), at("a", taken)]).unwrap_err();
    assert!(matches!(&error, ListenError::Taken { address, .. } if *address == taken), "{error}");
    drop(holder);
    let plan = serving.control.plan(vec![at("a", taken), named("new")]).unwrap();
    assert_eq!(*plan.changes(), changes(&["new"], &[], &["a"]));
    assert!(TcpStream::connect(taken).await.is_ok(), "bound already");
    drop(plan);
    assert!(TcpStream::connect(taken).await.is_err());
    assert_eq!(serving.address("a"), address);
    assert!(get(address).await.ends_with("hello"));
    serving.stop().await;
}

#[tokio::test]
async fn while_everything_drains_nothing_is_opened() {
    let serving = Serving::start(vec![named("a")]);
    let mut running = waiting(serving.address("a")).await;
    eventually(Duration::from_secs(5), || serving.scripted.running() == 1).await;
    let plan = serving.control.plan(vec![named("a"), named("b")]).unwrap();
    serving.control.drain();
    assert_eq!(serving.control.apply(plan), ListenerChanges::default());
    assert!(serving.view("b").is_none());
    finish(&mut running).await;
    serving.stop().await;
}

/// Certificate and key for `a.test` that end on the first day of `year`.
fn write_pair(directory: &Path, year: i32) -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(directory.join("a.crt"), certificate.pem()).unwrap();
    std::fs::write(directory.join("a.key"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn with_files(directory: &Path) -> Settings {
    Settings { tls: Tls::Files { cert: directory.join("a.crt"), key: directory.join("a.key") }, ..named("a") }
}

type Secured = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<Secured> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("a.test").unwrap(), stream).await
}

async fn ask(stream: &mut Secured) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"hello") {
        assert!(stream.read_buf(&mut reply).await.unwrap() > 0);
    }
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn new_handshakes_see_a_new_certificate_and_old_connections_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let first = write_pair(directory.path(), 2100);
    let settings = with_files(directory.path());
    let serving = Serving::start(vec![settings.clone()]);
    let address = serving.address("a");
    let not_after = || serving.view("a").unwrap().certificate.unwrap().not_after_unix_s;
    assert_eq!(not_after(), Some(4_102_444_800));
    let mut old = connect(address, &first).await.unwrap();
    ask(&mut old).await;

    for file in settings.files() {
        // Written anew with the same content.
        std::fs::write(&file, std::fs::read(&file).unwrap()).unwrap();
    }
    assert!(serving.exchange(vec![settings.clone()]).is_empty());

    let second = write_pair(directory.path(), 2101);
    assert_eq!(serving.exchange(vec![settings.clone()]), changes(&[], &[], &["a"]));
    assert_eq!(not_after(), Some(4_133_980_800));
    assert!(connect(address, &first).await.is_err());
    ask(&mut connect(address, &second).await.unwrap()).await;
    ask(&mut old).await;

    assert_eq!(serving.exchange(vec![named("a")]), changes(&[], &[], &["a"]));
    assert!(get(address).await.ends_with("hello"), "and now in clear text");
    ask(&mut old).await;
    drop(old);
    serving.stop().await;
}

#[tokio::test]
async fn a_broken_certificate_is_named_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let good = write_pair(directory.path(), 2100);
    let settings = with_files(directory.path());
    let serving = Serving::start(vec![settings.clone()]);
    let [cert, key] = settings.files().try_into().unwrap();
    let (cert_text, key_text) = (std::fs::read(&cert).unwrap(), std::fs::read(&key).unwrap());
    let other = tempfile::tempdir().unwrap();
    write_pair(other.path(), 2100);
    let other_key = std::fs::read(other.path().join("a.key")).unwrap();
    let torn = &cert_text[..cert_text.len() / 2];
    let cases: [(&[u8], &[u8], &str); 5] = [
        (torn, &key_text, "a.crt"),
        (b"", &key_text, "a.crt"),
        (&cert_text, b"", "a.key"),
        (&cert_text, &other_key, "a.key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key_text, "a.crt"),
    ];
    for (cert_text, key_text, named) in cases {
        std::fs::write(&cert, cert_text).unwrap();
        std::fs::write(&key, key_text).unwrap();
        let error = serving.control.plan(vec![settings.clone()]).unwrap_err();
        assert!(matches!(error, ListenError::Certificate { .. }) && error.to_string().contains(named), "{error}");
        ask(&mut connect(serving.address("a"), &good).await.unwrap()).await;
    }
    std::fs::remove_file(&key).unwrap();
    assert!(serving.control.plan(vec![settings]).unwrap_err().to_string().contains("a.key"));
    serving.control.cut();
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_shown_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    write_pair(directory.path(), 2020);
    let serving = Serving::start(vec![with_files(directory.path())]);
    assert_eq!(serving.view("a").unwrap().certificate.unwrap().not_after_unix_s, Some(1_577_836_800));
    serving.control.cut();
}

#[tokio::test]
async fn a_development_certificate_survives_an_exchange() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // A folder that cannot be made: the certificate lives in memory alone.
    let directory = Some(file.path().join("nowhere"));
    let options = BindOptions { workers: 1, certificate_directory: directory, ..BindOptions::default() };
    let auto = Settings { tls: Tls::Auto, ..named("a") };
    let control = Listeners::bind(vec![auto.clone()], &options).unwrap().control();
    assert!(control.plan(vec![auto.clone()]).unwrap().changes().is_empty());
    let only_http1 = Settings { protocols: vec![Protocol::Http1], ..auto };
    assert_eq!(*control.plan(vec![only_http1]).unwrap().changes(), changes(&[], &[], &["a"]));
}
