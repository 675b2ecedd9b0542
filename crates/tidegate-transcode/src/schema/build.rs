//! Raw descriptors → plans.
//!
//! Four steps: complete the set from the built-in files, let the descriptor pool check it (names, numbers, imports,
//! cycles), give every message and enum a number, and compile each of them. After the second step references resolve,
//! so what is left to fail is size.

use hashbrown::HashMap;
use prost::Message;
use prost_reflect::DescriptorPool;
use sha2::{Digest as _, Sha256};

use super::features::{self, Features, Presence, UnknownEdition};
use super::notes::Notes;
use super::{Digest, Idempotency, Method, Schema, SchemaError, builtin, http, raw};
use crate::plan::{Cardinality, EnumPlan, FieldPlan, Kind, MsgId, MsgPlan, NameTable, Text, Wkt};
use crate::wire::Cursor;

/// Names in a plan are at most this long, values and fields at most this many: both are counted in 16 bits.
const MAX_PER_TYPE: usize = 65_000;

pub(super) fn from_set(bytes: &[u8]) -> Result<Schema, SchemaError> {
    let set =
        raw::FileSet::decode(bytes).map_err(|_| SchemaError::Undecodable { what: "the descriptor set".to_owned() })?;
    from_files(set.file)
}

pub(super) fn from_files(files: Vec<Vec<u8>>) -> Result<Schema, SchemaError> {
    let mut given = FileList::default();
    for bytes in files {
        given.add(bytes)?;
    }
    let digest = digest(&given);
    let builtin = raw::FileSet::decode(builtin::file_set()).unwrap_or_default();
    given.complete(builtin.file)?;
    check(&given)?;
    Builder::default().build(&given, digest)
}

/// Decoded files with their bytes, each name once, in the order given.
#[derive(Default)]
struct FileList {
    files: Vec<(raw::File, Vec<u8>)>,
    by_name: HashMap<String, usize, foldhash::fast::FixedState>,
    /// Files from here on are built-in and were not asked for.
    extra_from: usize,
}

impl FileList {
    fn add(&mut self, bytes: Vec<u8>) -> Result<(), SchemaError> {
        let file = raw::File::decode(bytes.as_slice())
            .map_err(|_| SchemaError::Undecodable { what: "a file of the set".to_owned() })?;
        let name = file.name().to_owned();
        if let Some((_, known)) = self.by_name.get(&name).and_then(|&at| self.files.get(at)) {
            return if *known == bytes { Ok(()) } else { Err(SchemaError::DuplicateFile { file: name }) };
        }
        self.by_name.insert(name, self.files.len());
        self.files.push((file, bytes));
        Ok(())
    }

    /// Adds the built-in files: those that are imported and missing, then the others as far as no given file declares
    /// the same types under another file name.
    fn complete(&mut self, builtin: Vec<Vec<u8>>) -> Result<(), SchemaError> {
        let mut missing: Vec<String> = self.files.iter().flat_map(|(file, _)| file.dependency.clone()).collect();
        let known: HashMap<String, Vec<u8>> = builtin
            .iter()
            .filter_map(|bytes| Some((raw::File::decode(bytes.as_slice()).ok()?.name?, bytes.clone())))
            .collect();
        while let Some(name) = missing.pop() {
            if self.by_name.contains_key(&name) {
                continue;
            }
            if let Some(bytes) = known.get(&name) {
                self.add(bytes.clone())?;
                let imports = self.files.last().map(|(file, _)| file.dependency.clone());
                missing.extend(imports.unwrap_or_default());
            }
        }
        self.extra_from = self.files.len();
        let declared: Vec<String> = self.files.iter().flat_map(|(file, _)| top_level_names(file)).collect();
        for bytes in builtin {
            let Ok(file) = raw::File::decode(bytes.as_slice()) else {
                continue;
            };
            // A file of extensions alone declares no types, so its name has to tell.
            let given = self.by_name.contains_key(file.name());
            if !given && top_level_names(&file).all(|name| !declared.contains(&name)) {
                self.add(bytes)?;
            }
        }
        Ok(())
    }
}

fn top_level_names(file: &raw::File) -> impl Iterator<Item = String> {
    let package = file.package().to_owned();
    let messages = file.message_type.iter().map(|message| message.name().to_owned());
    let enums = file.enum_type.iter().map(|enumeration| enumeration.name().to_owned());
    messages.chain(enums).map(move |name| join(&package, &name)).collect::<Vec<_>>().into_iter()
}

