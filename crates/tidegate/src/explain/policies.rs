//! The policies of one route, in the order in which they run.
//!
//! A new policy is a line in [`POLICIES`] and a function, below or in the file of its stage, that adds its settings.

mod limits;
mod response;
mod upstream;
mod websocket;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tidegate_config::Valid;
use tidegate_config::units::{bytes_text, duration_text};
use tidegate_config::valid::{
    Action as ConfigAction, Allow, Descriptors, EnumFormat, EscapedSlashes, FieldNames, GrpcAction, HeaderRules,
    Int64Format, MultiSegmentEscape, Policy, ProxyAction, Route, Service, Setting, UnknownPolicy,
};
use tidegate_transcode::{Body, StreamFormat};

use super::answer::{self, Origin, Stage, Verdict};
use super::{Standpoint, table};
use crate::action::Action;
use crate::action::transcode::Transcode;
use crate::action::transcode::preflight::{Preflight, Step};
use crate::exchange::REQUEST_ID;
use crate::identity::Identity;
use crate::ids::RequestId;
use crate::policy::decompress;
use crate::snapshot::CompiledRoute;
use crate::upstream::Cluster;

/// One policy: its name, when it runs, what it has to say, and the step of a request that it refuses at.
struct Entry {
    name: &'static str,
    stage: Stage,
    steps: &'static [Step],
    settings: fn(&Context<'_>, &mut Rows),
}

const fn entry(
    name: &'static str,
    stage: Stage,
    steps: &'static [Step],
    settings: fn(&Context<'_>, &mut Rows),
) -> Entry {
    Entry { name, stage, steps, settings }
}

/// The order of `pipeline` and of the actions.
const POLICIES: &[Entry] = &[
    entry("client_ip", Stage::Early, &[], client_ip),
    entry("path", Stage::Early, &[], path),
    entry("request_id", Stage::Early, &[], request_id),
    entry("split", Stage::Early, &[], split),
    entry("limits", Stage::Early, &[], limits::early),
    entry("cors", Stage::Early, &[Step::Cors], cors),
    entry("websocket", Stage::Early, &[], websocket::door),
    entry("authentication", Stage::Request, &[Step::Authentication], authentication),
    entry("authorisation", Stage::Request, &[Step::Authorisation], authorisation),
    entry("limits", Stage::Request, &[], limits::late),
    entry("websocket", Stage::Request, &[], websocket::session),
    entry("validation", Stage::Request, &[Step::Path, Step::Validation], validation),
    entry("deadline", Stage::Request, &[Step::Deadline], deadline),
    entry("metadata", Stage::Request, &[Step::Metadata], metadata),
    entry("transcode", Stage::Request, &[Step::Binding], transcode),
    entry("rewrite", Stage::Request, &[], rewrite),
    entry("request_headers", Stage::Request, &[], headers),
    entry("breaker", Stage::Upstream, &[], upstream::circuit_breaker),
    entry("retry", Stage::Upstream, &[], upstream::retry),
    entry("hedge", Stage::Upstream, &[], upstream::hedge),
    entry("service", Stage::Upstream, &[Step::Service], upstream::service),
    entry("mirror", Stage::Upstream, &[], upstream::mirror),
    entry("early_hints", Stage::Response, &[], response::early_hints),
    entry("transforms", Stage::Response, &[], response::transforms),
    entry("errors", Stage::Response, &[], response::errors),
];

/// What policies look at.
pub(super) struct Context<'a> {
    pub(super) valid: &'a Valid,
    pub(super) compiled: &'a CompiledRoute,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// What the request came to, where its action has steps.
    pub(super) flight: Option<&'a Preflight>,
    /// Who it is from, if that is known.
    pub(super) identity: Option<&'a Identity>,
    pub(super) standpoint: Standpoint,
}

/// A route to a gRPC method, from all sides.
struct Call<'a> {
    route: &'a Route,
    grpc: &'a GrpcAction,
    service: &'a Service,
    /// `None` while the descriptors are not known.
    transcode: Option<&'a Transcode>,
}

