//! Messages whose JSON form is not an object of their fields: content of the message → JSON text.

use std::borrow::Cow;

use super::base64;
use super::error::WriteError;
use super::keys::Keys;
use super::write::{Stop, Writer, descend};
use crate::any;
use crate::plan::{MsgPlan, Wkt};
use crate::wire::{Cursor, Malformed, WireType};
use crate::wkt;

impl<'a> Writer<'a> {
    pub(super) fn timestamp(&mut self, wire: &[u8]) -> Result<(), Stop> {
        self.seconds_and_nanos(wire, wkt::write_timestamp)
    }

    pub(super) fn duration(&mut self, wire: &[u8]) -> Result<(), Stop> {
        self.seconds_and_nanos(wire, wkt::write_duration)
    }

    fn seconds_and_nanos(&mut self, wire: &[u8], write: fn(i64, i32, &mut Vec<u8>) -> Option<()>) -> Result<(), Stop> {
        let (mut seconds, mut nanos) = (0i64, 0i32);
        for_each(wire, |field| {
            match field {
                Field::Varint(1, value) => seconds = value.cast_signed(),
                // An int32 is the low half of its varint.
                Field::Varint(2, value) => nanos = value.cast_signed() as i32,
                _ => {}
            }
            Ok(())
        })?;
        self.out.push(b'"');
        write(seconds, nanos, self.out).ok_or(WriteError::NotRepresentable)?;
        self.out.push(b'"');
        Ok(())
    }

    pub(super) fn field_mask(&mut self, wire: &[u8]) -> Result<(), Stop> {
        self.out.push(b'"');
        for_each(wire, |field| {
            let Field::Len(1, path) = field else { return Ok(()) };
            if simdutf8::basic::from_utf8(path).is_err() {
                return Err(WriteError::InvalidUtf8.into());
            }
            wkt::write_mask_path(path, self.out).ok_or(WriteError::NotRepresentable)?;
            self.out.push(b',');
            Ok(())
        })?;
        self.close(b'"');
        Ok(())
    }

    pub(super) fn wrapper(&mut self, plan: &'a MsgPlan, wire: &[u8]) -> Result<(), Stop> {
        let Some(value) = plan.fields.first() else { return Err(Malformed.into()) };
        let mut last = None;
        let mut cursor = Cursor::new(wire);
        while !cursor.is_empty() {
            let (number, wire_type) = cursor.tag()?;
            if number == value.number && wire_type == value.kind.wire_type() {
                last = Some(cursor);
            }
            cursor.skip(number, wire_type)?;
        }
        match last {
            Some(mut at) => {
                self.element(value, &mut at)?;
                // A value that stands alone has no comma.
                self.out.pop();
            }
            None => self.zero(value),
        }
        Ok(())
    }

    pub(super) fn structure(&mut self, plan: &'a MsgPlan, wire: &[u8], levels: u32) -> Result<(), Stop> {
        let Some(fields) = plan.fields.first() else { return Err(Malformed.into()) };
        let levels = descend(levels)?;
        self.out.push(b'{');
        if self.slow {
            let mut entries = Vec::new();
            for_each(wire, |field| {
                if let Field::Len(1, entry) = field {
                    entries.push(entry);
                }
                Ok(())
            })?;
            self.unique_entries(fields, &entries, levels)?;
        } else {
            let mut keys = Keys::default();
            for_each(wire, |field| {
                let Field::Len(1, entry) = field else { return Ok(()) };
                let key_start = self.out.len();
                if let Some(key_len) = self.map_entry(fields, entry, levels)? {
                    keys.push(key_start, key_len);
                }
                Ok(())
            })?;
            if keys.has_duplicate(self.out) {
                return Err(Stop::OutOfOrder);
            }
        }
        self.close(b'}');
        Ok(())
    }

    pub(super) fn dynamic_list(&mut self, wire: &[u8], levels: u32) -> Result<(), Stop> {
        let levels = descend(levels)?;
        self.out.push(b'[');
        for_each(wire, |field| {
            if let Field::Len(1, value) = field {
                self.dynamic_value(value, levels)?;
                self.out.push(b',');
            }
            Ok(())
        })?;
        self.close(b']');
        Ok(())
    }

