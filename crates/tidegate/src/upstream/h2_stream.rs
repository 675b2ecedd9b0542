//! One HTTP/2 stream to a backend, and the place in its connection that it takes.
//!
//! Dropping it resets the stream with CANCEL unless it has ended, or a moment later if the connection has reset many
//! (`resets`); until then it keeps a place. Bytes that were read are given back to the backend's window only when somebody
//! says that they were taken.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{FlowControl, Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, response};

use super::h2_pool::{Gauge, GivenUp};
use crate::tasks;

/// Released capacity is collected up to this many bytes: h2 tells the peer only at half a window anyway, and each
/// release costs a lock.
const RELEASE_STEP: usize = 32 * 1024;

/// Gives its place in the connection back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    /// The stream's, among those of the connection.
    number: u32,
    gauge: Arc<Gauge>,
}

impl Permit {
    pub(super) fn new(gauge: Arc<Gauge>) -> Self {
        Self { number: gauge.opened(), gauge }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.closed();
    }
}

/// What a leftover may bring beside the window that it has.
const LEFTOVER_DATA: usize = 64 * 1024;

/// Asked for at once; the backend's window and the connection's share may give less.
const PIECE: usize = 64 * 1024;

/// See the module. Fields drop in this order: the place is free only once the stream is gone.
pub(super) struct H2Stream {
    answer: Answer,
    sender: Option<SendStream<Bytes>>,
    /// Read, but not given back to the window.
    unreleased: usize,
    /// Its end was read, or it has failed.
    is_over: bool,
    permit: Permit,
}

enum Answer {
    Awaited(ResponseFuture),
    Body(RecvStream),
    /// Resolved with an error.
    Failed,
}

impl H2Stream {
    pub(super) fn new(response: ResponseFuture, sender: SendStream<Bytes>, permit: Permit) -> Self {
        Self { answer: Answer::Awaited(response), sender: Some(sender), unreleased: 0, is_over: false, permit }
    }

    /// Who is at the other end of its connection.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.permit.gauge.peer()
    }

    /// Queues `data` as one frame. Without waiting: for the first message, whose size the limit on bodies bounds.
    pub(super) fn send(&mut self, data: Bytes, end: bool) -> Result<(), h2::Error> {
        match &mut self.sender {
            Some(sender) => sender.send_data(data, end),
            None => Ok(()),
        }
    }

    /// The sending half, once.
    pub(super) fn take_sender(&mut self) -> Option<Sending> {
        let stream = self.sender.take()?;
        let Permit { number, gauge } = &self.permit;
        Some(Sending { stream: Some(stream), ended: false, number: *number, gauge: Arc::clone(gauge) })
    }

    /// An interim answer, if one has come.
    pub(super) fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<Option<Response<()>>> {
        let Answer::Awaited(response) = &mut self.answer else { return Poll::Ready(None) };
        // An error is told by the answer itself.
        response.poll_informational(cx).map(|interim| interim.and_then(Result::ok))
    }

    /// The head of the answer. Must not be called again after it was ready.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, h2::Error>> {
        let Answer::Awaited(response) = &mut self.answer else {
            return Poll::Ready(Err(h2::Reason::INTERNAL_ERROR.into()));
        };
        match ready!(std::pin::Pin::new(response).poll(cx)) {
            Ok(answer) => {
                self.permit.gauge.answered(self.permit.number);
                let (parts, body) = answer.into_parts();
                self.answer = Answer::Body(body);
                Poll::Ready(Ok(parts))
            }
            Err(error) => {
                self.answer = Answer::Failed;
                self.is_over = true;
                Poll::Ready(Err(error))
            }
        }
    }

    /// The next bytes of the body, or `None` at its end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let Answer::Body(body) = &mut self.answer else {
            return Poll::Ready(None);
        };
        let read = ready!(body.poll_data(cx));
        match &read {
            Some(Ok(data)) => self.unreleased = self.unreleased.saturating_add(data.len()),
            Some(Err(_)) => self.is_over = true,
            None => {}
        }
        Poll::Ready(read)
    }

    /// The trailers, after the end of the body.
    pub(super) fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        let Answer::Body(body) = &mut self.answer else {
            return Poll::Ready(Ok(None));
        };
        let trailers = ready!(body.poll_trailers(cx));
        self.is_over = true;
        Poll::Ready(trailers)
    }

    /// Everything that was read has been taken by its reader: the backend may send as much again.
    pub(super) fn release(&mut self) {
        if self.unreleased >= RELEASE_STEP {
            self.release_all();
        }
    }

    fn release_all(&mut self) {
        if let Answer::Body(body) = &mut self.answer {
            // Fails only for more bytes than were received, which `poll_data` has counted.
            let _released = body.flow_control().release_capacity(self.unreleased);
        }
        self.unreleased = 0;
    }

    /// Nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        match &self.answer {
            Answer::Body(body) => body.is_end_stream(),
            Answer::Awaited(_) | Answer::Failed => false,
        }
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        if self.is_over || self.is_end() {
            return;
        }
        // Others of the connection need the room, however long the other half stays.
        self.release_all();
        let answer = mem::replace(&mut self.answer, Answer::Failed);
        let sender = self.sender.take();
        match self.permit.gauge.give_up(self.permit.number) {
            GivenUp::Now => {}
            GivenUp::Later(leftover) => tasks::spawn_or_drop("upstream reset", async move {
                let more = tokio::select! {
                    () = leftover.turn() => None,
                    // It may as well end by itself.
                    more = run_out(answer) => more,
                };
                if more.is_some() {
                    leftover.turn().await;
                }
                drop((more, sender));
                drop(leftover);
            }),
            GivenUp::Counted => {
                // The other half resets it, in its turn. Until then h2 would keep a body for an answer that nobody has.
                if matches!(answer, Answer::Awaited(_)) {
                    tasks::spawn_or_drop("upstream reset", async move { drop(run_out(answer).await) });
                }
            }
        }
    }
}

