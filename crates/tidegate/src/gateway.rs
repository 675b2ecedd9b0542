//! One request in, one answer out: the entry that every listener calls.

use std::sync::Arc;

use http::{Request, Response};

use crate::body::{RequestBody, ResponseBody};
use crate::ids::ConnInfo;
use crate::reject::Reject;

/// The gateway as the listeners see it.
#[derive(Debug)]
pub struct Gateway {}

impl Gateway {
    /// Answers one request. Cannot fail: every refusal is rendered here. Dropping the future cancels the request.
    ///
    /// `request` has been vetted: one authority, known framing. The URI holds the path as it was sent.
    pub async fn handle(
        &self,
        conn: &Arc<ConnInfo>,
        request: Request<RequestBody>,
    ) -> Response<ResponseBody> {
        let (_, _) = (conn, request);
        Response::new(ResponseBody::Empty)
    }

    /// Renders a refusal that was made before there was a request that could be routed.
    #[must_use]
    pub fn refuse(&self, conn: &ConnInfo, reject: &Reject) -> Response<ResponseBody> {
        let _ = conn;
        let mut response = Response::new(ResponseBody::Empty);
        *response.status_mut() = reject.status.unwrap_or(reject.reason.status());
        response
    }
}
