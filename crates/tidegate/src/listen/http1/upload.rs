//! The body of a request that comes while the request is being handled: whoever handles it asks for the next piece, and only
//! then does the connection read on.
//!
//! ```text
//!   connection ── Feed ──► one piece ──► Upload   the body that the handler has
//!                  ▲                       │
//!                  └────── is asked ◄──────┘
//! ```
//! Both nearly always run in one task, whose connection looks for a question after each poll of the handler; an [`Upload`] that
//! is polled by another task wakes the connection's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::body::BodyError;

use super::framing::{BodyLength, Fault, Framing, Part};

/// The connection's end of a body.
pub(super) struct Feed(Arc<Mutex<Between>>);

/// The handler's end.
pub(super) struct Upload(Arc<Mutex<Between>>);

/// What is between the two.
struct Between {
    /// Handed over, and not taken yet.
    data: Option<Bytes>,
    /// What follows it, once that is known.
    end: Option<End>,
    /// Bytes that are still to be handed over, if that is known.
    left: Option<u64>,
    /// The handler has asked for a piece that has not been handed over.
    asked: bool,
    /// The handler has let go of it.
    dropped: bool,
    handler: Option<Waker>,
    connection: Option<Waker>,
}

enum End {
    /// With trailers, until they are taken.
    Good(Option<HeaderMap>),
    /// The rest will never come.
    Broken(BodyError),
}

/// Both ends of a body of this length.
pub(super) fn body(length: BodyLength) -> (Feed, Upload) {
    let left = match length {
        BodyLength::None => Some(0),
        BodyLength::Sized(length) => Some(length),
        BodyLength::Chunked => None,
    };
    let between = Arc::new(Mutex::new(Between {
        data: None,
        end: None,
        left,
        asked: false,
        dropped: false,
        handler: None,
        connection: None,
    }));
    (Feed(Arc::clone(&between)), Upload(between))
}

/// Small pieces are joined up to this size, so that a body in chunks of a byte each does not cost a poll of its handler for
/// each of them; a piece that is as large by itself is handed over as it is.
const JOINED: usize = 4 * 1024;

/// What has come of a body, to be handed over together.
#[derive(Default)]
pub(super) struct Piece {
    first: Bytes,
    joined: BytesMut,
    end: Option<End>,
}

impl Piece {
    /// Adds what is at hand, up to a bound.
    ///
    /// # Errors
    /// Something is wrong with it; what was added before is sound.
    pub(super) fn take(&mut self, framing: &mut Framing, input: &mut BytesMut) -> Result<(), Fault> {
        while self.end.is_none() && self.first.len() < JOINED && self.joined.len() < JOINED {
            match framing.body(input)? {
                Part::Data(data) => self.add(data),
                Part::End(trailers) => self.end = Some(End::Good(trailers)),
                Part::More => break,
            }
        }
        Ok(())
    }

    fn add(&mut self, data: Bytes) {
        if self.first.is_empty() {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&self.first);
        }
        self.joined.extend_from_slice(&data);
    }

    /// There is something to hand over.
    pub(super) fn any(&self) -> bool {
        !self.first.is_empty() || self.end.is_some()
    }

    /// The rest will never come.
    pub(super) fn breaks(&mut self, error: BodyError) {
        self.end = Some(End::Broken(error));
    }

    fn data(&mut self) -> Bytes {
        let joined = std::mem::take(&mut self.joined);
        if joined.is_empty() { std::mem::take(&mut self.first) } else { joined.freeze() }
    }
}

impl Feed {
    /// Whether a piece is wanted. If not, the task of `cx` is woken when one is.
    pub(super) fn is_asked(&self, cx: &Context<'_>) -> bool {
        let mut between = self.0.lock();
        if !between.asked && !between.dropped {
            keep(&mut between.connection, cx);
        }
        between.asked
    }

    /// Hands over what has come. A handler in the task of `cx` is not woken: its connection polls it.
    pub(super) fn hand_over(&self, mut piece: Piece, cx: &Context<'_>) {
        let mut between = self.0.lock();
        let data = piece.data();
        if let Some(left) = &mut between.left {
            *left = left.saturating_sub(data.len() as u64);
            if *left == 0 {
                piece.end.get_or_insert(End::Good(None));
            }
        }
        between.end = piece.end;
        between.data = (!data.is_empty()).then_some(data);
        between.asked = false;
        if let Some(handler) = between.handler.take_if(|handler| !handler.will_wake(cx.waker())) {
            handler.wake();
        }
    }

    /// Whether the handler has let go of it before its end.
    pub(super) fn is_abandoned(&self) -> bool {
        let between = self.0.lock();
        between.dropped && between.end.is_none()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut between = self.0.lock();
        if between.end.is_none() {
            // Whoever still wants it must not wait for ever.
            between.end = Some(End::Broken(BodyError::Closed));
            if let Some(handler) = between.handler.take() {
                handler.wake();
            }
        }
    }
}

