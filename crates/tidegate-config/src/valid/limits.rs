//! `rate_limits` and `redis`.

use std::time::Duration;

use super::origin::Origin;
use crate::diag::Place;
use crate::secret::Secret;
use crate::units::Rate;

/// A limit on how often somebody may ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Unique among the limits of a route; letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// How fast places come back; one takes at least a microsecond.
    pub rate: Rate,
    /// How many places there are; at least 1. Filling them all takes at most 30 days.
    pub burst: u32,
    /// Whom it counts: every part together. Not empty, no repetition.
    pub key: Vec<LimitKey>,
    /// Where it is counted. Local by default.
    pub store: LimitStore,
    /// What holds while the store does not answer.
    pub on_store_error: OnStoreError,
    /// It refuses nothing.
    pub shadow: bool,
    /// Places that a request takes; from 1 to `burst`. 1 by default.
    pub cost: u32,
    /// Name of the service or route that it belongs to; empty under `defaults`. Routes with the same owner share it.
    pub owner: String,
    /// Where it stands.
    pub origin: Origin,
}

/// A part of whom a limit counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LimitKey {
    /// Everybody together.
    Global,
    /// The client's address.
    Ip,
    /// Whoever the credential speaks for, else the address.
    User,
    /// The API key, else the address.
    ApiKey,
    /// The route.
    Route,
    /// The value of a header; lower case.
    Header(String),
    /// The value of a claim, by its dotted path; else the address.
    Claim(String),
}

impl LimitKey {
    /// It needs to know who asks, so it is counted after authentication.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self, Self::User | Self::ApiKey | Self::Claim(_))
    }
}

/// As in the configuration.
impl std::fmt::Display for LimitKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Ip => f.write_str("ip"),
            Self::User => f.write_str("user"),
            Self::ApiKey => f.write_str("api_key"),
            Self::Route => f.write_str("route"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Claim(path) => write!(f, "claim:{path}"),
        }
    }
}

impl RateLimit {
    /// It is counted after authentication.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.key.iter().any(LimitKey::is_late)
    }
}

/// Where a limit is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitStore {
    /// In this process.
    Local,
    /// In Redis, for all processes together. Then [`Valid::redis`](super::Valid::redis) is set.
    Redis,
}

/// What holds while a store does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnStoreError {
    /// The same limit in this process.
    Local,
    /// No limit.
    Allow,
    /// Everything is refused.
    Deny,
}

/// Where Redis is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redis {
    /// Name or address, without brackets.
    pub host: String,
    /// 6379 by default.
    pub port: u16,
    /// `rediss://`.
    pub tls: bool,
    /// Logs in as this user; `None`: the default one.
    pub user: Option<Secret>,
    /// `None`: no log-in.
    pub password: Option<Secret>,
    /// 0 by default.
    pub database: u32,
    /// Longest wait for an answer. 50 ms by default.
    pub timeout: Duration,
    /// Where the URL stands.
    pub place: Place,
}
