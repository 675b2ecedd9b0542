//! HTTP/1.0 and HTTP/1.1 for clients: our own codec, driven by the connection's task (docs/adr/014).
//!
//! ```text
//!             framing, head, line         upload
//!   wire ──► bytes to heads, bodies ──► body of the request ──► handler
//!    ▲                                                             │
//!    └─────── outgoing ◄──────── answer ◄──────────────────────────┘
//! ```
//! One request at a time; what a client sends ahead waits. While a request is being answered the connection is read, so a
//! client that goes away ends its request at once: the future, and all that it waits for, is dropped.

mod answer;
pub mod door;
pub(super) mod framing;
mod head;
mod line;
mod outgoing;
mod tunnel;
mod upload;
mod wire;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use pin_project_lite::pin_project;
use tidegate_config::valid::Protocol;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use crate::body::{BodyError, RequestBody, WriteTimeout};
use crate::reject::{Reason, Reject};
use crate::telemetry::answer::AnswerBody;
use crate::telemetry::metrics::{ConnectionRefusal, ConnectionType};

use super::Handle;
use super::connection::{Busy, Conn, UNUSED_GRACE};
use super::date::DateCache;
use super::guard::clock::Place;
use super::transport::Transport;
use super::vet::vet;

use self::answer::{Answer, Asked, Loaded};
use self::framing::{BodyLength, Fault, Framing, Head};
use self::outgoing::{Length, Outgoing, Persistence};
use self::tunnel::{Granted, Offer};
use self::upload::{Feed, Piece};
pub(super) use self::wire::Wire;

/// Bytes that a client may send ahead of an answer; more are not read before that is out.
const MAX_AHEAD: usize = 16 * 1024;

/// What is left of a body that its handler has let go of is read and dropped up to this size, so that the connection can carry
/// another request; a longer one ends it.
const MAX_DISCARDED: u64 = 64 * 1024;

/// While draining, a connection between two requests may bring one more within this time, which is then told to be the
/// last. A client that is about to send would otherwise lose its request to a close on the way.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// How long an answer that must be broken off waits for a client that does not take its last bytes.
const FLUSH_BEFORE_CLOSE: Duration = Duration::from_millis(100);

/// What a connection brings next.
enum Next {
    Head(Head),
    Fault(Fault),
    End,
}

/// How an exchange has ended.
enum Ended {
    /// The next request may come.
    Persists,
    /// This was the last one.
    Closes,
    /// What follows is no HTTP.
    Tunnel(Box<Granted>),
    /// There is nobody to be told anything.
    Gone,
}

/// How the answer to a request has begun.
enum Begun {
    /// It has ended, too.
    Over(Ended),
    /// This is left of it.
    Rest(Answer),
    /// What follows is no HTTP, once the client is told.
    Grant(Box<(Response<AnswerBody>, Offer, Busy)>),
}

/// The client has gone, or must not be told more.
struct Gone;

pin_project! {
    /// Who is asked for an answer. One future for both cases, because a handler's is large and must not be moved.
    #[project = AskingProjection]
    enum Asking<F> {
        Handler { #[pin] future: F },
        /// Nobody: what came was no request.
        Refused { response: Option<Box<Response<AnswerBody>>> },
    }
}

impl<F, E> Future for Asking<F>
where
    F: Future<Output = Result<Response<AnswerBody>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            AskingProjection::Handler { future } => future.poll(cx),
            AskingProjection::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(*response)))
            }
        }
    }
}

/// What has come from a client whose request is being answered.
enum Came {
    /// Nothing that anybody waits for.
    Nothing,
    /// The handler has to be polled: it has got some of the body.
    Part,
    /// The client has gone.
    End,
}

/// One connection.
pub(super) struct Session<Io, H> {
    wire: Wire<Io>,
    framing: Framing,
    out: Outgoing,
    conn: Arc<Conn<H>>,
    /// The body of the present request, unless all of it was at hand.
    feed: Option<Feed>,
    /// The client waits for a 100 before it sends the body.
    awaits_100: bool,
    /// The present request's answer has begun: nothing interim may stand in it.
    answered: bool,
    /// Interim answers are on their way.
    interim: bool,
    /// Why the rest of the present request's body will never come: no other request can follow.
    broken: Option<BodyError>,
    /// There has been a request.
    used: bool,
    /// How often idle connections had been asked to go, at the last look.
    asked: usize,
    grace: Option<Pin<Box<Sleep>>>,
}

