//! What the gateway tells about itself: logs, metrics, traces.

use std::path::PathBuf;
use std::time::Duration;

use super::process::SystemRoute;
use crate::diag::Place;

/// What the gateway tells about itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Observability {
    /// Process log and access log.
    pub logs: Logs,
    /// Metrics.
    pub metrics: MetricsSettings,
    /// Traces; `None` makes none.
    pub tracing: Option<Tracing>,
}

/// Process log and access log.
#[derive(Clone, PartialEq, Debug)]
pub struct Logs {
    /// Format of the process log. JSON by default.
    pub format: LogFormat,
    /// Lowest level that is written. `info` by default.
    pub level: LogLevel,
    /// The access log. On, to standard output, by default; `None` with `access: null`.
    pub access: Option<AccessLog>,
}

/// The access log.
#[derive(Clone, PartialEq, Debug)]
pub struct AccessLog {
    /// Where lines go.
    pub output: AccessOutput,
    /// Share of successful, quick requests that is written, from 0 to 1. 1 by default.
    pub sample_ok: f64,
    /// Requests that took longer are always written. 250 ms by default.
    pub slower_than: Duration,
}

/// Where access lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessOutput {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, relative to the working directory; appended to.
    File(PathBuf),
}

/// Metrics.
#[derive(Clone, PartialEq, Debug)]
pub struct MetricsSettings {
    /// Path on public listeners; `None`: on the admin listener alone.
    pub public_path: Option<SystemRoute>,
    /// Most series. 400,000 by default.
    pub max_series: usize,
}

/// Traces.
#[derive(Clone, PartialEq, Debug)]
pub struct Tracing {
    /// Where spans go.
    pub otlp: Otlp,
    /// Share of requests that is traced, from 0 to 1. 1 by default.
    pub sample_ratio: f64,
}

/// A collector of traces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Otlp {
    /// As written.
    pub text: String,
    /// Where it stands.
    pub place: Place,
    /// How spans are carried.
    pub protocol: OtlpProtocol,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Host name, IPv4 or IPv6 address (without brackets). Not empty.
    pub host: String,
    /// Port, not 0.
    pub port: u16,
    /// Path of HTTP requests; `/v1/traces` unless another was written.
    pub path: String,
}

/// How spans are carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtlpProtocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    Http,
}

/// Format of the process log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Level of the process log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "the usual five")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
