//! Connections of proxies that say in a header of the PROXY protocol whom they speak for.

use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::{Gateway, Web, get, tls, web};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";

/// The same in version 2, with a part that the gateway does not know.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb\x04\0\x03abc";

/// Health checks of a proxy: it speaks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn config(backend: std::net::SocketAddr, keys: &str, trusted: &str) -> String {
    format!(
        "listeners:\n  - {{ name: main, address: \"127.0.0.1:0\", proxy_protocol: true{keys} }}\n  - {{ name: plain, \
         address: \"127.0.0.1:0\" }}\nclient_ip: {{ trusted_proxies: [\"{trusted}\"] }}\nservices:\n  back: {{ \
         endpoints: [\"http://{backend}\"] }}\nroutes: [{{ name: all, path: \"/{{rest=**}}\", service: back }}]\n\
         observability: {{ logs: {{ access: null }}, metrics: {{ public_path: /metrics }} }}\n"
    )
}

async fn connect(gateway: &Gateway, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

async fn refusals(gateway: &Gateway, reason: &str) -> String {
    let page = Http1::connect(gateway.listener("plain")).await.send(&get("/metrics")).await;
    let start = format!("tidegate_connections_rejected_total{{listener=\"main\",reason=\"{reason}\"}} ");
    page.text().lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("0").to_owned()
}

#[tokio::test]
async fn the_client_is_who_the_header_says() {
    let web = Web::start(|_| web::ok("hello")).await;
    let gateway = Gateway::start(&config(web.address(), "", "127.0.0.0/8"));
    for (header, client) in [(V1, "192.0.2.7"), (V2, "192.0.2.7"), (LOCAL, "127.0.0.1")] {
        let stream = connect(&gateway, header).await;
        assert_eq!(Http1::over(stream).send(&get("/")).await.status, 200);
        assert_eq!(web.last().field("x-forwarded-for"), client, "{}", header.escape_ascii());
        let stream = connect(&gateway, header).await;
        assert_eq!(Http2::over(stream, "http").await.send(&get("/")).await.status, 200);
        assert_eq!(web.last().field("x-forwarded-for"), client, "HTTP/2 {}", header.escape_ascii());
    }
    // Whom the header names is no trusted proxy, so nobody else is believed on its connection.
    let mut told = Http1::over(connect(&gateway, V1).await);
    told.send(&get("/").header("x-forwarded-for", "9.9.9.9")).await;
    assert_eq!(web.last().field("x-forwarded-for"), "192.0.2.7");
    gateway.stop().await;
}

#[tokio::test]
async fn the_header_stands_before_tls() {
    let web = Web::start(|_| web::ok("hello")).await;
    let gateway = Gateway::start(&config(web.address(), ", tls: auto", "127.0.0.0/8"));
    let stream = connect(&gateway, V2).await;
    let certificate = gateway.certificates().join("development.crt");
    let stream = tls::over(stream, &certificate, &["http/1.1"], None).await.unwrap();
    assert_eq!(Http1::over(stream).send(&get("/")).await.status, 200);
    assert_eq!(web.last().field("x-forwarded-for"), "192.0.2.7");
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_good_header_in_time_a_connection_is_closed_and_counted() {
    let web = Web::start(|_| web::ok("hello")).await;
    let gateway = Gateway::start(&config(web.address(), ", timeouts: { head: 300ms }", "127.0.0.0/8"));
    let broken: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n", b"PROXY TCP4", b""];
    for header in broken {
        let stream = connect(&gateway, header).await;
        assert!(Http1::over(stream).is_closed().await, "{}", header.escape_ascii());
    }
    assert_eq!(refusals(&gateway, "proxy_header").await, "4");
    assert!(web.heard().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn only_trusted_proxies_may_speak_for_clients() {
    let web = Web::start(|_| web::ok("hello")).await;
    let gateway = Gateway::start(&config(web.address(), "", "10.0.0.0/8"));
    let stream = connect(&gateway, V1).await;
    assert!(Http1::over(stream).is_closed().await);
    assert_eq!(refusals(&gateway, "proxy_untrusted").await, "1");
    gateway.stop().await;
}

#[tokio::test]
async fn connections_are_counted_by_the_client_behind_the_proxy() {
    let web = Web::start(|_| web::ok("hello")).await;
    let gateway = Gateway::start(&config(web.address(), ", max_connections_per_ip: 1", "127.0.0.0/8"));
    let mut first = Http1::over(connect(&gateway, V1).await);
    assert_eq!(first.send(&get("/")).await.status, 200);
    let mut second = Http1::over(connect(&gateway, V2).await);
    assert_eq!(second.answer().await.status, 503, "the same client");
    let other = b"PROXY TCP4 192.0.2.8 10.0.0.1 56324 443\r\n";
    let mut other = Http1::over(connect(&gateway, other).await);
    assert_eq!(other.send(&get("/")).await.status, 200);
    assert_eq!(refusals(&gateway, "limit_per_ip").await, "1");
    gateway.stop().await;
}