impl<Io, H> Session<Io, H>
where
    Io: Transport,
    H: Handle,
{
    pub(super) fn new(wire: Wire<Io>, conn: Arc<Conn<H>>) -> Self {
        Self {
            framing: Framing::new(conn.settings().head),
            asked: conn.lane.asked(),
            wire,
            out: Outgoing::default(),
            conn,
            feed: None,
            awaits_100: false,
            answered: false,
            interim: false,
            broken: None,
            used: false,
            grace: None,
        }
    }

    /// Serves requests until either side closes, if HTTP/1 is spoken here.
    ///
    /// The future of a request is part of this one (docs/adr/015).
    pub(super) fn serve(mut self) -> impl Future<Output = ()> + Send {
        async move {
            if !self.conn.settings().speaks(Protocol::Http1) {
                self.conn.lane.listener.series.refused(self.conn.info.worker, ConnectionRefusal::Protocol);
                return self.refuse(Fault::OnlyHttp2).await;
            }
            let _open = self.conn.opened(ConnectionType::Http1);
            loop {
                let head = match self.next().await {
                    Next::Head(head) => head,
                    Next::Fault(fault) => return self.refuse(fault).await,
                    Next::End => return self.close().await,
                };
                match self.exchange(head).await {
                    Ended::Persists => {}
                    Ended::Closes => return self.close().await,
                    Ended::Tunnel(granted) => return Box::pin(granted.run(self.wire)).await,
                    Ended::Gone => return,
                }
            }
        }
    }

    /// Waits for the next request.
    async fn next(&mut self) -> Next {
        self.asked = self.conn.lane.asked();
        let mut waited = false;
        poll_fn(|cx| {
            loop {
                // The rest of a body that nobody reads comes first.
                if !self.framing.is_in_body() || self.framing.discard(&mut self.wire.input) {
                    match self.framing.head(&mut self.wire.input) {
                        Ok(Some(head)) => {
                            self.wire.clock.head_done(!waited);
                            return Poll::Ready(Next::Head(head));
                        }
                        Ok(None) => {}
                        Err(fault) => return Poll::Ready(Next::Fault(fault)),
                    }
                }
                let place = self.framing.place(&self.wire.input);
                match self.wire.poll_fill(Some(place), cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Next::End),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut && place == Place::Head => {
                        return Poll::Ready(Next::Fault(Fault::HeadTimeout));
                    }
                    // Nothing has come that could be answered: as if the client had closed.
                    Poll::Ready(Err(_)) => return Poll::Ready(Next::End),
                    Poll::Pending if place == Place::Between && self.is_to_go(cx) => return Poll::Ready(Next::End),
                    Poll::Pending => {
                        waited = true;
                        return Poll::Pending;
                    }
                }
            }
        })
        .await
    }

    /// Whether a connection that waits for a request shall be closed: idle ones were asked to go, or everything drains and it
    /// has had its time to bring one more.
    fn is_to_go(&mut self, cx: &mut Context<'_>) -> bool {
        let asked = self.conn.lane.asked();
        if std::mem::replace(&mut self.asked, asked) != asked && self.used {
            return true;
        }
        if !self.conn.lane.is_draining() {
            return false;
        }
        let time = if self.used { IDLE_GRACE } else { UNUSED_GRACE };
        let grace = self.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        grace.as_mut().poll(cx).is_ready()
    }

    /// Answers one request.
    async fn exchange(&mut self, head: Head) -> Ended {
        let busy = Busy::begin(&self.conn.lane);
        if self.conn.info.hints.any() {
            // Too late: they were of the request before.
            drop(self.conn.info.hints.take_all());
        }
        let asked = Asked::of(&head);
        let mut offer = None;
        let mut busy = Some(busy);
        let conn = Arc::clone(&self.conn);
        // In a block, so that what sends the answer takes the room of what made it.
        let begun = {
            let mut asking = pin!(match self.request(head, &mut offer) {
                Ok((head, body)) => Asking::Handler { future: conn.handle(head, body) },
                Err(refusal) => Asking::Refused { response: Some(refusal) },
            });
            poll_fn(|cx| {
                let handled = ready!(self.poll_handler(asking.as_mut(), cx));
                Poll::Ready(handled.map(|handled| self.begin(conn.settle(handled), asked, &mut offer, &mut busy, cx)))
            })
            .await
        };
        match begun {
            None => Ended::Gone,
            Some(Begun::Over(ended)) => ended,
            Some(Begun::Rest(answer)) => self.send(answer, busy).await,
            Some(Begun::Grant(grant)) => self.grant(grant).await,
        }
    }

    /// Begins the answer in the step that has made it: nearly every one is whole and leaves at once, so that it never stands
    /// in the future of the connection, whose memory is cold.
    fn begin(
        &mut self,
        mut response: Response<AnswerBody>,
        asked: Asked,
        offer: &mut Option<Offer>,
        busy: &mut Option<Busy>,
        cx: &mut Context<'_>,
    ) -> Begun {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if let (Some(offer), Some(busy)) = (offer.take(), busy.take()) {
                return Begun::Grant(Box::new((response, offer, busy)));
            }
            response = closing(self.conn.refuse(None, Reject::new(Reason::Internal)));
        }
        let asked = Asked { persists: asked.persists && self.may_persist(), ..asked };
        self.answered = true;
        let mut answer = Answer::begin(response, asked, &mut self.out, &self.conn.lane.worker.date);
        if answer.ends_with_connection() {
            self.wire.breaks_on_close(true);
        }
        match self.poll_answer(&mut answer, busy, &mut None, cx) {
            Poll::Ready(sent) => Begun::Over(self.ended(&answer, &sent)),
            Poll::Pending => Begun::Rest(answer),
        }
    }

    /// The request that the handler gets.
    ///
    /// # Errors
    /// The refusal of what is none.
    fn request(
        &mut self,
        head: Head,
        offer: &mut Option<Offer>,
    ) -> Result<(Box<Parts>, RequestBody), Box<Response<AnswerBody>>> {
        let Head { mut parts, says, body } = head;
        let is_11 = parts.version == Version::HTTP_11;
        self.used = true;
        self.answered = false;
        self.awaits_100 = says.expects && is_11;
        if let Err(reject) = vet(&mut parts, &self.conn.settings().head) {
            return Err(Box::new(closing(self.conn.refuse(Some(parts), *reject))));
        }
        if says.websocket && is_11 && body == BodyLength::None {
            let (granter, socket) = Offer::new();
            *offer = Some(granter);
            return Ok((parts, RequestBody::socket(socket)));
        }
        match self.body(body) {
            Ok(body) => Ok((parts, body)),
            Err(fault) => Err(Box::new(closing(self.conn.refuse(Some(parts), fault.reject())))),
        }
    }

    /// The body of a request: at once if it is at hand, else as it comes.
    ///
    /// # Errors
    /// What is at hand of it is broken already. Then nobody gets any of the request.
    fn body(&mut self, length: BodyLength) -> Result<RequestBody, Fault> {
        if length == BodyLength::None {
            return Ok(RequestBody::Empty);
        }
        if let Some(bytes) = self.framing.at_hand(&mut self.wire.input) {
            return Ok(RequestBody::full(bytes));
        }
        let (feed, upload) = upload::body(length);
        let mut piece = Piece::default();
        if let Err(fault) = piece.take(&mut self.framing, &mut self.wire.input) {
            self.broken = Some(BodyError::Malformed);
            return Err(fault);
        }
        if piece.any() {
            self.awaits_100 = false;
            feed.hand_over(piece, &Context::from_waker(Waker::noop()));
        }
        self.feed = Some(feed);
        Ok(RequestBody::stream(upload))
    }

    /// Ready when the handler is, or with `None` when the client has gone.
    fn poll_handler<F: Future>(&mut self, mut handled: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        loop {
            let poll = handled.as_mut().poll(cx);
            let hints = &self.conn.info.hints;
            if hints.any() {
                // Beside the answer they are too late.
                self.interim = poll.is_pending();
                hints.take_all().iter().filter(|_| self.interim).for_each(|hint| self.out.hint(hint));
            }
            if let Poll::Ready(output) = poll {
                return Poll::Ready(Some(output));
            }
            match self.poll_client(cx) {
                Came::Part => {}
                Came::Nothing => return Poll::Pending,
                Came::End => return Poll::Ready(None),
            }
        }
    }

    /// Reads what the client sends while it is answered, and writes interim answers that wait.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Came {
        if self.interim {
            match self.wire.poll_send(&mut self.out, cx) {
                Poll::Ready(Err(_)) => return Came::End,
                Poll::Ready(Ok(())) => self.interim = false,
                Poll::Pending => {}
            }
        }
        match self.broken {
            Some(BodyError::Closed) => return Came::End,
            // The handler has been told, and answers.
            Some(_) => return Came::Nothing,
            None if self.framing.is_in_body() => return self.poll_body(cx),
            None => {}
        }
        self.poll_ahead(cx)
    }

    /// Reads what nobody has asked for, which shows whether the client is still there.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Came {
        while self.wire.input.len() < MAX_AHEAD {
            match self.wire.poll_fill(None, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Came::End,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        Came::Nothing
    }

    /// Hands over some of the request's body, if its handler asks for it.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Came {
        let Some(feed) = self.feed.as_ref().filter(|feed| feed.is_asked(cx)) else { return self.poll_ahead(cx) };
        if !self.wire.input.is_empty() {
            self.awaits_100 = false;
        } else if self.awaits_100 && !self.answered {
            self.awaits_100 = false;
            self.out.go_on();
            // An error is found by the next read as well.
            self.interim = self.wire.poll_send(&mut self.out, cx).is_pending();
        }
        let mut piece = Piece::default();
        while !piece.any() {
            let error = match piece.take(&mut self.framing, &mut self.wire.input) {
                Err(_) => BodyError::Malformed,
                Ok(()) if piece.any() => break,
                Ok(()) => match self.wire.poll_fill(Some(Place::Body), cx) {
                    Poll::Pending => return Came::Nothing,
                    Poll::Ready(Ok(bytes)) if bytes > 0 => continue,
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut => BodyError::Stalled,
                    Poll::Ready(Ok(_) | Err(_)) => BodyError::Closed,
                },
            };
            self.broken = Some(error);
            piece.breaks(error);
        }
        feed.hand_over(piece, cx);
        Came::Part
    }

    /// Whether another request may follow, as far as we are concerned.
    fn may_persist(&mut self) -> bool {
        let lane = &self.conn.lane;
        if self.broken.is_some() || self.wire.clock.is_aged() || lane.is_draining() || lane.worker.overload.is_tight() {
            return false;
        }
        let is_read = self.feed.as_ref().is_some_and(|feed| !feed.is_abandoned());
        is_read || self.discard()
    }

    /// Drops what is at hand of a body that nobody reads. Whether another request may follow: that was all of it, or the rest is
    /// short and sure to come.
    fn discard(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let ended = !self.framing.is_in_body() || self.framing.discard(&mut self.wire.input);
        ended || (self.framing.left().is_some_and(|left| left <= MAX_DISCARDED) && !self.awaits_100)
    }

    /// Sends an answer that has begun to its end.
    async fn send(&mut self, mut answer: Answer, mut busy: Option<Busy>) -> Ended {
        let mut latest = None;
        let sent = poll_fn(|cx| self.poll_answer(&mut answer, &mut busy, &mut latest, cx)).await;
        self.ended(&answer, &sent)
    }

    /// What follows an answer that has been sent, or cannot be.
    fn ended(&mut self, answer: &Answer, sent: &Result<(), Gone>) -> Ended {
        if answer.ends_with_connection() && sent.is_ok() {
            self.wire.breaks_on_close(false);
        }
        self.feed = None;
        match sent {
            Err(Gone) => Ended::Gone,
            Ok(()) if answer.persists && self.discard() => Ended::Persists,
            Ok(()) => Ended::Closes,
        }
    }

    /// `busy` ends when the last of the answer is handed over: a client that has got all of it must not be told that something
    /// was cut. `latest`: until when an answer that is broken off waits for the client to take what came before.
    fn poll_answer(
        &mut self,
        answer: &mut Answer,
        busy: &mut Option<Busy>,
        latest: &mut Option<Pin<Box<Sleep>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Gone>> {
        loop {
            let loaded = answer.load(&mut self.out, cx);
            if loaded == Loaded::Whole {
                *busy = None;
            }
            match (self.wire.poll_send(&mut self.out, cx), loaded) {
                (Poll::Ready(Err(_)), _) | (Poll::Ready(Ok(())), Loaded::Broken) => return Poll::Ready(Err(Gone)),
                (Poll::Ready(Ok(())), Loaded::Whole) => return Poll::Ready(Ok(())),
                (Poll::Ready(Ok(())), Loaded::Full) => continue,
                (Poll::Ready(Ok(())), Loaded::More) => {}
                (Poll::Pending, Loaded::Broken) => {
                    let latest = latest.get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH_BEFORE_CLOSE)));
                    if latest.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(Gone));
                    }
                }
                (Poll::Pending, Loaded::Whole | Loaded::Full | Loaded::More) => answer.held_up(),
            }
            match self.poll_client(cx) {
                Came::Part => {}
                Came::Nothing => return Poll::Pending,
                Came::End => return Poll::Ready(Err(Gone)),
            }
        }
    }

    /// Sends the head of a 101; what follows is up to the tunnel.
    async fn grant(&mut self, grant: Box<(Response<AnswerBody>, Offer, Busy)>) -> Ended {
        let (response, offer, busy) = *grant;
        let (mut parts, body) = response.into_parts();
        let write_timeout = parts.extensions.remove::<WriteTimeout>();
        self.out.head(&parts, Length::Untold, Persistence::Untold, &self.conn.lane.worker.date);
        match poll_fn(|cx| self.wire.poll_send(&mut self.out, cx)).await {
            Ok(()) => Ended::Tunnel(Box::new(offer.granted(body, busy, write_timeout))),
            Err(_) => Ended::Gone,
        }
    }

    /// Tells the client what was wrong, and closes.
    async fn refuse(&mut self, fault: Fault) {
        let answer = render(self.conn.refuse(None, fault.reject()), &self.conn.lane.worker.date);
        self.linger(answer).await;
    }

    /// Closes the connection. A client that is still sending is listened to for a while: a socket that is closed with unread
    /// bytes resets the connection, and could destroy the answer on its way.
    async fn close(&mut self) {
        // It may have been sending while it was answered. An end, or an error, is found by the shutdown as well.
        // A task that was to let others go on would not see it.
        unconstrained(poll_fn(|cx| Poll::Ready(self.wire.poll_fill(None, cx).is_ready()))).await;
        if self.framing.is_in_body() || !self.wire.input.is_empty() {
            return self.linger(Bytes::new()).await;
        }
        let _closed = poll_fn(|cx| self.wire.poll_shutdown(cx)).await;
    }

    async fn linger(&mut self, answer: Bytes) {
        let mut farewell = self.wire.farewell(answer);
        poll_fn(|cx| self.wire.poll_farewell(&mut farewell, cx)).await;
    }
}

fn closing(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Writes an answer as bytes, for refusals that happen before there is a request. Ends with the connection.
pub(super) fn render(response: Response<AnswerBody>, date: &DateCache) -> Bytes {
    let (mut parts, body) = response.into_parts();
    // Refusals are rendered at once; a stream would have nobody to drive it.
    let body = body.into_bytes();
    parts.headers.remove(CONNECTION);
    let mut out = Outgoing::default();
    out.head(&parts, Length::Told(body.len() as u64), Persistence::Close, date);
    out.data(body, false, true);
    out.into_bytes()
}
