//! Who is let in, and what everybody else gets.

use std::net::TcpListener;

use tidegate_testkit::client::Http1;
use tidegate_testkit::{Gateway, Peer, Program, Request, ask_admin, get, post, soon};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{ADMIN, TOKEN, config, put, reads, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

#[tokio::test]
async fn only_the_token_opens_and_the_dashboard_is_open() {
    let peer = Peer::start().await;
    let admin = format!("admin: {{ address: \"127.0.0.1:0\", token: {TOKEN} }}");
    let gateway = Gateway::start(&config(peer.address(), "").replace(ADMIN, &admin));
    for request in reads() {
        let answer = gateway.ask_admin(&request).await;
        if request.target == "/" || request.target.starts_with("/dashboard") {
            assert_eq!(answer.status, 200, "{}", request.target);
            continue;
        }
        assert_eq!(refusal(&answer), (401, "auth_missing".to_owned()), "{}", request.target);
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        let wrong =
            gateway.ask_admin(&request.clone().header("authorization", "Bearer planted-token-9876543210")).await;
        assert_eq!(refusal(&wrong), (401, "auth_invalid".to_owned()));
        let right = gateway.ask_admin(&request.clone().header("authorization", &format!("Bearer {TOKEN}"))).await;
        assert_eq!(right.status, 200, "{}", request.target);
    }
    // Whether a path exists is told to nobody either.
    assert_eq!(refusal(&gateway.ask_admin(&get("/nowhere")).await).0, 401);
    assert_eq!(refusal(&gateway.ask_admin(&Request::new("POST", "/api/drain")).await).0, 401);
    gateway.stop().await;
}

#[tokio::test]
async fn web_pages_from_elsewhere_reach_nothing() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let drain = || Request::new("POST", "/api/drain");
    for request in [
        get("/api/config").header("host", "evil.example"),
        get("/").header("host", "evil.example"),
        drain().header("origin", "http://evil.example"),
        drain().header("origin", "null"),
        drain().header("sec-fetch-site", "cross-site"),
        drain().header("sec-fetch-site", "same-site"),
        get("/api/tap").header("sec-fetch-site", "cross-site").header("sec-fetch-dest", "document"),
        get("/").header("sec-fetch-site", "cross-site").header("sec-fetch-dest", "iframe"),
    ] {
        let answer = gateway.ask_admin(&request).await;
        assert_eq!(refusal(&answer), (403, "forbidden".to_owned()), "{request:?}");
    }
    let link = get("/").header("sec-fetch-site", "cross-site").header("sec-fetch-dest", "document");
    assert_eq!(gateway.ask_admin(&link).await.status, 200);
    assert_eq!(gateway.ask_admin(&get("/api/overview")).await.json()["draining"], false);
    gateway.stop().await;
}

#[tokio::test]
async fn browsers_are_told_to_use_answers_for_nothing_else() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    for request in reads().chain([get("/nowhere"), get("/api/config").header("host", "evil.example")]) {
        let answer = gateway.ask_admin(&request).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{}: {name}", request.target);
        }
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_operation_is_told_as_a_problem() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let large = "x".repeat(300 * 1024);
    for (request, status, reason, allow) in [
        (get("/nowhere"), 404, "route_not_found", ""),
        (get("/api/routes/"), 404, "route_not_found", ""),
        (get("/api/routes/%ff"), 400, "bad_request", ""),
        (get("/api/tap?status=abc"), 400, "bad_request", ""),
        (get("/api/tap?status=1&status=2"), 400, "bad_request", ""),
        (get("/api/tap?nobody=1"), 400, "bad_request", ""),
        (Request::new("DELETE", "/api/overview"), 405, "method_not_allowed", "GET,HEAD"),
        (Request::new("POST", "/"), 405, "method_not_allowed", "GET,HEAD"),
        (get("/api/drain"), 405, "method_not_allowed", "POST"),
        (Request::new("BREW", "/api/log-level"), 405, "method_not_allowed", "GET,HEAD,PUT"),
        (Request::new("TRACE", "/api/config"), 405, "method_not_allowed", "GET,HEAD,PUT"),
        (post("/api/explain", &large), 413, "payload_too_large", ""),
        (put("/api/log-level", &large), 413, "payload_too_large", ""),
    ] {
        let answer = gateway.ask_admin(&request).await;
        assert_eq!(refusal(&answer), (status, reason.to_owned()), "{} {}", request.method, request.target);
        assert_eq!(answer.header("allow").replace(' ', ""), allow, "{} {}", request.method, request.target);
    }
    let head = gateway.ask_admin(&Request::new("HEAD", "/api/config")).await;
    assert_eq!((head.status, head.header("etag")), (200, format!("\"{}\"", gateway.hash()).as_str()));
    gateway.stop().await;
}

