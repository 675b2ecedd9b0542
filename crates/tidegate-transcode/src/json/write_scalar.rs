//! Single values and map keys: wire bytes → JSON text.

use super::append;
use super::base64;
use super::error::WriteError;
use super::text::write_bytes_as_string;
use super::write::{Stop, Writer};
use crate::plan::{EnumId, FieldPlan, Kind};
use crate::wire::{Cursor, unzigzag32, unzigzag64};

/// A value read from the wire, in the few forms that print differently.
#[derive(Clone, Copy)]
enum Scalar<'a> {
    Int(i32),
    Uint(u32),
    Long(i64),
    Ulong(u64),
    Double(f64),
    Float(f32),
    Bool(bool),
    Enum(i32),
    String(&'a [u8]),
    Bytes(&'a [u8]),
}

impl Scalar<'_> {
    /// True for the value of an unset field without presence. `-0.0` is not.
    #[inline]
    fn is_zero(&self) -> bool {
        match *self {
            Scalar::Int(value) | Scalar::Enum(value) => value == 0,
            Scalar::Uint(value) => value == 0,
            Scalar::Long(value) => value == 0,
            Scalar::Ulong(value) => value == 0,
            Scalar::Double(value) => value.to_bits() == 0,
            Scalar::Float(value) => value.to_bits() == 0,
            Scalar::Bool(value) => !value,
            Scalar::String(bytes) | Scalar::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// Reads one value of `kind`. A 32-bit kind takes the low bits of a longer varint, as every implementation does.
#[inline]
fn read<'a>(kind: Kind, cursor: &mut Cursor<'a>) -> Result<Scalar<'a>, Stop> {
    Ok(match kind {
        Kind::Int32 => Scalar::Int(low_32(cursor.varint()?).cast_signed()),
        Kind::Int64 => Scalar::Long(cursor.varint()?.cast_signed()),
        Kind::Uint32 => Scalar::Uint(low_32(cursor.varint()?)),
        Kind::Uint64 => Scalar::Ulong(cursor.varint()?),
        Kind::Sint32 => Scalar::Int(unzigzag32(low_32(cursor.varint()?))),
        Kind::Sint64 => Scalar::Long(unzigzag64(cursor.varint()?)),
        Kind::Bool => Scalar::Bool(cursor.varint()? != 0),
        Kind::Enum => Scalar::Enum(low_32(cursor.varint()?).cast_signed()),
        Kind::Fixed32 => Scalar::Uint(cursor.fixed32()?),
        Kind::Sfixed32 => Scalar::Int(cursor.fixed32()?.cast_signed()),
        Kind::Fixed64 => Scalar::Ulong(cursor.fixed64()?),
        Kind::Sfixed64 => Scalar::Long(cursor.fixed64()?.cast_signed()),
        Kind::Float => Scalar::Float(f32::from_bits(cursor.fixed32()?)),
        Kind::Double => Scalar::Double(f64::from_bits(cursor.fixed64()?)),
        Kind::String => Scalar::String(cursor.len_prefixed()?),
        Kind::Bytes | Kind::Message | Kind::Group => Scalar::Bytes(cursor.len_prefixed()?),
    })
}

#[inline]
fn low_32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl Writer<'_> {
    /// Prints a singular field with key and comma; nothing for a zero that counts as unset and for a number that a
    /// closed enum does not have.
    #[inline]
    pub(super) fn scalar_member(&mut self, field: &FieldPlan, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let value = read(field.kind, cursor)?;
        if !field.presence && !self.options.emit_defaults && value.is_zero() {
            return Ok(());
        }
        if self.is_unknown(field, &value) {
            return Ok(());
        }
        self.key(field);
        self.scalar(field, value)?;
        self.out.push(b',');
        Ok(())
    }

    /// Prints one element of a list, or the value of a map entry, with its comma.
    #[inline]
    pub(super) fn element(&mut self, field: &FieldPlan, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let value = read(field.kind, cursor)?;
        if self.is_unknown(field, &value) {
            return Ok(());
        }
        self.scalar(field, value)?;
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
        let value = match wire {
            Some(wire) => read(field.kind, &mut Cursor::new(wire))?,
            None if field.kind == Kind::String => Scalar::String(&[]),
            None if field.kind == Kind::Bool => Scalar::Bool(false),
            None => Scalar::Uint(0),
        };
        if let Scalar::String(bytes) = value {
            return self.string(bytes);
        }
        self.out.push(b'"');
        match value {
            Scalar::Int(value) => self.signed(value.into()),
            Scalar::Uint(value) => append::decimal(value.into(), self.out),
            Scalar::Long(value) => self.signed(value),
            Scalar::Ulong(value) => append::decimal(value, self.out),
            Scalar::Bool(value) => self.boolean(value),
            // The compiler of descriptors admits no other kind of key.
            Scalar::Double(_) | Scalar::Float(_) | Scalar::Enum(_) | Scalar::String(_) | Scalar::Bytes(_) => {}
        }
        self.out.push(b'"');
        Ok(())
    }

    #[inline]
    fn is_unknown(&self, field: &FieldPlan, value: &Scalar<'_>) -> bool {
        match *value {
            Scalar::Enum(number) => self.schema.is_unknown_enum(field, number),
            _ => false,
        }
    }

    #[inline]
    fn scalar(&mut self, field: &FieldPlan, value: Scalar<'_>) -> Result<(), Stop> {
        match value {
            Scalar::Int(value) => self.signed(value.into()),
            Scalar::Uint(value) => append::decimal(value.into(), self.out),
            Scalar::Long(value) => self.signed_long(value),
            Scalar::Ulong(value) => self.unsigned_long(value),
            Scalar::Double(value) => self.double(value),
            Scalar::Float(value) => self.float(value),
            Scalar::Bool(value) => self.boolean(value),
            Scalar::Enum(number) => self.enum_value(field, number),
            Scalar::String(bytes) => self.string(bytes)?,
            Scalar::Bytes(bytes) => {
                self.out.push(b'"');
                base64::encode(bytes, self.out);
                self.out.push(b'"');
            }
        }
        Ok(())
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

    fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn enum_value(&mut self, field: &FieldPlan, number: i32) {
        if field.is_null_value {
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