pub(super) fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// Hashes every given file under its length, in order of name, without source positions (field 9).
fn digest(given: &FileList) -> Digest {
    let mut sorted: Vec<&(raw::File, Vec<u8>)> = given.files.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
    let mut hash = Sha256::new();
    for (_, bytes) in sorted {
        let bytes = without_positions(bytes);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

pub(super) fn without_positions(file: &[u8]) -> Vec<u8> {
    const SOURCE_CODE_INFO: u32 = 9;
    let mut kept = Vec::with_capacity(file.len());
    let mut cursor = Cursor::new(file);
    while !cursor.is_empty() {
        let before = cursor.rest();
        let stepped = cursor.tag().and_then(|(number, wire_type)| cursor.skip(number, wire_type).map(|()| number));
        let Ok(number) = stepped else {
            // Cannot happen to a file that has been decoded; hashing the rest as it is stays correct.
            kept.extend_from_slice(before);
            break;
        };
        if number != SOURCE_CODE_INFO {
            kept.extend_from_slice(before.get(..before.len() - cursor.rest().len()).unwrap_or(before));
        }
    }
    kept
}

/// Lets the descriptor pool look for what a compiler would have refused.
fn check(given: &FileList) -> Result<(), SchemaError> {
    let set = lowered(given.files.iter().take(given.extra_from))?;
    DescriptorPool::decode(set.encode_to_vec().as_slice())
        .map(|_| ())
        .map_err(|error| SchemaError::Invalid { message: format!("{error:?}") })
}

/// The files with those among them that have an edition rewritten in an older syntax.
fn lowered<'f>(files: impl Iterator<Item = &'f (raw::File, Vec<u8>)>) -> Result<raw::FileSet, SchemaError> {
    let mut set = raw::FileSet::default();
    for (file, bytes) in files {
        if file.edition.is_none() && file.syntax.as_deref() != Some("editions") {
            set.file.push(bytes.clone());
            continue;
        }
        let lowered = features::lower(file).map_err(|edition| unknown_edition(file, edition))?;
        set.file.push(lowered.encode_to_vec());
    }
    Ok(set)
}

pub(super) fn lower_editions(set: &[u8]) -> Result<Vec<u8>, SchemaError> {
    let undecodable = |_| SchemaError::Undecodable { what: "the descriptor set".to_owned() };
    let mut given = FileList::default();
    for bytes in raw::FileSet::decode(set).map_err(undecodable)?.file {
        given.add(bytes)?;
    }
    Ok(lowered(given.files.iter())?.encode_to_vec())
}

fn unknown_edition(file: &raw::File, UnknownEdition(edition): UnknownEdition) -> SchemaError {
    SchemaError::UnknownEdition { file: file.name().to_owned(), edition }
}

#[derive(Clone, Copy)]
enum TypeRef {
    Message(u32),
    Enum(u32),
}

/// A message or enum with what its place in the file says about it.
struct Declared<'a, T> {
    full_name: String,
    features: Features,
    raw: &'a T,
}

#[derive(Default)]
struct Builder<'a> {
    messages: Vec<Declared<'a, raw::MessageType>>,
    enums: Vec<Declared<'a, raw::EnumType>>,
    /// Extension fields with their full names.
    extensions: Vec<Declared<'a, raw::Field>>,
    types: HashMap<String, TypeRef, foldhash::fast::FixedState>,
    arena: String,
}

impl<'a> Builder<'a> {
    fn build(mut self, given: &'a FileList, digest: Digest) -> Result<Schema, SchemaError> {
        for (file, _) in &given.files {
            self.declare_file(file)?;
        }
        let mut enums = Vec::with_capacity(self.enums.len());
        for declared in std::mem::take(&mut self.enums) {
            enums.push(self.compile_enum(&declared)?);
        }
        let mut messages = Vec::with_capacity(self.messages.len());
        let declared_messages = std::mem::take(&mut self.messages);
        let extensions = std::mem::take(&mut self.extensions);
        let kinds: Vec<(Wkt, bool)> = declared_messages
            .iter()
            .map(|declared| (wkt_of(&declared.full_name), features::message_options(declared.raw).map_entry()))
            .collect();
        for (declared, kind) in declared_messages.iter().zip(&kinds) {
            messages.push(self.compile_message(declared, *kind, &kinds, &extensions)?);
        }
        let methods = self.methods(given)?;
        let by_name = self
            .types
            .into_iter()
            .filter_map(|(name, found)| match found {
                TypeRef::Message(id) => Some((name.into_boxed_str(), MsgId(id))),
                TypeRef::Enum(_) => None,
            })
            .collect();
        self.arena.extend(std::iter::repeat_n(' ', crate::json::append::PADDING));
        let notes = Notes::collect(given.files.iter().map(|(file, bytes)| (file, bytes.as_slice())));
        Ok(Schema { messages, enums, methods, arena: self.arena, by_name, digest, notes })
    }

