//! Requests passed on to HTTP backends over HTTP/2, in clear text and by ALPN.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Response};
use parking_lot::Mutex;
use tidegate_testkit::client::End;
use tidegate_testkit::peer::Leaving;
use tidegate_testkit::web::ok;
use tidegate_testkit::{Dns, Gateway, Request, UnixDoor, Web, eventually, get, post, soon, tls};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A backend over HTTP/2; what it does is said by the path.
struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Parts>>,
    asked: Mutex<HashMap<String, usize>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    sent: AtomicUsize,
}

/// A request is being answered, or has not been given up.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Backend {
    async fn start(streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                told.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, streams, Arc::clone(&told)));
            }
        });
        Self { address, shared }
    }

    fn heard(&self) -> usize {
        self.shared.heard.lock().len()
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, streams: u32, shared: Arc<Shared>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let leaves = request.uri().path() == "/goaway";
        shared.open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(answer(request, respond, Open(Arc::clone(&shared))));
        if leaves {
            connection.graceful_shutdown();
        }
    }
}

async fn answer(request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>, open: Open) {
    let (parts, mut body) = request.into_parts();
    let shared = &open.0;
    let path = parts.uri.path().to_owned();
    let asked = {
        let mut asked = shared.asked.lock();
        let count = asked.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    shared.heard.lock().push(parts);
    let head = |status: u16| Response::builder().status(status).header("x-from", "h2").body(()).unwrap();
    match path.as_str() {
        "/none" => drop(respond.send_response(head(204), true)),
        "/refused" if asked == 1 => respond.send_reset(Reason::REFUSED_STREAM),
        "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/early" => {
            let mut out = respond.send_response(head(413), false).unwrap();
            // Dropping the body unread resets the stream, with NO_ERROR, once all of this is out.
            out.send_data(Bytes::from_static(b"too much"), true).unwrap();
        }
        "/count" => {
            let mut length = 0;
            while let Some(Ok(data)) = body.data().await {
                let _gone = body.flow_control().release_capacity(data.len());
                length += data.len();
            }
            let mut out = respond.send_response(head(200), false).unwrap();
            out.send_data(length.to_string().into(), true).unwrap();
        }
        "/silent" => {
            let _reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        }
        "/interim" | "/flood" => {
            let hint = || Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            for _ in 0..if path == "/flood" { 9 } else { 8 } {
                respond.send_informational(hint()).unwrap();
            }
            let mut out = respond.send_response(head(200), false).unwrap();
            out.send_data(Bytes::from_static(b"done"), true).unwrap();
        }
        "/cut" => {
            let mut out = respond.send_response(head(200), false).unwrap();
            write(&mut out, Bytes::from_static(b"part"), &open.0).await;
            // What was sent is to arrive before the reset.
            tokio::task::yield_now().await;
            while body.data().await.is_some() {}
            out.send_reset(Reason::INTERNAL_ERROR);
        }
        "/large" => {
            let mut out = respond.send_response(head(200), false).unwrap();
            for _ in 0..64 {
                if !write(&mut out, Bytes::from(vec![7; 64 * 1024]), &open.0).await {
                    return;
                }
            }
            let _gone = out.send_data(Bytes::new(), true);
        }
        _ => {
            // As it comes, with trailers that say how much it was.
            let mut out = respond.send_response(head(200), false).unwrap();
            let mut length = 0;
            while let Some(Ok(data)) = body.data().await {
                let _gone = body.flow_control().release_capacity(data.len());
                length += data.len();
                if !data.is_empty() && !write(&mut out, data, &open.0).await {
                    return;
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-length", length.into());
            let _gone = out.send_trailers(trailers);
        }
    }
}

async fn write(out: &mut SendStream<Bytes>, mut data: Bytes, shared: &Shared) -> bool {
    while !data.is_empty() {
        out.reserve_capacity(data.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| out.poll_capacity(cx)).await else { return false };
        let piece = data.split_to(room.min(data.len()));
        shared.sent.fetch_add(piece.len(), Ordering::SeqCst);
        if out.send_data(piece, false).is_err() {
            return false;
        }
    }
    true
}

fn config(address: SocketAddr, policy: &str) -> String {
    format!(
        "services: {{ web: {{ address: \"http://{address}\", http2: true{policy} }} }}
routes: [{{ name: all, path: \"/{{rest=**}}\", service: web }}]
"
    )
}

/// The first address takes connections and says nothing, so the request waits until it has gone.
#[tokio::test]
async fn a_request_that_waits_for_an_address_follows_a_name_that_moves() {
    let backend = Backend::start(100).await;
    let (SocketAddr::V4(there), gone) = (backend.address, Ipv4Addr::new(127, 0, 0, 2)) else {
        panic!("an IPv4 address")
    };
    let silent = TcpListener::bind((gone, there.port())).await.unwrap();
    let dns = Dns::start().await;
    dns.set("web.test", &[gone], 0);
    let gateway = Gateway::start(&format!(
        "services:\n  web: {{ protocol: http, http2: true, endpoints: [\"dns://{}/web.test.:{}\"], connect_timeout: 14s }}
routes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: web, retry: null }}\n",
        dns.address(),
        there.port()
    ));
    let mut http2 = gateway.http2().await;
    let mut waiting = http2.start(&get("/count"), true).await;
    let _connection = soon(silent.accept()).await.unwrap();
    dns.set("web.test", &[*there.ip()], 0);
    let answer = waiting.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    gateway.stop().await;
}

async fn both(policy: &str) -> (Backend, Gateway) {
    let backend = Backend::start(100).await;
    let gateway = Gateway::start(&config(backend.address, policy));
    (backend, gateway)
}

#[tokio::test]
async fn a_request_passes_as_one_of_http2() {
    let (backend, gateway) = both("").await;
    let request = get("/a/b?q=1").header("x-user-id", "7").header("accept", "text/plain").header("cookie", "a=1");
    for answer in gateway.send_both(&request).await {
        assert_eq!((answer.status, answer.text(), answer.end), (200, "", End::Clean));
        assert_eq!((answer.header("x-from"), answer.header("server")), ("h2", "tidegate"));
    }
    for heard in &*backend.shared.heard.lock() {
        assert_eq!((heard.method.as_str(), heard.uri.path_and_query().unwrap().as_str()), ("GET", "/a/b?q=1"));
        assert!(!heard.uri.authority().unwrap().as_str().is_empty());
        assert_eq!(heard.headers["accept"], "text/plain");
        assert_eq!(heard.headers["cookie"], "a=1");
        assert_eq!(heard.headers["x-forwarded-for"], "127.0.0.1");
        assert!(heard.headers.contains_key("x-request-id"));
        for gone in ["x-user-id", "host", "connection", "te", "content-length", "transfer-encoding"] {
            assert!(!heard.headers.contains_key(gone), "{gone}");
        }
    }
    for answer in gateway.send_both(&get("/none").header("te", "trailers")).await {
        assert_eq!((answer.status, answer.text()), (204, ""));
        let heard = backend.shared.heard.lock().last().unwrap().headers.clone();
        assert_eq!((&heard["te"], heard.contains_key("connection")), (&"trailers".parse().unwrap(), false));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_and_trailers_flow_both_ways() {
    let (backend, gateway) = both(", max_body: 8MiB").await;
    for length in [0, 1, 5_000, 3_000_000] {
        for answer in gateway.send_both(&post("/count", vec![b'x'; length])).await {
            assert_eq!((answer.status, answer.text(), answer.end), (200, length.to_string().as_str(), End::Clean));
        }
        assert_eq!(backend.shared.heard.lock().last().unwrap().headers["content-length"], length.to_string());
    }
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&Request::new("PUT", "/echo"), false).await;
    running.write("abc", false).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    assert_eq!(running.piece().await.unwrap().unwrap(), "abc", "an answer may begin before its request has ended");
    running.write("de", true).await;
    let rest = {
        let (_, mut stream) = running.split();
        let data = soon(stream.data()).await.unwrap().unwrap();
        let _room = stream.flow_control().release_capacity(data.len());
        assert!(soon(stream.data()).await.is_none());
        assert_eq!(soon(stream.trailers()).await.unwrap().unwrap()["x-length"], "5");
        data
    };
    assert_eq!(rest, "de");
    let head = Request::new("HEAD", "/none");
    for answer in gateway.send_both(&head).await {
        assert_eq!(answer.status, 204);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn failures_are_those_of_http1() {
    let (backend, gateway) = both(", retry: null, max_body: 8MiB, timeout: 1s").await;
    for (request, status, reason) in [
        (get("/reset"), 502, "upstream_reset"),
        (get("/flood"), 502, "upstream_error"),
        (get("/silent"), 504, "upstream_timeout"),
    ] {
        for answer in gateway.send_both(&request).await {
            assert_eq!((answer.status, answer.json()["reason"].as_str().unwrap()), (status, reason));
        }
    }
    for answer in gateway.send_both(&get("/interim")).await {
        assert_eq!((answer.status, answer.text()), (200, "done"));
    }
    let [first, second] = gateway.send_both(&get("/cut")).await;
    assert_eq!((first.status, first.text(), first.end), (200, "part", End::Cut));
    assert!(matches!(second.end, End::Reset(_)), "{:?}", second.end);
    for answer in gateway.send_both(&post("/early", vec![b'x'; 2_000_000])).await {
        assert_eq!((answer.status, answer.text()), (413, "too much"));
    }
    eventually("nothing is left open", async || backend.shared.open.load(Ordering::SeqCst) == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_backend_has_not_seen_is_sent_again_whatever_it_is() {
    let (backend, gateway) = both("").await;
    let answer = gateway.send(&post("/refused", "body")).await;
    assert_eq!((answer.status, answer.text()), (200, "body"));
    assert_eq!(backend.heard(), 2);
    let answer = gateway.send(&post("/reset", "body")).await;
    assert_eq!((answer.status, backend.heard()), (502, 3), "this one may have been");
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_that_says_goodbye_loses_no_request() {
    let (backend, gateway) = both("").await;
    for _ in 0..20 {
        assert_eq!(gateway.send(&post("/goaway", "x")).await.status, 200);
        assert_eq!(gateway.send(&post("/echo", "y")).await.text(), "y");
    }
    assert_eq!(backend.heard(), 40);
    gateway.stop().await;
}

/// Whoever leaves says which requests it has not seen; those go elsewhere, whatever they are, and the others end where they are.
#[tokio::test]
async fn what_a_goodbye_excludes_is_sent_again_once_and_what_it_includes_goes_on() {
    for again in [get("/echo"), post("/echo", "body")] {
        let backend = Backend::start(100).await;
        let leaving = Leaving::start(backend.address, 1).await;
        let yaml = config(leaving.address(), ", retry: null, connections: { max: 1 }") + "runtime: { workers: 1 }\n";
        let gateway = Gateway::start(&yaml);
        let mut http2 = gateway.http2().await;
        let mut included = http2.start(&get("/first"), true).await;
        eventually("the first one is there", async || leaving.newest() == 1).await;
        let excluded = http2.send(&again).await;
        let sent = String::from_utf8(again.body.clone().unwrap_or_default()).unwrap();
        assert_eq!((excluded.status, excluded.text()), (200, sent.as_str()));
        let included = included.answer().await;
        assert_eq!((included.status, included.text()), (200, "first"));
        let heard: Vec<_> = backend.shared.heard.lock().iter().map(|heard| heard.uri.path().to_owned()).collect();
        assert_eq!(heard, ["/echo"], "one delivery");
        gateway.stop().await;
    }
}

/// Ten of a worker with two streams each, and half of them stay for good.
#[tokio::test]
async fn connections_are_made_up_to_their_bound_as_streams_run_out() {
    let backend = Backend::start(2).await;
    let yaml = config(backend.address, ", connections: { min: 5, max: 20 }, timeout: 60s")
        + "observability: { logs: { access: null }, metrics: { public_path: /metrics } }\n";
    let gateway = Gateway::start(&yaml);
    let ready = async || {
        let page = gateway.get("/metrics").await;
        let start = "tidegate_upstream_connections{service=\"web\",state=\"ready\"} ";
        page.text().lines().find_map(|line| line.strip_prefix(start)).unwrap().parse::<usize>().unwrap()
    };
    // The system deals connections out to the workers as it likes.
    let asking = parking_lot::Mutex::new(Vec::new());
    eventually("each worker has as many as it may", async || {
        let mut http1 = gateway.http1().await;
        http1.write("GET /silent HTTP/1.1\r\nhost: a\r\n\r\n").await;
        asking.lock().push(http1);
        ready().await >= 20
    })
    .await;
    for _ in 0..20 {
        let mut http1 = gateway.http1().await;
        http1.write("GET /silent HTTP/1.1\r\nhost: a\r\n\r\n").await;
        asking.lock().push(http1);
    }
    assert_eq!((ready().await, backend.shared.connections.load(Ordering::SeqCst)), (20, 20));
    drop(asking);
    gateway.stop().await;
}

#[tokio::test]
async fn one_stream_at_a_time_is_enough() {
    let backend = Backend::start(1).await;
    let gateway = Gateway::start(&config(backend.address, ", connections: { max: 2 }"));
    let asked = (0..20).map(|number| {
        let address = gateway.address();
        tokio::spawn(async move {
            let mut http1 = tidegate_testkit::client::Http1::connect(address).await;
            http1.send(&post("/echo", number.to_string())).await.text().to_owned()
        })
    });
    for (number, asked) in asked.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(soon(asked).await.unwrap(), number.to_string());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stalled_reader_stops_the_backend_and_a_client_that_goes_its_stream() {
    let (backend, gateway) = both("").await;
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&get("/large"), true).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    let sent = || backend.shared.sent.load(Ordering::SeqCst);
    // It comes to a stop: the same twice, after others were answered in full.
    let before = AtomicUsize::new(usize::MAX);
    eventually("it stops", async || {
        gateway.get("/none").await;
        let now = sent();
        before.swap(now, Ordering::SeqCst) == now
    })
    .await;
    assert!(sent() < 2 << 20, "{} bytes", sent());
    let mut all = 0;
    while let Some(piece) = running.piece().await.unwrap() {
        all += piece.len();
    }
    assert_eq!(all, 4 << 20);
    let mut running = http2.start(&get("/large"), true).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    running.cancel();
    eventually("its stream is reset", async || backend.shared.open.load(Ordering::SeqCst) == 0).await;
    gateway.stop().await;
}

fn secure_config(front: &tls::Front, http2: bool) -> String {
    format!(
        "services: {{ web: {{ address: \"https://localhost:{}\", http2: {http2}, tls: {{ ca: tls.crt }} }} }}
routes: [{{ name: all, path: \"/{{rest=**}}\", service: web, websocket: true }}]
",
        front.address().port()
    )
}

#[tokio::test]
async fn the_version_is_what_both_agree_to() {
    let http2 = Backend::start(100).await;
    let http1 = Web::start(|_| ok("one")).await;
    for (alpn, asks, expected) in [
        (&["h2", "http/1.1"][..], true, "h2"),
        (&["http/1.1"], true, "http/1.1"),
        (&[], true, ""),
        (&["h2", "http/1.1"], false, "http/1.1"),
    ] {
        let folder = tempfile::TempDir::new().unwrap();
        let to = if expected == "h2" { http2.address } else { http1.address() };
        let front = tls::Front::start(folder.path(), to, alpn, None).await;
        let gateway = Gateway::start_in(folder, &secure_config(&front, asks));
        let mut connection = gateway.http1().await;
        for _ in 0..5 {
            let answer = connection.send(&post("/echo", "one")).await;
            assert_eq!((answer.status, answer.text()), (200, "one"), "{alpn:?} {asks}");
        }
        let agreed = front.agreed();
        assert!(agreed.iter().all(|one| one == expected), "{agreed:?}");
        // One to learn that there is no HTTP/2, and one to use.
        assert!(agreed.len() <= 2, "{agreed:?}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_websocket_goes_over_http1_and_tls() {
    let echo = tidegate_testkit::websocket::Echo::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let front = tls::Front::start(folder.path(), echo.address(), &["h2", "http/1.1"], None).await;
    let gateway = Gateway::start_in(folder, &secure_config(&front, true));
    let mut http1 = gateway.http1().await;
    http1
        .write(
            "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x01\x02",
        )
        .await;
    assert_eq!(http1.any_head().await.0, 101);
    assert_eq!(front.agreed(), ["http/1.1"]);
    drop(http1);
    eventually("the backend sees the end", async || echo.open() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_speaks_no_http2_is_told_from_one_that_is_down() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let gateway = Gateway::start(&config(address, ", connect_timeout: 300ms, retry: null"));
    assert_eq!(gateway.get("/a").await.json()["reason"], "connect_failed");
    let (mut stream, _) = soon(silent.accept()).await.unwrap();
    let mut preface = [0; 24];
    soon(stream.read_exact(&mut preface)).await.unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    drop(silent);
    gateway.stop().await;
}

#[tokio::test]
async fn http2_goes_through_a_socket_in_the_file_system() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("web.sock");
    let backend = Backend::start(100).await;
    let _door = UnixDoor::open(&path, backend.address);
    let gateway = Gateway::start(&format!(
        "services:\n  web: {{ protocol: http, http2: true, endpoints: [\"unix:{}\"] }}
routes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: web }}\n",
        path.display()
    ));
    for answer in gateway.send_both(&post("/count", "body").header("host", "shop.test")).await {
        assert_eq!((answer.status, answer.header("x-from"), answer.text()), (200, "h2", "4"));
    }
    for heard in &*backend.shared.heard.lock() {
        assert_eq!(heard.uri.authority().unwrap().as_str(), "shop.test");
    }
    gateway.stop().await;
}
