//! Everything that was compiled from one configuration. Never changed after it is published.

mod auth;
pub mod bodies;
pub mod compile;
pub mod diff;
pub mod draft;
pub mod freshness;
pub mod inputs;
pub mod registry;
pub mod schemas;
pub mod split;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use tidegate_config::Valid;
use tidegate_route::{CanonicalOptions, Captures, Find, Router, Template};
use tokio::time::sleep;

use crate::action::Action;
use crate::action::failure::FailureStyle;
use crate::action::health::Health;
use crate::exchange::Intake;
use crate::ids::WorkerId;
use crate::policy::access::Access;
use crate::policy::compress::Compress;
use crate::policy::cors::{self, Cors};
use crate::policy::decompress::Decompress;
use crate::policy::headers::Reserved;
use crate::policy::limits::Limits;
use crate::policy::validate::Validate;
use crate::reject::{Reason, Reject};
use crate::telemetry::route::RouteTelemetry;

use self::split::Split;

/// One compiled configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts from 1 and rises with each commit.
    pub generation: u64,
    /// What it was compiled from.
    pub valid: Arc<Valid>,
    /// Over all files that were read: 16 hex digits.
    pub hash: Arc<str>,
    /// How paths become canonical, before anything looks at them.
    pub paths: CanonicalOptions,
    /// Host, method and path to an index into the routes.
    pub router: Router,
    /// In the order of the configuration, then the system routes.
    pub routes: Vec<CompiledRoute>,
    /// What holds when no route matched.
    pub unrouted: Unrouted,
    /// What is settled of each request before its route is sought.
    pub intake: Intake,
    /// Names of headers that clients may not send to backends.
    pub reserved: Reserved,
    /// Of the process, with the services of this configuration.
    pub health: Arc<Health>,
}

/// What holds when no route matched.
#[derive(Debug)]
pub struct Unrouted {
    /// How refusals are written.
    pub failure: FailureStyle,
    /// By which names they are counted and logged: none.
    pub telemetry: Arc<RouteTelemetry>,
    /// Those of `defaults`: a request without a route pays too.
    pub limits: Limits,
    /// Which pages may read that there is nothing.
    pub cors: Option<Cors>,
}

/// How often a snapshot that was replaced is looked at.
const RETIRE_AFTER: Duration = Duration::from_millis(100);

/// Keeps `replaced` until no request uses it any more. Freeing thousands of routes takes milliseconds, which would
/// otherwise fall to the worker that ends the last of them: for the control thread.
pub async fn retire(replaced: Arc<Snapshot>) {
    while Arc::strong_count(&replaced) > 1 {
        sleep(RETIRE_AFTER).await;
    }
}

impl Snapshot {
    /// As [`Snapshot::choose`], but a preflight belongs to the route of the method that it asks for, if that route knows
    /// about origins; if no route has this method, to one of those that the path has.
    ///
    /// # Errors
    /// As [`Snapshot::choose`].
    pub fn choose_for(
        &self,
        host: &str,
        method: &Method,
        headers: &HeaderMap,
        path: &str,
        captures: &mut Captures,
    ) -> Result<&CompiledRoute, Reject> {
        let asked = cors::preflight_method(method, headers).and_then(|asked| asked.to_str().ok());
        if let Some(asked) = asked
            && let Some(route) = self.preflighted(host, asked, path, captures)
        {
            return Ok(route);
        }
        self.choose(host, method.as_str(), path, captures)
    }

    fn preflighted(&self, host: &str, asked: &str, path: &str, captures: &mut Captures) -> Option<&CompiledRoute> {
        let number = match self.router.find(host, asked, path, captures) {
            Find::Route(number) => Some(number),
            Find::NotFound => None,
            Find::MethodNotAllowed(allow) => {
                let allow = allow.to_string();
                let mut others = allow.split(',').map(str::trim);
                others.find_map(|other| match self.router.find(host, other, path, captures) {
                    Find::Route(number) => Some(number),
                    Find::MethodNotAllowed(_) | Find::NotFound => None,
                })
            }
        };
        self.route(number?).filter(|route| route.cors.is_some())
    }

