//! Structures and closed lists as tables: one declaration gives the reader, the schema and the documentation.

use super::{Cx, did_you_mean};
use crate::diag::{Code, Diagnostic};
use crate::node::{Entry, Node, Value};
use crate::schema::Book;

/// Documentation of one key, for the reference page.
#[derive(Clone, Debug)]
pub(crate) struct KeyDoc {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) type_name: String,
    /// `required`, a value as it would be written, or nothing.
    pub(crate) default: &'static str,
}

/// A structure with a fixed set of keys.
pub(crate) trait Keys: Default {
    /// Documentation of the structure as a whole.
    const DOC: &'static str;
    /// Reads the value of a key; `false` if there is no such key.
    fn accept(&mut self, entry: &Entry, cx: &mut Cx<'_>) -> bool;
    /// All keys, those of the flattened structure last.
    fn keys(out: &mut Vec<&'static str>);
    /// Keys of the product that this version does not have.
    fn later(out: &mut Vec<&'static str>);
    /// Required keys that are not there.
    fn missing(&self, out: &mut Vec<&'static str>);
    /// Documentation of the keys.
    fn documentation(out: &mut Vec<KeyDoc>);
    /// Adds the structures that the keys are made of.
    fn document_keys(book: &mut Book);
    /// Adds the schema of each key.
    fn properties(generator: &mut schemars::SchemaGenerator, out: &mut serde_json::Map<String, serde_json::Value>);
}

/// Reads a structure: every key is known, not available, or a mistake.
pub(crate) fn decode_struct<T: Keys>(node: &Node, cx: &mut Cx<'_>) -> Option<T> {
    let Value::Map(entries) = &node.value else {
        cx.wrong_type(node, "a mapping");
        return None;
    };
    let mut value = T::default();
    for entry in entries {
        cx.inside_key(&entry.key, |cx| {
            if !value.accept(entry, cx) {
                refuse_key::<T>(entry, cx);
            }
        });
    }
    let mut missing = Vec::new();
    value.missing(&mut missing);
    for key in missing {
        cx.report(Diagnostic::error(Code::MissingKey, format!("\"{key}\" is missing")), node.span);
    }
    Some(value)
}

fn refuse_key<T: Keys>(entry: &Entry, cx: &mut Cx<'_>) {
    let (mut keys, mut later) = (Vec::new(), Vec::new());
    T::keys(&mut keys);
    T::later(&mut later);
    let key = entry.key.text();
    if later.contains(&key) {
        // An explicit "no" to a feature is honoured by not having it.
        if !entry.value.asks_for_nothing() {
            let problem = format!("\"{key}\" is not available in this version");
            cx.report(Diagnostic::error(Code::NotAvailable, problem), entry.key_span);
        }
        return;
    }
    let problem = Diagnostic::error(Code::UnknownKey, format!("unknown key {}", entry.key.shown()));
    let near = did_you_mean(key, keys.iter().chain(&later).copied()).filter(|_| !entry.key.is_secret());
    let problem = match near {
        Some(near) => problem.help(format!("did you mean \"{near}\"?")),
        None if keys.len() <= 8 => problem.help(format!("known here: {}", keys.join(", "))),
        None => problem,
    };
    cx.report(problem, entry.key_span);
}

/// The key of a field: its name, but for keys that are no names in Rust.
macro_rules! key_name {
    (type_) => {
        "type"
    };
    (match_) => {
        "match"
    };
    ($key:ident) => {
        stringify!($key)
    };
}
pub(crate) use key_name;

/// Declares a structure of the configuration.
///
/// `key: Type`, with `= required`, or `= "…"` for the default as a person would write it (documentation only: the
/// value itself is in `resolve`). `..name: Type` takes the keys of another structure in. `later` names the keys of
/// the product that this version refuses as not available.
macro_rules! raw_struct {
    (
        $(#[doc = $doc:literal])*
        $name:ident {
            $($(#[doc = $key_doc:literal])* $key:ident: $type:ty $(= $default:tt)?,)*
            $(..$flat:ident: $flat_type:ty,)?
        }
        $(later { $($later:literal)* })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name {
            $($(#[doc = $key_doc])* pub(crate) $key: $crate::decode::Field<$type>,)*
            $(
                /// The keys that are taken in.
                pub(crate) $flat: $flat_type,
            )?
        }

        impl $crate::decode::Keys for $name {
            const DOC: &'static str = concat!($($doc, "\n",)*);

            fn accept(&mut self, entry: &$crate::node::Entry, cx: &mut $crate::decode::Cx<'_>) -> bool {
                match entry.key.text() {
                    $($crate::decode::key_name!($key) => {
                        self.$key = $crate::decode::Field::read(entry, cx);
                        return true;
                    })*
                    _ => {}
                }
                $(if self.$flat.accept(entry, cx) {
                    return true;
                })?
                false
            }

            fn keys(out: &mut Vec<&'static str>) {
                out.extend_from_slice(&[$($crate::decode::key_name!($key),)*]);
                $(<$flat_type as $crate::decode::Keys>::keys(out);)?
            }

            fn later(out: &mut Vec<&'static str>) {
                out.extend_from_slice(&[$($($later,)*)?]);
                $(<$flat_type as $crate::decode::Keys>::later(out);)?
            }

            fn missing(&self, out: &mut Vec<&'static str>) {
                $($(
                    if stringify!($default) == "required" && self.$key.is_missing() {
                        out.push($crate::decode::key_name!($key));
                    }
                )?)*
                $(self.$flat.missing(out);)?
                let _ = out;
            }

            fn documentation(out: &mut Vec<$crate::decode::KeyDoc>) {
                $(out.push($crate::decode::KeyDoc {
                    key: $crate::decode::key_name!($key),
                    doc: concat!($($key_doc, "\n",)*),
                    type_name: <$type as $crate::decode::Decode>::type_name(),
                    default: concat!($(stringify!($default))?),
                });)*
                $(<$flat_type as $crate::decode::Keys>::documentation(out);)?
            }

            fn document_keys(book: &mut $crate::schema::Book) {
                $(<$type as $crate::decode::Decode>::document(book);)*
                $(<$flat_type as $crate::decode::Keys>::document_keys(book);)?
            }

            fn properties(
                generator: &mut schemars::SchemaGenerator,
                out: &mut serde_json::Map<String, serde_json::Value>,
            ) {
                $(
                    let schema = generator.subschema_for::<$type>();
                    let doc = concat!($($key_doc, "\n",)*);
                    let required = concat!($(stringify!($default))?) == "required";
                    out.insert($crate::decode::key_name!($key).to_owned(), $crate::schema::property(schema, doc, required));
                )*
                $(<$flat_type as $crate::decode::Keys>::properties(generator, out);)?
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(node: &$crate::node::Node, cx: &mut $crate::decode::Cx<'_>) -> Option<Self> {
                $crate::decode::decode_struct(node, cx)
            }

            fn type_name() -> String {
                $crate::schema::link(stringify!($name))
            }

            fn document(book: &mut $crate::schema::Book) {
                book.add::<Self>(stringify!($name));
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $crate::schema::title(stringify!($name)).replace(' ', "_").into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::schema::object::<Self>(generator)
            }
        }
    };
}

/// Declares how the words of a closed list are written. Words behind `later` are refused as not available.
macro_rules! closed_enum {
    ($($type:ty { $($word:literal => $value:expr,)* $(later $($later:literal)*)? })*) => {$(
        impl $crate::decode::Choice for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value),)*];
            const LATER: &'static [&'static str] = &[$($($later,)*)?];
        }

        impl $crate::decode::Decode for $type {
            fn decode(node: &$crate::node::Node, cx: &mut $crate::decode::Cx<'_>) -> Option<Self> {
                $crate::decode::decode_choice(node, cx)
            }

            fn type_name() -> String {
                [$(concat!("`", $word, "`"),)*].join(", ")
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($word,)*] })
            }
        }
    )*};
}

pub(crate) use {closed_enum, raw_struct};
