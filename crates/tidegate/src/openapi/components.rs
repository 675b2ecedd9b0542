//! Messages and enums as components.
//!
//! Each message that is referred to becomes a node, once for each schema and way of printing; its body is made later,
//! from a list and not by recursion, because chains of types may be long. While nodes are made, references hold their
//! numbers. At the end nodes that say the same get one name: the full name, with `-2`, `-3` behind it where services or
//! routes disagree about it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate_transcode::json::WriteOptions;
use tidegate_transcode::plan::{Cardinality, EnumId, FieldIndex, FieldPlan, MsgId, Wkt};
use tidegate_transcode::schema::Digest;
use tidegate_transcode::{AnswerDescription, MethodPlan, Note, Schema};

use super::scalar;

/// Most members of a oneof for which a schema says of each pair that it cannot be together; larger ones say it in words.
const MAX_EXCLUSIVE: usize = 16;

/// Before the number of a node in an unfinished reference.
const NODE: &str = "tidegate-node:";

/// Before the name of a component.
const COMPONENT: &str = "#/components/schemas/";

/// A schema and how its messages are printed.
#[derive(Clone)]
pub(super) struct World {
    pub(super) schema: Arc<Schema>,
    pub(super) write: WriteOptions,
}

impl World {
    /// That of a compiled binding.
    pub(super) fn of(plan: &MethodPlan) -> Self {
        Self { schema: Arc::clone(plan.schema()), write: *plan.write_options() }
    }

    /// The name that answers use.
    fn field_name(&self, field: &FieldPlan) -> &str {
        if self.write.proto_names { self.schema.proto_name(field) } else { self.schema.json_name(field) }
    }
}

/// All components of a document.
#[derive(Default)]
pub(super) struct Components {
    nodes: Vec<Node>,
    known: HashMap<(Digest, WriteOptions, String), usize>,
    waiting: VecDeque<(World, Element, usize)>,
    /// The gateway's own, by name.
    fixed: BTreeMap<String, Value>,
}

struct Node {
    full_name: String,
    body: Value,
}

#[derive(Clone, Copy)]
enum Element {
    Message(MsgId),
    Enum(EnumId),
}

