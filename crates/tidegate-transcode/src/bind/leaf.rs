//! One value from a path or a query, from its text to wire bytes.
//!
//! The rules are those of the JSON mapping for the same text in quotes, except that booleans stand bare as well and that
//! `Struct`, `Value` and `ListValue` are JSON text. `null` is not a value. What is written has neither tag nor length,
//! so that the caller can pack lists and compare values.

use crate::json::{self, ReadOptions, base64, number};
use crate::plan::{Cardinality, EnumId, FieldPlan, Kind, Wkt};
use crate::schema::Schema;
use crate::{wire, wkt};

/// Why a text is not the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeafError {
    /// No text can be: the field is a message or a map.
    NotText(&'static str),
    /// This text cannot; says what was expected.
    Bad(&'static str),
}

/// Appends the value of one element of `field` that `text` stands for. `out` may be left with a part of it on error.
pub(crate) fn encode(schema: &Schema, field: &FieldPlan, text: &str, out: &mut Vec<u8>) -> Result<(), LeafError> {
    if field.cardinality() == Cardinality::Map {
        return Err(LeafError::NotText("maps cannot be given in a query"));
    }
    match field.wkt() {
        Wkt::None => scalar(schema, field, text, out),
        Wkt::Timestamp => seconds_and_nanos(wkt::parse_timestamp(text.as_bytes()), out)
            .ok_or(LeafError::Bad("expected an RFC 3339 timestamp")),
        Wkt::Duration => seconds_and_nanos(wkt::parse_duration(text.as_bytes()), out)
            .ok_or(LeafError::Bad("expected a duration such as 3.5s")),
        Wkt::FieldMask => {
            wkt::parse_field_mask(text.as_bytes(), true, out).ok_or(LeafError::Bad("expected a field mask"))
        }
        Wkt::Wrapper => wrapper(schema, field, text, out),
        Wkt::Struct | Wkt::Value | Wkt::ListValue => json_text(schema, field, text, out),
        Wkt::Any => Err(LeafError::NotText("a message cannot be given as text")),
    }
}

fn scalar(schema: &Schema, field: &FieldPlan, text: &str, out: &mut Vec<u8>) -> Result<(), LeafError> {
    let bytes = text.as_bytes();
    match field.kind() {
        Kind::String => out.extend_from_slice(bytes),
        Kind::Bytes => base64::decode(bytes, out).ok_or(LeafError::Bad("expected base64"))?,
        Kind::Bool => match text {
            "true" => out.push(1),
            "false" => out.push(0),
            _ => return Err(LeafError::Bad("expected true or false")),
        },
        Kind::Enum => {
            let number = field.enumeration().and_then(|id| enum_number(schema, id, text));
            let number = number.ok_or(LeafError::Bad("expected an enum name or number"))?;
            wire::put_varint(out, sign_extended(number));
        }
        Kind::Int32 => wire::put_varint(out, sign_extended(integer(text, number::Integer::to_i32, "expected int32")?)),
        Kind::Sint32 => {
            let value = integer(text, number::Integer::to_i32, "expected int32")?;
            wire::put_varint(out, wire::zigzag32(value).into());
        }
        Kind::Sfixed32 => {
            let value = integer(text, number::Integer::to_i32, "expected int32")?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Uint32 => wire::put_varint(out, integer(text, number::Integer::to_u32, "expected uint32")?.into()),
        Kind::Fixed32 => {
            let value = integer(text, number::Integer::to_u32, "expected uint32")?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Int64 => {
            let value = integer(text, number::Integer::to_i64, "expected int64")?;
            wire::put_varint(out, value.cast_unsigned());
        }
        Kind::Sint64 => {
            let value = integer(text, number::Integer::to_i64, "expected int64")?;
            wire::put_varint(out, wire::zigzag64(value));
        }
        Kind::Sfixed64 => {
            let value = integer(text, number::Integer::to_i64, "expected int64")?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Uint64 => wire::put_varint(out, integer(text, number::Integer::to_u64, "expected uint64")?),
        Kind::Fixed64 => {
            let value = integer(text, number::Integer::to_u64, "expected uint64")?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Float => {
            let special = special_float(text).map(|value| value as f32);
            let value = special.or_else(|| number::float(json_number(text)?).ok());
            out.extend_from_slice(&value.ok_or(LeafError::Bad("expected float"))?.to_le_bytes());
        }
        Kind::Double => {
            let value = special_float(text).or_else(|| number::double(json_number(text)?).ok());
            out.extend_from_slice(&value.ok_or(LeafError::Bad("expected double"))?.to_le_bytes());
        }
        Kind::Message | Kind::Group => return Err(LeafError::NotText("a message cannot be given as text")),
    }
    Ok(())
}

fn integer<T>(
    text: &str,
    narrow: impl Fn(number::Integer) -> Result<T, number::Bad>,
    expected: &'static str,
) -> Result<T, LeafError> {
    let bytes = text.as_bytes();
    let whole = match number::short_integer(bytes) {
        Some((value, len)) if len == bytes.len() => Some(value),
        _ => json_number(text).and_then(|text| number::integer(text).ok()),
    };
    whole.and_then(|value| narrow(value).ok()).ok_or(LeafError::Bad(expected))
}

/// The bytes of `text` if it is a number as JSON writes it.
fn json_number(text: &str) -> Option<&[u8]> {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return None;
    }
    let mut rest = rest.get(whole..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = digits(fraction);
        rest = fraction.get(len..).filter(|_| len > 0)?;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let len = digits(exponent);
        rest = exponent.get(len..).filter(|_| len > 0)?;
    }
    rest.is_empty().then_some(text.as_bytes())
}

fn special_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn enum_number(schema: &Schema, id: EnumId, text: &str) -> Option<i32> {
    let by_name = schema.enum_number(id, text);
    by_name.or_else(|| integer(text, number::Integer::to_i32, "").ok())
}

/// The wire form of a negative `int32` or enum has ten bytes, like that of the same `int64`.
fn sign_extended(value: i32) -> u64 {
    i64::from(value).cast_unsigned()
}

fn wrapper(schema: &Schema, field: &FieldPlan, text: &str, out: &mut Vec<u8>) -> Result<(), LeafError> {
    let inner = field.message().and_then(|id| schema.message(id).field(0));
    let inner = inner.ok_or(LeafError::NotText("a message cannot be given as text"))?;
    let mut value = Vec::new();
    scalar(schema, inner, text, &mut value)?;
    super::write_leaf(inner, &value, out);
    Ok(())
}

/// Appends the fields of a `Timestamp` or `Duration`.
fn seconds_and_nanos(value: Option<(i64, i32)>, out: &mut Vec<u8>) -> Option<()> {
    let (seconds, nanos) = value?;
    for (number, value) in [(1, seconds.cast_unsigned()), (2, sign_extended(nanos))] {
        if value != 0 {
            wire::put_tag(out, number, wire::WireType::Varint);
            wire::put_varint(out, value);
        }
    }
    Some(())
}

/// `Struct`, `Value` and `ListValue` as JSON text.
fn json_text(schema: &Schema, field: &FieldPlan, text: &str, out: &mut Vec<u8>) -> Result<(), LeafError> {
    let expected = LeafError::Bad(match field.wkt() {
        Wkt::Struct => "expected a JSON object",
        Wkt::ListValue => "expected a JSON array",
        _ => "expected JSON",
    });
    if text.trim_ascii() == "null" {
        return Err(expected);
    }
    let message = field.message().ok_or(expected)?;
    let options = ReadOptions::default();
    json::parse_message(schema, message, text.as_bytes(), &options, None, out).map_err(|_| expected)?;
    Ok(())
}
