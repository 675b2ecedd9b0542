//! OpenAPI 3.1 out of a snapshot: what clients can send and what they get, from the compiled routes and the descriptors.
//!
//! One operation for each route and method. The document depends on nothing but the snapshot, so the same snapshot gives
//! the same bytes. Messages become components under their full names; the gateway's own schemas have a
//! hyphen in their names, which protobuf names cannot have. `docs/openapi.md` says what a reader can rely on.
//!
//! ```text
//!   row of the table ── paths::translate ──► path, its parameters ─────────┐
//!                    ── ids::assign ───────► operationId                   ├─► Paths ──► document
//!                    ── operation::describe ► parameters, body, answers ───┘     ▲
//!                                │ messages, enums                               │ names of components
//!                                └─────────────► Components ─────────────────────┘
//! ```

mod components;
mod envelope;
mod fixed;
mod ids;
mod operation;
mod paths;
mod scalar;
mod security;

use serde_json::{Map, Value, json};
use tidegate_config::Valid;
use tidegate_config::valid::{Route, Tls};

use crate::action::Action;
use crate::snapshot::{CompiledRoute, Snapshot};
use components::{Components, set};
use operation::Scene;
use paths::Paths;

/// The version of the specification that documents follow.
const OPENAPI: &str = "3.1.1";

/// What a document says about itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Name of the API.
    pub title: String,
    /// Version of the API, not of the gateway.
    pub version: String,
    /// Markdown.
    pub description: Option<String>,
}

/// The document for a snapshot.
///
/// Object keys are sorted. Costs time and memory in proportion to all messages that routes can reach.
#[must_use]
pub fn document(snapshot: &Snapshot, about: &About) -> Value {
    let valid: &Valid = &snapshot.valid;
    // What speaks gRPC is no API of JSON, so it is left out.
    let routes =
        snapshot.routes.iter().filter(|r| r.leads && !matches!(r.action, Action::GrpcHealth(_) | Action::Native(_)));
    let rows: Vec<Row<'_>> = routes.map(|compiled| Row::new(compiled, valid)).collect();
    let scene = Scene { valid, scheme: scheme(valid) };
    let mut components = Components::default();
    let mut paths = Paths::default();
    for (row, ids) in rows.iter().zip(ids::assign(&rows)) {
        let template = paths::translate(&row.compiled.template);
        for (method, id) in row.methods().iter().zip(ids) {
            let operation = operation::describe(&scene, row, &template, &id, &mut components);
            paths.place(&template, method, &id, operation);
        }
    }
    let (schemas, names) = components.finish();
    let mut document = Map::new();
    document.insert("openapi".to_owned(), OPENAPI.into());
    document.insert("info".to_owned(), info(about));
    document.insert("servers".to_owned(), json!([{"url": "/"}]));
    document.insert("tags".to_owned(), tags(&rows, valid));
    document.insert("paths".to_owned(), paths.finish());
    let mut shared = json!({ "schemas": schemas });
    set(&mut shared, "securitySchemes", security::schemes(valid));
    document.insert("components".to_owned(), shared);
    let unknown = unknown_services(&rows, valid);
    if !unknown.is_empty() {
        document.insert("x-tidegate-unknown-services".to_owned(), unknown.into());
    }
    let mut document = Value::Object(document);
    components::resolve(&mut document, &names);
    document
}

/// The same as indented JSON with a line break at the end.
#[must_use]
pub fn text(snapshot: &Snapshot, about: &About) -> String {
    format!("{:#}\n", document(snapshot, about))
}

/// A row of the compiled table, with the route of the configuration that it comes from.
struct Row<'a> {
    compiled: &'a CompiledRoute,
    /// `None` for the gateway's own paths.
    config: Option<&'a Route>,
}

impl<'a> Row<'a> {
    fn new(compiled: &'a CompiledRoute, valid: &'a Valid) -> Self {
        Self { compiled, config: compiled.index.and_then(|index| valid.routes.get(index)) }
    }

