//! Conversations with a real HTTP/2 peer on a real socket.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response};
use tidegate_config::diag::Place;
use tidegate_config::valid::{
    BalancingPolicy, CircuitBreaker, Connections, Descriptors, Endpoint as EndpointEntry, Keepalive, Resilience,
    Service, ServiceProtocol,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::reject::Reason as Word;
use crate::telemetry::Telemetry;
use crate::time::now;

mod leftovers;

const WORKER: u16 = 0;
pub(super) type Incoming = (Request<RecvStream>, SendResponse<Bytes>);

/// Something that takes too long fails its test instead of hanging it.
pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("within 30 s")
}

pub(super) fn series() -> Arc<ServiceSeries> {
    Telemetry::default().metrics.service(&"test".into())
}

fn wheels() -> Wheels {
    wheels_of(1)
}

fn wheels_of(threads: usize) -> Wheels {
    let wheels: Wheels = Arc::new(PerWorker::new(threads, |_| Wheel::new()));
    for wheel in wheels.iter() {
        tokio::spawn(Arc::clone(wheel).run());
    }
    wheels
}

pub(super) fn service(addresses: &[SocketAddr]) -> Service {
    let place = Place { file: "test".into(), line: 1, column: 1, end_column: 2, path: "".into() };
    let endpoints = addresses.iter().map(|address| EndpointEntry {
        text: address.to_string(),
        place: place.clone(),
        target: Target::Host(HostPort { host: address.ip().to_string(), port: address.port() }),
        tls: false,
        weight: 1,
    });
    Service {
        name: "orders".into(),
        protocol: ServiceProtocol::Grpc,
        http2: false,
        endpoints: endpoints.collect(),
        descriptors: Descriptors::Set(PathBuf::new()),
        descriptors_place: place.clone(),
        max_message: 1024 * 1024,
        connect_timeout: Duration::from_secs(2),
        connections: Connections {
            min: 1,
            max: 1,
            http1: None,
            keepalive: Some(Keepalive { interval: Duration::from_secs(10), timeout: Duration::from_secs(3) }),
        },
        resilience: Resilience::default(),
        tls: None,
        place,
    }
}

pub(super) fn cluster(addresses: &[SocketAddr]) -> Arc<Cluster> {
    Cluster::new(&service(addresses), wheels(), series()).unwrap()
}

fn head() -> CallHead {
    CallHead::new(PathAndQuery::from_static("/t.Test/Do"), HeaderMap::new())
}

pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap());
    out.put_slice(message);
    out.freeze()
}

async fn call(cluster: &Cluster, deadline: CallDeadline) -> Result<Call, CallError> {
    cluster.call(Caller::Gateway(WorkerId::new(WORKER)), head(), framed(b"question"), true, deadline).await
}

async fn unary(cluster: &Cluster) -> Result<UnaryAnswer, CallError> {
    soon(async { call(cluster, CallDeadline::None).await?.unary().await }).await
}

pub(super) fn grpc_head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

pub(super) fn trailers(status: &'static str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", HeaderValue::from_static(status));
    map
}

/// Answers with `messages` and a status.
fn answer(respond: &mut SendResponse<Bytes>, messages: &[&[u8]], status: &'static str) {
    let mut body = respond.send_response(grpc_head(), false).unwrap();
    for message in messages {
        body.send_data(framed(message), false).unwrap();
    }
    body.send_trailers(trailers(status)).unwrap();
}

pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn handshake(socket: TcpStream, builder: &h2::server::Builder) -> Connection<TcpStream, Bytes> {
    socket.set_nodelay(true).unwrap();
    builder.handshake(socket).await.unwrap()
}

/// A backend that accepts any number of connections and hands each request to `serve` in a task of its own.
pub(super) async fn backend<S, F>(builder: h2::server::Builder, serve: S) -> (SocketAddr, Arc<AtomicUsize>)
where
    S: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listen().await;
    (address, serve_on(listener, builder, serve))
}

pub(super) fn serve_on<S, F>(listener: TcpListener, builder: h2::server::Builder, serve: S) -> Arc<AtomicUsize>
where
    S: Fn(Incoming) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let (builder, serve) = (builder.clone(), serve.clone());
            tokio::spawn(async move {
                let mut connection = handshake(socket, &builder).await;
                while let Some(Ok(incoming)) = connection.accept().await {
                    tokio::spawn(serve(incoming));
                }
            });
        }
    });
    connections
}

