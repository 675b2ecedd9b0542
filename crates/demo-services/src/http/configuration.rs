//! Configuration entries: JSON values below names.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;

use super::answer::{Answer, created, nothing, versioned};
use super::input::{Caller, Conditions, Document, Segment};
use crate::backends::Backends;
use crate::clock::now;
use crate::fields::Fields;

pub(super) fn routes() -> Router<Arc<Backends>> {
    Router::new()
        .route("/api/v1/config", post(create))
        .route("/api/v1/config/{key}", get(read).put(update).delete(delete))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEntry {
    key: Option<String>,
    /// `null` is a value.
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangedEntry {
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
}

/// Tells a `null` from a field that is not there.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

async fn create(
    State(backends): State<Arc<Backends>>,
    Caller(by): Caller,
    Document(body): Document<NewEntry>,
) -> Answer {
    let mut fields = Fields::default();
    let key = fields.required("key", body.key);
    let value = fields.required("value", body.value);
    fields.done()?;
    let creating = backends.configurations.change(|entries, batch| entries.create(&key, value, &by, now(), batch));
    let entry = creating.await?;
    Ok(created(&format!("/api/v1/config/{key}"), entry.version, &entry))
}

async fn read(State(backends): State<Arc<Backends>>, Segment(key): Segment, seen: Conditions) -> Answer {
    backends.configurations.read(|entries| {
        let entry = entries.find(&key)?;
        Ok(versioned(StatusCode::OK, entry.version, entry, &seen))
    })
}

async fn update(
    State(backends): State<Arc<Backends>>,
    Caller(by): Caller,
    Segment(key): Segment,
    seen: Conditions,
    Document(body): Document<ChangedEntry>,
) -> Answer {
    let mut fields = Fields::default();
    let value = fields.required("value", body.value);
    fields.done()?;
    let version = seen.version();
    let entry = backends
        .configurations
        .change(|entries, batch| entries.update(&key, value, version, &by, now(), batch))
        .await?;
    Ok(versioned(StatusCode::OK, entry.version, &entry, &Conditions::default()))
}

async fn delete(State(backends): State<Arc<Backends>>, Segment(key): Segment, seen: Conditions) -> Answer {
    let version = seen.version();
    backends.configurations.change(|entries, batch| entries.delete(&key, version, batch)).await?;
    Ok(nothing())
}
