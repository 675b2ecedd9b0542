//! Failures as gRPC and gRPC-Web clients read them: HTTP 200, and a status that is no body.
//!
//! Sources: "gRPC over HTTP2" (`Trailers-Only`), `PROTOCOL-WEB.md`, gRFC A6 (push-back), all of grpc/grpc.

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tidegate_transcode::grpc_web;
use tidegate_transcode::status::encode_message;

use crate::body::ResponseBody;
use crate::exchange::{Exchange, Wire};
use crate::reject::Reject;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// The whole answer to a refused call.
#[must_use]
pub fn refused(exchange: &Exchange, reject: &Reject) -> Response<ResponseBody> {
    exchange.facts.code_is(reject.code());
    let mut response = without_messages(exchange.wire, status(reject));
    let headers = response.headers_mut();
    if let Some(challenge) = reject.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if exchange.wire.is_web() {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The trailers of a call that ends with `reject`.
#[must_use]
pub fn status(reject: &Reject) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(3);
    trailers.insert(GRPC_STATUS, HeaderValue::from(u16::from(reject.code().number())));
    if let Ok(message) = HeaderValue::from_str(&encode_message(reject.message())) {
        trailers.insert(GRPC_MESSAGE, message);
    }
    if let Some(wait) = reject.retry_after.or_else(|| reject.backend.as_ref()?.retry_after()) {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        trailers.insert(PUSHBACK, HeaderValue::from(ms));
    }
    trailers
}

/// An answer that has `trailers` and nothing else.
#[must_use]
pub fn without_messages(wire: Wire, trailers: HeaderMap) -> Response<ResponseBody> {
    let content_type = HeaderValue::from_static(wire.content_type());
    if wire.is_web() {
        // In the body, because a page may read headers only if the gateway names them to it.
        let mut response = Response::new(ResponseBody::full(web_trailers(wire, &trailers)));
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        return response;
    }
    let mut response = Response::new(ResponseBody::Empty);
    *response.headers_mut() = trailers;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// The last frame of a gRPC-Web body.
#[must_use]
pub fn web_trailers(wire: Wire, trailers: &HeaderMap) -> Bytes {
    let mut frame = Vec::with_capacity(128);
    grpc_web::write_trailers(trailers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), &mut frame);
    if wire != Wire::GrpcWebText {
        return frame.into();
    }
    let mut text = Vec::with_capacity(frame.len() / 3 * 4 + 4);
    grpc_web::encode_text(&frame, &mut text);
    text.into()
}