    /// The methods to document. A route for any method stands under the one that fits it best.
    fn methods(&self) -> Vec<String> {
        if let Some(methods) = &self.compiled.methods {
            return methods.clone();
        }
        let takes_body = match &self.compiled.action {
            Action::Transcode(transcode) => transcode.plan().takes_body(),
            Action::Native(_)
            | Action::Proxy(_)
            | Action::Realtime(_)
            | Action::Respond(_)
            | Action::System(_)
            | Action::Metrics(_)
            | Action::GrpcHealth(_)
            | Action::Pending => false,
        };
        vec![if takes_body { "POST" } else { "GET" }.to_owned()]
    }

    /// The paths of the route stand in annotations.
    fn is_annotated(&self) -> bool {
        self.config.is_some_and(|route| route.path.is_none())
    }

    /// What operations are grouped by; empty for fixed answers.
    fn tag(&self) -> &str {
        match &self.compiled.action {
            Action::System(_) | Action::Metrics(_) | Action::GrpcHealth(_) => "system",
            Action::Transcode(_)
            | Action::Native(_)
            | Action::Proxy(_)
            | Action::Realtime(_)
            | Action::Respond(_)
            | Action::Pending => &self.compiled.service,
        }
    }
}

fn info(about: &About) -> Value {
    let mut info = json!({ "title": about.title, "version": about.version });
    if let (Some(description), Some(info)) = (&about.description, info.as_object_mut()) {
        info.insert("description".to_owned(), description.as_str().into());
    }
    info
}

/// How clients of a host reach it: a configuration with TLS anywhere is meant to be used with it.
fn scheme(valid: &Valid) -> &'static str {
    if valid.listeners.iter().any(|listener| listener.tls != Tls::None) { "https" } else { "http" }
}

/// One tag for each service that has operations, in the order of the configuration, described by its `.proto` file.
fn tags(rows: &[Row<'_>], valid: &Valid) -> Value {
    let names = valid.services.iter().map(|service| service.name.as_str()).chain(["system"]);
    let used = names.filter(|name| rows.iter().any(|row| row.tag() == *name));
    used.map(|name| {
        let comments = rows.iter().filter(|row| row.tag() == name).filter_map(|row| service_comment(row.compiled));
        let mut seen: Vec<&str> = Vec::new();
        for comment in comments {
            if !seen.contains(&comment) {
                seen.push(comment);
            }
        }
        if seen.is_empty() {
            json!({ "name": name })
        } else {
            json!({ "name": name, "description": seen.join("\n\n") })
        }
    })
    .collect()
}

fn service_comment(route: &CompiledRoute) -> Option<&str> {
    let Action::Transcode(transcode) = &route.action else { return None };
    let plan = transcode.plan();
    let (service, _) = plan.method().full_name().rsplit_once('/')?;
    let comment = plan.schema().note_of_service(service).comment.as_str();
    (!comment.is_empty()).then_some(comment)
}

/// Services of which nothing is known, so that their routes are described by what the configuration says, or not at all
/// where paths stand in annotations.
fn unknown_services(rows: &[Row<'_>], valid: &Valid) -> Vec<String> {
    use tidegate_config::valid::Action as ConfigAction;
    let known = |name: &str| {
        rows.iter().any(|row| *row.compiled.service == *name && matches!(row.compiled.action, Action::Transcode(_)))
    };
    let used = |index: usize| {
        valid.routes.iter().filter(|route| route.leads()).any(|route| match &route.action {
            ConfigAction::Grpc(grpc) => grpc.service == index,
            ConfigAction::Native(_) | ConfigAction::Proxy(_) | ConfigAction::Realtime(_) | ConfigAction::Respond(_) => {
                false
            }
        })
    };
    let services = valid.services.iter().enumerate().filter(|(index, service)| used(*index) && !known(&service.name));
    services.map(|(_, service)| service.name.clone()).collect()
}
