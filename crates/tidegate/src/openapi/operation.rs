//! One operation: parameters, body and answers of one row of the table.

use serde_json::{Value, json};
use tidegate_config::Valid;
use tidegate_config::valid::{Action as ConfigAction, ErrorFormat, Respond, Route};
use tidegate_transcode::plan::{Cardinality, FieldIndex, Wkt};
use tidegate_transcode::{AnswerDescription, BindingDescription, BodyDescription, Note, Parameter, StreamFormat};

use super::components::{Components, World, fixed_bytes, paragraphs, set};
use super::envelope::{self, Inside};
use super::paths::{PathParameter, Source, Translated};
use super::{Row, fixed, security};
use crate::action::Action;
use crate::action::transcode::Transcode;

/// Longest first line of a comment that makes a summary, in bytes.
const MAX_SUMMARY_BYTES: usize = 120;

/// What is the same for all operations.
pub(super) struct Scene<'a> {
    pub(super) valid: &'a Valid,
    /// `http` or `https`, for the hosts of routes.
    pub(super) scheme: &'static str,
}

/// The operation of `row` under one of its methods.
pub(super) fn describe(
    scene: &Scene<'_>,
    row: &Row<'_>,
    template: &Translated,
    id: &str,
    components: &mut Components,
) -> Value {
    let mut operation = match (&row.compiled.action, row.config.map(|route| &route.action)) {
        (Action::Transcode(transcode), _) => call(scene, row, transcode, template, components),
        (Action::System(_) | Action::Metrics(_) | Action::GrpcHealth(_), _) => {
            let word = row.compiled.target.rsplit(' ').next().unwrap_or_default();
            json!({"responses": fixed::system(word)})
        }
        (Action::Respond(_), Some(ConfigAction::Respond(respond))) => {
            let problem = problem(components);
            json!({"responses": {respond.status.to_string(): fixed_answer(respond), "default": problem}})
        }
        (Action::Proxy(_), _) => {
            let failure = failure(scene, row.config, components);
            json!({"responses": {"default": {"description": "What the service answers."}, "5XX": failure}})
        }
        (Action::Realtime(endpoint), _) => {
            let failure = failure(scene, row.config, components);
            let opened = "A WebSocket (over HTTP/2 a 200, RFC 8441). Each message is one JSON object in text.";
            let calls = endpoint.calls.as_ref().map(|calls| calls.transcode().plan().method().full_name());
            let mut operation = json!({"responses": {"101": {"description": opened}, "default": failure}});
            set(&mut operation, "x-tidegate-websocket", Some(json!({"protocol": "plain"})));
            set(&mut operation, "x-tidegate-rpc", calls.map(Value::from));
            operation
        }
        (Action::Pending | Action::Native(_) | Action::Respond(_), _) => {
            let failure = failure(scene, row.config, components);
            let unknown = "The descriptors of the service are not known, so neither is what it answers.";
            json!({
                "responses": {"200": {"description": unknown}, "default": failure},
                "x-tidegate-unknown": true,
            })
        }
    };
    set(&mut operation, "operationId", Some(id.into()));
    let tag = row.tag();
    set(&mut operation, "tags", (!tag.is_empty()).then(|| json!([tag])));
    set(&mut operation, "security", security::requirement(row.config, scene.valid));
    set(&mut operation, "servers", servers(scene, &row.compiled.hosts));
    let written = row.compiled.template.as_str();
    set(&mut operation, "x-tidegate-template", (written != template.path).then(|| written.into()));
    set(&mut operation, "x-ratelimit", row.config.and_then(rate_limits));
    set(&mut operation, "x-tidegate-any-method", row.compiled.methods.is_none().then_some(true.into()));
    if operation.get("parameters").is_none() && !template.parameters.is_empty() {
        let parameters = template.parameters.iter().map(|parameter| path_parameter(parameter, None));
        set(&mut operation, "parameters", Some(parameters.collect()));
    }
    operation
}

/// The limits that refuse; those that are tried out are nobody's business.
fn rate_limits(route: &Route) -> Option<Value> {
    let limits = route.policy.rate_limits.iter().filter(|limit| !limit.shadow).map(|limit| {
        let key: Vec<String> = limit.key.iter().map(ToString::to_string).collect();
        json!({"policy": limit.name, "limit": limit.rate.to_string(), "burst": limit.burst, "key": key})
    });
    let limits: Vec<Value> = limits.collect();
    (!limits.is_empty()).then(|| limits.into())
}

