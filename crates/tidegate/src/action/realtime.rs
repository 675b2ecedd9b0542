//! Opens a WebSocket that ends here: the last step of a handshake, after which there is a session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::Value;
use tidegate_route::Captures;
use tidegate_ws::HandshakeError;

use super::transcode::calls::{NoCalls, SocketCalls};
use crate::body::{RequestBody, ResponseBody, Resumed, WriteTimeout};
use crate::exchange::Exchange;
use crate::identity::Identity;
use crate::policy::websocket;
use crate::realtime::door::Door;
use crate::realtime::requests::Requests;
use crate::realtime::session::{Opening, Session, Settings};
use crate::reject::Reject;
use crate::telemetry::Telemetry;
use crate::time::{now, unix_ms};
use crate::upstream::Wheels;

/// A compiled endpoint.
#[derive(Debug)]
pub struct Realtime {
    /// Who may come in.
    pub door: Door,
    /// How its sessions behave.
    pub settings: Settings,
    /// How long data may wait for a client that takes none.
    pub write_timeout: Duration,
    /// What clients can ask for.
    pub calls: Option<Arc<SocketCalls>>,
    /// Who is told of sessions.
    pub telemetry: Arc<Telemetry>,
    /// Of all workers.
    pub wheels: Wheels,
}

impl Realtime {
    /// Answers a handshake that was let in.
    ///
    /// # Errors
    /// Why there is no WebSocket.
    pub fn open(
        &self,
        exchange: &Arc<Exchange>,
        mut parts: Box<Parts>,
        mut body: RequestBody,
        path: &str,
        captures: &Captures,
    ) -> Result<Response<ResponseBody>, Reject> {
        // A key that is made up is told to nobody.
        let handshake = websocket::take(&mut parts, Default::default)?;
        let client = body.take_socket().ok_or_else(|| websocket::refused(HandshakeError::NotAsked))?;
        for name in [SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL] {
            // No extension and no protocol of the client's is agreed to, and backends are not told of them.
            parts.headers.remove(name);
        }
        let place = self.door.enter(exchange.client.ip)?;
        let mut response = Response::new(ResponseBody::Empty);
        handshake.open(response.headers_mut());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let resumed = Resumed::default();
        response.extensions_mut().insert(WriteTimeout { wait: self.write_timeout, resumed: resumed.clone() });
        let expires = exchange.facts.identity().and_then(|identity| expires(identity));
        let (telemetry, wheel) = (Arc::clone(&self.telemetry), Arc::clone(self.wheels.get(exchange.worker())));
        let exchange = Arc::clone(exchange);
        *response.body_mut() = match &self.calls {
            Some(calls) => {
                let requests = calls.ready(&exchange, parts, path, captures)?;
                self.session(Opening { client, resumed, requests, place, exchange, telemetry, wheel }, expires)
            }
            None => {
                let requests = NoCalls;
                self.session(Opening { client, resumed, requests, place, exchange, telemetry, wheel }, expires)
            }
        };
        Ok(response)
    }

    fn session<R: Requests + Unpin + 'static>(&self, opening: Opening<R>, expires: Option<Instant>) -> ResponseBody {
        ResponseBody::stream(Session::open(opening, self.settings, expires))
    }
}

/// When the credential ends.
fn expires(identity: &Identity) -> Option<Instant> {
    let at = identity.claim("exp").and_then(Value::as_f64)?;
    let left = at - f64::from(u32::try_from(unix_ms() / 1000).unwrap_or(u32::MAX));
    // What lies beyond is not waited for by any client.
    let left = Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX);
    now().checked_add(left)
}