    fn declare_file(&mut self, file: &'a raw::File) -> Result<(), SchemaError> {
        let features = Features::of_file(file).map_err(|edition| unknown_edition(file, edition))?;
        for message in &file.message_type {
            self.declare_message(file.package(), features, message);
        }
        for enumeration in &file.enum_type {
            self.declare_enum(file.package(), features, enumeration);
        }
        for extension in &file.extension {
            self.declare_extension(file.package(), features, extension);
        }
        Ok(())
    }

    fn declare_message(&mut self, scope: &str, features: Features, message: &'a raw::MessageType) {
        let full_name = join(scope, message.name());
        let features = features.of_message(message);
        let id = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.types.insert(full_name.clone(), TypeRef::Message(id));
        self.messages.push(Declared { full_name: full_name.clone(), features, raw: message });
        for nested in &message.nested_type {
            self.declare_message(&full_name, features, nested);
        }
        for enumeration in &message.enum_type {
            self.declare_enum(&full_name, features, enumeration);
        }
        for extension in &message.extension {
            self.declare_extension(&full_name, features, extension);
        }
    }

    fn declare_enum(&mut self, scope: &str, features: Features, enumeration: &'a raw::EnumType) {
        let full_name = join(scope, enumeration.name());
        let id = u32::try_from(self.enums.len()).unwrap_or(u32::MAX);
        self.types.insert(full_name.clone(), TypeRef::Enum(id));
        self.enums.push(Declared { full_name, features: features.of_enum(enumeration), raw: enumeration });
    }

    fn declare_extension(&mut self, scope: &str, features: Features, extension: &'a raw::Field) {
        self.extensions.push(Declared { full_name: join(scope, extension.name()), features, raw: extension });
    }

    fn compile_enum(&mut self, declared: &Declared<'_, raw::EnumType>) -> Result<EnumPlan, SchemaError> {
        let values = &declared.raw.value;
        if values.len() > MAX_PER_TYPE {
            return Err(too_large(&declared.full_name, "number of values"));
        }
        let mut names = Vec::with_capacity(values.len());
        for (value, index) in values.iter().zip(0u16..) {
            // Printed without a look at each byte, so it must not need escapes.
            if !is_identifier(value.name()) {
                let message = format!("{} has a value without a proper name", declared.full_name);
                return Err(SchemaError::Invalid { message });
            }
            names.push((self.intern(&declared.full_name, value.name())?, index));
        }
        let numbers: Box<[i32]> = values.iter().map(raw::EnumValue::number).collect();
        let mut by_number: Vec<(i32, Text)> =
            numbers.iter().copied().zip(names.iter().map(|(text, _)| *text)).collect();
        // Stable, so that the first of several names for a number is the one that is kept.
        by_number.sort_by_key(|(number, _)| *number);
        by_number.dedup_by_key(|(number, _)| *number);
        Ok(EnumPlan {
            full_name: declared.full_name.clone().into(),
            open: !declared.features.closed_enums,
            by_number: by_number.into(),
            names: NameTable::build(&self.arena, names.iter().copied()),
            numbers,
        })
    }

