//! The shape of an envelope: literals are constants, plain variables have their types, and a hole that is the response
//! or one of its fields has that schema. What an expression gives cannot be known, so it may be anything.

use serde_json::{Map, Value, json};
use tidegate_config::valid::{Expression, Literal, Tree};
use tidegate_transcode::AnswerDescription;
use tidegate_transcode::plan::MsgId;

use super::components::{Components, World};

/// The answer that an envelope of successes is around.
#[derive(Clone, Copy)]
pub(super) struct Inside<'a> {
    pub(super) world: &'a World,
    /// What `response` is.
    pub(super) answer: AnswerDescription<'a>,
    /// The message whose fields `response.field` names.
    pub(super) output: MsgId,
}

/// The schema of a filled envelope. Failures have nothing inside.
pub(super) fn schema(tree: &Tree, inside: Option<Inside<'_>>, components: &mut Components) -> Value {
    match tree {
        Tree::Literal(literal) => constant(literal),
        Tree::Text(_) => json!({"type": "string"}),
        Tree::Expression(expression) => hole(expression, inside, components),
        Tree::List(items) => {
            let items: Vec<Value> = items.iter().map(|item| schema(item, inside, components)).collect();
            let count = items.len();
            if count == 0 {
                return json!({"type": "array", "maxItems": 0});
            }
            json!({"type": "array", "prefixItems": items, "minItems": count, "maxItems": count})
        }
        Tree::Map(entries) => {
            let properties: Map<String, Value> =
                entries.iter().map(|(key, value)| (key.clone(), schema(value, inside, components))).collect();
            let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
            keys.sort_unstable();
            if keys.is_empty() {
                return json!({"type": "object"});
            }
            json!({"type": "object", "properties": properties, "required": keys})
        }
    }
}

fn constant(literal: &Literal) -> Value {
    match literal {
        Literal::Null => json!({"type": "null"}),
        Literal::Bool(value) => json!({"type": "boolean", "const": value}),
        // As it is printed; one that no JSON number of ours can hold is only said to be a number.
        Literal::Number(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) => json!({"type": "number", "const": value}),
            Err(_) => json!({"type": "number"}),
        },
        Literal::Text(text) => json!({"type": "string", "const": text}),
    }
}

fn hole(expression: &Expression, inside: Option<Inside<'_>>, components: &mut Components) -> Value {
    let source = expression.source.trim();
    if let Some(variable) = variable(source) {
        return variable;
    }
    let field = source.strip_prefix("response.");
    match (inside, field) {
        (None, _) if source == "response" => json!({"type": "null"}),
        (Some(inside), None) if source == "response" => components.answer(inside.world, inside.answer),
        (Some(inside), Some(name)) => {
            let schema = &inside.world.schema;
            let index = schema.find_field(inside.output, name);
            match index.and_then(|index| schema.message(inside.output).field(index)) {
                Some(field) => components.single_field(inside.world, field),
                None => json!({}),
            }
        }
        _ => json!({}),
    }
}

/// The facts that templates can name.
fn variable(name: &str) -> Option<Value> {
    Some(match name {
        "success" => json!({"type": "boolean"}),
        "message" | "reason" | "request_id" | "route" => json!({"type": "string"}),
        "code" => json!({"type": "string", "description": "Name of the gRPC code."}),
        "status" => json!({"type": "integer"}),
        "details" => json!({"type": "array", "items": {"type": "object"}}),
        "timestamp" => json!({"type": "string", "format": "date-time"}),
        "duration_ms" => json!({"type": "number"}),
        _ => return None,
    })
}
