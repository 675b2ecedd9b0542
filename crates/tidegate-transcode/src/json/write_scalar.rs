//! Single values and map keys: wire bytes → JSON text.

use super::append;
use super::base64;
use super::error::WriteError;
use super::text::write_bytes_as_string;
use super::write::{Stop, Writer};
use crate::plan::{EnumId, FieldPlan, Kind};
use crate::wire::{Cursor, Malformed, unzigzag32, unzigzag64};

/// Reads one number, boolean or enum as it is on the wire, cut to the width of its kind, so that zero is zero for every
/// kind (and `-0.0` is not). A 32-bit kind takes the low bits of a longer varint, as every implementation does.
///
/// A plain number and not an enum of kinds on purpose: it is returned in a register, which makes printing a small message
/// a fifth faster.
#[inline]
fn read_number(kind: Kind, cursor: &mut Cursor<'_>) -> Result<u64, Malformed> {
    match kind {
        Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum => Ok(u64::from(low_32(cursor.varint()?))),
        Kind::Int64 | Kind::Uint64 | Kind::Sint64 => cursor.varint(),
        Kind::Bool => Ok(u64::from(cursor.varint()? != 0)),
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => Ok(u64::from(cursor.fixed32()?)),
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => cursor.fixed64(),
        // Those are not numbers and do not come here.
        Kind::String | Kind::Bytes | Kind::Message | Kind::Group => Err(Malformed),
    }
}

#[inline]
fn low_32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// True for the integers that JSON numbers may not hold exactly.
#[inline]
fn is_long(kind: Kind) -> bool {
    matches!(kind, Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64)
}

