//! No two routes for the same request.

use tidegate_route::{RouteSpec, RouterBuilder};

use super::{Resolver, name_of};
use crate::diag::{Code, Place};
use crate::valid::{Methods, Route, SystemRoute, SystemRoutes};

impl Resolver<'_> {
    /// Reports routes that match the same requests, by the gateway's own matcher.
    pub(super) fn check_router(&mut self, routes: &[Route]) {
        let mut builder = RouterBuilder::new();
        for (index, route) in routes.iter().enumerate() {
            let Some(path) = route.path.as_ref().filter(|_| route.leads()) else { continue };
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let methods = match &route.methods {
                Methods::Any => tidegate_route::Methods::Any,
                Methods::List(list) => tidegate_route::Methods::List(list.clone()),
            };
            let mut hosts: Vec<Option<&str>> = route.hosts.iter().map(|host| Some(host.as_str())).collect();
            if hosts.is_empty() {
                hosts.push(None);
            }
            for host in hosts {
                let spec = RouteSpec { host, methods: methods.clone(), template: &path.template, route: number };
                if let Err(error) = builder.add(spec) {
                    self.error(Code::InvalidValue, &route.place, error.to_string());
                }
            }
        }
        let route = |number: u32| usize::try_from(number).ok().and_then(|index| routes.get(index));
        for duplicate in builder.build().err().into_iter().flatten() {
            let (Some(first), Some(second)) = (route(duplicate.first), route(duplicate.second)) else { continue };
            let methods = match duplicate.methods.join(", ") {
                any if any == "*" => "any method".to_owned(),
                methods => methods,
            };
            let message =
                format!("routes \"{}\" and \"{}\" match the same requests: {methods}", first.name, second.name);
            let help = format!("first at {}", name_of(path_place(first)));
            self.error_with(Code::DuplicateRoute, path_place(second), message, help);
        }
    }

    /// Reports routes in the place of a path that the gateway answers itself.
    pub(super) fn check_system_routes(
        &mut self,
        routes: &[Route],
        system: &SystemRoutes,
        metrics: Option<&SystemRoute>,
    ) {
        if let Some(metrics) = metrics
            && let Some((key, _)) = system.iter().find(|(_, taken)| taken.path == metrics.path)
            && let Some(place) = &metrics.place
        {
            let message = format!("\"public_path\" is the path of the system route \"{key}\"");
            self.error_with(Code::Duplicate, place, message, "give it another path, as in /metrics");
        }
        for route in routes.iter().filter(|route| route.leads()) {
            let Some(path) = &route.path else { continue };
            let all = system.iter().chain(metrics.map(|metrics| ("metrics", metrics)));
            let Some((key, taken)) = all.into_iter().find(|(_, taken)| taken.path == path.template.as_str()) else {
                continue;
            };
            let answers_get = match &route.methods {
                Methods::Any => true,
                Methods::List(list) => list.iter().any(|method| method == "GET" || method == "HEAD"),
            };
            if !answers_get {
                continue;
            }
            let message = format!("route \"{}\" has the path of the system route \"{key}\"", route.name);
            let help = match &taken.place {
                Some(place) => format!("that one is at {}", name_of(place)),
                None => format!("turn that one off with system_routes: {{ {key}: null }}"),
            };
            self.error_with(Code::DuplicateRoute, &path.place, message, help);
        }
    }
}

fn path_place(route: &Route) -> &Place {
    route.path.as_ref().map_or(&route.place, |path| &path.place)
}
