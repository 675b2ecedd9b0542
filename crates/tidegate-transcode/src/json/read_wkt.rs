//! Messages whose JSON form is not an object of their fields: JSON text → the content of the message. `Any` is in
//! `any.rs`.

use super::error::{Expected, ReadErrorKind};
use super::keys::Keys;
use super::number;
use super::read::Reader;
use super::scan::Result;
use crate::plan::{FieldPlan, MsgPlan};
use crate::wire::{close_len, open_len, put_varint, varint_len};
use crate::wkt;

// Tags of the well-known types; their definitions cannot change.
const SECONDS: u8 = 0x08;
const NANOS: u8 = 0x10;
const STRUCT_FIELDS: u8 = 0x0a;
const ENTRY_KEY: u8 = 0x0a;
const ENTRY_VALUE: u8 = 0x12;
const VALUE_NULL: u8 = 0x08;
const VALUE_NUMBER: u8 = 0x11;
const VALUE_STRING: u8 = 0x1a;
const VALUE_BOOL: u8 = 0x20;
const VALUE_STRUCT: u8 = 0x2a;
const VALUE_LIST: u8 = 0x32;
const LIST_VALUES: u8 = 0x0a;

impl<'a> Reader<'a> {
    pub(super) fn timestamp(&mut self) -> Result<()> {
        self.seconds_and_nanos(Expected::Timestamp, wkt::parse_timestamp)
    }

    pub(super) fn duration(&mut self) -> Result<()> {
        self.seconds_and_nanos(Expected::Duration, wkt::parse_duration)
    }

    fn seconds_and_nanos(&mut self, expected: Expected, parse: fn(&[u8]) -> Option<(i64, i32)>) -> Result<()> {
        let before = self.scan;
        let text = self.scan.string(expected)?;
        let Some((seconds, nanos)) = parse(text.decode(&mut Vec::new())) else {
            return Err(before.error(ReadErrorKind::Expected(expected)));
        };
        for (tag, value) in [(SECONDS, seconds), (NANOS, i64::from(nanos))] {
            if value != 0 {
                self.out.push(tag);
                put_varint(self.out, value.cast_unsigned());
            }
        }
        Ok(())
    }

    pub(super) fn field_mask(&mut self) -> Result<()> {
        let before = self.scan;
        let text = self.scan.string(Expected::FieldMask)?;
        let parsed = wkt::parse_field_mask(text.decode(&mut Vec::new()), false, self.out);
        parsed.ok_or_else(|| before.error(ReadErrorKind::Expected(Expected::FieldMask)))
    }

    /// The JSON form of a wrapper is that of its only field.
    pub(super) fn wrapper(&mut self, plan: &'a MsgPlan) -> Result<()> {
        let Some(value) = plan.fields.first() else { return Err(self.scan.unexpected()) };
        let value: &FieldPlan = value;
        self.scalar(value, value.tag(), value.skips_zero())
    }

    /// A `Struct`: any object, each key once.
    pub(super) fn structure(&mut self, levels: u32) -> Result<()> {
        let levels = self.descend(levels)?;
        if self.scan.peek() != b'{' {
            return Err(self.scan.mismatch(Expected::Object));
        }
        self.scan.advance(1);
        if self.scan.take(b'}') {
            return Ok(());
        }
        let mut keys = Keys::default();
        loop {
            let start = self.out.len();
            self.out.push(STRUCT_FIELDS);
            let entry = open_len(self.out);
            let key_start = self.out.len();
            self.out.push(ENTRY_KEY);
            let key = open_len(self.out);
            self.scan.key()?.append_to(self.out);
            close_len(self.out, key);
            let key_len = self.out.len() - key_start;
            self.out.push(ENTRY_VALUE);
            let value = open_len(self.out);
            self.dynamic_value(levels)?;
            close_len(self.out, value);
            // Closing moves the key if the length of the entry needs more than one byte.
            keys.push(start + 1 + varint_len((self.out.len() - key_start) as u64), key_len);
            close_len(self.out, entry);
            if !self.scan.take(b',') {
                break;
            }
        }
        self.scan.demand(b'}')?;
        if keys.has_duplicate(self.out) {
            return Err(self.scan.error(ReadErrorKind::Duplicate));
        }
        Ok(())
    }

    /// A `ListValue`: any array.
    pub(super) fn dynamic_list(&mut self, levels: u32) -> Result<()> {
        let levels = self.descend(levels)?;
        if self.scan.peek() != b'[' {
            return Err(self.scan.mismatch(Expected::Array));
        }
        self.scan.advance(1);
        if self.scan.take(b']') {
            return Ok(());
        }
        loop {
            self.out.push(LIST_VALUES);
            let value = open_len(self.out);
            self.dynamic_value(levels)?;
            close_len(self.out, value);
            if !self.scan.take(b',') {
                return self.scan.demand(b']');
            }
        }
    }

    /// A `Value`: anything that is JSON.
    pub(super) fn dynamic_value(&mut self, levels: u32) -> Result<()> {
        match self.scan.peek() {
            b'n' => {
                self.scan.null()?;
                self.out.extend_from_slice(&[VALUE_NULL, 0]);
            }
            b't' | b'f' => {
                let value = self.scan.boolean()?;
                self.out.extend_from_slice(&[VALUE_BOOL, u8::from(value)]);
            }
            b'"' => {
                let text = self.scan.string(Expected::String)?;
                self.out.push(VALUE_STRING);
                let open = open_len(self.out);
                text.append_to(self.out);
                close_len(self.out, open);
            }
            b'{' => {
                self.out.push(VALUE_STRUCT);
                let open = open_len(self.out);
                self.structure(levels)?;
                close_len(self.out, open);
            }
            b'[' => {
                self.out.push(VALUE_LIST);
                let open = open_len(self.out);
                self.dynamic_list(levels)?;
                close_len(self.out, open);
            }
            _ => {
                let before = self.scan;
                let text = self.scan.number(Expected::Number)?;
                let Ok(value) = number::double(text) else {
                    return Err(before.error(ReadErrorKind::OutOfRange(Expected::Number)));
                };
                self.out.push(VALUE_NUMBER);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
        }
        Ok(())
    }
}
