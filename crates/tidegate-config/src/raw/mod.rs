//! What the author typed: one structure per block, every key optional, nothing merged and nothing resolved.
//!
//! The documentation of the fields is the reference manual: it is printed by the JSON Schema and by the generated
//! `docs/configuration.md`. The `later` lists are the keys of the product that this version refuses.

mod auth;
mod envelope;
mod guard;
mod limits;
mod listener;
mod observability;
mod operate;
mod policy;
mod process;
mod realtime;
mod route;
mod service;

pub(crate) use auth::{RawAllow, RawApiKey, RawAuth, RawProvider, RawRouteAuth};
pub(crate) use envelope::{Json, RawEnvelope};
pub(crate) use guard::{RawCors, RawValidate};
pub(crate) use limits::{RawRateLimit, RawRedis};
pub(crate) use listener::{RawHeadLimits, RawHttp2, RawListener, RawTimeouts, RawTls, RawTlsFiles};
pub(crate) use observability::{RawAccess, RawMetrics, RawObservability, RawTracing};
pub(crate) use operate::{RawAdmin, RawClientIp, RawHealth, RawReadiness};
pub(crate) use policy::{RawBackoff, RawBudget, RawErrors, RawHeaders, RawJson, RawMetadata, RawPolicy, RawRetry};
pub(crate) use process::{RawDrain, RawOverload, RawRuntime, RawSystemRoutes, RawWorkers};
pub(crate) use realtime::{RawRealtime, RawRealtimeAuth, RawRealtimeEndpoint, RawRealtimeLimits, RawRealtimeRequest};
pub(crate) use route::{PathText, RawRespond, RawRewrite, RawRoute, RawShare};
pub(crate) use service::{
    RawBreaker, RawConnections, RawDescriptors, RawEndpoint, RawHealthCheck, RawOutliers, RawService, RawUpstreamTls,
};

use crate::decode::{Bytes, Count, Item, Table, Text, raw_struct};

raw_struct! {
    /// The whole file. Files named by `include` may hold `listeners`, `services`, `routes` and `envelopes`; everything
    /// else stands in the main file.
    RawConfig {
        /// Version of this format: 1. The main file must have it.
        version: Count,
        /// More files, relative to this one, with `*`, `?`, `[…]` and `**`. Names must be unique over all files.
        include: Vec<Item<Text>>,
        /// Where clients connect. At least one.
        listeners: Vec<Item<RawListener>>,
        /// How a client's address is found out.
        client_ip: RawClientIp,
        /// Whether `//` in a path counts as `/`, for routes, policies and backends alike. Otherwise it is refused (400):
        /// servers read it in different ways.
        merge_slashes: bool = "false",
        /// Who is who: credentials, roles, and what backends are told of it.
        auth: RawAuth,
        /// How the process stops.
        drain: RawDrain,
        /// Threads.
        runtime: RawRuntime,
        /// Policies of all routes. A service or a route overrides them key by key; `null` removes what is inherited.
        defaults: RawPolicy,
        /// The Redis that processes share, for limits with `store: redis`.
        redis: RawRedis,
        /// Backends by name.
        services: Table<RawService>,
        /// Routes. Their order does not matter: the most specific path wins.
        routes: Vec<Item<RawRoute>>,
        /// Shapes of answers by name, for the policy `envelope`.
        envelopes: Table<RawEnvelope>,
        /// WebSockets that end at the gateway.
        realtime: RawRealtime,
        /// Logs, metrics, traces.
        observability: RawObservability,
        /// The admin API.
        admin: RawAdmin,
        /// What readiness depends on.
        readiness: RawReadiness,
        /// Bytes that the process may have, at least 16 MiB; without the key the least limit of its cgroups, if there is
        /// one. At 80 % the health path warns, at 90 % connections are not kept, idle ones are closed and no WebSocket is
        /// opened, at 95 % new requests get a 503.
        memory_limit: Bytes,
        /// When requests are refused because the gateway has too much to do; `null`: never.
        overload: RawOverload,
        /// What the health path tells.
        health: RawHealth,
        /// Paths that the gateway answers itself; `null` turns one off.
        system_routes: RawSystemRoutes,
    }
    later {
        "limits"
    }
}