#[tokio::test]
async fn a_configuration_may_be_as_long_as_a_file_and_no_longer() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let file = std::fs::read_to_string(gateway.folder().join("tidegate.yaml")).unwrap();
    let long = format!("{file}#{}\n", "x".repeat(512 * 1024));
    let taken = gateway.ask_admin(&put("/api/config", long).header("if-match", "*")).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let too_long = vec![b'#'; usize::try_from(tidegate_config::source::MAX_FILE_BYTES).unwrap() + 1];
    let refused = gateway.ask_admin(&put("/api/config", too_long).header("if-match", "*")).await;
    assert_eq!(refusal(&refused), (413, "payload_too_large".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn garbage_and_silence_hurt_nobody_else() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let mut silent = Vec::new();
    for bytes in ["", "GET", "POST /api/explain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"] {
        let mut connection = Http1::connect(gateway.admin()).await;
        connection.write(bytes).await;
        silent.push(connection);
    }
    for bytes in ["\0\0\0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nhost: a b\r\n: x\r\n\r\n"] {
        let mut connection = Http1::connect(gateway.admin()).await;
        connection.write(bytes).await;
        silent.push(connection);
    }
    assert_eq!(gateway.ask_admin(&get("/api/overview")).await.status, 200);
    drop(silent);
    gateway.stop().await;
}

#[tokio::test]
async fn there_is_room_for_64_connections_and_for_the_next_one_when_one_goes() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let mut held = Vec::new();
    let request = get("/api/log-level").header("host", "localhost");
    for _ in 0..64 {
        let mut connection = Http1::connect(gateway.admin()).await;
        assert_eq!(connection.send(&request).await.status, 200);
        held.push(connection);
    }
    let address = gateway.admin();
    let waiting = tokio::spawn(async move { ask_admin(address, &request).await.status });
    // Those that are there go on meanwhile.
    let connection = held.first_mut().unwrap();
    assert_eq!(connection.send(&get("/api/log-level").header("host", "localhost")).await.status, 200);
    assert!(!waiting.is_finished());
    held.pop();
    assert_eq!(waiting.await.unwrap(), 200);
    drop(held);
    gateway.stop().await;
}

#[tokio::test]
async fn processes_that_share_their_ports_share_the_admin_address_too() {
    let peer = Peer::start().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let yaml = config(peer.address(), "").replace("127.0.0.1:0", &free.to_string());
    let mut first = Program::run_with(BINARY, &yaml, &["--share-ports"]);
    assert_eq!(first.admin().await, free);
    let mut second = Program::run_with(BINARY, &yaml, &["--share-ports"]);
    assert_eq!(second.admin().await, free);
    for program in [&mut first, &mut second] {
        program.terminate();
        assert_eq!(program.code().await, 0, "{}", program.log());
    }
}

#[tokio::test]
async fn a_taken_port_is_69_and_an_open_door_is_78() {
    let peer = Peer::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut program = Program::run(BINARY, &config(peer.address(), "").replace("127.0.0.1:0", &address.to_string()));
    assert_eq!(program.code().await, 69, "{}", program.log());
    program.logged("admin").await;
    let mut program = Program::run(BINARY, &config(peer.address(), "").replace("127.0.0.1:0", "0.0.0.0:0"));
    assert_eq!(program.code().await, 78, "{}", program.log());
    program.logged("would be open to other machines").await;
}

#[tokio::test]
async fn the_end_of_the_process_waits_for_no_connection_to_the_admin_api() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let mut tap = Http1::connect(gateway.admin()).await;
    tap.write("GET /api/tap HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(tap.head().await.0, 200);
    let mut idle = TcpStream::connect(gateway.admin()).await.unwrap();
    gateway.stop().await;
    let mut byte = [0];
    let read = soon(idle.read(&mut byte)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "the connection is closed");
}
