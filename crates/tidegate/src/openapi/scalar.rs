//! The JSON form of single values: scalars, and the well-known types that are not objects with fields.
//!
//! Source: the JSON mapping of protobuf; the formats of the OpenAPI format registry.

use serde_json::{Value, json};
use tidegate_transcode::plan::{Kind, Wkt};

/// A scalar. `None` for enums and messages, which have components.
pub(super) fn of_kind(kind: Kind, int64_numbers: bool) -> Option<Value> {
    Some(match kind {
        Kind::Double => float("double"),
        Kind::Float => float("float"),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => int64("int64", "^-?[0-9]+$", int64_numbers),
        Kind::Uint64 | Kind::Fixed64 => int64("uint64", "^[0-9]+$", int64_numbers),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
        }
        Kind::Uint32 | Kind::Fixed32 => {
            json!({"type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX})
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Enum | Kind::Message | Kind::Group => return None,
    })
}

fn float(format: &str) -> Value {
    json!({"anyOf": [
        {"type": "number", "format": format},
        {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]},
    ]})
}

fn int64(format: &str, pattern: &str, numbers: bool) -> Value {
    if numbers {
        return json!({"type": "integer", "format": format});
    }
    json!({"type": "string", "format": format, "pattern": pattern})
}

/// A well-known type. `None` for ordinary messages and for wrappers, which look like what they wrap.
pub(super) fn of_wkt(wkt: Wkt) -> Option<Value> {
    Some(match wkt {
        Wkt::None | Wkt::Wrapper => return None,
        Wkt::Any => json!({
            "type": "object",
            "description": "Any message; `@type` says which.",
            "properties": {"@type": {"type": "string"}},
            "additionalProperties": true,
        }),
        Wkt::Timestamp => json!({"type": "string", "format": "date-time"}),
        Wkt::Duration => json!({
            "type": "string",
            "format": "duration-seconds",
            "description": "Seconds with up to nine digits of fraction, as in `3.5s`.",
            "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$",
        }),
        Wkt::FieldMask => json!({
            "type": "string",
            "format": "field-mask",
            "description": "Paths of fields in lowerCamelCase, separated by commas.",
        }),
        Wkt::Struct => json!({"type": "object", "additionalProperties": true}),
        Wkt::Value => json!({"description": "Any JSON value."}),
        Wkt::ListValue => json!({"type": "array", "items": {}}),
    })
}

/// The keys of a map, which are always texts in JSON; `None` if any text will do.
pub(super) fn of_key(kind: Kind) -> Option<Value> {
    match kind {
        Kind::String => None,
        Kind::Bool => Some(json!({"enum": ["true", "false"]})),
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => Some(json!({"pattern": "^[0-9]+$"})),
        _ => Some(json!({"pattern": "^-?[0-9]+$"})),
    }
}
