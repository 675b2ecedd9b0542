//! Requests passed on to HTTP/1.1 backends, and their answers back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_testkit::client::{End, Http1};
use tidegate_testkit::web::{bytes, ok};
use tidegate_testkit::{Gateway, Heard, Part, Request, Web, delete, eventually, get, post, settled, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A gateway in front of `addresses`, with `policy` on its one service.
fn config(addresses: &[std::net::SocketAddr], policy: &str) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("\"http://{address}\"")).collect();
    format!(
        "services:
  web: {{ endpoints: [{}]{policy} }}
routes:
  - {{ name: all, path: \"/{{rest=**}}\", service: web }}
  - {{ name: moved, path: \"/old/{{id}}/{{rest=**}}\", service: web, rewrite: {{ path: \"/new/{{rest}}/{{id}}\" }} }}
  - {{ name: kept, path: \"/kept/{{rest=**}}\", service: web, escaped_slashes: keep }}
",
        endpoints.join(", ")
    )
}

async fn gateway(web: &Web, policy: &str) -> Gateway {
    Gateway::start(&config(&[web.address()], policy))
}

#[tokio::test]
async fn a_request_passes_as_it_is_but_for_what_is_not_the_clients_to_say() {
    let web = Web::start(|_| ok("hello")).await;
    let rules = ", request_headers: { set: { x-edge: tidegate }, remove: [x-debug] }, response_headers: { add: { x-more: \"1\" } }";
    let gateway = gateway(&web, rules).await;
    let request = get("/a/b%41/c%20d?q=%2F&r")
        .header("accept", "text/plain")
        .header("x-debug", "1")
        .header("x-user-id", "7")
        .header("x-forwarded-for", "1.2.3.4")
        .header("cookie", "a=1");
    for (number, answer) in gateway.send_both(&request).await.iter().enumerate() {
        assert_eq!((answer.status, answer.text()), (200, "hello"));
        assert_eq!((answer.header("server"), answer.header("x-more")), ("tidegate", "1"));
        assert_eq!(answer.header("content-length"), "5");
        let heard = &web.heard()[number];
        assert_eq!(heard.line(), "GET /a/bA/c%20d?q=%2F&r HTTP/1.1");
        assert_eq!(heard.field("x-request-id"), answer.header("x-request-id"));
        assert_eq!((heard.field("accept"), heard.field("cookie")), ("text/plain".to_owned(), "a=1".to_owned()));
        assert_eq!(heard.field("x-forwarded-for"), "127.0.0.1");
        assert_eq!(heard.field("x-forwarded-proto"), "http");
        assert_eq!(heard.field("x-edge"), "tidegate");
        for gone in ["x-debug", "x-user-id", "connection", "transfer-encoding", "content-length"] {
            assert_eq!(heard.field(gone), "", "{gone}");
        }
        assert!(!heard.field("host").is_empty());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_flow_with_a_length_or_in_chunks() {
    let web = Web::start(|heard| ok(&heard.body.len().to_string())).await;
    let gateway = gateway(&web, ", max_body: 8MiB").await;
    for length in [0, 1, 5_000, 3_000_000] {
        for answer in gateway.send_both(&post("/upload", vec![b'x'; length])).await {
            assert_eq!((answer.status, answer.text()), (200, length.to_string().as_str()));
            assert_eq!(web.last().field("content-length"), length.to_string());
        }
    }
    let mut http1 = gateway.http1().await;
    http1.write("POST /u HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    http1.write("3;x=y\r\ncde\r\n0\r\nx-trailer: gone\r\n\r\n").await;
    assert_eq!(http1.answer().await.text(), "5");
    let heard = web.last();
    assert_eq!((heard.body.as_slice(), heard.field("transfer-encoding").as_str()), (&b"abcde"[..], "chunked"));
    let mut http2 = gateway.http2().await;
    let mut running = http2.start(&Request::new("PUT", "/u"), false).await;
    running.write("abc", false).await;
    running.write("de", true).await;
    assert_eq!(running.answer().await.text(), "5");
    assert_eq!(web.last().body, b"abcde");
    gateway.stop().await;
}

#[tokio::test]
async fn answers_come_in_every_framing() {
    let web = Web::start(|heard| match heard.line().split(' ').nth(1).unwrap() {
        "/chunked" => vec![
            bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            bytes("2\r\nde\r\n0\r\n\r\n"),
        ],
        "/close" => vec![bytes("HTTP/1.1 200 OK\r\n\r\nabc"), bytes("de"), Part::Close],
        "/old" => vec![bytes("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nabcde"), Part::Close],
        "/none" => vec![bytes("HTTP/1.1 204 No Content\r\n\r\n")],
        "/same" => vec![bytes("HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\ncontent-length: 5\r\n\r\n")],
        "/interim" => vec![
            bytes("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
            bytes("HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nabcde"),
        ],
        "/error" => vec![bytes("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 5\r\n\r\nabcde")],
        _ => ok("abcde"),
    })
    .await;
    let gateway = gateway(&web, "").await;
    for (path, status, body) in [
        ("/plain", 200, "abcde"),
        ("/chunked", 200, "abcde"),
        ("/close", 200, "abcde"),
        ("/old", 200, "abcde"),
        ("/none", 204, ""),
        ("/same", 304, ""),
        ("/interim", 201, "abcde"),
        ("/error", 503, "abcde"),
    ] {
        for answer in gateway.send_both(&get(path)).await {
            assert_eq!((answer.status, answer.text(), answer.end), (status, body, End::Clean), "{path}");
            assert_eq!(answer.header("connection"), "");
        }
    }
    for answer in gateway.send_both(&Request::new("HEAD", "/plain")).await {
        assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, "5", 0));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn connections_are_used_again_and_closed_ones_are_not() {
    let web = Web::start(|heard| if heard.number == 2 { vec![ok("x").remove(0), Part::Close] } else { ok("x") }).await;
    let gateway = gateway(&web, "").await;
    let mut http1 = gateway.http1().await;
    for _ in 0..7 {
        assert_eq!(http1.send(&get("/")).await.status, 200);
    }
    // A connection carries three requests, so seven need three connections.
    let heard: Vec<_> = web.heard().iter().map(|heard| (heard.connection, heard.number)).collect();
    assert_eq!(heard, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_lost_as_it_is_used_again_costs_only_what_must_not_be_sent_twice() {
    // Each connection answers once, and is closed when the second request has come.
    let web = Web::start(|heard| if heard.number == 0 { ok("x") } else { vec![Part::Close] }).await;
    let gateway = gateway(&web, "").await;
    let mut http1 = gateway.http1().await;
    assert_eq!(http1.send(&get("/0")).await.status, 200);
    let idempotent = [get("/1"), delete("/2"), Request::new("PUT", "/3").body("abc")];
    for request in idempotent {
        let answer = http1.send(&request).await;
        assert_eq!((answer.status, answer.text()), (200, "x"), "{}", request.target);
    }
    assert_eq!(web.last().body, b"abc", "the body was sent again");
    let answer = http1.send(&post("/4", "{}")).await;
    assert_eq!((answer.status, answer.reason()), (502, "upstream_reset".to_owned()));
    let posts = web.heard().iter().filter(|heard| heard.line().starts_with("POST")).count();
    assert_eq!(posts, 1);
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_cut_anywhere_is_never_passed_on_as_whole() {
    const ANSWERS: [&str; 2] = [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n",
    ];
    let web = Web::start(|heard: &Heard| {
        let path = heard.line().split(' ').nth(1).unwrap();
        let (answer, cut) = path[1..].split_once('/').unwrap();
        let text = ANSWERS[answer.parse::<usize>().unwrap()];
        vec![bytes(&text[..cut.parse().unwrap()]), Part::Close]
    })
    .await;
    let gateway = gateway(&web, "").await;
    for (number, text) in ANSWERS.iter().enumerate() {
        for cut in 0..=text.len() {
            for answer in gateway.send_both(&get(&format!("/{number}/{cut}"))).await {
                let whole = answer.end == End::Clean && answer.status == 200;
                assert_eq!(whole, cut == text.len(), "{number} {cut}: {answer:?}");
                if whole {
                    assert_eq!(answer.text(), "0123456789");
                }
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_refused() {
    const ANSWERS: [&str; 6] = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nabcde",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 999 Ok\r\ncontent-length: 0\r\n\r\n",
        "hello",
        "HTTP/1.1 200 OK\r\na : b\r\ncontent-length: 0\r\n\r\n",
    ];
    let web = Web::start(|heard| {
        let answer: usize = heard.line().split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let more = if answer == ANSWERS.len() { "HTTP/1.1 100 Continue\r\n\r\n".repeat(9) } else { String::new() };
        vec![bytes(ANSWERS.get(answer).copied().unwrap_or(&more)), Part::Close]
    })
    .await;
    let gateway = gateway(&web, "").await;
    for number in 0..=ANSWERS.len() {
        for answer in gateway.send_both(&get(&format!("/{number}"))).await {
            let reason = answer.reason();
            assert_eq!(answer.status, 502, "{number}");
            assert!(["upstream_error", "upstream_reset"].contains(&reason.as_str()), "{number}: {reason}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_belong_to_nobody() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let web =
        Web::start(move |heard| if heard.line().contains("first") { vec![bytes(answer)] } else { ok("own") }).await;
    let gateway = gateway(&web, "").await;
    let mut http1 = gateway.http1().await;
    assert_eq!(http1.send(&get("/first")).await.text(), "x");
    assert_eq!(http1.send(&get("/second")).await.text(), "own");
    assert_eq!(web.last().connection, 1);
    gateway.stop().await;
}

#[tokio::test]
async fn paths_are_canonical_and_may_be_rewritten() {
    let web = Web::start(|_| ok("x")).await;
    let gateway = gateway(&web, "").await;
    for (path, status, seen) in [
        ("/old/7/a/b%20c?x=1", 200, "/new/a/b%20c/7?x=1"),
        ("/%61", 200, "/a"),
        ("/a%2Fb", 400, ""),
        ("/a%5cb", 400, ""),
        ("/kept/a%2fb", 200, "/kept/a%2fb"),
        ("/a/../b", 400, ""),
        ("/a//b", 400, ""),
        ("//", 400, ""),
        ("/a/", 200, "/a/"),
    ] {
        let before = web.heard().len();
        for answer in gateway.send_both(&get(path)).await {
            assert_eq!(answer.status, status, "{path}");
        }
        let heard = web.heard().split_off(before);
        let seen = (status == 200).then(|| format!("GET {seen} HTTP/1.1"));
        assert!(heard.iter().all(|heard| Some(heard.line()) == seen.as_deref()), "{path}: {heard:?}");
        assert_eq!(heard.len(), if status == 200 { 2 } else { 0 }, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn slashes_are_merged_for_all_that_look_at_a_path() {
    let web = Web::start(|_| ok("x")).await;
    let more = "  - { name: secret, path: \"/admin/{rest=**}\", service: web, auth: { providers: [p] } }\n\
                auth: { providers: { p: { type: api_key, keys_file: keys.json } } }\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), "{}").unwrap();
    let yaml = format!("merge_slashes: true\n{}{more}", config(&[web.address()], ""));
    let gateway = Gateway::start_in(folder, &yaml);
    for (path, status, seen) in [
        ("//a///b//?x=//", 200, "/a/b/?x=//"),
        ("/old//7///a//b", 200, "/new/a/b/7"),
        ("//kept//a%2fb", 200, "/kept/a%2fb"),
        // What decides looks at what is sent.
        ("//admin//x", 401, ""),
        ("/%61dmin//x", 401, ""),
        ("/a//../b", 400, ""),
        ("/a//%2e%2e//b", 400, ""),
        ("//./a", 400, ""),
        ("/a//b%2Fc", 400, ""),
        ("/a//%00", 400, ""),
    ] {
        let before = web.heard().len();
        for answer in gateway.send_both(&get(path)).await {
            assert_eq!(answer.status, status, "{path}");
        }
        let heard: Vec<_> = web.heard().split_off(before).iter().map(|heard| heard.line().to_owned()).collect();
        let seen = vec![format!("GET {seen} HTTP/1.1"); if status == 200 { 2 } else { 0 }];
        assert_eq!(heard, seen, "{path}");
    }
    let explained = gateway.explain(&get("//a//b"));
    assert_eq!((explained.request.path.as_str(), explained.matched.as_deref()), ("/a/b", Some("all")));
    let merges = explained.policies.iter().find(|policy| policy.value == serde_json::json!({"merge_slashes": true}));
    assert!(merges.is_some_and(|policy| policy.origin.line.is_some()));
    // A reload takes it back.
    let yaml = yaml.replace("merge_slashes: true", "merge_slashes: false");
    gateway.apply(&yaml).await;
    let answer = gateway.get("//a").await;
    assert_eq!((answer.status, answer.json()["detail"].as_str()), (400, Some("malformed path")));
    assert_eq!(gateway.explain(&get("//a")).would_answer.map(|refusal| refusal.status), Some(400));
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_never_completed() {
    let web = Web::start(|_| ok("x")).await;
    let gateway = gateway(&web, ", max_body: 1000B").await;
    for answer in gateway.send_both(&post("/", vec![b'x'; 1001])).await {
        assert_eq!((answer.status, answer.reason()), (413, "payload_too_large".to_owned()));
    }
    assert_eq!(web.connections(), 0, "the length was known");
    let mut http1 = gateway.http1().await;
    http1.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..11 {
        http1.write(format!("64\r\n{}\r\n", "x".repeat(100))).await;
    }
    http1.write("0\r\n\r\n").await;
    assert_eq!(http1.answer().await.status, 413);
    assert!(http1.is_closed().await);
    eventually("the backend's connection is closed", async || web.open() == 0).await;
    assert!(web.heard().is_empty(), "no whole request");
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_may_answer_before_it_has_read_everything() {
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = web.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut socket, _) = web.accept().await.unwrap();
        let mut some = [0; 1024];
        let _read = socket.read(&mut some).await.unwrap();
        socket.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    });
    let gateway = Gateway::start(&config(&[address], ", max_body: 8MiB"));
    let mut http1 = gateway.http1().await;
    http1.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000000\r\n\r\nabc").await;
    let answer = http1.answer().await;
    assert_eq!((answer.status, answer.text()), (403, "no"));
    serving.await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn what_takes_too_long_ends() {
    let web = Web::start(|heard| {
        if heard.line().contains("silent") {
            return vec![Part::Wait];
        }
        vec![bytes("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234"), Part::Wait]
    })
    .await;
    let gateway = gateway(&web, ", timeout: 1s, stream_idle_timeout: 500ms").await;
    for answer in gateway.send_both(&get("/silent")).await {
        assert_eq!((answer.status, answer.reason()), (504, "upstream_timeout".to_owned()));
    }
    for answer in gateway.send_both(&get("/half")).await {
        assert_eq!((answer.status, answer.text()), (200, "01234"));
        assert_ne!(answer.end, End::Clean);
    }
    eventually("the backend's connections are closed", async || web.open() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_lives_past_the_timeout_and_is_passed_on_as_it_comes() {
    let web = Web::start(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        vec![bytes(&format!("{head}9\r\ndata: 1\n\n\r\n")), Part::Wait, bytes("9\r\ndata: 2\n\n\r\n"), Part::Wait]
    })
    .await;
    let gateway = gateway(&web, ", timeout: 1s").await;
    let mut http1 = gateway.http1().await;
    http1.write("GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(http1.head().await.0, 200);
    http1.until("data: 1\n\n").await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    web.release();
    http1.until("data: 2\n\n").await;
    drop(http1);
    eventually("the backend is told that the client has gone", async || web.open() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_backend() {
    let web = Web::start(|_| vec![Part::Wait]).await;
    let gateway = gateway(&web, "").await;
    let mut http1 = gateway.http1().await;
    http1.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the request is there", async || web.heard().len() == 1).await;
    drop(http1);
    eventually("the backend's connection is closed", async || web.open() == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_down_is_replaced_and_found_again() {
    let down = tidegate_testkit::peer::closed_port();
    let web = Web::start(|_| ok("other")).await;
    let gateway = Gateway::start(&config(&[down, web.address()], ""));
    for _ in 0..20 {
        let answer = gateway.send(&post("/", "{}")).await;
        assert_eq!((answer.status, answer.text()), (200, "other"), "nothing was sent, so even a POST may go elsewhere");
    }
    gateway.stop().await;

    let gateway = Gateway::start(&config(&[down], ""));
    for answer in gateway.send_both(&get("/")).await {
        assert_eq!((answer.status, answer.reason()), (503, "connect_failed".to_owned()));
        assert!(!answer.header("retry-after").is_empty());
    }
    let _web = Web::start_at(down, |_| ok("back")).await;
    eventually("it is back", async || gateway.get("/").await.status == 200).await;
    gateway.stop().await;
}

#[tokio::test]
async fn expectations_are_met_by_the_gateway() {
    let web = Web::start(|heard| ok(&heard.body.len().to_string())).await;
    let gateway = gateway(&web, ", max_body: 1000B").await;
    let mut http1 = gateway.http1().await;
    http1.write("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    assert_eq!(http1.any_head().await.0, 100);
    http1.write("abc").await;
    assert_eq!(http1.answer().await.text(), "3");
    assert_eq!(web.last().field("expect"), "");
    let mut http1 = gateway.http1().await;
    http1.write("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3000\r\n\r\n").await;
    assert_eq!(http1.any_head().await.0, 413);
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_is_broken_where_it_begins_reaches_no_backend() {
    let web = Web::start(|_| ok("hello")).await;
    let gateway = gateway(&web, "").await;
    for chunks in ["+3\r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n"]
    {
        let mut http1 = gateway.http1().await;
        http1.write(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
        let answer = http1.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"), "{chunks:?}");
    }
    assert_eq!(web.connections(), 0);
    gateway.stop().await;
}

/// For a client of HTTP/1.0 an answer of unknown length ends with its connection, so one that is broken off must not end the
/// connection as usual.
#[tokio::test]
async fn a_part_of_an_answer_is_not_the_whole_for_old_clients() {
    let web = Web::start(|heard| {
        let whole = heard.line().contains("/whole");
        let end = if whole { bytes("0\r\n\r\n") } else { Part::Close };
        vec![bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"), end]
    })
    .await;
    let gateway = gateway(&web, "").await;
    for (path, whole) in [("/whole", true), ("/part", false), ("/whole", true)] {
        let mut client = TcpStream::connect(gateway.address()).await.unwrap();
        client.write_all(format!("GET {path} HTTP/1.0\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = soon(client.read_to_end(&mut answer)).await;
        assert_eq!(end.is_ok(), whole, "{path}: {end:?}");
        assert!(!whole || answer.ends_with(b"\r\n\r\nabc"), "{}", String::from_utf8_lossy(&answer));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn trailers_of_an_answer_reach_who_takes_them() {
    let web = Web::start(|_| {
        vec![bytes(
            "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\n\r\n",
        )]
    })
    .await;
    let gateway = gateway(&web, "").await;
    let answer = gateway.http2().await.send(&get("/")).await;
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("a", "7"));
    gateway.stop().await;
}

/// A backend cannot get a header past the rules by sending it behind the body.
#[tokio::test]
async fn what_a_route_removes_is_removed_from_trailers_too() {
    let web = Web::start(|_| {
        vec![bytes(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\nx-secret: s\r\nx-set: 1\r\n\r\n",
        )]
    })
    .await;
    let rules = ", response_headers: { remove: [x-secret], set: { x-set: ours } }";
    let gateway = gateway(&web, rules).await;
    let answer = gateway.http2().await.send(&get("/")).await;
    assert_eq!((answer.text(), answer.trailer("x-sum"), answer.header("x-set")), ("a", "7", "ours"));
    assert_eq!((answer.trailer("x-secret"), answer.trailer("x-set")), ("", ""));
    gateway.stop().await;
}

/// A body that no buffers could take in.
const LARGE: usize = 64 << 20;

/// More than may be on its way while nobody reads: 256 KiB here, and what the system takes in on two connections, which it
/// lets grow for whoever reads quickly.
const ON_ITS_WAY: usize = 32 << 20;

/// Writes [`LARGE`] bytes, counting them as the system takes them.
async fn write_large(to: &mut TcpStream, taken: &AtomicUsize) {
    let piece = vec![b'x'; 64 * 1024];
    while taken.load(Ordering::SeqCst) < LARGE {
        taken.fetch_add(to.write(&piece).await.unwrap(), Ordering::SeqCst);
    }
}

/// Reads up to and with the end of a head, and nothing behind it.
async fn read_head(from: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(from.read_u8()).await.unwrap());
    }
}

/// Reads [`LARGE`] bytes.
async fn read_large(from: &mut TcpStream) {
    let (mut left, mut space) = (LARGE, vec![0; 1 << 20]);
    while left > 0 {
        let read = soon(from.read(&mut space)).await.unwrap();
        assert!(read > 0, "{left} bytes are missing");
        left -= read;
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_the_backend_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&config(&[listener.local_addr().unwrap()], ""));
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut backend, _) = soon(listener.accept()).await.unwrap();
    read_head(&mut backend).await;
    backend.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes()).await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let writing = tokio::spawn(async move { write_large(&mut backend, &counted).await });
    let taken = settled(|| sent.load(Ordering::SeqCst)).await;
    assert!(taken < ON_ITS_WAY, "{taken}");
    read_head(&mut client).await;
    read_large(&mut client).await;
    soon(writing).await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_reads_nothing_holds_the_client_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(&config(&[listener.local_addr().unwrap()], ", max_body: 64MiB"));
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client
        .write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let writing = tokio::spawn(async move {
        write_large(&mut client, &counted).await;
        client
    });
    let (mut backend, _) = soon(listener.accept()).await.unwrap();
    read_head(&mut backend).await;
    let taken = settled(|| sent.load(Ordering::SeqCst)).await;
    assert!(taken < ON_ITS_WAY, "{taken}");
    read_large(&mut backend).await;
    backend.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    let mut answered = Http1::over(soon(writing).await.unwrap());
    assert_eq!(answered.answer().await.status, 204);
    gateway.stop().await;
}

#[tokio::test]
async fn trusted_proxies_say_who_the_client_is() {
    let web = Web::start(|_| ok("x")).await;
    for (trusted, sent, ip, passed) in [
        ("[]", "9.9.9.9", "127.0.0.1", "127.0.0.1"),
        ("[127.0.0.0/8]", "6.6.6.6, 9.9.9.9", "9.9.9.9", "9.9.9.9, 127.0.0.1"),
        ("[127.0.0.1, 10.0.0.0/8]", "6.6.6.6, 9.9.9.9, 10.0.0.7", "9.9.9.9", "9.9.9.9, 10.0.0.7, 127.0.0.1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let more = format!(
            "client_ip: {{ trusted_proxies: {trusted} }}\nobservability: {{ logs: {{ access: {{ output: \"{}\" }} }} }}\n",
            log.display()
        );
        let gateway = Gateway::start(&(config(&[web.address()], "") + &more));
        gateway.send(&get("/").header("x-forwarded-for", sent)).await;
        assert_eq!(web.last().field("x-forwarded-for"), passed);
        gateway.stop().await;
        let line = std::fs::read_to_string(&log).unwrap();
        assert!(line.contains(&format!("\"client_ip\":\"{ip}\"")), "{line}");
        let endpoint = format!("\"endpoint\":\"http://{}\"", web.address());
        assert!(line.contains("\"attempts\":1") && line.contains(&endpoint), "{line}");
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_forwarded_is_answered_in_kind() {
    let web = Web::start(|_| ok("x")).await;
    let yaml = config(&[web.address()], "");
    for (trusted, fields, passed) in [
        (
            "[127.0.0.1]",
            &[("forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:1\";host=forged")][..],
            "for=\"[2001:db8::7]\", for=127.0.0.1;host=\"a.test:81\";proto=http",
        ),
        (
            "[127.0.0.1]",
            &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "9.9.9.9")],
            "for=9.9.9.9, for=127.0.0.1;host=\"a.test:81\";proto=http",
        ),
        ("[127.0.0.1]", &[("x-forwarded-for", "9.9.9.9")], ""),
        ("[]", &[("forwarded", "for=6.6.6.6")], ""),
    ] {
        let gateway = Gateway::start(&format!("client_ip: {{ trusted_proxies: {trusted} }}\n{yaml}"));
        let mut request = get("/").header("host", "a.test:81");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        assert_eq!(gateway.http1().await.send(&request).await.status, 200);
        assert_eq!(web.last().field("forwarded"), passed, "{trusted} {fields:?}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn event_streams_of_a_backend_end_early_when_the_gateway_stops() {
    let web = Web::start(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        vec![bytes(&format!("{head}9\r\ndata: 1\n\n\r\n")), Part::Wait]
    })
    .await;
    let drain = "drain: { readiness_delay: 0s, timeout: 12s }\n";
    let gateway = Gateway::start(&format!("{drain}{}", config(&[web.address()], ", stream_idle_timeout: null")));
    let mut http2 = gateway.http2().await;
    let mut events = http2.start(&get("/events"), true).await;
    assert_eq!(events.head().await.unwrap().0, 200);
    assert_eq!(events.piece().await.unwrap().unwrap(), "data: 1\n\n");
    gateway.ask_to_stop().await;
    // A clean end, within a quarter of the time.
    while let Some(piece) = events.piece().await.unwrap() {
        assert!(piece.is_empty());
    }
    drop(http2);
    gateway.ended().await;
}

#[tokio::test]
async fn a_body_that_goes_on_after_an_early_answer_is_sent_once() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = web.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut socket, _) = web.accept().await.unwrap();
        let mut all = Vec::new();
        while all.iter().filter(|byte| **byte == b'#').count() < 500 {
            socket.read_buf(&mut all).await.unwrap();
        }
        // Too long to come with its head, so that the connection stays with the request.
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc").await.unwrap();
        while socket.read_buf(&mut all).await.is_ok_and(|read| read > 0) {
            if all.iter().filter(|byte| **byte == b'#').count() >= 1000 {
                let _gone = socket.write_all(b"def").await;
                break;
            }
        }
        let more = tokio::time::timeout(Duration::from_millis(200), socket.read_buf(&mut all)).await;
        drop(more);
        all.iter().filter(|byte| **byte == b'#').count()
    });
    let gateway = Gateway::start(&config(&[address], ""));
    let mut http1 = gateway.http1().await;
    // Of a length that nobody knows: a short one that is known is waited for before anything is sent.
    let half = format!("1f4\r\n{}\r\n", "#".repeat(500));
    http1.write(format!("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{half}")).await;
    assert_eq!(http1.head().await.0, 200);
    http1.write(format!("{half}0\r\n\r\n")).await;
    let mut body = Vec::new();
    while let Some(piece) = http1.piece().await.unwrap() {
        body.extend_from_slice(&piece);
    }
    assert_eq!((body.as_slice(), serving.await.unwrap()), (&b"abcdef"[..], 1000));
    gateway.stop().await;
}

/// Who tries an endpoint again that was down finds the outage where it was, and tells it at once: it does not try a second
/// time as the first who met it.
#[tokio::test]
async fn a_known_outage_is_told_without_a_retry() {
    let down: Vec<_> = (0..3).map(|_| tidegate_testkit::peer::closed_port()).collect();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let more = format!(
        "runtime: {{ workers: 1 }}\nobservability: {{ logs: {{ access: {{ output: \"{}\" }} }} }}\n",
        log.display()
    );
    let gateway = Gateway::start(&(config(&down, ", outlier_detection: null") + &more));
    let mut http1 = gateway.http1().await;
    for _ in 0..100 {
        assert_eq!(http1.send(&get("/")).await.status, 503);
        // Some come after the time for which the endpoints are left alone.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.stop().await;
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let attempts: Vec<_> = lines.map(|line| line["attempts"].as_u64().unwrap()).collect();
    assert_eq!(attempts.len(), 100, "{text}");
    assert!(attempts[0] > 3, "the first one finds out: {attempts:?}");
    assert!(attempts[1..].iter().all(|attempts| *attempts <= 3), "{attempts:?}");
}

#[tokio::test]
async fn any_number_of_endpoints_may_be_out_of_reach() {
    let down: Vec<_> = (0..12).map(|_| tidegate_testkit::peer::closed_port()).collect();
    let gateway = Gateway::start(&config(&down, ", retry: null, timeout: null"));
    for _ in 0..20 {
        for answer in gateway.send_both(&get("/")).await {
            assert_eq!((answer.status, answer.reason()), (503, "connect_failed".to_owned()));
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_body_is_not_the_backends_fault() {
    let web = Web::start(|_| ok("x")).await;
    let gateway = gateway(&web, ", timeout: 200ms, outlier_detection: { consecutive_errors: 1 }, retry: null").await;
    for _ in 0..3 {
        let mut http1 = gateway.http1().await;
        http1.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab").await;
        assert_eq!(http1.answer().await.status, 408);
    }
    let health = gateway.get("/health").await.json();
    assert_eq!(health["checks"]["service:web"]["healthy"], 1, "{health}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_connection_names_does_not_pass_whatever_it_is() {
    let web = Web::start(|_| ok("x")).await;
    let gateway = gateway(&web, "").await;
    let request = get("/").header("connection", "cookie, trace-x").header("cookie", "a=1").header("trace-x", "1");
    gateway.http1().await.send(&request).await;
    assert_eq!((web.last().field("cookie"), web.last().field("trace-x")), (String::new(), String::new()));
    gateway.stop().await;
}
