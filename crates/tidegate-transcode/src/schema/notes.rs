//! What `.proto` files say to people: comments, deprecations, and the behaviours of `google.api.field_behavior`.
//!
//! The codec needs none of it, so it is kept apart from the plans, by full name, and only for elements that have any.
//! Comments are there if the descriptors carry source info: sets made with `--include_source_info`, and `.proto` files
//! that are compiled here. What the `google.protobuf` files say of themselves is left out, as their types have a JSON
//! form of their own.
//!
//! Source: `SourceCodeInfo` in `google/protobuf/descriptor.proto`; AIP-192 (internal comments), AIP-203 (behaviours).

use hashbrown::HashMap;
use prost::Message;

use super::build::{join, real_oneofs};
use super::features::decode_options;
use super::{Method, Schema, raw};
use crate::plan::{EnumId, FieldPlan, MsgId};

/// What is said about one element of a schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The comment before the element, else the one behind it: lines without their leading blank, joined by `\n`; parts
    /// marked as internal are cut out. Empty without a comment.
    pub comment: String,
    /// The option `deprecated`.
    pub deprecated: bool,
    /// Annotated as `REQUIRED`: the service refuses a request without it.
    pub required: bool,
    /// Annotated as `OUTPUT_ONLY`: the service ignores it in requests.
    pub output_only: bool,
    /// Annotated as `INPUT_ONLY`: never in answers.
    pub input_only: bool,
}

static NOTHING: Note =
    Note { comment: String::new(), deprecated: false, required: false, output_only: false, input_only: false };

/// All notes of a schema.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// By full name: `pkg.Message.field`, `pkg.Enum.VALUE`, `pkg.Service/Method`.
    by_name: HashMap<Box<str>, Note, foldhash::fast::FixedState>,
    /// Names of the real oneofs of a message, in the order of their numbers.
    oneofs: HashMap<Box<str>, Vec<String>, foldhash::fast::FixedState>,
}

impl Schema {
    /// What is said about a message.
    pub fn note_of_message(&self, id: MsgId) -> &Note {
        self.notes.find(self.message(id).full_name())
    }

    /// What is said about a field of the message `owner`.
    pub fn note_of_field(&self, owner: MsgId, field: &FieldPlan) -> &Note {
        let name = self.proto_name(field);
        match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(extension) => self.notes.find(extension),
            None => self.notes.find(&join(self.message(owner).full_name(), name)),
        }
    }

    /// What is said about an enum.
    pub fn note_of_enum(&self, id: EnumId) -> &Note {
        self.notes.find(self.enumeration(id).full_name())
    }

    /// What is said about an RPC.
    pub fn note_of_method(&self, method: &Method) -> &Note {
        self.notes.find(method.full_name())
    }

    /// What is said about the service with this full name, `pkg.Service`.
    pub fn note_of_service(&self, full_name: &str) -> &Note {
        self.notes.find(full_name)
    }

    /// The values of an enum in the order of their numbers: the name that answers use, the number, and what is said.
    pub fn enum_values(&self, id: EnumId) -> impl Iterator<Item = (&str, i32, &Note)> {
        let plan = self.enumeration(id);
        plan.by_number.iter().map(move |(number, text)| {
            let name = self.text(*text);
            (name, *number, self.notes.find(&join(plan.full_name(), name)))
        })
    }

    /// The name of a oneof of `message`; `number` as [`FieldPlan::oneof`] gives it.
    pub fn oneof_name(&self, message: MsgId, number: u16) -> Option<&str> {
        let names = self.notes.oneofs.get(self.message(message).full_name())?;
        names.get(usize::from(number)).map(String::as_str)
    }
}

impl Notes {
    /// Collects from decoded files, each with its bytes.
    pub(super) fn collect<'f>(files: impl Iterator<Item = (&'f raw::File, &'f [u8])>) -> Self {
        let mut notes = Self::default();
        for (file, bytes) in files.filter(|(file, _)| !file.name().starts_with("google/protobuf/")) {
            Reader { comments: comments(bytes), notes: &mut notes, path: Vec::new() }.file(file);
        }
        notes
    }

    fn find(&self, full_name: &str) -> &Note {
        self.by_name.get(full_name).unwrap_or(&NOTHING)
    }
}

