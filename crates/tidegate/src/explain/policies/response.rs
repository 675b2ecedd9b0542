//! What becomes of an answer, and how a refusal is written.

use serde_json::json;
use tidegate_config::valid::{Action as ConfigAction, Compression, ErrorFormat, GRPC_CODES};

use super::{Call, Context, Origin, Rows, header_rules, table};
use crate::action::Action;

/// The backend's interim answers, which come before its answer.
pub(super) fn early_hints(context: &Context<'_>, rows: &mut Rows) {
    let Some((route, _, _)) = context.proxied().filter(|(_, proxy, _)| proxy.early_hints) else { return };
    let Action::Proxy(proxy) = &context.compiled.action else { return };
    let note = (!proxy.passes_hints()).then(|| "none: response_headers change what they consist of".to_owned());
    rows.add_noted(json!("passed on"), Origin::at(&route.place), note);
}

pub(super) fn transforms(context: &Context<'_>, rows: &mut Rows) {
    if let Some(route) = table::route(context.valid, context.compiled).filter(|_| changes_headers(context)) {
        header_rules(&route.policy.response_headers, rows);
    }
    if let Some(call) = context.call() {
        conversions(context, &call, rows);
    }
    compression(context, rows);
}

/// Whether the answers are those of a route, which its rules are for.
fn changes_headers(context: &Context<'_>) -> bool {
    match &context.compiled.action {
        Action::Transcode(_) | Action::Proxy(_) | Action::Native(_) | Action::Respond(_) => true,
        Action::Pending => context.call().is_some(),
        Action::Realtime(_) | Action::System(_) | Action::Metrics(_) | Action::GrpcHealth(_) => false,
    }
}

/// What a gRPC status and a message become.
fn conversions(context: &Context<'_>, call: &Call<'_>, rows: &mut Rows) {
    let policy = &call.route.policy;
    for status in &policy.status_map {
        let code = GRPC_CODES.get(usize::from(status.code)).copied().unwrap_or("UNKNOWN");
        rows.add(json!({"status_map": {code: status.status}}), &status.origin);
    }
    let envelope = policy.envelope.value.and_then(|index| context.valid.envelopes.get(index));
    if let Some(envelope) = envelope.filter(|envelope| envelope.success.is_some()) {
        rows.add(json!({"envelope": envelope.name}), &policy.envelope.origin);
    }
}

/// Which answers are compressed, for routes that have any.
fn compression(context: &Context<'_>, rows: &mut Rows) {
    let Some(route) = table::route(context.valid, context.compiled) else { return };
    let proxied = match &route.action {
        ConfigAction::Native(_) | ConfigAction::Realtime(_) => return,
        ConfigAction::Proxy(_) => true,
        ConfigAction::Grpc(_) | ConfigAction::Respond(_) => false,
    };
    let word = route.policy.compression(proxied).map(|compression| match compression {
        Compression::Whole => "whole",
        Compression::Stream => "stream",
    });
    rows.add(json!({"compress": word}), &route.policy.compress.origin);
}

pub(super) fn errors(context: &Context<'_>, rows: &mut Rows) {
    let says = context.call().is_some() || context.compiled.action.realtime().is_some();
    let Some(route) = table::route(context.valid, context.compiled).filter(|_| says) else {
        rows.add(json!({"format": "problem"}), Origin::built_in());
        return;
    };
    let format = &route.policy.error_format;
    let word = match format.value {
        ErrorFormat::Problem => "problem",
        ErrorFormat::Status => "status",
        ErrorFormat::Envelope => "envelope",
    };
    rows.add(json!({"format": word}), &format.origin);
    let envelope = route.policy.envelope.value.and_then(|index| context.valid.envelopes.get(index));
    if let Some(envelope) = envelope.filter(|_| format.value == ErrorFormat::Envelope) {
        rows.add(json!({"envelope": envelope.name}), &route.policy.envelope.origin);
    }
}
