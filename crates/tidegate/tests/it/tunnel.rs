//! WebSockets that are passed through to HTTP backends, from clients of both versions of HTTP.

use std::net::SocketAddr;

use tidegate_testkit::client::{End, Http1, Http2};
use tidegate_testkit::web::{bytes, ok};
use tidegate_testkit::websocket::futures_util::{SinkExt as _, StreamExt as _};
use tidegate_testkit::websocket::{self, CloseCode, Echo, Message, WebSocketStream, derive_accept_key};
use tidegate_testkit::{Gateway, Heard, Part, Web, eventually, get, soon, tls};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A masked text frame with `hi`, as a client sends it: the mask is zero.
const HI: &[u8] = b"\x81\x82\0\0\0\0hi";

/// The same of a server.
const HO: &[u8] = b"\x81\x02ho";

fn config(address: SocketAddr, policy: &str) -> String {
    format!(
        "services: {{ web: {{ address: \"http://{address}\", retry: null }} }}
routes:
  - {{ name: plain, path: /plain, service: web }}
  - {{ name: fixed, path: /fixed, respond: {{ text: fixed }} }}
  - {{ name: socket, path: \"/{{rest=**}}\", service: web, websocket: true{policy} }}
"
    )
}

fn gateway(address: SocketAddr) -> Gateway {
    Gateway::start(&config(address, ""))
}

/// A handshake of HTTP/1.1.
fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: keep-alive, Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
    )
}

/// The 101 that a handshake deserves, with what follows it at once.
fn agreed(heard: &Heard, more: &[u8]) -> Part {
    let accept = derive_accept_key(heard.field("sec-websocket-key").as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    Part::Bytes([head.as_bytes(), more].concat())
}

/// Says `message` and hears it back.
async fn echo<Io: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<Io>, message: Message) {
    soon(socket.send(message.clone())).await.unwrap();
    assert!(soon(socket.next()).await.unwrap().unwrap() == message);
}

/// The code of the close frame that comes next; `None` for an end without one.
async fn closed<Io: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<Io>) -> Option<CloseCode> {
    match soon(socket.next()).await {
        Some(Ok(Message::Close(frame))) => frame.map(|frame| frame.code),
        Some(Ok(message)) => panic!("{message:?}"),
        Some(Err(_)) | None => None,
    }
}

/// A backend that is driven by the test: its connection after the handshake, which has been answered.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, head) = accept_head(listener).await;
    grant(&mut stream, &head).await;
    stream
}

