//! Single values and map keys: JSON text → wire bytes.

use super::base64;
use super::error::{Expected, ReadErrorKind};
use super::number::{self, Bad, Integer};
use super::options::UnknownFields;
use super::read::Reader;
use super::scan::{Result, Str, number_len};
use crate::plan::{EnumId, FieldPlan, Kind};
use crate::wire::{close_len, open_len, put_varint, zigzag32, zigzag64};

impl Reader<'_> {
    /// Reads one value that is not a message and appends it behind `tag`. A zero is left out if `skip_zero`, and so is
    /// an enum name that is unknown and ignored.
    #[inline]
    pub(super) fn scalar(&mut self, field: &FieldPlan, tag: &[u8], skip_zero: bool) -> Result<()> {
        match field.kind {
            Kind::Int32 => {
                let value = self.integer(Expected::Int32, Integer::to_i32)?;
                self.varint(tag, i64::from(value).cast_unsigned(), skip_zero);
            }
            Kind::Int64 => {
                let value = self.integer(Expected::Int64, Integer::to_i64)?;
                self.varint(tag, value.cast_unsigned(), skip_zero);
            }
            Kind::Uint32 => {
                let value = self.integer(Expected::Uint32, Integer::to_u32)?;
                self.varint(tag, u64::from(value), skip_zero);
            }
            Kind::Uint64 => {
                let value = self.integer(Expected::Uint64, Integer::to_u64)?;
                self.varint(tag, value, skip_zero);
            }
            Kind::Sint32 => {
                let value = self.integer(Expected::Int32, Integer::to_i32)?;
                self.varint(tag, u64::from(zigzag32(value)), skip_zero);
            }
            Kind::Sint64 => {
                let value = self.integer(Expected::Int64, Integer::to_i64)?;
                self.varint(tag, zigzag64(value), skip_zero);
            }
            Kind::Fixed32 => {
                let value = self.integer(Expected::Uint32, Integer::to_u32)?;
                self.fixed(tag, value.to_le_bytes(), skip_zero);
            }
            Kind::Sfixed32 => {
                let value = self.integer(Expected::Int32, Integer::to_i32)?;
                self.fixed(tag, value.to_le_bytes(), skip_zero);
            }
            Kind::Fixed64 => {
                let value = self.integer(Expected::Uint64, Integer::to_u64)?;
                self.fixed(tag, value.to_le_bytes(), skip_zero);
            }
            Kind::Sfixed64 => {
                let value = self.integer(Expected::Int64, Integer::to_i64)?;
                self.fixed(tag, value.to_le_bytes(), skip_zero);
            }
            Kind::Double => {
                let value = self.floating(Expected::Double, number::double, SPECIAL_DOUBLES)?;
                self.fixed(tag, value.to_le_bytes(), skip_zero);
            }
            Kind::Float => {
                let value = self.floating(Expected::Float, number::float, SPECIAL_FLOATS)?;
                self.fixed(tag, value.to_le_bytes(), skip_zero);
            }
            Kind::Bool => {
                let value = self.scan.boolean()?;
                self.varint(tag, u64::from(value), skip_zero);
            }
            Kind::Enum => {
                if let Some(value) = self.enum_number(field)? {
                    self.varint(tag, i64::from(value).cast_unsigned(), skip_zero);
                }
            }
            Kind::String => {
                let text = self.scan.string(Expected::String)?;
                self.string_value(tag, text, skip_zero);
            }
            Kind::Bytes => self.bytes_value(tag, skip_zero)?,
            // Messages do not come here.
            Kind::Message | Kind::Group => return Err(self.scan.unexpected()),
        }
        Ok(())
    }

    #[inline]
    fn varint(&mut self, tag: &[u8], value: u64, skip_zero: bool) {
        if !(skip_zero && value == 0) {
            self.out.extend_from_slice(tag);
            put_varint(self.out, value);
        }
    }

    /// Zero means that all bits are: `-0.0` is a value of its own and is kept.
    #[inline]
    fn fixed<const N: usize>(&mut self, tag: &[u8], value: [u8; N], skip_zero: bool) {
        if !(skip_zero && value == [0; N]) {
            self.out.extend_from_slice(tag);
            self.out.extend_from_slice(&value);
        }
    }

    #[inline]
    fn string_value(&mut self, tag: &[u8], text: Str<'_>, skip_zero: bool) {
        let Some(plain) = text.plain() else {
            // An escaped string is never empty, but its length is only known afterwards.
            self.out.extend_from_slice(tag);
            let open = open_len(self.out);
            text.append_to(self.out);
            close_len(self.out, open);
            return;
        };
        if !(skip_zero && plain.is_empty()) {
            self.out.extend_from_slice(tag);
            put_varint(self.out, plain.len() as u64);
            self.out.extend_from_slice(plain);
        }
    }

    fn bytes_value(&mut self, tag: &[u8], skip_zero: bool) -> Result<()> {
        let before = self.scan;
        let text = self.scan.string(Expected::Base64)?;
        let start = self.out.len();
        self.out.extend_from_slice(tag);
        let open = open_len(self.out);
        let content = self.out.len();
        if base64::decode(text.decode(&mut Vec::new()), self.out).is_none() {
            return Err(before.error(ReadErrorKind::Expected(Expected::Base64)));
        }
        if skip_zero && self.out.len() == content {
            self.out.truncate(start);
        } else {
            close_len(self.out, open);
        }
        Ok(())
    }

    /// Reads an integer as a number or as a string that has one.
    #[inline]
    fn integer<T>(&mut self, expected: Expected, convert: fn(Integer) -> std::result::Result<T, Bad>) -> Result<T> {
        let quoted = self.scan.peek() == b'"';
        let rest = self.scan.rest();
        let digits = if quoted { rest.get(1..).unwrap_or_default() } else { rest };
        let Some((value, len)) = number::short_integer(digits) else { return self.long_integer(expected, convert) };
        if quoted && digits.get(len) != Some(&b'"') {
            return self.long_integer(expected, convert);
        }
        let value = convert(value).map_err(|bad| self.scan.error(number_error(bad, expected)))?;
        self.scan.advance(if quoted { len + 2 } else { len });
        Ok(value)
    }

    fn long_integer<T>(
        &mut self,
        expected: Expected,
        convert: fn(Integer) -> std::result::Result<T, Bad>,
    ) -> Result<T> {
        let before = self.scan;
        let parsed = if self.scan.peek() == b'"' {
            let text = self.scan.string(expected)?;
            integer_in_string(text.decode(&mut Vec::new()))
        } else {
            number::integer(self.scan.number(expected)?)
        };
        parsed.and_then(convert).map_err(|bad| before.error(number_error(bad, expected)))
    }

    /// Reads a floating-point number, a string that has one, or one of the three `special` strings.
    fn floating<T: Copy>(
        &mut self,
        expected: Expected,
        convert: fn(&[u8]) -> std::result::Result<T, Bad>,
        special: [(&str, T); 3],
    ) -> Result<T> {
        let before = self.scan;
        if self.scan.peek() != b'"' {
            let text = self.scan.number(expected)?;
            return convert(text).map_err(|bad| before.error(number_error(bad, expected)));
        }
        let mut scratch = Vec::new();
        let text = self.scan.string(expected)?.decode(&mut scratch);
        if let Some((_, value)) = special.iter().find(|(name, _)| name.as_bytes() == text) {
            return Ok(*value);
        }
        let parsed = if number_len(text) == Some(text.len()) { convert(text) } else { Err(Bad::Form) };
        parsed.map_err(|bad| before.error(number_error(bad, expected)))
    }

    /// Reads an enum by name or number; `None` for an unknown name that is ignored.
    fn enum_number(&mut self, field: &FieldPlan) -> Result<Option<i32>> {
        let first = self.scan.peek();
        if first == b'n' && field.is_null_value {
            return self.scan.null().map(|_| Some(0));
        }
        if first != b'"' {
            return self.integer(Expected::Enum, Integer::to_i32).map(Some);
        }
        let before = self.scan;
        let name = self.scan.string(Expected::Enum)?;
        match self.schema.enum_number_of_bytes(EnumId(field.sub), name.decode(&mut Vec::new())) {
            Some(number) => Ok(Some(number)),
            None if self.unknown == UnknownFields::Reject => Err(before.error(ReadErrorKind::UnknownEnumValue)),
            None => {
                self.report(None);
                Ok(None)
            }
        }
    }

    /// Appends a map key with its tag; the kind of a key is an integer, a boolean or a string.
    pub(super) fn map_key(&mut self, field: &FieldPlan, key: Str<'_>) -> std::result::Result<(), ReadErrorKind> {
        let tag = field.tag();
        if field.kind == Kind::String {
            self.string_value(tag, key, false);
            return Ok(());
        }
        let mut scratch = Vec::new();
        let text = key.decode(&mut scratch);
        if field.kind == Kind::Bool {
            let value = match text {
                b"true" => 1,
                b"false" => 0,
                _ => return Err(ReadErrorKind::Expected(Expected::Bool)),
            };
            self.varint(tag, value, false);
            return Ok(());
        }
        let parsed = integer_in_string(text);
        let fail = |expected| move |bad| number_error(bad, expected);
        match field.kind {
            Kind::Int32 => {
                let value = parsed.and_then(Integer::to_i32).map_err(fail(Expected::Int32))?;
                self.varint(tag, i64::from(value).cast_unsigned(), false);
            }
            Kind::Sint32 => {
                let value = parsed.and_then(Integer::to_i32).map_err(fail(Expected::Int32))?;
                self.varint(tag, u64::from(zigzag32(value)), false);
            }
            Kind::Sfixed32 => {
                let value = parsed.and_then(Integer::to_i32).map_err(fail(Expected::Int32))?;
                self.fixed(tag, value.to_le_bytes(), false);
            }
            Kind::Int64 => {
                let value = parsed.and_then(Integer::to_i64).map_err(fail(Expected::Int64))?;
                self.varint(tag, value.cast_unsigned(), false);
            }
            Kind::Sint64 => {
                let value = parsed.and_then(Integer::to_i64).map_err(fail(Expected::Int64))?;
                self.varint(tag, zigzag64(value), false);
            }
            Kind::Sfixed64 => {
                let value = parsed.and_then(Integer::to_i64).map_err(fail(Expected::Int64))?;
                self.fixed(tag, value.to_le_bytes(), false);
            }
            Kind::Uint32 => {
                let value = parsed.and_then(Integer::to_u32).map_err(fail(Expected::Uint32))?;
                self.varint(tag, u64::from(value), false);
            }
            Kind::Fixed32 => {
                let value = parsed.and_then(Integer::to_u32).map_err(fail(Expected::Uint32))?;
                self.fixed(tag, value.to_le_bytes(), false);
            }
            Kind::Fixed64 => {
                let value = parsed.and_then(Integer::to_u64).map_err(fail(Expected::Uint64))?;
                self.fixed(tag, value.to_le_bytes(), false);
            }
            // The compiler of descriptors admits no other kind.
            _ => {
                let value = parsed.and_then(Integer::to_u64).map_err(fail(Expected::Uint64))?;
                self.varint(tag, value, false);
            }
        }
        Ok(())
    }
}

const SPECIAL_DOUBLES: [(&str, f64); 3] =
    [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];
const SPECIAL_FLOATS: [(&str, f32); 3] =
    [("NaN", f32::NAN), ("Infinity", f32::INFINITY), ("-Infinity", f32::NEG_INFINITY)];

/// The text of a string as an integer: all of it must be one JSON number, without space.
fn integer_in_string(text: &[u8]) -> std::result::Result<Integer, Bad> {
    if number_len(text) == Some(text.len()) { number::integer(text) } else { Err(Bad::Form) }
}

fn number_error(bad: Bad, expected: Expected) -> ReadErrorKind {
    match bad {
        Bad::Form => ReadErrorKind::Expected(expected),
        Bad::Range => ReadErrorKind::OutOfRange(expected),
    }
}
