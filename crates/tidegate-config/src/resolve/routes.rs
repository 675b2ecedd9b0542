//! Routes: methods, hosts, actions.

use tidegate_route::Template;

use super::auth::KnownProviders;
use super::endpoints::is_host;
use super::limits::name_owners;
use super::policy::{Levels, is_token};
use super::rpc::{Named, is_dotted, is_identifier, names_rpc};
use super::services::KnownServices;
use super::split::Target;
use super::{File, Names, Resolver, name_of, place_of};
use crate::decode::{Field, Item, Name, Text};
use crate::diag::Code;
use crate::raw::{RawPolicy, RawRoute};
use crate::valid::{
    Action, Body, Envelope, GrpcAction, Level, Methods, ProxyAction, Route, RpcSelector, ServiceProtocol,
};

/// What routes refer to.
pub(super) struct Scope<'a> {
    pub(super) defaults: Option<&'a RawPolicy>,
    pub(super) files: &'a [File],
    pub(super) providers: &'a KnownProviders,
    pub(super) services: &'a KnownServices<'a>,
    pub(super) envelopes: &'a [Envelope],
    pub(super) envelope_names: &'a Names,
}

/// Where a route sends its requests.
pub(super) struct Backend<'a> {
    /// As written.
    pub(super) named: &'a Field<Name>,
    /// Its index, if there is one of this name.
    pub(super) service: Option<usize>,
    pub(super) speaks: Option<ServiceProtocol>,
}

