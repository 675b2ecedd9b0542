//! What a route does once all policies agree.

pub mod envelope;
pub mod failure;
pub mod grpc_health;
pub mod health;
pub mod metrics;
pub mod mirror;
pub mod native;
pub mod proxy;
pub mod realtime;
pub mod respond;
pub mod system;
pub mod transcode;
mod tunnel;

use http::Response;
use http::request::Parts;
use tidegate_route::Captures;

use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::policy::authz::Pass;
use crate::reject::{Reason, Reject};
use crate::tasks;

/// The action of a compiled route.
#[derive(Debug)]
pub enum Action {
    /// JSON in, gRPC out.
    Transcode(std::sync::Arc<transcode::Transcode>),
    /// HTTP in, HTTP out.
    Proxy(Box<proxy::Proxy>),
    /// gRPC in, gRPC out.
    Native(Box<native::Native>),
    /// A WebSocket that ends here.
    Realtime(Box<realtime::Realtime>),
    /// A fixed answer.
    Respond(respond::Respond),
    /// A path of the gateway itself.
    System(system::System),
    /// The page of metrics.
    Metrics(metrics::Page),
    /// A method of the gateway's own health service.
    GrpcHealth(grpc_health::GrpcHealth),
    /// The descriptors of the service are not known yet, so nothing can be asked of it.
    Pending,
}

impl Action {
    /// The call, if it is one whose method is known.
    #[must_use]
    pub fn transcode(&self) -> Option<&transcode::Transcode> {
        if let Self::Transcode(transcode) = self { Some(transcode) } else { None }
    }

    /// Whether a client may open a WebSocket.
    #[must_use]
    pub fn takes_sockets(&self) -> bool {
        match self {
            Self::Proxy(proxy) => proxy.takes_sockets(),
            // What is not known yet may become one.
            Self::Realtime(_) | Self::Pending => true,
            Self::Transcode(_)
            | Self::Native(_)
            | Self::Respond(_)
            | Self::System(_)
            | Self::Metrics(_)
            | Self::GrpcHealth(_) => false,
        }
    }

    /// The endpoint, if WebSockets end here.
    #[must_use]
    pub fn realtime(&self) -> Option<&realtime::Realtime> {
        if let Self::Realtime(realtime) = self { Some(realtime) } else { None }
    }

    /// Who gets copies of its requests.
    #[must_use]
    pub fn mirror(&self) -> Option<&mirror::Mirror> {
        match self {
            Self::Transcode(transcode) => transcode.mirror(),
            Self::Proxy(proxy) => proxy.mirror(),
            Self::Native(native) => native.mirror(),
            Self::Realtime(_)
            | Self::Respond(_)
            | Self::System(_)
            | Self::Metrics(_)
            | Self::GrpcHealth(_)
            | Self::Pending => None,
        }
    }

    /// Runs it for a request that was let in. `path` is the canonical path that `captures` point into.
    ///
    /// # Errors
    /// The refusal; nothing was sent to the client.
    pub fn run(
        &self,
        _pass: Pass,
        exchange: &std::sync::Arc<Exchange>,
        parts: Box<Parts>,
        body: RequestBody,
        path: &str,
        captures: &Captures,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Reject>> + Send {
        async move {
            match self {
                Self::Transcode(transcode) => {
                    tasks::boxed(|| transcode.run(exchange, parts, body, path, captures)).await
                }
                Self::Proxy(proxy) => tasks::boxed(|| proxy.run(exchange, parts, body, path, captures)).await,
                Self::Native(native) => tasks::boxed(|| native.run(exchange, parts, body, path, captures)).await,
                Self::Realtime(realtime) => realtime.open(exchange, parts, body, path, captures),
                Self::Respond(respond) => Ok(respond.run()),
                Self::System(system) => Ok(system.run()),
                Self::Metrics(page) => page.answer(&parts.headers).await,
                Self::GrpcHealth(health) => tasks::boxed(|| health.run(exchange, &parts, body)).await,
                Self::Pending => Err(Reject::new(Reason::NoHealthyEndpoint).detail("the service is not known yet")),
            }
        }
    }
}
