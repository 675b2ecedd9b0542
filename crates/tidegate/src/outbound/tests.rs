//! Requests to servers that are scripted byte by byte.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;

/// Posts `ping` to a server that answers with `script`, whatever it gets. Gives what the server read, too.
async fn ask(script: Vec<u8>) -> (Result<Answer, OutboundError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"ping") {
            let mut buffer = [0; 1024];
            let count = socket.read(&mut buffer).await.unwrap();
            read.extend_from_slice(&buffer[..count]);
        }
        tell.send(String::from_utf8(read).unwrap()).unwrap();
        // The client may have had enough.
        let _ = socket.write_all(&script).await;
        let _ = socket.shutdown().await;
    });
    let target = Target::new("collector.test", address.port(), None).unwrap();
    let fields = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))];
    let path = PathAndQuery::from_static("/v1/traces");
    let answer = post(&target, &[address], &path, &fields, Bytes::from_static(b"ping")).await;
    (answer, told.await.unwrap())
}

#[tokio::test]
async fn a_request_is_posted_and_its_answer_read() {
    let (answer, seen) = ask(b"HTTP/1.1 503 Later\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\npong".to_vec()).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (503, &b"pong"[..]));
    assert_eq!(answer.headers["retry-after"], "7");
    assert!(seen.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{seen}");
    for line in
        ["host: collector.test:", "content-type: text/plain\r\n", "content-length: 4\r\n", "user-agent: tidegate/"]
    {
        assert!(seen.contains(line), "{line} is missing in {seen}");
    }
}

#[tokio::test]
async fn what_is_no_whole_answer_is_an_error() {
    for script in [
        b"".to_vec(),
        b"SSH-2.0-OpenSSH\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart".to_vec(),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "v".repeat(2 * MAX_HEAD)).into_bytes(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", MAX_ANSWER + 1, "v".repeat(MAX_ANSWER + 1))
            .into_bytes(),
        format!("HTTP/1.1 200 OK\r\n\r\n{}", "v".repeat(MAX_ANSWER + 1)).into_bytes(),
    ] {
        let (answer, _) = ask(script.clone()).await;
        assert!(answer.is_err(), "{}", script[..script.len().min(60)].escape_ascii());
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = Target::new("127.0.0.1", address.port(), None).unwrap();
    let answer = post(&target, &[address], &PathAndQuery::from_static("/"), &[], Bytes::new()).await;
    assert!(matches!(answer, Err(OutboundError::Dial(DialError::Connect(_)))), "{answer:?}");
    let answer = post(&target, &[], &PathAndQuery::from_static("/"), &[], Bytes::new()).await;
    assert!(matches!(answer, Err(OutboundError::Dial(DialError::Unresolved))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_costs_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = Target::new("127.0.0.1", address.port(), None).unwrap();
    let answer = post(&target, &[address], &PathAndQuery::from_static("/"), &[], Bytes::new()).await;
    assert!(matches!(answer, Err(OutboundError::TimedOut)), "{answer:?}");
}
