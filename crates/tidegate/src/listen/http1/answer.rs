//! An answer on its way into the connection: how its head frames it, and its body piece by piece.
//!
//! Source: RFC 9112, sections 6 and 9.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap};
use http::response::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::Body as _;

use super::framing::Head;
use super::line;
use super::outgoing::{Length, Outgoing, Persistence};
use crate::lines;
use crate::listen::date::DateCache;
use crate::telemetry::answer::AnswerBody;

/// What the request says of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// There is no body, whatever the head says.
    pub(super) is_head: bool,
    pub(super) http_10: bool,
    /// `TE` names trailers.
    pub(super) takes_trailers: bool,
    /// The client will send another request.
    pub(super) persists: bool,
}

impl Asked {
    pub(super) fn of(head: &Head) -> Self {
        let (says, http_10) = (&head.says, head.parts.version == Version::HTTP_10);
        Self {
            is_head: head.parts.method == Method::HEAD,
            http_10,
            takes_trailers: says.takes_trailers,
            persists: !says.close && (says.keep_alive || !http_10),
        }
    }
}

/// See the module.
pub(super) struct Answer {
    /// `None` once all of it has been handed over, or cannot be.
    body: Option<AnswerBody>,
    framing: Framing,
    takes_trailers: bool,
    /// The connection carries another request afterwards.
    pub(super) persists: bool,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    /// There is no body, whatever the handler gave.
    None,
    /// So many bytes are left.
    Sized(u64),
    Chunked,
    UntilClose,
}

/// How far an answer has been handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// To its end.
    Whole,
    /// What waits must be written first.
    Full,
    /// More will come.
    More,
    /// As far as it ever will: nobody must take the part for the whole.
    Broken,
}

impl Answer {
    /// Hands the head over to `out`.
    pub(super) fn begin(response: Response<AnswerBody>, asked: Asked, out: &mut Outgoing, date: &DateCache) -> Self {
        let (parts, mut body) = response.into_parts();
        let (framing, length) = frame(&parts, &body, asked);
        let says_close = says_close(&parts.headers);
        let persists = asked.persists && !says_close && !matches!(framing, Framing::UntilClose);
        let persistence = match (persists, says_close, asked.http_10) {
            (true, _, false) | (false, true, _) => Persistence::Untold,
            (true, _, true) => Persistence::KeepAlive,
            (false, false, _) => Persistence::Close,
        };
        out.head(&parts, length, persistence, date);
        let has_body = !matches!(framing, Framing::None | Framing::Sized(0));
        if !has_body {
            body.sent(0, true);
        }
        let body = has_body.then_some(body);
        Self { body, framing, takes_trailers: asked.takes_trailers, persists }
    }

    /// Hands over what there is.
    pub(super) fn load(&mut self, out: &mut Outgoing, cx: &mut Context<'_>) -> Loaded {
        loop {
            let Some(body) = &mut self.body else {
                return if self.is_broken() { Loaded::Broken } else { Loaded::Whole };
            };
            if out.is_full() {
                return Loaded::Full;
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Loaded::More,
                Poll::Ready(Some(Ok(frame))) => {
                    let last = body.is_end_stream();
                    match frame.into_data() {
                        Ok(data) => self.data(data, last, out),
                        Err(frame) => self.end(frame.into_trailers().ok(), out),
                    }
                }
                Poll::Ready(None) => self.end(None, out),
                Poll::Ready(Some(Err(_))) => self.break_off(),
            }
        }
    }

    /// The client has no room for more.
    pub(super) fn held_up(&mut self) {
        if let Some(body) = &mut self.body {
            body.held_up();
        }
    }

    fn data(&mut self, data: bytes::Bytes, last: bool, out: &mut Outgoing) {
        let chunked = matches!(self.framing, Framing::Chunked);
        if let Framing::Sized(left) = &mut self.framing {
            // More than the head announced would be read as the next answer.
            let Some(rest) = left.checked_sub(data.len() as u64) else { return self.break_off() };
            *left = rest;
        }
        out.data(data, chunked, last);
        let whole = matches!(self.framing, Framing::Sized(0));
        if let Some(body) = self.body.as_mut().filter(|_| whole) {
            // It need not know yet that this was the last piece.
            body.sent(0, true);
        }
        if last || whole {
            self.body = None;
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>, out: &mut Outgoing) {
        self.body = None;
        if let Framing::Chunked = self.framing {
            match trailers.filter(|_| self.takes_trailers) {
                Some(trailers) => out.trailers(&trailers),
                None => out.data(bytes::Bytes::new(), true, true),
            }
        }
    }

    fn break_off(&mut self) {
        self.body = None;
        self.framing = Framing::Sized(u64::MAX);
    }

    /// The body has ended before what the head announced.
    fn is_broken(&self) -> bool {
        matches!(self.framing, Framing::Sized(left) if left > 0)
    }
}

/// How a body is framed, and how the head says it.
fn frame(parts: &Parts, body: &AnswerBody, asked: Asked) -> (Framing, Length) {
    let told = parts.headers.get(CONTENT_LENGTH).and_then(|length| line::content_length(length.as_bytes()).ok());
    let exact = body.size_hint().exact();
    if parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT {
        return (Framing::None, Length::Untold);
    }
    if asked.is_head || parts.status == StatusCode::NOT_MODIFIED {
        // What a GET would get, if that is known.
        let length = told.or(exact.filter(|length| *length > 0));
        return (Framing::None, length.map_or(Length::Untold, Length::Told));
    }
    match told.or(exact) {
        Some(length) => (Framing::Sized(length), Length::Told(length)),
        None if asked.http_10 => (Framing::UntilClose, Length::Untold),
        None => (Framing::Chunked, Length::Chunked),
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| lines::names(value.as_bytes(), b"close"))
}
