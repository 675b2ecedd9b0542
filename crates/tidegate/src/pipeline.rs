//! The order of work for one request, in one place. Steps live in their own files; this one only sequences them.

use std::sync::Arc;

use http::{Request, Response, Version};
use tidegate_route::{CanonicalOptions, Captures, canonicalize};

use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};
use crate::snapshot::{CompiledRoute, Snapshot};

/// Runs a request through the policies and the action of its route. `on_route` is told the route as soon as it is known;
/// nothing is waited for before.
///
/// # Errors
/// Why there is no answer.
pub async fn run<'s>(
    snapshot: &'s Arc<Snapshot>,
    exchange: &Arc<Exchange>,
    request: Request<RequestBody>,
    on_route: impl FnOnce(&'s CompiledRoute),
) -> Result<Response<ResponseBody>, Reject> {
    let (parts, body) = request.into_parts();
    let uri = parts.uri.clone();
    let path = canonicalize(uri.path().as_bytes(), CanonicalOptions::default());
    let path = path.map_err(|error| Reject::bad_path(&error))?;
    let mut captures = Captures::new();
    let host = uri.host().unwrap_or_else(|| host_header(&parts.headers));
    let route = snapshot.choose(host, parts.method.as_str(), path.as_str(), &mut captures)?;
    on_route(route);
    check_socket(exchange, &body, route)?;
    route.action.run(exchange, parts, body, path.as_str(), &captures).await
}

/// Over HTTP/2 a request for a WebSocket is no `GET` that an action without one could answer (RFC 8441, section 5).
fn check_socket(exchange: &Exchange, body: &RequestBody, route: &CompiledRoute) -> Result<(), Reject> {
    let asks = matches!(body, RequestBody::Socket(_)) && exchange.version == Version::HTTP_2;
    if !asks || route.action.takes_sockets() {
        return Ok(());
    }
    Err(Reject::new(Reason::MethodNotAllowed).detail("no WebSocket is spoken here"))
}

fn host_header(headers: &http::HeaderMap) -> &str {
    headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}
