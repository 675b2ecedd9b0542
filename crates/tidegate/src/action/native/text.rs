//! The request of a gRPC-Web client in text mode, as the bytes that it stands for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tidegate_transcode::grpc_web::TextDecoder;

use crate::body::{BodyError, RequestBody};

/// Undoes base64 piece by piece.
pub(super) struct TextBody {
    body: RequestBody,
    decoder: TextDecoder,
    ended: bool,
}

impl TextBody {
    pub(super) fn new(body: RequestBody) -> Self {
        Self { body, decoder: TextDecoder::default(), ended: false }
    }
}

impl Body for TextBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)?) else {
                this.ended = true;
                let whole = this.decoder.finish();
                return Poll::Ready(whole.is_err().then_some(Err(BodyError::Malformed)));
            };
            let Ok(data) = frame.into_data() else { continue };
            let mut out = Vec::new();
            if this.decoder.push(&data, &mut out).is_err() {
                this.ended = true;
                return Poll::Ready(Some(Err(BodyError::Malformed)));
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // The end of the text has to be looked at.
        self.ended
    }
}
