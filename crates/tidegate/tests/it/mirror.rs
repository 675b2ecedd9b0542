//! Copies of requests for another service, whose answers nobody sees.

use tidegate_testkit::client::Http1;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::web::{bytes, ok};
use tidegate_testkit::{Gateway, Part, Peer, Request, Script, Web, eventually, get, post, shop, soon};

fn config(web: &Web, shadow: std::net::SocketAddr, mirror: &str) -> String {
    format!(
        "runtime: {{ workers: 1 }}\nadmin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  web: {{ address: \"http://{}\" }}\n  shadow: {{ address: \"http://{shadow}\" }}\n\
         routes:\n  - {{ name: api, path: \"/{{rest=**}}\", service: web, max_body: 1MiB, mirror: {{ service: shadow{mirror} }} }}\n",
        web.address()
    )
}

/// Waits until this many copies have come to `outcome`.
async fn came_to(gateway: &Gateway, outcome: &str, count: usize) {
    let end = format!("outcome=\"{outcome}\"}} {count}\n");
    eventually(&end, async || {
        let page = gateway.ask_admin(&get("/metrics")).await.text().to_owned();
        page.lines()
            .any(|line| line.starts_with("tidegate_mirrored_requests_total") && format!("{line}\n").ends_with(&end))
    })
    .await;
}