/// Keeps the waker of `cx`.
fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut between = self.0.lock();
        if let Some(data) = between.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut between.end {
            Some(End::Good(trailers)) => return Poll::Ready(trailers.take().map(|fields| Ok(Frame::trailers(fields)))),
            Some(End::Broken(error)) => {
                let error = *error;
                between.end = Some(End::Good(None));
                return Poll::Ready(Some(Err(error)));
            }
            None => {}
        }
        between.asked = true;
        match between.connection.take() {
            Some(connection) if !connection.will_wake(cx.waker()) => connection.wake(),
            // The connection has polled the handler, and looks afterwards.
            connection => between.connection = connection,
        }
        keep(&mut between.handler, cx);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let between = self.0.lock();
        between.data.is_none() && matches!(between.end, Some(End::Good(None)))
    }

    fn size_hint(&self) -> SizeHint {
        let between = self.0.lock();
        let waiting = between.data.as_ref().map_or(0, |data| data.len() as u64);
        between.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + waiting))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.lock().dropped = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often a task was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn piece(data: &'static [u8], end: Option<End>) -> Piece {
        Piece { first: Bytes::from_static(data), end, ..Piece::default() }
    }

    fn poll(upload: &mut Upload, waker: &Waker) -> Option<Option<Result<Bytes, BodyError>>> {
        match Pin::new(upload).poll_frame(&mut Context::from_waker(waker)) {
            Poll::Pending => None,
            Poll::Ready(frame) => Some(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))),
        }
    }

    #[test]
    fn a_piece_is_handed_over_when_it_is_asked_for() {
        let (feed, mut upload) = body(BodyLength::Sized(5));
        let (task, other) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let (own, others) = (Waker::from(Arc::clone(&task)), Waker::from(Arc::clone(&other)));
        let cx = Context::from_waker(&own);
        assert!(!feed.is_asked(&cx));
        assert_eq!(poll(&mut upload, &own), None);
        assert!(feed.is_asked(&cx));
        assert_eq!(task.0.load(Ordering::SeqCst), 0, "who polls the handler looks afterwards");
        feed.hand_over(piece(b"abc", None), &cx);
        assert_eq!(task.0.load(Ordering::SeqCst), 0);
        assert!(!feed.is_asked(&cx));
        assert_eq!((upload.size_hint().exact(), upload.is_end_stream()), (Some(5), false));
        assert_eq!(poll(&mut upload, &own), Some(Some(Ok(Bytes::from_static(b"abc")))));
        assert_eq!(upload.size_hint().exact(), Some(2));
        // Another task asks.
        assert_eq!(poll(&mut upload, &others), None);
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        feed.hand_over(piece(b"de", None), &cx);
        assert_eq!(other.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut upload, &others), Some(Some(Ok(Bytes::from_static(b"de")))));
        assert!(upload.is_end_stream());
        assert_eq!(poll(&mut upload, &others), Some(None));
        drop(upload);
        assert!(!feed.is_abandoned());
    }

    #[test]
    fn a_body_of_unknown_length_ends_or_breaks() {
        let waker = Waker::noop();
        let (feed, mut upload) = body(BodyLength::Chunked);
        assert_eq!((poll(&mut upload, waker), upload.size_hint().exact()), (None, None));
        let cx = Context::from_waker(waker);
        feed.hand_over(piece(b"", Some(End::Good(None))), &cx);
        assert_eq!(poll(&mut upload, waker), Some(None));
        let (feed, mut upload) = body(BodyLength::Chunked);
        let trailers = [(http::header::ETAG, "a".parse().unwrap())].into_iter().collect();
        feed.hand_over(piece(b"a", Some(End::Good(Some(trailers)))), &cx);
        assert_eq!(poll(&mut upload, waker), Some(Some(Ok(Bytes::from_static(b"a")))));
        assert!(!upload.is_end_stream());
        let frame = Pin::new(&mut upload).poll_frame(&mut Context::from_waker(waker));
        assert!(matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_trailers()));
        assert!(upload.is_end_stream());
        let (feed, mut upload) = body(BodyLength::Chunked);
        feed.hand_over(piece(b"a", Some(End::Broken(BodyError::Stalled))), &cx);
        assert_eq!(poll(&mut upload, waker), Some(Some(Ok(Bytes::from_static(b"a")))), "what has come goes first");
        assert_eq!(poll(&mut upload, waker), Some(Some(Err(BodyError::Stalled))));
        assert_eq!(poll(&mut upload, waker), Some(None));
        let (feed, mut upload) = body(BodyLength::Chunked);
        drop(feed);
        assert_eq!(poll(&mut upload, waker), Some(Some(Err(BodyError::Closed))));
        let (feed, upload) = body(BodyLength::Chunked);
        drop(upload);
        assert!(feed.is_abandoned());
    }
}