/// Throws away what comes, until the stream has ended. It is given back to the connection's window, which is everybody's;
/// to the stream's own only at first, so that a short answer comes to its end and a long one to a stop.
///
/// Of a long one the end is not seen: what keeps the stream is handed back.
async fn run_out(answer: Answer) -> Option<FlowControl> {
    let mut body = match answer {
        Answer::Awaited(response) => response.await.ok()?.into_body(),
        Answer::Body(body) => body,
        Answer::Failed => return None,
    };
    let mut window = body.flow_control().clone();
    let mut more = LEFTOVER_DATA;
    while let Some(Ok(data)) = body.data().await {
        let _released = window.release_capacity(data.len());
        let Some(left) = more.checked_sub(data.len()) else {
            // Dropping the body makes h2 give back to the connection alone.
            return Some(window);
        };
        more = left;
    }
    let _end = body.trailers().await;
    None
}

/// The backend takes no more.
#[derive(Debug)]
pub(super) struct Stopped;

/// The sending half of a stream. Dropped before its end was sent it cancels the stream, at once or in its turn as above:
/// the backend must not take a part of a request for the whole.
pub(super) struct Sending {
    /// Always there before the drop.
    stream: Option<SendStream<Bytes>>,
    ended: bool,
    number: u32,
    gauge: Arc<Gauge>,
}

impl Sending {
    /// Sends `data`, for which [`Sending::poll_room`] has found room; nothing comes behind it if it is the `end`.
    pub(super) fn send(&mut self, data: Bytes, end: bool) -> Result<(), Stopped> {
        self.ended |= end;
        let stream = self.stream.as_mut().ok_or(Stopped)?;
        stream.send_data(data, end).map_err(|_| Stopped)
    }

    /// For how many of `wanted` bytes there is room, at least one.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Stopped>> {
        // Asked each time, or a reset would go unseen while there is room.
        if self.poll_stopped(cx).is_ready() {
            return Poll::Ready(Err(Stopped));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Stopped)) };
        stream.reserve_capacity(wanted.min(PIECE));
        // `poll_capacity` only tells of changes, so what is there already is looked at first.
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Stopped)),
            }
        }
        Poll::Ready(Ok(stream.capacity().min(wanted)))
    }

    /// Ready when the backend takes no more.
    pub(super) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take_if(|_| !self.ended) else { return };
        match self.gauge.give_up(self.number) {
            GivenUp::Now => stream.send_reset(Reason::CANCEL),
            GivenUp::Later(leftover) => tasks::spawn_or_drop("upstream reset", async move {
                leftover.turn().await;
                stream.send_reset(Reason::CANCEL);
                drop(leftover);
            }),
            GivenUp::Counted => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Request;
    use tokio::sync::mpsc;

    use super::*;
    use crate::upstream::tests::soon;

    /// Of the stream and of the connection.
    const WINDOW: usize = 65_535;

    /// Sends on and on, and tells how much.
    async fn endless(mut respond: h2::server::SendResponse<Bytes>, sent: mpsc::Sender<usize>) {
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        loop {
            body.reserve_capacity(WINDOW);
            let Some(Ok(room)) = poll_fn(|cx| body.poll_capacity(cx)).await else { return };
            body.send_data(vec![0; room].into(), false).unwrap();
            let _ = sent.try_send(room);
        }
    }

    /// Two streams of one connection, whose server sends without an end on both; how much, for each.
    async fn two_streams() -> [(Answer, SendStream<Bytes>, mpsc::Receiver<usize>); 2] {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let ((told, first), (told_too, second)) = (mpsc::channel(1_000), mpsc::channel(1_000));
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(far).await.unwrap();
            let mut told = [told, told_too].into_iter();
            while let (Some(Ok((_, respond))), Some(told)) = (connection.accept().await, told.next()) {
                tokio::spawn(endless(respond, told));
            }
            let _ = poll_fn(|cx| connection.poll_closed(cx)).await;
        });
        let (mut requests, connection) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let mut open = async || {
            poll_fn(|cx| requests.poll_ready(cx)).await.unwrap();
            let (answer, sender) = requests.send_request(Request::new(()), true).unwrap();
            (Answer::Awaited(answer), sender)
        };
        let ((one, sender), (two, sender_too)) = (open().await, open().await);
        [(one, sender, first), (two, sender_too, second)]
    }

    #[tokio::test]
    async fn what_comes_for_nobody_takes_no_room_of_others_and_comes_to_a_stop() {
        let [(leftover, _sender, mut thrown_away), (live, _live_sender, _)] = soon(two_streams()).await;
        let running = tokio::spawn(run_out(leftover));
        let (mut thrown, mut read) = (0, 0);
        while thrown < WINDOW {
            thrown += soon(thrown_away.recv()).await.unwrap();
        }
        let Answer::Awaited(live) = live else { unreachable!() };
        let mut body = soon(live).await.unwrap().into_body();
        while read < 20 * WINDOW {
            let data = soon(body.data()).await.unwrap().unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            read += data.len();
        }
        let kept = soon(running).await.unwrap();
        assert!(kept.is_some(), "the stream is to be kept until its turn");
        while let Ok(more) = thrown_away.try_recv() {
            thrown += more;
        }
        assert!(thrown <= LEFTOVER_DATA + 2 * WINDOW, "{thrown} were sent for nobody");
    }
}
