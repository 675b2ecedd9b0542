//! One connection from accept to its end: which protocol it speaks, and who serves it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::request::Parts;
use tidegate_config::valid::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::body::RequestBody;
use crate::ids::ConnInfo;
use crate::reject::{Reason, Reject};
use crate::tasks;
use crate::telemetry::answer::AnswerBody;
use crate::telemetry::metrics::{ConnectionRefusal, ConnectionType, Gauged};
use crate::time::now;

use super::accept::{self, Permit};
use super::drain::Lane;
use super::guard::{Guarded, Setup, Traffic};
use super::http1::Wire;
use super::listener::Live;
use super::sniff::{self, Sniffed};
use super::transport::Transport;
use super::{Handle, Settings, http1, http2, proxy_protocol, tls};

/// While draining, a connection that has not carried a request yet may still bring one within this time: a client has
/// opened it for a reason.
pub(super) const UNUSED_GRACE: Duration = Duration::from_secs(1);

/// What all requests of a connection share.
pub(super) struct Conn<H> {
    handler: Arc<H>,
    pub(super) info: Arc<ConnInfo>,
    /// Of HTTP/2.
    pub(super) traffic: Arc<Traffic>,
    pub(super) lane: Arc<Lane>,
    live: Arc<Live>,
    pub(super) close_at: Instant,
}

impl<H: Handle> Conn<H> {
    pub(super) fn new(handler: Arc<H>, info: ConnInfo, live: Arc<Live>, lane: Arc<Lane>) -> Arc<Self> {
        let close_at = now() + spread(live.settings.timeouts.age, info.peer);
        let traffic = Arc::new(Traffic::default());
        Arc::new(Self { handler, info: Arc::new(info), traffic, lane, live, close_at })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.live.settings
    }

    /// Answers one vetted request. The result is for [`Conn::settle`]; two steps, because each layer of futures around
    /// the handler's is one more copy of it.
    pub(super) fn handle(
        &self,
        head: Box<Parts>,
        body: RequestBody,
    ) -> tasks::Guarded<impl Future<Output = Response<AnswerBody>> + Send> {
        tasks::guard("request", self.handler.handle(&self.info, head, body))
    }

    /// The answer, also after a panic in the handler: that is a 500.
    pub(super) fn settle(&self, handled: Result<Response<AnswerBody>, tasks::Panicked>) -> Response<AnswerBody> {
        handled.unwrap_or_else(|tasks::Panicked| self.refuse(None, Reject::new(Reason::Internal)))
    }

    pub(super) fn refuse(&self, request: Option<Box<Parts>>, reject: Reject) -> Response<AnswerBody> {
        self.handler.refuse(&self.info, request, reject)
    }

    /// The connection speaks `protocol`, until the guard is dropped.
    pub(super) fn opened(&self, protocol: ConnectionType) -> Gauged {
        self.lane.listener.series.connection(self.info.worker, protocol)
    }

    /// `stream` as HTTP/2, of which `read` has come.
    fn guarded<Io>(&self, stream: Io, read: Bytes, deadline: Instant) -> Guarded<Io>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let setup = Setup {
            timeouts: self.settings().timeouts,
            traffic: Arc::clone(&self.traffic),
            deadline,
            close_at: self.close_at,
            frames: self.settings().http2.frames_per_second,
        };
        Guarded::new(stream, read, setup)
    }
}

/// A session of HTTP/1 on `stream`, of which `read` has come.
fn http1<Io: Transport, H: Handle>(
    stream: Io,
    read: BytesMut,
    deadline: Instant,
    conn: Arc<Conn<H>>,
) -> http1::Session<Io, H> {
    let wire = Wire::new(stream, read, Arc::clone(&conn.live), deadline, conn.close_at);
    http1::Session::new(wire, conn)
}

/// A connection in clear text that carries requests of HTTP/1.
pub(super) struct Opened<Io, H> {
    pub(super) session: http1::Session<Io, H>,
    /// Given back with the connection.
    pub(super) permit: Option<Permit>,
}

/// Serves one connection to its end. What its opening needs is boxed, and gone when requests come, as is everything of the
/// connections that have something else to carry: what is left is the memory of an idle connection.
pub(super) async fn serve<Io, H>(opening: Pin<Box<impl Future<Output = Option<Opened<Io, H>>>>>)
where
    Io: Transport,
    H: Handle,
{
    let Some(Opened { session, permit }) = opening.await else { return };
    session.serve().await;
    drop(permit);
}

/// Opens a connection that was accepted. `None`: it has ended.
pub(super) async fn open<H: Handle>(
    mut stream: TcpStream,
    mut info: Box<ConnInfo>,
    live: Arc<Live>,
    handler: Arc<H>,
    mut permit: Permit,
) -> Option<Opened<TcpStream, H>> {
    if live.settings.proxy_protocol {
        match source(&mut stream, info.peer, &live.settings, &permit.lane).await? {
            Ok(peer) => info.peer = peer,
            Err(why) => {
                permit.lane.listener.series.refused(info.worker, why);
                return None;
            }
        }
        if !permit.sit(info.peer.ip(), &live.settings) {
            permit.lane.listener.series.refused(info.worker, ConnectionRefusal::LimitPerIp);
            accept::turn_away(&*handler, &stream, *info, &permit.lane);
            return None;
        }
    }
    let conn = Conn::new(handler, *info, live, Arc::clone(&permit.lane));
    if conn.live.tls.is_some() {
        // Boxed, as is HTTP/2 below: a future is as large as its largest branch.
        Box::pin(serve_tls(stream, conn)).await;
        return None;
    }
    let session = open_plain(stream, conn).await?;
    Some(Opened { session, permit: Some(permit) })
}

