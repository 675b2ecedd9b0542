//! Random schemas and random messages of them.

use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage as _, Value,
};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MessageOptions, OneofDescriptorProto,
};
use tidegate_transcode::Schema;
use tidegate_transcode::plan::MsgId;
use tidegate_transcode::schema::compile_protos;

/// Repeatable random numbers (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// One schema in both forms.
pub(crate) struct World {
    pub(crate) schema: Schema,
    pool: DescriptorPool,
    roots: Vec<String>,
}

impl World {
    /// The schema of `testdata/proto`.
    pub(crate) fn fixed() -> Self {
        let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/proto");
        let set = compile_protos(&["kinds.proto", "legacy.proto", "shop.proto"], &[testdata]).expect("compiles");
        let roots = ["kinds.v1.All", "kinds.v1.All", "legacy.v1.Old", "shop.v1.OrderList"];
        Self::new(&set, roots.map(str::to_owned).to_vec())
    }

    /// One file with a few messages that refer to each other.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let file = random_file(dice);
        let roots = file.message_type.iter().map(|message| format!("random.{}", message.name())).collect();
        Self::new(&FileDescriptorSet { file: vec![file] }.encode_to_vec(), roots)
    }

    fn new(set: &[u8], roots: Vec<String>) -> Self {
        let schema = Schema::from_descriptor_set(set).expect("a valid schema");
        let pool = DescriptorPool::decode(set).expect("a valid schema");
        Self { schema, pool, roots }
    }

    pub(crate) fn id(&self, name: &str) -> MsgId {
        self.schema.find_message(name).expect("the schema has it")
    }

    pub(crate) fn message(&self, dice: &mut Dice) -> DynamicMessage {
        let name = dice.pick(&self.roots);
        let descriptor = self.pool.get_message_by_name(name).expect("the pool has it");
        random_message(&descriptor, dice, 4)
    }
}

const MESSAGES: usize = 4;