pub(super) fn usual() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 22);
    builder
}

async fn echo((request, mut respond): Incoming) {
    let mut body = request.into_body();
    let mut all = BytesMut::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        all.put(data);
    }
    let Ok(mut answer) = respond.send_response(grpc_head(), false) else { return };
    if !all.is_empty() {
        answer.send_data(all.freeze(), false).unwrap();
    }
    answer.send_trailers(trailers("0")).unwrap();
}

#[tokio::test]
async fn a_unary_call_carries_the_metadata_of_grpc_and_brings_the_answer() {
    let (seen, mut requests) = mpsc::channel(1);
    let (address, _) = backend(usual(), move |incoming: Incoming| {
        let seen = seen.clone();
        async move {
            seen.send((incoming.0.uri().clone(), incoming.0.headers().clone())).await.unwrap();
            echo(incoming).await;
        }
    })
    .await;
    let cluster = cluster(&[address]);
    assert_eq!(cluster.endpoints()[0].state, EndpointState::Idle);

    let deadline = CallDeadline::Total(now() + Duration::from_secs(2));
    let mut head = head();
    head.metadata.insert("x-request-id", HeaderValue::from_static("abc"));
    let opened =
        soon(cluster.call(Caller::Gateway(WorkerId::new(WORKER)), head, framed(b"question"), true, deadline)).await;
    let answer = soon(opened.unwrap().unary()).await.unwrap();
    assert_eq!(answer.message.as_ref(), b"question");
    assert_eq!(answer.trailers["grpc-status"], "0");

    let (uri, headers) = requests.recv().await.unwrap();
    assert_eq!(uri.to_string(), format!("http://{address}/t.Test/Do"));
    for (name, value) in [
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "tidegate/0.0.0"),
        ("grpc-accept-encoding", "identity,gzip,zstd"),
        ("x-request-id", "abc"),
    ] {
        assert_eq!(headers[name], value);
    }
    let told: u64 = headers["grpc-timeout"].to_str().unwrap().strip_suffix('m').unwrap().parse().unwrap();
    assert!((1_900..2_000).contains(&told), "{told}");
    assert_eq!(cluster.endpoints()[0].state, EndpointState::Ready);
    assert_eq!(cluster.endpoints()[0].in_flight, 0);
}

#[tokio::test]
async fn a_status_is_an_error_with_its_text_and_a_fitting_reason() {
    let (address, _) = backend(usual(), |(_, mut respond): Incoming| async move {
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "5")
            .header("grpc-message", "order%207");
        respond.send_response(head.body(()).unwrap(), true).unwrap();
    })
    .await;
    let reject = unary(&cluster(&[address])).await.unwrap_err().into_reject();
    assert_eq!(reject.reason, Word::UpstreamError);
    let status = reject.backend.unwrap();
    assert_eq!((status.code.number(), status.message.as_str()), (5, "order 7"));
}

