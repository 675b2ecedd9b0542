//! The configuration in force as JSON: with its defaults, without its secrets.

use serde_json::{Value, json};
use tidegate_config::Valid;
use tidegate_config::valid::{
    AccessOutput, Action, Check, Descriptors, HealthDetail, Http2Limits, KeySource, Listener, LogFormat, OtlpProtocol,
    Provider, Redis, Required, Runtime, RuntimeModel, Service, ServiceProtocol, Timeouts, Tls, Workers,
};

use crate::explain;
use crate::snapshot::Snapshot;

/// What stands where a secret does.
const HIDDEN: &str = "***";

/// The whole configuration. Durations and sizes as in a configuration file.
pub(super) fn document(snapshot: &Snapshot) -> Value {
    let valid = &*snapshot.valid;
    let drain = valid.drain;
    json!({
        "listeners": valid.listeners.iter().map(listener).collect::<Vec<_>>(),
        "admin": valid.admin.as_ref().map(|admin| {
            json!({"address": admin.address, "token": admin.token.as_ref().map(|_| HIDDEN)})
        }),
        "auth": auth(valid),
        "client_ip": {"trusted_proxies": valid.client_ip.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>()},
        "merge_slashes": valid.merge_slashes.value,
        "redis": valid.redis.as_ref().map(redis),
        "drain": {"readiness_delay": duration(drain.readiness_delay), "timeout": duration(drain.timeout)},
        "runtime": runtime(valid.runtime),
        "memory_limit": valid.overload.memory_limit.map(tidegate_config::units::bytes_text),
        "overload": valid.overload.lag.map(|lag| json!({"lag": duration(lag.from), "lag_max": duration(lag.all)})),
        "observability": observability(valid),
        "readiness": {"require": valid.readiness.require.iter().map(|wanted| required(valid, *wanted)).collect::<Vec<_>>()},
        "health": {"detail": match valid.health_detail { HealthDetail::Full => "full", HealthDetail::Admin => "admin" }},
        "system_routes": valid.system_routes.iter().map(|(key, route)| (key, route.path.clone())).collect::<std::collections::BTreeMap<_, _>>(),
        "services": valid.services.iter().map(service).collect::<Vec<_>>(),
        "routes": routes(snapshot),
    })
}

fn auth(valid: &Valid) -> Value {
    let auth = &valid.auth;
    let provider = |provider: &Provider| {
        let check = match &provider.check {
            Check::Jwt(rules) => json!({
                "type": "jwt",
                "issuer": rules.issuer,
                "audience": rules.audience,
                "algorithms": rules.algorithms,
                "leeway": duration(rules.leeway),
                "keys": match &rules.keys {
                    KeySource::Secret { .. } => json!({"secret": HIDDEN}),
                    KeySource::Pem(path) => json!({"public_key": path}),
                    KeySource::File(path) => json!({"jwks": path}),
                    KeySource::Url(url) => json!({"jwks": url.text}),
                    KeySource::Discovery(_) => json!({"discovery": true}),
                },
            }),
            Check::ApiKey(keys) => json!({"type": "api_key", "keys": keys.keys.len(), "keys_file": keys.file}),
            Check::Mtls(certificates) => {
                let names: Vec<&str> = certificates.iter().map(|known| known.name.as_str()).collect();
                json!({"type": "mtls", "certificates": names})
            }
        };
        (provider.name.clone(), check)
    };
    let forward = auth.forward.iter().map(|forward| (forward.name.clone(), json!(forward.claim)));
    let roles = auth.roles.iter().map(|role| (role.name.clone(), json!(role.includes)));
    json!({
        "providers": auth.providers.iter().map(provider).collect::<serde_json::Map<_, _>>(),
        "forward": forward.collect::<serde_json::Map<_, _>>(),
        "roles": roles.collect::<serde_json::Map<_, _>>(),
    })
}

fn redis(redis: &Redis) -> Value {
    json!({
        "host": redis.host,
        "port": redis.port,
        "tls": redis.tls,
        "user": redis.user.as_ref().map(|_| HIDDEN),
        "password": redis.password.as_ref().map(|_| HIDDEN),
        "database": redis.database,
        "timeout": duration(redis.timeout),
    })
}

fn listener(listener: &Listener) -> Value {
    let tls = match &listener.tls {
        Tls::None => Value::Null,
        Tls::Auto => json!("auto"),
        Tls::Files { cert, key } => json!({"cert": cert, "key": key}),
    };
    let protocols: Vec<String> = listener.protocols.iter().map(|known| format!("{known:?}").to_lowercase()).collect();
    let limits = &listener.limits;
    json!({
        "name": listener.name,
        "address": listener.address,
        "tls": tls,
        "protocols": protocols,
        "limits": {
            "head": bytes(limits.head.head),
            "fields": limits.head.fields,
            "uri": bytes(limits.head.uri),
        },
        "timeouts": timeouts(&limits.timeouts),
        "max_connections": limits.max_connections,
        "max_connections_per_ip": limits.max_connections_per_ip,
        "http2": http2(&limits.http2),
        "proxy_protocol": listener.proxy_protocol,
        "origin": listener.place.to_string(),
    })
}