    /// A `Value` without any kind prints `null`: it is what a careless backend means by it.
    pub(super) fn dynamic_value(&mut self, wire: &[u8], levels: u32) -> Result<(), Stop> {
        let mut kind = 0;
        let mut last = None;
        let mut joined: Cow<'_, [u8]> = Cow::Borrowed(&[]);
        for_each(wire, |field| {
            match field {
                Field::Varint(number @ (1 | 4), _) | Field::Fixed64(number @ 2, _) | Field::Len(number @ 3, _) => {
                    kind = number;
                    last = Some(field);
                }
                Field::Len(number @ (5 | 6), bytes) => {
                    // Two structures in a row are merged, which is to say joined.
                    if kind == number {
                        joined.to_mut().extend_from_slice(bytes);
                    } else {
                        joined = Cow::Borrowed(bytes);
                    }
                    kind = number;
                }
                _ => {}
            }
            Ok(())
        })?;
        match (kind, last) {
            (2, Some(Field::Fixed64(_, bits))) => {
                let number = f64::from_bits(bits);
                if !number.is_finite() {
                    return Err(WriteError::NotRepresentable.into());
                }
                self.double(number);
            }
            (3, Some(Field::Len(_, text))) => self.string(text)?,
            (4, Some(Field::Varint(_, value))) => {
                let text: &[u8] = if value == 0 { b"false" } else { b"true" };
                self.out.extend_from_slice(text);
            }
            (5, _) => {
                let Some(id) = self.schema.find_message("google.protobuf.Struct") else { return Err(Malformed.into()) };
                let plan = self.schema.message(id);
                self.structure(plan, &joined, levels)?;
            }
            (6, _) => self.dynamic_list(&joined, levels)?,
            _ => self.out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    /// An `Any`. A type that the schema does not have prints as base64, so that the rest of the answer survives.
    pub(super) fn any(&mut self, wire: &[u8], levels: u32) -> Result<(), Stop> {
        let levels = descend(levels)?;
        let (mut url, mut value): (&[u8], &[u8]) = (&[], &[]);
        for_each(wire, |field| {
            match field {
                Field::Len(1, bytes) => url = bytes,
                Field::Len(2, bytes) => value = bytes,
                _ => {}
            }
            Ok(())
        })?;
        self.out.push(b'{');
        if url.is_empty() && value.is_empty() {
            self.out.push(b'}');
            return Ok(());
        }
        self.out.extend_from_slice(b"\"@type\":");
        self.string(url)?;
        self.out.push(b',');
        let name = std::str::from_utf8(url).ok().and_then(any::type_name);
        match name.and_then(|name| self.schema.find_message(name)) {
            Some(id) if self.schema.message(id).wkt == Wkt::None => {
                let plan = self.schema.message(id);
                self.object_members(plan, value, levels)?;
            }
            Some(id) => {
                self.out.extend_from_slice(b"\"value\":");
                self.message(id, value, levels)?;
                self.out.push(b',');
            }
            None => {
                self.out.extend_from_slice(b"\"value\":\"");
                base64::encode(value, self.out);
                self.out.extend_from_slice(b"\",");
            }
        }
        self.close(b'}');
        Ok(())
    }
}

/// A field of a well-known type: number and value.
#[derive(Clone, Copy)]
enum Field<'a> {
    Varint(u32, u64),
    Fixed64(u32, u64),
    Len(u32, &'a [u8]),
    Other,
}

/// Calls `each` for every field of a message, unknown ones included.
fn for_each<'w>(wire: &'w [u8], mut each: impl FnMut(Field<'w>) -> Result<(), Stop>) -> Result<(), Stop> {
    let mut cursor = Cursor::new(wire);
    while !cursor.is_empty() {
        let (number, wire_type) = cursor.tag()?;
        let field = match wire_type {
            WireType::Varint => Field::Varint(number, cursor.varint()?),
            WireType::Fixed64 => Field::Fixed64(number, cursor.fixed64()?),
            WireType::Len => Field::Len(number, cursor.len_prefixed()?),
            WireType::StartGroup | WireType::EndGroup | WireType::Fixed32 => {
                cursor.skip(number, wire_type)?;
                Field::Other
            }
        };
        each(field)?;
    }
    Ok(())
}
