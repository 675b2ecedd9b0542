//! Compiled descriptions of messages and enums: what the codec executes without any further look-up by type name.
//!
//! Plans are built once by [`crate::schema`], never change, and refer to each other by number, so a `Schema` is a
//! handful of flat arrays. Invariants that the codec relies on:
//! - the fields of a message are sorted by number, and numbers are unique;
//! - [`FieldPlan::message`] and [`FieldPlan::enumeration`] of a kind that has one always point into the same schema;
//! - rendered keys are valid JSON string literals followed by a colon.

use crate::wire::{self, WireType};

/// Number of a message in its [`Schema`](crate::schema::Schema).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MsgId(pub(crate) u32);

/// Number of an enum in its [`Schema`](crate::schema::Schema).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnumId(pub(crate) u32);

/// Position of a field in [`MsgPlan::fields`], which is sorted by field number.
pub type FieldIndex = u16;

/// The type of a field, or of an element of a repeated field. Names are those of the `.proto` language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names of the protobuf scalar types say it")]
pub enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    String,
    Bytes,
    Uint32,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    Enum,
    /// A message with a length prefix.
    Message,
    /// A message between start and end tags: a proto2 group, or `message_encoding = DELIMITED`.
    Group,
}

impl Kind {
    /// How one value of this kind is laid out on the wire.
    #[inline]
    pub fn wire_type(self) -> WireType {
        match self {
            Kind::Int64
            | Kind::Uint64
            | Kind::Int32
            | Kind::Bool
            | Kind::Uint32
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Enum => WireType::Varint,
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::Fixed64,
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::Fixed32,
            Kind::String | Kind::Bytes | Kind::Message => WireType::Len,
            Kind::Group => WireType::StartGroup,
        }
    }

    /// True for the kinds whose repeated form may be packed: all but strings, bytes and messages.
    #[inline]
    pub fn is_packable(self) -> bool {
        !matches!(self, Kind::String | Kind::Bytes | Kind::Message | Kind::Group)
    }

    /// True for [`Kind::Message`] and [`Kind::Group`].
    #[inline]
    pub fn is_message(self) -> bool {
        matches!(self, Kind::Message | Kind::Group)
    }
}

/// How many values a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// At most one.
    Singular,
    /// A list.
    Repeated,
    /// A map; [`FieldPlan::message`] is the entry, whose first field is the key and second the value.
    Map,
}

/// Message types whose JSON form is not an object with their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the google.protobuf types say it")]
pub enum Wkt {
    /// An ordinary message.
    None,
    Any,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    /// One of the nine wrappers (`Int64Value`, …): the JSON form is that of its only field, `value`.
    Wrapper,
}

const NO_ONEOF: u16 = u16::MAX;

/// A span of the schema's string arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: u32,
    pub(crate) len: u16,
}

/// One field of a message: everything needed to read or write it. At most 64 bytes, so that a walk over a message
/// touches one cache line per field.
#[derive(Clone, Debug)]
pub struct FieldPlan {
    pub(crate) number: u32,
    /// `MsgId` or `EnumId`, by `kind`; meaningless for other kinds.
    pub(crate) sub: u32,
    /// `"jsonName":`, ready to be copied.
    pub(crate) json_key: Text,
    /// `"proto_name":`.
    pub(crate) proto_key: Text,
    pub(crate) json_name: Text,
    pub(crate) proto_name: Text,
    pub(crate) oneof: u16,
    pub(crate) kind: Kind,
    pub(crate) cardinality: Cardinality,
    /// Of the message type, if it is one.
    pub(crate) wkt: Wkt,
    pub(crate) packed: bool,
    pub(crate) presence: bool,
    pub(crate) required: bool,
    pub(crate) is_null_value: bool,
    pub(crate) tag_len: u8,
    /// Tag of one value: with the wire type of `kind`.
    pub(crate) tag: [u8; 5],
    /// Tag of the packed form.
    pub(crate) packed_tag: [u8; 5],
}

const _: () = assert!(size_of::<FieldPlan>() <= 64);

impl FieldPlan {
    /// The field number, 1 to 2^29 - 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The type of the field or of its elements; [`Kind::Message`] for a map.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// One value, a list, or a map.
    #[inline]
    pub fn cardinality(&self) -> Cardinality {
        self.cardinality
    }

    /// Which well-known type the field's message is; [`Wkt::None`] for others and for scalars.
    #[inline]
    pub fn wkt(&self) -> Wkt {
        self.wkt
    }

    /// The message of the field; for a map, its entry.
    #[inline]
    pub fn message(&self) -> Option<MsgId> {
        self.kind.is_message().then_some(MsgId(self.sub))
    }

    /// The enum of the field.
    #[inline]
    pub fn enumeration(&self) -> Option<EnumId> {
        (self.kind == Kind::Enum).then_some(EnumId(self.sub))
    }

