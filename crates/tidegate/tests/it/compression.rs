//! Compressed answers, and requests that come compressed.

use std::io::{Read as _, Write as _};

use serde_json::json;
use tempfile::TempDir;
use tidegate_testkit::client::End;
use tidegate_testkit::web::bytes;
use tidegate_testkit::{Answer, Gateway, Part, Peer, Request, Script, Web, get, post, shop};

const CODINGS: [&str; 3] = ["zstd", "br", "gzip"];

fn undone(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
        other => panic!("{other}"),
    };
    read.unwrap();
    out
}

fn packed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::bulk::compress(bytes, 1).unwrap(),
        other => panic!("{other}"),
    }
}

/// The fields of an answer that say how its body is sent.
fn sent_as(answer: &Answer) -> [String; 5] {
    ["content-encoding", "content-length", "vary", "etag", "content-type"].map(|name| answer.header(name).to_owned())
}

/// An order of some size.
fn large_order(length: usize) -> bytes::Bytes {
    shop::message("Order", json!({"id": 7, "customerName": "Ada Lovelace, ".repeat(length / 14)}))
}

#[tokio::test]
async fn json_is_compressed_for_clients_that_take_it() {
    for length in [5_000, 500_000] {
        let peer = Peer::with("GetOrder", Script::ok(large_order(length))).await;
        let gateway = Gateway::start(&shop::config(peer.address(), ""));
        let plain = gateway.get("/v1/orders/7").await;
        assert_eq!((plain.header("vary"), plain.header("content-encoding")), ("accept-encoding", ""));
        assert!(plain.text().len() > length - 14);
        for coding in CODINGS {
            let asked = get("/v1/orders/7").header("accept-encoding", &format!("{coding}, deflate"));
            let head = Request { method: "HEAD".to_owned(), ..asked.clone() };
            let heads = gateway.send_both(&head).await;
            for (answer, head) in gateway.send_both(&asked).await.iter().zip(heads) {
                assert_eq!((answer.status, answer.end), (200, End::Clean), "{coding}");
                assert_eq!(undone(coding, &answer.body), plain.body, "{coding}");
                assert!(answer.body.len() < plain.body.len() / 5);
                let [said, size, vary, etag, kind] = sent_as(answer);
                assert_eq!([&*said, &*vary, &*etag, &*kind], [coding, "accept-encoding", "", "application/json"]);
                assert_eq!(size, if length < 10_000 { answer.body.len().to_string() } else { String::new() });
                assert_eq!(sent_as(&head), sent_as(answer), "HEAD says what GET would, {coding}");
                assert!(head.body.is_empty());
            }
        }
        let refused = gateway.send(&get("/v1/orders/7").header("accept-encoding", "gzip;q=0, br;q=0, *;q=0")).await;
        assert_eq!((refused.header("content-encoding"), &refused.body), ("", &plain.body));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn small_answers_and_routes_that_do_not_want_it_are_left_alone() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let config = shop::config(peer.address(), "").replace("name: get-order,", "name: get-order, compress: null,");
    let page = "a".repeat(3_000);
    let more = format!("  - {{ name: page, path: /page, respond: {{ text: {page} }} }}\n");
    let gateway = Gateway::start(&config.replace("\n  - { name: watch", &format!("\n{more}  - {{ name: watch")));
    let asked = |target: &str| get(target).header("accept-encoding", "gzip");
    for answer in gateway.send_both(&asked("/page")).await {
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("gzip", "accept-encoding"));
        assert_eq!(undone("gzip", &answer.body), page.as_bytes());
    }
    peer.on("GetOrder", Script::ok(large_order(5_000)));
    let answer = gateway.send(&asked("/v1/orders/7")).await;
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", ""));
    gateway.stop().await;
    let gateway = Gateway::start(&shop::config(peer.address(), ""));
    peer.on("GetOrder", Script::ok(shop::order()));
    let answer = gateway.send(&asked("/v1/orders/7")).await;
    assert_eq!((answer.text(), answer.header("vary")), (shop::ORDER_JSON, ""));
    gateway.stop().await;
}

