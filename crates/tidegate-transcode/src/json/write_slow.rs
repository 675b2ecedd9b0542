//! Prints messages whose fields come in an unusual order, are split, or come again.
//!
//! Each message is indexed first: where the occurrences of every field begin, sorted by field. Then the rules of
//! protobuf for reading such a message are applied field by field: the last scalar wins, pieces of a message are joined,
//! list elements are collected from all runs, the last of two equal map keys wins, and the last member of a oneof is the
//! only one. Costs eight bytes per occurrence while a message is open.

use std::borrow::Cow;

use super::options::MAX_DEPTH;
use super::write::{Stop, Writer, accepts, descend};
use crate::plan::{Cardinality, FieldIndex, FieldPlan, Kind, MsgId, MsgPlan};
use crate::schema::Schema;
use crate::wire::{Cursor, WireType};

/// One occurrence of a field: the offset of its tag.
#[derive(Clone, Copy, Debug)]
struct Occurrence {
    field: FieldIndex,
    at: u32,
}

impl<'a> Writer<'a> {
    /// As [`Writer::object_members`], for fields in any order.
    pub(super) fn indexed_members(&mut self, plan: &'a MsgPlan, wire: &[u8], levels: u32) -> Result<(), Stop> {
        let occurrences = index(self.schema, plan, wire)?;
        let mut next = 0;
        for group in occurrences.chunk_by(|a, b| a.field == b.field) {
            let Some(field) = group.first().and_then(|first| plan.field(first.field)) else { continue };
            let at = group.first().map_or(0, |first| usize::from(first.field));
            if self.options.emit_defaults {
                self.defaults(plan.fields.get(next..at).unwrap_or_default());
            }
            next = at + 1;
            self.member(field, group, wire, levels)?;
        }
        if self.options.emit_defaults {
            self.defaults(plan.fields.get(next..).unwrap_or_default());
        }
        Ok(())
    }

    /// Prints one field of the message alone, without a key.
    pub(super) fn single_field(&mut self, id: MsgId, index_of_field: FieldIndex, wire: &[u8]) -> Result<(), Stop> {
        let plan = self.schema.message(id);
        let Some(field) = plan.field(index_of_field) else { return Ok(()) };
        let occurrences = index(self.schema, plan, wire)?;
        let levels = descend(MAX_DEPTH)?;
        let start = occurrences.partition_point(|occurrence| occurrence.field < index_of_field);
        let end = occurrences.partition_point(|occurrence| occurrence.field <= index_of_field);
        let group = occurrences.get(start..end).unwrap_or_default();
        if group.is_empty() {
            self.default_value(field);
            return Ok(());
        }
        match field.cardinality {
            Cardinality::Singular => self.singular_value(field, group, wire, levels),
            Cardinality::Repeated => {
                self.out.push(b'[');
                self.list_elements(field, group, wire, levels)?;
                self.close(b']');
                Ok(())
            }
            Cardinality::Map => {
                self.out.push(b'{');
                self.map_entries(field, group, wire, levels)?;
                self.close(b'}');
                Ok(())
            }
        }
    }

    /// Prints one field with key and comma from all its occurrences.
    fn member(&mut self, field: &'a FieldPlan, group: &[Occurrence], wire: &[u8], levels: u32) -> Result<(), Stop> {
        let key_start = self.out.len();
        match field.cardinality {
            Cardinality::Singular if !field.kind.is_message() => {
                let Some(last) = group.last() else { return Ok(()) };
                let (mut cursor, _) = value_at(wire, *last)?;
                self.scalar_member(field, &mut cursor)?;
            }
            Cardinality::Singular => {
                self.key(field);
                self.singular_value(field, group, wire, levels)?;
                self.out.push(b',');
            }
            Cardinality::Repeated => {
                self.key(field);
                self.out.push(b'[');
                self.list_elements(field, group, wire, levels)?;
                self.close_collection(key_start, b']');
            }
            Cardinality::Map => {
                self.key(field);
                self.out.push(b'{');
                self.map_entries(field, group, wire, levels)?;
                self.close_collection(key_start, b'}');
            }
        }
        Ok(())
    }

    /// Prints the value of a singular field: the last scalar, or all pieces of the message joined.
    fn singular_value(
        &mut self,
        field: &'a FieldPlan,
        group: &[Occurrence],
        wire: &[u8],
        levels: u32,
    ) -> Result<(), Stop> {
        if !field.kind.is_message() {
            let Some(last) = group.last() else { return Ok(()) };
            let (mut cursor, _) = value_at(wire, *last)?;
            self.element(field, &mut cursor)?;
            // A value that stands alone has no comma.
            self.close_alone();
            return Ok(());
        }
        let mut joined: Cow<'_, [u8]> = Cow::Borrowed(&[]);
        for occurrence in group {
            let (mut cursor, _) = value_at(wire, *occurrence)?;
            let piece = match field.kind {
                Kind::Group => cursor.group(field.number)?,
                _ => cursor.len_prefixed()?,
            };
            if group.len() == 1 {
                joined = Cow::Borrowed(piece);
            } else {
                joined.to_mut().extend_from_slice(piece);
            }
        }
        self.message(MsgId(field.sub), &joined, levels)
    }

