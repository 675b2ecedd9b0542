//! A short text of what a configuration came to, for golden cases: one line for each thing, origins in brackets,
//! values that nobody set left out.

use std::fmt::{Debug, Write};

use tidegate_config::Valid;
use tidegate_config::valid::{
    Action, LagLimits, Level, ListenerLimits, Methods, Overload, Policy, Realtime, Resilience, Route, ServiceProtocol,
    Setting, Target, Tree,
};

pub(crate) fn describe(valid: &Valid) -> String {
    let mut out = String::new();
    let files: Vec<&str> = valid.files.iter().map(|name| &**name).collect();
    let _ = writeln!(out, "files {}", files.join(", "));
    for listener in &valid.listeners {
        let _ = writeln!(
            out,
            "listener {} {} {:?} {:?} [{}]",
            listener.name, listener.address, listener.tls, listener.protocols, listener.place
        );
        if let Some(clients) = &listener.clients {
            let _ = writeln!(out, "  {clients:?}");
        }
        if listener.limits != ListenerLimits::default() {
            let _ = writeln!(out, "  {:?}", listener.limits);
        }
        if listener.proxy_protocol {
            let _ = writeln!(out, "  proxy_protocol");
        }
    }
    if valid.overload != (Overload { memory_limit: None, lag: Some(LagLimits::default()) }) {
        let _ = writeln!(out, "{:?}", valid.overload);
    }
    for service in &valid.services {
        let _ = writeln!(out, "service {} [{}]", service.name, service.place);
        for endpoint in &service.endpoints {
            let tls = if endpoint.tls { " tls" } else { "" };
            let target = match &endpoint.target {
                Target::Host(at) => format!("{} port {}", at.host, at.port),
                Target::Dns { name, server } => format!("addresses of {} port {} {server:?}", name.host, name.port),
                Target::Unix(path) => format!("socket {}", path.display()),
            };
            let weight = if endpoint.weight == 1 { String::new() } else { format!(" weight {}", endpoint.weight) };
            let _ = writeln!(out, "  endpoint {target}{tls}{weight}");
        }
        if service.protocol == ServiceProtocol::Http {
            let _ = writeln!(out, "  speaks HTTP{}", if service.http2 { ", HTTP/2 if it can" } else { "" });
        }
        let _ = writeln!(out, "  descriptors {:?}", service.descriptors);
        let _ = writeln!(out, "  max_message {} connect_timeout {:?}", service.max_message, service.connect_timeout);
        let _ = writeln!(out, "  {:?}", service.connections);
        if service.resilience != Resilience::default() {
            let _ = writeln!(out, "  {:?}", service.resilience);
        }
        if let Some(tls) = &service.tls {
            let _ = writeln!(out, "  {tls:?}");
        }
    }
    for provider in &valid.auth.providers {
        let _ =
            writeln!(out, "provider {} {:?} forward_token {}", provider.name, provider.from, provider.forward_token);
        let _ = writeln!(out, "  {:?}", provider.check);
    }
    for role in &valid.auth.roles {
        let _ = writeln!(out, "role {} includes {:?}", role.name, role.includes);
    }
    for forward in &valid.auth.forward {
        let _ = writeln!(out, "forward {} is {}", forward.name, forward.claim);
    }
    for envelope in &valid.envelopes {
        let _ = writeln!(out, "envelope {} [{}]", envelope.name, envelope.place);
        for (part, tree) in [("success", &envelope.success), ("error", &envelope.error)] {
            if let Some(tree) = tree {
                let _ = writeln!(out, "  {part} {}", self::tree(tree));
            }
        }
    }
    for route in &valid.routes {
        describe_route(route, valid, &mut out);
    }
    if valid.merge_slashes.value {
        setting("merge_slashes", &valid.merge_slashes, &mut out);
    }
    if let Some(redis) = &valid.redis {
        let _ = writeln!(out, "{redis:-?}");
    }
    if valid.realtime != Realtime::default() {
        let _ = writeln!(out, "{:?}", valid.realtime);
    }
    let _ = writeln!(out, "{:?} {:?}", valid.drain, valid.runtime);
    let _ = writeln!(out, "{:?}", valid.observability.logs);
    let _ = writeln!(out, "{:?}", valid.observability.metrics);
    if let Some(tracing) = &valid.observability.tracing {
        let _ = writeln!(out, "{tracing:?}");
    }
    if let Some(admin) = &valid.admin {
        let _ = writeln!(out, "{admin:?}");
    }
    let _ = writeln!(out, "{:?} {:?}", valid.readiness, valid.health_detail);
    let system: Vec<String> = valid.system_routes.iter().map(|(key, route)| format!("{key} {}", route.path)).collect();
    let _ = writeln!(out, "system {}", system.join(", "));
    out
}