impl<'a> Context<'a> {
    fn call(&self) -> Option<Call<'a>> {
        let route = table::route(self.valid, self.compiled)?;
        let (grpc, service) = table::grpc(self.valid, route)?;
        let transcode = self.compiled.action.transcode();
        Some(Call { route, grpc, service, transcode })
    }

    fn backend(&self) -> Option<Backend<'a>> {
        if let Some(call) = self.call() {
            let cluster = call.transcode.map(|transcode| &**transcode.cluster());
            return Some(Backend { route: call.route, service: call.service, transcode: call.transcode, cluster });
        }
        if let Action::Native(native) = &self.compiled.action {
            let route = table::route(self.valid, self.compiled)?;
            let service = self.valid.services.iter().find(|service| *service.name == *self.compiled.service)?;
            return Some(Backend { route, service, transcode: None, cluster: Some(native.cluster()) });
        }
        let (route, _, service) = self.proxied()?;
        let Action::Proxy(proxy) = &self.compiled.action else { return None };
        Some(Backend { route, service, transcode: None, cluster: Some(proxy.cluster()) })
    }

    fn proxied(&self) -> Option<(&'a Route, &'a ProxyAction, &'a Service)> {
        let route = table::route(self.valid, self.compiled)?;
        let ConfigAction::Proxy(proxy) = &route.action else { return None };
        Some((route, proxy, self.valid.services.get(proxy.service)?))
    }
}

/// A route to a backend, whatever that speaks.
struct Backend<'a> {
    route: &'a Route,
    service: &'a Service,
    /// The call that it makes, if its method is known.
    transcode: Option<&'a Transcode>,
    cluster: Option<&'a Cluster>,
}

/// The settings of one policy, as they are collected.
#[derive(Default)]
struct Rows(Vec<(Value, Origin, Option<String>)>);

impl Rows {
    fn add(&mut self, value: Value, origin: impl Into<Origin>) {
        self.0.push((value, origin.into(), None));
    }

    fn add_noted(&mut self, value: Value, origin: impl Into<Origin>, note: Option<String>) {
        self.0.push((value, origin.into(), note));
    }

    /// A setting that says nothing unless somebody wrote it.
    fn add_if_set<T>(&mut self, setting: &Setting<T>, value: impl FnOnce(&T) -> Value) {
        if setting.origin.place.is_some() {
            self.add(value(&setting.value), &setting.origin);
        }
    }
}

/// All policies of the route, each setting an entry of its own.
pub(super) fn of(context: &Context<'_>) -> Vec<answer::Policy> {
    let refused = context.flight.and_then(|flight| flight.refusal.as_ref()).map(|(step, _)| *step);
    let mut all = Vec::new();
    let mut reached = true;
    for policy in POLICIES {
        let mut rows = Rows::default();
        (policy.settings)(context, &mut rows);
        let refuses = refused.is_some_and(|step| policy.steps.contains(&step));
        let verdict = match (context.flight, policy.steps) {
            (None, _) | (_, []) => None,
            (Some(_), _) if refuses => Some(Verdict::Refuse),
            (Some(_), _) => reached.then_some(Verdict::Allow),
        };
        reached &= !refuses;
        for (index, (value, origin, note)) in rows.0.into_iter().enumerate() {
            all.push(answer::Policy {
                name: policy.name.to_owned(),
                stage: policy.stage,
                value,
                origin,
                verdict: verdict.filter(|_| index == 0),
                note,
            });
        }
    }
    all
}

fn client_ip(context: &Context<'_>, rows: &mut Rows) {
    let trusted = &context.valid.client_ip.trusted_proxies;
    if trusted.is_empty() {
        return rows.add(json!("the peer's address"), Origin::built_in());
    }
    let networks: Vec<String> = trusted.iter().map(ToString::to_string).collect();
    rows.add(json!({"trusted_proxies": networks}), Origin::built_in());
}

/// What is done to a path before a route is looked for.
fn path(context: &Context<'_>, rows: &mut Rows) {
    rows.add_if_set(&context.valid.merge_slashes, |on| json!({"merge_slashes": on}));
}

fn request_id(context: &Context<'_>, rows: &mut Rows) {
    let mut sent = context.headers.get_all(REQUEST_ID).iter();
    let (first, more) = (sent.next(), sent.next().is_some());
    let (value, note) = match first {
        None => ("new", None),
        Some(value) if !more && RequestId::from_client(value.as_bytes()).is_some() => ("taken over", None),
        Some(_) if more => ("new", Some("more than one x-request-id was sent".to_owned())),
        Some(_) => ("new", Some("the one that was sent is not of the form [A-Za-z0-9._-]{1,128}".to_owned())),
    };
    rows.add_noted(json!(value), Origin::built_in(), note);
}

