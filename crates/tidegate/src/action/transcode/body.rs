//! Reading a request body that is needed as a whole.

use std::time::Instant;

use bytes::Bytes;
use http_body::Body as _;

use super::Transcode;
use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::policy::whole::{Waiting, read_whole};
use crate::reject::{Reason, Reject};

impl Transcode {
    /// The whole body, which is at most `max_body` bytes long. A body that came in one piece is not copied.
    ///
    /// # Errors
    /// `payload_too_large` before anything is read if the length is known; `bad_request` (408) when the client stalls;
    /// `client_closed`; `upstream_timeout` at `deadline`.
    pub(super) async fn collect(
        &self,
        exchange: &Exchange,
        mut body: RequestBody,
        deadline: Option<Instant>,
    ) -> Result<Bytes, Reject> {
        if body.size_hint().lower() > self.max_body {
            return Err(Reject::new(Reason::PayloadTooLarge).close());
        }
        match &mut body {
            RequestBody::Empty | RequestBody::Socket(_) => return Ok(Bytes::new()),
            RequestBody::Full(bytes) => {
                let bytes = bytes.take().unwrap_or_default();
                exchange.facts.received(bytes.len());
                return Ok(bytes);
            }
            RequestBody::Stream(_) => {}
        }
        let _waiting = Waiting::begin(exchange);
        let timer = deadline.map(|at| self.cluster.wheel(exchange.worker()).at(at));
        read_whole(&mut body, self.max_body, timer, |bytes| exchange.facts.received(bytes)).await
    }
}
