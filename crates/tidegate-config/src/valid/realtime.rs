//! WebSockets that end at the gateway.

use std::time::Duration;

use crate::diag::Place;
use crate::units::Rate;

use super::cors::AllowedOrigin;

/// The `realtime` block. Its endpoints are routes with the action [`Realtime`](super::Action::Realtime).
#[derive(Clone, PartialEq, Debug)]
pub struct Realtime {
    /// Pages that may open WebSockets; `None`: those of the host that is asked.
    pub allowed_origins: Option<Vec<AllowedOrigin>>,
    /// How much there may be.
    pub limits: RealtimeLimits,
    /// After this much silence a client is asked for a sign of life.
    pub ping_interval: Duration,
    /// How long that may take.
    pub ping_timeout: Duration,
}

impl Default for Realtime {
    fn default() -> Self {
        Self {
            allowed_origins: None,
            limits: RealtimeLimits::default(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(8),
        }
    }
}

/// How much there may be of what.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RealtimeLimits {
    /// Open WebSockets in the process.
    pub max_connections: u32,
    /// Open WebSockets of one client.
    pub max_connections_per_ip: u32,
    /// Largest message of a client, in bytes.
    pub max_message: usize,
    /// Messages of a client.
    pub inbound: Rate,
    /// How long data may wait for a client that takes none.
    pub write_timeout: Duration,
}

impl Default for RealtimeLimits {
    fn default() -> Self {
        Self {
            max_connections: 120_000,
            max_connections_per_ip: 200,
            max_message: 64 * 1024,
            inbound: Rate { requests: 100, per: Duration::from_secs(1) },
            write_timeout: Duration::from_secs(10),
        }
    }
}

/// What clients of an endpoint speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RealtimeProtocol {
    /// One JSON object in each text message.
    Plain,
}

/// What an endpoint does.
#[derive(Clone, PartialEq, Debug)]
pub struct RealtimeAction {
    /// What is spoken.
    pub protocol: RealtimeProtocol,
    /// What an object without `type` asks for; `None`: nothing can be asked for in that way.
    pub request: Option<RealtimeRequest>,
}

/// A request that is one call.
#[derive(Clone, PartialEq, Debug)]
pub struct RealtimeRequest {
    /// Index into `Valid::services`.
    pub service: usize,
    /// `pkg.Service/Method`, or `Service/Method`.
    pub rpc: String,
    /// Where the RPC is named.
    pub rpc_place: Place,
    /// Field that must be there, and where that is said.
    pub needs: Option<(String, Place)>,
    /// Fields that are there unless the client says otherwise: name and JSON.
    pub defaults: Vec<(String, Vec<u8>)>,
    /// Where they stand, or the RPC if there are none.
    pub defaults_place: Place,
}