#[tokio::test]
async fn faulty_answers_become_the_right_refusals() {
    type Fault = fn(&mut SendResponse<Bytes>);
    let cases: &[(&str, Fault, Word, Option<u8>)] = &[
        (
            "an HTML page",
            |respond| {
                let page = Response::builder().status(503).header("content-type", "text/html").body(()).unwrap();
                respond.send_response(page, false).unwrap().send_data("<html>".into(), true).unwrap();
            },
            Word::UpstreamError,
            Some(14),
        ),
        (
            "no trailers",
            |respond| {
                let mut body = respond.send_response(grpc_head(), false).unwrap();
                body.send_data(framed(b"x"), true).unwrap();
            },
            Word::UpstreamError,
            Some(2),
        ),
        (
            "an empty answer",
            |respond| {
                respond.send_response(grpc_head(), true).unwrap();
            },
            Word::UpstreamError,
            Some(2),
        ),
        ("status 99", |respond| answer(respond, &[b"x"], "99"), Word::UpstreamError, Some(2)),
        ("no message", |respond| answer(respond, &[], "0"), Word::TranscodeFailed, None),
        ("two messages", |respond| answer(respond, &[b"x", b"y"], "0"), Word::TranscodeFailed, None),
        (
            "a frame cut off",
            |respond| {
                let mut body = respond.send_response(grpc_head(), false).unwrap();
                body.send_data(framed(b"long message").slice(..9), false).unwrap();
                body.send_trailers(trailers("0")).unwrap();
            },
            Word::TranscodeFailed,
            None,
        ),
        (
            "a frame cut off by a failure",
            |respond| {
                let mut body = respond.send_response(grpc_head(), false).unwrap();
                body.send_data(framed(b"long message").slice(..9), false).unwrap();
                body.send_trailers(trailers("8")).unwrap();
            },
            Word::UpstreamError,
            Some(8),
        ),
        (
            "a frame above the limit",
            |respond| {
                let mut body = respond.send_response(grpc_head(), false).unwrap();
                body.send_data(Bytes::from_static(&[0, 0x7f, 0xff, 0xff, 0xff, 1]), true).unwrap();
            },
            Word::TranscodeFailed,
            None,
        ),
        (
            "a bad flag",
            |respond| {
                let mut body = respond.send_response(grpc_head(), false).unwrap();
                body.send_data(Bytes::from_static(&[7, 0, 0, 0, 0]), true).unwrap();
            },
            Word::TranscodeFailed,
            None,
        ),
        (
            "compression that was not announced",
            |respond| {
                let mut body = respond.send_response(grpc_head(), false).unwrap();
                body.send_data(Bytes::from_static(&[1, 0, 0, 0, 1, 9]), false).unwrap();
                body.send_trailers(trailers("0")).unwrap();
            },
            Word::TranscodeFailed,
            None,
        ),
        ("a reset", |respond| respond.send_reset(Reason::INTERNAL_ERROR), Word::UpstreamReset, None),
        (
            "a reset after the head",
            |respond| {
                let mut body = respond.send_response(grpc_head(), false).unwrap();
                body.send_reset(Reason::CANCEL);
            },
            Word::UpstreamReset,
            None,
        ),
    ];
    for (what, fault, word, code) in cases {
        let fault = *fault;
        let (address, _) = backend(usual(), move |(request, mut respond): Incoming| async move {
            fault(&mut respond);
            drop(request);
        })
        .await;
        let reject = unary(&cluster(&[address])).await.unwrap_err().into_reject();
        assert_eq!((reject.reason, reject.backend.map(|status| status.code.number())), (*word, *code), "{what}");
    }
}

#[tokio::test]
async fn gzip_messages_are_inflated() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&[b'a'; 5_000]).unwrap();
    let packed = encoder.finish().unwrap();
    let (address, _) = backend(usual(), move |(_, mut respond): Incoming| {
        let mut frame = BytesMut::from(framed(&packed).as_ref());
        frame[0] = 1;
        async move {
            let head = Response::builder().header("content-type", "application/grpc").header("grpc-encoding", "gzip");
            let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
            body.send_data(frame.freeze(), false).unwrap();
            body.send_trailers(trailers("0")).unwrap();
        }
    })
    .await;
    assert_eq!(unary(&cluster(&[address])).await.unwrap().message.as_ref(), [b'a'; 5_000]);
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_backend() {
    let (seen, mut resets) = mpsc::channel(1);
    let (address, _) = backend(usual(), move |(_, mut respond): Incoming| {
        let seen = seen.clone();
        async move {
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
            seen.send(reason).await.unwrap();
        }
    })
    .await;
    let cluster = cluster(&[address]);
    let open = soon(call(&cluster, CallDeadline::None)).await.unwrap();
    assert!(timeout(Duration::from_millis(100), open.unary()).await.is_err());
    assert_eq!(soon(resets.recv()).await.unwrap(), Reason::CANCEL);
    assert_eq!(cluster.endpoints()[0].in_flight, 0);
}

