//! A compiled JSON Schema: it knows nothing but its own document, and its patterns take time in proportion to the text.

use std::collections::BTreeSet;
use std::error::Error;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;
use tidegate_transcode::Violation;

/// Largest schema, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;
/// Deepest nesting of a schema.
const MAX_DEPTH: u32 = 100;

/// A schema that cannot be used, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSchema(String);

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// Names that the schema itself has: these may be told, all others are the client's.
    names: BTreeSet<Box<str>>,
}

/// What a schema refers to outside of itself is not fetched.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Err("only references within the file can be followed".into())
    }
}

impl Schema {
    /// Compiles the JSON Schema in `bytes`: by the draft that its `$schema` names, 2020-12 without one.
    ///
    /// # Errors
    /// No JSON, no schema, a reference that leads out of the document, or a pattern that takes more than linear time.
    pub fn compile(bytes: &[u8]) -> Result<Self, BadSchema> {
        if bytes.len() > MAX_BYTES {
            return Err(BadSchema("larger than 1 MiB".to_owned()));
        }
        let document = super::json::read(bytes, MAX_DEPTH).map_err(|fault| BadSchema(fault.text().to_owned()))?;
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
        let options = jsonschema::options().with_pattern_options(patterns).with_retriever(Nowhere);
        let validator = options.build(&document).map_err(|error| BadSchema(error.to_string()))?;
        let mut names = BTreeSet::new();
        collect(&document, &mut names);
        Ok(Self { validator, names })
    }

    /// What is wrong with `value`, at most `most` faults; nothing that the client made up is in them.
    #[must_use]
    pub fn violations(&self, value: &Value, most: usize) -> Vec<Violation> {
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        let errors = self.validator.iter_errors(value).take(most);
        let found = errors.map(|error| {
            let place = self.shown(error.instance_path().as_str());
            let keyword = error.kind().keyword();
            match error.kind() {
                jsonschema::error::ValidationErrorKind::Required { property: Value::String(name) } => {
                    Violation::new(&format!("{place}/{}", escaped(name)), "this is required")
                }
                _ => Violation::new(&place, message(keyword)),
            }
        });
        found.collect()
    }

    /// A JSON pointer with `*` for each name that the schema does not have.
    fn shown(&self, pointer: &str) -> String {
        let segment = |segment: &str| {
            let name = segment.replace("~1", "/").replace("~0", "~");
            let is_index =
                !segment.is_empty() && segment.len() <= 6 && segment.bytes().all(|byte| byte.is_ascii_digit());
            if is_index || self.names.contains(name.as_str()) { segment.to_owned() } else { "*".to_owned() }
        };
        pointer.split('/').skip(1).fold(String::new(), |shown, part| shown + "/" + &segment(part))
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Names under `properties`, wherever that stands. A few too many do no harm: all are the schema's own.
fn collect(schema: &Value, names: &mut BTreeSet<Box<str>>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                names.extend(properties.keys().map(|name| name.as_str().into()));
            }
            members.values().for_each(|member| collect(member, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

/// A constant text for each keyword.
fn message(keyword: &str) -> &'static str {
    match keyword {
        "type" => "this has the wrong type",
        "enum" | "const" => "this is none of the allowed values",
        "pattern" | "format" | "contentEncoding" | "contentMediaType" => "this is not of the right form",
        "minLength" => "this is too short",
        "maxLength" => "this is too long",
        "minimum" | "exclusiveMinimum" => "this is too small",
        "maximum" | "exclusiveMaximum" => "this is too large",
        "multipleOf" => "this is not a multiple of the right number",
        "minItems" => "this has too few items",
        "maxItems" | "additionalItems" | "unevaluatedItems" => "this has too many items",
        "uniqueItems" => "this has an item twice",
        "contains" => "this lacks an item",
        "minProperties" => "this has too few members",
        "maxProperties" => "this has too many members",
        "additionalProperties" | "unevaluatedProperties" | "propertyNames" => "this has a member that it may not have",
        "required" | "dependentRequired" | "dependencies" => "this lacks a member",
        "oneOf" | "anyOf" => "this is none of what it may be, or several",
        "not" | "falseSchema" => "this may not be here",
        _ => "this is not what the schema says",
    }
}
