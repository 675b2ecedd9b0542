//! Path templates as OpenAPI writes them, and one place for each operation.
//!
//! OpenAPI knows only variables that are one whole segment. Clients escape a `/` inside of them, which makes another path
//! of it, so a variable of several segments is spread out: `{name=shelves/*}` becomes `shelves/{name}`. Only `**` stays
//! as it is, as one variable whose slashes must be sent as they are. Dots in names become `_`. The template as written
//! stands beside it wherever the translation differs.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};
use tidegate_route::{Segment, Template};

/// A path of OpenAPI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Translated {
    /// With variables in braces.
    pub(super) path: String,
    /// In the order of the path.
    pub(super) parameters: Vec<PathParameter>,
}

/// A variable of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathParameter {
    /// As it stands in the braces.
    pub(super) name: String,
    /// Its value.
    pub(super) source: Source,
    /// Number of the variable in the template; `None` for a wildcard without a name.
    pub(super) variable: Option<usize>,
    /// What the variable matches, as the template says it: `shelves/*`. Empty for a wildcard without a name.
    pub(super) matches: String,
}

/// What a variable of a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The whole value of a variable.
    Whole,
    /// One segment of a value, or a wildcard that goes nowhere.
    Segment,
    /// Any number of segments, with the slashes between them.
    Rest,
}

/// Translates a template.
pub(super) fn translate(template: &Template) -> Translated {
    let mut translated = Translated { path: String::new(), parameters: Vec::new() };
    let (names, mut taken) = names(template);
    for (index, segment) in template.segments().iter().enumerate() {
        translated.path.push('/');
        let variable = template.variables().iter().position(|variable| variable.range().contains(&index));
        let rest = match segment {
            Segment::Literal(text) => {
                translated.path.push_str(text);
                continue;
            }
            Segment::Star => false,
            Segment::DoubleStar => true,
        };
        let named = variable.and_then(|at| Some((template.variables().get(at)?, names.get(at)?)));
        let (name, whole, matches) = match named {
            Some((variable, name)) => {
                let inside = template.segments().get(variable.range()).unwrap_or_default();
                let wildcards = inside.iter().filter(|segment| !matches!(segment, Segment::Literal(_))).count();
                let name = if wildcards == 1 { name.clone() } else { free(name, '_', 1, &mut taken) };
                (name, inside.len() == 1, inside.iter().map(text).collect::<Vec<_>>().join("/"))
            }
            None => (free("segment", '_', 1, &mut taken), false, String::new()),
        };
        let source = match (rest, whole) {
            (true, _) => Source::Rest,
            (false, true) => Source::Whole,
            (false, false) => Source::Segment,
        };
        translated.path.push_str(&format!("{{{name}}}"));
        translated.parameters.push(PathParameter { name, source, variable, matches });
    }
    if let Some(verb) = template.verb() {
        translated.path.push(':');
        translated.path.push_str(verb);
    }
    translated
}

/// A name for each variable, and all of them. Dots become `_`, because many generators cannot have them in a path.
fn names(template: &Template) -> (Vec<String>, HashSet<String>) {
    let as_written = |name: &str| !name.contains('.');
    let fields = template.variables().iter().map(|variable| variable.field_path.as_str());
    let mut taken: HashSet<String> = fields.clone().filter(|name| as_written(name)).map(str::to_owned).collect();
    let name = |field: &str| {
        let name = field.replace('.', "_");
        if as_written(field) || taken.insert(name.clone()) { name } else { free(&name, '_', 2, &mut taken) }
    };
    let names = fields.map(name).collect();
    (names, taken)
}

fn text(segment: &Segment) -> &str {
    match segment {
        Segment::Literal(text) => text,
        Segment::Star => "*",
        Segment::DoubleStar => "**",
    }
}

