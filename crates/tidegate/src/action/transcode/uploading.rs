//! Client streaming: the values of a request body become messages, each sent as soon as it is complete.
//!
//! Nothing reaches the backend before the first message is complete; a fault later cancels the call, so the backend
//! never takes a part of the messages for all of them.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::HeaderValue;
use http_body::Body as _;
use tidegate_transcode::{Code, RequestError, RequestParts, Upload};

use super::{Asked, Transcode};
use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::policy::whole::{Waiting, in_time};
use crate::reject::Reject;
use crate::telemetry::metrics::Direction;
use crate::time::now;
use crate::upstream::{CallDeadline, CallSender, Caller};

/// Sending the rest of a client's stream.
pub(super) type Feed = Pin<Box<dyn Future<Output = Result<(), Reject>> + Send>>;

/// A client's stream, being read.
struct Reader {
    transcode: Arc<Transcode>,
    exchange: Arc<Exchange>,
    upload: Upload,
    request: RequestBody,
    ended: bool,
    /// Spent on conversions so far, if they are measured.
    converting: Option<Duration>,
}

impl Transcode {
    pub(super) async fn upload(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        asked: Asked,
        values: &[Cow<'_, str>],
        query: Option<&str>,
        request: RequestBody,
    ) -> Result<Response<ResponseBody>, Reject> {
        let worker = exchange.worker();
        if let Some(mirror) = &self.mirror {
            mirror.pass_over(worker);
        }
        let parts = RequestParts {
            captures: values,
            query,
            body: b"",
            content_type: asked.content_type.as_ref().map(HeaderValue::as_bytes),
        };
        let upload = self.plan.upload(&parts).map_err(|error| self.refused(exchange, error))?;
        let mut reader = Reader {
            transcode: Arc::clone(self),
            exchange: Arc::clone(exchange),
            upload,
            request,
            ended: false,
            converting: asked.measured.then_some(Duration::ZERO),
        };
        let mut first = Vec::new();
        let mut timer = asked.deadline.map(|at| self.cluster.wheel(worker).at(at));
        while first.is_empty() && !reader.ended {
            in_time(&mut timer, reader.read_some(&mut first)).await??;
        }
        drop(timer);
        let streams_back = self.plan.method().is_server_streaming();
        let deadline = match asked.deadline {
            None => CallDeadline::None,
            Some(at) if streams_back => CallDeadline::FirstMessage(at),
            Some(at) => CallDeadline::Total(at),
        };
        let ended = reader.ended;
        let call = self.cluster.call(Caller::Exchange(exchange), asked.head, first.into(), ended, deadline).await;
        let mut call = self.reached(exchange, call)?;
        // A stream that has ended already has no sending half to take, and dropping it would cancel the call.
        let sender = if ended { None } else { call.take_sender() };
        let feed: Option<Feed> = sender.map(|sender| -> Feed { Box::pin(reader.feed(sender)) });
        if streams_back {
            return self.chat(exchange, (asked.format, asked.measured), call, feed).await;
        }
        let mut feed = feed;
        let mut answer = pin!(call.unary());
        let answer = poll_fn(|cx| {
            // A backend may answer before it has read everything.
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer.map_err(|error| self.failed(exchange, error)));
            }
            if let Some(running) = &mut feed
                && let Poll::Ready(fed) = running.as_mut().poll(cx)
            {
                feed = None;
                if let Err(reject) = fed {
                    return Poll::Ready(Err(reject));
                }
            }
            Poll::Pending
        });
        let answer = answer.await?;
        exchange.facts.answered(exchange.elapsed());
        exchange.facts.code_is(Code::Ok);
        self.answer(exchange, &answer, None, asked.measured)
    }
}

impl Reader {
    /// Sends what is left of the client's stream.
    async fn feed(mut self, mut sender: CallSender) -> Result<(), Reject> {
        let mut messages = Vec::new();
        while !self.ended {
            self.read_some(&mut messages).await?;
            if messages.is_empty() {
                continue;
            }
            let bytes = Bytes::from(std::mem::take(&mut messages));
            // The backend has answered: its answer counts, not the rest of the stream.
            if sender.send(bytes).await.is_err() {
                return Ok(());
            }
        }
        // As above.
        let _ = sender.finish();
        Ok(())
    }

    /// Reads one piece of the body and appends the messages that it completes, in their frames.
    async fn read_some(&mut self, out: &mut Vec<u8>) -> Result<(), Reject> {
        let request = &mut self.request;
        // What comes while the backend is being asked already delays nothing.
        let early = self.exchange.facts.asked_at().is_none();
        let waiting = early.then(|| Waiting::begin(&self.exchange));
        let frame = poll_fn(|cx| Pin::new(&mut *request).poll_frame(cx)).await;
        drop(waiting);
        match frame {
            None => {
                self.ended = true;
                self.convert(|upload| upload.finish(out))?;
                if let Some(duration) = self.converting {
                    self.transcode.converted(&self.exchange, Direction::Request, duration);
                }
                Ok(())
            }
            Some(Err(error)) => Err(Reject::broken_body(error)),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { return Ok(()) };
                self.exchange.facts.received(data.len());
                self.convert(|upload| upload.push(&data, out))
            }
        }
    }

    fn convert(&mut self, convert: impl FnOnce(&mut Upload) -> Result<(), RequestError>) -> Result<(), Reject> {
        let begun = self.converting.map(|before| (before, now()));
        let converted = convert(&mut self.upload);
        self.converting = begun.map(|(before, begun)| before + now().saturating_duration_since(begun));
        converted.map_err(|error| self.transcode.refused(&self.exchange, error))
    }
}