/// Who is behind the proxy that has connected: what its header says, or itself if it speaks for itself. `None`: the lane
/// drains, and nothing has come.
async fn source(
    stream: &mut TcpStream,
    peer: SocketAddr,
    settings: &Settings,
    lane: &Lane,
) -> Option<Result<SocketAddr, ConnectionRefusal>> {
    if !settings.trusts(peer.ip()) {
        return Some(Err(ConnectionRefusal::ProxyUntrusted));
    }
    let header = tokio::time::timeout(settings.timeouts.head, proxy_protocol::receive(stream));
    match unless_draining(lane, Box::pin(header)).await? {
        Ok(Ok(source)) => Some(Ok(source.unwrap_or(peer))),
        Ok(Err(_)) | Err(_) => Some(Err(ConnectionRefusal::ProxyHeader)),
    }
}

async fn serve_tls<H: Handle>(stream: TcpStream, conn: Arc<Conn<H>>) {
    let Some(acceptor) = &conn.live.tls else {
        return;
    };
    let (begun, worker, series) = (now(), conn.info.worker, &conn.lane.listener.series);
    let handshake = tokio::time::timeout(conn.settings().timeouts.handshake, acceptor.accept(stream));
    let stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return series.refused(worker, ConnectionRefusal::TlsFailed),
        Err(_) => return series.refused(worker, ConnectionRefusal::TlsTimeout),
    };
    series.handshake(worker, now().saturating_duration_since(begun));
    if let Some(certificate) = tls::client_certificate(&stream) {
        let _first = conn.info.certificate.set(certificate);
    }
    let deadline = now() + conn.settings().timeouts.head;
    if tls::is_http2(&stream) {
        let _open = conn.opened(ConnectionType::Http2);
        return http2::serve(conn.guarded(stream, Bytes::new(), deadline), conn).await;
    }
    http1(stream, BytesMut::new(), deadline, conn).serve().await;
}

/// Finds out what a connection in clear text speaks, and serves it to its end unless that is HTTP/1.
pub(super) async fn open_plain<Io, H>(mut stream: Io, conn: Arc<Conn<H>>) -> Option<http1::Session<Io, H>>
where
    Io: Transport,
    H: Handle,
{
    let deadline = now() + conn.settings().timeouts.head;
    let mut sniffed = Sniffed::Http1;
    let mut read = BytesMut::new();
    if conn.settings().speaks(Protocol::Http2) {
        let sniff = tokio::time::timeout_at(deadline.into(), sniff::sniff(&mut stream, &mut read));
        match unless_draining(&conn.lane, sniff).await {
            Some(Ok(Ok(seen))) => sniffed = seen,
            Some(Ok(Err(_))) => return None,
            // Half a preface is no request: the guard, whose deadline is the same, finds out.
            Some(Err(_)) | None => {}
        }
        if read.is_empty() {
            return None;
        }
    }
    if sniffed == Sniffed::Http2 {
        let _open = conn.opened(ConnectionType::Http2);
        Box::pin(http2::serve(conn.guarded(stream, read.freeze(), deadline), conn)).await;
        return None;
    }
    Some(http1(stream, read, deadline, conn))
}

/// The output of `future`, or `None` once the lane has drained for [`UNUSED_GRACE`].
async fn unless_draining<F: Future>(lane: &Lane, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut grace: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if !lane.is_draining() {
            return Poll::Pending;
        }
        let grace = grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(UNUSED_GRACE)));
        grace.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// `age` ± 10 %, so that connections that were opened together are not closed together. The client's port is as good
/// as random.
fn spread(age: Duration, peer: SocketAddr) -> Duration {
    let percent = 90 + u32::from(peer.port()) % 21;
    age.saturating_mul(percent) / 100
}

/// A request is being answered, until this is dropped.
pub(super) struct Busy {
    lane: Arc<Lane>,
    _in_flight: Gauged,
}

impl Busy {
    pub(super) fn begin(lane: &Arc<Lane>) -> Self {
        lane.request_begun();
        let in_flight = lane.listener.series.request(lane.worker.id);
        Self { lane: Arc::clone(lane), _in_flight: in_flight }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.lane.request_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_by_a_tenth() {
        let hour = Duration::from_secs(3600);
        let ages: Vec<_> = (0..1000_u16).map(|port| spread(hour, SocketAddr::from(([127, 0, 0, 1], port)))).collect();
        assert_eq!(ages.iter().min(), Some(&(hour * 9 / 10)));
        assert_eq!(ages.iter().max(), Some(&(hour * 11 / 10)));
    }
}
