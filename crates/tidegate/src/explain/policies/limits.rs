//! Rate limits, before and after it is known who asks. Nothing is charged by looking.

use serde_json::{Map, Value, json};
use tidegate_config::valid::{LimitStore, OnStoreError, RateLimit};

use super::{Context, Rows, table};

pub(super) fn early(context: &Context<'_>, rows: &mut Rows) {
    add(context, rows, false);
}

pub(super) fn late(context: &Context<'_>, rows: &mut Rows) {
    add(context, rows, true);
}

fn add(context: &Context<'_>, rows: &mut Rows, is_late: bool) {
    let Some(route) = table::route(context.valid, context.compiled) else { return };
    for limit in route.policy.rate_limits.iter().filter(|limit| limit.is_late() == is_late) {
        let note = limit.shadow.then(|| "in shadow mode: refuses nothing".to_owned());
        rows.add_noted(json!({ &limit.name: settings(limit) }), &limit.origin, note);
    }
}

/// What somebody has written, and the burst that follows from it.
fn settings(limit: &RateLimit) -> Map<String, Value> {
    let key: Vec<String> = limit.key.iter().map(ToString::to_string).collect();
    let mut settings = Map::new();
    settings.insert("limit".to_owned(), json!(limit.rate.to_string()));
    settings.insert("burst".to_owned(), json!(limit.burst));
    settings.insert("key".to_owned(), json!(key));
    if limit.cost != 1 {
        settings.insert("cost".to_owned(), json!(limit.cost));
    }
    if limit.store == LimitStore::Redis {
        let word = match limit.on_store_error {
            OnStoreError::Local => "local",
            OnStoreError::Allow => "allow",
            OnStoreError::Deny => "deny",
        };
        settings.insert("store".to_owned(), json!("redis"));
        settings.insert("on_store_error".to_owned(), json!(word));
    }
    settings
}