    fn close_alone(&mut self) {
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
    }

    fn list_elements(
        &mut self,
        field: &'a FieldPlan,
        group: &[Occurrence],
        wire: &[u8],
        levels: u32,
    ) -> Result<(), Stop> {
        for occurrence in group {
            let (mut cursor, wire_type) = value_at(wire, *occurrence)?;
            self.list_item(field, wire_type, &mut cursor, levels)?;
        }
        Ok(())
    }

    fn map_entries(
        &mut self,
        field: &'a FieldPlan,
        group: &[Occurrence],
        wire: &[u8],
        levels: u32,
    ) -> Result<(), Stop> {
        let mut entries = Vec::with_capacity(group.len());
        for occurrence in group {
            let (mut cursor, _) = value_at(wire, *occurrence)?;
            entries.push(cursor.len_prefixed()?);
        }
        self.unique_entries(field, &entries, levels)
    }

    /// Prints map entries with their commas; of entries with the same key only the last one, in its place.
    pub(super) fn unique_entries(&mut self, field: &'a FieldPlan, entries: &[&[u8]], levels: u32) -> Result<(), Stop> {
        // Printed keys are compared, because one key may be encoded in several ways. Each entry is printed once behind
        // the output, in order, and those that are replaced later are cut out at the end.
        let start = self.out.len();
        let mut printed: Vec<(std::ops::Range<usize>, usize)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let entry_start = self.out.len();
            if let Some(key_len) = self.map_entry(field, entry, levels)? {
                printed.push((entry_start..self.out.len(), key_len));
            }
        }
        let key_of = |(range, key_len): &(std::ops::Range<usize>, usize)| {
            self.out.get(range.start..range.start + key_len).unwrap_or_default()
        };
        let mut order: Vec<usize> = (0..printed.len()).collect();
        order.sort_by(|a, b| printed.get(*a).map(key_of).cmp(&printed.get(*b).map(key_of)));
        let mut replaced = vec![false; printed.len()];
        for pair in order.windows(2) {
            let [earlier, later] = *pair else { continue };
            // The sort is stable, so the later entry comes second.
            if printed.get(earlier).map(key_of) == printed.get(later).map(key_of)
                && let Some(slot) = replaced.get_mut(earlier)
            {
                *slot = true;
            }
        }
        if !replaced.contains(&true) {
            return Ok(());
        }
        let kept: Vec<u8> = printed
            .iter()
            .zip(&replaced)
            .filter(|(_, replaced)| !**replaced)
            .flat_map(|((range, _), _)| self.out.get(range.clone()).unwrap_or_default().iter().copied())
            .collect();
        self.out.truncate(start);
        self.out.extend_from_slice(&kept);
        Ok(())
    }
}

/// Finds all occurrences of known fields, sorted by field and then by position, without those that a later member of
/// the same oneof replaces and those with a number that their closed enum does not have.
fn index(schema: &Schema, plan: &MsgPlan, wire: &[u8]) -> Result<Vec<Occurrence>, Stop> {
    let mut occurrences = Vec::new();
    // For each oneof the member that was set last, and where its last run began.
    let mut winners: Vec<Option<Occurrence>> = vec![None; usize::from(plan.oneofs)];
    let mut cursor = Cursor::new(wire);
    while !cursor.is_empty() {
        let at = u32::try_from(wire.len() - cursor.rest().len()).map_err(|_| crate::wire::Malformed)?;
        let (number, wire_type) = cursor.tag()?;
        let value = cursor;
        cursor.skip(number, wire_type)?;
        let Some(found) = plan.find_number(number) else { continue };
        let Some(field) = plan.field(found) else { continue };
        if !accepts(field, wire_type) || is_unknown_singular(schema, field, value) {
            continue;
        }
        let occurrence = Occurrence { field: found, at };
        if let Some(winner) = field.oneof().and_then(|oneof| winners.get_mut(usize::from(oneof)))
            && winner.is_none_or(|winner| winner.field != found)
        {
            *winner = Some(occurrence);
        }
        occurrences.push(occurrence);
    }
    occurrences.retain(|occurrence| {
        let oneof = plan.field(occurrence.field).and_then(FieldPlan::oneof);
        let winner = oneof.and_then(|oneof| winners.get(usize::from(oneof)).copied().flatten());
        winner.is_none_or(|winner| winner.field == occurrence.field && winner.at <= occurrence.at)
    });
    occurrences.sort_by_key(|occurrence| occurrence.field);
    Ok(occurrences)
}

fn is_unknown_singular(schema: &Schema, field: &FieldPlan, mut value: Cursor<'_>) -> bool {
    if field.kind != Kind::Enum || field.cardinality != Cardinality::Singular {
        return false;
    }
    // An enum number is the low half of its varint.
    value.varint().is_ok_and(|number| schema.is_unknown_enum(field, number.cast_signed() as i32))
}

/// A cursor at the value of an occurrence, and the wire type of its tag.
fn value_at<'w>(wire: &'w [u8], occurrence: Occurrence) -> Result<(Cursor<'w>, WireType), Stop> {
    let mut cursor = Cursor::new(wire.get(occurrence.at as usize..).unwrap_or_default());
    let (_, wire_type) = cursor.tag()?;
    Ok((cursor, wire_type))
}