impl Components {
    /// A reference to one of the gateway's own schemas, whose name has a hyphen.
    pub(super) fn fixed(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if !self.fixed.contains_key(name) {
            let schema = make(self);
            self.fixed.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("{COMPONENT}{name}") })
    }

    /// A message as a whole.
    pub(super) fn message(&mut self, world: &World, id: MsgId) -> Value {
        let plan = world.schema.message(id);
        if let Some(schema) = scalar::of_wkt(plan.wkt()) {
            return schema;
        }
        match plan.fields().first().filter(|_| plan.wkt() == Wkt::Wrapper) {
            Some(inner) => scalar::of_kind(inner.kind(), world.write.int64_numbers).unwrap_or_else(|| json!({})),
            None => self.reference(world, Element::Message(id), plan.full_name()),
        }
    }

    /// One value of a field: an element of a list, a value of a map's entry.
    pub(super) fn value(&mut self, world: &World, field: &FieldPlan) -> Value {
        if let Some(id) = field.message() {
            return self.message(world, id);
        }
        if field.is_null_value() {
            return json!({"type": "null"});
        }
        if let Some(id) = field.enumeration() {
            return self.reference(world, Element::Enum(id), world.schema.enumeration(id).full_name());
        }
        scalar::of_kind(field.kind(), world.write.int64_numbers).unwrap_or_else(|| json!({}))
    }

    /// A field, lists and maps as such, without what is said about it.
    pub(super) fn bare_field(&mut self, world: &World, field: &FieldPlan) -> Value {
        match field.cardinality() {
            Cardinality::Singular => self.value(world, field),
            Cardinality::Repeated => json!({"type": "array", "items": self.value(world, field)}),
            Cardinality::Map => {
                let schema = Arc::clone(&world.schema);
                let entry = field.message().map(|id| schema.message(id).fields()).unwrap_or_default();
                let (Some(key), Some(value)) = (entry.first(), entry.get(1)) else { return json!({"type": "object"}) };
                let mut map = json!({"type": "object", "additionalProperties": self.value(world, value)});
                set(&mut map, "propertyNames", scalar::of_key(key.kind()));
                map
            }
        }
    }

    /// An object with the fields of a message, without those that `bound` names: paths of fields below it.
    pub(super) fn object(&mut self, world: &World, id: MsgId, bound: &[&[FieldIndex]]) -> Value {
        let schema = Arc::clone(&world.schema);
        let mut properties = Map::new();
        let mut required = Vec::new();
        let mut oneofs: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for (field, index) in schema.message(id).fields().iter().zip(0..) {
            let below: Vec<&[FieldIndex]> = bound.iter().filter_map(|path| path.strip_prefix(&[index])).collect();
            if below.iter().any(|path| path.is_empty()) {
                continue;
            }
            let name = world.field_name(field);
            let note = schema.note_of_field(id, field);
            let needed = is_needed(world, field, note);
            let mut value = match field.message().filter(|_| !below.is_empty()) {
                Some(inner) => self.object(world, inner, &below),
                None => self.bare_field(world, field),
            };
            describe_field(&mut value, note, needed);
            if let Some(oneof) = field.oneof() {
                set(&mut value, "x-tidegate-oneof", schema.oneof_name(id, oneof).map(Value::from));
                oneofs.entry(oneof).or_default().push(name);
            }
            if needed {
                required.push(Value::from(name));
            }
            properties.insert(name.to_owned(), value);
        }
        let mut object = json!({"type": "object"});
        let oneofs: Vec<Vec<&str>> = oneofs.into_values().filter(|names| names.len() > 1).collect();
        let note = schema.note_of_message(id);
        let words = oneofs.iter().map(|names| format!("At most one of `{}` is set.", names.join("`, `")));
        set(&mut object, "description", paragraphs(std::iter::once(note.comment.clone()).chain(words)));
        set(&mut object, "deprecated", note.deprecated.then_some(Value::Bool(true)));
        set(&mut object, "properties", (!properties.is_empty()).then_some(Value::Object(properties)));
        set(&mut object, "required", (!required.is_empty()).then_some(Value::Array(required)));
        set(&mut object, "not", exclusive(&oneofs));
        object
    }

    /// A whole answer, or one message of a stream.
    pub(super) fn answer(&mut self, world: &World, answer: AnswerDescription<'_>) -> Value {
        match answer {
            AnswerDescription::Message(id) => self.message(world, id),
            AnswerDescription::Field { field, .. } => self.single_field(world, field),
            AnswerDescription::Raw => fixed_bytes(),
        }
    }

    /// A field that is printed by itself, set or not: some well-known types are then `null`.
    pub(super) fn single_field(&mut self, world: &World, field: &FieldPlan) -> Value {
        let schema = self.bare_field(world, field);
        let may_be_null = matches!(field.wkt(), Wkt::Timestamp | Wkt::Duration | Wkt::Wrapper);
        if may_be_null && field.cardinality() == Cardinality::Singular {
            return json!({"anyOf": [schema, {"type": "null"}]});
        }
        schema
    }

    fn reference(&mut self, world: &World, element: Element, full_name: &str) -> Value {
        let key = (world.schema.digest(), world.write, full_name.to_owned());
        let number = match self.known.get(&key) {
            Some(number) => *number,
            None => {
                let number = self.nodes.len();
                self.known.insert(key, number);
                self.nodes.push(Node { full_name: full_name.to_owned(), body: Value::Null });
                self.waiting.push_back((world.clone(), element, number));
                number
            }
        };
        json!({ "$ref": format!("{NODE}{number}") })
    }

    /// Makes what is still to be made. Gives the components by name, and for each node its name.
    pub(super) fn finish(mut self) -> (Map<String, Value>, Vec<String>) {
        while let Some((world, element, number)) = self.waiting.pop_front() {
            let body = match element {
                Element::Message(id) => self.object(&world, id, &[]),
                Element::Enum(id) => enumeration(&world, id),
            };
            if let Some(node) = self.nodes.get_mut(number) {
                node.body = body;
            }
        }
        let names = name_nodes(&self.nodes);
        let mut schemas: Map<String, Value> = self.fixed.into_iter().collect();
        for (node, name) in self.nodes.into_iter().zip(&names) {
            schemas.entry(name.as_str()).or_insert(node.body);
        }
        (schemas, names)
    }
}

