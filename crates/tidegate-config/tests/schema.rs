//! Holds the reader, the JSON Schema and the reference page together.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use serde_json::Value;
use tidegate_config::source::Memory;
use tidegate_config::{Code, load, schema};

/// Builds a file around a key with a value, at one place of the structure.
type Wrap<'a> = &'a dyn Fn(&str) -> String;

#[test]
fn the_reader_knows_exactly_the_keys_of_the_schema() {
    let schema: Value = serde_json::from_str(&schema::json_schema()).unwrap();
    let mut structures = 0;
    walk(&schema, &schema, &|inner| inner.to_owned(), 0, &mut structures);
    assert!(structures >= 20, "only {structures} structures");
}

/// Visits an object of the schema: each of its keys is known, and a key that it does not have is unknown.
fn walk(root: &Value, object: &Value, wrap: Wrap<'_>, depth: usize, structures: &mut usize) {
    assert!(depth < 8, "the configuration is no tree");
    *structures += 1;
    assert_eq!(object["additionalProperties"], false, "{object}");
    for (key, property) in object["properties"].as_object().unwrap() {
        assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{key} has no documentation");
        assert!(!is_unknown(&wrap(&format!("{{ {key}: null }}"))), "the reader does not know {key}");
        assert!(is_unknown(&wrap(&format!("{{ x-{key}: 1 }}"))), "x-{key} is taken for {key}");
        descend(root, property, &|inner| wrap(&format!("{{ {key}: {inner} }}")), depth, structures);
    }
}

/// Follows a property to the structures in it.
fn descend(root: &Value, property: &Value, wrap: Wrap<'_>, depth: usize, structures: &mut usize) {
    if let Some(reference) = property["$ref"].as_str() {
        let target = root.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        return descend(root, target, wrap, depth, structures);
    }
    if property["properties"].is_object() {
        return walk(root, property, wrap, depth + 1, structures);
    }
    for option in property["anyOf"].as_array().into_iter().flatten() {
        descend(root, option, wrap, depth, structures);
    }
    if property["items"].is_object() {
        descend(root, &property["items"], &|inner| wrap(&format!("[{inner}]")), depth, structures);
    }
    if property["additionalProperties"].is_object() {
        let value = &property["additionalProperties"];
        descend(root, value, &|inner| wrap(&format!("{{ entry: {inner} }}")), depth, structures);
    }
}

fn is_unknown(text: &str) -> bool {
    let mut source = Memory::default();
    source.files.insert("f.yaml".into(), text.as_bytes().to_vec());
    let problems = load(&source, Path::new("f.yaml")).unwrap_err();
    problems.problems().iter().any(|problem| problem.code == Code::UnknownKey)
}

#[test]
fn the_reference_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = schema::reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "{} is stale: run the test with UPDATE_GOLDEN=1", path.display());
}

#[test]
fn the_reference_page_names_every_key() {
    let schema: Value = serde_json::from_str(&schema::json_schema()).unwrap();
    let page = schema::reference();
    let structures = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for key in structures.filter_map(|object| object["properties"].as_object()).flat_map(serde_json::Map::keys) {
        assert!(page.contains(&format!("\n| `{key}` |")), "{key} is missing");
    }
}