#[tokio::test]
async fn the_deadline_ends_the_call_and_cancels_it() {
    let (seen, mut resets) = mpsc::channel(1);
    let (address, _) = backend(usual(), move |(_, mut respond): Incoming| {
        let seen = seen.clone();
        async move {
            let mut body = respond.send_response(grpc_head(), false).unwrap();
            body.send_data(framed(b"first"), false).unwrap();
            let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
            seen.send(reason).await.unwrap();
        }
    })
    .await;
    let cluster = cluster(&[address]);
    let begun = Instant::now();
    let error =
        soon(async { call(&cluster, CallDeadline::Total(now() + Duration::from_millis(150))).await?.unary().await })
            .await
            .unwrap_err();
    assert!(matches!(error, CallError::DeadlineExceeded), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    assert_eq!(soon(resets.recv()).await.unwrap(), Reason::CANCEL);
    let late = call(&cluster, CallDeadline::Total(now())).await.unwrap_err();
    assert!(matches!(late, CallError::DeadlineExceeded));
}

/// Once it is passed over no longer a call reads on. Its end says nothing against a backend that did answer.
#[tokio::test]
async fn a_call_that_is_passed_over_reads_nothing_and_ends_at_its_deadline() {
    let (tell, mut told) = mpsc::channel(4);
    let (address, _) = backend(usual(), move |(_, mut respond): Incoming| {
        let tell = tell.clone();
        async move {
            let mut body = respond.send_response(grpc_head(), false).unwrap();
            body.send_data(framed(b"first"), false).unwrap();
            tell.send(None).await.unwrap();
            tell.send(std::future::poll_fn(|cx| body.poll_reset(cx)).await.ok()).await.unwrap();
        }
    })
    .await;
    let mut service = service(&[address]);
    service.resilience.breaker = Some(CircuitBreaker {
        failure_ratio: Some(0.5),
        min_requests: 20,
        window: Duration::from_secs(10),
        consecutive_failures: Some(1),
        open_for: Duration::from_secs(5),
        half_open_requests: 3,
    });
    let cluster = Cluster::new(&service, wheels(), series()).unwrap();
    let held = Held::default();
    let open = |deadline| {
        let head = CallHead { held: Some(held.clone()), ..head() };
        cluster.call(Caller::Gateway(WorkerId::new(WORKER)), head, framed(b"question"), true, deadline)
    };
    held.pass_over(true);
    let late = soon(open(CallDeadline::Total(now() + Duration::from_secs(5)))).await.unwrap();
    assert_eq!(soon(told.recv()).await.unwrap(), None);
    // The head of the second answer comes behind the first answer, on the same connection.
    let mut other = soon(open(CallDeadline::None)).await.unwrap();
    assert_eq!(soon(told.recv()).await.unwrap(), None);
    soon(other.head()).await.unwrap();
    tokio::time::pause();
    let error = late.unary().await.unwrap_err();
    tokio::time::resume();
    assert!(matches!(error, CallError::DeadlineExceeded), "{error}");
    assert_eq!(soon(told.recv()).await.unwrap(), Some(Reason::CANCEL));
    assert_eq!((held.bytes(), cluster.breaker()), (0, Some(BreakerState::Closed)));
    let next = std::future::poll_fn(|cx| std::task::Poll::Ready(other.poll_message(cx))).await;
    assert!(next.is_pending());
    held.pass_over(false);
    assert_eq!(soon(other.next_message()).await.unwrap().unwrap().as_ref(), b"first");
}

#[tokio::test]
async fn messages_stream_both_ways() {
    let (address, _) = backend(usual(), |(request, mut respond): Incoming| async move {
        let mut body = request.into_body();
        let mut answer = respond.send_response(grpc_head(), false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            answer.send_data(data, false).unwrap();
        }
        answer.send_trailers(trailers("0")).unwrap();
    })
    .await;
    let cluster = cluster(&[address]);
    let opening = cluster.call(Caller::Gateway(WorkerId::new(WORKER)), head(), Bytes::new(), false, CallDeadline::None);
    let mut open = soon(opening).await.unwrap();
    let mut sender = open.take_sender().unwrap();
    for message in [b"one".as_slice(), b"", b"three"] {
        sender.send(framed(message)).await.unwrap();
        assert_eq!(soon(open.next_message()).await.unwrap().unwrap().as_ref(), message);
    }
    sender.finish().unwrap();
    assert_eq!(soon(open.next_message()).await.unwrap(), None);
    assert_eq!(open.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(soon(open.next_message()).await.unwrap(), None);
}

#[tokio::test]
async fn a_large_message_passes_both_windows_and_a_stalled_reader_stops_the_backend() {
    let (sent, mut progress) = mpsc::channel(1000);
    let (address, _) = backend(usual(), move |(_, mut respond): Incoming| {
        let sent = sent.clone();
        async move {
            let mut body = respond.send_response(grpc_head(), false).unwrap();
            let mut left = Bytes::from([framed(&[1; 900_000]), framed(&[2; 900_000])].concat());
            while !left.is_empty() {
                body.reserve_capacity(left.len());
                let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                let piece = left.split_to(room.min(left.len()));
                sent.send(piece.len()).await.unwrap();
                body.send_data(piece, false).unwrap();
            }
            body.send_trailers(trailers("0")).unwrap();
        }
    })
    .await;
    let cluster = cluster(&[address]);
    let mut open = soon(call(&cluster, CallDeadline::None)).await.unwrap();
    assert_eq!(soon(open.next_message()).await.unwrap().unwrap(), [1; 900_000].as_slice());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut sent = 0;
    while let Ok(piece) = progress.try_recv() {
        sent += piece;
    }
    assert!(sent < 900_000 + 2 * 256 * 1024, "{sent} sent although nobody takes them");
    assert_eq!(soon(open.next_message()).await.unwrap().unwrap(), [2; 900_000].as_slice());
    assert_eq!(soon(open.next_message()).await.unwrap(), None);
}

#[tokio::test]
async fn waiting_messages_come_without_waiting() {
    let (address, _) = backend(usual(), |(_, mut respond): Incoming| async move {
        answer(&mut respond, &[b"1", b"2", b"3"], "0");
    })
    .await;
    let cluster = cluster(&[address]);
    let mut open = soon(call(&cluster, CallDeadline::None)).await.unwrap();
    assert_eq!(soon(open.next_message()).await.unwrap().unwrap().as_ref(), b"1");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut batch = Vec::new();
    std::future::poll_fn(|cx| {
        while let Some(message) = open.waiting_message(cx).unwrap() {
            batch.push(message);
        }
        std::task::Poll::Ready(())
    })
    .await;
    assert_eq!(batch, [b"2".as_slice(), b"3"]);
    assert_eq!(soon(open.next_message()).await.unwrap(), None);
}

#[tokio::test]
async fn a_backend_that_is_down_fails_calls_and_is_used_when_it_is_up() {
    let (listener, address) = listen().await;
    drop(listener);
    let cluster = cluster(&[address]);
    for _ in 0..3 {
        let reject = unary(&cluster).await.unwrap_err().into_reject();
        assert_eq!(reject.reason, Word::ConnectFailed);
        assert!(reject.retry_after.is_some());
    }
    assert_eq!(cluster.endpoints()[0].state, EndpointState::TransientFailure);
    tokio::time::sleep(Duration::from_millis(500)).await;
    serve_on(TcpListener::bind(address).await.unwrap(), usual(), echo);
    soon(async {
        while unary(&cluster).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn another_endpoint_is_used_while_one_is_down() {
    let (listener, down) = listen().await;
    drop(listener);
    let (up, _) = backend(usual(), echo).await;
    let cluster = cluster(&[down, up]);
    for _ in 0..50 {
        unary(&cluster).await.unwrap();
    }
}

#[tokio::test]
async fn calls_are_spread_over_endpoints() {
    for policy in [BalancingPolicy::LeastRequest, BalancingPolicy::RoundRobin, BalancingPolicy::Random] {
        let hits: Vec<_> = (0..3).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let mut addresses = Vec::new();
        for hit in &hits {
            let hit = Arc::clone(hit);
            let counted = move |incoming: Incoming| {
                hit.fetch_add(1, Ordering::Relaxed);
                echo(incoming)
            };
            addresses.push(backend(usual(), counted).await.0);
        }
        let mut service = service(&addresses);
        service.resilience.balancing.policy = policy;
        let cluster = Cluster::new(&service, wheels(), series()).unwrap();
        for _ in 0..90 {
            unary(&cluster).await.unwrap();
        }
        let hits: Vec<_> = hits.iter().map(|hit| hit.load(Ordering::Relaxed)).collect();
        assert!(hits.iter().all(|hits| *hits >= 15), "{policy:?}: {hits:?}");
    }
}

#[tokio::test]
async fn something_that_is_not_http2_is_a_failed_connection() {
    use tokio::io::AsyncWriteExt;
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
        }
    });
    let reject = unary(&cluster(&[address])).await.unwrap_err().into_reject();
    assert_eq!(reject.reason, Word::ConnectFailed);
}

#[tokio::test]
async fn a_backend_that_says_nothing_fails_all_who_wait_after_the_connect_timeout() {
    let (listener, address) = listen().await;
    let mut service = service(&[address]);
    service.connect_timeout = Duration::from_millis(300);
    let cluster = Cluster::new(&service, wheels(), series()).unwrap();
    let begun = Instant::now();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { unary(&cluster).await })
        })
        .collect();
    for call in calls {
        let reject = call.await.unwrap().unwrap_err().into_reject();
        assert_eq!(reject.reason, Word::ConnectFailed);
    }
    assert!(begun.elapsed() >= service.connect_timeout, "{:?}", begun.elapsed());
    drop(listener);
}

