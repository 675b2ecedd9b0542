//! Descriptors in, compiled plans out: messages, enums, methods, and a digest to tell two schemas apart.
//!
//! Built once per configuration snapshot, shared by `Arc`, never changed. The well-known types and the `google.rpc`
//! error details are always there, so that an `Any` in a status can be printed whatever the service imports.
//! Descriptors are read from their raw bytes, because typed structs lose `google.api.http` and the edition features.

mod build;
mod builtin;
mod error;
mod features;
mod http;
mod notes;
mod raw;
mod source;

use hashbrown::HashMap;

pub use error::SchemaError;
pub use http::HttpRule;
pub use notes::Note;
pub use source::compile_protos;

use crate::plan::{EnumId, EnumPlan, FieldPlan, MsgId, MsgPlan, Text, text_in};

/// Everything that the codec knows about one set of `.proto` files.
#[derive(Debug)]
pub struct Schema {
    pub(crate) messages: Vec<MsgPlan>,
    pub(crate) enums: Vec<EnumPlan>,
    pub(crate) methods: Vec<Method>,
    pub(crate) arena: String,
    pub(crate) by_name: HashMap<Box<str>, MsgId, foldhash::fast::FixedState>,
    pub(crate) digest: Digest,
    notes: notes::Notes,
}

/// SHA-256 over the files of a schema, sorted by name and without source positions.
pub type Digest = [u8; 32];

/// One RPC.
#[derive(Clone, Debug)]
pub struct Method {
    pub(crate) full_name: String,
    pub(crate) input: MsgId,
    pub(crate) output: MsgId,
    pub(crate) client_streaming: bool,
    pub(crate) server_streaming: bool,
    pub(crate) idempotency: Idempotency,
    pub(crate) http: Vec<HttpRule>,
    pub(crate) file: String,
}

/// What the `.proto` file promises about calling a method twice (`idempotency_level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// Nothing is promised.
    Unknown,
    /// The call changes nothing.
    NoSideEffects,
    /// Calling twice is the same as calling once.
    Idempotent,
}

impl Method {
    /// `pkg.Service/Method`, without leading slash.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// The request message.
    pub fn input(&self) -> MsgId {
        self.input
    }

    /// The response message.
    pub fn output(&self) -> MsgId {
        self.output
    }

    /// True if the client sends a stream of requests.
    pub fn is_client_streaming(&self) -> bool {
        self.client_streaming
    }

    /// True if the server answers with a stream.
    pub fn is_server_streaming(&self) -> bool {
        self.server_streaming
    }

    /// The promise of the `.proto` file about repeated calls.
    pub fn idempotency(&self) -> Idempotency {
        self.idempotency
    }

    /// The annotated bindings, the main one first; empty without annotation.
    pub fn http_rules(&self) -> &[HttpRule] {
        &self.http
    }