#[tokio::test]
async fn a_copy_is_the_request_with_a_mark_and_its_answer_is_nobodys() {
    let web = Web::start(|heard| ok(&heard.body.len().to_string())).await;
    let shadow = Web::start(|_| vec![bytes("HTTP/1.1 500 Broken\r\ncontent-length: 6\r\n\r\nshadow")]).await;
    let gateway = Gateway::start(&config(&web, shadow.address(), ""));
    let request = post("/a/b?c=d", "12345").header("x-tidegate-mirror", "forged").header("host", "shop.test");
    let mut http2 = gateway.http2().await;
    for number in 0..2 {
        let answer = if number == 0 { gateway.send(&request).await } else { http2.send(&request).await };
        assert_eq!((answer.status, answer.text()), (200, "5"));
        came_to(&gateway, "answered", number + 1).await;
        let (original, copy) = (web.last(), shadow.last());
        assert_eq!((copy.line(), copy.body.as_slice()), (original.line(), &b"12345"[..]));
        for name in ["host", "x-request-id", "content-type", "content-length", "x-forwarded-for"] {
            assert_eq!(copy.field(name), original.field(name), "{name}");
        }
        assert_eq!(
            (original.field("x-tidegate-mirror"), copy.field("x-tidegate-mirror")),
            (String::new(), "true".into())
        );
    }
    // In chunks, and without a body.
    let mut http1 = gateway.http1().await;
    http1
        .write("POST /u HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
        .await;
    assert_eq!(http1.answer().await.text(), "5");
    came_to(&gateway, "answered", 3).await;
    assert_eq!(shadow.last().body, b"abcde");
    assert_eq!(gateway.get("/none").await.text(), "0");
    came_to(&gateway, "answered", 4).await;
    assert_eq!((shadow.last().line(), shadow.last().body.len()), ("GET /none HTTP/1.1", 0));
    // The client's side knows nothing of it.
    let page = gateway.ask_admin(&get("/metrics")).await.text().to_owned();
    assert!(
        page.contains("tidegate_mirrored_requests_total{route=\"api\",service=\"shadow\",outcome=\"answered\"} 4\n")
    );
    assert!(!page.contains("route=\"api\",service=\"shadow\",method"), "{page}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_copied_and_counted() {
    let web = Web::start(|heard| ok(&heard.body.len().to_string())).await;
    let shadow = Web::start(|_| ok("")).await;
    let gateway = Gateway::start(&config(&web, shadow.address(), ""));
    let large = vec![b'x'; 65_537];
    assert_eq!(gateway.send(&post("/", &large)).await.text(), "65537");
    came_to(&gateway, "not_repeatable", 1).await;
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&Request::new("PUT", "/"), false).await;
    running.write(&large, true).await;
    assert_eq!(running.answer().await.text(), "65537");
    came_to(&gateway, "not_repeatable", 2).await;
    let mut http1 = gateway.http1().await;
    http1.write("POST /u HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await;
    drop(http1);
    let mut http1 = Http1::connect(gateway.address()).await;
    http1.write("POST /u HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    eventually("the request begins", async || web.open() > 0).await;
    drop(http1);
    came_to(&gateway, "unfinished", 1).await;
    assert!(shadow.heard().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_mirror_that_hangs_or_is_down_is_felt_by_nobody() {
    let web = Web::start(|_| ok("fine")).await;
    let shadow = Web::start(|_| vec![Part::Wait, Part::Close]).await;
    let gateway = Gateway::start(&config(&web, shadow.address(), ", max_in_flight: 2"));
    let mut http1 = gateway.http1().await;
    for _ in 0..5 {
        assert_eq!(http1.send(&get("/")).await.text(), "fine");
    }
    came_to(&gateway, "full", 3).await;
    eventually("two copies are sent", async || shadow.heard().len() == 2).await;
    shadow.release();
    shadow.release();
    came_to(&gateway, "failed", 2).await;
    gateway.apply(&config(&web, closed_port(), ", max_in_flight: 2")).await;
    assert_eq!(http1.send(&get("/")).await.text(), "fine");
    came_to(&gateway, "failed", 3).await;
    gateway.stop().await;
}

/// Uploads that have begun and do not go on take no place of a copy, whether they have sent nothing or a part.
#[tokio::test]
async fn uploads_that_wait_for_their_clients_keep_nobody_from_the_mirror() {
    let web = Web::start(|_| ok("fine")).await;
    let shadow = Web::start(|_| ok("")).await;
    let gateway = Gateway::start(&config(&web, shadow.address(), ", max_in_flight: 1"));
    let mut idle = Vec::new();
    for part in ["", "2\r\nab\r\n"] {
        let mut http1 = Http1::connect(gateway.address()).await;
        http1.write(&format!("POST /u HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{part}")).await;
        idle.push(http1);
        eventually("the upload is on its way", async || web.open() == idle.len()).await;
    }
    assert_eq!(gateway.get("/read").await.text(), "fine");
    came_to(&gateway, "answered", 1).await;
    assert_eq!(gateway.send(&post("/write", "body")).await.text(), "fine");
    came_to(&gateway, "answered", 2).await;
    // They are copied when they are whole.
    for (copied, mut http1) in idle.into_iter().enumerate() {
        http1.write("1\r\nc\r\n0\r\n\r\n").await;
        assert_eq!(http1.answer().await.text(), "fine");
        came_to(&gateway, "answered", copied + 3).await;
    }
    assert_eq!(shadow.last().body, b"abc");
    gateway.stop().await;
}

/// Parts of uploads are kept up to a bound. What comes at once does not count, so it is copied still.
#[tokio::test]
async fn what_is_being_collected_is_bounded() {
    let web = Web::start(|_| ok("fine")).await;
    let shadow = Web::start(|_| ok("")).await;
    let gateway = Gateway::start(&config(&web, shadow.address(), ""));
    let part = "x".repeat(60_000);
    let mut uploads = Vec::new();
    // 18 MB, and 16 MiB may be kept.
    for _ in 0..300 {
        let mut http1 = Http1::connect(gateway.address()).await;
        http1
            .write(&format!("POST /u HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nea60\r\n{part}\r\n"))
            .await;
        uploads.push(http1);
    }
    let passed_over = "tidegate_mirrored_requests_total{route=\"api\",service=\"shadow\",outcome=\"full\"} ";
    eventually("uploads are passed over", async || {
        let page = gateway.ask_admin(&get("/metrics")).await.text().to_owned();
        page.lines().any(|line| line.strip_prefix(passed_over).is_some_and(|count| count != "0"))
    })
    .await;
    assert_eq!(gateway.send(&post("/write", "body")).await.text(), "fine");
    came_to(&gateway, "answered", 1).await;
    drop(uploads);
    gateway.stop().await;
}

#[tokio::test]
async fn a_part_of_the_requests_is_copied() {
    let web = Web::start(|_| ok("fine")).await;
    let shadow = Web::start(|_| ok("")).await;
    let gateway = Gateway::start(&config(&web, shadow.address(), ", ratio: 0.1"));
    let mut http1 = gateway.http1().await;
    for _ in 0..100 {
        assert_eq!(http1.send(&get("/")).await.text(), "fine");
    }
    eventually("a tenth is copied", async || shadow.heard().len() >= 9).await;
    gateway.stop().await;
    assert!(shadow.heard().len() <= 11, "{}", shadow.heard().len());
}

#[tokio::test]
async fn calls_are_copied_transcoded_and_as_they_are() {
    let shop = Peer::with("GetOrder", Script::ok(shop::order())).await;
    shop.on("WatchOrders", Script::new().head().message(shop::event(1)).status(0, ""));
    let mut shadow = Peer::with("GetOrder", Script::fails(13, "broken")).await;
    shadow.on("WatchOrders", Script::new().head().message(shop::event(1)).status(0, ""));
    let yaml = format!(
        "admin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  shop: {{ address: \"{}\", descriptors: shop.pb }}\n  shadow: {{ address: \"grpc://{}\", descriptors: shop.pb }}\nroutes:\n\
         \x20 - {{ name: json, path: \"/orders/{{id}}\", method: GET, service: shop, grpc: shop.v1.OrderService/GetOrder, mirror: {{ service: shadow }} }}\n\
         \x20 - {{ name: watch, path: /events, method: GET, service: shop, grpc: shop.v1.OrderService/WatchOrders, mirror: {{ service: shadow }} }}\n\
         \x20 - {{ name: native, path: \"/shop.v1.OrderService/{{method}}\", service: shop, protocol: grpc, mirror: {{ service: shadow }} }}\n",
        shop.address(),
        shadow.address()
    );
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.get("/orders/7").await.status, 200);
    let mut copy = soon(shadow.call()).await;
    assert_eq!(copy.messages().await.len(), 1);
    assert_eq!(copy.text("x-tidegate-mirror"), "true");
    assert_eq!(gateway.get("/events").await.status, 200);
    assert_eq!(soon(shadow.call()).await.messages().await.len(), 1);
    let native = Request::new("POST", "/shop.v1.OrderService/GetOrder");
    let native = native.header("content-type", "application/grpc").header("te", "trailers").body([0; 5]);
    let answer = gateway.http2().await.send(&native).await;
    assert_eq!((answer.status, answer.trailer("grpc-status")), (200, "0"));
    let mut copy = soon(shadow.call()).await;
    assert_eq!(copy.messages().await.len(), 1);
    assert_eq!(copy.text("x-tidegate-mirror"), "true");
    came_to(&gateway, "answered", 1).await;
    gateway.stop().await;
}
