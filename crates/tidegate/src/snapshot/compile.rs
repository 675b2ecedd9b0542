//! From a checked configuration and the schemas of its services to a snapshot.
//!
//! Nothing here touches the network: schemas and clusters come from outside. All problems are collected.

mod realtime;
mod shares;

use std::sync::Arc;

use tidegate_config::valid::{
    Action as ConfigAction, Body, ErrorFormat, GrpcAction, Methods as ConfigMethods, NativeAction, Policy, ProxyAction,
    Required, Route, RpcSelector, Service,
};
use tidegate_config::{Code, Diagnostic, Diagnostics, Place, Valid};
use tidegate_route::{CanonicalOptions, Methods, RouteSpec, Router, RouterBuilder, Template, TemplateOptions};
use tidegate_transcode::Schema;

use super::bodies::Bodies;
use super::registry::{Process, Running};
use super::{CompiledRoute, Snapshot, Unrouted};
use crate::action::Action;
use crate::action::envelope::Shape;
use crate::action::failure::{FailureStyle, Format};
use crate::action::grpc_health::{self, GrpcHealth};
use crate::action::health::{Health, WatchedService};
use crate::action::mirror::Mirror;
use crate::action::native::Native;
use crate::action::proxy::Proxy;
use crate::action::respond::Respond;
use crate::action::system::{Kind, System};
use crate::action::transcode::{Binding, Transcode};
use crate::exchange::{Intake, TrustedProxies};
use crate::policy::access::Access;
use crate::policy::authn::Provider;
use crate::policy::compress::Compress;
use crate::policy::cors::Cors;
use crate::policy::decompress::Decompress;
use crate::policy::headers::Reserved;
use crate::policy::limits::{self, Limits};
use crate::policy::validate::Validate;
use crate::redis::Redis;
use crate::telemetry::labels::RouteLabels;
use crate::telemetry::route::{Observe, RouteTelemetry};

/// What a snapshot is made of beside the configuration.
pub struct Inputs<'a> {
    /// The checked configuration.
    pub valid: &'a Arc<Valid>,
    /// Over all files of the configuration.
    pub hash: &'a Arc<str>,
    /// In the order of the configuration.
    pub services: &'a [Running],
    /// In the order of the configuration.
    pub providers: &'a [Arc<Provider>],
    /// Schemas that routes demand of bodies.
    pub bodies: &'a Bodies,
    /// What the process has beside its configurations.
    pub process: &'a Process,
    /// Of the new snapshot.
    pub generation: u64,
}

/// Compiles a snapshot.
///
/// # Errors
/// All problems that only descriptors, templates and expressions can show.
pub fn compile(inputs: &Inputs<'_>) -> Result<Snapshot, Diagnostics> {
    let observe = Arc::new(Observe::new(&inputs.valid.observability));
    let health = Arc::new(health(inputs));
    let mut problems = Diagnostics::default();
    let redis = redis(inputs, &mut problems);
    let mut compiler = Compiler { inputs, observe, health, redis, index: None, rows: Vec::new(), problems };
    for (index, route) in inputs.valid.routes.iter().enumerate() {
        compiler.index = Some(index);
        compiler.route(route);
    }
    compiler.index = None;
    compiler.system_routes();
    compiler.finish()
}

/// The Redis of the configuration; not connected before it is needed.
fn redis(inputs: &Inputs<'_>, problems: &mut Diagnostics) -> Option<Arc<Redis>> {
    let settings = inputs.valid.redis.as_ref()?;
    let Process { limiter, wheels, .. } = inputs.process;
    let client = limiter.redis(settings, wheels.count());
    client.map_err(|error| problems.push(Diagnostic::error(Code::Tls, error).at(&settings.place))).ok()
}

/// The services as the health paths see them.
fn health(inputs: &Inputs<'_>) -> Health {
    let valid = inputs.valid;
    let services = inputs.services.iter().enumerate().map(|(index, running)| WatchedService {
        name: Arc::clone(running.cluster.name()),
        cluster: Arc::clone(&running.cluster),
        required: valid.readiness.require.contains(&Required::Service(index)),
        known: running.is_known(),
    });
    let keys = inputs.providers.iter().filter_map(|provider| provider.remote_keys().cloned());
    let Process { lifecycle, heartbeat, overload, .. } = inputs.process;
    let (lifecycle, heartbeat, overload) = (Arc::clone(lifecycle), Arc::clone(heartbeat), Arc::clone(overload));
    Health::new(lifecycle, heartbeat, overload, services.collect(), keys.collect(), valid.health_detail)
}

