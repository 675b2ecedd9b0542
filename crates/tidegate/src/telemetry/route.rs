//! What a compiled route brings along for telemetry, so that a request looks nothing up.

use std::sync::Arc;

use tidegate_config::valid::{AccessLog, Observability};

use super::labels::RouteLabels;
use super::metrics::RouteSeries;
use crate::trace::Sampler;

/// Telemetry of one route, or of requests without one.
#[derive(Debug)]
pub struct RouteTelemetry {
    /// Its names.
    pub labels: RouteLabels,
    /// Where its requests are counted.
    pub series: Arc<RouteSeries>,
    /// What the configuration that it belongs to wants to be told.
    pub observe: Arc<Observe>,
}

/// What of a configuration decides about single requests.
#[derive(Clone, Debug, Default)]
pub struct Observe {
    /// The access log; `None`: off.
    pub access: Option<AccessLog>,
    /// Which requests are traced; `None`: tracing is off.
    pub sampler: Option<Sampler>,
}

impl Observe {
    /// What `observability` says about single requests.
    #[must_use]
    pub fn new(observability: &Observability) -> Self {
        Self {
            access: observability.logs.access.clone(),
            sampler: observability.tracing.as_ref().map(|tracing| Sampler::new(tracing.sample_ratio)),
        }
    }
}