/// `base` with the first number behind it, from `first` on, that is not taken; takes it.
fn free(base: &str, separator: char, first: u32, taken: &mut HashSet<String>) -> String {
    let mut number = first;
    loop {
        let name = format!("{base}{separator}{number}");
        if taken.insert(name.clone()) {
            return name;
        }
        number = number.saturating_add(1);
    }
}

/// Path items, filled row by row in the order of the table.
#[derive(Default)]
pub(super) struct Paths {
    items: BTreeMap<String, Map<String, Value>>,
    /// Paths that differ in the names of variables only, which OpenAPI takes for the same.
    by_shape: BTreeMap<String, Vec<Translated>>,
}

/// The methods that a path item has a place for.
const METHODS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];

/// Where the operations of other methods stand.
const OTHER_METHODS: &str = "x-tidegate-methods";

impl Paths {
    /// Puts an operation to its path.
    ///
    /// A path that differs from an earlier one in the names of its variables only becomes that one. If the earlier one
    /// has the method already (for another host, or because `**` and `*` look alike), the later operation gets a path of
    /// its own: the first variable is numbered, `{id_2}`; without variables the id stands behind a `#`, which is never
    /// sent.
    pub(super) fn place(&mut self, template: &Translated, method: &str, id: &str, mut operation: Value) {
        let known = self.by_shape.entry(shape(template)).or_default();
        let free = known.iter().find(|known| !has_method(self.items.get(&known.path), method));
        let home = match free {
            Some(home) => home.clone(),
            None => {
                let home = if known.is_empty() { template.clone() } else { renamed(template, id, &self.items) };
                known.push(home.clone());
                home
            }
        };
        rename_parameters(&mut operation, template, &home);
        let item = self.items.entry(home.path).or_default();
        if METHODS.contains(&method) {
            item.insert(method.to_ascii_lowercase(), operation);
        } else {
            let others = item.entry(OTHER_METHODS).or_insert_with(|| Value::Object(Map::new()));
            if let Some(others) = others.as_object_mut() {
                others.insert(method.to_owned(), operation);
            }
        }
    }

    /// The `paths` object.
    pub(super) fn finish(self) -> Value {
        Value::Object(self.items.into_iter().map(|(path, item)| (path, Value::Object(item))).collect())
    }
}

/// The path without the names of its variables.
fn shape(template: &Translated) -> String {
    let mut shape = template.path.clone();
    for parameter in &template.parameters {
        shape = shape.replacen(&format!("{{{}}}", parameter.name), "{}", 1);
    }
    shape
}

fn has_method(item: Option<&Map<String, Value>>, method: &str) -> bool {
    let Some(item) = item else { return false };
    item.contains_key(&method.to_ascii_lowercase())
        || item.get(OTHER_METHODS).is_some_and(|others| others.get(method).is_some())
}

/// The same path under a key that is free.
fn renamed(template: &Translated, id: &str, items: &BTreeMap<String, Map<String, Value>>) -> Translated {
    let mut other = template.clone();
    let Some(first) = template.parameters.first() else {
        other.path = format!("{}#{id}", template.path);
        return other;
    };
    let mut taken: HashSet<String> = template.parameters.iter().map(|parameter| parameter.name.clone()).collect();
    loop {
        let name = free(&first.name, '_', 2, &mut taken);
        other.path = template.path.replacen(&format!("{{{}}}", first.name), &format!("{{{name}}}"), 1);
        if !items.contains_key(&other.path) {
            if let Some(parameter) = other.parameters.first_mut() {
                parameter.name = name;
            }
            return other;
        }
    }
}

