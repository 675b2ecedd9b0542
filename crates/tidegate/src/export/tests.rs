//! What the end-to-end tests cannot see: the count of what was dropped, and new orders.

use tidegate_config::Place;
use tidegate_config::valid::{OtlpProtocol, Tracing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::ids::PerWorker;
use crate::telemetry::otlp::{BATCH, QUEUE};
use crate::telemetry::span::tests::span;
use crate::time::Wheel;

fn start(telemetry: &Arc<Telemetry>) -> Exporter {
    let wheels = Arc::new(PerWorker::new(1, |_| Wheel::new()));
    Exporter::start(Arc::clone(telemetry), wheels, WorkerId::new(0))
}

fn collector(protocol: OtlpProtocol, port: u16) -> Tracing {
    let otlp = Otlp {
        text: format!("http://127.0.0.1:{port}"),
        place: Place { file: "a.yaml".into(), line: 1, column: 1, end_column: 2, path: "".into() },
        protocol,
        tls: false,
        host: "127.0.0.1".to_owned(),
        port,
        path: "/v1/traces".to_owned(),
    };
    Tracing { otlp, sample_ratio: 1.0 }
}

fn push(telemetry: &Telemetry, count: usize) {
    telemetry.tracer.queue().push((0..count).map(|_| span()).collect());
}

/// A port that nothing listens on, and what keeps others from it.
fn closed_port() -> (TcpSocket, u16) {
    let kept = TcpSocket::new_v4().unwrap();
    kept.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = kept.local_addr().unwrap().port();
    (kept, port)
}

#[tokio::test]
async fn what_finds_no_room_during_an_outage_is_dropped_and_counted() {
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
        let telemetry: Arc<Telemetry> = Arc::default();
        let (_kept, port) = closed_port();
        telemetry.tracer.configure(Some(&collector(protocol, port)));
        let exporter = start(&telemetry);
        // The exporter may have taken one batch, and holds it.
        push(&telemetry, QUEUE);
        push(&telemetry, BATCH + 10);
        let dropped = telemetry.tracer.queue().dropped();
        assert!((10..=BATCH as u64 + 10).contains(&dropped), "{dropped}");
        exporter.finish().await;
        assert!(telemetry.tracer.queue().dropped() >= dropped);
    }
}

#[tokio::test]
async fn a_new_collector_gets_what_the_last_one_could_not() {
    let telemetry: Arc<Telemetry> = Arc::default();
    let (_kept, port) = closed_port();
    telemetry.tracer.configure(Some(&collector(OtlpProtocol::Http, port)));
    let exporter = start(&telemetry);
    push(&telemetry, BATCH);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    telemetry.tracer.configure(Some(&collector(OtlpProtocol::Http, port)));
    let (socket, _) = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
    drop(socket);
    telemetry.tracer.configure(None);
    exporter.finish().await;
}

#[tokio::test]
async fn what_is_left_when_tracing_ends_is_dropped_and_counted() {
    for at_the_end in [false, true] {
        let telemetry: Arc<Telemetry> = Arc::default();
        let (_kept, port) = closed_port();
        telemetry.tracer.configure(Some(&collector(OtlpProtocol::Http, port)));
        let exporter = start(&telemetry);
        push(&telemetry, BATCH + 10);
        let dropped = || telemetry.tracer.queue().dropped();
        if !at_the_end {
            telemetry.tracer.configure(None);
            tokio::time::timeout(Duration::from_secs(10), async {
                while dropped() < BATCH as u64 + 10 {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
        }
        exporter.finish().await;
        assert_eq!(dropped(), BATCH as u64 + 10);
        assert!(telemetry.tracer.queue().take().is_empty());
    }
}

/// Reads one request to the end of its body.
async fn read_request(socket: &mut TcpStream) {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "the whole request comes");
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if bytes.len() >= end + 4 + length.parse::<usize>().unwrap() {
            return;
        }
    }
}

#[tokio::test]
async fn the_end_waits_for_the_answer_to_what_is_on_its_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let telemetry: Arc<Telemetry> = Arc::default();
    let port = listener.local_addr().unwrap().port();
    telemetry.tracer.configure(Some(&collector(OtlpProtocol::Http, port)));
    let exporter = start(&telemetry);
    push(&telemetry, BATCH);
    let (mut socket, _) = listener.accept().await.unwrap();
    read_request(&mut socket).await;
    let finished = tokio::spawn(exporter.finish());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    socket.write_all(answer).await.unwrap();
    finished.await.unwrap();
    assert_eq!(telemetry.tracer.queue().dropped(), 0);
    assert!(tokio::time::timeout(Duration::ZERO, listener.accept()).await.is_err(), "it was sent once");
}

#[test]
fn an_instance_is_named_by_a_random_uuid() {
    assert_eq!(instance(0), "00000000-0000-4000-8000-000000000000");
    assert_eq!(instance(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}
