//! `observability`: logs, metrics, traces.

use crate::decode::{Count, Ratio, Text, Time, closed_enum, raw_struct};
use crate::valid::{LogFormat, LogLevel};

raw_struct! {
    /// What the gateway tells about itself.
    RawObservability {
        /// Process log and access log.
        logs: RawLogs,
        /// Metrics for Prometheus. They are always on the admin listener; `public_path` shows them to clients too.
        metrics: RawMetrics,
        /// Traces; without the key none are made, and what clients send is passed on.
        tracing: RawTracing,
    }
}

raw_struct! {
    /// Logs.
    RawLogs {
        /// Format of the process log.
        format: LogFormat = "json",
        /// Lowest level of the process log. The variables `TIDEGATE_LOG` and `RUST_LOG`, and the admin API, override it.
        level: LogLevel = "info",
        /// One line for each request; `null` for none.
        access: RawAccess,
    }
}

raw_struct! {
    /// The access log: one JSON object a line.
    RawAccess {
        /// `stdout`, `stderr`, or a file that is appended to and opened anew at USR1. A file is relative to this one.
        output: Text = "stdout",
        /// Share of successful, quick requests that is written, from 0 to 1. Errors and slow requests always are.
        sample_ok: Ratio = "1.0",
        /// Requests that took longer are always written.
        slower_than: Time = "250ms",
    }
}

raw_struct! {
    /// Metrics.
    RawMetrics {
        /// Path on the public listeners, as in `/metrics`. `null`, and without the key: on the admin listener alone.
        public_path: Text,
        /// Most series; beyond it new ones are counted and left out.
        max_series: Count = "400000",
    }
}

raw_struct! {
    /// Traces.
    RawTracing {
        /// The collector: `http://host:4317` (OTLP over gRPC), `http://host:4318` (OTLP over HTTP), `https://` with TLS;
        /// `grpc://` and `grpcs://` mean gRPC on any port.
        otlp: Text = required,
        /// Share of requests that is traced, from 0 to 1. A client's own decision can only lower it.
        sample_ratio: Ratio = "1.0",
    }
}

closed_enum! {
    LogFormat {
        "json" => Self::Json,
        "text" => Self::Text,
    }
    LogLevel {
        "error" => Self::Error,
        "warn" => Self::Warn,
        "info" => Self::Info,
        "debug" => Self::Debug,
        "trace" => Self::Trace,
    }
}