/// Gives the path parameters of an operation the names that they have in its path.
fn rename_parameters(operation: &mut Value, from: &Translated, to: &Translated) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    let in_path = parameters.into_iter().flatten().filter(|parameter| parameter.get("in") == Some(&"path".into()));
    for (parameter, (from, to)) in in_path.zip(from.parameters.iter().zip(&to.parameters)) {
        if from.name != to.name
            && let Some(parameter) = parameter.as_object_mut()
        {
            parameter.insert("name".to_owned(), to.name.as_str().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_route::TemplateOptions;

    use super::*;

    fn translated(template: &str) -> Translated {
        let options = TemplateOptions { inner_wildcard: true, trailing_slash: true };
        translate(&Template::parse_with(template, options).unwrap())
    }

    #[test]
    fn variables_are_spread_over_their_segments() {
        for (template, expected) in [
            ("/", "/"),
            ("/docs/", "/docs/"),
            ("/v1/{id}", "/v1/{id}"),
            ("/v1/{order.id}:cancel", "/v1/{order_id}:cancel"),
            ("/v1/{order.id}/{order_id}", "/v1/{order_id_2}/{order_id}"),
            ("/v1/{name=shelves/*}", "/v1/shelves/{name}"),
            ("/v1/{name=shelves/*/books/*}:read", "/v1/shelves/{name_1}/books/{name_2}:read"),
            ("/v1/{name=shelves/*/books/*}/{name_1}", "/v1/shelves/{name_2}/books/{name_3}/{name_1}"),
            ("/v1/{kind=shelves}", "/v1/shelves"),
            ("/files/{rest=**}", "/files/{rest}"),
            ("/files/{rest=a/**}/meta", "/files/a/{rest}/meta"),
            ("/a/*/b/*/**", "/a/{segment_1}/b/{segment_2}/{segment_3}"),
        ] {
            assert_eq!(translated(template).path, expected, "{template}");
        }
        let sources = |template: &str| translated(template).parameters.iter().map(|p| p.source).collect::<Vec<_>>();
        assert_eq!(sources("/{a}/{b=*}/{c=x/*}/*/{d=**}"), {
            use Source::{Rest, Segment, Whole};
            [Whole, Whole, Segment, Segment, Rest]
        });
    }

    /// Places an operation for each template and method, and gives the paths that they stand under.
    fn places(rows: &[(&str, &str)]) -> Vec<String> {
        let mut paths = Paths::default();
        for (index, (method, template)) in rows.iter().enumerate() {
            let template = translated(template);
            let parameters: Vec<Value> =
                template.parameters.iter().map(|p| json!({"name": p.name, "in": "path"})).collect();
            let id = format!("op{index}");
            paths.place(&template, method, &id, json!({"operationId": id, "parameters": parameters}));
        }
        let paths = paths.finish();
        let mut found = Vec::new();
        for (path, item) in paths.as_object().unwrap() {
            let others = item.get(OTHER_METHODS).and_then(Value::as_object).into_iter().flatten();
            for (method, operation) in
                item.as_object().unwrap().iter().filter(|(key, _)| *key != OTHER_METHODS).chain(others)
            {
                let names = operation["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap());
                for name in names {
                    assert!(path.contains(&format!("{{{name}}}")), "{name} in {path}");
                }
                found.push(format!("{} {method} {path}", operation["operationId"].as_str().unwrap()));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn paths_that_differ_in_names_only_are_one() {
        assert_eq!(
            places(&[("GET", "/o/{id}"), ("PUT", "/o/{order.id}"), ("FETCH", "/o/{x}")]),
            ["op0 get /o/{id}", "op1 put /o/{id}", "op2 FETCH /o/{id}"]
        );
    }

    #[test]
    fn a_method_that_is_taken_gets_a_path_of_its_own() {
        assert_eq!(
            places(&[("GET", "/o/{id}"), ("GET", "/o/{x=**}"), ("GET", "/o/{id}"), ("PUT", "/o/{y}")]),
            ["op0 get /o/{id}", "op1 get /o/{x_2}", "op2 get /o/{id_2}", "op3 put /o/{id}"]
        );
        assert_eq!(
            places(&[("GET", "/ping"), ("GET", "/ping"), ("POST", "/ping")]),
            ["op0 get /ping", "op1 get /ping#op1", "op2 post /ping"]
        );
    }
}
