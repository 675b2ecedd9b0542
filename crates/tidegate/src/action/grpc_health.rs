//! The gRPC health service of the gateway itself (`grpc.health.v1.Health`): `""` is readiness, the name of a service its
//! state. On HTTP/2 alone, as gRPC is.
//!
//! Source: `grpc/health/v1/health.proto` and the document that comes with it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, Version};
use http_body::{Body, Frame};
use prost::Message;
use tidegate_transcode::{Code, FrameReader};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};

use super::health::{Current, LOOK, Serving};
use crate::body::{BodyError, RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};

/// The rows that it adds to the route table.
pub const PATHS: [(&str, Rpc); 2] =
    [("/grpc.health.v1.Health/Check", Rpc::Check), ("/grpc.health.v1.Health/Watch", Rpc::Watch)];

/// The longest request: a name of the configuration has 128 characters at most.
const MAX_REQUEST_BYTES: usize = 1024;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Which method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    /// The state of this moment.
    Check,
    /// The state, and then each change of it.
    Watch,
}

/// `HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Serving {
    /// `HealthCheckResponse.ServingStatus`.
    fn number(self) -> i32 {
        match self {
            Self::Yes => 1,
            Self::No => 2,
            Self::Unknown => 3,
        }
    }
}

/// A row of the route table.
#[derive(Debug)]
pub struct GrpcHealth {
    rpc: Rpc,
    current: Arc<Current>,
}

impl GrpcHealth {
    /// A method over the services of the configuration in force.
    #[must_use]
    pub fn new(rpc: Rpc, current: Arc<Current>) -> Self {
        Self { rpc, current }
    }

    /// Answers one call.
    ///
    /// # Errors
    /// What is not gRPC, or no request; `overloaded` for a watch too many.
    pub async fn run(
        &self,
        exchange: &Arc<Exchange>,
        parts: &Parts,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, Reject> {
        let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
        if exchange.version != Version::HTTP_2 || !parts.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
            return Err(Reject::new(Reason::UnsupportedMediaType).detail("this path speaks gRPC over HTTP/2"));
        }
        let service = read(body).await?.service;
        match self.rpc {
            Rpc::Check => Ok(self.check(exchange, &service)),
            Rpc::Watch => self.watch(exchange, service),
        }
    }

    /// The state of this moment.
    fn check(&self, exchange: &Exchange, service: &str) -> Response<ResponseBody> {
        match self.current.get().map_or(Serving::Unknown, |health| health.serving(service)) {
            Serving::Unknown => {
                exchange.facts.code_is(Code::NotFound);
                unknown_service()
            }
            serving @ (Serving::Yes | Serving::No) => {
                exchange.facts.code_is(Code::Ok);
                call(ResponseBody::stream(Single { message: Some(framed(serving)), ended: false }))
            }
        }
    }

    /// The states from now on.
    fn watch(&self, exchange: &Arc<Exchange>, service: String) -> Result<Response<ResponseBody>, Reject> {
        let permit = self.current.watch().ok_or_else(|| Reject::new(Reason::Overloaded))?;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(call(ResponseBody::stream(Watch {
            current: Arc::clone(&self.current),
            exchange: Arc::clone(exchange),
            service,
            told: None,
            looks,
            ended: false,
            _permit: permit,
        })))
    }
}

async fn read(body: RequestBody) -> Result<Request, Reject> {
    let malformed = || Reject::new(Reason::BadRequest).detail("not a HealthCheckRequest");
    let mut reader = FrameReader::new(MAX_REQUEST_BYTES);
    let mut body = pin!(body);
    let mut left = MAX_REQUEST_BYTES;
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|_| Reject::new(Reason::ClientClosed))?.into_data() else { continue };
        left = left.checked_sub(data.len()).ok_or_else(|| Reject::new(Reason::PayloadTooLarge))?;
        reader.push(data);
    }
    let frame = reader.next_frame().map_err(|_| malformed())?.filter(|frame| !frame.compressed);
    let frame = frame.ok_or_else(malformed)?;
    Request::decode(frame.message).map_err(|_| malformed())
}

fn call(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// An answer that has its status in the head, since nothing else follows.
fn unknown_service() -> Response<ResponseBody> {
    let mut response = call(ResponseBody::Empty);
    let headers = response.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(Code::NotFound.number())));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static("unknown service"));
    response
}

/// A message with its five-byte prefix.
fn framed(serving: Serving) -> Bytes {
    let answer = Answer { status: serving.number() };
    let mut frame = BytesMut::with_capacity(16);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(answer.encoded_len()).unwrap_or(0));
    frame.extend_from_slice(&answer.encode_to_vec());
    frame.freeze()
}

/// One message and the good end.
struct Single {
    message: Option<Bytes>,
    ended: bool,
}

impl Body for Single {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.ended, true) {
            return Poll::Ready(None);
        }
        let ok = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
        Poll::Ready(Some(Ok(Frame::trailers(ok))))
    }
}

/// Messages for as long as the client wants them, and until the process or its listener ends: a watch must not hold up
/// the drain.
struct Watch {
    current: Arc<Current>,
    exchange: Arc<Exchange>,
    service: String,
    told: Option<Serving>,
    looks: Interval,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    /// The bad end that says: come back elsewhere.
    fn leave(&mut self) -> Frame<Bytes> {
        self.ended = true;
        self.exchange.facts.code_is(Code::Unavailable);
        self.exchange.facts.failed(Reason::Draining);
        Frame::trailers(HeaderMap::from_iter([
            (GRPC_STATUS, HeaderValue::from(u16::from(Code::Unavailable.number()))),
            (GRPC_MESSAGE, HeaderValue::from_static("shutting down")),
        ]))
    }
}

impl Body for Watch {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            ready!(self.looks.poll_tick(cx));
            let serving = self.current.watched(&self.service);
            if self.told.replace(serving) != Some(serving) {
                return Poll::Ready(Some(Ok(Frame::data(framed(serving)))));
            }
            if self.current.is_draining() || self.exchange.conn.ending.window().is_some() {
                return Poll::Ready(Some(Ok(self.leave())));
            }
        }
    }
}
