//! `realtime`: endpoints become routes, which have all that routes have.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::limits::name_owners;
use super::policy::Levels;
use super::respond::print;
use super::routes::Scope;
use super::rpc::is_identifier;
use super::{Resolver, place_of};
use crate::decode::{Field, Item, Text, Time};
use crate::diag::Code;
use crate::raw::{
    Json, RawPolicy, RawRealtime, RawRealtimeAuth, RawRealtimeEndpoint, RawRealtimeLimits, RawRealtimeRequest,
    RawRoute, RawRouteAuth,
};
use crate::valid::{
    Action, AllowedOrigin, CredentialSource, Level, Methods, Realtime, RealtimeAction, RealtimeLimits,
    RealtimeProtocol, RealtimeRequest, Route, RpcSelector, ServiceProtocol, Tree,
};

/// Smaller messages hold no request, larger ones are no messages.
const MESSAGE: RangeInclusive<u64> = 1024..=16 * 1024 * 1024;

/// Shorter times would be taken for a client that has gone when it has only stumbled.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

impl Resolver<'_> {
    pub(super) fn realtime(&mut self, raw: &RawRealtime) -> Realtime {
        let defaults = Realtime::default();
        let ping = raw.ping.value().cloned().unwrap_or_default();
        Realtime {
            allowed_origins: self.allowed_origins(&raw.allowed_origins),
            limits: self.realtime_limits(&raw.limits.value().cloned().unwrap_or_default()),
            ping_interval: self.span(&ping.interval, defaults.ping_interval),
            ping_timeout: self.span(&ping.timeout, defaults.ping_timeout),
        }
    }

    fn allowed_origins(&mut self, field: &Field<Vec<Item<Text>>>) -> Option<Vec<AllowedOrigin>> {
        let list = field.set()?;
        if list.value.is_empty() {
            let help = "leave it out for pages of the host that is asked";
            self.error_with(Code::InvalidValue, &list.place, "\"allowed_origins\" is empty", help);
        }
        Some(list.value.iter().filter_map(|item| self.origin(item)).collect())
    }

    fn realtime_limits(&mut self, raw: &RawRealtimeLimits) -> RealtimeLimits {
        let defaults = RealtimeLimits::default();
        let mut count = |field: &Field<crate::decode::Count>, default: u32| {
            let Some(item) = field.set() else { return default };
            let count = Some(item.value.0).filter(|count| *count > 0);
            if count.is_none() {
                self.error(Code::InvalidValue, &item.place, "a number of connections is from 1 to 4294967295");
            }
            count.unwrap_or(default)
        };
        let max_connections = count(&raw.max_connections, defaults.max_connections);
        let max_connections_per_ip = count(&raw.max_connections_per_ip, defaults.max_connections_per_ip);
        if let Some(item) = raw.max_message.set()
            && !MESSAGE.contains(&item.value.0)
        {
            self.error(Code::InvalidValue, &item.place, "\"max_message\" is from 1KiB to 16MiB");
        }
        let max_message = raw.max_message.value().and_then(|bytes| usize::try_from(bytes.0).ok());
        RealtimeLimits {
            max_connections,
            max_connections_per_ip,
            max_message: max_message.unwrap_or(defaults.max_message),
            inbound: raw.inbound.value().map_or(defaults.inbound, |rate| rate.0),
            write_timeout: self.span(&raw.write_timeout, defaults.write_timeout),
        }
    }

    fn span(&mut self, field: &Field<Time>, default: Duration) -> Duration {
        self.time_within(field, default, &TIMES).unwrap_or(default)
    }

    /// The endpoints, as routes.
    pub(super) fn realtime_endpoints(&mut self, raw: &RawRealtime, scope: &Scope<'_>) -> Vec<Route> {
        let items = raw.endpoints.value().into_iter().flatten();
        items.filter_map(|item| self.realtime_endpoint(item, scope)).collect()
    }

    fn realtime_endpoint(&mut self, item: &Item<RawRealtimeEndpoint>, scope: &Scope<'_>) -> Option<Route> {
        let raw = &item.value;
        let own = policies(raw);
        self.check_policy(&own, scope.envelope_names);
        self.check_route_access(&own, scope.providers);
        let request = raw.request.value();
        let service = request.and_then(|request| request.service.set());
        let service = service.and_then(|name| self.refer("service", name, &scope.services.names));
        let mut levels = vec![(Level::Route, &own)];
        levels.extend(service.and_then(|index| scope.services.raw.get(index)).map(|raw| (Level::Service, &raw.policy)));
        levels.extend(scope.defaults.map(|defaults| (Level::Defaults, defaults)));
        self.check_limit_names(&own, levels.iter().skip(1).map(|(_, policy)| *policy));
        let levels = Levels(levels);
        let mut access = self.route_access(&levels, scope.providers, &item.place);
        access.token_from = raw.auth.value().and_then(|auth| self.tokens_from(auth));
        let mut policy = self.merge(&levels, scope.envelopes, scope.envelope_names, &item.place);
        let path = self.route_path(&RawRoute { path: raw.path.clone(), ..RawRoute::default() }, &policy)??;
        let name = path.template.as_str().to_owned();
        let service_name = request.and_then(|request| request.service.value()).map(|name| name.0.as_str());
        name_owners(&mut policy, service_name, &name);
        let request = match &raw.request {
            Field::Absent | Field::Null(_) => None,
            Field::Invalid => return None,
            Field::Set(item) => Some(self.realtime_request(&item.value, service, scope)?),
        };
        let protocol = *raw.protocol.value()?;
        let RealtimeProtocol::Plain = protocol;
        Some(Route {
            name,
            place: item.place.clone(),
            path: Some(path),
            methods: Methods::List(vec!["GET".to_owned()]),
            hosts: Vec::new(),
            action: Action::Realtime(RealtimeAction { protocol, request }),
            access,
            policy,
        })
    }

    fn tokens_from(&mut self, auth: &RawRealtimeAuth) -> Option<Vec<CredentialSource>> {
        let list = auth.token_from.set()?;
        if list.value.is_empty() {
            self.error(Code::InvalidValue, &list.place, "\"token_from\" is empty");
        }
        Some(list.value.iter().filter_map(|item| self.token_source(item)).collect())
    }

    fn realtime_request(
        &mut self,
        raw: &RawRealtimeRequest,
        service: Option<usize>,
        scope: &Scope<'_>,
    ) -> Option<RealtimeRequest> {
        let grpc = raw.grpc.set()?;
        let Some((RpcSelector::Method(rpc), rpc_place)) = self.selector(grpc) else {
            if grpc.value.0.ends_with('*') {
                let help = "name one RPC: pkg.Service/Method";
                self.error_with(Code::InvalidValue, &grpc.place, "a request is for one RPC", help);
            }
            return None;
        };
        let speaks = service.and_then(|index| scope.services.protocols.get(index)).copied();
        if speaks == Some(ServiceProtocol::Http) {
            let help = "say \"protocol: grpc\" there";
            self.error_with(Code::Conflict, &rpc_place, "an RPC of a service that speaks HTTP", help);
            return None;
        }
        let needs = match raw.match_.set() {
            Some(item) if is_identifier(&item.value.0) => Some((item.value.0.clone(), item.place.clone())),
            Some(item) => {
                self.error(Code::InvalidValue, &item.place, format!("{} is not the name of a field", item.shown()));
                None
            }
            None => None,
        };
        let defaults = self.request_defaults(&raw.defaults);
        let defaults_place = place_of(&raw.defaults).unwrap_or(&rpc_place).clone();
        Some(RealtimeRequest { service: service?, rpc, rpc_place, needs, defaults, defaults_place })
    }

    fn request_defaults(&mut self, field: &Field<Json>) -> Vec<(String, Vec<u8>)> {
        let Some(item) = field.set() else { return Vec::new() };
        let Tree::Map(fields) = &item.value.0 else {
            self.error(Code::InvalidValue, &item.place, "\"defaults\" is an object, as in { source_id: simulator }");
            return Vec::new();
        };
        let json = |tree: &Tree| {
            let mut json = Vec::new();
            print(tree, &mut json);
            json
        };
        fields.iter().map(|(name, tree)| (name.clone(), json(tree))).collect()
    }
}

/// What an endpoint says of policies, as a route would.
fn policies(raw: &RawRealtimeEndpoint) -> RawPolicy {
    let auth = |auth: &RawRealtimeAuth| RawRouteAuth {
        providers: auth.providers.clone(),
        allow: auth.allow.clone(),
        methods: Field::Absent,
    };
    RawPolicy {
        auth_required: raw.auth_required.clone(),
        auth: match &raw.auth {
            Field::Absent => Field::Absent,
            Field::Null(place) => Field::Null(place.clone()),
            Field::Invalid => Field::Invalid,
            Field::Set(item) => {
                Field::Set(Item { value: auth(&item.value), place: item.place.clone(), secret: item.secret })
            }
        },
        rate_limits: raw.rate_limits.clone(),
        envelope: raw.envelope.clone(),
        errors: raw.errors.clone(),
        json: raw.json.clone(),
        metadata: raw.metadata.clone(),
        timeout: raw.timeout.clone(),
        stream_idle_timeout: raw.stream_idle_timeout.clone(),
        retry: raw.retry.clone(),
        ..RawPolicy::default()
    }
}
