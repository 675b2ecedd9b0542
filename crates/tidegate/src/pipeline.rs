//! The order of work for one request, in one place. Steps live in their own files; this one only sequences them.

use std::sync::Arc;

use http::{Request, Response};
use tidegate_route::{CanonicalOptions, Captures, canonicalize};

use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::reject::Reject;
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
    let path = match canonicalize(uri.path().as_bytes(), CanonicalOptions::default()) {
        Ok(path) => path,
        Err(error) => return unrouted(snapshot, exchange, &parts.headers, Reject::bad_path(&error)).await,
    };
    let mut captures = Captures::new();
    let host = uri.host().unwrap_or_else(|| host_header(&parts.headers));
    let route = match snapshot.choose(host, parts.method.as_str(), path.as_str(), &mut captures) {
        Ok(route) => route,
        Err(reject) => return unrouted(snapshot, exchange, &parts.headers, reject).await,
    };
    on_route(route);
    if let Some(asking) = route.limits.admit_early(exchange, &parts.headers)? {
        asking.await?;
    }
    // Whoever finds out who asks, and whether they may, stands here.
    if let Some(asking) = route.limits.admit_late(exchange, &parts.headers)? {
        asking.await?;
    }
    route.action.run(exchange, parts, body, path.as_str(), &captures).await
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

fn host_header(headers: &http::HeaderMap) -> &str {
    headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}