/// A call of an RPC.
fn call(
    scene: &Scene<'_>,
    row: &Row<'_>,
    transcode: &Transcode,
    template: &Translated,
    components: &mut Components,
) -> Value {
    let plan = transcode.plan();
    let (method, world, binding) = (plan.method(), World::of(plan), plan.describe());
    let mut operation = json!({ "x-tidegate-rpc": method.full_name() });
    let note = plan.schema().note_of_method(method);
    let service = method.full_name().rsplit_once('/').map_or("", |(service, _)| service);
    let deprecated = note.deprecated || plan.schema().note_of_service(service).deprecated;
    comment(&mut operation, &note.comment);
    set(&mut operation, "deprecated", deprecated.then_some(true.into()));
    let in_path = template.parameters.iter().map(|parameter| {
        let variable = parameter.variable.and_then(|at| binding.variables.get(at));
        path_parameter(parameter, variable.map(|variable| (&world, variable, &mut *components)))
    });
    let mut parameters: Vec<Value> = in_path.collect();
    parameters.extend(binding.query.iter().map(|parameter| query_parameter(&world, parameter, components)));
    set(&mut operation, "parameters", (!parameters.is_empty()).then_some(Value::Array(parameters)));
    set(&mut operation, "x-tidegate-truncated", binding.query_is_cut.then_some(true.into()));
    let body = body(&world, &binding, method.is_client_streaming(), components);
    set(&mut operation, "requestBody", body);
    set(&mut operation, "x-tidegate-client-stream", method.is_client_streaming().then_some(true.into()));
    let content = if method.is_server_streaming() {
        set(&mut operation, "x-tidegate-stream", Some(true.into()));
        streamed(&world, &binding, transcode.formats(), components)
    } else {
        let inside = Inside { world: &world, answer: binding.answer, output: method.output() };
        answered(scene, row.config, inside, components)
    };
    let failure = failure(scene, row.config, components);
    let success = json!({"description": "The answer of the service.", "content": content});
    set(&mut operation, "responses", Some(json!({"200": success, "default": failure})));
    operation
}

/// The first line of a comment as summary, if it is short, and all of it as description, if there is more.
fn comment(operation: &mut Value, text: &str) {
    let first = text.lines().next().unwrap_or_default();
    let is_summary = !first.is_empty() && first.len() <= MAX_SUMMARY_BYTES;
    set(operation, "summary", is_summary.then(|| first.into()));
    if !is_summary || first != text {
        set(operation, "description", paragraphs(std::iter::once(text.to_owned())));
    }
}

