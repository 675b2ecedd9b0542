//! Schemas, and bodies that are bounded before they are built.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::json::{Fault, MAX_VALUES, read};
use super::schema::Schema;

fn schema(document: &Value) -> Schema {
    Schema::compile(document.to_string().as_bytes()).unwrap()
}

/// `pointer: message` for each violation.
fn faults(schema: &Schema, value: &Value) -> Vec<String> {
    schema.violations(value, 10).into_iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect()
}

#[test]
fn violations_name_places_and_nothing_that_the_client_made_up() {
    let schema = schema(&json!({
        "type": "object", "required": ["id"], "additionalProperties": { "type": "integer" },
        "properties": { "id": { "$ref": "#/$defs/id" }, "a/b": { "type": "array", "items": { "type": "string" } } },
        "$defs": { "id": { "type": "string", "pattern": "^[a-z]+$" } },
    }));
    assert!(faults(&schema, &json!({"id": "a", "more": 1})).is_empty());
    assert_eq!(faults(&schema, &json!({})), ["/id: this is required"]);
    assert_eq!(faults(&schema, &json!({"id": "SECRET"})), ["/id: this is not of the right form"]);
    assert_eq!(faults(&schema, &json!({"id": "a", "a/b": ["x", 7]})), ["/a~1b/1: this has the wrong type"]);
    assert_eq!(faults(&schema, &json!({"id": "a", "SECRET": "x"})), ["/*: this has the wrong type"]);
    assert_eq!(faults(&schema, &json!([])), [": this has the wrong type"]);
    let many: Value = (0..50).map(|n| (format!("k{n}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(faults(&schema, &many).len(), 10);
}

#[test]
fn a_schema_is_only_what_stands_in_its_file() {
    for reference in ["https://example.com/a.json", "file:///etc/passwd", "other.json", "#/$defs/missing"] {
        let document = json!({ "$ref": reference });
        assert!(Schema::compile(document.to_string().as_bytes()).is_err(), "{reference}");
    }
    let old = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]});
    assert_eq!(faults(&schema(&old), &json!([1])), ["/0: this has the wrong type"]);
    for text in ["", "{", "[]", "7", r#"{"type": 7}"#, r#"{"type": "text"}"#, r#"{"a": 1, "a": 2}"#] {
        assert!(Schema::compile(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Schema::compile(&vec![b' '; super::schema::MAX_BYTES + 1]).is_err());
}

#[test]
fn patterns_take_time_in_proportion_to_the_text() {
    for pattern in [r"(a+)\1", "(?=a)b", "(?<!a)b"] {
        let document = json!({ "pattern": pattern });
        assert!(Schema::compile(document.to_string().as_bytes()).is_err(), "{pattern} needs backtracking");
    }
    let schema = schema(&json!({ "pattern": "^(a+)+$" }));
    let text = "a".repeat(500_000) + "!";
    assert_eq!(faults(&schema, &json!(text)), [": this is not of the right form"]);
}

#[test]
fn what_can_be_read_in_two_ways_or_would_take_too_much_is_refused() {
    let fault = |text: &str| read(text.as_bytes(), 3).err();
    for text in ["[[[1]]]", r#"{"a":{"b":[]}}"#, r#""[[[[[""#, r#"["\"[[[["]"#, " 7 ", r#"{"a":1,"A":1}"#] {
        assert_eq!(fault(text), None, "{text}");
    }
    for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"b":1,"c":2,"b":{}}]"#] {
        assert_eq!(fault(text), Some(Fault::DuplicateKey), "{text}");
    }
    for text in ["", "{", "[1,]", "{'a':1}", "1 2", "NaN", "1e999", "\u{feff}{}", r#""\ud800""#, "[1]]"] {
        assert_eq!(fault(text), Some(Fault::Syntax), "{text}");
    }
    assert_eq!(read(b"\"\xff\"", 3).err(), Some(Fault::Syntax));
    assert_eq!(fault("[[[[1]]]]"), Some(Fault::TooDeep));
    assert_eq!(fault(&"[".repeat(1_000_000)), Some(Fault::TooDeep));
    let mut long = "[0".to_owned();
    for n in 0..MAX_VALUES {
        let _ = write!(long, ",{n}");
    }
    assert_eq!(fault(&(long + "]")), Some(Fault::TooMany));
}

#[test]
fn the_largest_body_that_is_read_is_validated_to_its_end() {
    let item = json!({"id": {"type": "string", "pattern": "^(a+)+$"}, "n": {"type": "integer", "maximum": 9}});
    let schema = schema(&json!({"uniqueItems": true, "items": {"properties": item, "additionalProperties": false}}));
    let items: Vec<Value> = (0..MAX_VALUES / 3 - 1).map(|n| json!({"id": "a".repeat(n % 64 + 1), "n": n})).collect();
    let text = Value::from(items).to_string();
    let value = read(text.as_bytes(), 100).unwrap();
    assert_eq!(faults(&schema, &value).len(), 10);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_as_everybody_reads_them(text in "[\\[\\]{}\",:a1\\\\ ]{0,24}") {
        if let Ok(value) = read(text.as_bytes(), 100) {
            prop_assert_eq!(Some(value), serde_json::from_str::<Value>(&text).ok());
        }
    }
}
