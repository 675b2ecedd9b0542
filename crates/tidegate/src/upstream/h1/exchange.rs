//! One attempt at a backend: a connection, the request out, the head of the answer in.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::HeaderMap;

use super::answer::Answer;
use super::codec::{self, Fault, Head};
use super::pool::{self, Lease, NoWire};
use super::replay::{BadBody, Replay};
use super::upload::{Framing, Stopped, Upload};
use crate::exchange::Exchange;
use crate::ids::WorkerId;
use crate::upstream::endpoint::Endpoint;

/// Interim answers (1xx) before the final one.
pub(in crate::upstream) const MAX_INTERIM: u32 = 8;

/// A request without its body.
#[derive(Debug)]
pub(in crate::upstream) struct Sent<'a> {
    /// Request line and fields, each with its line end; what this module adds is the framing and the end.
    pub(in crate::upstream) head: &'a [u8],
    /// Fields of this attempt.
    pub(in crate::upstream) more: Option<&'a HeaderMap>,
    /// The length that the head tells; without it a body is sent in chunks.
    pub(in crate::upstream) length: Option<u64>,
    /// Its answer has no body.
    pub(in crate::upstream) is_head: bool,
    /// What a 101 must say to be one (`Sec-WebSocket-Accept`); without it there is none.
    pub(in crate::upstream) accept: Option<&'a str>,
    /// The client wants early hints.
    pub(in crate::upstream) hints: bool,
    /// Never on a connection that has waited: it was lost that way before.
    pub(in crate::upstream) fresh: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::upstream) enum Outcome {
    /// Nothing was sent.
    NoWire(NoWire),
    /// The connection was lost. `untouched`: it had waited, and not a byte of an answer came, so most probably the backend
    /// closed it before it saw the request.
    Lost { error: io::Error, untouched: bool },
    /// The request was lost, and the backend has declared that it did not act on it.
    Unseen(io::Error),
    /// What came is no answer.
    Malformed(Fault),
    /// The client's body cannot be sent.
    Body(BadBody),
}

/// What an answer begins with: its head, and the body on the connection.
pub(in crate::upstream) struct Begun {
    pub(in crate::upstream) head: Head,
    pub(in crate::upstream) answer: Answer,
}

/// Sends a request to `endpoint` and waits for the head of its answer. Must run on the runtime of `worker`.
///
/// # Errors
/// See [`Outcome`]. Dropping the future closes the connection.
pub(in crate::upstream) async fn exchange(
    endpoint: &Arc<Endpoint>,
    worker: WorkerId,
    sent: &Sent<'_>,
    body: &mut Replay,
    exchange: &Arc<Exchange>,
) -> Result<Begun, Outcome> {
    let lease = pool::lease(endpoint, worker, sent.fresh).await.map_err(Outcome::NoWire)?;
    let framing = if body.is_end() || sent.length.is_some() { Framing::Plain } else { Framing::Chunked };
    let announced = (framing == Framing::Plain).then(|| sent.length.filter(|_| !sent.is_head).unwrap_or(0));
    let upload = Some(Upload::new(whole_head(sent, framing), framing, announced));
    let mut running = Running { lease, upload, broken: false, scanned: 0, interim: 0, touched: false };
    let head = poll_fn(|cx| running.poll_head(cx, sent, body, exchange)).await?;
    if let (Some(record), Some(wire)) = (exchange.record(), running.lease.wire()) {
        record.reached(endpoint.name(), wire.peer());
    }
    let Running { lease, upload, broken, .. } = running;
    let keep = head.keep_alive && !broken;
    Ok(Begun { answer: Answer::new(lease, keep, upload), head })
}

fn whole_head(sent: &Sent<'_>, framing: Framing) -> Bytes {
    let more: usize = sent.more.into_iter().flatten().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut head = BytesMut::with_capacity(sent.head.len() + more + 64);
    head.extend_from_slice(sent.head);
    for (name, value) in sent.more.into_iter().flatten() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    match (framing, sent.length) {
        (Framing::Chunked, _) => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (Framing::Plain, Some(length)) => {
            head.extend_from_slice(b"content-length: ");
            head.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        (Framing::Plain, None) => {}
    }
    head.extend_from_slice(b"\r\n");
    head.freeze()
}

/// An attempt until the head of the answer is there.
struct Running {
    lease: Lease,
    /// `None` once all is sent, or cannot be.
    upload: Option<Upload>,
    /// The backend took no more of the request, so the connection carries no other one.
    broken: bool,
    scanned: usize,
    interim: u32,
    /// Something of an answer came.
    touched: bool,
}

impl Running {
    /// Sends and reads by turns: a backend may answer before it has read everything.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        sent: &Sent<'_>,
        body: &mut Replay,
        exchange: &Exchange,
    ) -> Poll<Result<Head, Outcome>> {
        let reused = self.lease.reused;
        let Some(wire) = self.lease.wire() else { return Poll::Ready(Err(closed(false))) };
        if let Some(upload) = &mut self.upload {
            match upload.poll(cx, wire, body, exchange) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.upload = None,
                Poll::Ready(Err(Stopped::Body(bad))) => return Poll::Ready(Err(Outcome::Body(bad))),
                Poll::Ready(Err(Stopped::Wire)) => {
                    // It may have said why before it stopped reading.
                    self.upload = None;
                    self.broken = true;
                }
            }
        }
        loop {
            match codec::take_head(&mut wire.input, &mut self.scanned, sent.is_head) {
                Err(fault) => return Poll::Ready(Err(Outcome::Malformed(fault))),
                Ok(None) => {}
                Ok(Some(head)) if !head.status.is_informational() => return Poll::Ready(Ok(head)),
                Ok(Some(head)) => {
                    self.interim += 1;
                    self.scanned = 0;
                    if let (101, Some(accept)) = (head.status.as_u16(), sent.accept) {
                        let agrees = tidegate_ws::agrees(&head.headers, accept) && self.upload.is_none();
                        let refused = Outcome::Malformed(Fault("a 101 that does not fit its request"));
                        return Poll::Ready(if agrees { Ok(head) } else { Err(refused) });
                    }
                    if head.status.as_u16() == 101 || self.interim > MAX_INTERIM {
                        return Poll::Ready(Err(Outcome::Malformed(Fault("interim answers that nobody asked for"))));
                    }
                    if sent.hints && head.status.as_u16() == 103 {
                        exchange.hint(head.headers);
                    }
                    continue;
                }
            }
            match ready!(wire.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(closed(reused && !self.touched))),
                Ok(_) => self.touched = true,
                Err(error) => {
                    return Poll::Ready(Err(Outcome::Lost { error, untouched: reused && !self.touched }));
                }
            }
        }
    }
}

fn closed(untouched: bool) -> Outcome {
    Outcome::Lost { error: io::ErrorKind::UnexpectedEof.into(), untouched }
}
