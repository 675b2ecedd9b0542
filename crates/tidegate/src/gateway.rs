//! One request in, one answer out: the entry that every listener calls.

mod shed;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Response;
use http::header::{self, HeaderValue};
use http::request::Parts;

use crate::action::failure::{FailureStyle, Format};
use crate::body::{AnyBody, RequestBody};
use crate::exchange::{Exchange, REQUEST_ID};
use crate::ids::ConnInfo;
use crate::overload::{Cause, Overload};
use crate::pipeline;
use crate::policy::cors;
use crate::reject::{Reason, Reject};
use crate::snapshot::Snapshot;
use crate::tasks;
use crate::telemetry::Telemetry;
use crate::telemetry::answer::{AnswerBody, Running};

/// The gateway as the listeners see it.
#[derive(Debug)]
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    telemetry: Arc<Telemetry>,
    overload: Arc<Overload>,
}

impl Gateway {
    /// A gateway that serves `snapshot`, and tells `telemetry` about each request.
    #[must_use]
    pub fn new(snapshot: Snapshot, telemetry: Arc<Telemetry>) -> Self {
        Self { snapshot: ArcSwap::from_pointee(snapshot), telemetry, overload: Arc::default() }
    }

    /// Refuses requests as `overload` says. Without it none are.
    #[must_use]
    pub fn watched_by(mut self, overload: &Arc<Overload>) -> Self {
        self.overload = Arc::clone(overload);
        self
    }

    /// Publishes another snapshot and gives back the one before, on which requests that have begun end.
    pub fn commit(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.snapshot.swap(snapshot)
    }

    /// The snapshot that new requests get.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// What is told of each request.
    #[must_use]
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Answers one request. Cannot fail: every refusal is rendered here. Dropping the future cancels the request.
    ///
    /// `head` has been vetted: one authority, known framing. Its URI holds the path as it was sent.
    pub fn handle(
        &self,
        conn: &Arc<ConnInfo>,
        head: Box<Parts>,
        body: RequestBody,
    ) -> impl Future<Output = Response<AnswerBody>> + Send {
        async move {
            let snapshot = self.snapshot.load_full();
            let exchange = Exchange::begin(conn, &head, &snapshot.intake);
            let mut running = Running::begin(&exchange, &self.telemetry);
            let mut style = &snapshot.unrouted.failure;
            let opens_socket = || shed::opens_socket(&snapshot, &head, &body);
            let has_credential = || shed::has_credential(&head.headers, &snapshot.valid.auth);
            let shed = self.overload.sheds(conn.worker, opens_socket, has_credential, || fastrand::u32(..));
            if let Some(cause) = shed {
                let route = shed::route(&snapshot, &head);
                if !shed::is_spared(route) {
                    self.overload.refused(conn.worker, cause);
                    running.routed(route.map_or(&snapshot.unrouted.telemetry, |route| &route.telemetry));
                    let style = route.map_or(style, |route| &*route.failure);
                    let cors = route.map_or(snapshot.unrouted.cors.as_ref(), |route| route.cors.as_deref());
                    let origin = cors.map(|cors| cors.asked(&head.method, &head.headers));
                    return answer(running, style, &exchange, origin.as_ref(), Err(shed::reject(cause)));
                }
            }
            let mut origin = snapshot.unrouted.cors.as_ref().map(|cors| cors.asked(&head.method, &head.headers));
            let run = pipeline::run(&snapshot, &exchange, head, body, |route, head| {
                // Now and not at the end: a client that does not wait for it has asked this route, too.
                running.routed(&route.telemetry);
                style = &*route.failure;
                origin = route.cors.as_ref().map(|cors| cors.asked(&head.method, &head.headers));
            });
            let ran = tasks::guard("request", run).await;
            running.routed_or(&snapshot.unrouted.telemetry);
            let result = ran.unwrap_or_else(|tasks::Panicked| Err(Reject::new(Reason::Internal)));
            if matches!(&result, Err(reject) if reject.reason == Reason::Overloaded) {
                self.overload.refused(conn.worker, Cause::Pending);
            }
            answer(running, style, &exchange, origin.as_ref(), result)
        }
    }

    /// Renders a refusal that was made before there was a request that could be routed; `request` is its head, if it
    /// could be parsed.
    #[must_use]
    pub fn refuse(&self, conn: &Arc<ConnInfo>, request: Option<Box<Parts>>, reject: Reject) -> Response<AnswerBody> {
        let exchange = match request {
            Some(parts) => Exchange::begin(conn, &parts, &self.snapshot.load().intake),
            None => Exchange::unparsed(conn),
        };
        let style = FailureStyle::plain("", Format::Problem);
        let mut running = Running::begin(&exchange, &self.telemetry);
        running.routed_or(&self.snapshot.load().unrouted.telemetry);
        answer(running, &style, &exchange, None, Err(reject))
    }
}

/// The answer on its way out: what an action gave, or a refusal in the style of its route.
fn answer(
    running: Running,
    style: &FailureStyle,
    exchange: &Exchange,
    origin: Option<&cors::Asked<'_>>,
    result: Result<Response<AnyBody>, Reject>,
) -> Response<AnswerBody> {
    let (mut response, reason) = match result {
        Ok(response) => (response, None),
        Err(reject) => (refused(style, exchange, &reject), Some(reject.reason)),
    };
    if let Some(origin) = origin {
        origin.decorate(&mut response);
    }
    let response = finish(exchange, response);
    let status = response.status().as_u16();
    response.map(|body| running.answered(status, reason, body))
}

/// Writes a refusal and tells the log what the client is not told.
fn refused(style: &FailureStyle, exchange: &Exchange, reject: &Reject) -> Response<AnyBody> {
    tracing::debug!(
        request_id = exchange.request_id.as_str(),
        route = &*style.route,
        reason = reject.reason.word(),
        cause = reject.cause.as_deref(),
        "refused"
    );
    style.respond(exchange, reject)
}

/// What every answer carries.
fn finish(exchange: &Exchange, mut response: Response<AnyBody>) -> Response<AnyBody> {
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, exchange.request_id_value());
    exchange.facts.limits.write(headers);
    headers.insert(header::SERVER, HeaderValue::from_static("tidegate"));
    if exchange.head && !matches!(response.body(), AnyBody::Empty) {
        let length = http_body::Body::size_hint(response.body()).exact();
        *response.body_mut() = AnyBody::Empty;
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::Request;
    use tidegate_config::source::Memory;

    use super::*;
    use crate::ids::WorkerId;

    const CONFIG: &str = "version: 1\n\
        listeners: [{ name: a, address: '127.0.0.1:0' }]\n\
        routes: [{ name: ping, path: /ping, respond: { text: pong } }]\n";

    /// It is a part of each connection's task, also while that is idle.
    #[test]
    fn the_future_of_a_request_stays_small() {
        let source = Memory { files: [("a.yaml".into(), CONFIG.into())].into(), ..Memory::default() };
        let valid = tidegate_config::load(&source, Path::new("a.yaml")).unwrap().valid;
        let gateway = Gateway::new(crate::app::draft(&Arc::new(valid)).unwrap(), Arc::default());
        let conn = Arc::new(ConnInfo::new(WorkerId::new(0), "a".into(), "127.0.0.1:1".parse().unwrap()));
        let size = size_of_val(&gateway.handle(&conn, Box::new(Request::new(()).into_parts().0), RequestBody::Empty));
        assert!(size <= 1_152, "{size} bytes");
    }
}