impl Writer<'_> {
    /// Prints a singular field with key and comma; nothing for a zero that counts as unset and for a number that a
    /// closed enum does not have.
    #[inline]
    pub(super) fn scalar_member(&mut self, field: &FieldPlan, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let skips_zero = !field.presence && !self.options.emit_defaults;
        if matches!(field.kind, Kind::String | Kind::Bytes) {
            let bytes = cursor.len_prefixed()?;
            if skips_zero && bytes.is_empty() {
                return Ok(());
            }
            self.key(field);
            self.text(field.kind, bytes)?;
        } else {
            let number = read_number(field.kind, cursor)?;
            if (skips_zero && number == 0) || self.is_unknown(field, number) {
                return Ok(());
            }
            self.key(field);
            self.number(field, number);
        }
        self.out.push(b',');
        Ok(())
    }

    /// Prints one element of a list, or the value of a map entry, with its comma.
    #[inline]
    pub(super) fn element(&mut self, field: &FieldPlan, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if matches!(field.kind, Kind::String | Kind::Bytes) {
            self.text(field.kind, cursor.len_prefixed()?)?;
        } else {
            let number = read_number(field.kind, cursor)?;
            if self.is_unknown(field, number) {
                return Ok(());
            }
            self.number(field, number);
        }
        self.out.push(b',');
        Ok(())
    }

    /// Prints a packed run, each element with its comma.
    pub(super) fn packed(&mut self, field: &FieldPlan, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if field.kind == Kind::Int32 {
            // The common case without the detour over all kinds.
            while !cursor.is_empty() {
                let value = low_32(cursor.varint()?).cast_signed();
                self.signed(value.into());
                self.out.push(b',');
            }
            return Ok(());
        }
        while !cursor.is_empty() {
            self.element(field, cursor)?;
        }
        Ok(())
    }

    /// Prints the zero value of a field's kind.
    pub(super) fn zero(&mut self, field: &FieldPlan) {
        match field.kind {
            Kind::String | Kind::Bytes => self.out.extend_from_slice(b"\"\""),
            Kind::Bool => self.out.extend_from_slice(b"false"),
            Kind::Message | Kind::Group => self.out.extend_from_slice(b"{}"),
            Kind::Enum => self.enum_value(field, self.schema.enumeration(EnumId(field.sub)).first_number()),
            Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => self.unsigned_long(0),
            Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32 | Kind::Sfixed32 | Kind::Double | Kind::Float => {
                self.out.push(b'0')
            }
        }
    }

    /// Prints a map key, always as a string. `None` stands for zero.
    pub(super) fn map_key(&mut self, field: &FieldPlan, wire: Option<&[u8]>) -> Result<(), Stop> {
        let mut cursor = Cursor::new(wire.unwrap_or(&[0; 8]));
        if field.kind == Kind::String {
            return self.string(cursor.len_prefixed()?);
        }
        let number = read_number(field.kind, &mut cursor)?;
        // A 64-bit number brings its own quotes, unless it is printed as a number.
        let is_quoted = !self.options.int64_numbers && is_long(field.kind);
        if !is_quoted {
            self.out.push(b'"');
        }
        self.number(field, number);
        if !is_quoted {
            self.out.push(b'"');
        }
        Ok(())
    }

    #[inline]
    fn is_unknown(&self, field: &FieldPlan, number: u64) -> bool {
        field.kind == Kind::Enum && self.schema.is_unknown_enum(field, low_32(number).cast_signed())
    }

    #[inline]
    fn text(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Stop> {
        if kind == Kind::String {
            return self.string(bytes);
        }
        self.out.push(b'"');
        base64::encode(bytes, self.out);
        self.out.push(b'"');
        Ok(())
    }

    /// Prints what [`read_number`] has read.
    #[inline]
    fn number(&mut self, field: &FieldPlan, number: u64) {
        let low = low_32(number);
        match field.kind {
            Kind::Int32 | Kind::Sfixed32 => self.signed(low.cast_signed().into()),
            Kind::Sint32 => self.signed(unzigzag32(low).into()),
            Kind::Uint32 | Kind::Fixed32 => append::decimal(number, self.out),
            Kind::Int64 | Kind::Sfixed64 => self.signed_long(number.cast_signed()),
            Kind::Sint64 => self.signed_long(unzigzag64(number)),
            Kind::Uint64 | Kind::Fixed64 => self.unsigned_long(number),
            Kind::Double => self.double(f64::from_bits(number)),
            Kind::Float => self.float(f32::from_bits(low)),
            Kind::Bool => self.out.extend_from_slice(if number == 0 { b"false" } else { b"true" }),
            Kind::Enum => self.enum_value(field, low.cast_signed()),
            // Those are not numbers and do not come here.
            Kind::String | Kind::Bytes | Kind::Message | Kind::Group => {}
        }
    }

    #[inline]
    fn signed(&mut self, value: i64) {
        if value < 0 {
            self.out.push(b'-');
        }
        append::decimal(value.unsigned_abs(), self.out);
    }

    fn signed_long(&mut self, value: i64) {
        self.quote_long();
        self.signed(value);
        self.quote_long();
    }

    fn unsigned_long(&mut self, value: u64) {
        self.quote_long();
        append::decimal(value, self.out);
        self.quote_long();
    }

    #[inline]
    fn quote_long(&mut self) {
        if !self.options.int64_numbers {
            self.out.push(b'"');
        }
    }

    fn enum_value(&mut self, field: &FieldPlan, number: i32) {
        if field.is_null_value && number == 0 {
            return self.out.extend_from_slice(b"null");
        }
        let plan = self.schema.enumeration(EnumId(field.sub));
        let name = if self.options.enum_numbers { None } else { plan.name_text(number) };
        let Some(name) = name else { return self.signed(number.into()) };
        self.out.push(b'"');
        append::arena_text(&self.schema.arena, name, self.out);
        self.out.push(b'"');
    }

    pub(super) fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.decimal(zmij::Buffer::new().format_finite(value));
        } else {
            self.not_finite(value.is_nan(), value.is_sign_negative());
        }
    }

    fn float(&mut self, value: f32) {
        if value.is_finite() {
            self.decimal(zmij::Buffer::new().format_finite(value));
        } else {
            self.not_finite(value.is_nan(), value.is_sign_negative());
        }
    }

    /// The shortest digits that read back as the same number; a whole number without `.0`.
    fn decimal(&mut self, shortest: &str) {
        let text = shortest.strip_suffix(".0").unwrap_or(shortest);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn not_finite(&mut self, is_nan: bool, is_negative: bool) {
        let text: &[u8] = match (is_nan, is_negative) {
            (true, _) => b"\"NaN\"",
            (false, true) => b"\"-Infinity\"",
            (false, false) => b"\"Infinity\"",
        };
        self.out.extend_from_slice(text);
    }

    #[inline]
    pub(super) fn string(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        write_bytes_as_string(bytes, self.out).ok_or(Stop::Failed(WriteError::InvalidUtf8))
    }
}