/// A variable of the path; `bound` is the field that it fills.
fn path_parameter(parameter: &PathParameter, bound: Option<(&World, &Parameter<'_>, &mut Components)>) -> Value {
    let mut object = json!({"name": parameter.name, "in": "path", "required": true});
    let mut schema = json!({"type": "string", "minLength": 1});
    let mut words = Vec::new();
    if let Some((world, variable, components)) = bound {
        let note = world.schema.note_of_field(variable.owner, variable.field);
        words.push(note.comment.clone());
        set(&mut object, "deprecated", note.deprecated.then_some(true.into()));
        if parameter.source == Source::Whole {
            schema = components.value(world, variable.field);
            if schema == json!({"type": "string"}) {
                schema = json!({"type": "string", "minLength": 1});
            }
        }
        if parameter.source == Source::Segment {
            words.push(format!("One segment of `{}`, which is `{}`.", variable.name, parameter.matches));
        } else if variable.name != parameter.name {
            words.push(format!("The field `{}`.", variable.name));
        }
    }
    match parameter.source {
        Source::Whole | Source::Segment => {}
        Source::Rest => {
            schema = json!({"type": "string", "pattern": "^.*$"});
            words.push("Any number of segments; the slashes between them are sent as they are.".to_owned());
        }
    }
    set(&mut object, "description", paragraphs(words.into_iter()));
    set(&mut object, "schema", Some(schema));
    object
}

fn query_parameter(world: &World, parameter: &Parameter<'_>, components: &mut Components) -> Value {
    let field = parameter.field;
    let note = world.schema.note_of_field(parameter.owner, field);
    let one = match field.wkt() {
        Wkt::Struct | Wkt::Value | Wkt::ListValue => json!({"type": "string", "contentMediaType": "application/json"}),
        _ => components.value(world, field),
    };
    let schema = match field.cardinality() {
        Cardinality::Repeated => json!({"type": "array", "items": one}),
        Cardinality::Singular | Cardinality::Map => one,
    };
    let mut object = json!({"name": parameter.name, "in": "query", "schema": schema});
    set(&mut object, "description", paragraphs(std::iter::once(note.comment.clone())));
    set(&mut object, "deprecated", note.deprecated.then_some(true.into()));
    // Below the top it is needed only where the message above it is there at all.
    let needed = is_asked(note, field.is_required()) && !parameter.name.contains('.');
    set(&mut object, "required", needed.then_some(true.into()));
    object
}

fn is_asked(note: &Note, is_required: bool) -> bool {
    (note.required || is_required) && !note.output_only
}

fn body(
    world: &World,
    binding: &BindingDescription<'_>,
    is_stream: bool,
    components: &mut Components,
) -> Option<Value> {
    let (schema, needed) = match &binding.body {
        BodyDescription::None => return None,
        BodyDescription::Raw => return Some(json!({"content": {"*/*": {"schema": fixed_bytes()}}})),
        BodyDescription::Message { message, bound } => {
            let bound: Vec<&[FieldIndex]> = bound.iter().map(Vec::as_slice).collect();
            let schema = if bound.is_empty() {
                components.message(world, *message)
            } else {
                components.object(world, *message, &bound)
            };
            (schema, false)
        }
        BodyDescription::Field { owner, field, bound } => {
            let note = world.schema.note_of_field(*owner, field);
            let bound: Vec<&[FieldIndex]> = bound.iter().map(Vec::as_slice).collect();
            let schema = match field.message().filter(|_| !bound.is_empty()) {
                Some(message) => components.object(world, message, &bound),
                None => components.bare_field(world, field),
            };
            (schema, is_asked(note, field.is_required()))
        }
    };
    let content = if is_stream {
        json!({
            "application/json": {"schema": {"type": "array", "items": schema}},
            "application/x-ndjson": {"schema": {"type": "string"}, "x-tidegate-item": schema},
        })
    } else {
        json!({"application/json": {"schema": schema}})
    };
    let mut body = json!({ "content": content });
    set(&mut body, "required", needed.then_some(true.into()));
    Some(body)
}

/// The media types of one answer.
fn answered(scene: &Scene<'_>, route: Option<&Route>, inside: Inside<'_>, components: &mut Components) -> Value {
    if matches!(inside.answer, AnswerDescription::Raw) {
        return json!({"*/*": {"schema": fixed_bytes()}});
    }
    let envelope = route.and_then(|route| scene.valid.envelopes.get(route.policy.envelope.value?));
    let schema = match envelope.and_then(|envelope| envelope.success.as_ref()) {
        Some(tree) => envelope::schema(tree, Some(inside), components),
        None => components.answer(inside.world, inside.answer),
    };
    json!({"application/json": {"schema": schema}})
}

/// The media types of a stream. OpenAPI 3.1 has no word for a sequence, so what one message of it is stands beside it.
fn streamed(
    world: &World,
    binding: &BindingDescription<'_>,
    formats: &[StreamFormat],
    components: &mut Components,
) -> Value {
    if matches!(binding.answer, AnswerDescription::Raw) {
        return json!({"*/*": {"schema": fixed_bytes()}});
    }
    let item = components.answer(world, binding.answer);
    let media = |format: &StreamFormat| {
        let content = match format {
            StreamFormat::Array => json!({"schema": {"type": "array", "items": item}}),
            StreamFormat::Ndjson | StreamFormat::Sse => {
                json!({"schema": {"type": "string"}, "x-tidegate-item": item})
            }
        };
        (format.content_type().to_owned(), content)
    };
    Value::Object(formats.iter().map(media).collect())
}

/// Every other answer: the route's format of failures.
fn failure(scene: &Scene<'_>, route: Option<&Route>, components: &mut Components) -> Value {
    let Some(route) = route else { return problem(components) };
    let policy = &route.policy;
    let (media, schema) = match policy.error_format.value {
        ErrorFormat::Problem => return problem(components),
        ErrorFormat::Status => ("application/json", components.fixed("tidegate-status", |_| fixed::status())),
        ErrorFormat::Envelope => {
            let envelope = policy.envelope.value.and_then(|at| Some((at, scene.valid.envelopes.get(at)?)));
            let Some((index, envelope)) = envelope else { return problem(components) };
            let Some(tree) = &envelope.error else { return problem(components) };
            let name = format!("tidegate-failure-{}", component_name(&envelope.name, index));
            let schema = components.fixed(&name, |components| envelope::schema(tree, None, components));
            ("application/json", schema)
        }
    };
    json!({"description": "A failure.", "content": {media: {"schema": schema}}})
}

fn problem(components: &mut Components) -> Value {
    let schema = components.fixed("tidegate-problem", |_| fixed::problem());
    json!({"description": "A failure.", "content": {"application/problem+json": {"schema": schema}}})
}

/// A name that may be that of a component: as it is, or the position of the entry.
fn component_name(name: &str, index: usize) -> String {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.bytes().all(fits) { name.to_owned() } else { format!("-{index}") }
}

fn fixed_answer(respond: &Respond) -> Value {
    let mut answer = json!({"description": "Always the same."});
    let Some(content_type) = respond.content_type else { return answer };
    let text = String::from_utf8_lossy(&respond.body);
    let value: Value = match content_type {
        "application/json" => serde_json::from_str(&text).unwrap_or_default(),
        _ => text.into(),
    };
    set(&mut answer, "content", Some(json!({content_type: {"schema": {"const": value}}})));
    answer
}

/// The hosts of a route. In `*.example.com` the first label is a variable.
fn servers(scene: &Scene<'_>, hosts: &[String]) -> Option<Value> {
    let scheme = scene.scheme;
    let server = |host: &String| match host.strip_prefix("*.") {
        Some(domain) => {
            json!({"url": format!("{scheme}://{{host}}.{domain}"), "variables": {"host": {"default": "www"}}})
        }
        None => json!({"url": format!("{scheme}://{host}")}),
    };
    (!hosts.is_empty()).then(|| hosts.iter().map(server).collect())
}
