//! Just enough of HTTP/1.1 for one POST on each connection.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Shared;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer(socket, Arc::clone(&shared)));
    }
}

async fn answer(mut socket: TcpStream, shared: Arc<Shared>) {
    let Some((head, body)) = read(&mut socket).await else { return };
    let refusal = shared.next_refusal();
    let answer = match &refusal {
        Some(refusal) => {
            let after = refusal.retry_after.map(|after| format!("retry-after: {after}\r\n")).unwrap_or_default();
            format!("HTTP/1.1 {} Refused\r\n{after}content-length: 0\r\n\r\n", refusal.status)
        }
        None => {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
            shared.take(ExportTraceServiceRequest::decode(body.as_slice()).expect("a batch")).await;
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n".to_owned()
        }
    };
    // A sender that has gone is one that the test does not look at.
    let _ = socket.write_all(answer.as_bytes()).await;
}

/// The head, its names in lower case as ours come, and the body.
async fn read(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end + 2].to_vec()).expect("a head of text");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            let mut body = bytes.split_off(end + 4);
            let have = body.len();
            body.resize(length, 0);
            socket.read_exact(&mut body[have..]).await.ok()?;
            return Some((head, body));
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
