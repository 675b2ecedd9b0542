//! The configuration: what is in force, how reloads went, and putting another one in force.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tidegate_config::Diagnostics;

use super::problem::Problem;
use super::{Handles, effective};
use crate::reject::Reason;
use crate::reload::{Generation, LastReload, Outcome, Refusal, Trigger};
use crate::snapshot::diff::Diff;
use crate::time;

/// The effective configuration without its secrets; the entity tag is what `PUT` wants as `If-Match`.
pub(super) async fn show(State(handles): State<Handles>) -> Response {
    let snapshot = handles.gateway.snapshot();
    let history = handles.reloads.history();
    let document = json!({
        "generation": snapshot.generation,
        "hash": &*snapshot.hash,
        "files": snapshot.valid.files.iter().map(|file| &**file).collect::<Vec<_>>(),
        "last_reload": history.last().as_ref().map(last_reload),
        "effective": effective::document(&snapshot),
    });
    tagged(Json(document).into_response(), &snapshot.hash)
}

/// The last ten configurations that were in force, newest first.
pub(super) async fn history(State(handles): State<Handles>) -> Json<Value> {
    Json(handles.reloads.history().generations().iter().map(generation).collect())
}

/// Reads the files again.
pub(super) async fn reload(State(handles): State<Handles>) -> Result<Response, Problem> {
    answer(&handles, handles.reloads.reload(Trigger::Admin).await)
}

/// Puts a text in place of the main file, in memory alone.
pub(super) async fn put(State(handles): State<Handles>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let Some(wanted) = headers.get(header::IF_MATCH).and_then(|tag| tag.to_str().ok()) else {
        let detail = "send If-Match with the entity tag of GET /api/config, or *";
        return Err(Problem::new(Reason::BadRequest, detail).status(StatusCode::PRECONDITION_REQUIRED));
    };
    answer(&handles, handles.reloads.put(&*body, wanted).await)
}

fn answer(handles: &Handles, outcome: Result<Outcome, Refusal>) -> Result<Response, Problem> {
    let outcome = outcome.map_err(|refusal| match refusal {
        Refusal::PreconditionFailed { .. } => {
            Problem::new(Reason::BadRequest, refusal.to_string()).status(StatusCode::PRECONDITION_FAILED)
        }
        Refusal::Busy => Problem::new(Reason::Overloaded, refusal.to_string()),
        Refusal::Stopping => Problem::new(Reason::Draining, refusal.to_string()),
    })?;
    match &outcome {
        Outcome::Unchanged | Outcome::Applied { .. } => {
            let hash = handles.registry.process.lifecycle.config_hash();
            let mut body = self::outcome(&outcome);
            if let Some(members) = body.as_object_mut() {
                members.insert("hash".to_owned(), json!(&*hash));
            }
            Ok(tagged(Json(body).into_response(), &hash))
        }
        Outcome::Rejected { diagnostics } => {
            let detail = "the configuration has problems; the one before stays in force";
            let problem = Problem::new(Reason::BadRequest, detail).status(StatusCode::UNPROCESSABLE_ENTITY);
            Err(problem.with("problems", problems(diagnostics)))
        }
        Outcome::NeedsRestart { fields } => {
            let detail = "the configuration changes what needs a restart; the one before stays in force";
            let problem = Problem::new(Reason::BadRequest, detail).status(StatusCode::CONFLICT);
            Err(problem.with("fields", json!(fields)))
        }
    }
}

fn tagged(mut response: Response, hash: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn last_reload(last: &LastReload) -> Value {
    let mut view = outcome(&last.outcome);
    if let Some(members) = view.as_object_mut() {
        members.insert("by".to_owned(), json!(last.trigger.word()));
        members.insert("at".to_owned(), json!(time::rfc3339(last.at_ms)));
    }
    view
}

fn outcome(outcome: &Outcome) -> Value {
    let word = outcome.result().word();
    match outcome {
        Outcome::Unchanged => json!({"result": word}),
        Outcome::Applied { generation, diff } => json!({"result": word, "generation": generation, "diff": lines(diff)}),
        // Without the lines of the files: a secret may stand in them.
        Outcome::Rejected { diagnostics } => json!({"result": word, "problems": problems(diagnostics)}),
        Outcome::NeedsRestart { fields } => json!({"result": word, "fields": fields}),
    }
}

/// All of them with file, line, message and help.
fn problems(diagnostics: &Diagnostics) -> Value {
    let document: Value = serde_json::from_str(&diagnostics.to_json()).unwrap_or_default();
    document.get("problems").cloned().unwrap_or_default()
}

fn generation(kept: &Generation) -> Value {
    json!({
        "generation": kept.generation,
        "hash": &*kept.hash,
        "by": kept.trigger.word(),
        "at": time::rfc3339(kept.at_ms),
        "diff": lines(&kept.diff),
    })
}

/// One text for each change.
fn lines(diff: &Diff) -> Vec<String> {
    diff.changes.iter().map(ToString::to_string).collect()
}
