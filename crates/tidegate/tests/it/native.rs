//! gRPC that passes through: real clients and servers first, then every byte of it.

use std::time::Duration;

use h2::Reason;
use protos::core_engine::v1 as pb;
use protos::core_engine::v1::core_engine_client::CoreEngineClient;
use serde_json::json;
use tidegate_testkit::tonic::transport::Channel;
use tidegate_testkit::tonic::{Code, Status};
use tidegate_testkit::tonic_reflection::pb::v1 as reflection;
use tidegate_testkit::{Answer, End, Engine, Gateway, Peer, Request, Script, get, shop, soon};

/// A route through to the shop; `more` is YAML at the top level.
pub(super) fn config(address: std::net::SocketAddr, route: &str, more: &str) -> String {
    format!(
        "services:\n  shop: {{ address: \"{address}\" }}\nroutes:\n  - {{ name: native, path: \"/shop.v1.OrderService/{{method}}\", service: shop, protocol: grpc{route} }}\n{more}\n"
    )
}

pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

fn call(method: &str, message: &[u8]) -> Request {
    Request::new("POST", &format!("/shop.v1.OrderService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(framed(message))
}

fn status(answer: &Answer) -> (&str, &str) {
    match answer.trailer("grpc-status") {
        "" => (answer.header("grpc-status"), answer.header("grpc-message")),
        status => (status, answer.trailer("grpc-message")),
    }
}

async fn channel(gateway: &Gateway) -> Channel {
    Channel::from_shared(format!("http://{}", gateway.address())).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn a_real_client_talks_to_a_real_server_through_the_gateway() {
    let engine = Engine::start().await;
    let yaml = format!(
        "services:\n  engine: {{ address: \"{}\" }}\nroutes:\n\
         \x20 - {{ name: engine, path: \"/core_engine.v1.CoreEngine/{{method}}\", service: engine, protocol: grpc }}\n\
         \x20 - {{ name: reflection, path: \"/grpc.reflection.v1.ServerReflection/{{method}}\", service: engine, protocol: grpc }}\n",
        engine.address()
    );
    let gateway = Gateway::start(&yaml);
    let channel = channel(&gateway).await;
    let mut client = CoreEngineClient::new(channel.clone());
    let health = soon(client.health_check(pb::HealthCheckRequest::default())).await.unwrap();
    assert!(health.metadata().contains_key("x-request-id"));
    assert!(health.into_inner().healthy);
    let ask = pb::StreamMarketDataRequest { symbols: vec!["AAPL".into()], ..Default::default() };
    let mut stream = match soon(client.stream_market_data(ask)).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => panic!("{status}"),
    };
    for _ in 0..3 {
        assert!(soon(stream.message()).await.unwrap().is_some());
    }
    drop(stream);
    let unknown = pb::ConnectDataSourceRequest { source_id: "nobody".into(), ..Default::default() };
    let refused: Status = soon(client.connect_data_source(unknown)).await.unwrap_err();
    assert_ne!((refused.code(), refused.message()), (Code::Ok, ""));

    let (ask, questions) = tokio::sync::mpsc::channel::<reflection::ServerReflectionRequest>(1);
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let questions = Questions(questions);
    let mut answers = soon(client.server_reflection_info(questions)).await.unwrap().into_inner();
    for _ in 0..5 {
        let message_request = Some(reflection::server_reflection_request::MessageRequest::ListServices(String::new()));
        ask.send(reflection::ServerReflectionRequest { host: String::new(), message_request }).await.unwrap();
        let answer = soon(answers.message()).await.unwrap().unwrap();
        assert!(format!("{answer:?}").contains("core_engine.v1.CoreEngine"));
    }
    drop(ask);
    assert!(soon(answers.message()).await.unwrap().is_none());
    gateway.stop().await;
    engine.stop().await;
}

/// Questions that are asked as they come.
struct Questions(tokio::sync::mpsc::Receiver<reflection::ServerReflectionRequest>);

impl futures_util::Stream for Questions {
    type Item = reflection::ServerReflectionRequest;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

#[tokio::test]
async fn bytes_metadata_and_trailers_pass_as_they_are() {
    let script = Script::new()
        .metadata("grpc-encoding", "gzip")
        .metadata("x-shop-bin", "AAEC")
        .bytes(vec![1, 0, 0, 0, 3])
        .bytes(&b"abc"[..])
        .trailers(&[("grpc-status", "0"), ("x-cost", "7"), ("x-tidegate-secret", "1")]);
    let mut peer = Peer::with("GetOrder", script).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut request = call("GetOrder", b"");
    request.headers.first_mut().unwrap().1 = "application/grpc+proto".into();
    request.body = Some([&[1, 0, 0, 0, 2][..], b"xy"].concat());
    let request = request
        .header("grpc-encoding", "gzip")
        .header("grpc-accept-encoding", "gzip,zstd")
        .header("x-key-bin", "AAEC")
        .header("x-user-id", "forged")
        .header("grpc-timeout", "2S");
    let answer = gateway.http2().await.send(&request).await;
    assert_eq!((answer.status, answer.end, status(&answer)), (200, End::Clean, ("0", "")));
    assert_eq!(answer.body, b"\x01\0\0\0\x03abc");
    assert_eq!((answer.header("grpc-encoding"), answer.header("x-shop-bin")), ("gzip", "AAEC"));
    assert_eq!((answer.trailer("x-cost"), answer.trailer("x-tidegate-secret")), ("7", ""));
    let call = peer.call().await;
    assert_eq!(call.path, "/shop.v1.OrderService/GetOrder");
    let seen = |name| call.text(name).to_owned();
    assert_eq!(seen("content-type"), "application/grpc+proto");
    assert_eq!((seen("grpc-encoding"), seen("grpc-accept-encoding")), ("gzip".into(), "gzip,zstd".into()));
    assert_eq!((seen("x-key-bin"), seen("te")), ("AAEC".into(), "trailers".into()));
    assert!(!call.metadata.contains_key("x-user-id") && call.metadata.contains_key("x-forwarded-for"));
    assert!(seen("grpc-timeout").ends_with('m') && seen("grpc-timeout").len() <= 5, "{}", seen("grpc-timeout"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_may_speak_first_and_messages_go_both_ways_in_turn() {
    let script = Script::new()
        .head()
        .message(b"0")
        .await_messages(1)
        .message(b"1")
        .await_messages(2)
        .message(b"2")
        .await_end()
        .status(0, "");
    let peer = Peer::with("Chat", script).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut request = call("Chat", b"");
    request.body = None;
    let mut client = gateway.http2().await;
    let mut running = client.start(&request, false).await;
    assert_eq!(running.head().await.unwrap().0, 200);
    for number in [b"0", b"1", b"2"] {
        assert_eq!(running.piece().await.unwrap().unwrap(), framed(number));
        running.write(framed(number), false).await;
    }
    running.end();
    assert_eq!(running.piece().await.unwrap(), None);
    gateway.stop().await;
}

#[tokio::test]
async fn large_messages_pass_and_larger_ones_are_refused_both_ways() {
    let large = vec![7; 3 << 20];
    let mut peer = Peer::with("GetOrder", Script::new().await_end().message(&large).status(0, "")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let answer = gateway.http2().await.send(&call("GetOrder", &large)).await;
    assert_eq!((status(&answer), answer.body.len()), (("0", ""), large.len() + 5));
    assert_eq!(peer.call().await.message().await.len(), large.len());
    gateway.stop().await;

    let yaml = config(peer.address(), "", "").replace("\" }\nroutes", "\", max_message: 1MiB }\nroutes");
    let gateway = Gateway::start(&yaml);
    let answer = gateway.http2().await.send(&call("GetOrder", &large)).await;
    assert_eq!(status(&answer), ("8", "a message is too large"));
    peer.on("GetOrder", Script::new().message(&large).status(0, ""));
    let answer = gateway.http2().await.send(&call("GetOrder", b"x")).await;
    assert_eq!(status(&answer), ("8", "a message of the service is too large"));
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_service_says_at_the_end_passes_whole() {
    let details = shop::details(json!({"code": 5, "message": "gone"}));
    let scripts = [
        Script::new().trailers(&[
            ("grpc-status", "5"),
            ("grpc-message", "no%20order"),
            ("grpc-status-details-bin", &details),
        ]),
        Script::new().head().trailers(&[
            ("grpc-status", "5"),
            ("grpc-message", "no%20order"),
            ("grpc-status-details-bin", &details),
        ]),
    ];
    for script in scripts {
        let peer = Peer::with("GetOrder", script).await;
        let gateway = Gateway::start(&config(peer.address(), "", ""));
        let answer = gateway.http2().await.send(&call("GetOrder", b"")).await;
        assert_eq!((answer.status, status(&answer)), (200, ("5", "no%20order")));
        assert_eq!(answer.trailer("grpc-status-details-bin"), details);
        gateway.stop().await;
    }
    let peer = Peer::with("GetOrder", Script::fails(7, "no")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let answer = gateway.http2().await.send(&call("GetOrder", b"")).await;
    assert_eq!((answer.status, answer.header("grpc-status"), answer.trailers.len()), (200, "7", 0));
    gateway.stop().await;
}

#[tokio::test]
async fn failures_of_the_gateway_are_statuses() {
    let scripts = [
        (Script::new().reset(Reason::INTERNAL_ERROR), "14"),
        (Script::new().head().message(b"a").reset(Reason::INTERNAL_ERROR), "14"),
        (Script::new().head().message(b"a").cut_connection(), "14"),
        (Script::new().http(503, "text/html", "busy"), "14"),
        (Script::new().end_without_trailers(), "2"),
        (Script::new().bytes(&b"\x07\0\0\0\0"[..]).status(0, ""), "13"),
        (Script::new().bytes(&b"\0\0\0\0\x09abc"[..]).status(0, ""), "13"),
    ];
    for (script, code) in scripts {
        let peer = Peer::with("GetOrder", script.clone()).await;
        let gateway = Gateway::start(&config(peer.address(), "", ""));
        let answer = gateway.http2().await.send(&call("GetOrder", b"")).await;
        assert_eq!((answer.status, status(&answer).0, answer.end), (200, code, End::Clean), "{script:?}");
        assert_eq!(answer.header("content-type"), "application/grpc");
        gateway.stop().await;
    }
    let gateway = Gateway::start(&config(tidegate_testkit::peer::closed_port(), "", ""));
    let answer = gateway.http2().await.send(&call("GetOrder", b"")).await;
    assert_eq!((answer.status, status(&answer).0, answer.header("grpc-retry-pushback-ms")), (200, "14", "1000"));
    let elsewhere = Request { target: "/other.Service/Get".into(), ..call("Get", b"") };
    let answer = gateway.http2().await.send(&elsewhere).await;
    assert_eq!((answer.status, status(&answer)), (200, ("5", "no route for this path")));
    gateway.stop().await;
    let peer = Peer::with("GetOrder", Script::new()).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let broken = Request { body: Some(vec![9, 0, 0, 0, 0]), ..call("GetOrder", b"") };
    assert_eq!(status(&gateway.http2().await.send(&broken).await).0, "3");
    let cut = Request { body: Some(vec![0, 0, 0]), ..call("GetOrder", b"") };
    assert_eq!(status(&gateway.http2().await.send(&cut).await).0, "3");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_not_grpc_is_refused_in_plain_words() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    for kind in ["application/json", "application/grpcx"] {
        let mut request = call("GetOrder", b"");
        request.headers.first_mut().unwrap().1 = kind.into();
        for answer in gateway.send_both(&request).await {
            assert_eq!((answer.status, answer.reason()), (415, "unsupported_media_type".into()), "{kind}");
        }
    }
    let answer = gateway.send(&call("GetOrder", b"")).await;
    assert_eq!(answer.status, 415);
    assert!(answer.text().contains("gRPC needs HTTP/2"), "{}", answer.text());
    assert_eq!(gateway.send(&get("/shop.v1.OrderService/GetOrder")).await.status, 405);
    assert_eq!(peer.calls(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn deadlines_are_the_shorter_of_both_and_end_the_call_at_the_backend() {
    let mut peer = Peer::with("GetOrder", Script::new()).await;
    let gateway = Gateway::start(&config(peer.address(), ", timeout: 500ms", ""));
    for timeout in ["", "200m", "9S"] {
        let mut request = call("GetOrder", b"");
        if !timeout.is_empty() {
            request = request.header("grpc-timeout", timeout);
        }
        let answer = gateway.http2().await.send(&request).await;
        assert_eq!((answer.status, status(&answer).0), (200, "4"), "{timeout}");
        assert_eq!(peer.call().await.reset().await, Reason::CANCEL);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn whoever_leaves_ends_the_call_on_the_other_side() {
    let mut peer = Peer::with("Chat", Script::new().head().message(b"a")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut client = gateway.http2().await;
    let mut running = client.start(&call("Chat", b"x"), false).await;
    running.head().await.unwrap();
    let mut seen = peer.call().await;
    running.cancel();
    assert_eq!(soon(seen.reset()).await, Reason::CANCEL);
    // Before there is an answer, too.
    peer.on("Chat", Script::new());
    let running = client.start(&call("Chat", b"x"), false).await;
    let mut seen = peer.call().await;
    running.cancel();
    assert_eq!(soon(seen.reset()).await, Reason::CANCEL);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stalled_client_stops_the_backend() {
    let mut peer = Peer::with("WatchOrders", Script::new().every(Duration::ZERO, vec![1; 32 * 1024])).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut client = gateway.http2().await;
    let mut running = client.start(&call("WatchOrders", b""), true).await;
    running.head().await.unwrap();
    let seen = peer.call().await;
    let mut before = 0;
    // Until a look finds no more than the one before.
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = seen.sent();
        if sent > 0 && sent == before {
            break;
        }
        before = sent;
    }
    assert!(before < 2 << 20, "{before} bytes wait");
    running.cancel();
    gateway.stop().await;
}

#[tokio::test]
async fn calls_are_sent_again_as_the_route_allows() {
    let mut peer = Peer::with("GetOrder", Script::fails(14, "later")).await;
    let gateway = Gateway::start(&config(peer.address(), ", retry: { max_retries: 2, non_idempotent: true }", ""));
    assert_eq!(status(&gateway.http2().await.send(&call("GetOrder", b"again")).await), ("14", "later"));
    for _ in 0..3 {
        assert_eq!(peer.call().await.message().await, "again");
    }
    gateway.stop().await;
    // Nobody says that the method may be repeated.
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    assert_eq!(status(&gateway.http2().await.send(&call("GetOrder", b"once")).await), ("14", "later"));
    assert_eq!(peer.calls(), 4);
    gateway.stop().await;
}