#[tokio::test]
async fn one_connection_is_made_however_many_calls_wait_for_it() {
    let (address, connections) = backend(usual(), echo).await;
    let cluster = cluster(&[address]);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { unary(&cluster).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_limit_on_streams_of_the_peer_holds() {
    let (most, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut one = usual();
    one.max_concurrent_streams(1);
    let seen = Arc::clone(&most);
    let (address, connections) = backend(one, move |incoming: Incoming| {
        let (most, running) = (Arc::clone(&seen), Arc::clone(&running));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::Relaxed);
            echo(incoming).await;
        }
    })
    .await;
    let cluster = cluster(&[address]);
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { unary(&cluster).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((most.load(Ordering::Relaxed), connections.load(Ordering::Relaxed)), (1, 1));
    // A call that is dropped before it was ever written must not block the next one.
    drop(call(&cluster, CallDeadline::None).await.unwrap());
    unary(&cluster).await.unwrap();
}

#[tokio::test]
async fn a_call_that_finds_no_stream_in_time_is_refused_as_overload() {
    // A backend that takes one call at a time makes others wait in line.
    for (streams, patience) in [(1, Duration::from_secs(1)), (100, Duration::from_millis(250))] {
        let mut few = usual();
        few.max_concurrent_streams(streams);
        let (address, _) = backend(few, |incoming: Incoming| async move {
            std::future::pending::<()>().await;
            drop(incoming);
        })
        .await;
        let cluster = cluster(&[address]);
        let mut held = Vec::new();
        let refused = loop {
            let begun = Instant::now();
            match soon(call(&cluster, CallDeadline::None)).await {
                Ok(call) => held.push(call),
                Err(error) => break (error.into_reject().reason, begun.elapsed()),
            }
        };
        assert_eq!(refused.0, Word::Overloaded);
        assert!(held.len() >= usize::try_from(streams).unwrap());
        assert!(refused.1 >= patience, "{refused:?}");
    }
}

#[tokio::test]
async fn a_limit_of_no_streams_is_waited_out() {
    let (listener, address) = listen().await;
    let (raised, ready) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut frames = Vec::new();
        // SETTINGS { MAX_CONCURRENT_STREAMS: 0 }, and 1 a little later; whatever comes is only kept.
        socket.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]).await.unwrap();
        let headers = |frames: &[u8]| frames.windows(7).any(|w| w == b"t.Test/" || w[..6] == [0x41, 0x8a, 0, 0, 0, 0]);
        let _ = timeout(Duration::from_millis(100), async { while socket.read_buf(&mut frames).await.unwrap() > 0 {} })
            .await;
        assert!(!headers(&frames));
        let before = frames.len();
        socket.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1]).await.unwrap();
        while frames.len() < before + 60 {
            socket.read_buf(&mut frames).await.unwrap();
        }
        raised.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    let cluster = cluster(&[address]);
    let open = soon(call(&cluster, CallDeadline::None)).await.unwrap();
    soon(ready).await.unwrap();
    drop(open);
}