    /// Number of the real oneof (not the one that proto3 `optional` makes) that the field belongs to, counted within
    /// its message.
    #[inline]
    pub fn oneof(&self) -> Option<u16> {
        (self.oneof != NO_ONEOF).then_some(self.oneof)
    }

    /// True if unset differs from zero: messages, members of a oneof, `optional` fields, singular proto2 fields.
    #[inline]
    pub fn has_presence(&self) -> bool {
        self.presence
    }

    /// True for a proto2 `required` field. The codec does not enforce it; the server does.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// True if the schema asks for the packed form. We always write repeated numbers packed and accept both.
    pub fn is_packed(&self) -> bool {
        self.packed
    }

    /// True for an enum field of type `google.protobuf.NullValue`, whose JSON form is `null`.
    #[inline]
    pub fn is_null_value(&self) -> bool {
        self.is_null_value
    }

    /// The encoded tag of one value: field number and the wire type of [`FieldPlan::kind`].
    #[inline]
    pub fn tag(&self) -> &[u8] {
        self.tag.get(..usize::from(self.tag_len)).unwrap_or(&self.tag)
    }

    /// The encoded tag of the packed form: field number and [`WireType::Len`].
    #[inline]
    pub fn packed_tag(&self) -> &[u8] {
        self.packed_tag.get(..usize::from(self.tag_len)).unwrap_or(&self.packed_tag)
    }

    /// True if a value equal to zero is left out on the wire: singular scalars without presence.
    #[inline]
    pub fn skips_zero(&self) -> bool {
        !self.presence && self.cardinality == Cardinality::Singular
    }

    pub(crate) fn set_tags(&mut self) {
        let mut bytes = Vec::with_capacity(5);
        wire::put_tag(&mut bytes, self.number, self.kind.wire_type());
        self.tag_len = u8::try_from(bytes.len()).unwrap_or(5);
        copy_tag(&mut self.tag, &bytes);
        bytes.clear();
        wire::put_tag(&mut bytes, self.number, WireType::Len);
        copy_tag(&mut self.packed_tag, &bytes);
    }

    pub(crate) fn set_oneof(&mut self, oneof: Option<u16>) {
        self.oneof = oneof.unwrap_or(NO_ONEOF);
    }
}

fn copy_tag(to: &mut [u8; 5], from: &[u8]) {
    for (slot, byte) in to.iter_mut().zip(from) {
        *slot = *byte;
    }
}

/// Numbers up to this one are found through a table, the others by binary search.
const DENSE_NUMBERS: usize = 64;

/// One message type.
#[derive(Debug)]
pub struct MsgPlan {
    pub(crate) full_name: Box<str>,
    pub(crate) wkt: Wkt,
    pub(crate) is_map_entry: bool,
    pub(crate) fields: Box<[FieldPlan]>,
    /// Index plus one by number; zero for a number that is not there.
    pub(crate) dense: Box<[u16]>,
    pub(crate) names: NameTable,
    pub(crate) oneofs: u16,
}

impl MsgPlan {
    /// The full name without leading dot, `pkg.Outer.Inner`.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// Which well-known type this is.
    #[inline]
    pub fn wkt(&self) -> Wkt {
        self.wkt
    }

    /// True for the message type behind a map field.
    pub fn is_map_entry(&self) -> bool {
        self.is_map_entry
    }

    /// All fields, sorted by number, extensions included.
    #[inline]
    pub fn fields(&self) -> &[FieldPlan] {
        &self.fields
    }

    /// The field at `index`.
    #[inline]
    pub fn field(&self, index: FieldIndex) -> Option<&FieldPlan> {
        self.fields.get(usize::from(index))
    }

    /// How many real oneofs the message has.
    pub fn oneofs(&self) -> u16 {
        self.oneofs
    }

    /// Finds a field by its number: one table look-up below 64, a binary search above.
    #[inline]
    pub fn find_number(&self, number: u32) -> Option<FieldIndex> {
        match usize::try_from(number) {
            Ok(small) if small < DENSE_NUMBERS => self.dense.get(small)?.checked_sub(1),
            _ => {
                let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
                FieldIndex::try_from(index).ok()
            }
        }
    }

    pub(crate) fn dense_table(fields: &[FieldPlan]) -> Box<[u16]> {
        let mut dense = Vec::new();
        for (field, index) in fields.iter().zip(1u16..) {
            let Ok(number) = usize::try_from(field.number) else {
                continue;
            };
            if number >= DENSE_NUMBERS {
                break;
            }
            dense.resize(number, 0);
            dense.push(index);
        }
        dense.into()
    }
}

