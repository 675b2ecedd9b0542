//! A client's connection after a 101: bytes, in both directions, and no HTTP any more.
//!
//! ```text
//!    wire ── read half ──► Socket   a request's body that begins to flow after the 101
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
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::sync::oneshot;

use crate::body::{BodyError, WriteTimeout};
use crate::listen::connection::Busy;
use crate::telemetry::answer::AnswerBody;

use super::wire::Wire;
use crate::listen::transport::Transport;

/// Bytes of one read. They stand on the stack, so that a tunnel at rest holds no buffer.
const READ: usize = 16 * 1024;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// A request that asks for a tunnel, and has not been answered.
pub(super) struct Offer {
    reader: oneshot::Sender<Reader>,
    left: oneshot::Receiver<Infallible>,
}

impl Offer {
    /// With what the client sends.
    pub(super) fn new() -> (Self, Socket) {
        let (reader, awaited) = oneshot::channel();
        let (stays, left) = oneshot::channel();
        (Self { reader, left }, Socket { state: State::Awaited(awaited), _stays: stays })
    }

    /// The tunnel is granted: `body` is what the client gets.
    pub(super) fn granted(self, body: AnswerBody, busy: Busy, write_timeout: Option<WriteTimeout>) -> Granted {
        let Self { reader, left } = self;
        Granted { reader, left, body, busy, write_timeout }
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

/// A connection that is a tunnel, since its 101 is out.
pub(super) struct Granted {
    reader: oneshot::Sender<Reader>,
    left: oneshot::Receiver<Infallible>,
    body: AnswerBody,
    busy: Busy,
    write_timeout: Option<WriteTimeout>,
}

impl Granted {
    /// Serves the tunnel to its end.
    pub(super) async fn run<Io>(self: Box<Self>, wire: Wire<Io>)
    where
        Io: Transport,
    {
        let Self { reader, left, mut body, busy: _busy, write_timeout } = *self;
        let raw = wire.into_raw(write_timeout.as_ref().map(|own| own.wait));
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
