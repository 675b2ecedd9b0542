//! The answer of a call as bytes, for calls that pass through.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use tidegate_transcode::FrameMeter;

use super::answer::GRPC_STATUS;
use super::{Call, CallError, Malformed};

impl Call {
    /// Waits until the answer has begun. A failure without messages, whose status stands in the head, is an error here.
    pub(in crate::upstream) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        ready!(self.poll_head(cx))?;
        if self.head.as_ref().is_some_and(|head| head.contains_key(&GRPC_STATUS)) {
            // No byte may follow.
            if ready!(self.poll_bytes(cx, &mut FrameMeter::new(0)))?.is_some() {
                return Poll::Ready(Err(self.fail(Malformed::ExtraMessage.into())));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next bytes of the answer, messages in their frames as the backend wrote them; `None` is the end of a call with
    /// status OK. `meter` follows them. Asking says that all bytes before were taken. Not to be mixed with
    /// [`Call::poll_message`].
    ///
    /// # Errors
    /// The call failed; it has ended.
    pub fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        meter: &mut FrameMeter,
    ) -> Poll<Result<Option<Bytes>, CallError>> {
        ready!(self.poll_head(cx))?;
        loop {
            let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(None)) };
            stream.release();
            match stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => {
                    return Poll::Ready(match meter.pass(&data) {
                        Ok(()) => Ok(Some(data)),
                        Err(broken) => Err(self.malformed(cx, broken.into())),
                    });
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = self.lost(error);
                    return Poll::Ready(Err(self.fail(error)));
                }
                Poll::Ready(None) => {
                    ready!(self.poll_end(cx))?;
                    let whole = meter.finish().map_err(|cut| self.fail(Malformed::Frame(cut).into()));
                    return Poll::Ready(whole.map(|()| None));
                }
                Poll::Pending => return self.poll_deadline(cx).map(Err),
            }
        }
    }

    /// The initial metadata, once it is there.
    pub fn take_head(&mut self) -> HeaderMap {
        // What stays says that there was one.
        self.head.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