/// The services that share the route, and whose policies these are.
fn split(context: &Context<'_>, rows: &mut Rows) {
    let Some(route) = table::route(context.valid, context.compiled).filter(|route| route.share.is_some()) else {
        return;
    };
    let parts = context.valid.routes.iter().filter(|part| part.name == route.name);
    let service = |part: &Route| {
        let service = context.valid.services.get(part.action.service()?)?;
        Some((service.name.clone(), json!(part.share.as_ref()?.weight)))
    };
    let weights: serde_json::Map<String, Value> = parts.filter_map(service).collect();
    let place = route.share.as_ref().map_or(&route.place, |share| &share.place);
    let note = format!("what follows is for requests that go to {}", context.compiled.service);
    rows.add_noted(Value::Object(weights), Origin::at(place), Some(note));
}

fn authentication(context: &Context<'_>, rows: &mut Rows) {
    let Some(route) = table::route(context.valid, context.compiled) else { return };
    let access = &route.access;
    if !access.required.value {
        // Where nobody is ever asked, there is nothing to tell.
        if !context.valid.auth.providers.is_empty() || access.required.origin.place.is_some() {
            rows.add(json!("none"), &access.required.origin);
        }
        return;
    }
    let name = |index: &usize| context.valid.auth.providers.get(*index).map(|provider| provider.name.as_str());
    let names: Vec<&str> = access.providers.value.iter().filter_map(name).collect();
    let note = context.identity.map(|identity| match &*identity.subject {
        "" => format!("accepted by {}", identity.provider),
        subject => format!("accepted by {}, subject {}", identity.provider, subject.escape_debug()),
    });
    // `auth.default` has no place of its own on a route: what demands it has.
    let own = access.providers.origin.place.is_some();
    rows.add_noted(json!(names), if own { &access.providers.origin } else { &access.required.origin }, note);
}

fn authorisation(context: &Context<'_>, rows: &mut Rows) {
    let Some(route) = table::route(context.valid, context.compiled) else { return };
    let access = &route.access;
    if !access.required.value {
        return;
    }
    let demand = |allow: &Allow| {
        let mut demand = serde_json::Map::new();
        for (key, list) in [("roles", &allow.roles), ("scopes", &allow.scopes)] {
            if !list.is_empty() {
                demand.insert(key.to_owned(), json!(list));
            }
        }
        let claims: Vec<String> = allow.claims.iter().map(|(path, text)| format!("{path}={text}")).collect();
        if !claims.is_empty() {
            demand.insert("claims".to_owned(), json!(claims));
        }
        if demand.is_empty() { json!("everybody with a credential") } else { demand.into() }
    };
    match &access.allow.value {
        Some(allow) => rows.add(demand(allow), &access.allow.origin),
        None => rows.add(json!("everybody with a credential"), &access.required.origin),
    }
    for (method, allow) in &access.methods.value {
        rows.add(json!({ method.as_str(): demand(allow) }), &access.methods.origin);
    }
}

fn cors(context: &Context<'_>, rows: &mut Rows) {
    let Some(compiled) = &context.compiled.cors else { return };
    let route = table::route(context.valid, context.compiled);
    let cors = &route.map_or(&context.valid.defaults, |route| &route.policy).cors;
    let note = compiled.note(context.method, context.headers);
    let origins: Vec<String> = cors.allow_origins.value.iter().map(ToString::to_string).collect();
    rows.add_noted(json!({"allow_origins": origins}), &cors.allow_origins.origin, note.map(str::to_owned));
    rows.add_if_set(&cors.allow_methods, |methods| json!({"allow_methods": methods}));
    rows.add_if_set(&cors.allow_headers, |headers| json!({"allow_headers": headers}));
    rows.add_if_set(&cors.expose_headers, |headers| json!({"expose_headers": headers}));
    rows.add_if_set(&cors.allow_credentials, |on| json!({"allow_credentials": on}));
    rows.add_if_set(&cors.max_age, |age| json!({"max_age": age.map(duration_text)}));
}

fn validation(context: &Context<'_>, rows: &mut Rows) {
    demands(context, rows);
    let Some(backend) = context.backend() else { return };
    let max_body = &backend.route.policy.max_body;
    let plan = backend.transcode.map(Transcode::plan);
    let uploads = plan.is_some_and(|plan| plan.method().is_client_streaming());
    let note = uploads.then(|| "for each message of the upload".to_owned());
    rows.add_noted(json!({"max_body": bytes_text(max_body.value)}), &max_body.origin, note);
    if context.proxied().is_some() {
        let slashes = &backend.route.policy.escaped_slashes;
        let word = match slashes.value {
            EscapedSlashes::Reject => "reject",
            EscapedSlashes::Keep => "keep",
        };
        rows.add(json!({"escaped_slashes": word}), &slashes.origin);
    }
    codings(context, rows);
    let Some(plan) = plan else { return };
    let types = if plan.takes_raw_body() {
        json!("any")
    } else if !plan.takes_body() {
        json!("no body")
    } else if uploads {
        json!(["application/json", "application/*+json", "application/x-ndjson"])
    } else {
        json!(["application/json", "application/*+json"])
    };
    rows.add(json!({"content_types": types}), Origin::built_in());
}

