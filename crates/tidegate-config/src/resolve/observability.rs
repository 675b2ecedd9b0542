//! Logs, metrics, traces.

use std::time::Duration;

use super::endpoints::{host_and_port, is_host};
use super::{File, Resolver, place_of};
use crate::decode::{Field, Item, Text};
use crate::diag::Code;
use crate::raw::{RawAccess, RawMetrics, RawTracing};
use crate::valid::{
    AccessLog, AccessOutput, LogFormat, LogLevel, Logs, MetricsSettings, Observability, Otlp, OtlpProtocol, Tracing,
};

/// 40 routes and 10 services have about 4,000; 5,000 routes stay below this.
const DEFAULT_MAX_SERIES: u32 = 400_000;
/// Where OTLP over gRPC is expected.
const GRPC_PORT: u16 = 4317;
/// Where OTLP over HTTP is expected.
const HTTP_PORT: u16 = 4318;
/// Path of OTLP over HTTP.
const TRACES_PATH: &str = "/v1/traces";

impl Resolver<'_> {
    pub(super) fn observability(&mut self, main: &File) -> Observability {
        let raw = main.raw.observability.value().cloned().unwrap_or_default();
        let logs = raw.logs.value().cloned().unwrap_or_default();
        let format = logs.format.value().copied().unwrap_or(LogFormat::Json);
        let level = logs.level.value().copied().unwrap_or(LogLevel::Info);
        let access = match &logs.access {
            Field::Null(_) => None,
            field => Some(self.access(&field.value().cloned().unwrap_or_default())),
        };
        Observability {
            logs: Logs { format, level, access },
            metrics: self.metrics(&raw.metrics.value().cloned().unwrap_or_default()),
            tracing: raw.tracing.value().and_then(|raw| self.tracing(raw)),
        }
    }

    fn access(&mut self, raw: &RawAccess) -> AccessLog {
        let output = match raw.output.set() {
            None => AccessOutput::Stdout,
            Some(item) => match item.value.0.as_str() {
                "stdout" => AccessOutput::Stdout,
                "stderr" => AccessOutput::Stderr,
                "" => {
                    self.error_with(Code::InvalidValue, &item.place, "an empty file name", "null is no access log");
                    AccessOutput::Stdout
                }
                _ => AccessOutput::File(self.path(item)),
            },
        };
        AccessLog {
            output,
            sample_ok: raw.sample_ok.value().map_or(1.0, |ratio| ratio.0),
            slower_than: raw.slower_than.value().map_or(Duration::from_millis(250), |time| time.0),
        }
    }

    fn metrics(&mut self, raw: &RawMetrics) -> MetricsSettings {
        if let Some(place) = place_of(&raw.max_series)
            && raw.max_series.value().is_some_and(|count| count.0 == 0)
        {
            self.error(Code::InvalidValue, place, "\"max_series\" is at least 1");
        }
        let max_series = raw.max_series.value().map_or(DEFAULT_MAX_SERIES, |count| count.0);
        MetricsSettings {
            public_path: raw.public_path.set().and_then(|item| self.system_path(item)),
            max_series: usize::try_from(max_series).unwrap_or(usize::MAX),
        }
    }

    fn tracing(&mut self, raw: &RawTracing) -> Option<Tracing> {
        let otlp = self.otlp(raw.otlp.set()?)?;
        Some(Tracing { otlp, sample_ratio: raw.sample_ratio.value().map_or(1.0, |ratio| ratio.0) })
    }

    fn otlp(&mut self, item: &Item<Text>) -> Option<Otlp> {
        let otlp = collector(&item.value.0);
        if otlp.is_none() {
            let message = format!("{} is not a collector", item.shown());
            let help = "write http://host:4317 for gRPC or http://host:4318 for HTTP";
            self.error_with(Code::InvalidValue, &item.place, message, help);
        }
        let (protocol, tls, host, port, path) = otlp?;
        let text = if item.secret { "***".to_owned() } else { item.value.0.clone() };
        Some(Otlp { text, place: item.place.clone(), protocol, tls, host, port, path })
    }
}

/// Protocol, whether TLS, host, port and path of a collector's URL. The port tells the protocol, unless the scheme does.
fn collector(text: &str) -> Option<(OtlpProtocol, bool, String, u16, String)> {
    let (scheme, rest) = text.split_once("://")?;
    let (forced, tls) = match scheme {
        "http" => (None, false),
        "https" => (None, true),
        "grpc" => (Some(OtlpProtocol::Grpc), false),
        "grpcs" => (Some(OtlpProtocol::Grpc), true),
        _ => return None,
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, path),
        None => (rest, ""),
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'\\');
    let path = match path {
        "" => TRACES_PATH.to_owned(),
        path if path.bytes().all(plain) => format!("/{path}"),
        _ => return None,
    };
    let default_port = if forced.is_some() { GRPC_PORT } else { HTTP_PORT };
    let (host, port) = match host_and_port(authority) {
        Some((host, port)) => (host, port),
        None if is_host(authority) => (authority, default_port),
        None => return None,
    };
    let protocol = forced.unwrap_or(if port == GRPC_PORT { OtlpProtocol::Grpc } else { OtlpProtocol::Http });
    Some((protocol, tls, host.to_owned(), port, path))
}

#[cfg(test)]
mod tests {
    use super::collector;
    use crate::valid::OtlpProtocol::{Grpc, Http};

    #[test]
    fn the_port_or_the_scheme_tells_the_protocol() {
        for (text, expected) in [
            ("http://otel:4317", Some((Grpc, false, "otel", 4317, "/v1/traces"))),
            ("http://otel:4318", Some((Http, false, "otel", 4318, "/v1/traces"))),
            ("https://otel/custom/path", Some((Http, true, "otel", 4318, "/custom/path"))),
            ("grpc://otel", Some((Grpc, false, "otel", 4317, "/v1/traces"))),
            ("grpcs://[::1]:9", Some((Grpc, true, "::1", 9, "/v1/traces"))),
            ("otel:4317", None),
            ("ftp://otel", None),
            ("http://", None),
            ("http://otel:0", None),
            ("http://otel:4318/a?b", None),
        ] {
            let expected = expected.map(|(p, tls, host, port, path)| (p, tls, host.to_owned(), port, path.to_owned()));
            assert_eq!(collector(text), expected, "{text}");
        }
    }
}