    /// The route for a request, and in `captures` where its variables lie in `path`, which is canonical.
    ///
    /// # Errors
    /// `route_not_found`, or `method_not_allowed` with what would be allowed.
    pub fn choose(
        &self,
        host: &str,
        method: &str,
        path: &str,
        captures: &mut Captures,
    ) -> Result<&CompiledRoute, Reject> {
        match self.router.find(host, method, path, captures) {
            Find::Route(number) => self.route(number).ok_or_else(|| Reject::new(Reason::RouteNotFound)),
            Find::MethodNotAllowed(allow) => {
                let mut reject = Reject::new(Reason::MethodNotAllowed);
                reject.allow = Some(allow.to_string().into());
                Err(reject)
            }
            Find::NotFound => Err(Reject::new(Reason::RouteNotFound)),
        }
    }

    /// Of a route that several services share, the part that the next request of `worker` takes; else the route itself.
    /// Asked once for each request.
    #[must_use]
    pub fn share<'s>(&'s self, route: &'s CompiledRoute, worker: WorkerId) -> &'s CompiledRoute {
        let Some(split) = &route.split else { return route };
        self.routes.get(split.next(worker)).unwrap_or(route)
    }

    /// The first part of such a route that gets requests, for whoever explains it.
    #[must_use]
    pub fn first_share<'s>(&'s self, route: &'s CompiledRoute) -> &'s CompiledRoute {
        route.split.as_ref().and_then(|split| self.routes.get(split.first())).unwrap_or(route)
    }

    /// The limits of all routes, and of what has none.
    pub fn limits(&self) -> impl Iterator<Item = &Limits> {
        self.routes.iter().map(|route| &route.limits).chain([&self.unrouted.limits])
    }

    /// The route with this number, which the router gave.
    #[must_use]
    pub fn route(&self, number: u32) -> Option<&CompiledRoute> {
        self.routes.get(usize::try_from(number).ok()?)
    }
}

/// One row of the route table. A route of the configuration becomes one row, or one for each annotation.
#[derive(Debug)]
pub struct CompiledRoute {
    /// Name in the configuration.
    pub name: Box<str>,
    /// Where it stands: `tidegate.yaml:12`, or `built in`.
    pub origin: Box<str>,
    /// Any host if empty.
    pub hosts: Vec<String>,
    /// Any method if `None`.
    pub methods: Option<Vec<String>>,
    /// The path.
    pub template: Template,
    /// Name of the service; empty for routes that the gateway answers itself.
    pub service: Box<str>,
    /// What is done, in words: `shop.v1.OrderService/GetOrder`, `respond 200`, `system health`.
    pub target: Box<str>,
    /// Who may use it.
    pub access: Access,
    /// What is done.
    pub action: Action,
    /// How refusals are written.
    pub failure: Arc<FailureStyle>,
    /// By which names its requests are counted and logged.
    pub telemetry: Arc<RouteTelemetry>,
    /// How often clients may ask.
    pub limits: Limits,
    /// Which pages of other origins may use it; `None`: that is no matter of the gateway.
    pub cors: Option<Arc<Cors>>,
    /// What a request must be; `None` if nothing is demanded.
    pub validate: Option<Box<Validate>>,
    /// Codings of request bodies are undone; `None`: they pass as they are.
    pub decompress: Option<Decompress>,
    /// Which answers are compressed; `None`: none.
    pub compress: Option<Compress>,
    /// The services that share its requests; in the first of their rows alone.
    pub split: Option<Box<Split>>,
    /// Its weight of the sum of all weights, if services share its route.
    pub share: Option<(u32, u32)>,
    /// The router knows it; not so the further rows of a route that services share.
    pub leads: bool,
    /// Index of the route of the configuration that it comes from; `None` for what is built in.
    pub index: Option<usize>,
}
