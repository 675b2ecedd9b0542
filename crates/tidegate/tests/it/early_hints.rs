//! Early hints (103) of backends on their way to clients.

use h2::server;
use http::{Response, StatusCode};
use tidegate_testkit::web::bytes;
use tidegate_testkit::{Gateway, Part, Web, get, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const HINTED: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>\r\nserver: backend\r\nset-cookie: a=1\r\n\r\n";

fn config(web: &Web, route: &str) -> String {
    format!(
        "services:\n  web: {{ address: \"http://{}\" }}\nroutes:\n  - {{ name: api, path: \"/{{rest=**}}\", service: web{route} }}\n",
        web.address()
    )
}

/// Hints, and the answer once it is released.
async fn hinting() -> Web {
    Web::start(|heard| match heard.line().split(' ').nth(1).unwrap() {
        "/many" => {
            let mut parts: Vec<Part> =
                (0..3).map(|n| bytes(&format!("HTTP/1.1 103 Early Hints\r\nlink: </{n}>\r\n\r\n"))).collect();
            parts.extend([Part::Wait, bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")]);
            parts
        }
        "/large" => {
            let link = "x".repeat(9 * 1024);
            vec![bytes(&format!(
                "HTTP/1.1 103 Early Hints\r\nlink: <{link}>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            ))]
        }
        "/flood" => vec![bytes(&HINTED.repeat(9)), bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")],
        "/at-once" => vec![bytes(&format!("{HINTED}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))],
        _ => vec![bytes(HINTED), Part::Wait, bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")],
    })
    .await
}

#[tokio::test]
async fn clients_of_both_versions_get_what_is_of_use_to_them_before_the_answer() {
    let web = hinting().await;
    let gateway = Gateway::start(&config(&web, ", early_hints: true"));
    let mut http1 = gateway.http1().await;
    for _ in 0..2 {
        http1.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let (status, fields) = http1.any_head().await;
        let links: Vec<_> = fields.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
        assert_eq!((status, links), (103, vec!["</a.css>; rel=preload", "</b.js>"]));
        assert_eq!(fields.len(), 2, "nothing else: {fields:?}");
        // The backend answers only now.
        web.release();
        let answer = http1.answer().await;
        assert_eq!((answer.status, answer.text(), answer.header("link")), (200, "ok", ""));
    }
    let mut http2 = gateway.http2().await;
    let mut one = http2.start(&get("/"), true).await;
    let mut many = http2.start(&get("/many"), true).await;
    let (status, fields) = one.hint().await.unwrap();
    assert_eq!(
        (status, fields.len(), fields.get("link").unwrap().to_str().unwrap()),
        (103, 2, "</a.css>; rel=preload")
    );
    for n in 0..3 {
        let (status, fields) = many.hint().await.unwrap();
        assert_eq!((status, fields.get("link").unwrap().to_str().unwrap()), (103, format!("</{n}>").as_str()));
    }
    web.release();
    web.release();
    for running in [&mut one, &mut many] {
        let answer = running.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "ok"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn hints_never_stand_in_the_way_of_answers() {
    let web = hinting().await;
    let gateway = Gateway::start(&config(&web, ", early_hints: true"));
    // Requests that come together keep their order, whatever becomes of the hints.
    let mut http1 = gateway.http1().await;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    http1.write(["/at-once", "/", "/many", "/at-once"].map(request).concat()).await;
    for _ in 0..2 {
        web.release();
    }
    for _ in 0..4 {
        let answer = http1.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "ok"));
    }
    // A client of HTTP/1.0 knows no interim answers.
    let mut old = TcpStream::connect(gateway.address()).await.unwrap();
    old.write_all(b"GET /at-once HTTP/1.0\r\nhost: a\r\n\r\n").await.unwrap();
    let mut text = String::new();
    soon(old.read_to_string(&mut text)).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("ok"), "{text}");
    // Too many are a fault of the backend, too large ones are dropped.
    for answer in gateway.send_both(&get("/flood")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream_error"));
    }
    let mut http1 = gateway.http1().await;
    http1.write(request("/large")).await;
    assert_eq!(http1.any_head().await.0, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn without_the_key_or_against_the_rules_of_the_route_there_are_none() {
    let web = hinting().await;
    for route in ["", ", early_hints: false", ", early_hints: true, response_headers: { remove: [link] }"] {
        let gateway = Gateway::start(&config(&web, route));
        let mut http1 = gateway.http1().await;
        http1.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        web.release();
        assert_eq!(http1.any_head().await.0, 200, "{route}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_both() {
    let web = hinting().await;
    let gateway = Gateway::start(&config(&web, ", early_hints: true"));
    let mut http1 = gateway.http1().await;
    http1.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
    assert_eq!(http1.any_head().await.0, 100);
    http1.write("hi").await;
    assert_eq!(http1.any_head().await.0, 103);
    web.release();
    assert_eq!(http1.answer().await.text(), "ok");
    gateway.stop().await;
}

#[tokio::test]
async fn backends_of_http2_may_hint_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let backend = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = server::handshake(socket).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let hint = Response::builder().status(StatusCode::EARLY_HINTS).header("link", "</a.css>").body(()).unwrap();
            respond.send_informational(hint).unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        }
    });
    let yaml = format!(
        "services:\n  web: {{ address: \"http://{address}\", http2: true }}\nroutes:\n  - {{ name: api, path: /, service: web, early_hints: true }}\n"
    );
    let gateway = Gateway::start(&yaml);
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&get("/"), true).await;
    // Hint and answer may be read in one go, and then the hint is of no use any more.
    if let Some((status, fields)) = running.hint().await {
        assert_eq!((status, fields.get("link").unwrap().to_str().unwrap()), (103, "</a.css>"));
    }
    assert_eq!(soon(running.head()).await.unwrap().0, 200);
    gateway.stop().await;
    backend.abort();
}
