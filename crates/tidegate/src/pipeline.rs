//! The order of work for one request, in one place. Steps live in their own files; this one only sequences them.

use std::sync::Arc;

use http::{Request, Response};
use tidegate_route::{CanonicalOptions, Captures, canonicalize};

use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::reject::Reject;
use crate::snapshot::{CompiledRoute, Snapshot};

/// What became of a request, and the route that decides how it is written.
pub struct Outcome<'s> {
    /// `None` if no route matched.
    pub route: Option<&'s CompiledRoute>,
    /// The answer, or why there is none.
    pub result: Result<Response<ResponseBody>, Reject>,
}

/// Runs a request through the policies and the action of its route.
pub async fn run<'s>(
    snapshot: &'s Arc<Snapshot>,
    exchange: &Arc<Exchange>,
    request: Request<RequestBody>,
) -> Outcome<'s> {
    let (parts, body) = request.into_parts();
    let uri = parts.uri.clone();
    let path = match canonicalize(uri.path().as_bytes(), CanonicalOptions::default()) {
        Ok(path) => path,
        Err(error) => return Outcome { route: None, result: Err(Reject::bad_path(&error)) },
    };
    let mut captures = Captures::new();
    let host = uri.host().unwrap_or_else(|| host_header(&parts.headers));
    let route = match snapshot.choose(host, parts.method.as_str(), path.as_str(), &mut captures) {
        Ok(route) => route,
        Err(reject) => return Outcome { route: None, result: Err(reject) },
    };
    let result = route.action.run(exchange, parts, body, path.as_str(), &captures).await;
    Outcome { route: Some(route), result }
}

fn host_header(headers: &http::HeaderMap) -> &str {
    headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}
