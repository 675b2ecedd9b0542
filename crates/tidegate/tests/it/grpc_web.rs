//! gRPC-Web on the routes that pass gRPC through, over both versions of HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_testkit::{Gateway, Peer, Request, Script};

use super::native::{config, framed};

fn call(kind: &str, body: impl AsRef<[u8]>) -> Request {
    Request::new("POST", "/shop.v1.OrderService/GetOrder")
        .header("content-type", kind)
        .header("x-grpc-web", "1")
        .body(body)
}

fn trailers(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x80][..], &length, text.as_bytes()].concat()
}

/// Padded groups may stand behind each other.
fn decoded(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
}

#[tokio::test]
async fn both_modes_carry_messages_and_trailers_in_the_body() {
    let mut peer = Peer::with("GetOrder", Script::new().message(b"one").message(b"four").status(0, "")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let expected = [framed(b"one"), framed(b"four"), trailers("grpc-status: 0\r\n")].concat();
    for (kind, of_answer) in [
        ("application/grpc-web", "application/grpc-web"),
        ("application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text", "application/grpc-web-text"),
        ("application/grpc-web-text+proto", "application/grpc-web-text"),
    ] {
        let text = kind.contains("text");
        let body = if text { STANDARD.encode(framed(b"ask")).into_bytes() } else { framed(b"ask") };
        for answer in gateway.send_both(&call(kind, body)).await {
            let seen = if text { decoded(&answer.body) } else { answer.body.clone() };
            assert_eq!((answer.status, answer.header("content-type")), (200, of_answer), "{kind}");
            assert!(seen.starts_with(&expected[..expected.len() - 21]) && seen.ends_with(&expected[16..]), "{seen:?}");
            assert!(answer.trailers.is_empty());
            let mut call = peer.call().await;
            assert_eq!(call.message().await, "ask");
            assert!(call.text("content-type").starts_with("application/grpc"));
            assert!(!call.text("content-type").contains("web") && !call.metadata.contains_key("x-grpc-web"));
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn text_is_read_however_it_is_cut_and_padded() {
    let mut peer = Peer::with("GetOrder", Script::new().await_end().message(b"a").status(0, "")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    // Prefix and message were encoded apart.
    let frame = framed(b"hello");
    let text = STANDARD.encode(&frame[..5]) + &STANDARD.encode(&frame[5..]);
    let mut client = gateway.http2().await;
    for at in 0..=text.len() {
        let mut request = call("application/grpc-web-text", "");
        request.body = None;
        let mut running = client.start(&request, false).await;
        running.write(&text[..at], false).await;
        running.write(&text[at..], false).await;
        running.end();
        let answer = running.answer().await;
        assert!(decoded(&answer.body).starts_with(&framed(b"a")), "{at}");
        assert_eq!(peer.call().await.messages().await, ["hello"], "{at}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn failures_stand_in_the_body_too() {
    let peer = Peer::with("GetOrder", Script::fails(5, "no%20order")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    for answer in gateway.send_both(&call("application/grpc-web", framed(b""))).await {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!((answer.status, answer.body.first()), (200, Some(&0x80)));
        assert!(text.contains("grpc-status: 5\r\n") && text.contains("grpc-message: no%20order\r\n"), "{text}");
    }
    for body in ["????", "YQ=", "AAAA"] {
        for answer in gateway.send_both(&call("application/grpc-web-text", body)).await {
            let text = String::from_utf8_lossy(&decoded(&answer.body)).into_owned();
            assert!(text.contains("grpc-status: 3\r\n"), "{body} {text}");
        }
    }
    let elsewhere = Request { target: "/nobody/here".into(), ..call("application/grpc-web", framed(b"")) };
    for answer in gateway.send_both(&elsewhere).await {
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc-web"));
        assert!(String::from_utf8_lossy(&answer.body).contains("grpc-status: 5\r\n"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_stream_comes_piece_by_piece() {
    let peer = Peer::with("GetOrder", Script::new().message(b"1").hold().message(b"2").status(0, "")).await;
    let gateway = Gateway::start(&config(peer.address(), "", ""));
    let mut client = gateway.http2().await;
    let mut running = client.start(&call("application/grpc-web-text", "AAAAAAA="), true).await;
    running.head().await.unwrap();
    assert_eq!(decoded(&running.piece().await.unwrap().unwrap()), framed(b"1"));
    peer.release(1);
    assert_eq!(decoded(&running.piece().await.unwrap().unwrap()), framed(b"2"));
    let end = running.piece().await.unwrap().unwrap();
    assert_eq!(decoded(&end), trailers("grpc-status: 0\r\n"));
    assert_eq!(running.piece().await.unwrap(), None);
    gateway.stop().await;
}
