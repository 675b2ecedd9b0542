//! The operations: which path and method is which.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use http_body::Body as _;
use serde_json::{Value, json};
use tidegate_config::source::MAX_FILE_BYTES;

use super::guard::{self, Door};
use super::problem::Problem;
use super::{Handles, config, dashboard, tap, views};
use crate::action::health::Audience;
use crate::action::system::Kind;
use crate::body::AnyBody;
use crate::explain::{Question, explain};
use crate::openapi::{self, About};
use crate::reject::{Reason, Reject};
use crate::telemetry::logs;

/// Generation and hash of the configuration that an answer speaks of.
const GENERATION: HeaderName = HeaderName::from_static("x-tidegate-config-generation");
const HASH: HeaderName = HeaderName::from_static("x-tidegate-config-hash");

/// Orders are small; only a configuration may be as long as a file.
const MAX_ORDER_BYTES: usize = 256 * 1024;

/// All operations behind the door.
pub(super) fn router(handles: Handles, door: Arc<Door>) -> Router {
    let config_bytes = usize::try_from(MAX_FILE_BYTES).unwrap_or(usize::MAX);
    let pages = dashboard::paths().fold(Router::new(), |router, path| router.route(path, get(page)));
    pages
        .route("/api/overview", get(overview))
        .route("/api/routes", get(routes))
        .route("/api/routes/{name}", get(route))
        .route("/api/services", get(services))
        .route("/api/services/{name}", get(service))
        .route("/api/listeners", get(listeners))
        .route("/api/certificates", get(certificates))
        .route("/api/config", get(config::show).put(config::put).layer(DefaultBodyLimit::max(config_bytes)))
        .route("/api/config/reload", post(config::reload))
        .route("/api/config/history", get(config::history))
        .route("/api/explain", post(explained))
        .route("/api/openapi", get(document))
        .route("/api/tap", get(tap::tap))
        .route("/api/log-level", get(log_level).put(set_log_level))
        .route("/api/drain", post(drain))
        .route("/metrics", get(metrics))
        .route("/health", get(async |state| health(&state, Kind::Health)))
        .route("/health/liveness", get(async |state| health(&state, Kind::Liveness)))
        .route("/health/readiness", get(async |state| health(&state, Kind::Readiness)))
        .route("/version", get(async |state| health(&state, Kind::Version)))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_ORDER_BYTES))
        .layer(middleware::from_fn_with_state(door, guard::guard))
        .with_state(handles)
}

async fn page(uri: Uri) -> Result<Response, Problem> {
    dashboard::file(uri.path()).ok_or_else(|| unknown_path(uri.path()))
}

async fn overview(State(handles): State<Handles>) -> Json<Value> {
    Json(views::overview(&handles))
}

async fn routes(State(handles): State<Handles>) -> Json<Value> {
    let snapshot = handles.gateway.snapshot();
    Json(snapshot.routes.iter().map(views::route).collect())
}

async fn route(State(handles): State<Handles>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let rows = views::rows(&handles.gateway.snapshot(), &name);
    if rows.is_empty() { Err(Problem::unknown("route", &name)) } else { Ok(Json(Value::Array(rows))) }
}

async fn services(State(handles): State<Handles>) -> Json<Value> {
    Json(handles.registry.live().services.iter().map(views::service).collect())
}

async fn service(State(handles): State<Handles>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let live = handles.registry.live();
    let running = live.service(&name).ok_or_else(|| Problem::unknown("service", &name))?;
    Ok(Json(views::service(running)))
}

async fn listeners(State(handles): State<Handles>) -> Json<Value> {
    Json(handles.listeners.listeners().iter().map(views::listener).collect())
}

async fn certificates(State(handles): State<Handles>) -> Json<Value> {
    Json(handles.listeners.listeners().iter().filter_map(views::certificate).collect())
}

async fn explained(State(handles): State<Handles>, body: Bytes) -> Result<Response, Problem> {
    let question = Question::from_json(&body).map_err(|error| Problem::new(Reason::BadRequest, error.to_string()))?;
    let snapshot = handles.gateway.snapshot();
    let mut response = Json(explain(&snapshot, &question)).into_response();
    let headers = response.headers_mut();
    headers.insert(GENERATION, HeaderValue::from(snapshot.generation));
    if let Ok(hash) = HeaderValue::from_str(&snapshot.hash) {
        headers.insert(HASH, hash);
    }
    Ok(response)
}

async fn document(State(handles): State<Handles>) -> Json<Value> {
    let about = About { title: "tidegate".to_owned(), version: "1.0.0".to_owned(), description: None };
    Json(openapi::document(&handles.gateway.snapshot(), &about))
}

async fn log_level() -> Json<Value> {
    Json(json!({"filter": logs::levels().current()}))
}

/// `{"filter": "info,tidegate::upstream=debug"}`
async fn set_log_level(body: Bytes) -> Result<Json<Value>, Problem> {
    let order: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(filter) = order.get("filter").and_then(Value::as_str) else {
        let detail = "send {\"filter\": \"info\"}, or directives as in \"info,tidegate::upstream=debug\"";
        return Err(Problem::new(Reason::BadRequest, detail));
    };
    logs::levels().set(filter).map_err(|error| Problem::new(Reason::BadRequest, error.to_string()))?;
    tracing::info!(filter, "log levels were changed through the admin API");
    Ok(log_level().await)
}

/// As TERM: readiness fails, then the listeners close, then the process ends.
async fn drain(State(handles): State<Handles>) -> (StatusCode, Json<Value>) {
    // Full means that it was asked for already.
    let _asked = handles.drain.try_send(());
    (StatusCode::ACCEPTED, Json(json!({"status": "draining"})))
}

async fn metrics(State(handles): State<Handles>, headers: HeaderMap) -> Result<Response, Problem> {
    let page = handles.registry.process.page.answer(&headers).await;
    page.map(|page| page.map(body)).map_err(|reject: Reject| Problem::new(reject.reason, reject.detail))
}

fn health(State(handles): &State<Handles>, kind: Kind) -> Response {
    kind.answer(&handles.gateway.snapshot().health, Audience::Admin).map(body)
}

/// The gateway's own answers are whole.
fn body(body: AnyBody) -> Body {
    match body {
        AnyBody::Full(Some(bytes)) => Body::from(bytes),
        AnyBody::Full(None) | AnyBody::Empty | AnyBody::Stream(_) | AnyBody::Socket(_) => {
            debug_assert!(body.is_end_stream(), "an answer of the gateway itself is whole");
            Body::empty()
        }
    }
}

async fn unknown(uri: Uri) -> Problem {
    unknown_path(uri.path())
}

fn unknown_path(path: &str) -> Problem {
    Problem::new(Reason::RouteNotFound, format!("the admin API has no path {path}"))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Reason::MethodNotAllowed, format!("{method} is no operation of {}", uri.path()))
}
