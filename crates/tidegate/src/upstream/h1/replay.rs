//! The body of a request, which can be sent once more for as long as little of it has come.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;
use smallvec::SmallVec;

use crate::body::{BodyError, RequestBody};
use crate::exchange::Exchange;

/// Kept of a body for another attempt.
pub const MAX_KEPT: usize = 64 * 1024;

/// In so many pieces: each costs more than its bytes.
const MAX_PIECES: usize = 256;

/// See the module.
pub(in crate::upstream) struct Replay {
    rest: RequestBody,
    /// What came before it was asked for.
    ahead: VecDeque<Bytes>,
    ahead_bytes: usize,
    /// What came so far; empty if it is not worth keeping.
    kept: SmallVec<[Bytes; 1]>,
    kept_bytes: usize,
    /// The next one of `kept` to send.
    next: usize,
    /// Everything that was sent is in `kept`.
    whole: bool,
    /// Some of it was sent.
    begun: bool,
    ended: bool,
    /// The client was to send more when it was asked last.
    waits: bool,
    /// Bytes that may still come.
    left: u64,
}

/// Why a body cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// The client did not finish it.
    Broken(BodyError),
    /// It is larger than allowed.
    TooLarge,
}

impl Replay {
    /// `again`: more than one attempt may have some of it.
    pub(in crate::upstream) fn new(body: RequestBody, max_body: u64, again: bool) -> Self {
        Self {
            rest: body,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            kept: SmallVec::new(),
            kept_bytes: 0,
            next: 0,
            whole: again,
            begun: false,
            ended: false,
            waits: false,
            left: max_body,
        }
    }

    /// A body that is there, to be sent by any number of attempts.
    pub(in crate::upstream) fn of(bytes: Bytes) -> Self {
        let kept_bytes = bytes.len();
        Self {
            rest: RequestBody::Empty,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            kept: if bytes.is_empty() { SmallVec::new() } else { SmallVec::from_iter([bytes]) },
            kept_bytes,
            next: 0,
            whole: true,
            begun: false,
            ended: true,
            waits: false,
            left: 0,
        }
    }

    /// All of it, if it has come and nothing of it was sent.
    pub(in crate::upstream) fn all(&self) -> Option<Bytes> {
        if !self.kept.is_empty() || !(self.ended || self.rest.is_end_stream()) {
            return None;
        }
        match self.ahead.len() {
            0 => Some(Bytes::new()),
            1 => self.ahead.front().cloned(),
            _ => {
                let mut all = Vec::with_capacity(self.ahead_bytes);
                self.ahead.iter().for_each(|piece| all.extend_from_slice(piece));
                Some(all.into())
            }
        }
    }

    /// There is nothing (more) to send.
    pub(in crate::upstream) fn is_end(&self) -> bool {
        self.next >= self.kept.len() && self.ahead.is_empty() && (self.ended || self.rest.is_end_stream())
    }

    /// The next bytes, which are not empty. Trailers of requests are dropped.
    pub(in crate::upstream) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Option<Result<Bytes, BadBody>>> {
        if let Some(kept) = self.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(kept.clone())));
        }
        let data = match self.ahead.pop_front() {
            Some(data) => Some(Ok(data)),
            None => ready!(self.poll_rest(cx, exchange)),
        };
        if let Some(Ok(data)) = &data {
            self.begun = true;
            self.keep(data);
        }
        Poll::Ready(data)
    }

    /// Ready when `bytes` of it have come, or all of it. They wait here until they are sent.
    pub(in crate::upstream) fn poll_ahead(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        bytes: usize,
    ) -> Poll<Result<(), BadBody>> {
        while self.ahead_bytes < bytes && self.ahead.len() < MAX_PIECES {
            match ready!(self.poll_rest(cx, exchange)) {
                None => break,
                Some(data) => {
                    let data = data?;
                    self.ahead_bytes = self.ahead_bytes.saturating_add(data.len());
                    self.ahead.push_back(data);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next bytes of the client, counted.
    fn poll_rest(&mut self, cx: &mut Context<'_>, exchange: &Exchange) -> Poll<Option<Result<Bytes, BadBody>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let polled = Pin::new(&mut self.rest).poll_frame(cx);
            self.waits = polled.is_pending();
            let frame = match ready!(polled) {
                None => {
                    self.ended = true;
                    continue;
                }
                Some(frame) => frame.map_err(BadBody::Broken),
            };
            let data = match frame {
                Err(bad) => return Poll::Ready(Some(Err(bad))),
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => data,
                    Ok(_) | Err(_) => continue,
                },
            };
            exchange.facts.received(data.len());
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(BadBody::TooLarge)));
            };
            self.left = left;
            return Poll::Ready(Some(Ok(data)));
        }
    }

    fn keep(&mut self, data: &Bytes) {
        if !self.whole {
            return;
        }
        self.kept_bytes += data.len();
        if self.kept_bytes > MAX_KEPT || self.kept.len() >= MAX_PIECES {
            self.whole = false;
            self.kept.clear();
        } else {
            self.kept.push(data.clone());
        }
        self.next = self.kept.len();
    }

    /// The client has to send more before the request can go on.
    pub(in crate::upstream) fn waits_for_client(&self) -> bool {
        self.waits && !self.ended
    }

    /// Whether it can begin anew.
    pub(in crate::upstream) fn can_rewind(&self) -> bool {
        self.whole || !self.begun
    }

    /// It will not begin anew: lets go of what was kept for that.
    pub(in crate::upstream) fn settle(&mut self) {
        let next = self.next.min(self.kept.len());
        self.kept.drain(..next);
        self.next = 0;
        self.whole = false;
    }

    /// Begins anew. Only for a body that can, and whose connection is not used any more: what is sent again there would be
    /// read as another request.
    pub(in crate::upstream) fn rewind(&mut self) {
        self.next = 0;
    }
}