fn describe_route(route: &Route, valid: &Valid, out: &mut String) {
    let path = route.path.as_ref().map_or("(annotations)", |path| path.template.as_str());
    let methods = match &route.methods {
        Methods::Any => "any".to_owned(),
        Methods::List(list) => list.join(","),
    };
    let _ = writeln!(out, "route {} {methods} {path} {:?} [{}]", route.name, route.hosts, route.place);
    if let Some(mirror) = &route.mirror {
        let service = valid.services.get(mirror.service).map_or("?", |service| &service.name);
        let _ = writeln!(out, "  mirror {service} {} of at most {}", mirror.ratio, mirror.max_in_flight);
    }
    if let Some(hedge) = &route.hedge {
        let _ = writeln!(out, "  hedge {:?} {:?} {}", hedge.after, hedge.percentile, hedge.max_hedges);
    }
    if let Some(share) = &route.share {
        let _ = writeln!(out, "  share {}{}", share.weight, if share.leads { " leads" } else { "" });
    }
    match &route.action {
        Action::Grpc(grpc) => {
            let service = valid.services.get(grpc.service).map_or("?", |service| &service.name);
            let _ = write!(out, "  grpc {service} {:?} body {:?}", grpc.rpc, grpc.body);
            let _ = writeln!(out, " response_body {:?}", grpc.response_body);
        }
        Action::Proxy(proxy) => {
            let service = valid.services.get(proxy.service).map_or("?", |service| &service.name);
            let rewrite = proxy.rewrite.as_ref().map(|rewrite| &rewrite.path);
            let _ = writeln!(
                out,
                "  proxy {service} rewrite {rewrite:?}{}{}",
                if proxy.websocket { " websocket" } else { "" },
                if proxy.early_hints { " early_hints" } else { "" }
            );
        }
        Action::Native(native) => {
            let service = valid.services.get(native.service).map_or("?", |service| &service.name);
            let _ = writeln!(out, "  native {service}");
        }
        Action::Realtime(realtime) => {
            let _ = writeln!(out, "  websocket {:?}", realtime.protocol);
            if let Some(request) = &realtime.request {
                let service = valid.services.get(request.service).map_or("?", |service| &service.name);
                let needs = request.needs.as_ref().map(|(field, _)| field);
                let _ = writeln!(out, "  request {service} {} needs {needs:?}", request.rpc);
                for (name, json) in &request.defaults {
                    let _ = writeln!(out, "  request default {name} {}", String::from_utf8_lossy(json));
                }
            }
            if let Some(from) = &route.access.token_from {
                let _ = writeln!(out, "  token_from {from:?}");
            }
        }
        Action::Respond(respond) => {
            let body = String::from_utf8_lossy(&respond.body);
            let _ = writeln!(out, "  respond {} {:?} {body}", respond.status, respond.content_type);
        }
    }
    let access = &route.access;
    setting("auth.required", &access.required, out);
    let named: Vec<&str> = access
        .providers
        .iter()
        .filter_map(|at| valid.auth.providers.get(*at))
        .map(|known| known.name.as_str())
        .collect();
    setting("auth.providers", &Setting { value: named, origin: access.providers.origin.clone() }, out);
    setting("auth.allow", &access.allow, out);
    setting("auth.methods", &access.methods, out);
    describe_policy(&route.policy, out);
}

