//! The order of work for one request, in one place. Steps live in their own files; this one only sequences them.

use std::sync::Arc;

use http::{Request, Response};
use tidegate_route::{CanonicalOptions, Captures, Find, canonicalize};

use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};
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
        Err(error) => return Outcome { route: None, result: Err(bad_path(&error)) },
    };
    let mut captures = Captures::new();
    let host = uri.host().unwrap_or_else(|| host_header(&parts.headers));
    let found = match snapshot.router.find(host, parts.method.as_str(), path.as_str(), &mut captures) {
        Find::Route(number) => snapshot.route(number),
        Find::MethodNotAllowed(allow) => {
            let mut reject = Reject::new(Reason::MethodNotAllowed);
            reject.allow = Some(allow.to_string().into());
            return Outcome { route: None, result: Err(reject) };
        }
        Find::NotFound => None,
    };
    let Some(route) = found else {
        return Outcome { route: None, result: Err(Reject::new(Reason::RouteNotFound)) };
    };
    let result = route.action.run(exchange, parts, body, path.as_str(), &captures).await;
    Outcome { route: Some(route), result }
}

fn bad_path(error: &tidegate_route::PathError) -> Reject {
    Reject::new(Reason::BadRequest).detail("malformed path").cause(error.to_string())
}

fn host_header(headers: &http::HeaderMap) -> &str {
    headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}
