//! How the gateway is watched and steered: admin, readiness, health.

use std::net::SocketAddr;

use crate::diag::Place;
use crate::secret::Secret;

/// The admin API.
#[derive(Clone, PartialEq, Debug)]
pub struct Admin {
    /// Address to bind; port 0 takes a free one. 127.0.0.1:9901 by default. A loopback address if there is no token.
    pub address: SocketAddr,
    /// What requests must carry.
    pub token: Option<Secret>,
    /// Where the block stands.
    pub place: Place,
}

/// What readiness depends on beside the gateway itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Readiness {
    /// All of them must work. Empty by default.
    pub require: Vec<Required>,
}

/// Something that readiness may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Required {
    /// The service with this index has an endpoint that is not out.
    Service(usize),
}

/// What the health path tells the public.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthDetail {
    /// The state of each service, without addresses. The default.
    Full,
    /// Status and version; the rest is on the admin listener.
    Admin,
}
