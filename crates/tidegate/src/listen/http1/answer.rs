//! An answer on its way into the connection: how its head frames it, and its body piece by piece.
//!
//! Source: RFC 9112, sections 6 and 9.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap};
use http::response::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::Body as _;
use tokio::task::coop::has_budget_remaining;

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
    rest: Rest,
    takes_trailers: bool,
    /// The connection carries another request afterwards.
    pub(super) persists: bool,
}

/// What is still to be handed over.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// There is no body, whatever the handler gave.
    None,
    /// So many bytes are left.
    Sized(u64),
    Chunked,
    /// The client takes the end of the connection for the end of the answer.
    UntilClose,
    /// It will never come.
    Broken,
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
        let (rest, length) = frame(&parts, &body, asked);
        let says_close = says_close(&parts.headers);
        let persists = asked.persists && !says_close && !matches!(rest, Rest::UntilClose);
        let persistence = match (persists, says_close, asked.http_10) {
            (true, _, false) | (false, true, _) => Persistence::Untold,
            (true, _, true) => Persistence::KeepAlive,
            (false, false, _) => Persistence::Close,
        };
        out.head(&parts, length, persistence, date);
        let has_body = !matches!(rest, Rest::None | Rest::Sized(0));
        if !has_body {
            body.sent(0, true);
        }
        let body = has_body.then_some(body);
        Self { body, rest, takes_trailers: asked.takes_trailers, persists }
    }

    /// Hands over what there is.
    pub(super) fn load(&mut self, out: &mut Outgoing, cx: &mut Context<'_>) -> Loaded {
        loop {
            let Some(body) = &mut self.body else {
                return if matches!(self.rest, Rest::Broken) { Loaded::Broken } else { Loaded::Whole };
            };
            if out.is_full() {
                return Loaded::Full;
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                // All that was announced has come: nobody waits for the word that this is the end.
                Poll::Pending if matches!(self.rest, Rest::Sized(0)) => {
                    body.sent(0, true);
                    self.body = None;
                }
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

    /// A write had to wait: the client takes nothing, unless this task was only told to let others go on.
    pub(super) fn held_up(&mut self) {
        if has_budget_remaining()
            && let Some(body) = &mut self.body
        {
            body.held_up();
        }
    }

    fn data(&mut self, data: Bytes, last: bool, out: &mut Outgoing) {
        let chunked = matches!(self.rest, Rest::Chunked);
        if let Rest::Sized(left) = &mut self.rest {
            // More than the head announced would be read as the next answer.
            let Some(rest) = left.checked_sub(data.len() as u64) else { return self.misframed() };
            *left = rest;
        }
        out.data(data, chunked, last);
        if last {
            self.finish();
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>, out: &mut Outgoing) {
        if matches!(self.rest, Rest::Chunked) {
            match trailers.filter(|_| self.takes_trailers) {
                Some(trailers) => out.trailers(&trailers),
                None => out.data(Bytes::new(), true, true),
            }
        }
        self.finish();
    }

    /// The body has ended.
    fn finish(&mut self) {
        match self.rest {
            // With less than the head announced.
            Rest::Sized(left) if left > 0 => self.misframed(),
            Rest::None | Rest::Sized(_) | Rest::Chunked | Rest::UntilClose | Rest::Broken => self.body = None,
        }
    }

    /// The body is not what the head said.
    fn misframed(&mut self) {
        if let Some(body) = &self.body {
            body.misframed();
        }
        self.break_off();
    }

    fn break_off(&mut self) {
        self.body = None;
        self.rest = Rest::Broken;
    }

    /// Whether the client takes the end of the connection for the end of the answer.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.rest, Rest::UntilClose)
    }
}

/// How a body is framed, and how the head says it.
fn frame(parts: &Parts, body: &AnswerBody, asked: Asked) -> (Rest, Length) {
    let told = parts.headers.get(CONTENT_LENGTH).and_then(|length| line::content_length(length.as_bytes()).ok());
    let exact = body.size_hint().exact();
    if parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT {
        return (Rest::None, Length::Untold);
    }
    if asked.is_head || parts.status == StatusCode::NOT_MODIFIED {
        // What a GET would get, if that is known.
        let length = told.or(exact.filter(|length| *length > 0));
        return (Rest::None, length.map_or(Length::Untold, Length::Told));
    }
    match told.or(exact) {
        Some(length) => (Rest::Sized(length), Length::Told(length)),
        None if asked.http_10 => (Rest::UntilClose, Length::Untold),
        None => (Rest::Chunked, Length::Chunked),
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| lines::names(value.as_bytes(), b"close"))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use tokio::task::{consume_budget, yield_now};

    use super::*;
    use crate::body::AnyBody;
    use crate::exchange::Exchange;
    use crate::ids::{ConnInfo, WorkerId};
    use crate::telemetry::answer::Running;

    #[tokio::test]
    async fn a_task_that_is_to_let_others_go_on_is_not_held_up_by_its_client() {
        let conn = ConnInfo::new(WorkerId::new(0), "a".into(), "127.0.0.1:1".parse().unwrap());
        let exchange = Exchange::unparsed(&Arc::new(conn));
        let body = Running::begin(&exchange, &Arc::default()).answered(200, None, AnyBody::Empty);
        let mut answer = Answer { body: Some(body), rest: Rest::Chunked, takes_trailers: false, persists: true };
        let mut is_held_up = || {
            answer.held_up();
            answer.body.as_ref().unwrap().was_held_up()
        };
        std::future::poll_fn(|cx| {
            while pin!(consume_budget()).poll(cx).is_ready() {}
            Poll::Ready(())
        })
        .await;
        assert!(!is_held_up());
        yield_now().await;
        assert!(is_held_up());
    }
}