/// Codings of request bodies that are undone.
fn codings(context: &Context<'_>, rows: &mut Rows) {
    if context.compiled.decompress.is_none() {
        return;
    }
    let codings: Vec<&str> = ["identity"].into_iter().chain(decompress::ACCEPTED.split(", ")).collect();
    let asked = context
        .proxied()
        .map(|(route, _, _)| &route.policy)
        .map(|policy| if policy.decompress.value { &policy.decompress.origin } else { &policy.validate.schema.origin });
    match asked {
        Some(origin) => rows.add(json!({"content_encoding": codings}), origin),
        None => rows.add(json!({"content_encoding": codings}), Origin::built_in()),
    }
}

/// What `validate` says, as far as it is for this route.
fn demands(context: &Context<'_>, rows: &mut Rows) {
    let Some(route) = table::route(context.valid, context.compiled) else { return };
    let rules = &route.policy.validate;
    rows.add_if_set(&rules.required_headers, |names| json!({"required_headers": names}));
    if context.proxied().is_some() {
        rows.add_if_set(&rules.content_types, |types| json!({"content_types": types}));
        rows.add_if_set(&rules.schema, |path| json!({"schema": path}));
        rows.add_if_set(&rules.max_json_depth, |depth| json!({"max_json_depth": depth}));
    }
}

fn deadline(context: &Context<'_>, rows: &mut Rows) {
    let Some(backend) = context.backend() else { return };
    let policy = &backend.route.policy;
    let optional = |time: Option<std::time::Duration>| time.map_or(json!(null), |time| json!(duration_text(time)));
    let asked = context.flight.and_then(|flight| flight.client_timeout);
    let note = asked.map(|asked| match policy.timeout.value {
        Some(ours) if ours <= asked => format!("the client would wait {}", duration_text(asked)),
        Some(_) | None => format!("the client waits only {}", duration_text(asked)),
    });
    rows.add_noted(json!({"timeout": optional(policy.timeout.value)}), &policy.timeout.origin, note);
    let streams = match backend.transcode {
        Some(transcode) => transcode.plan().method().is_server_streaming(),
        None => context.proxied().is_some(),
    };
    if streams {
        let idle = &policy.stream_idle_timeout;
        rows.add(json!({"stream_idle_timeout": optional(idle.value)}), &idle.origin);
    }
}

fn metadata(context: &Context<'_>, rows: &mut Rows) {
    let Some(call) = context.call() else { return };
    let metadata = &call.route.policy.metadata;
    let rules = [metadata.allow.origin.place.is_some(), metadata.prefix.origin.place.is_some()];
    if !rules.contains(&true) {
        rows.add(json!("all but hop-by-hop and reserved names"), Origin::built_in());
    }
    rows.add_if_set(&metadata.allow, |allow| json!({"allow": allow}));
    rows.add_if_set(&metadata.deny, |deny| json!({"deny": deny}));
    rows.add_if_set(&metadata.allow_binary, |allow| json!({"allow_binary": allow}));
    rows.add_if_set(&metadata.prefix, |prefix| json!({"prefix": prefix}));
}

fn headers(context: &Context<'_>, rows: &mut Rows) {
    let Some(backend) = context.backend() else { return };
    if context.proxied().is_some() {
        rows.add(json!("all but hop-by-hop and reserved names"), Origin::built_in());
    }
    header_rules(&backend.route.policy.request_headers, rows);
}

/// Names alone: a value may be a credential.
fn header_rules(rules: &HeaderRules, rows: &mut Rows) {
    let names = |pairs: &Vec<(String, String)>| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    rows.add_if_set(&rules.remove, |list| json!({"remove": list}));
    rows.add_if_set(&rules.set, |pairs| json!({"set": names(pairs)}));
    rows.add_if_set(&rules.add, |pairs| json!({"add": names(pairs)}));
}

fn rewrite(context: &Context<'_>, rows: &mut Rows) {
    let Some((route, proxy, _)) = context.proxied() else { return };
    if let Some(rewrite) = &proxy.rewrite {
        rows.add(json!({"path": rewrite.text}), Origin::at(&rewrite.place));
    }
    if proxy.websocket {
        rows.add(json!({"websocket": true}), Origin::at(&route.place));
    }
}