/// Puts the names of components into references.
pub(super) fn resolve(value: &mut Value, names: &[String]) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match node_of(key, value).and_then(|number| names.get(number)) {
                    Some(name) => *value = format!("{COMPONENT}{name}").into(),
                    None => resolve(value, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| resolve(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn node_of(key: &str, value: &Value) -> Option<usize> {
    let text = value.as_str().filter(|_| key == "$ref")?;
    text.strip_prefix(NODE)?.parse().ok()
}

/// Names for nodes: the same for those that cannot be told apart, however far one follows their references.
///
/// Begins with all nodes of one name together and splits them by their bodies, with groups in the place of references,
/// until nothing splits any more.
fn name_nodes(nodes: &[Node]) -> Vec<String> {
    let mut groups: Vec<usize> = group(nodes.iter().map(|node| node.full_name.clone()));
    loop {
        let labels: Vec<String> = groups.iter().map(usize::to_string).collect();
        let told_apart = |node: &Node| {
            let mut body = node.body.clone();
            resolve(&mut body, &labels);
            format!("{} {body}", node.full_name)
        };
        let finer = group(nodes.iter().map(told_apart));
        let same = finer.iter().max() == groups.iter().max();
        groups = finer;
        if same {
            break;
        }
    }
    let mut named: HashMap<usize, String> = HashMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::with_capacity(nodes.len());
    for (node, group) in nodes.iter().zip(&groups) {
        let name = named.entry(*group).or_insert_with(|| {
            let count = counts.entry(&node.full_name).or_default();
            *count += 1;
            if *count == 1 { node.full_name.clone() } else { format!("{}-{count}", node.full_name) }
        });
        names.push(name.clone());
    }
    names
}

/// Numbers equal keys alike, in the order of their first appearance.
fn group(keys: impl Iterator<Item = String>) -> Vec<usize> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    keys.map(|key| {
        let next = numbers.len();
        *numbers.entry(key).or_insert(next)
    })
    .collect()
}

/// Whether the schema may demand the field. Answers leave out what is zero, so one without presence can be demanded only
/// where they print everything.
fn is_needed(world: &World, field: &FieldPlan, note: &Note) -> bool {
    let asked = field.is_required() || note.required;
    asked && !note.output_only && !note.input_only && (field.has_presence() || world.write.emit_defaults)
}

fn describe_field(value: &mut Value, note: &Note, needed: bool) {
    let own = value.get("description").and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
    let asked = if note.required && !needed { "Required in requests.".to_owned() } else { String::new() };
    let own = if note.comment.is_empty() { own } else { String::new() };
    set(value, "description", paragraphs([note.comment.clone(), own, asked].into_iter()));
    set(value, "deprecated", note.deprecated.then_some(Value::Bool(true)));
    set(value, "readOnly", note.output_only.then_some(Value::Bool(true)));
    set(value, "writeOnly", note.input_only.then_some(Value::Bool(true)));
}

fn enumeration(world: &World, id: EnumId) -> Value {
    let schema = &world.schema;
    let note = schema.note_of_enum(id);
    let values: Vec<(&str, i32, &Note)> = schema.enum_values(id).collect();
    let mut object = if world.write.enum_numbers {
        let numbers: Vec<i32> = values.iter().map(|(_, number, _)| *number).collect();
        let names: Vec<&str> = values.iter().map(|(name, ..)| *name).collect();
        json!({"type": "integer", "format": "int32", "enum": numbers, "x-enum-varnames": names})
    } else {
        json!({"type": "string", "enum": values.iter().map(|(name, ..)| *name).collect::<Vec<_>>()})
    };
    let lines = values.iter().filter_map(|(name, _, note)| {
        let deprecated = if note.deprecated { "deprecated. " } else { "" };
        let text = format!("{deprecated}{}", note.comment.replace('\n', " "));
        (!text.is_empty()).then(|| format!("- `{name}`: {}", text.trim_end()))
    });
    let list = lines.collect::<Vec<_>>().join("\n");
    set(&mut object, "description", paragraphs([note.comment.clone(), list].into_iter()));
    set(&mut object, "deprecated", note.deprecated.then_some(Value::Bool(true)));
    object
}

/// What cannot be together. `oneOf` would say it too, but generators make alternatives of the whole type out of it.
fn exclusive(oneofs: &[Vec<&str>]) -> Option<Value> {
    let mut pairs = Vec::new();
    for names in oneofs.iter().filter(|names| names.len() <= MAX_EXCLUSIVE) {
        for (index, first) in names.iter().enumerate() {
            pairs.extend(names.iter().skip(index + 1).map(|second| json!({"required": [first, second]})));
        }
    }
    match pairs.len() {
        0 => None,
        1 => pairs.pop(),
        _ => Some(json!({ "anyOf": pairs })),
    }
}

/// Bytes of any type.
pub(super) fn fixed_bytes() -> Value {
    json!({"type": "string", "format": "binary"})
}

/// The texts that are not empty, as paragraphs.
pub(super) fn paragraphs(texts: impl Iterator<Item = String>) -> Option<Value> {
    let texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n").into())
}

/// Sets a member if there is a value for it.
pub(super) fn set(object: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(value), Some(object)) = (value, object.as_object_mut()) {
        object.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, body: Value) -> Node {
        Node { full_name: name.to_owned(), body }
    }

    fn reference(number: usize) -> Value {
        json!({ "$ref": format!("{NODE}{number}") })
    }

    #[test]
    fn nodes_that_say_the_same_share_a_name_and_others_do_not() {
        let nodes = [
            // Two trees that refer to themselves and are alike.
            node("a.Tree", json!({"child": reference(0), "leaf": reference(1)})),
            node("a.Leaf", json!({"type": "string"})),
            node("a.Tree", json!({"child": reference(2), "leaf": reference(3)})),
            node("a.Leaf", json!({"type": "string"})),
            // One whose difference lies behind a reference.
            node("a.Tree", json!({"child": reference(4), "leaf": reference(5)})),
            node("a.Leaf", json!({"type": "number"})),
        ];
        assert_eq!(name_nodes(&nodes), ["a.Tree", "a.Leaf", "a.Tree", "a.Leaf", "a.Tree-2", "a.Leaf-2"]);
    }

    #[test]
    fn only_references_to_nodes_are_resolved() {
        let mut value = json!({"$ref": "tidegate-node:0", "a": [{"$ref": "#/other"}], "b": "tidegate-node:0"});
        resolve(&mut value, &["x.Y".to_owned()]);
        assert_eq!(
            value,
            json!({"$ref": "#/components/schemas/x.Y", "a": [{"$ref": "#/other"}], "b": "tidegate-node:0"})
        );
    }
}
