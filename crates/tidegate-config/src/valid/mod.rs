//! A configuration that has been checked: every value typed, every name resolved to an index, every inherited value
//! merged, each with the place that it came from.
//!
//! Only `resolve` makes a [`Valid`]; whoever holds one need not check again. What depends on the outside world
//! (descriptors, certificates, DNS) is checked later, by the gateway, which adds to the same
//! [`Diagnostics`](crate::Diagnostics) through the places kept here.

mod auth;
mod client;
mod cors;
mod envelope;
mod limits;
mod listener;
mod observability;
mod operate;
mod origin;
mod patience;
mod policy;
mod process;
mod realtime;
mod resilience;
mod route;
mod service;
mod validate;

pub use auth::{
    Access, Allow, ApiKey, ApiKeys, Auth, Certificate, Check, CredentialSource, Forward, JwtRules, KeySource, Provider,
    ProviderType, Role, Url,
};
pub use client::{ClientIp, Network};
pub use cors::{AllowedOrigin, Cors};
pub use envelope::{Envelope, Expression, Literal, Piece, Tree};
pub use limits::{LimitKey, LimitStore, OnStoreError, RateLimit, Redis};
pub use listener::{ClientAuth, ClientCertificates, Listener, Protocol, Tls};
pub use observability::{
    AccessLog, AccessOutput, LogFormat, LogLevel, Logs, MetricsSettings, Observability, Otlp, OtlpProtocol, Tracing,
};
pub use operate::{Admin, HealthDetail, Readiness, Required};
pub use origin::{Level, Origin, Setting};
pub use patience::{HeadLimits, Http2Limits, ListenerLimits, Timeouts};
pub use policy::{
    Compression, EnumFormat, ErrorFormat, EscapedSlashes, FieldNames, GRPC_CODES, HeaderRules, Int64Format, JsonPolicy,
    MetadataPolicy, MultiSegmentEscape, Policy, StatusOverride, StreamFormat, UnknownPolicy,
};
pub use process::{Drain, LagLimits, Overload, Runtime, RuntimeModel, SystemRoute, SystemRoutes, Workers};
pub use realtime::{Realtime, RealtimeAction, RealtimeLimits, RealtimeProtocol, RealtimeRequest};
pub use resilience::{
    Balancing, BalancingPolicy, CircuitBreaker, HashOn, HealthCheck, HealthCheckType, OutlierDetection, Resilience,
    Retry, RetryBudget, RetryOn,
};
pub use route::{
    Action, Body, GrpcAction, Hedge, Methods, Mirror, NativeAction, ProxyAction, Respond, Rewrite, RewritePart, Route,
    RoutePath, RouteProtocol, RpcSelector, Share,
};
pub use service::{
    Connections, Descriptors, Endpoint, HostPort, Keepalive, Service, ServiceProtocol, Target, UpstreamTls,
};
pub use validate::Validate;

/// The whole configuration. Lists are in the order of the files: the main file first, then each included file.
#[derive(Clone, Debug)]
pub struct Valid {
    /// Files that were read, main file first, as named in diagnostics. A reload watches these.
    pub files: Vec<std::sync::Arc<str>>,
    /// Where clients connect. Not empty; names and addresses are unique.
    pub listeners: Vec<Listener>,
    /// Backends; names are unique. Routes refer to them by index.
    pub services: Vec<Service>,
    /// Routes; names are unique. No two of them match the same host, method and path (annotation routes excepted:
    /// their paths are known to the gateway only).
    pub routes: Vec<Route>,
    /// What holds where no route does: policies of `defaults` alone. Its envelope may lack an `error` part.
    pub defaults: Policy,
    /// Envelope templates; names are unique. Policies refer to them by index.
    pub envelopes: Vec<Envelope>,
    /// Who may speak for clients.
    pub client_ip: ClientIp,
    /// `//` in a path counts as `/`; otherwise it is refused.
    pub merge_slashes: Setting<bool>,
    /// Who is who.
    pub auth: Auth,
    /// The Redis that processes share; `None`: there is none, and no limit is counted there.
    pub redis: Option<Redis>,
    /// How the process stops.
    pub drain: Drain,
    /// Threads.
    pub runtime: Runtime,
    /// When requests are refused for lack of time or memory.
    pub overload: Overload,
    /// WebSockets that end here; their endpoints are routes.
    pub realtime: Realtime,
    /// Logs, metrics, traces.
    pub observability: Observability,
    /// The admin API; `None`: there is none.
    pub admin: Option<Admin>,
    /// What readiness depends on beside the gateway itself.
    pub readiness: Readiness,
    /// What the health path tells the public.
    pub health_detail: HealthDetail,
    /// Paths that the gateway answers itself.
    pub system_routes: SystemRoutes,
}