fn describe_policy(policy: &Policy, out: &mut String) {
    setting("timeout", &policy.timeout, out);
    setting("stream_idle_timeout", &policy.stream_idle_timeout, out);
    setting("max_body", &policy.max_body, out);
    setting("errors.format", &policy.error_format, out);
    setting("envelope", &policy.envelope, out);
    setting("json.field_names", &policy.json.field_names, out);
    setting("json.enums", &policy.json.enums, out);
    setting("json.emit_defaults", &policy.json.emit_defaults, out);
    setting("json.int64", &policy.json.int64, out);
    setting("json.unknown_fields", &policy.json.unknown_fields, out);
    setting("json.unknown_query", &policy.json.unknown_query, out);
    setting("ignore_query", &policy.ignore_query, out);
    for entry in &policy.status_map {
        let _ = writeln!(out, "  status_map {} {} [{}]", entry.code, entry.status, entry.origin);
    }
    setting("metadata.allow", &policy.metadata.allow, out);
    setting("metadata.deny", &policy.metadata.deny, out);
    setting("metadata.allow_binary", &policy.metadata.allow_binary, out);
    setting("metadata.prefix", &policy.metadata.prefix, out);
    setting("stream", &policy.stream, out);
    setting("multi_segment_escape", &policy.multi_segment_escape, out);
    for limit in &policy.rate_limits {
        let key: Vec<String> = limit.key.iter().map(ToString::to_string).collect();
        let owner = if limit.owner.is_empty() { "all" } else { &limit.owner };
        let _ = write!(out, "  rate_limit {} {} burst {} by {}", limit.name, limit.rate, limit.burst, key.join("+"));
        let (store, error) = (limit.store, limit.on_store_error);
        let _ = write!(out, " of {owner} {store:?} {error:?} shadow {} cost {}", limit.shadow, limit.cost);
        let _ = writeln!(out, " [{}]", limit.origin);
    }
    setting("retry.max_retries", &policy.retry.max_retries, out);
    setting("retry.retry_on", &policy.retry.on, out);
    setting("retry.backoff.base", &policy.retry.backoff_base, out);
    setting("retry.backoff.max", &policy.retry.backoff_max, out);
    setting("retry.per_try_timeout", &policy.retry.per_try_timeout, out);
    setting("retry.non_idempotent", &policy.retry.non_idempotent, out);
    if let Some(budget) = policy.retry.budget {
        let _ = writeln!(out, "  retry.budget {budget:?}");
    }
    for (name, rules) in [("request", &policy.request_headers), ("response", &policy.response_headers)] {
        setting(&format!("{name}_headers.remove"), &rules.remove, out);
        setting(&format!("{name}_headers.set"), &rules.set, out);
        setting(&format!("{name}_headers.add"), &rules.add, out);
    }
    setting("escaped_slashes", &policy.escaped_slashes, out);
    setting("compress", &policy.compress, out);
    setting("decompress", &policy.decompress, out);
    setting("inner_wildcard", &policy.inner_wildcard, out);
}

fn setting<T: Debug>(name: &str, setting: &Setting<T>, out: &mut String) {
    if setting.origin.level != Level::BuiltIn {
        let _ = writeln!(out, "  {name} {:?} [{}]", setting.value, setting.origin);
    }
}

fn tree(tree: &Tree) -> String {
    match tree {
        Tree::Literal(literal) => format!("{literal:?}"),
        Tree::Expression(expression) => format!("Expression({})", expression.source),
        Tree::Text(pieces) => format!("Text({} pieces)", pieces.len()),
        Tree::List(items) => format!("[{}]", items.iter().map(self::tree).collect::<Vec<_>>().join(", ")),
        Tree::Map(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key}: {}", self::tree(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}