struct Compiler<'a> {
    inputs: &'a Inputs<'a>,
    observe: Arc<Observe>,
    health: Arc<Health>,
    redis: Option<Arc<Redis>>,
    /// Of the route that is being compiled.
    index: Option<usize>,
    rows: Vec<Row>,
    problems: Diagnostics,
}

/// A row of the table, and what is needed to report a clash.
struct Row {
    route: CompiledRoute,
    place: Option<Place>,
    /// The path comes from an annotation, so a path of the configuration overrides it.
    annotated: bool,
}

impl Compiler<'_> {
    fn route(&mut self, route: &Route) {
        match &route.action {
            ConfigAction::Respond(respond) => {
                let failure = FailureStyle::plain(&route.name, Format::Problem);
                let target = format!("respond {}", respond.status);
                if let Some(template) = template(route) {
                    self.push(
                        route,
                        methods(route),
                        template,
                        "",
                        &target,
                        Action::Respond(Respond::compile(respond, &route.policy)),
                        failure,
                    );
                }
            }
            ConfigAction::Grpc(grpc) => self.grpc(route, grpc),
            ConfigAction::Proxy(proxy) => self.proxy(route, proxy),
            ConfigAction::Native(native) => self.native(route, *native),
            ConfigAction::Realtime(realtime) => self.realtime(route, realtime),
        }
    }

    fn proxy(&mut self, route: &Route, proxy: &ProxyAction) {
        let Some(running) = self.inputs.services.get(proxy.service) else { return };
        let Some(template) = template(route) else { return };
        let cluster = Arc::clone(&running.cluster);
        let service = Arc::clone(cluster.name());
        let target = match &proxy.rewrite {
            None => "proxy".to_owned(),
            Some(rewrite) => format!("proxy {}", rewrite.text),
        };
        let failure = FailureStyle::plain(&route.name, self.format(&route.policy));
        let action = Action::Proxy(Box::new(Proxy::compile(route, proxy, cluster, self.mirror(route))));
        self.push(route, methods(route), template, &service, &target, action, failure);
    }

    fn native(&mut self, route: &Route, native: NativeAction) {
        let Some(running) = self.inputs.services.get(native.service) else { return };
        let Some(template) = template(route) else { return };
        let cluster = Arc::clone(&running.cluster);
        let service = Arc::clone(cluster.name());
        let failure = FailureStyle { speaks_grpc: true, ..self.failure(route) };
        let action = Action::Native(Box::new(Native::compile(route, &template, cluster, self.mirror(route))));
        self.push(route, Some(vec!["POST".to_owned()]), template, &service, "grpc", action, failure);
    }

    fn grpc(&mut self, route: &Route, grpc: &GrpcAction) {
        let inputs = self.inputs;
        let Some(service) = inputs.valid.services.get(grpc.service) else { return };
        let Some(running) = inputs.services.get(grpc.service) else { return };
        let Some(schema) = &running.schema else { return self.pending(route, grpc, service) };
        let (rows, problems) = (self.rows.len(), std::mem::take(&mut self.problems));
        match route.path {
            Some(_) => self.bound(route, grpc, service, schema),
            None => self.annotated(route, grpc, service, schema),
        }
        let found = std::mem::replace(&mut self.problems, problems);
        if found.has_errors() && running.stale {
            // No fault of the route, perhaps: the backend has not been asked for it yet.
            self.rows.truncate(rows);
            return self.pending(route, grpc, service);
        }
        for problem in found.problems() {
            self.problems.push(problem.clone());
        }
    }

    /// A route of a service whose methods are not known yet. Without a path of its own it has none: that stands in an
    /// annotation.
    fn pending(&mut self, route: &Route, grpc: &GrpcAction, service: &Service) {
        if let Some(template) = template(route) {
            let failure = self.failure(route);
            let target = selector(&grpc.rpc);
            self.push(route, methods(route), template, &service.name, &target, Action::Pending, failure);
        }
    }

    /// A route with a path of its own.
    fn bound(&mut self, route: &Route, grpc: &GrpcAction, service: &Service, schema: &Arc<Schema>) {
        let Some(template) = template(route) else { return };
        let RpcSelector::Method(name) = &grpc.rpc else { return };
        let method = match schema.find_method(name) {
            Ok(method) => method,
            Err(error) => {
                let problem = Diagnostic::error(Code::Descriptors, error.to_string()).at(&grpc.rpc_place);
                self.problems.push(problem);
                return;
            }
        };
        let body = match &grpc.body {
            Body::None => tidegate_transcode::Body::None,
            Body::Whole => tidegate_transcode::Body::Whole,
            Body::Field(field) => tidegate_transcode::Body::Field(field.clone()),
        };
        let rpc = method.full_name().to_owned();
        let binding = Binding { rpc: &rpc, template: &template, body, response_body: grpc.response_body.clone() };
        if let Some(action) = self.transcode(route, grpc, schema, &binding) {
            let failure = self.failure(route);
            self.push(route, methods(route), template, &service.name, &rpc, action, failure);
        }
    }

    /// A route whose paths stand in the annotations of its RPCs: one row for each rule.
    fn annotated(&mut self, route: &Route, grpc: &GrpcAction, service: &Service, schema: &Arc<Schema>) {
        let mut rows = 0;
        for method in schema.methods().iter().filter(|method| selects(&grpc.rpc, method.full_name())) {
            for rule in method.http_rules() {
                let options =
                    TemplateOptions { inner_wildcard: route.policy.inner_wildcard.value, ..TemplateOptions::default() };
                let template = match Template::parse_with(&rule.path, options) {
                    Ok(template) => template,
                    Err(error) => {
                        let text = format!("{}: path \"{}\": {error}", method.full_name(), rule.path);
                        self.problems.push(Diagnostic::error(Code::Descriptors, text).at(&grpc.rpc_place));
                        continue;
                    }
                };
                let body = match rule.body.as_str() {
                    "" => tidegate_transcode::Body::None,
                    "*" => tidegate_transcode::Body::Whole,
                    field => tidegate_transcode::Body::Field(field.to_owned()),
                };
                let response_body = (!rule.response_body.is_empty()).then(|| rule.response_body.clone());
                let rpc = method.full_name();
                let binding = Binding { rpc, template: &template, body, response_body };
                let Some(action) = self.transcode(route, grpc, schema, &binding) else { continue };
                let failure = self.failure(route);
                let methods = (rule.method != "*").then(|| vec![rule.method.clone()]);
                self.push(route, methods, template, &service.name, rpc, action, failure);
                if let Some(row) = self.rows.last_mut() {
                    row.annotated = true;
                }
                rows += 1;
            }
        }
        if rows == 0 && !self.problems.has_errors() {
            let text = format!("no annotated method matches \"{}\"", selector(&grpc.rpc));
            self.problems.push(Diagnostic::error(Code::Descriptors, text).at(&grpc.rpc_place));
        }
    }

    fn transcode(
        &mut self,
        route: &Route,
        grpc: &GrpcAction,
        schema: &Arc<Schema>,
        binding: &Binding<'_>,
    ) -> Option<Action> {
        let inputs = self.inputs;
        let cluster = &inputs.services.get(grpc.service)?.cluster;
        let success = self.success_shape(route, schema, binding);
        let labels = RouteLabels {
            route: route.name.as_str().into(),
            service: Arc::clone(cluster.name()),
            ..RouteLabels::default()
        };
        let series = inputs.process.telemetry.metrics.route(&labels);
        let beside = (success, self.mirror(route));
        match Transcode::compile(schema, binding, route, Arc::clone(cluster), beside, series) {
            Ok(transcode) => Some(Action::Transcode(Arc::new(transcode))),
            Err(error) => {
                let path = route.path.as_ref().map_or(&grpc.rpc_place, |path| &path.place);
                self.problems.push(error.diagnostic(path, &grpc.body_place, &grpc.response_body_place));
                None
            }
        }
    }

    fn mirror(&self, route: &Route) -> Option<Arc<Mirror>> {
        let mirror = route.mirror.as_ref()?;
        let cluster = Arc::clone(&self.inputs.services.get(mirror.service)?.cluster);
        let Process { telemetry, wheels, .. } = self.inputs.process;
        let series = telemetry.metrics.mirror(&route.name.as_str().into(), cluster.name());
        let compiled = Mirror::compile(mirror, route.policy.timeout.value, cluster, series, wheels.count());
        Some(Arc::new(compiled))
    }

    fn success_shape(&mut self, route: &Route, schema: &Schema, binding: &Binding<'_>) -> Option<Shape> {
        let envelope = self.inputs.valid.envelopes.get(route.policy.envelope.value?)?;
        let tree = envelope.success.as_ref()?;
        let output = schema.find_method(binding.rpc).ok()?.output();
        let field = |name: &str| schema.find_field(output, name);
        match Shape::compile(tree, &field) {
            Ok(shape) => Some(shape),
            Err(bad) => {
                let help = format!("route \"{}\" uses this envelope", route.name);
                self.problems.push(Diagnostic::error(Code::InvalidEnvelope, bad.message).at(&bad.place).help(help));
                None
            }
        }
    }

    fn failure(&mut self, route: &Route) -> FailureStyle {
        let format = self.format(&route.policy);
        FailureStyle::grpc(&route.name, format, &route.policy)
    }

    fn format(&mut self, policy: &Policy) -> Format {
        match policy.error_format.value {
            ErrorFormat::Problem => Format::Problem,
            ErrorFormat::Status => Format::Status,
            ErrorFormat::Envelope => {
                self.error_shape(policy).map_or(Format::Problem, |shape| Format::Envelope(Arc::new(shape)))
            }
        }
    }

    /// What the envelope makes of failures, if there is one that does.
    fn error_shape(&mut self, policy: &Policy) -> Option<Shape> {
        let envelope = self.inputs.valid.envelopes.get(policy.envelope.value?)?;
        match Shape::compile(envelope.error.as_ref()?, &|_| None) {
            Ok(shape) => Some(shape),
            Err(bad) => {
                self.problems.push(Diagnostic::error(Code::InvalidEnvelope, bad.message).at(&bad.place));
                None
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a row")]
    fn push(
        &mut self,
        route: &Route,
        methods: Option<Vec<String>>,
        template: Template,
        service: &str,
        target: &str,
        action: Action,
        failure: FailureStyle,
    ) {
        let rpc = matches!(action, Action::Transcode(_)).then_some(target);
        let compiled = CompiledRoute {
            name: route.name.as_str().into(),
            origin: route.place.to_string().into(),
            hosts: route.hosts.clone(),
            validate: self.validate(route),
            decompress: decompress(route, &action),
            compress: compress(route),
            cors: Cors::compile(&route.policy.cors, methods.as_deref()).map(Arc::new),
            methods,
            service: service.into(),
            target: target.into(),
            access: Access::compile(&route.access, self.inputs.providers),
            action,
            telemetry: self.telemetry(&route.name, service, rpc, template.as_str()),
            failure: Arc::new(failure),
            limits: self.limits(&route.policy, &route.name),
            split: None,
            share: None,
            leads: route.leads(),
            index: self.index,
            template,
        };
        self.rows.push(Row { route: compiled, place: Some(route.place.clone()), annotated: false });
    }

    fn limits(&self, policy: &Policy, route: &str) -> Limits {
        let Process { limiter, telemetry, .. } = self.inputs.process;
        let around = limits::Surroundings { limiter, metrics: &telemetry.metrics, redis: self.redis.as_ref() };
        Limits::compile(&policy.rate_limits, route, around)
    }

    /// Content types and schemas are for bodies that pass as they are; other actions check their own.
    fn validate(&self, route: &Route) -> Option<Box<Validate>> {
        let proxied = matches!(route.action, ConfigAction::Proxy(_));
        let path = route.policy.validate.schema.value.as_ref().filter(|_| proxied);
        let schema = path.and_then(|path| self.inputs.bodies.get(path));
        Validate::compile(&route.policy, schema, proxied, &self.inputs.process.wheels).map(Box::new)
    }

    fn telemetry(&self, route: &str, service: &str, rpc: Option<&str>, template: &str) -> Arc<RouteTelemetry> {
        let labels = RouteLabels {
            route: route.into(),
            service: service.into(),
            rpc_method: rpc.map(Arc::from),
            template: template.into(),
        };
        let series = self.inputs.process.telemetry.metrics.route(&labels);
        Arc::new(RouteTelemetry { labels, series, observe: Arc::clone(&self.observe) })
    }

    fn system_routes(&mut self) {
        let inputs = self.inputs;
        let paths = &inputs.valid.system_routes;
        let all = [
            (&paths.health, Kind::Health, "health"),
            (&paths.liveness, Kind::Liveness, "liveness"),
            (&paths.readiness, Kind::Readiness, "readiness"),
            (&paths.version, Kind::Version, "version"),
        ];
        for (path, kind, name) in all {
            if let Some(path) = path {
                let action = Action::System(System::new(kind, Arc::clone(&self.health)));
                self.built_in(name, "GET", &path.path, path.place.clone(), action);
            }
        }
        if let Some(path) = &inputs.valid.observability.metrics.public_path {
            let metrics = Action::Metrics(inputs.process.page.clone());
            self.built_in("metrics", "GET", &path.path, path.place.clone(), metrics);
        }
        for (path, rpc) in grpc_health::PATHS {
            let action = Action::GrpcHealth(GrpcHealth::new(rpc, Arc::clone(&inputs.process.health)));
            self.built_in("grpc-health", "POST", path, None, action);
            if let Some(row) = self.rows.last_mut() {
                // Nobody asked for it by name, so any route of the configuration goes first.
                row.annotated = true;
            }
        }
    }

    /// A row that the gateway answers itself.
    fn built_in(&mut self, name: &str, method: &str, path: &str, place: Option<Place>, action: Action) {
        let Ok(template) = Template::parse(path) else { return };
        let name = format!("system-{name}");
        let route = CompiledRoute {
            origin: place.as_ref().map_or_else(|| "built in".into(), |place| place.to_string().into()),
            hosts: Vec::new(),
            validate: None,
            decompress: None,
            compress: None,
            cors: Cors::compile(&self.inputs.valid.defaults.cors, Some(&[method.to_owned()])).map(Arc::new),
            methods: Some(vec![method.to_owned()]),
            service: "".into(),
            target: name.replace('-', " ").into(),
            access: Access::default(),
            action,
            failure: Arc::new(FailureStyle::plain(&name, Format::Problem)),
            telemetry: self.telemetry(&name, "", None, template.as_str()),
            limits: Limits::default(),
            split: None,
            share: None,
            leads: true,
            index: None,
            template,
            name: name.into(),
        };
        self.rows.push(Row { route, place, annotated: false });
    }

    fn finish(mut self) -> Result<Snapshot, Diagnostics> {
        let failure = FailureStyle::plain("", self.format(&self.inputs.valid.defaults));
        let limits = self.limits(&self.inputs.valid.defaults, "");
        let cors = Cors::compile(&self.inputs.valid.defaults.cors, None);
        let unrouted = Unrouted { failure, telemetry: self.telemetry("", "", None, ""), limits, cors };
        let router = self.router();
        self.shares();
        if self.problems.has_errors() {
            return Err(self.problems);
        }
        let Some(router) = router else { return Err(self.problems) };
        let routes = self.rows.into_iter().map(|row| row.route).collect();
        let Inputs { generation, valid, hash, .. } = *self.inputs;
        let (valid, hash, health) = (Arc::clone(valid), Arc::clone(hash), self.health);
        let intake = Intake {
            sampler: self.observe.sampler,
            trusted_proxies: TrustedProxies::new(&valid.client_ip.trusted_proxies),
        };
        let reserved = Reserved::new(valid.auth.forward.iter().map(|forward| forward.name.as_str()));
        let paths = CanonicalOptions { merge_slashes: valid.merge_slashes.value };
        Ok(Snapshot { generation, valid, hash, paths, router, routes, unrouted, intake, reserved, health })
    }

    /// Builds the matcher; rows that lose against a path of the configuration are dropped first.
    fn router(&mut self) -> Option<Router> {
        loop {
            match build(&self.rows) {
                Ok(router) => return Some(router),
                Err(clashes) => {
                    let mut overridden: Vec<usize> = clashes.iter().filter_map(|clash| self.loser(clash)).collect();
                    overridden.sort_unstable();
                    overridden.dedup();
                    if overridden.is_empty() {
                        for clash in &clashes {
                            self.report(clash);
                        }
                        return None;
                    }
                    for index in overridden.into_iter().rev() {
                        let row = self.rows.remove(index);
                        tracing::info!(route = %row.route.name, path = row.route.template.as_str(), "an annotation is overridden by a route with a path");
                    }
                }
            }
        }
    }

    /// The annotated one of two rows, if only one is.
    fn loser(&self, clash: &Clash) -> Option<usize> {
        let annotated = |index: usize| self.rows.get(index).is_some_and(|row| row.annotated);
        match (annotated(clash.first), annotated(clash.second)) {
            (true, false) => Some(clash.first),
            (false, true) => Some(clash.second),
            _ => None,
        }
    }

    fn report(&mut self, clash: &Clash) {
        let (Some(first), Some(second)) = (self.rows.get(clash.first), self.rows.get(clash.second)) else { return };
        let text = format!(
            "route \"{}\" answers the same requests as \"{}\" ({}): {}",
            second.route.name, first.route.name, first.route.origin, clash.what
        );
        let mut problem = Diagnostic::error(Code::DuplicateRoute, text);
        if let Some(place) = second.place.as_ref().or(first.place.as_ref()) {
            problem = problem.at(place);
        }
        self.problems.push(problem);
    }
}

/// Two rows that answer the same requests.
struct Clash {
    first: usize,
    second: usize,
    what: String,
}

fn build(rows: &[Row]) -> Result<Router, Vec<Clash>> {
    let mut builder = RouterBuilder::new();
    let mut clashes = Vec::new();
    for (number, row) in (0_u32..).zip(rows).filter(|(_, row)| row.route.leads) {
        let route = &row.route;
        let hosts: Vec<Option<&str>> = if route.hosts.is_empty() {
            vec![None]
        } else {
            route.hosts.iter().map(|host| Some(host.as_str())).collect()
        };
        for host in hosts {
            let methods = match &route.methods {
                None => Methods::Any,
                Some(list) => Methods::List(list.clone()),
            };
            let spec = RouteSpec { host, methods, template: &route.template, route: number };
            if let Err(error) = builder.add(spec) {
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                clashes.push(Clash { first: index, second: index, what: error.to_string() });
            }
        }
    }
    let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    match builder.build() {
        Ok(router) if clashes.is_empty() => Ok(router),
        Ok(_) => Err(clashes),
        Err(duplicates) => {
            clashes.extend(duplicates.into_iter().map(|duplicate| Clash {
                first: index(duplicate.first),
                second: index(duplicate.second),
                what: format!("{} {}", duplicate.methods.join(" "), duplicate.template).trim().to_owned(),
            }));
            Err(clashes)
        }
    }
}

/// Routes that read bodies undo their codings; one that passes them on does if it is told to.
fn decompress(route: &Route, action: &Action) -> Option<Decompress> {
    let policy = &route.policy;
    let reads = match &route.action {
        ConfigAction::Grpc(_) => true,
        ConfigAction::Proxy(_) => policy.decompress.value || policy.validate.schema.value.is_some(),
        ConfigAction::Native(_) | ConfigAction::Realtime(_) | ConfigAction::Respond(_) => false,
    };
    let uploads = action.transcode().is_some_and(|transcode| transcode.plan().method().is_client_streaming());
    reads.then(|| Decompress::new((!uploads).then_some(policy.max_body.value)))
}

/// gRPC compresses its messages by itself, if at all.
fn compress(route: &Route) -> Option<Compress> {
    match &route.action {
        ConfigAction::Native(_) | ConfigAction::Realtime(_) => None,
        ConfigAction::Proxy(_) => Compress::compile(&route.policy, true),
        ConfigAction::Grpc(_) | ConfigAction::Respond(_) => Compress::compile(&route.policy, false),
    }
}

fn template(route: &Route) -> Option<Template> {
    route.path.as_ref().map(|path| path.template.clone())
}

fn methods(route: &Route) -> Option<Vec<String>> {
    match &route.methods {
        ConfigMethods::Any => None,
        ConfigMethods::List(list) => Some(list.clone()),
    }
}

/// The RPCs of a selector as the configuration writes it.
fn selector(rpc: &RpcSelector) -> String {
    match rpc {
        RpcSelector::Method(name) => name.clone(),
        RpcSelector::Service(name) => format!("{name}/*"),
        RpcSelector::Package(name) => format!("{name}.*"),
    }
}

/// `full_name` is `pkg.Service/Method`.
fn selects(rpc: &RpcSelector, full_name: &str) -> bool {
    let service = full_name.rsplit_once('/').map_or("", |(service, _)| service);
    match rpc {
        RpcSelector::Method(name) => name == full_name || service_suffix(full_name, name),
        RpcSelector::Service(name) => name == service,
        RpcSelector::Package(name) => service.rsplit_once('.').is_some_and(|(package, _)| package == name),
    }
}

/// `Service/Method` names `pkg.Service/Method`.
fn service_suffix(full_name: &str, short: &str) -> bool {
    full_name.strip_suffix(short).is_some_and(|package| package.ends_with('.'))
}