    /// Name of the `.proto` file that declares the method.
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl Schema {
    /// Compiles an encoded `google.protobuf.FileDescriptorSet`. Files that it imports but does not contain are taken
    /// from the built-in ones.
    ///
    /// # Errors
    /// [`SchemaError`], naming the file at fault where there is one.
    pub fn from_descriptor_set(bytes: &[u8]) -> Result<Self, SchemaError> {
        build::from_set(bytes)
    }

    /// Compiles encoded `google.protobuf.FileDescriptorProto` messages, in any order, as server reflection sends them.
    /// The same file twice is fine if the bytes are the same.
    ///
    /// # Errors
    /// As [`Schema::from_descriptor_set`].
    pub fn from_file_descriptors<B: AsRef<[u8]>>(files: impl IntoIterator<Item = B>) -> Result<Self, SchemaError> {
        build::from_files(files.into_iter().map(|file| file.as_ref().to_vec()).collect())
    }

    /// All methods of all services, in the order of the files.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Finds a method by `pkg.Service/Method`, with or without leading slash, or by a tail that begins at a dot of the
    /// package, such as `Service/Method`, if only one method ends so.
    ///
    /// # Errors
    /// [`MethodLookup::Unknown`], or [`MethodLookup::Ambiguous`] with the full names.
    pub fn find_method(&self, name: &str) -> Result<&Method, MethodLookup> {
        let name = name.strip_prefix('/').unwrap_or(name);
        if let Some(method) = self.methods.iter().find(|method| method.full_name == name) {
            return Ok(method);
        }
        let is_tail = |method: &&Method| {
            method.full_name.strip_suffix(name).is_some_and(|head| head.ends_with('.') && name.contains('/'))
        };
        let found: Vec<&Method> = self.methods.iter().filter(is_tail).collect();
        match found.as_slice() {
            [] => Err(MethodLookup::Unknown),
            [method] => Ok(method),
            several => Err(MethodLookup::Ambiguous(several.iter().map(|method| method.full_name.clone()).collect())),
        }
    }

    /// The annotated HTTP bindings of `method`, `additional_bindings` included.
    pub fn http_rules<'a>(&self, method: &'a Method) -> &'a [HttpRule] {
        &method.http
    }

    /// Finds a message type by its full name without leading dot.
    pub fn find_message(&self, full_name: &str) -> Option<MsgId> {
        self.by_name.get(full_name).copied()
    }

    /// The plan of a message. Ids come from this schema; one from another gives an arbitrary plan.
    #[inline]
    pub fn message(&self, id: MsgId) -> &MsgPlan {
        // The build guarantees that there is at least one message, the built-in ones.
        self.messages.get(id.0 as usize).unwrap_or(&self.messages[0])
    }

    /// The plan of an enum; see [`Schema::message`] for ids of other schemas.
    #[inline]
    pub fn enumeration(&self, id: EnumId) -> &EnumPlan {
        self.enums.get(id.0 as usize).unwrap_or(&self.enums[0])
    }

    /// All messages with their ids.
    pub fn messages(&self) -> impl Iterator<Item = (MsgId, &MsgPlan)> {
        (0u32..).map(MsgId).zip(&self.messages)
    }

    /// SHA-256 over the given files; neither the built-in ones nor comments count. Equal digests mean equal plans.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Finds a field by its JSON name or its name in the `.proto` file.
    pub fn find_field(&self, message: MsgId, name: &str) -> Option<crate::plan::FieldIndex> {
        self.message(message).names.find(&self.arena, name.as_bytes())
    }

    /// The field's name in the `.proto` file; `[pkg.name]` for an extension.
    pub fn proto_name(&self, field: &FieldPlan) -> &str {
        self.text(field.proto_name)
    }

    /// The field's JSON name (`json_name`, normally in lowerCamelCase).
    pub fn json_name(&self, field: &FieldPlan) -> &str {
        self.text(field.json_name)
    }

    /// The number of the enum value called `name`.
    pub fn enum_number(&self, id: EnumId, name: &str) -> Option<i32> {
        self.enum_number_of_bytes(id, name.as_bytes())
    }

    /// The first name declared for `number`.
    pub fn enum_name(&self, id: EnumId, number: i32) -> Option<&str> {
        self.enumeration(id).name_text(number).map(|text| self.text(text))
    }

    #[inline]
    pub(crate) fn enum_number_of_bytes(&self, id: EnumId, name: &[u8]) -> Option<i32> {
        let plan = self.enumeration(id);
        let index = plan.names.find(&self.arena, name)?;
        plan.numbers.get(usize::from(index)).copied()
    }

    /// True if `field` is of a closed enum that has no value `number`: such a value counts as an unknown field.
    #[inline]
    pub(crate) fn is_unknown_enum(&self, field: &FieldPlan, number: i32) -> bool {
        let plan = self.enumeration(EnumId(field.sub));
        !plan.open && plan.name_text(number).is_none()
    }

    #[inline]
    pub(crate) fn text(&self, text: Text) -> &str {
        text_in(&self.arena, text)
    }
}

/// Rewrites the edition files of an encoded `FileDescriptorSet` as proto2 or proto3, whichever is nearer, for tools that
/// do not know editions. Groups, required fields and packing survive; presence and open enums follow the file and not
/// the field.
///
/// # Errors
/// [`SchemaError::Undecodable`] and [`SchemaError::UnknownEdition`].
pub fn lower_editions(set: &[u8]) -> Result<Vec<u8>, SchemaError> {
    build::lower_editions(set)
}

/// Why [`Schema::find_method`] found nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodLookup {
    /// No method has this name.
    #[error("no such method")]
    Unknown,
    /// A short name that fits several; their full names, in the order of the files.
    #[error("the name fits several methods: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
}

#[cfg(test)]
mod tests;
