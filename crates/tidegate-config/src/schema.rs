//! What the decoder knows, for people and editors: the JSON Schema and the reference page.
//!
//! Both come from the tables of [`crate::raw`]; there is nothing to keep in step by hand.

use std::collections::HashSet;
use std::fmt::Write;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::decode::{Decode, KeyDoc, Keys};
use crate::raw::RawConfig;

/// The JSON Schema (2020-12) of the configuration, pretty-printed, with a line end.
///
/// It describes files as they are written, before `include` and `${…}`: a text with `${` is allowed wherever a number
/// or a quantity is expected.
pub fn json_schema() -> String {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<RawConfig>();
    schema.insert("title".to_owned(), json!("tidegate configuration"));
    let mut text = serde_json::to_string_pretty(schema.as_value()).unwrap_or_default();
    text.push('\n');
    text
}

/// The reference page in Markdown: one section per block, one row per key.
pub fn reference() -> String {
    let mut book = Book::default();
    RawConfig::document(&mut book);
    let mut page = String::from(
        "# Configuration reference\n\n\
         Generated from the types that read the configuration; do not edit by hand.\n\n\
         One YAML file, and the files that it includes. `tidegate check -c FILE` reports all problems at once. \
         Durations and sizes have units (`10s`, `250ms`, `64KiB`), and nothing else is accepted. \
         `${NAME}`, `${NAME:-default}` and `${file:/path}` stand for text from outside in keys and values; \
         `$${` is a literal `${`. Paths of files are relative to the file that names them. \
         An unknown key is an error.\n\n\
         Editors that know `yaml-language-server` complete and check keys when the file begins with \
         `# yaml-language-server: $schema=tidegate.schema.json`; `tidegate schema` prints that file, \
         which is also [here](tidegate.schema.json).\n",
    );
    for section in &book.sections {
        let _ = write!(page, "\n## {}\n\n{}\n\n", section.title, flow(section.doc));
        page.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for row in &section.keys {
            let default = match row.default.trim_matches('"') {
                "" => String::new(),
                "required" => "required".to_owned(),
                value => format!("`{value}`"),
            };
            let _ = writeln!(
                page,
                "| `{}` | {} | {default} | {} |",
                row.key,
                row.type_name,
                flow(row.doc).replace('|', "\\|")
            );
        }
        if section.takes_policies {
            let _ = writeln!(page, "\nAnd every key of {}.", link("RawPolicy"));
        }
    }
    page
}

/// Doc comments are wrapped; the page is not.
fn flow(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sections of the reference page, in the order in which they are first mentioned.
#[derive(Default)]
pub(crate) struct Book {
    seen: HashSet<&'static str>,
    sections: Vec<Section>,
}

struct Section {
    title: String,
    doc: &'static str,
    keys: Vec<KeyDoc>,
    takes_policies: bool,
}

impl Book {
    pub(crate) fn add<T: Keys>(&mut self, name: &'static str) {
        if !self.seen.insert(name) {
            return;
        }
        let mut keys = Vec::new();
        T::documentation(&mut keys);
        // Services and routes take the policies in, as a key tells that nothing else has; one section for them is enough.
        let takes_policies = name != "RawPolicy" && keys.iter().any(|row| row.key == "multi_segment_escape");
        if takes_policies {
            let mut policies = Vec::new();
            crate::raw::RawPolicy::documentation(&mut policies);
            let own = keys.len().saturating_sub(policies.len());
            keys.truncate(own);
        }
        self.sections.push(Section { title: title(name), doc: T::DOC, keys, takes_policies });
        T::document_keys(self);
    }
}

/// The name of a structure as readers know it.
pub(crate) fn title(name: &str) -> String {
    let title = match name {
        "RawConfig" => "the file",
        "RawListener" => "listener",
        "RawTlsFiles" => "listener tls",
        "RawUpstreamTls" => "service tls",
        "RawPolicy" => "policies",
        "RawRealtimeEndpoint" => "realtime endpoint",
        "RawRealtimeRequest" => "realtime request",
        "RawRealtimeAuth" => "realtime auth",
        "RawRealtimeLimits" => "realtime limits",
        "RawRealtimePing" => "realtime ping",
        "RawSystemRoutes" => "system_routes",
        other => return other.strip_prefix("Raw").unwrap_or(other).to_lowercase(),
    };
    title.to_owned()
}

/// A link to the section of a structure.
pub(crate) fn link(name: &str) -> String {
    let title = title(name);
    format!("[{title}](#{})", title.replace(' ', "-"))
}

/// The schema of a structure.
pub(crate) fn object<T: Keys>(generator: &mut SchemaGenerator) -> Schema {
    let mut properties = Map::new();
    T::properties(generator, &mut properties);
    let mut keys = Vec::new();
    T::default().missing(&mut keys);
    let mut schema = schemars::json_schema!({
        "type": "object",
        "description": flow(T::DOC),
        "properties": properties,
        "additionalProperties": false,
    });
    if !keys.is_empty() {
        schema.insert("required".to_owned(), json!(keys));
    }
    schema
}

/// The schema of a key: what its type says, or null unless it is required, with the documentation.
pub(crate) fn property(schema: Schema, doc: &str, required: bool) -> Value {
    let schema = schema.to_value();
    let mut schema = if required { schema } else { json!({ "anyOf": [schema, { "type": "null" }] }) };
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), Value::String(flow(doc)));
    }
    schema
}