    fn compile_message(
        &mut self,
        declared: &Declared<'_, raw::MessageType>,
        (wkt, is_map_entry): (Wkt, bool),
        kinds: &[(Wkt, bool)],
        extensions: &[Declared<'_, raw::Field>],
    ) -> Result<MsgPlan, SchemaError> {
        let name = &declared.full_name;
        let real_oneofs = real_oneofs(declared.raw);
        let mut fields = Vec::with_capacity(declared.raw.field.len());
        for field in &declared.raw.field {
            let index = field.oneof_index.and_then(|i| usize::try_from(i).ok());
            let features = declared.features.of_field(field, index.and_then(|i| declared.raw.oneof_decl.get(i)));
            let mut plan = self.compile_field(name, field, features, is_map_entry, kinds)?;
            plan.set_oneof(index.and_then(|i| real_oneofs.get(i).copied().flatten()));
            plan.presence |= field.oneof_index.is_some();
            fields.push(plan);
        }
        // A message set keeps its extensions in a wire format of its own; they count as unknown fields.
        if !features::message_options(declared.raw).message_set_wire_format() {
            let dotted = format!(".{name}");
            for extension in extensions.iter().filter(|extension| extension.raw.extendee() == dotted) {
                fields.push(self.compile_extension(name, extension, kinds)?);
            }
        }
        if fields.len() > MAX_PER_TYPE / 2 {
            return Err(too_large(name, "number of fields"));
        }
        fields.sort_by_key(|field| field.number);
        // JSON names come first, so that they win where one field's name is another one's JSON name.
        let indexed = || fields.iter().zip(0u16..);
        let json_names = indexed().map(|(field, index)| (field.json_name, index));
        let proto_names = indexed().map(|(field, index)| (field.proto_name, index));
        Ok(MsgPlan {
            names: NameTable::build(&self.arena, json_names.chain(proto_names)),
            full_name: name.clone().into(),
            wkt,
            is_map_entry,
            dense: MsgPlan::dense_table(&fields),
            oneofs: u16::try_from(real_oneofs.iter().flatten().count()).unwrap_or(u16::MAX),
            fields: fields.into(),
        })
    }

    fn compile_extension(
        &mut self,
        message: &str,
        extension: &Declared<'_, raw::Field>,
        kinds: &[(Wkt, bool)],
    ) -> Result<FieldPlan, SchemaError> {
        let features = extension.features.of_field(extension.raw, None);
        let mut plan = self.compile_field(message, extension.raw, features, false, kinds)?;
        let name = format!("[{}]", extension.full_name);
        plan.presence |= plan.cardinality == Cardinality::Singular;
        plan.proto_name = self.intern(message, &name)?;
        plan.json_name = plan.proto_name;
        plan.proto_key = self.intern_key(message, &name)?;
        plan.json_key = plan.proto_key;
        Ok(plan)
    }

    fn compile_field(
        &mut self,
        message: &str,
        field: &raw::Field,
        features: Features,
        in_map_entry: bool,
        kinds: &[(Wkt, bool)],
    ) -> Result<FieldPlan, SchemaError> {
        let mut kind = kind_of(field).ok_or_else(|| SchemaError::Invalid {
            message: format!("field {} of {message} has an unknown type", field.name()),
        })?;
        let found = field.type_name.as_deref().and_then(|name| self.types.get(name.trim_start_matches('.')).copied());
        let sub = match (kind, found) {
            (Kind::Message | Kind::Group, Some(TypeRef::Message(id))) | (Kind::Enum, Some(TypeRef::Enum(id))) => id,
            (Kind::Message | Kind::Group | Kind::Enum, _) => {
                return Err(SchemaError::Invalid {
                    message: format!("type {} of field {} of {message} is not there", field.type_name(), field.name()),
                });
            }
            _ => 0,
        };
        let (wkt, is_map) = match kind {
            Kind::Message | Kind::Group => kinds.get(sub as usize).copied().unwrap_or((Wkt::None, false)),
            _ => (Wkt::None, false),
        };
        if kind == Kind::Message && features.delimited && !is_map && !in_map_entry {
            kind = Kind::Group;
        }
        let repeated = field.label() == raw::label::REPEATED;
        let cardinality = match (repeated, is_map) {
            (true, true) => Cardinality::Map,
            (true, false) => Cardinality::Repeated,
            (false, _) => Cardinality::Singular,
        };
        let required = !repeated
            && (field.label() == raw::label::REQUIRED
                || (features.presence == Presence::Required && field.oneof_index.is_none()));
        let json_name = field.json_name.clone().unwrap_or_else(|| camel_case(field.name()));
        let mut plan = FieldPlan {
            number: field.number().cast_unsigned(),
            sub,
            json_key: self.intern_key(message, &json_name)?,
            proto_key: self.intern_key(message, field.name())?,
            json_name: self.intern(message, &json_name)?,
            proto_name: self.intern(message, field.name())?,
            oneof: 0,
            kind,
            cardinality,
            wkt,
            packed: repeated && kind.is_packable() && features.packed,
            presence: !repeated
                && (kind.is_message() || features.presence != Presence::Implicit || field.proto3_optional()),
            required,
            is_null_value: kind == Kind::Enum && field.type_name() == ".google.protobuf.NullValue",
            tag_len: 0,
            tag: [0; 5],
            packed_tag: [0; 5],
        };
        plan.set_oneof(None);
        plan.set_tags();
        Ok(plan)
    }

    fn methods(&self, given: &FileList) -> Result<Vec<Method>, SchemaError> {
        let mut methods = Vec::new();
        for (file, _) in given.files.iter().take(given.extra_from) {
            for service in &file.service {
                for method in &service.method {
                    let service_name = join(file.package(), service.name());
                    let full_name = format!("{service_name}/{}", method.name());
                    let options: raw::MethodOptions = features::decode_options(method.options.as_deref());
                    methods.push(Method {
                        input: self.method_type(&full_name, method.input_type())?,
                        output: self.method_type(&full_name, method.output_type())?,
                        full_name,
                        client_streaming: method.client_streaming(),
                        server_streaming: method.server_streaming(),
                        idempotency: match options.idempotency_level {
                            Some(1) => Idempotency::NoSideEffects,
                            Some(2) => Idempotency::Idempotent,
                            _ => Idempotency::Unknown,
                        },
                        http: options.http.as_ref().map(http::flatten).unwrap_or_default(),
                        file: file.name().to_owned(),
                    });
                }
            }
        }
        Ok(methods)
    }

    fn method_type(&self, method: &str, type_name: &str) -> Result<MsgId, SchemaError> {
        match self.types.get(type_name.trim_start_matches('.')) {
            Some(TypeRef::Message(id)) => Ok(MsgId(*id)),
            _ => Err(SchemaError::Invalid { message: format!("message {type_name} of {method} is not there") }),
        }
    }

    fn intern(&mut self, owner: &str, text: &str) -> Result<Text, SchemaError> {
        let start = u32::try_from(self.arena.len()).map_err(|_| too_large(owner, "length of all names"))?;
        let len = u16::try_from(text.len()).map_err(|_| too_large(owner, "length of a name"))?;
        self.arena.push_str(text);
        Ok(Text { start, len })
    }

    fn intern_key(&mut self, owner: &str, name: &str) -> Result<Text, SchemaError> {
        let mut key = Vec::with_capacity(name.len() + 3);
        crate::json::text::write_string(name, &mut key);
        key.push(b':');
        let key = String::from_utf8(key).unwrap_or_default();
        self.intern(owner, &key)
    }
}

fn too_large(name: &str, what: &'static str) -> SchemaError {
    SchemaError::TooLarge { name: name.to_owned(), what }
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// For each declared oneof its number among the real ones, `None` for those that proto3 `optional` makes.
pub(super) fn real_oneofs(message: &raw::MessageType) -> Vec<Option<u16>> {
    let mut next = 0u16;
    (0..message.oneof_decl.len())
        .map(|oneof| {
            let synthetic = message.field.iter().any(|field| {
                field.proto3_optional() && field.oneof_index.is_some_and(|i| usize::try_from(i) == Ok(oneof))
            });
            (!synthetic).then(|| {
                next += 1;
                next - 1
            })
        })
        .collect()
}

fn kind_of(field: &raw::Field) -> Option<Kind> {
    Some(match field.r#type() {
        1 => Kind::Double,
        2 => Kind::Float,
        3 => Kind::Int64,
        4 => Kind::Uint64,
        5 => Kind::Int32,
        6 => Kind::Fixed64,
        7 => Kind::Fixed32,
        8 => Kind::Bool,
        9 => Kind::String,
        raw::field_type::GROUP => Kind::Group,
        raw::field_type::MESSAGE => Kind::Message,
        12 => Kind::Bytes,
        13 => Kind::Uint32,
        14 => Kind::Enum,
        15 => Kind::Sfixed32,
        16 => Kind::Sfixed64,
        17 => Kind::Sint32,
        18 => Kind::Sint64,
        _ => return None,
    })
}

fn wkt_of(full_name: &str) -> Wkt {
    match full_name.strip_prefix("google.protobuf.") {
        Some("Any") => Wkt::Any,
        Some("Timestamp") => Wkt::Timestamp,
        Some("Duration") => Wkt::Duration,
        Some("FieldMask") => Wkt::FieldMask,
        Some("Struct") => Wkt::Struct,
        Some("Value") => Wkt::Value,
        Some("ListValue") => Wkt::ListValue,
        Some(
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value" | "BoolValue"
            | "StringValue" | "BytesValue",
        ) => Wkt::Wrapper,
        _ => Wkt::None,
    }
}

/// `json_name` as protoc derives it: underscores are dropped and the letter after one is capitalised.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut capitalise = false;
    for letter in name.chars() {
        if letter == '_' {
            capitalise = true;
        } else if capitalise {
            camel.push(letter.to_ascii_uppercase());
            capitalise = false;
        } else {
            camel.push(letter);
        }
    }
    camel
}
