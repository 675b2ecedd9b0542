//! A client's connection after a 101: bytes, in both directions, and no HTTP any more.
//!
//! ```text
//!   guard ── read half ──► Socket   a request's body that begins to flow after the 101
//!     ▲
//!     └──── write half ──── Granted  the body of the answer, written as it comes
//! ```
//! Each direction goes on by itself: one whose reader is slow holds up its own writer and not the other one.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::oneshot;

use crate::body::{BodyError, WriteTimeout};
use crate::listen::connection::Busy;
use crate::listen::guard::Guarded;
use crate::telemetry::answer::AnswerBody;

/// Bytes of one read. They stand on the stack, so that a tunnel at rest holds no buffer.
const READ: usize = 16 * 1024;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// A request that asks for a tunnel, and has not been answered.
pub(super) struct Offer {
    upgrade: OnUpgrade,
    socket: Option<Socket>,
    reader: oneshot::Sender<Reader>,
    left: oneshot::Receiver<Infallible>,
}

impl Offer {
    pub(super) fn new(request: &mut Request<Incoming>) -> Self {
        let (reader, awaited) = oneshot::channel();
        let (stays, left) = oneshot::channel();
        let socket = Socket { state: State::Awaited(awaited), _stays: stays };
        Self { upgrade: hyper::upgrade::on(request), socket: Some(socket), reader, left }
    }

    /// What the client sends, once.
    pub(super) fn socket(&mut self) -> Option<Socket> {
        self.socket.take()
    }

    /// The tunnel is granted: `body` is what the client gets.
    pub(super) fn granted(self, body: AnswerBody, busy: Busy, write_timeout: Option<WriteTimeout>) -> Granted {
        let Self { upgrade, reader, left, .. } = self;
        Granted { upgrade, reader, left, body, busy, write_timeout }
    }
}

/// What the client sends through the tunnel. Waits until the 101 is out.
pub(super) struct Socket {
    state: State,
    /// Whoever waits for its end is told by the drop.
    _stays: oneshot::Sender<Infallible>,
}

enum State {
    Awaited(oneshot::Receiver<Reader>),
    Open(Reader),
    Ended,
}

impl Body for Socket {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let State::Awaited(awaited) = &mut self.state {
            let Ok(reader) = ready!(Pin::new(awaited).poll(cx)) else {
                self.state = State::Ended;
                return Poll::Ready(Some(Err(BodyError::Closed)));
            };
            self.state = State::Open(reader);
        }
        let State::Open(reader) = &mut self.state else { return Poll::Ready(None) };
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(reader).poll_read(cx, &mut buffer));
        match read {
            Ok(()) if !buffer.filled().is_empty() => {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(buffer.filled())))));
            }
            Ok(()) => self.state = State::Ended,
            Err(_) => {
                self.state = State::Ended;
                return Poll::Ready(Some(Err(BodyError::Closed)));
            }
        }
        Poll::Ready(None)
    }
}

/// A connection that becomes a tunnel as soon as its 101 is out.
pub(in crate::listen) struct Granted {
    upgrade: OnUpgrade,
    reader: oneshot::Sender<Reader>,
    left: oneshot::Receiver<Infallible>,
    body: AnswerBody,
    busy: Busy,
    write_timeout: Option<WriteTimeout>,
}

impl Granted {
    /// Serves the tunnel to its end.
    pub(super) async fn run<Io>(self: Box<Self>)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { upgrade, reader, left, mut body, busy: _busy, write_timeout } = *self;
        // An error: the client has gone before it got the 101.
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Guarded<Io>>>() else { return };
        let raw = parts.io.into_inner().into_raw(&parts.read_buf, write_timeout.as_ref().map(|own| own.wait));
        let (read, mut write) = tokio::io::split(raw);
        if reader.send(Box::new(read)).is_err() {
            return;
        }
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            // What cannot be gone on with closes the connection at once.
            let Ok(frame) = frame else { return };
            let Ok(data) = frame.into_data() else { continue };
            let mut waited = false;
            let written = async {
                write.write_all(&data).await?;
                write.flush().await
            };
            let mut written = pin!(written);
            let written = poll_fn(|cx| {
                let polled = written.as_mut().poll(cx);
                waited |= polled.is_pending();
                polled
            });
            match (written.await, &write_timeout) {
                (Ok(()), Some(own)) if waited => own.resumed.tell(),
                (Ok(()), _) => {}
                (Err(error), own) => {
                    if error.kind() == io::ErrorKind::TimedOut && own.is_some() {
                        body.overdue();
                    }
                    return;
                }
            }
        }
        if write.shutdown().await.is_ok() {
            // The client may still have a last word; whoever reads that does not do so for long.
            let _left = left.await;
        }
    }
}
