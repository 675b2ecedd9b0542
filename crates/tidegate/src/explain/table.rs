//! From a row of the compiled table back to what the author wrote.

use tidegate_config::Valid;
use tidegate_config::valid::{Action, GrpcAction, Route, Service};

use super::answer::Origin;
use crate::snapshot::CompiledRoute;

/// The entry of the configuration; `None` for the paths of the gateway itself.
pub(super) fn route<'a>(valid: &'a Valid, compiled: &CompiledRoute) -> Option<&'a Route> {
    valid.routes.get(compiled.index?)
}

/// The call of a route, and the service that it goes to.
pub(super) fn grpc<'a>(valid: &'a Valid, route: &'a Route) -> Option<(&'a GrpcAction, &'a Service)> {
    match &route.action {
        Action::Grpc(grpc) => Some((grpc, valid.services.get(grpc.service)?)),
        Action::Native(_) | Action::Proxy(_) | Action::Realtime(_) | Action::Respond(_) => None,
    }
}

/// Where the row comes from.
pub(super) fn origin(valid: &Valid, compiled: &CompiledRoute) -> Origin {
    if let Some(route) = route(valid, compiled) {
        return Origin::at(&route.place);
    }
    // `file:line`, or `built in`.
    let place = compiled.origin.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
    place.map_or_else(Origin::built_in, |(file, line)| Origin::on_line(file, line))
}