fn timeouts(times: &Timeouts) -> Value {
    json!({
        "handshake": duration(times.handshake),
        "head": duration(times.head),
        "body_idle": duration(times.body_idle),
        "body_grace": duration(times.body_grace),
        "body_rate": times.body_rate.map(bytes),
        "write": duration(times.write),
        "idle": duration(times.idle),
        "age": times.age.map(duration),
    })
}

fn http2(limits: &Http2Limits) -> Value {
    json!({
        "max_streams": limits.max_streams,
        "stream_window": bytes(limits.stream_window),
        "connection_window": bytes(limits.connection_window),
        "header_list": bytes(limits.header_list),
        "max_frames": limits.max_frames,
        "ping_interval": duration(limits.ping_interval),
        "ping_timeout": duration(limits.ping_timeout),
    })
}

fn bytes(size: u32) -> String {
    tidegate_config::units::bytes_text(u64::from(size))
}

fn runtime(runtime: Runtime) -> Value {
    let workers = match runtime.workers {
        Workers::Auto => json!("auto"),
        Workers::Count(count) => json!(count),
    };
    let model = match runtime.model {
        RuntimeModel::PerCore => "per_core",
        RuntimeModel::Shared => "shared",
    };
    json!({"workers": workers, "model": model})
}

fn observability(valid: &Valid) -> Value {
    let observability = &valid.observability;
    let logs = &observability.logs;
    let access = logs.access.as_ref().map(|access| {
        let output = match &access.output {
            AccessOutput::Stdout => json!("stdout"),
            AccessOutput::Stderr => json!("stderr"),
            AccessOutput::File(path) => json!(path),
        };
        json!({"output": output, "sample_ok": access.sample_ok, "slower_than": duration(access.slower_than)})
    });
    let tracing = observability.tracing.as_ref().map(|tracing| {
        let protocol = match tracing.otlp.protocol {
            OtlpProtocol::Grpc => "grpc",
            OtlpProtocol::Http => "http",
        };
        json!({"otlp": tracing.otlp.text, "protocol": protocol, "sample_ratio": tracing.sample_ratio})
    });
    let format = match logs.format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    json!({
        "logs": {"format": format, "level": format!("{:?}", logs.level).to_lowercase(), "access": access},
        "metrics": {
            "public_path": observability.metrics.public_path.as_ref().map(|path| path.path.clone()),
            "max_series": observability.metrics.max_series,
        },
        "tracing": tracing,
    })
}

fn required(valid: &Valid, required: Required) -> String {
    let Required::Service(index) = required;
    valid.services.get(index).map_or_else(String::new, |service| format!("service:{}", service.name))
}

fn service(service: &Service) -> Value {
    let descriptors = match &service.descriptors {
        Descriptors::None => Value::Null,
        Descriptors::Reflection => json!("reflection"),
        Descriptors::Set(path) => json!(path),
        Descriptors::Protos { files, .. } => json!(files),
    };
    json!({
        "name": service.name,
        "protocol": match service.protocol { ServiceProtocol::Grpc => "grpc", ServiceProtocol::Http => "http" },
        "endpoints": service.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "descriptors": descriptors,
        "max_message": service.max_message,
        "connect_timeout": duration(service.connect_timeout),
        "connections": {"min": service.connections.min, "max": service.connections.max},
        "tls": service.tls.is_some(),
        "origin": service.place.to_string(),
    })
}

/// The entries of the configuration, each with the policies of its first row.
fn routes(snapshot: &Snapshot) -> Vec<Value> {
    let entries = snapshot.valid.routes.iter().enumerate();
    entries
        .map(|(index, route)| {
            let row = snapshot.routes.iter().find(|row| row.index == Some(index));
            let policies = row.map(|row| explain::policies(snapshot, row));
            json!({
                "name": route.name,
                "path": route.path.as_ref().map(|path| path.template.as_str()),
                "hosts": route.hosts,
                "target": match &route.action { Action::Grpc(_) => "grpc", Action::Proxy(_) => "proxy", Action::Respond(_) => "respond", Action::Native(_) => "native", Action::Realtime(_) => "websocket" },
                "origin": route.place.to_string(),
                "policies": policies,
            })
        })
        .collect()
}

fn duration(duration: std::time::Duration) -> String {
    tidegate_config::units::duration_text(duration)
}
