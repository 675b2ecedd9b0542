//! Schemas of the gateway's own answers: failures in their formats, and the system paths.

use serde_json::{Value, json};

/// RFC 9457, as `errors: { format: problem }` writes it.
pub(super) fn problem() -> Value {
    json!({
        "type": "object",
        "description": "A failure as RFC 9457 describes it.",
        "properties": {
            "type": {"type": "string", "description": "`urn:tidegate:reason:` and the reason."},
            "title": {"type": "string", "description": "The text of the HTTP status."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": {"type": "string"},
            "instance": {"type": "string", "description": "`urn:tidegate:request:` and the id of the request."},
            "reason": {"type": "string", "description": "Why, as one word of a closed list."},
            "request_id": {"type": "string"},
            "code": {"type": "string", "description": "Name of the gRPC code, on routes to gRPC."},
            "details": {
                "type": "array",
                "description": "`google.rpc.Status.details` of the service.",
                "items": any(),
            },
            "errors": {
                "type": "array",
                "description": "What is wrong with single fields of the request.",
                "items": {
                    "type": "object",
                    "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                    "required": ["field", "message"],
                },
            },
        },
        "required": ["type", "title", "status", "detail", "instance", "reason", "request_id"],
    })
}

/// `google.rpc.Status`, as `errors: { format: status }` writes it.
pub(super) fn status() -> Value {
    json!({
        "type": "object",
        "description": "A failure as `google.rpc.Status`.",
        "properties": {
            "code": {"type": "integer", "format": "int32", "description": "The gRPC code."},
            "message": {"type": "string"},
            "details": {"type": "array", "items": any()},
        },
        "required": ["code", "message"],
    })
}

fn any() -> Value {
    json!({"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]})
}

/// The answers of a system path; `word` is its name in the configuration.
pub(super) fn system(word: &str) -> Value {
    let status = |words: &[&str]| json!({"type": "object", "properties": {"status": {"type": "string", "enum": words}}, "required": ["status"]});
    let json = |description: &str, schema: Value| json!({"description": description, "content": {"application/json": {"schema": schema}}});
    match word {
        "liveness" => json!({"200": json("The process turns.", status(&["alive"]))}),
        "readiness" => json!({
            "200": json("Traffic may be sent here.", status(&["ready"])),
            "503": json("Not yet, or not any more; `pending` says why.", status(&["not_ready"])),
        }),
        "health" => json!({
            "200": json("Serving, perhaps with warnings.", status(&["pass", "warn"])),
            "503": json("Not serving.", status(&["fail"])),
        }),
        "version" => {
            let text = json!({"type": "string"});
            let properties = json!({"version": text, "revision": text, "rustc": text});
            json!({"200": json("What was built from what.", json!({"type": "object", "properties": properties}))})
        }
        "metrics" => {
            let text = json!({"schema": {"type": "string"}});
            let formats = json!({"text/plain": text, "application/openmetrics-text": text});
            json!({"200": {"description": "Metrics in the formats of Prometheus.", "content": formats}})
        }
        _ => json!({"default": {"description": "An answer of the gateway itself."}}),
    }
}