impl Resolver<'_> {
    pub(super) fn routes(&mut self, scope: &Scope<'_>) -> Vec<Route> {
        let mut names = Names::new();
        let mut routes = Vec::new();
        for item in scope.files.iter().filter_map(|file| file.raw.routes.value()).flatten() {
            let unique = item.value.name.set().is_none_or(|name| self.claim("route", name, &mut names));
            for target in self.targets(item) {
                let route = self.route(item, &target, scope);
                routes.extend(route.filter(|_| unique));
            }
        }
        routes
    }

    /// What the entry is with `target` as its backend.
    fn route(&mut self, item: &Item<RawRoute>, target: &Target<'_>, scope: &Scope<'_>) -> Option<Route> {
        let raw = &item.value;
        self.check_policy(&raw.policy, scope.envelope_names);
        self.check_route_access(&raw.policy, scope.providers);
        let service = target.service.set().and_then(|name| self.refer("service", name, &scope.services.names));
        let mut levels = vec![(Level::Route, &raw.policy)];
        levels.extend(service.and_then(|index| scope.services.raw.get(index)).map(|raw| (Level::Service, &raw.policy)));
        levels.extend(scope.defaults.map(|defaults| (Level::Defaults, defaults)));
        self.check_limit_names(&raw.policy, levels.iter().skip(1).map(|(_, policy)| *policy));
        let levels = Levels(levels);
        let access = self.route_access(&levels, scope.providers, &item.place);
        let mut policy = self.merge(&levels, scope.envelopes, scope.envelope_names, &item.place);
        let service_name = target.service.value().map(|name| name.0.as_str());
        name_owners(&mut policy, service_name, raw.name.value().map_or("", |name| name.0.as_str()));
        let methods = self.methods(raw);
        let hosts = self.hosts(&raw.hosts);
        let path = self.route_path(raw, &policy);
        let template = path.as_ref().and_then(Option::as_ref).map(|path| &path.template);
        let backend = Backend { named: target.service, service, speaks: scope.services.speaks(service) };
        let action = self.action(item, &backend, template);
        if matches!(action, Some(Action::Grpc(_) | Action::Native(_))) {
            self.keep_off_calls(&mut policy.response_headers);
        }
        let mirror = self.mirror(raw, action.as_ref(), scope.services);
        let hedge = self.hedge(raw, action.as_ref(), methods.as_ref());
        self.check_validate_route(raw, matches!(action, None | Some(Action::Proxy(_))));
        Some(Route {
            name: raw.name.value()?.0.clone(),
            place: item.place.clone(),
            path: path?,
            methods: methods?,
            hosts: hosts?,
            action: action?,
            access,
            policy,
            mirror: mirror?,
            hedge: hedge?,
            share: target.share.clone(),
        })
    }

    fn methods(&mut self, raw: &RawRoute) -> Option<Methods> {
        let list = match (&raw.method, &raw.methods) {
            (Field::Invalid, _) | (_, Field::Invalid) => return None,
            (Field::Set(one), Field::Set(_)) => {
                self.error_with(Code::Conflict, &one.place, "\"method\" and \"methods\" together", "keep one of them");
                return None;
            }
            (Field::Set(one), _) => std::slice::from_ref(one),
            (_, Field::Set(list)) if list.value.is_empty() => {
                let help = "leave it out for any method";
                self.error_with(Code::InvalidValue, &list.place, "\"methods\" is empty", help);
                return None;
            }
            (_, Field::Set(list)) => list.value.as_slice(),
            (_, _) => return Some(Methods::Any),
        };
        let mut methods = Vec::with_capacity(list.len());
        let mut complete = true;
        for item in list {
            match self.method(item) {
                None => complete = false,
                Some(method) if methods.contains(&method) => {
                    self.error(Code::Duplicate, &item.place, format!("method {} stands here twice", item.shown()));
                }
                Some(method) => methods.push(method),
            }
        }
        complete.then_some(Methods::List(methods))
    }

    fn method(&mut self, item: &Item<Text>) -> Option<String> {
        let text = item.value.0.as_str();
        let upper = text.to_ascii_uppercase();
        let standard = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"].contains(&upper.as_str());
        let help = match upper.as_str() {
            "CONNECT" | "TRACE" => "the gateway refuses CONNECT and TRACE".to_owned(),
            _ if standard && upper != text => format!("methods have upper case: {upper}"),
            _ if !is_token(text) || text == "*" => "leave the key out for any method".to_owned(),
            _ => return Some(text.to_owned()),
        };
        self.error_with(Code::InvalidValue, &item.place, format!("{} cannot be routed", item.shown()), help);
        None
    }

    fn hosts(&mut self, field: &Field<Vec<Item<Text>>>) -> Option<Vec<String>> {
        let Some(list) = field.set() else { return (!field.is_invalid()).then(Vec::new) };
        if list.value.is_empty() {
            let help = "leave it out for any host";
            self.error_with(Code::InvalidValue, &list.place, "\"hosts\" is empty", help);
            return None;
        }
        let mut hosts = Vec::with_capacity(list.value.len());
        let mut complete = true;
        for item in &list.value {
            let host = item.value.0.to_ascii_lowercase();
            if !is_host(host.strip_prefix("*.").unwrap_or(&host)) {
                let message = format!("{} is not a host", item.shown());
                let help = "as in api.example.com or *.example.com, without a port";
                self.error_with(Code::InvalidValue, &item.place, message, help);
                complete = false;
            } else if hosts.contains(&host) {
                self.error(Code::Duplicate, &item.place, format!("host {} stands here twice", item.shown()));
            } else {
                hosts.push(host);
            }
        }
        complete.then_some(hosts)
    }

    fn action(&mut self, item: &Item<RawRoute>, backend: &Backend<'_>, template: Option<&Template>) -> Option<Action> {
        let raw = &item.value;
        let of_proxies = [
            ("rewrite", place_of(&raw.rewrite)),
            ("websocket", place_of(&raw.websocket)),
            ("early_hints", place_of(&raw.early_hints)),
        ];
        for (key, place) in of_proxies {
            if let Some(place) = place.filter(|_| raw.respond.set().is_some() || names_rpc(raw)) {
                let help = "it is for routes that pass requests on to an HTTP service";
                self.error_with(Code::Conflict, place, format!("\"{key}\" on a route that is not proxied"), help);
            }
        }
        if raw.respond.is_invalid() || raw.protocol.is_invalid() {
            return None;
        }
        if let Some(protocol) = raw.protocol.set() {
            return self.native(item, &protocol.place, backend).map(Action::Native);
        }
        if let Some(respond) = raw.respond.set() {
            return self.respond(raw, respond).map(Action::Respond);
        }
        let Some((rpc, rpc_place)) = self.rpc(raw)? else {
            return self.proxy(item, backend, template).map(Action::Proxy);
        };
        if backend.speaks == Some(ServiceProtocol::Http) {
            let help = "say \"protocol: grpc\" there, or leave the RPC out to pass requests on";
            self.error_with(Code::Conflict, &rpc_place, "an RPC of a service that speaks HTTP", help);
            return None;
        }
        if backend.named.is_missing() {
            let help = "name the service that has this RPC";
            self.error_with(Code::MissingKey, &rpc_place, "\"service\" is missing", help);
        }
        let named = (rpc, rpc_place);
        self.check_annotated(raw, &named);
        let body = self.body(&raw.body);
        let response_body = self.response_body(&raw.response_body);
        let (rpc, rpc_place) = named;
        Some(Action::Grpc(GrpcAction {
            service: backend.service?,
            rpc,
            rpc_place,
            body: body?,
            body_place: place_of(&raw.body).unwrap_or(&item.place).clone(),
            response_body: response_body?,
            response_body_place: place_of(&raw.response_body).unwrap_or(&item.place).clone(),
        }))
    }

    /// A route without an RPC passes requests on.
    fn proxy(
        &mut self,
        item: &Item<RawRoute>,
        backend: &Backend<'_>,
        template: Option<&Template>,
    ) -> Option<ProxyAction> {
        let raw = &item.value;
        match (backend.named, backend.speaks) {
            (Field::Set(service), Some(ServiceProtocol::Grpc)) => {
                let help = "name an RPC with \"grpc: pkg.Service/Method\"; \"protocol: grpc\" on the route passes all calls through";
                self.error_with(Code::MissingKey, &service.place, "a route to a gRPC service without an RPC", help);
            }
            (Field::Absent | Field::Null(_), _) => {
                let message = "a route needs \"service\" or \"respond\"";
                self.error(Code::MissingKey, &item.place, message);
            }
            (Field::Set(_) | Field::Invalid, _) => {}
        }
        if raw.path.is_missing() {
            self.error(Code::MissingKey, &item.place, "a route without an RPC needs \"path\"");
        }
        for (key, place) in [("body", place_of(&raw.body)), ("response_body", place_of(&raw.response_body))] {
            if let Some(place) = place {
                let help = "bodies are passed on as they are";
                self.error_with(Code::Conflict, place, format!("\"{key}\" on a route without an RPC"), help);
            }
        }
        let rewrite = match &raw.rewrite {
            Field::Invalid => return None,
            Field::Absent | Field::Null(_) => None,
            Field::Set(rewrite) => Some(self.rewrite(rewrite, template)?),
        };
        let websocket = raw.websocket.value().copied().unwrap_or(false);
        let early_hints = raw.early_hints.value().copied().unwrap_or(false);
        let service = backend.service?;
        (backend.speaks? == ServiceProtocol::Http).then_some(ProxyAction { service, rewrite, websocket, early_hints })
    }

    /// A route without a path takes everything from annotations; a route with one is for one RPC.
    fn check_annotated(&mut self, raw: &RawRoute, (rpc, rpc_place): &Named) {
        if let Some(path) = raw.path.set() {
            if !matches!(rpc, RpcSelector::Method(_)) {
                let help = "leave \"path\" out: each RPC has its own in its annotation";
                self.error_with(Code::Conflict, &path.place, "one path for many RPCs", help);
            }
            return;
        }
        if raw.path.is_invalid() {
            return;
        }
        let keys = [
            ("method", place_of(&raw.method)),
            ("methods", place_of(&raw.methods)),
            ("body", place_of(&raw.body)),
            ("response_body", place_of(&raw.response_body)),
        ];
        for (key, place) in keys {
            if let Some(place) = place {
                let help = format!("the RPC at {} brings it with its annotation", name_of(rpc_place));
                self.error_with(Code::Conflict, place, format!("\"{key}\" without \"path\""), help);
            }
        }
    }

    fn body(&mut self, field: &Field<Text>) -> Option<Body> {
        let Some(item) = field.set() else { return (!field.is_invalid()).then_some(Body::None) };
        match item.value.0.as_str() {
            "*" => Some(Body::Whole),
            text if is_dotted(text) => Some(Body::Field(text.to_owned())),
            _ => {
                let help = "\"*\" for the whole message, or the path of a field";
                self.error_with(Code::InvalidValue, &item.place, format!("{} is not a field", item.shown()), help);
                None
            }
        }
    }

    fn response_body(&mut self, field: &Field<Text>) -> Option<Option<String>> {
        let Some(item) = field.set() else { return (!field.is_invalid()).then_some(None) };
        if is_identifier(&item.value.0) {
            return Some(Some(item.value.0.clone()));
        }
        let message = format!("{} is not a top-level field", item.shown());
        self.error_with(Code::InvalidValue, &item.place, message, "leave the key out for the whole message");
        None
    }
}