/// Names to small numbers: open addressing, at most half full. Holds both spellings of every field, or the names of an
/// enum. The names themselves are in the schema's arena.
#[derive(Debug, Default)]
pub(crate) struct NameTable {
    /// Length is zero or a power of two.
    slots: Box<[NameSlot]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct NameSlot {
    hash: u32,
    name: Text,
    /// Value plus one; zero marks an empty slot.
    value: u16,
}

impl NameTable {
    /// Builds a table; the first of two equal names wins.
    pub(crate) fn build(arena: &str, names: impl Iterator<Item = (Text, u16)> + Clone) -> Self {
        let count = names.clone().count();
        if count == 0 {
            return Self::default();
        }
        let size = (count * 2).next_power_of_two();
        let mut slots = vec![NameSlot::default(); size].into_boxed_slice();
        'names: for (name, value) in names {
            let text = text_in(arena, name);
            let hash = hash_name(text.as_bytes());
            let mut at = start_slot(hash, size);
            while let Some(slot) = slots.get_mut(at) {
                if slot.value == 0 {
                    *slot = NameSlot { hash, name, value: value.saturating_add(1) };
                    continue 'names;
                }
                if slot.hash == hash && text_in(arena, slot.name) == text {
                    continue 'names;
                }
                at = (at + 1) & (size - 1);
            }
        }
        Self { slots }
    }

    /// The value of `name`. Costs one hash of the name and, nearly always, one comparison.
    #[inline]
    pub(crate) fn find(&self, arena: &str, name: &[u8]) -> Option<u16> {
        let size = self.slots.len();
        if size == 0 {
            return None;
        }
        let hash = hash_name(name);
        let mut at = start_slot(hash, size);
        loop {
            let slot = self.slots.get(at)?;
            let value = slot.value.checked_sub(1)?;
            if slot.hash == hash && text_in(arena, slot.name).as_bytes() == name {
                return Some(value);
            }
            at = (at + 1) & (size - 1);
        }
    }
}

fn start_slot(hash: u32, size: usize) -> usize {
    usize::try_from(hash).unwrap_or(0) & (size - 1)
}

#[inline]
pub(crate) fn text_in(arena: &str, text: Text) -> &str {
    let start = text.start as usize;
    arena.get(start..start + usize::from(text.len)).unwrap_or("")
}

/// A 32-bit hash of length, first eight and last eight bytes: constant time however long a client's key is. Names that
/// agree in all three share a chain, whose length only the schema decides.
#[inline]
fn hash_name(name: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => {
            let mut word = 0;
            for &byte in name {
                word = word << 8 | u64::from(byte);
            }
            (word, 0)
        }
    };
    let mixed = (first ^ (name.len() as u64)).wrapping_mul(MULTIPLIER) ^ last.rotate_left(29);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(MULTIPLIER);
    // The upper half of a product is the well-mixed one; the shift makes the cast exact.
    u32::try_from(mixed >> 32).unwrap_or(0)
}

/// One enum type.
#[derive(Debug)]
pub struct EnumPlan {
    pub(crate) full_name: Box<str>,
    /// True if numbers outside the list are kept (proto3); false if they count as unknown fields (proto2).
    pub(crate) open: bool,
    /// `(number, name)`, sorted by number; the first name declared for a number comes first.
    pub(crate) by_number: Box<[(i32, Text)]>,
    pub(crate) names: NameTable,
    /// Declared value numbers in order of declaration; `names` gives an index into it.
    pub(crate) numbers: Box<[i32]>,
}

impl EnumPlan {
    /// The full name without leading dot.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// True if a number that has no name is a value like any other.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The number of the first declared value, which is the value of an unset field.
    pub fn first_number(&self) -> i32 {
        self.numbers.first().copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn name_text(&self, number: i32) -> Option<Text> {
        // Nearly all enums count 0, 1, 2, …: try that slot before searching.
        if let Some((found, text)) = usize::try_from(number).ok().and_then(|at| self.by_number.get(at))
            && *found == number
        {
            return Some(*text);
        }
        let at = self.by_number.partition_point(|(candidate, _)| *candidate < number);
        self.by_number.get(at).filter(|(candidate, _)| *candidate == number).map(|(_, text)| *text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_strangers_are_not() {
        let mut arena = String::new();
        let mut texts = Vec::new();
        // Same length, same ends: all in one chain.
        for i in 0..300u16 {
            let name = format!("common_prefix_{i:03}_common_suffix");
            texts.push((Text { start: arena.len() as u32, len: name.len() as u16 }, i));
            arena.push_str(&name);
        }
        let table = NameTable::build(&arena, texts.iter().copied());
        for (text, value) in &texts {
            assert_eq!(table.find(&arena, text_in(&arena, *text).as_bytes()), Some(*value));
        }
        assert_eq!(table.find(&arena, b"common_prefix_300_common_suffix"), None);
        assert_eq!(table.find(&arena, b""), None);
        assert_eq!(NameTable::default().find("", b"a"), None);
    }

    #[test]
    fn the_first_of_two_equal_names_wins() {
        let table =
            NameTable::build("aa", [(Text { start: 0, len: 1 }, 7), (Text { start: 1, len: 1 }, 8)].into_iter());
        assert_eq!(table.find("aa", b"a"), Some(7));
    }
}
