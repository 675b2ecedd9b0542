//! A request that has ended, as metrics, access log, traces and the tap see it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_transcode::Code;

use super::route::RouteTelemetry;
use crate::exchange::Exchange;
use crate::reject::Reason;

/// See the module. Made on the worker, once for each request.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// What was asked.
    pub exchange: &'a Exchange,
    /// Of the route that answered, or of none.
    pub route: &'a RouteTelemetry,
    /// As sent; `None` if the exchange ended before there was an answer.
    pub status: Option<u16>,
    /// What the backend said.
    pub grpc_status: Option<Code>,
    /// Why there is no good answer.
    pub reason: Option<Reason>,
    /// Body of the request.
    pub bytes_in: u64,
    /// Body of the answer, as far as it was handed to the connection.
    pub bytes_out: u64,
    /// From the head of the request to the end of the answer.
    pub duration: Duration,
    /// Waiting for the client: for the body of its request, and to take the answer.
    pub client_wait: Duration,
    /// Waiting for the backend, to its answer or the first message of it.
    pub upstream: Option<Duration>,
    /// The gateway's own time before a backend was asked. `None` if none was, then all is the gateway's but
    /// the waiting for the client.
    pub overhead_request: Option<Duration>,
    /// The gateway's own time after the backend's answer. `None` for a stream, whose time is the backend's.
    pub overhead_response: Option<Duration>,
    /// How often a backend was asked.
    pub attempts: u32,
    /// The endpoint that was asked, as written in the configuration.
    pub endpoint: Option<&'a Arc<str>>,
}

/// What stands for a status if none was sent, mostly because the client has gone.
const NO_ANSWER: u16 = 499;

/// Longer names of methods are no names.
const MAX_RPC_NAME: usize = 256;

impl Finished<'_> {
    /// `pkg.Service/Method`: that of the route, or of a call that passes through. No metric may have the latter.
    #[must_use]
    pub fn rpc_method(&self) -> Option<&str> {
        if let Some(method) = &self.route.labels.rpc_method {
            return Some(method);
        }
        if !self.exchange.wire.is_grpc() || self.route.labels.service.is_empty() {
            return None;
        }
        // A client's own text: nothing but what a name may have.
        let name = self.exchange.uri.path().strip_prefix('/')?;
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._/".contains(&byte);
        (name.len() <= MAX_RPC_NAME && name.bytes().all(harmless)).then_some(name)
    }

    /// The status for logs and metrics, which have no word for none.
    #[must_use]
    pub fn status_or_closed(&self) -> u16 {
        self.status.unwrap_or(NO_ANSWER)
    }

    /// The gateway's own share of the duration. Of a stream only what lies before its first message can be told.
    #[must_use]
    pub fn overhead(&self) -> Option<Duration> {
        match (self.overhead_request, self.overhead_response) {
            (Some(before), after) => Some(before.saturating_add(after.unwrap_or_default())),
            (None, _) if self.attempts == 0 => Some(self.duration.saturating_sub(self.client_wait)),
            (None, _) => None,
        }
    }
}
