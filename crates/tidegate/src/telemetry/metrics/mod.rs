//! Metrics: cells that workers count in, and the page that a scraper reads.
//!
//! An event adds to plain numbers of its own worker, behind a lock that nobody else wants at that moment; a scrape adds the
//! workers up. Series appear with their first event, and go five minutes after what they tell of has left the
//! configuration. What other parts know already (states of endpoints, certificates, the process) is no cell: it is
//! handed to the scrape as plain data ([`Observed`]).
//!
//! Every family is a row of [`table`]; `docs/metrics.md` is made from it.

mod auth;
mod budget;
mod cell;
mod config;
mod encode;
mod format;
mod histogram;
mod limit;
mod listener;
mod method;
mod mirror;
mod named;
mod observed;
mod process;
mod registry;
mod render;
mod route;
mod service;
mod socket;
pub mod table;
mod totals;

pub use auth::AuthSeries;
pub use cell::Counter;
pub use config::{ConfigSeries, Reload};
pub use format::Format;
pub use histogram::Exemplar;
pub use limit::{LimitCounter, LimitDecision, LimitSeries};
pub use listener::{ConnectionRefusal, ConnectionType, Flood, Gauged, ListenerSeries};
pub use method::MethodId;
pub use mirror::{MirrorSeries, Mirrored};
pub use observed::{Addresses, Build, Certificate, Connections, EndpointUp, Observed, SchemaState, ServiceState};
pub use process::{Process, memory};
pub use registry::{Live, Metrics};
pub use route::{Direction, RouteSeries, Sample, Stage, samples_transcoding};
pub use service::{BreakerTurn, Ejection, HttpOutcome, OpenTunnel, SchemaRefresh, ServiceSeries};
pub use socket::{SocketTraffic, Traffic};
pub use totals::{Quantiles, Totals};

#[cfg(test)]
mod tests;