async fn accept_head(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

async fn grant(stream: &mut TcpStream, head: &str) {
    let heard = Heard { head: head.to_owned(), body: Vec::new(), connection: 0, number: 0 };
    let Part::Bytes(answer) = agreed(&heard, b"") else { unreachable!() };
    stream.write_all(&answer).await.unwrap();
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A client over HTTP/1.1 as bytes, with its handshake sent and `more` behind it.
async fn raw(gateway: &Gateway, more: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client.write_all(&[handshake("/").as_bytes(), more].concat()).await.unwrap();
    client
}

/// Reads an answer's head off `client`.
async fn read_head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(client.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut read = vec![0; length];
    soon(stream.read_exact(&mut read)).await.unwrap();
    read
}

#[tokio::test]
async fn messages_of_any_size_pass_both_ways() {
    let backend = Echo::start().await;
    let gateway = gateway(backend.address());
    let mut connection = gateway.http2().await;
    let mut first = websocket::http1(gateway.address(), "/a").await;
    let mut second = websocket::http2(&mut connection, "/b").await;
    for length in [0, 1, 125, 126, 65_535, 65_536, 1_048_576] {
        for message in [Message::binary(vec![7; length]), Message::text("x".repeat(length))] {
            echo(&mut first, message.clone()).await;
            echo(&mut second, message).await;
        }
    }
    assert_eq!(backend.open(), 2);
    soon(first.close(None)).await.unwrap();
    soon(second.close(None)).await.unwrap();
    assert!(matches!(soon(first.next()).await, Some(Ok(Message::Close(_)))));
    assert!(matches!(soon(second.next()).await, Some(Ok(Message::Close(_)))));
    eventually("the backend sees both ends", async || backend.open() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let backend = Echo::start().await;
    let gateway = Gateway::start(
        &(config(backend.address(), "") + "listeners: [{ name: main, address: \"127.0.0.1:0\", tls: auto }]\n"),
    );
    let certificate = gateway.certificates().join("development.crt");
    let plain = tls::connect(gateway.address(), &certificate, &["http/1.1"]).await.unwrap();
    let mut first = Box::pin(websocket::over(plain, "/a")).await;
    let both = tls::connect(gateway.address(), &certificate, &["h2"]).await.unwrap();
    let mut connection = Http2::over(both, "https").await;
    let mut second = websocket::http2(&mut connection, "/b").await;
    for length in [1, 1_048_576] {
        echo(&mut first, Message::binary(vec![7; length])).await;
        echo(&mut second, Message::binary(vec![7; length])).await;
    }
    drop((first, second));
    eventually("the backend sees both ends", async || backend.open() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_hundred_at_once_do_not_disturb_each_other() {
    let backend = Echo::start().await;
    let gateway = gateway(backend.address());
    let mut connection = gateway.http2().await;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        first.push(websocket::http1(gateway.address(), "/").await);
        // One stream stays free.
        if second.len() < 99 {
            second.push(websocket::http2(&mut connection, "/").await);
        }
    }
    for round in 0..3 {
        for (number, socket) in first.iter_mut().enumerate() {
            echo(socket, Message::text(format!("{number} {round}"))).await;
        }
        for (number, socket) in second.iter_mut().enumerate() {
            echo(socket, Message::text(format!("{number} {round}"))).await;
        }
    }
    assert_eq!(connection.send(&get("/fixed")).await.text(), "fixed");
    assert_eq!(backend.open(), 199);
    drop((first, second));
    eventually("the backend sees all ends", async || backend.open() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_backend_gets_a_handshake_of_its_own_connection() {
    let web = Web::start(|heard| vec![agreed(heard, HO), Part::Wait]).await;
    let gateway = gateway(web.address());
    let mut client = raw(&gateway, b"").await;
    let head = read_head(&mut client).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for field in ["upgrade: websocket", "connection: upgrade", "sec-websocket-accept: ", "x-request-id: "] {
        assert!(head.contains(field), "{head}");
    }
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(read(&mut client, HO.len()).await, HO, "what follows a 101 at once is not lost");
    let mut connection = gateway.http2().await;
    let mut running = connection.start_socket("websocket", &get("/b?c")).await;
    let (status, headers) = running.head().await.unwrap();
    assert_eq!(status, 200);
    for gone in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert_eq!(headers.get(gone), None, "{gone}");
    }
    assert_eq!(running.piece().await.unwrap().unwrap(), HO);
    for (number, line) in ["GET / HTTP/1.1", "GET /b?c HTTP/1.1"].into_iter().enumerate() {
        let heard = &web.heard()[number];
        assert_eq!(heard.line(), line);
        assert_eq!((heard.field("connection"), heard.field("upgrade")), ("Upgrade".to_owned(), "websocket".to_owned()));
        assert_eq!((heard.field("sec-websocket-version").as_str(), heard.field("sec-websocket-key").len()), ("13", 24));
        assert_eq!(heard.field("content-length"), "");
    }
    assert_eq!(web.heard()[0].field("sec-websocket-key"), KEY);
    drop((client, running));
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_client_sends_early_waits_for_the_101() {
    let (listener, address) = listener().await;
    let gateway = gateway(address);
    let mut client = raw(&gateway, &[HI, b"GET / HTTP/1.1\r\n\r\n"].concat()).await;
    let (mut backend, head) = accept_head(&listener).await;
    client.write_all(HI).await.unwrap();
    // A request on another connection has gone all the way meanwhile.
    assert_eq!(gateway.get("/fixed").await.status, 200);
    let mut byte = [0];
    assert_eq!(backend.try_read(&mut byte).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    grant(&mut backend, &head).await;
    let expected = [HI, b"GET / HTTP/1.1\r\n\r\n", HI].concat();
    assert_eq!(read(&mut backend, expected.len()).await, expected);
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    drop((client, backend));
    gateway.stop().await;
}

#[tokio::test]
async fn a_refusal_of_the_backend_is_an_ordinary_answer() {
    let web = Web::start(|heard| match heard.line() {
        "GET /ok HTTP/1.1" => ok("fine"),
        _ => vec![bytes("HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno!")],
    })
    .await;
    let gateway = gateway(web.address());
    let mut http1 = gateway.http1().await;
    // Behind a refusal goes on what is no tunnel.
    http1.write(handshake("/") + &handshake("/ok") + "GET /plain HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for (status, text) in [(403, "no!"), (200, "fine"), (403, "no!")] {
        let answer = http1.answer().await;
        assert_eq!((answer.status, answer.text(), answer.end), (status, text, End::Clean));
    }
    assert_eq!(web.connections(), 1, "a connection without a tunnel goes back");
    let mut http2 = gateway.http2().await;
    let refused = http2.start_socket("websocket", &get("/")).await.answer().await;
    assert_eq!((refused.status, refused.text()), (403, "no!"));
    let taken = http2.start_socket("websocket", &get("/ok")).await.answer().await;
    assert_eq!(taken.status, 502, "any success would open the socket");
    gateway.stop().await;
}

#[tokio::test]
async fn a_101_that_does_not_fit_opens_nothing() {
    let web = Web::start(|heard| match heard.line().split(' ').nth(1).unwrap() {
        "/none" => vec![bytes("HTTP/1.1 101 Switching Protocols\r\n\r\nsecret")],
        "/wrong" => vec![bytes(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOx=\r\n\r\nsecret",
        )],
        _ => vec![agreed(heard, b"secret")],
    })
    .await;
    let gateway = gateway(web.address());
    for path in ["/none", "/wrong"] {
        let mut http1 = gateway.http1().await;
        http1.write(handshake(path)).await;
        let answer = http1.answer().await;
        assert_eq!(answer.status, 502, "{path}");
        assert!(!answer.text().contains("secret"));
        let mut http2 = gateway.http2().await;
        assert_eq!(http2.start_socket("websocket", &get(path)).await.answer().await.status, 502, "{path}");
    }
    // Nobody has asked for one here.
    for answer in gateway.send_both(&get("/any")).await {
        assert_eq!(answer.status, 502);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_route_without_the_key_opens_none() {
    let web = Web::start(|_| ok("plain")).await;
    let gateway = gateway(web.address());
    let mut http1 = gateway.http1().await;
    http1.write(handshake("/plain") + &handshake("/fixed") + "GET /plain HTTP/1.1\r\nhost: a\r\n\r\n").await;
    for text in ["plain", "fixed", "plain"] {
        let answer = http1.answer().await;
        assert_eq!((answer.status, answer.text()), (200, text));
    }
    assert!(web.heard().iter().all(|heard| heard.field("upgrade").is_empty() && heard.field("connection").is_empty()));
    // Bytes of a socket that was not opened are no request.
    http1.write([handshake("/plain").as_bytes(), HI].concat()).await;
    assert_eq!(http1.answer().await.status, 200);
    assert_eq!(http1.answer().await.status, 400);
    let mut http2 = gateway.http2().await;
    for (protocol, path, status) in [
        ("websocket", "/plain", 405),
        ("websocket", "/fixed", 405),
        ("connect-udp", "/", 501),
        ("websocket", "/%2e%2e/x", 400),
    ] {
        assert_eq!(http2.start_socket(protocol, &get(path)).await.answer().await.status, status, "{protocol} {path}");
    }
    assert_eq!(web.heard().len(), 3, "none of that reached the backend");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let web = Web::start(|_| ok("")).await;
    let gateway = gateway(web.address());
    let good = handshake("/");
    for (from, to, status) in [
        ("version: 13", "version: 12", 426),
        ("sec-websocket-version: 13\r\n", "", 426),
        (KEY, "c2hvcnQ=", 400),
        ("GET /", "POST /", 400),
        ("keep-alive, Upgrade", "keep-alive", 400),
    ] {
        let answer = {
            let mut http1 = gateway.http1().await;
            http1.write(good.replace(from, to)).await;
            http1.answer().await
        };
        assert_eq!(answer.status, status, "{to}");
        assert_eq!(answer.header("sec-websocket-version"), if status == 426 { "13" } else { "" });
    }
    assert!(web.heard().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn the_end_of_either_side_reaches_the_other() {
    let (listener, address) = listener().await;
    let gateway = gateway(address);
    // Half of it first: the other direction goes on.
    let mut client = raw(&gateway, b"").await;
    let mut backend = accept(&listener).await;
    read_head(&mut client).await;
    client.shutdown().await.unwrap();
    assert_eq!(soon(backend.read(&mut [0])).await.unwrap(), 0);
    backend.write_all(HO).await.unwrap();
    assert_eq!(read(&mut client, HO.len()).await, HO);
    drop(backend);
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    let mut client = raw(&gateway, b"").await;
    let mut backend = accept(&listener).await;
    read_head(&mut client).await;
    backend.shutdown().await.unwrap();
    assert_eq!(soon(client.read(&mut [0])).await.unwrap(), 0);
    client.write_all(HI).await.unwrap();
    assert_eq!(read(&mut backend, HI.len()).await, HI, "a last word is passed on");
    drop(client);
    assert_eq!(soon(backend.read(&mut [0])).await.unwrap(), 0);
    // Resets.
    let mut client = raw(&gateway, b"").await;
    let mut backend = accept(&listener).await;
    read_head(&mut client).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(matches!(soon(backend.read(&mut [0])).await, Ok(0) | Err(_)));
    let mut client = raw(&gateway, b"").await;
    let backend = accept(&listener).await;
    read_head(&mut client).await;
    backend.set_zero_linger().unwrap();
    drop(backend);
    assert!(matches!(soon(client.read(&mut [0])).await, Ok(0) | Err(_)));
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_tunnel_and_a_dead_backend_its_stream() {
    let (listener, address) = listener().await;
    let gateway = gateway(address);
    let mut http2 = gateway.http2().await;
    let asked = async { http2.start_socket("websocket", &get("/")).await };
    let (mut running, mut backend) = tokio::join!(asked, accept(&listener));
    assert_eq!(running.head().await.unwrap().0, 200);
    running.cancel();
    assert_eq!(soon(backend.read(&mut [0])).await.unwrap(), 0);
    let asked = async { http2.start_socket("websocket", &get("/")).await };
    let (mut running, backend) = tokio::join!(asked, accept(&listener));
    assert_eq!(running.head().await.unwrap().0, 200);
    backend.set_zero_linger().unwrap();
    drop(backend);
    assert!(matches!(running.piece().await, Err(End::Reset(_))));
    let asked = async { http2.start_socket("websocket", &get("/")).await };
    let (mut running, backend) = tokio::join!(asked, accept(&listener));
    assert_eq!(running.head().await.unwrap().0, 200);
    drop(backend);
    assert!(running.piece().await.unwrap().is_none_or(|last| last.is_empty()));
    assert_eq!(running.piece().await.unwrap(), None);
    gateway.stop().await;
}

#[tokio::test]
async fn a_reader_who_takes_nothing_holds_up_its_own_direction_alone() {
    let (listener, address) = listener().await;
    let gateway = gateway(address);
    let mut client = raw(&gateway, b"").await;
    let backend = accept(&listener).await;
    read_head(&mut client).await;
    let (mut from, mut to) = backend.into_split();
    let flood = tokio::spawn(async move { to.write_all(&vec![7; 32 << 20]).await });
    for _ in 0..3 {
        client.write_all(HI).await.unwrap();
        let mut heard = [0; HI.len()];
        soon(from.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, HI);
    }
    assert!(!flood.is_finished(), "the backend is held up");
    let mut all = 0;
    let mut space = vec![0; 1 << 20];
    while all < 32 << 20 {
        all += soon(client.read(&mut space)).await.unwrap();
    }
    soon(flood).await.unwrap().unwrap();
    drop((client, from));
    gateway.stop().await;
}

#[tokio::test]
async fn silence_of_both_sides_ends_a_tunnel() {
    let backend = Echo::start().await;
    let gateway = Gateway::start(&config(backend.address(), ", stream_idle_timeout: 300ms"));
    let mut connection = gateway.http2().await;
    let mut first = websocket::http1(gateway.address(), "/").await;
    let mut second = websocket::http2(&mut connection, "/").await;
    assert_eq!((closed(&mut first).await, closed(&mut second).await), (None, None));
    eventually("the backend sees both ends", async || backend.open() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_drain_says_goodbye_and_loses_nothing() {
    let backend = Echo::start().await;
    let yaml = config(backend.address(), "") + "drain: { readiness_delay: 0s, timeout: 2s }\n";
    let gateway = Gateway::start(&yaml);
    let mut connection = gateway.http2().await;
    let mut first = websocket::http1(gateway.address(), "/").await;
    let mut second = websocket::http2(&mut connection, "/").await;
    echo(&mut first, Message::text("a")).await;
    echo(&mut second, Message::text("b")).await;
    gateway.ask_to_stop().await;
    assert_eq!((closed(&mut first).await, closed(&mut second).await), (Some(CloseCode::Away), Some(CloseCode::Away)));
    // The answers to it, which end both.
    assert!(soon(first.next()).await.is_none_or(|end| end.is_err()));
    assert!(soon(second.next()).await.is_none_or(|end| end.is_err()));
    drop((first, second));
    let (ended, _) = gateway.ended().await;
    assert_eq!(ended, tidegate::app::Ended::Drained);
    eventually("the backend sees both ends", async || backend.open() == 0).await;
}

#[tokio::test]
async fn a_reload_disturbs_no_tunnel() {
    let backend = Echo::start().await;
    let other = Echo::start().await;
    let gateway = gateway(backend.address());
    let mut connection = gateway.http2().await;
    let mut first = websocket::http1(gateway.address(), "/").await;
    let mut second = websocket::http2(&mut connection, "/").await;
    gateway.apply(&config(other.address(), "")).await;
    for round in 0..2 {
        echo(&mut first, Message::text("a")).await;
        echo(&mut second, Message::text("b")).await;
        gateway.apply(&(config(other.address(), "") + &format!("# {round}\n"))).await;
    }
    assert_eq!((backend.open(), other.open()), (2, 0));
    let mut third = websocket::http1(gateway.address(), "/").await;
    echo(&mut third, Message::text("c")).await;
    assert_eq!(other.open(), 1);
    drop((first, second, third));
    gateway.stop().await;
}

#[tokio::test]
async fn tunnels_are_counted_while_they_are_open_and_told_at_their_end() {
    let backend = Echo::start().await;
    let yaml = config(backend.address(), "") + "admin: { address: \"127.0.0.1:0\" }\n";
    let gateway = Gateway::start(&yaml);
    let page = async || gateway.ask_admin(&get("/metrics")).await.text().to_owned();
    let mut socket = websocket::http1(gateway.address(), "/").await;
    echo(&mut socket, Message::text("abc")).await;
    let open = page().await;
    assert!(open.contains("tidegate_upstream_tunnels{service=\"web\"} 1\n"), "{open}");
    assert!(open.contains("tidegate_upstream_requests_total{service=\"web\",code=\"101\"} 1\n"), "{open}");
    drop(socket);
    eventually("it is told", async || {
        let page = page().await;
        page.contains("tidegate_upstream_tunnels{service=\"web\"} 0\n")
            && page.contains("code=\"101\",reason=\"\"} 1\n")
    })
    .await;
    let closed = page().await;
    // Frame heads and a mask are bytes as well.
    assert!(closed.contains("tidegate_http_request_bytes_total{route=\"socket\"} 9\n"), "{closed}");
    assert!(closed.contains("tidegate_http_response_bytes_total{route=\"socket\"} 5\n"), "{closed}");
    gateway.stop().await;
}

#[tokio::test]
async fn tunnels_do_not_count_for_the_bounds_of_their_service() {
    let backend = Echo::start().await;
    let yaml = config(backend.address(), "")
        .replace("retry: null", "retry: null, circuit_breaker: { max_concurrent: 1, max_pending: 0 }");
    let gateway = Gateway::start(&yaml);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(websocket::http1(gateway.address(), "/").await);
    }
    assert_eq!(backend.open(), 3);
    drop(sockets);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_the_101_is_noticed() {
    let (listener, address) = listener().await;
    let gateway = gateway(address);
    let client = raw(&gateway, HI).await;
    let (mut backend, _) = accept_head(&listener).await;
    drop(client);
    assert_eq!(soon(backend.read(&mut [0])).await.unwrap(), 0);
    // One that sends far too much ahead is not read on, and not forgotten.
    let mut client = raw(&gateway, &vec![b'x'; 1 << 16]).await;
    let (mut backend, head) = accept_head(&listener).await;
    grant(&mut backend, &head).await;
    assert_eq!(read(&mut backend, 1 << 16).await, vec![b'x'; 1 << 16]);
    read_head(&mut client).await;
    drop((client, backend));
    let mut http1 = Http1::connect(gateway.address()).await;
    assert_eq!(http1.send(&get("/fixed")).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_never_answers_costs_the_deadline() {
    let web = Web::start(|_| vec![Part::Wait]).await;
    let gateway = Gateway::start(&config(web.address(), ", timeout: 200ms"));
    let mut http1 = gateway.http1().await;
    http1.write(handshake("/")).await;
    assert_eq!(http1.answer().await.status, 504);
    let mut http2 = gateway.http2().await;
    assert_eq!(http2.start_socket("websocket", &get("/")).await.answer().await.status, 504);
    eventually("both were cancelled", async || web.open() == 0).await;
    gateway.stop().await;
}
