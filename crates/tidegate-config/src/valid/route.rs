//! Routes: which requests, and what is done with them.

use std::time::Duration;

use tidegate_route::Template;

use crate::diag::Place;

use super::auth::Access;
use super::policy::Policy;
use super::realtime::RealtimeAction;

/// One entry of `routes`; of a route with `split` one of its entries, each with the policies of its service.
#[derive(Clone, PartialEq, Debug)]
pub struct Route {
    /// Unique name; a metric label.
    pub name: String,
    /// Where the entry stands.
    pub place: Place,
    /// The path. `None`: paths and methods come from the `google.api.http` annotations of the selected RPCs.
    pub path: Option<RoutePath>,
    /// Methods that the route answers.
    pub methods: Methods,
    /// Hosts, lower case: exact names, or `*.example.com`. Empty: any.
    pub hosts: Vec<String>,
    /// What is done.
    pub action: Action,
    /// Who may ask.
    pub access: Access,
    /// Merged policies.
    pub policy: Policy,
    /// Who gets copies of its requests.
    pub mirror: Option<Mirror>,
    /// When another attempt is made beside the first one.
    pub hedge: Option<Hedge>,
    /// Its part of a route with `split`.
    pub share: Option<Share>,
}

impl Route {
    /// Whether it stands for its entry: all routes do, but for those that share one with a route before them.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.share.as_ref().is_none_or(|share| share.leads)
    }
}

/// `mirror`.
#[derive(Clone, PartialEq, Debug)]
pub struct Mirror {
    /// Index into `Valid::services`; it speaks what the service of the action does.
    pub service: usize,
    /// The part of the requests that is copied: above 0, at most 1.
    pub ratio: f64,
    /// Copies at once.
    pub max_in_flight: u32,
    /// Where it stands.
    pub place: Place,
}

/// `hedge`. One of the first two is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hedge {
    /// The wait, or the shortest wait.
    pub after: Option<Duration>,
    /// The part of the answers that take no longer, 50 to 99.
    pub percentile: Option<u8>,
    /// 1 or 2.
    pub max_hedges: u32,
    /// Where it stands.
    pub place: Place,
}

/// A service's part of a route with `split`. All of a route's parts follow one another, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// Of the sum of all weights, which is not 0.
    pub weight: u32,
    /// The first of its route.
    pub leads: bool,
    /// Where it stands.
    pub place: Place,
}

/// The path of a route.
#[derive(Clone, PartialEq, Debug)]
pub struct RoutePath {
    /// The parsed template; `template.as_str()` is the text as written.
    pub template: Template,
    /// Where it stands.
    pub place: Place,
}

/// Methods of a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Methods {
    /// No `method` key.
    Any,
    /// Upper-case tokens as written, not empty, no repetition.
    List(Vec<String>),
}

/// What a route does once all policies agree.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Call a gRPC method.
    Grpc(GrpcAction),
    /// Pass the request on as it is.
    Proxy(ProxyAction),
    /// Answer at once.
    Respond(Respond),
    /// Pass a gRPC call on as it is.
    Native(NativeAction),
    /// End a WebSocket: an endpoint of `realtime`.
    Realtime(RealtimeAction),
}

impl Action {
    /// The service that is asked, as an index into `Valid::services`.
    #[must_use]
    pub fn service(&self) -> Option<usize> {
        match self {
            Self::Grpc(grpc) => Some(grpc.service),
            Self::Proxy(proxy) => Some(proxy.service),
            Self::Native(native) => Some(native.service),
            Self::Realtime(realtime) => realtime.request.as_ref().map(|request| request.service),
            Self::Respond(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn service_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Grpc(grpc) => Some(&mut grpc.service),
            Self::Proxy(proxy) => Some(&mut proxy.service),
            Self::Native(native) => Some(&mut native.service),
            Self::Realtime(realtime) => realtime.request.as_mut().map(|request| &mut request.service),
            Self::Respond(_) => None,
        }
    }
}

/// `protocol` of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteProtocol {
    /// gRPC and gRPC-Web, passed through.
    Grpc,
}

/// A gRPC call that is passed on to a gRPC service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NativeAction {
    /// Index into `Valid::services`.
    pub service: usize,
}

/// A request that is passed on to an HTTP service.
#[derive(Clone, PartialEq, Debug)]
pub struct ProxyAction {
    /// Index into `Valid::services`.
    pub service: usize,
    /// The path that the backend sees; `None`: the canonical path of the request.
    pub rewrite: Option<Rewrite>,
    /// Clients may open a WebSocket to the backend.
    pub websocket: bool,
    /// Clients get the backend's early hints.
    pub early_hints: bool,
}

/// `rewrite`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrite {
    /// Joined they are the new path, which begins with `/`.
    pub path: Vec<RewritePart>,
    /// As written.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// A piece of a new path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RewritePart {
    /// Text, escaped as a path is.
    Literal(String),
    /// What a variable of the route's path matched, escaped as the client sent it: its number in the template.
    Variable(usize),
}

/// A gRPC call.
#[derive(Clone, PartialEq, Debug)]
pub struct GrpcAction {
    /// Index into `Valid::services`.
    pub service: usize,
    /// Which RPC, or which ones.
    pub rpc: RpcSelector,
    /// Where the RPC is named.
    pub rpc_place: Place,
    /// What the HTTP body is. Ignored for annotation routes.
    pub body: Body,
    /// Where `body` stands, or the route when the key is missing.
    pub body_place: Place,
    /// Top-level field of the answer that becomes the HTTP body.
    pub response_body: Option<String>,
    /// Where `response_body` stands, or the route when the key is missing.
    pub response_body_place: Place,
}

/// The RPCs of a route. Names are not checked against descriptors here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RpcSelector {
    /// One method: `pkg.Service/Method`, or `Service/Method` when the short name is unique among the descriptors.
    Method(String),
    /// All annotated methods of one service: `pkg.Service/*` is `Service("pkg.Service")`.
    Service(String),
    /// All annotated methods of the services right below a package: `shop.v1.*` is `Package("shop.v1")`.
    Package(String),
}

/// Which part of the request message the HTTP body is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// No body rule.
    None,
    /// `"*"`: the whole message.
    Whole,
    /// A dotted field path.
    Field(String),
}

/// A fixed answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Respond {
    /// Status, 200 to 599.
    pub status: u16,
    /// `application/json`, `text/plain; charset=utf-8`, or nothing when there is no body.
    pub content_type: Option<&'static str>,
    /// The body, ready to send. JSON keeps the order of the file and has no white space.
    pub body: Vec<u8>,
}