#[tokio::test]
async fn after_goaway_new_calls_take_a_new_connection_and_old_ones_end() {
    let (listener, address) = listen().await;
    let served = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut first = handshake(socket, &usual()).await;
        let (held, mut held_respond) = first.accept().await.unwrap().unwrap();
        first.graceful_shutdown();
        let draining = tokio::spawn(async move { while first.accept().await.is_some() {} });
        let (socket, _) = listener.accept().await.unwrap();
        let mut second = handshake(socket, &usual()).await;
        echo(second.accept().await.unwrap().unwrap()).await;
        tokio::spawn(async move { while second.accept().await.is_some() {} });
        answer(&mut held_respond, &[b"old"], "0");
        drop(held);
        draining.await.unwrap();
    });
    let cluster = cluster(&[address]);
    let old = soon(call(&cluster, CallDeadline::None)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    unary(&cluster).await.unwrap();
    assert_eq!(soon(old.unary()).await.unwrap().message.as_ref(), b"old");
    soon(served).await.unwrap();
}

#[tokio::test]
async fn a_refused_stream_may_be_sent_again_and_a_lost_one_may_not() {
    for (reason, unprocessed) in [(Reason::REFUSED_STREAM, true), (Reason::INTERNAL_ERROR, false)] {
        let (address, _) = backend(usual(), move |(_, mut respond): Incoming| async move {
            respond.send_reset(reason);
        })
        .await;
        let error = unary(&cluster(&[address])).await.unwrap_err();
        assert_eq!(error.is_unprocessed(), unprocessed, "{error}");
    }
}

