//! The same message in another encoding: fields in another order, runs split, messages in two pieces.

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use tidegate_transcode::wire::{Cursor, WireType, put_tag, put_varint};

use crate::generate::Dice;

/// One field as it is on the wire, with what it belongs to.
struct Record {
    /// Records of one group keep their order: those of one field, and those of the members of one oneof.
    group: u32,
    bytes: Vec<u8>,
}

/// Re-encodes `wire` without changing what it means.
pub(crate) fn shuffle(descriptor: &MessageDescriptor, wire: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut records = Vec::new();
    let mut cursor = Cursor::new(wire);
    while !cursor.is_empty() {
        let before = cursor.rest();
        let (number, wire_type) = cursor.tag().expect("encoded by prost");
        let value = cursor;
        cursor.skip(number, wire_type).expect("encoded by prost");
        let whole = &before[..before.len() - cursor.rest().len()];
        let field = descriptor.get_field(number);
        let oneof = field.as_ref().and_then(FieldDescriptor::containing_oneof).filter(|oneof| !oneof.is_synthetic());
        // Field numbers end below 2^29, so oneofs can be numbered above.
        let group = oneof.map_or(number, |oneof| 1 << 30 | oneof.name().len() as u32);
        let pieces = field.and_then(|field| split(&field, wire_type, value, dice)).unwrap_or(vec![whole.to_vec()]);
        records.extend(pieces.into_iter().map(|bytes| Record { group, bytes }));
    }
    reorder(&mut records, dice);
    records.into_iter().flat_map(|record| record.bytes).collect()
}

/// Moves records past those of other groups.
fn reorder(records: &mut [Record], dice: &mut Dice) {
    for _ in 0..records.len() * 3 {
        let at = dice.below(records.len().saturating_sub(1));
        if let [.., a, b] = &records[..(at + 2).min(records.len())]
            && a.group != b.group
        {
            records.swap(at, at + 1);
        }
    }
}

/// The field in other or more pieces, if there is another way to write it.
fn split(field: &FieldDescriptor, wire_type: WireType, mut value: Cursor<'_>, dice: &mut Dice) -> Option<Vec<Vec<u8>>> {
    if wire_type != WireType::Len || field.is_map() {
        return None;
    }
    let number = field.number();
    let content = value.len_prefixed().ok()?;
    if let Kind::Message(inner) = field.kind() {
        let shuffled = shuffle(&inner, content, dice);
        if field.cardinality() == Cardinality::Repeated || is_replaced_whole(&inner) {
            return Some(vec![delimited(number, &shuffled)]);
        }
        let cut = cut_between_fields(&shuffled, dice);
        let (a, b) = shuffled.split_at(cut);
        return Some(vec![delimited(number, a), delimited(number, b)]);
    }
    if field.cardinality() != Cardinality::Repeated || matches!(field.kind(), Kind::String | Kind::Bytes) {
        return None;
    }
    // A packed run: every element alone, or in runs of two, with an empty run at the end.
    let element_type = field.kind().wire_type();
    let mut elements = Vec::new();
    let mut cursor = Cursor::new(content);
    while !cursor.is_empty() {
        let before = cursor.rest();
        let wire_type = match element_type as u8 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            _ => WireType::Fixed32,
        };
        cursor.skip(number, wire_type).ok()?;
        elements.push((wire_type, &before[..before.len() - cursor.rest().len()]));
    }
    if dice.coin() {
        let alone = elements.iter().map(|(wire_type, bytes)| {
            let mut piece = Vec::new();
            put_tag(&mut piece, number, *wire_type);
            piece.extend_from_slice(bytes);
            piece
        });
        return Some(alone.chain([delimited(number, &[])]).collect());
    }
    let runs = elements.chunks(2).map(|run| {
        let bytes: Vec<u8> = run.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        delimited(number, &bytes)
    });
    Some(runs.collect())
}

/// Splitting an `Any` or a wrapper is fine; a `Value` is a oneof, in which the last piece may be empty.
fn is_replaced_whole(descriptor: &MessageDescriptor) -> bool {
    descriptor.full_name() == "google.protobuf.Value"
}

fn delimited(number: u32, content: &[u8]) -> Vec<u8> {
    let mut piece = Vec::new();
    put_tag(&mut piece, number, WireType::Len);
    put_varint(&mut piece, content.len() as u64);
    piece.extend_from_slice(content);
    piece
}

fn cut_between_fields(wire: &[u8], dice: &mut Dice) -> usize {
    let mut cuts = vec![0];
    let mut cursor = Cursor::new(wire);
    while !cursor.is_empty() {
        let (number, wire_type) = cursor.tag().expect("well formed");
        cursor.skip(number, wire_type).expect("well formed");
        cuts.push(wire.len() - cursor.rest().len());
    }
    *dice.pick(&cuts)
}