/// A page of the backend, by path.
fn page(target: &str) -> Vec<Part> {
    let text = "<p>text</p>".repeat(20_000);
    let more = match target {
        "/length" => format!("content-length: {}\r\netag: \"v1\"\r\naccept-ranges: bytes\r\n", text.len()),
        "/coded" => format!("content-length: {}\r\ncontent-encoding: br\r\n", text.len()),
        "/kept" => format!("content-length: {}\r\ncache-control: no-transform\r\n", text.len()),
        "/image" => format!("content-length: {}\r\n", text.len()),
        _ => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunked = format!("{head}{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
            return vec![bytes(&chunked)];
        }
    };
    let kind = if target == "/image" { "image/png" } else { "text/html" };
    vec![bytes(&format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{more}\r\n{text}"))]
}

fn proxied(web: &Web, policy: &str) -> String {
    let address = web.address();
    format!(
        "services:\n  web: {{ endpoints: [\"http://{address}\"]{policy} }}\nroutes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: web }}\n"
    )
}

#[tokio::test]
async fn a_backends_answers_are_compressed_only_if_the_route_says_so() {
    let web = Web::start(|heard| {
        let target = heard.line().split(' ').nth(1).unwrap_or("").to_owned();
        let mut parts = page(&target);
        if heard.line().starts_with("HEAD")
            && let Some(Part::Bytes(answer)) = parts.first_mut()
        {
            let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            answer.truncate(end);
        }
        parts
    })
    .await;
    let text = "<p>text</p>".repeat(20_000).into_bytes();
    let asked = |target: &str| get(target).header("accept-encoding", "gzip");
    let gateway = Gateway::start(&proxied(&web, ""));
    let plain = gateway.send(&asked("/length")).await;
    assert_eq!((plain.header("content-encoding"), plain.header("etag"), plain.header("vary")), ("", "\"v1\"", ""));
    assert_eq!(web.last().field("accept-encoding"), "gzip", "the backend may compress by itself");
    gateway.stop().await;
    let gateway = Gateway::start(&proxied(&web, ", compress: whole"));
    for target in ["/length", "/chunked"] {
        for coding in CODINGS {
            let asked = get(target).header("accept-encoding", coding);
            let head = Request { method: "HEAD".to_owned(), ..asked.clone() };
            let heads = gateway.send_both(&head).await;
            for (answer, head) in gateway.send_both(&asked).await.iter().zip(heads) {
                assert_eq!((answer.status, answer.end), (200, End::Clean), "{target} {coding}");
                assert_eq!(undone(coding, &answer.body), text, "{target} {coding}");
                let etag = if target == "/length" { "W/\"v1\"" } else { "" };
                assert_eq!(sent_as(answer), [coding, "", "accept-encoding", etag, "text/html"]);
                assert_eq!(answer.header("accept-ranges"), "");
                assert_eq!(sent_as(&head), sent_as(answer), "{target} {coding}");
            }
        }
    }
    for target in ["/coded", "/kept", "/image"] {
        for answer in gateway.send_both(&asked(target)).await {
            assert_eq!(
                (answer.header("content-length"), answer.header("vary")),
                (&*text.len().to_string(), ""),
                "{target}"
            );
            assert_eq!(answer.body, text, "{target}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_compressed_stream_holds_no_message_back() {
    let events = || Script::new().message(shop::event(1)).hold().message(shop::event(2)).status(0, "");
    let peer = Peer::with("WatchOrders", events()).await;
    let config = shop::config(peer.address(), "");
    let asked = get("/v1/topics/a").header("accept", "text/event-stream").header("accept-encoding", "gzip");
    let gateway = Gateway::start(&config);
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&asked, true).await;
    assert!(running.head().await.unwrap().1.get("content-encoding").is_none(), "not by itself");
    peer.release(1);
    while running.piece().await.unwrap().is_some() {}
    gateway.stop().await;
    let gateway = Gateway::start(&config.replace("name: watch,", "name: watch, compress: stream,"));
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&asked, true).await;
    let (status, headers) = running.head().await.unwrap();
    assert_eq!(
        (status, &headers["content-encoding"], &headers["vary"]),
        (200, &"gzip".parse().unwrap(), &"accept-encoding".parse().unwrap())
    );
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    let first = "data: {\"sequence\":\"1\"}\n\n";
    while decoder.get_ref().len() < first.len() {
        decoder.write_all(&running.piece().await.unwrap().unwrap()).unwrap();
        decoder.flush().unwrap();
    }
    assert_eq!(decoder.get_ref(), first.as_bytes(), "the second message has not been sent yet");
    peer.release(1);
    while let Some(piece) = running.piece().await.unwrap() {
        decoder.write_all(&piece).unwrap();
    }
    let whole = decoder.finish().unwrap();
    assert_eq!(
        String::from_utf8(whole).unwrap(),
        format!("{first}data: {{\"sequence\":\"2\"}}\n\nevent: end\ndata: {{}}\n\n")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_stays_broken_when_it_is_compressed() {
    let web = Web::start(|_| {
        let text = "<p>text</p>".repeat(2_000);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", text.len() * 2);
        vec![bytes(&head), bytes(&text), Part::Reset]
    })
    .await;
    let gateway = Gateway::start(&proxied(&web, ", compress: whole"));
    for coding in CODINGS {
        for answer in gateway.send_both(&get("/").header("accept-encoding", coding)).await {
            assert_ne!(answer.end, End::Clean, "{coding}");
            assert_eq!(answer.header("content-encoding"), coding);
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_of_requests_are_inflated_before_they_are_read() {
    let mut peer = Peer::with("CreateOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { max_body: 64KiB }"));
    let coded = |coding: &str, body: &[u8]| post("/v1/orders", body).header("content-encoding", coding);
    let name = "Ada ".repeat(10_000);
    let body = json!({ "customerName": name }).to_string();
    for coding in ["gzip", "zstd", "deflate"] {
        for answer in gateway.send_both(&coded(coding, &packed(coding, body.as_bytes()))).await {
            assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON), "{coding}");
            let mut call = peer.call().await;
            assert_eq!(call.text("content-encoding"), "", "the backend gets a message");
            assert_eq!(shop::json("CreateOrderRequest", &call.message().await)["order"]["customer_name"], name);
        }
        let calls = peer.calls();
        // Twenty megabytes of nothing in twenty kilobytes or so.
        let bomb = packed(coding, &vec![b' '; if coding == "zstd" { 20_000_000 } else { 5_000_000 }]);
        for answer in gateway.send_both(&coded(coding, &bomb)).await {
            assert_eq!((answer.status, answer.reason().as_str()), (413, "payload_too_large"), "{coding}");
        }
        let mut cut = packed(coding, body.as_bytes());
        cut.truncate(cut.len() - 3);
        for wrong in [cut.as_slice(), b"{}"] {
            for answer in gateway.send_both(&coded(coding, wrong)).await {
                assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"), "{coding}");
            }
        }
        assert_eq!(peer.calls(), calls, "{coding}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_compressed_upload_is_bounded_message_by_message() {
    let summary = shop::message("ImportSummary", json!({"accepted": 2}));
    let mut peer = Peer::with("Import", Script::new().await_end().message(summary).status(0, "")).await;
    let gateway = Gateway::start(&shop::config(peer.address(), "defaults: { max_body: 1KiB }"));
    let items: String = (0..1_000).map(|at| format!("{{\"item\":{{\"sku\":\"sku-{at}\"}}}}\n")).collect();
    let upload = Request::new("POST", "/v1/batches/b").header("content-type", "application/x-ndjson");
    let answer = gateway.send(&upload.header("content-encoding", "gzip").body(packed("gzip", items.as_bytes()))).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"accepted":2}"#));
    assert_eq!(peer.call().await.messages().await.len(), 1_000);
    gateway.stop().await;
}

#[tokio::test]
async fn a_proxied_body_keeps_its_coding_unless_the_route_undoes_or_reads_it() {
    let web = Web::start(|heard| {
        let said = format!("{}|{}", heard.field("content-encoding"), heard.field("content-length"));
        tidegate_testkit::web::ok(&said)
    })
    .await;
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("body.json"), r#"{ "type": "object", "required": ["id"] }"#).unwrap();
    let config = format!(
        "services:\n  web: {{ endpoints: [\"http://{}\"], max_body: 8KiB }}\nroutes:
  - {{ name: kept, path: /kept, service: web }}
  - {{ name: undone, path: /undone, service: web, decompress: true }}
  - {{ name: schema, path: /schema, service: web, validate: {{ schema: body.json }} }}
",
        web.address()
    );
    let gateway = Gateway::start_in(folder, &config);
    let body = format!("{{\"id\":1,\"text\":\"{}\"}}", "x".repeat(6_000));
    let coded = |target: &str, coding: &str, body: &[u8]| post(target, body).header("content-encoding", coding);
    let gzip = packed("gzip", body.as_bytes());
    for (target, coding) in [("/kept", "gzip"), ("/kept", "br"), ("/undone", "gzip"), ("/schema", "gzip")] {
        for answer in gateway.send_both(&coded(target, coding, &gzip)).await {
            assert_eq!(answer.status, 200, "{target}");
            let keeps = target == "/kept";
            assert_eq!(web.last().body, if keeps { gzip.clone() } else { body.clone().into_bytes() }, "{target}");
            assert_eq!(answer.text().split('|').next().unwrap(), if keeps { coding } else { "" }, "{target}");
        }
    }
    let heard = web.heard().len();
    let large = packed("gzip", " ".repeat(9_000).as_bytes());
    for target in ["/undone", "/schema"] {
        for (coding, body, expected) in
            [("br", gzip.as_slice(), 415), ("gzip", large.as_slice(), 413), ("gzip", b"{}".as_slice(), 400)]
        {
            for answer in gateway.send_both(&coded(target, coding, body)).await {
                assert_eq!(answer.status, expected, "{target} {coding}");
            }
        }
    }
    let invalid = packed("gzip", b"{\"no\":1}");
    let answer = gateway.send(&coded("/schema", "gzip", &invalid)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "validation_failed"));
    assert_eq!(web.heard().len(), heard, "nothing of these was a whole request for the backend");
    gateway.stop().await;
}