fn transcode(context: &Context<'_>, rows: &mut Rows) {
    let Some(call) = context.call() else { return };
    let digest = call.transcode.map(|transcode| short(&transcode.plan().schema().digest()));
    let source = match &call.service.descriptors {
        Descriptors::None => "none".to_owned(),
        Descriptors::Reflection => "reflection".to_owned(),
        Descriptors::Set(path) => path.display().to_string(),
        Descriptors::Protos { files, .. } => {
            files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
        }
    };
    let known = match (digest, context.standpoint) {
        (Some(digest), _) => digest,
        (None, Standpoint::Running) => "not known yet".to_owned(),
        (None, Standpoint::Offline) => "not known offline".to_owned(),
    };
    let rpc = Origin::at(&call.grpc.rpc_place);
    rows.add_noted(json!({"rpc": &*context.compiled.target}), rpc, Some(format!("descriptors: {source} {known}")));
    bodies(&call, rows);
    json_options(&call.route.policy, rows);
    let streams = call.transcode.is_some_and(|transcode| transcode.plan().method().is_server_streaming());
    if streams {
        let stream = &call.route.policy.stream;
        let formats: Vec<&str> = stream.value.iter().map(|format| config_stream_word(*format)).collect();
        let chosen = context.flight.and_then(|flight| flight.format);
        let note = chosen.map(|format| format!("by Accept: {}", stream_word(format)));
        rows.add_noted(json!({"stream": formats}), &stream.origin, note);
    }
}

fn bodies(call: &Call<'_>, rows: &mut Rows) {
    let Some(transcode) = call.transcode else { return };
    let (body, response_body) = transcode.bodies();
    let place = |own| Origin::at(if call.route.path.is_some() { own } else { &call.grpc.rpc_place });
    match body {
        Body::None => {}
        Body::Whole => rows.add(json!({"body": "*"}), place(&call.grpc.body_place)),
        Body::Field(field) => rows.add(json!({"body": field}), place(&call.grpc.body_place)),
    }
    if let Some(field) = response_body {
        rows.add(json!({"response_body": field}), place(&call.grpc.response_body_place));
    }
}

/// Those that somebody has set.
fn json_options(policy: &Policy, rows: &mut Rows) {
    let options = &policy.json;
    rows.add_if_set(
        &options.field_names,
        |names| json!({"field_names": match names { FieldNames::Camel => "camel", FieldNames::Proto => "proto" }}),
    );
    rows.add_if_set(
        &options.enums,
        |format| json!({"enums": match format { EnumFormat::Name => "name", EnumFormat::Number => "number" }}),
    );
    rows.add_if_set(&options.emit_defaults, |emit| json!({"emit_defaults": emit}));
    rows.add_if_set(
        &options.int64,
        |format| json!({"int64": match format { Int64Format::String => "string", Int64Format::Number => "number" }}),
    );
    rows.add_if_set(&options.unknown_fields, |unknown| json!({"unknown_fields": unknown_word(*unknown)}));
    rows.add_if_set(&options.unknown_query, |unknown| json!({"unknown_query": unknown_word(*unknown)}));
    rows.add_if_set(&policy.ignore_query, |keys| json!({"ignore_query": keys}));
    rows.add_if_set(&policy.multi_segment_escape, |escape| {
        let word = match escape {
            MultiSegmentEscape::KeepSlash => "keep_slash",
            MultiSegmentEscape::Reserved => "reserved",
            MultiSegmentEscape::All => "all",
        };
        json!({"multi_segment_escape": word})
    });
}

fn unknown_word(unknown: UnknownPolicy) -> &'static str {
    match unknown {
        UnknownPolicy::Reject => "reject",
        UnknownPolicy::Ignore => "ignore",
        UnknownPolicy::Report => "report",
    }
}

fn config_stream_word(format: tidegate_config::valid::StreamFormat) -> &'static str {
    use tidegate_config::valid::StreamFormat as Format;
    match format {
        Format::Array => "array",
        Format::Ndjson => "ndjson",
        Format::Sse => "sse",
    }
}

fn stream_word(format: StreamFormat) -> &'static str {
    match format {
        StreamFormat::Array => "array",
        StreamFormat::Ndjson => "ndjson",
        StreamFormat::Sse => "sse",
    }
}

/// Enough of a digest to tell two versions of a schema apart.
fn short(digest: &[u8; 32]) -> String {
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