/// Comments of one file by the path of their element.
type Comments = HashMap<Vec<i32>, String, foldhash::fast::FixedState>;

/// Walks one file, with the path of field numbers and indices that source info uses.
struct Reader<'n> {
    comments: Comments,
    notes: &'n mut Notes,
    path: Vec<i32>,
}

/// Steps of a path: the field numbers of `FileDescriptorProto` and of what is in it.
mod step {
    pub(super) const FILE_MESSAGE: i32 = 4;
    pub(super) const FILE_ENUM: i32 = 5;
    pub(super) const FILE_SERVICE: i32 = 6;
    pub(super) const FILE_EXTENSION: i32 = 7;
    pub(super) const MESSAGE_FIELD: i32 = 2;
    pub(super) const MESSAGE_NESTED: i32 = 3;
    pub(super) const MESSAGE_ENUM: i32 = 4;
    pub(super) const MESSAGE_EXTENSION: i32 = 6;
    pub(super) const ENUM_VALUE: i32 = 2;
    pub(super) const SERVICE_METHOD: i32 = 2;
}

impl Reader<'_> {
    fn file(&mut self, file: &raw::File) {
        let package = file.package();
        self.each(step::FILE_MESSAGE, &file.message_type, |reader, message| reader.message(package, message));
        self.each(step::FILE_ENUM, &file.enum_type, |reader, enumeration| reader.enumeration(package, enumeration));
        self.each(step::FILE_SERVICE, &file.service, |reader, service| reader.service(package, service));
        self.each(step::FILE_EXTENSION, &file.extension, |reader, field| reader.field(package, field));
    }

    fn each<T>(&mut self, step: i32, elements: &[T], mut visit: impl FnMut(&mut Self, &T)) {
        for (element, index) in elements.iter().zip(0..) {
            self.path.extend([step, index]);
            visit(self, element);
            self.path.truncate(self.path.len().saturating_sub(2));
        }
    }

    fn message(&mut self, scope: &str, message: &raw::MessageType) {
        let name = join(scope, message.name());
        let marks: Marks = decode_options(message.options.as_deref());
        self.keep(&name, Note { deprecated: marks.of_type(), ..Note::default() });
        let real = real_oneofs(message);
        let names = message.oneof_decl.iter().zip(&real).filter(|(_, number)| number.is_some());
        let names: Vec<String> = names.map(|(oneof, _)| oneof.name().to_owned()).collect();
        if !names.is_empty() {
            self.notes.oneofs.insert(name.as_str().into(), names);
        }
        self.each(step::MESSAGE_FIELD, &message.field, |reader, field| reader.field(&name, field));
        self.each(step::MESSAGE_NESTED, &message.nested_type, |reader, nested| reader.message(&name, nested));
        self.each(step::MESSAGE_ENUM, &message.enum_type, |reader, nested| reader.enumeration(&name, nested));
        self.each(step::MESSAGE_EXTENSION, &message.extension, |reader, field| reader.field(&name, field));
    }

    fn field(&mut self, scope: &str, field: &raw::Field) {
        const REQUIRED: i32 = 2;
        const OUTPUT_ONLY: i32 = 3;
        const INPUT_ONLY: i32 = 4;
        let marks: Marks = decode_options(field.options.as_deref());
        let behaviors = decode_options::<Behaviors>(field.options.as_deref()).field_behavior;
        let note = Note {
            comment: String::new(),
            deprecated: marks.of_type(),
            required: behaviors.contains(&REQUIRED),
            output_only: behaviors.contains(&OUTPUT_ONLY),
            input_only: behaviors.contains(&INPUT_ONLY),
        };
        self.keep(&join(scope, field.name()), note);
    }

    fn enumeration(&mut self, scope: &str, enumeration: &raw::EnumType) {
        let name = join(scope, enumeration.name());
        let marks: Marks = decode_options(enumeration.options.as_deref());
        self.keep(&name, Note { deprecated: marks.of_type(), ..Note::default() });
        self.each(step::ENUM_VALUE, &enumeration.value, |reader, value| {
            let marks: Marks = decode_options(value.options.as_deref());
            reader.keep(&join(&name, value.name()), Note { deprecated: marks.of_value(), ..Note::default() });
        });
    }

    fn service(&mut self, scope: &str, service: &raw::Service) {
        let name = join(scope, service.name());
        let marks: Marks = decode_options(service.options.as_deref());
        self.keep(&name, Note { deprecated: marks.of_service(), ..Note::default() });
        self.each(step::SERVICE_METHOD, &service.method, |reader, method| {
            let marks: Marks = decode_options(method.options.as_deref());
            let name = format!("{name}/{}", method.name());
            reader.keep(&name, Note { deprecated: marks.of_service(), ..Note::default() });
        });
    }

    /// Keeps what is known of the element at the path.
    fn keep(&mut self, full_name: &str, mut note: Note) {
        note.comment = self.comments.remove(&self.path).unwrap_or_default();
        if note != NOTHING {
            self.notes.by_name.insert(full_name.into(), note);
        }
    }
}