fn random_file(dice: &mut Dice) -> FileDescriptorProto {
    let syntax = if dice.coin() { "proto2" } else { "proto3" };
    let values = [("ZERO", 0), ("ONE", 1), ("MINUS", -1), ("MANY", 1_000)];
    let value = |(name, number): (&str, i32)| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..Default::default()
    };
    FileDescriptorProto {
        name: Some("random.proto".to_owned()),
        package: Some("random".to_owned()),
        syntax: Some(syntax.to_owned()),
        message_type: (0..MESSAGES).map(|i| random_type(i, syntax == "proto3", dice)).collect(),
        enum_type: vec![EnumDescriptorProto {
            name: Some("Choice".to_owned()),
            value: values.map(value).to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn random_type(index: usize, is_proto3: bool, dice: &mut Dice) -> DescriptorProto {
    let mut message = DescriptorProto { name: Some(format!("M{index}")), ..Default::default() };
    let most = if dice.one_in(4) { 90 } else { 12 };
    let fields = 1 + dice.below(most);
    let mut number = 0;
    for i in 0..fields {
        number += 1 + if dice.one_in(5) { dice.below(3_000) as i32 } else { 0 };
        if (19_000..20_000).contains(&number) {
            // Reserved for the implementation.
            number = 20_000;
        }
        let name = dice.pick(&["plain", "two_words", "with_3_digits", "x", "CamelCase"]);
        let mut field = random_type_of_field(number, format!("{name}_{i}"), dice);
        match dice.below(6) {
            0 | 1 => field.label = Some(Label::Repeated.into()),
            2 => make_map(&mut message, &mut field, index, dice),
            3 if is_proto3 => {
                // The oneofs that `optional` makes must come after the others.
                field.proto3_optional = Some(true);
            }
            4 => {
                if message.oneof_decl.is_empty() {
                    message.oneof_decl.push(OneofDescriptorProto { name: Some("choice".to_owned()), options: None });
                }
                field.oneof_index = Some(0);
            }
            _ => {}
        }
        message.field.push(field);
    }
    for field in message.field.iter_mut().filter(|field| field.proto3_optional()) {
        field.oneof_index = Some(message.oneof_decl.len() as i32);
        message.oneof_decl.push(OneofDescriptorProto { name: Some(format!("_{}", field.name())), options: None });
    }
    message
}

fn random_type_of_field(number: i32, name: String, dice: &mut Dice) -> FieldDescriptorProto {
    let types = [
        Type::Double,
        Type::Float,
        Type::Int64,
        Type::Uint64,
        Type::Int32,
        Type::Fixed64,
        Type::Fixed32,
        Type::Bool,
        Type::String,
        Type::Bytes,
        Type::Uint32,
        Type::Sfixed32,
        Type::Sfixed64,
        Type::Sint32,
        Type::Sint64,
        Type::Enum,
        Type::Message,
        Type::Message,
        Type::Message,
    ];
    let kind = *dice.pick(&types);
    let type_name = match kind {
        Type::Enum => Some(".random.Choice".to_owned()),
        Type::Message => Some(format!(".random.M{}", dice.below(MESSAGES))),
        _ => None,
    };
    FieldDescriptorProto {
        name: Some(name),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name,
        ..Default::default()
    }
}

fn make_map(message: &mut DescriptorProto, field: &mut FieldDescriptorProto, index: usize, dice: &mut Dice) {
    let keys = [Type::String, Type::Int32, Type::Uint64, Type::Sint64, Type::Fixed32, Type::Sfixed64, Type::Bool];
    let key = FieldDescriptorProto {
        name: Some("key".to_owned()),
        number: Some(1),
        label: Some(Label::Optional.into()),
        r#type: Some((*dice.pick(&keys)).into()),
        ..Default::default()
    };
    let value = FieldDescriptorProto {
        name: Some("value".to_owned()),
        number: Some(2),
        label: Some(Label::Optional.into()),
        r#type: field.r#type,
        type_name: field.type_name.clone(),
        ..Default::default()
    };
    // protoc derives the name of the entry from that of the field.
    let camel: String = field.name().split('_').map(capitalised).collect();
    let entry = format!("{camel}Entry");
    message.nested_type.push(DescriptorProto {
        name: Some(entry.clone()),
        field: vec![key, value],
        options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
        ..Default::default()
    });
    field.label = Some(Label::Repeated.into());
    field.r#type = Some(Type::Message.into());
    field.type_name = Some(format!(".random.M{index}.{entry}"));
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// A message in which about a third of the fields is set; `levels` bounds its depth.
fn random_message(descriptor: &MessageDescriptor, dice: &mut Dice, levels: usize) -> DynamicMessage {
    if let Some(special) = random_special(descriptor, dice, levels) {
        return special;
    }
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let is_deep = matches!(field.kind(), Kind::Message(_)) && levels == 0;
        if is_deep || !dice.one_in(3) {
            continue;
        }
        let value = random_field(&field, dice, levels.saturating_sub(1));
        message.set_field(&field, value);
    }
    for extension in descriptor.extensions() {
        if dice.one_in(3) {
            let value = match extension.cardinality() {
                Cardinality::Repeated => Value::List(vec![random_value(&extension.kind(), dice, 0)]),
                _ => random_value(&extension.kind(), dice, 0),
            };
            message.set_extension(&extension, value);
        }
    }
    message
}

fn random_field(field: &FieldDescriptor, dice: &mut Dice, levels: usize) -> Value {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("a map has entries") };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let len = dice.below(4);
        let entries = (0..len).map(|_| (random_key(&key.kind(), dice), random_value(&value.kind(), dice, levels)));
        return Value::Map(entries.collect());
    }
    if field.is_list() {
        let len = dice.below(4);
        return Value::List((0..len).map(|_| random_value(&field.kind(), dice, levels)).collect());
    }
    random_value(&field.kind(), dice, levels)
}

fn random_key(kind: &Kind, dice: &mut Dice) -> MapKey {
    match random_value(kind, dice, 0) {
        Value::Bool(value) => MapKey::Bool(value),
        Value::I32(value) => MapKey::I32(value),
        Value::I64(value) => MapKey::I64(value),
        Value::U32(value) => MapKey::U32(value),
        Value::U64(value) => MapKey::U64(value),
        Value::String(value) => MapKey::String(value),
        other => unreachable!("no key: {other:?}"),
    }
}

fn random_value(kind: &Kind, dice: &mut Dice, levels: usize) -> Value {
    match kind {
        Kind::Double => Value::F64(random_double(dice)),
        Kind::Float => Value::F32(random_float(dice)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(random_bits(dice) as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(random_bits(dice) as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(random_bits(dice) as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(random_bits(dice)),
        Kind::Bool => Value::Bool(dice.coin()),
        Kind::String => Value::String(random_text(dice)),
        Kind::Bytes => Value::Bytes((0..dice.below(20)).map(|_| dice.next() as u8).collect::<Vec<_>>().into()),
        Kind::Enum(descriptor) => Value::EnumNumber(random_enum(descriptor, dice)),
        Kind::Message(descriptor) => Value::Message(random_message(descriptor, dice, levels)),
    }
}

/// Small, large, and at the edges.
fn random_bits(dice: &mut Dice) -> u64 {
    match dice.below(5) {
        0 => 0,
        1 => dice.below(300) as u64,
        2 => (dice.below(300) as u64).wrapping_neg(),
        3 => *dice.pick(&[u64::MAX, u64::MAX >> 1, (u64::MAX >> 1) + 1, u64::from(u32::MAX), 1 << 31, 1 << 53]),
        _ => dice.next(),
    }
}

/// Only doubles that serde_json reads exactly: its default parser may be one unit off elsewhere. The others are covered by
/// reading back what we print, and by the unit tests.
fn random_double(dice: &mut Dice) -> f64 {
    match dice.below(3) {
        0 => *dice.pick(&[0.0, -0.0, 1.0, 0.1, f64::INFINITY, f64::NEG_INFINITY, 1e21, 1e-7]),
        1 => dice.below(1_000_000) as f64 / 100.0,
        _ => (dice.next() as i32) as f64 / 4.0,
    }
}

/// Without the largest float, whose shortest form prost-reflect refuses as out of range.
fn random_float(dice: &mut Dice) -> f32 {
    match dice.below(4) {
        0 => *dice.pick(&[0.0, -0.0, 1.0, 0.1, f32::INFINITY, f32::NEG_INFINITY, 1e-45, 1e21, 16_777_216.0]),
        1 => dice.below(10_000) as f32 / 100.0,
        _ => Some(f32::from_bits(dice.next() as u32)).filter(|value| value.is_finite()).unwrap_or(1.5),
    }
}

fn random_text(dice: &mut Dice) -> String {
    let pieces = ["a", "Zebra", "é", "😀", "\"", "\\", "\n", "\u{1}", "/", " ", "null", "0123456789abcdef", "\u{2028}"];
    let len = if dice.one_in(20) { 200 } else { dice.below(8) };
    (0..len).map(|_| *dice.pick(&pieces)).collect()
}

fn random_enum(descriptor: &EnumDescriptor, dice: &mut Dice) -> i32 {
    let numbers: Vec<i32> = descriptor.values().map(|value| value.number()).collect();
    let is_open = descriptor.parent_file().syntax() == prost_reflect::Syntax::Proto3;
    // NullValue prints as null whatever its number.
    let is_null = descriptor.full_name() == "google.protobuf.NullValue";
    if is_open && !is_null && dice.one_in(8) { 777 } else { *dice.pick(&numbers) }
}

/// The well-known types, within their ranges.
fn random_special(descriptor: &MessageDescriptor, dice: &mut Dice, levels: usize) -> Option<DynamicMessage> {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let range = 253_402_300_799i64 + 62_135_596_800;
            message.set_field_by_name("seconds", Value::I64((dice.next() % range as u64) as i64 - 62_135_596_800));
            message.set_field_by_name("nanos", Value::I32(random_nanos(dice)));
        }
        "google.protobuf.Duration" => {
            let sign = if dice.coin() { 1 } else { -1 };
            message.set_field_by_name("seconds", Value::I64(sign * (dice.next() % 315_576_000_000) as i64));
            message.set_field_by_name("nanos", Value::I32(sign as i32 * random_nanos(dice)));
        }
        "google.protobuf.FieldMask" => {
            let paths = ["a", "foo_bar", "a.b_c.d", "x1"];
            let paths = (0..dice.below(3)).map(|_| Value::String((*dice.pick(&paths)).to_owned()));
            message.set_field_by_name("paths", Value::List(paths.collect()));
        }
        "google.protobuf.Value" => {
            let kinds: &[&str] =
                if levels == 0 { &["null_value", "number_value", "string_value", "bool_value"] } else { &ALL_VALUES };
            let name: &str = dice.pick::<&str>(kinds);
            let field = descriptor.get_field_by_name(name).expect("a field of Value");
            let value = match field.name() {
                "number_value" => Value::F64(Some(random_double(dice)).filter(|v| v.is_finite()).unwrap_or(2.5)),
                "null_value" => Value::EnumNumber(0),
                _ => random_value(&field.kind(), dice, levels.saturating_sub(1)),
            };
            message.set_field(&field, value);
        }
        // prost-reflect prints an infinite one as null.
        "google.protobuf.FloatValue" => message.set_field_by_name("value", Value::F32(dice.below(1_000) as f32 / 8.0)),
        "google.protobuf.DoubleValue" => message.set_field_by_name("value", Value::F64(dice.below(1_000) as f64 / 8.0)),
        "google.protobuf.Any" => {
            let pool = descriptor.parent_pool();
            // Without maps, whose encodings have no order.
            let names = ["google.protobuf.Duration", "google.protobuf.Int64Value", "google.protobuf.FieldMask"];
            let name: &str = dice.pick::<&str>(&names);
            let inner = pool.get_message_by_name(name)?;
            let inner = random_message(&inner, dice, levels.saturating_sub(1));
            let url = format!("type.googleapis.com/{}", inner.descriptor().full_name());
            message.set_field_by_name("type_url", Value::String(url));
            message.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
        }
        _ => return None,
    }
    Some(message)
}

const ALL_VALUES: [&str; 6] =
    ["null_value", "number_value", "string_value", "bool_value", "struct_value", "list_value"];

fn random_nanos(dice: &mut Dice) -> i32 {
    let digits = *dice.pick(&[1, 1_000, 1_000_000, 1_000_000_000]);
    (dice.below(digits) * (1_000_000_000 / digits)) as i32
}
