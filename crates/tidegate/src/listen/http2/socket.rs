//! WebSockets on a stream: an extended CONNECT is routed as a `GET`, and the data of the stream are its bytes.
//!
//! Source: RFC 8441.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body::{Body, Frame};

use super::body_error;
use crate::body::BodyError;
use crate::head::bad;
use crate::reject::Reject;

/// Makes a request for a WebSocket look like that of HTTP/1.1; whether it is one. Another CONNECT stays one.
///
/// # Errors
/// Another protocol.
pub(super) fn take_protocol(parts: &mut Parts) -> Result<bool, Box<Reject>> {
    let Some(protocol) = parts.extensions.remove::<Protocol>().filter(|_| parts.method == Method::CONNECT) else {
        return Ok(false);
    };
    if !protocol.as_ref().eq_ignore_ascii_case(b"websocket") {
        return Err(Box::new(bad("protocol not supported").status(StatusCode::NOT_IMPLEMENTED)));
    }
    parts.method = Method::GET;
    Ok(true)
}

/// What the client sends through a WebSocket. It may be silent for as long as the tunnel allows.
pub(super) struct Socket {
    body: RecvStream,
}

impl Socket {
    pub(super) fn new(body: RecvStream) -> Self {
        Self { body }
    }
}

impl Body for Socket {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match std::task::ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails only if the stream is closed, and then there is nothing to make room for.
                    let _closed = self.body.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(body_error(&error)))),
                None => return Poll::Ready(None),
            }
        }
    }
}