#[tokio::test]
async fn more_connections_are_made_when_one_is_busy_and_closed_with_their_cluster() {
    let closed = Arc::new(AtomicUsize::new(0));
    let (listener, address) = listen().await;
    let counted = Arc::clone(&closed);
    tokio::spawn(async move {
        let mut few = usual();
        few.max_concurrent_streams(5);
        while let Ok((socket, _)) = listener.accept().await {
            let (few, closed) = (few.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut connection = handshake(socket, &few).await;
                let mut held = Vec::new();
                while let Some(Ok(incoming)) = connection.accept().await {
                    held.push(incoming);
                }
                closed.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    let mut service = service(&[address]);
    service.connections.max = 2;
    let cluster = Cluster::new(&service, wheels(), series()).unwrap();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(soon(call(&cluster, CallDeadline::None)).await.unwrap());
    }
    while cluster.endpoints()[0].connections < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..6 {
        open.push(soon(call(&cluster, CallDeadline::None)).await.unwrap());
    }
    assert_eq!(cluster.endpoints()[0].in_flight, 10);
    let full = soon(call(&cluster, CallDeadline::None)).await.unwrap_err();
    assert!(matches!(full, CallError::Overloaded));
    drop(open);
    drop(cluster);
    while closed.load(Ordering::Relaxed) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_connection_that_does_not_answer_pings_is_given_up() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut sink = [0; 4096];
        while socket.read(&mut sink).await.unwrap_or(0) > 0 {}
    });
    let mut service = service(&[address]);
    service.connections.keepalive =
        Some(Keepalive { interval: Duration::from_millis(100), timeout: Duration::from_millis(50) });
    let cluster = Cluster::new(&service, wheels(), series()).unwrap();
    let begun = Instant::now();
    let reject = soon(unary(&cluster)).await.unwrap_err().into_reject();
    assert_eq!(reject.reason, Word::UpstreamReset);
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_sender_that_is_dropped_early_cancels_the_call() {
    let (seen, mut ends) = mpsc::channel(1);
    let (address, _) = backend(usual(), move |(request, respond): Incoming| {
        let seen = seen.clone();
        async move {
            let mut body = request.into_body();
            let end = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error.reason(),
                    None => break None,
                }
            };
            seen.send(end).await.unwrap();
            drop(respond);
        }
    })
    .await;
    let cluster = cluster(&[address]);
    let opening =
        cluster.call(Caller::Gateway(WorkerId::new(WORKER)), head(), framed(b"part"), false, CallDeadline::None);
    let mut open = soon(opening).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(open.take_sender());
    assert_eq!(soon(ends.recv()).await.unwrap(), Some(Reason::CANCEL));
    assert!(soon(open.next_message()).await.is_err());
}

#[tokio::test]
async fn a_name_waits_for_its_addresses_and_fails_as_unhealthy_without_them() {
    let mut service = service(&[SocketAddr::from(([127, 0, 0, 1], 1))]);
    service.connect_timeout = Duration::from_millis(100);
    let named = |port| Target::Host(HostPort { host: "orders.invalid".into(), port });
    service.endpoints[0].target = named(1);
    let nowhere = Cluster::new(&service, wheels(), series()).unwrap();
    let reject = unary(&nowhere).await.unwrap_err().into_reject();
    assert_eq!(reject.reason, Word::NoHealthyEndpoint);

    let (address, _) = backend(usual(), echo).await;
    service.connect_timeout = Duration::from_secs(2);
    service.endpoints[0].target = named(address.port());
    let found = Cluster::new(&service, wheels(), series()).unwrap();
    let waiting = tokio::spawn({
        let found = Arc::clone(&found);
        async move { unary(&found).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    found.listed[0].set_addresses(&[address.ip()]);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_is_cut_in_an_answer_is_a_lost_call() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = handshake(socket, &usual()).await;
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut body = respond.send_response(grpc_head(), false).unwrap();
        body.send_data(framed(b"first"), false).unwrap();
        let _ = timeout(Duration::from_millis(50), connection.accept()).await;
    });
    let cluster = cluster(&[address]);
    let mut open = soon(call(&cluster, CallDeadline::None)).await.unwrap();
    assert_eq!(soon(open.next_message()).await.unwrap().unwrap().as_ref(), b"first");
    let error = soon(open.next_message()).await.unwrap_err();
    assert!(matches!(error, CallError::Reset { unprocessed: false, .. }), "{error}");
}

#[tokio::test]
async fn a_backend_that_gives_up_just_before_the_deadline_has_met_it() {
    for (pause, late) in [(90, true), (10, false)] {
        let (address, _) = backend(usual(), move |(_, mut respond): Incoming| async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            respond.send_reset(Reason::CANCEL);
        })
        .await;
        let cluster = cluster(&[address]);
        let deadline = CallDeadline::Total(now() + Duration::from_millis(100));
        let error = soon(async { call(&cluster, deadline).await?.unary().await }).await.unwrap_err();
        assert_eq!(matches!(error, CallError::DeadlineExceeded), late, "{error}");
    }
}

