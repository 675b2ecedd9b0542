//! The order of work for one request, in one place. Steps live in their own files; this one only sequences them.

use std::sync::Arc;

use http::request::Parts;
use http::{Response, Version};
use tidegate_route::{Captures, canonicalize};

use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::policy::compress::Compress;
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
    mut parts: Box<Parts>,
    body: RequestBody,
    on_route: impl FnOnce(&'s CompiledRoute, &Parts),
) -> Result<Response<ResponseBody>, Reject> {
    let uri = &exchange.uri;
    let path = match canonicalize(uri.path().as_bytes(), snapshot.paths) {
        Ok(path) => path,
        Err(error) => return unrouted(snapshot, exchange, &parts.headers, Reject::bad_path(&error)).await,
    };
    let mut captures = Captures::new();
    let host = uri.host().unwrap_or_else(|| host_header(&parts.headers));
    let route = match snapshot.choose_for(host, &parts.method, &parts.headers, path.as_str(), &mut captures) {
        Ok(route) => snapshot.share(route, exchange.worker()),
        Err(reject) => return unrouted(snapshot, exchange, &parts.headers, reject).await,
    };
    on_route(route, &parts);
    if let Some(endpoint) = route.action.realtime() {
        endpoint.door.has_room(exchange)?;
    }
    snapshot.reserved.take_from(&mut parts.headers);
    if let Some(asking) = route.limits.admit_early(exchange, &parts.headers)? {
        asking.await?;
    }
    if let Some(answer) = route.cors.as_ref().and_then(|cors| cors.preflight(&parts)) {
        return answer;
    }
    check_socket(exchange, &parts, &body, route)?;
    let pass = route.access.admit(exchange, &mut parts).await?;
    if let Some(asking) = route.limits.admit_late(exchange, &parts.headers)? {
        asking.await?;
    }
    let body = match route.decompress {
        Some(decompress) => decompress.apply(&mut parts.headers, body)?,
        None => body,
    };
    let body = match &route.validate {
        Some(demands) => Box::pin(demands.check(exchange, &parts, body)).await?,
        None => body,
    };
    let compress = route.compress.map(|compress| (compress, Compress::taken(&parts.headers)));
    let response = route.action.run(pass, exchange, parts, body, path.as_str(), &captures).await?;
    Ok(match compress {
        Some((compress, taken)) => compress.apply(taken, exchange.head, response),
        None => response,
    })
}

/// A request without a route pays the limits of `defaults`, too, before it hears `reject`.
async fn unrouted<T>(
    snapshot: &Snapshot,
    exchange: &Exchange,
    headers: &http::HeaderMap,
    reject: Reject,
) -> Result<T, Reject> {
    if let Some(asking) = snapshot.unrouted.limits.admit_early(exchange, headers)? {
        asking.await?;
    }
    Err(reject)
}

/// Over HTTP/2 a request for a WebSocket is no `GET` that an action without one could answer (RFC 8441, section 5). One
/// that would end here is not for every page.
fn check_socket(exchange: &Exchange, parts: &Parts, body: &RequestBody, route: &CompiledRoute) -> Result<(), Reject> {
    if let Some(endpoint) = route.action.realtime() {
        return endpoint.door.check_origin(&parts.headers);
    }
    let asks = matches!(body, RequestBody::Socket(_)) && exchange.version == Version::HTTP_2;
    if !asks || route.action.takes_sockets() {
        return Ok(());
    }
    Err(Reject::new(Reason::MethodNotAllowed).detail("no WebSocket is spoken here"))
}

fn host_header(headers: &http::HeaderMap) -> &str {
    headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}
