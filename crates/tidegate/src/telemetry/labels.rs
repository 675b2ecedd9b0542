//! The names by which metrics, logs and traces know a route. They come from the configuration alone.

use std::sync::Arc;

/// Names of a compiled route. Empty where no route matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteLabels {
    /// Name of the route.
    pub route: Arc<str>,
    /// Name of its service; empty if the gateway answers itself.
    pub service: Arc<str>,
    /// `pkg.Service/Method`.
    pub rpc_method: Option<Arc<str>>,
    /// Its path, as written.
    pub template: Arc<str>,
}
