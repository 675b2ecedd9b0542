//! Bodies of requests and answers, independent of the HTTP version that carries them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The peer closed or reset the transport.
    #[error("the peer went away")]
    Closed,
    /// The peer made no progress for longer than allowed.
    #[error("no progress within the deadline")]
    Stalled,
    /// The framing of the body is wrong.
    #[error("broken framing")]
    Malformed,
    /// The bytes are not what their content coding says.
    #[error("not what its content coding says")]
    Undecodable,
    /// It is, or would become, larger than allowed.
    #[error("larger than allowed")]
    TooLarge,
    /// An answer cannot be finished truthfully: the connection (HTTP/1.1) or stream (HTTP/2) must be broken
    /// off, so that nobody takes the part for the whole.
    #[error("broken off")]
    BrokenOff,
}

/// How long an answer may wait for a client that takes nothing of it, where that is not for the listener to say. It stands
/// among the extensions of the answer.
#[derive(Clone, Debug)]
pub struct WriteTimeout {
    /// So long.
    pub wait: Duration,
    /// Told when the client takes more after all.
    pub resumed: Resumed,
}

/// That a client had no room for its answer and then made some: a sign of life, which bytes that the system takes in for a
/// client are not. Whoever writes tells it, copies see it.
#[derive(Clone, Debug, Default)]
pub struct Resumed(Arc<AtomicBool>);

impl Resumed {
    /// It has made room.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has since this was last asked.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// A body whose length or whose frames are only known as they come.
pub type BodyStream = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

/// A request's or an answer's body.
#[derive(Default)]
pub enum AnyBody {
    /// No bytes at all.
    #[default]
    Empty,
    /// All of it, at hand. `None` once it has been taken.
    Full(Option<Bytes>),
    /// Frames as they come; may end with trailers.
    Stream(BodyStream),
    /// No body, but what the client sends once its request has been answered with 101: see [`AnyBody::take_socket`].
    Socket(BodyStream),
}

/// The body of a request, as the listener hands it over: framing removed, trailers kept.
pub type RequestBody = AnyBody;

/// The body of an answer. An error from it means: break the transport off, do not end cleanly.
pub type ResponseBody = AnyBody;

impl AnyBody {
    /// A body that is at hand; an empty one has no frames.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }

    /// The bytes of a client that asks for a tunnel. It is an empty body for whoever makes none of it.
    pub fn socket(bytes: impl Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self::Socket(Box::pin(bytes))
    }

    /// The bytes of the client, for a tunnel; what is left is empty. `None` if the client asks for none.
    pub fn take_socket(&mut self) -> Option<BodyStream> {
        match std::mem::take(self) {
            Self::Socket(bytes) => Some(bytes),
            other => {
                *self = other;
                None
            }
        }
    }

    /// A body that comes in frames.
    pub fn stream(body: impl Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }
}

impl std::fmt::Debug for AnyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({})", bytes.as_ref().map_or(0, Bytes::len)),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Socket(_) => f.write_str("Socket"),
        }
    }
}

impl Body for AnyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty | Self::Socket(_) => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Socket(_) => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Socket(_) => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