#[tokio::test]
async fn a_backend_that_complains_about_pings_gets_fewer() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut connection = handshake(socket, &usual()).await;
            let _call = connection.accept().await;
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            while connection.accept().await.is_some() {}
        }
    });
    let cluster = cluster(&[address]);
    let interval = || cluster.listed[0].keepalive().unwrap().interval;
    for expected in [10, 20, 40] {
        assert_eq!(interval(), Duration::from_secs(expected));
        unary(&cluster).await.unwrap_err();
        while cluster.endpoints()[0].state == EndpointState::Ready {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn the_least_number_of_connections_is_made_and_kept() {
    let (address, connections) = backend(usual(), echo).await;
    let mut service = service(&[address]);
    (service.connections.min, service.connections.max) = (3, 5);
    let cluster = Cluster::new(&service, wheels(), series()).unwrap();
    while cluster.endpoints()[0].connections < 3 {
        unary(&cluster).await.unwrap();
    }
    for _ in 0..20 {
        unary(&cluster).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

/// A backend that takes this many calls on a connection, and never answers.
async fn silent(streams: u32) -> SocketAddr {
    let mut few = usual();
    few.max_concurrent_streams(streams);
    let (address, _) = backend(few, |incoming: Incoming| async move {
        std::future::pending::<()>().await;
        drop(incoming);
    })
    .await;
    address
}

#[tokio::test]
async fn connections_of_two_workers_grow_to_the_most_under_load_and_shrink_to_the_least_without() {
    const WORKERS: u16 = 2;
    let address = silent(2).await;
    let mut service = service(&[address]);
    (service.connections.min, service.connections.max) = (5, 20);
    // Those of the workers, and the control thread.
    let cluster = Cluster::new(&service, wheels_of(usize::from(WORKERS) + 1), series()).unwrap();
    let call = |worker: u16| {
        cluster.call(
            Caller::Gateway(WorkerId::new(worker)),
            head(),
            framed(b"question"),
            true,
            CallDeadline::Total(now() + Duration::from_secs(30)),
        )
    };
    let connections = || cluster.endpoints()[0].connections;
    let mut open = Vec::new();
    for worker in 0..WORKERS {
        for _ in 0..20 {
            open.push(soon(call(worker)).await.unwrap());
        }
    }
    assert_eq!((connections(), cluster.endpoints()[0].in_flight), (20, 40));
    for worker in 0..WORKERS {
        let full = soon(call(worker)).await.map(drop).unwrap_err();
        assert!(matches!(full, CallError::Overloaded), "{full}");
    }
    assert_eq!(connections(), 20);
    drop(open);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(connections(), 20);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(connections(), 5);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(connections(), 5);
}

#[tokio::test]
async fn a_connection_that_is_not_needed_is_closed_after_a_minute() {
    let address = silent(5).await;
    let mut service = service(&[address]);
    service.connections.max = 2;
    let cluster = Cluster::new(&service, wheels(), series()).unwrap();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(soon(call(&cluster, CallDeadline::None)).await.unwrap());
    }
    while cluster.endpoints()[0].connections < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(open);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(cluster.endpoints()[0].connections, 2);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(cluster.endpoints()[0].connections, 1);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(cluster.endpoints()[0].connections, 1);
}