/// The numbers of `deprecated` in the various options; which of them counts depends on the element.
#[derive(Clone, PartialEq, Message)]
struct Marks {
    #[prost(bool, optional, tag = "1")]
    one: Option<bool>,
    #[prost(bool, optional, tag = "3")]
    three: Option<bool>,
    #[prost(bool, optional, tag = "33")]
    thirty_three: Option<bool>,
}

impl Marks {
    /// Of a message, a field or an enum.
    fn of_type(&self) -> bool {
        self.three.unwrap_or_default()
    }

    /// Of a value of an enum.
    fn of_value(&self) -> bool {
        self.one.unwrap_or_default()
    }

    /// Of a service or a method.
    fn of_service(&self) -> bool {
        self.thirty_three.unwrap_or_default()
    }
}

/// The extension `google.api.field_behavior`.
#[derive(Clone, PartialEq, Message)]
struct Behaviors {
    #[prost(int32, repeated, tag = "1052")]
    field_behavior: Vec<i32>,
}

/// The part of a file that is not read with the rest of it.
#[derive(Clone, PartialEq, Message)]
struct Positions {
    #[prost(message, optional, tag = "9")]
    source: Option<SourceInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct SourceInfo {
    #[prost(message, repeated, tag = "1")]
    location: Vec<Location>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(int32, repeated, tag = "1")]
    path: Vec<i32>,
    #[prost(string, optional, tag = "3")]
    leading_comments: Option<String>,
    #[prost(string, optional, tag = "4")]
    trailing_comments: Option<String>,
}

/// The comments of a file. Source info that cannot be read counts as none: nothing depends on it.
fn comments(file: &[u8]) -> Comments {
    let source = Positions::decode(file).ok().and_then(|positions| positions.source).unwrap_or_default();
    let comment = |location: Location| {
        let text = location.leading_comments.or(location.trailing_comments)?;
        let text = tidied(&text);
        (!text.is_empty()).then_some((location.path, text))
    };
    source.location.into_iter().filter_map(comment).collect()
}

/// A comment without what its notation adds, and without its internal parts, `(-- … --)`.
fn tidied(comment: &str) -> String {
    let mut public = String::new();
    let mut rest = comment;
    while let Some((before, inside)) = rest.split_once("(--") {
        public.push_str(before);
        rest = inside.split_once("--)").map_or("", |(_, after)| after);
    }
    public.push_str(rest);
    let lines = public.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_lose_their_notation_and_their_internal_parts() {
        for (comment, expected) in [
            (" One line.\n", "One line."),
            (" First.\n\n   - indented\n\tTab.  \n", "First.\n\n  - indented\n\tTab."),
            (" Public. (-- api-linter: x=disabled\n reason --)\n More.", "Public.\nMore."),
            ("(-- never closed", ""),
            ("", ""),
        ] {
            assert_eq!(tidied(comment), expected, "{comment:?}");
        }
    }
}
