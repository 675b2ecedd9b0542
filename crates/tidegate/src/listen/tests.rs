//! Conversations with whole connections. Most run over a pipe in memory and on a paused clock, so that a minute of
//! patience takes no time; TLS, accepting and draining run over sockets.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, LINK};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tidegate_config::valid::{Protocol, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::{Conn, Opened, open_plain, serve};
use super::drain::Lane;
use super::listener::{Listener, Live};
use super::*;
use crate::body::{AnyBody, BodyError};
use crate::ids::WorkerId;
use crate::reject::Reason;

mod exchange;
mod handover;
mod http1;
mod http2;
mod inherit;
mod sockets;

/// Answers by path; counts what runs, so that a test sees a cancelled request end.
#[derive(Default)]
struct Scripted {
    running: AtomicUsize,
}

struct Running<'a>(&'a Scripted);

impl<'a> Running<'a> {
    fn new(scripted: &'a Scripted) -> Self {
        scripted.running.fetch_add(1, Ordering::SeqCst);
        Self(scripted)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Size of the answer of `/big`, in pieces of 32 KiB.
const BIG: usize = 4 * 1024 * 1024;

impl Handle for Scripted {
    async fn handle(&self, conn: &Arc<ConnInfo>, parts: Box<Parts>, body: RequestBody) -> Response<AnswerBody> {
        let _running = Running::new(self);
        let text = |text: String| answer(AnyBody::full(text.into()));
        match parts.uri.path() {
            "/echo" => match body.collect().await {
                Ok(body) => answer(AnyBody::full(body.to_bytes())),
                Err(error) => {
                    let reject = match error {
                        BodyError::Stalled => Reject::new(Reason::BadRequest).status(StatusCode::REQUEST_TIMEOUT),
                        BodyError::Malformed | BodyError::Undecodable | BodyError::TooLarge => {
                            Reject::new(Reason::BadRequest)
                        }
                        BodyError::Closed | BodyError::BrokenOff => Reject::new(Reason::ClientClosed),
                    };
                    self.render(&reject)
                }
            },
            "/ignore" => text("ignored".into()),
            // Asks for nothing of the body before the head of the answer is out.
            "/mirror" => answer(body),
            // Keeps the connection, whatever becomes of the body.
            "/count" => text(format!("{:?}", body.collect().await.map(|body| body.to_bytes().len()))),
            "/host" => text(format!("{} {}", parts.headers["host"].to_str().unwrap(), parts.uri)),
            "/slow" => std::future::pending().await,
            "/minute" => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                text("at last".into())
            }
            "/panic" => panic!("on purpose"),
            "/hint" => {
                conn.hints.leave(HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a>"))]));
                tokio::time::sleep(Duration::from_secs(
                    parts.uri.query().map_or(0, |seconds| seconds.parse().unwrap()),
                ))
                .await;
                text("hinted".into())
            }
            "/switch" => Response::builder().status(101).body(AnswerBody::untold(AnyBody::Empty)).unwrap(),
            "/broken" => answer(AnyBody::stream(Pieces { left: vec![None, Some(b"part".as_slice().into())] })),
            "/big" => {
                let piece = Bytes::from(vec![b'x'; 32 * 1024]);
                answer(AnyBody::stream(Pieces { left: vec![Some(piece); BIG / (32 * 1024)] }))
            }
            "/empty" => Response::builder().status(204).body(AnswerBody::untold(AnyBody::Empty)).unwrap(),
            _ => text("hello".into()),
        }
    }

    fn refuse(&self, _conn: &Arc<ConnInfo>, _request: Option<Box<Parts>>, reject: Reject) -> Response<AnswerBody> {
        self.render(&reject)
    }
}

impl Scripted {
    fn render(&self, reject: &Reject) -> Response<AnswerBody> {
        let body = format!("{}: {}", reject.reason.word(), reject.detail);
        let mut response = answer(AnyBody::full(body.into()));
        *response.status_mut() = reject.status.unwrap_or(reject.reason.status());
        response
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

fn answer(body: AnyBody) -> Response<AnswerBody> {
    Response::new(AnswerBody::untold(body))
}

/// A body of pieces, last one first; `None` breaks it off.
struct Pieces {
    left: Vec<Option<Bytes>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.left.pop().map(|piece| piece.map(Frame::data).ok_or(BodyError::BrokenOff)))
    }
}

fn settings(protocols: &[Protocol]) -> Settings {
    Settings {
        name: "test".into(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: Tls::None,
        clients: None,
        protocols: protocols.to_vec(),
        head: HeadLimits::default(),
        http2: Http2Limits::default(),
        timeouts: Timeouts::default(),
        max_connections: 1000,
        max_connections_per_ip: None,
        proxy_protocol: false,
        trusted_proxies: Vec::new(),
    }
}

/// A connection in memory, with the handler and the switch that its server sees.
struct Pipe {
    client: DuplexStream,
    scripted: Arc<Scripted>,
    control: Arc<Control>,
}

const BOTH: [Protocol; 2] = [Protocol::Http2, Protocol::Http1];

fn pipe() -> Pipe {
    pipe_with(settings(&BOTH))
}

fn pipe_with(settings: Settings) -> Pipe {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let scripted = Arc::new(Scripted::default());
    let (control, lane) = lane(settings);
    let conn = conn(&scripted, &lane);
    tokio::spawn(async move { lane.run_until_cut(pin!(serve_plain(server, conn))).await });
    Pipe { client, scripted, control }
}

/// A listener without sockets.
fn lane(settings: Settings) -> (Arc<Control>, Arc<Lane>) {
    let control = Control::new(BindOptions::default());
    let local = settings.address;
    let listener = Listener::new(Live::load(settings, None, None).unwrap(), local, &Telemetry::default());
    let lane = control.serve_without_sockets(&listener);
    (control, lane)
}

fn conn(scripted: &Arc<Scripted>, lane: &Arc<Lane>) -> Arc<Conn<Scripted>> {
    let info = ConnInfo::new(lane.worker.id, "test".into(), lane.listener.local);
    Conn::new(Arc::clone(scripted), info, lane.listener.live(), Arc::clone(lane))
}

/// Serves `server` to its end as a listener serves a connection in clear text.
async fn serve_plain(server: DuplexStream, conn: Arc<Conn<Scripted>>) {
    serve(Box::pin(async { Some(Opened { session: open_plain(server, conn).await?, permit: None }) })).await;
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    let (_, server) = tokio::io::duplex(64);
    let (_, lane) = lane(settings(&BOTH));
    let conn = conn(&Arc::default(), &lane);
    let serving = async move { lane.run_until_cut(pin!(serve_plain(server, conn))).await };
    let bytes = size_of_val(&serving);
    // Its timer comes on top, the future of the real handler, and while a request is handled its buffers.
    assert!(bytes <= 1_456, "{bytes} bytes");
}

/// Waits, without advancing a paused clock by more than `within`, until `condition` holds.
async fn eventually(within: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {within:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
