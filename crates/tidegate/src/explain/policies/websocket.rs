//! What an endpoint of `realtime` says: who may open a WebSocket there, and what goes on on it.

use serde_json::{Value, json};
use tidegate_config::units::{bytes_text, duration_text};
use tidegate_config::valid::{Action as ConfigAction, CredentialSource, RealtimeAction, Route};

use super::{Context, Origin, Rows, table};

fn endpoint<'a>(context: &Context<'a>) -> Option<(&'a Route, &'a RealtimeAction)> {
    let route = table::route(context.valid, context.compiled)?;
    let ConfigAction::Realtime(realtime) = &route.action else { return None };
    Some((route, realtime))
}

/// Before it is known who asks.
pub(super) fn door(context: &Context<'_>, rows: &mut Rows) {
    let Some((route, _)) = endpoint(context) else { return };
    let settings = &context.valid.realtime;
    let origins = match &settings.allowed_origins {
        None => json!("the host that is asked"),
        Some(origins) => origins.iter().map(ToString::to_string).collect(),
    };
    let limits = &settings.limits;
    rows.add(json!({"allowed_origins": origins}), Origin::at(&route.place));
    rows.add(json!({"max_connections": limits.max_connections}), Origin::at(&route.place));
    rows.add(json!({"max_connections_per_ip": limits.max_connections_per_ip}), Origin::at(&route.place));
    if let Some(from) = &route.access.token_from {
        let places: Vec<String> = from.iter().map(place).collect();
        rows.add(json!({"token_from": places}), Origin::at(&route.place));
    }
}

/// Once it is open.
pub(super) fn session(context: &Context<'_>, rows: &mut Rows) {
    let Some((route, realtime)) = endpoint(context) else { return };
    let settings = &context.valid.realtime;
    let limits = &settings.limits;
    let here = || Origin::at(&route.place);
    rows.add(json!({"protocol": "plain"}), here());
    if let Some(request) = &realtime.request {
        rows.add(json!({"request": request.rpc}), Origin::at(&request.rpc_place));
        let fields =
            |(name, json): &(String, Vec<u8>)| (name.clone(), serde_json::from_slice(json).unwrap_or(Value::Null));
        let defaults: serde_json::Map<String, Value> = request.defaults.iter().map(fields).collect();
        if !defaults.is_empty() {
            rows.add(json!({"defaults": defaults}), Origin::at(&request.defaults_place));
        }
    }
    rows.add(json!({"max_message": bytes_text(limits.max_message as u64)}), here());
    rows.add(json!({"inbound": limits.inbound.to_string()}), here());
    rows.add(json!({"write_timeout": duration_text(limits.write_timeout)}), here());
    let (interval, timeout) = (duration_text(settings.ping_interval), duration_text(settings.ping_timeout));
    rows.add(json!({"ping": {"interval": interval, "timeout": timeout}}), here());
}

fn place(source: &CredentialSource) -> String {
    match source {
        CredentialSource::Bearer => "header".to_owned(),
        CredentialSource::Header(name) => format!("header:{name}"),
        CredentialSource::Cookie(name) => format!("cookie:{name}"),
        CredentialSource::Query(name) => format!("query:{name}"),
    }
}
