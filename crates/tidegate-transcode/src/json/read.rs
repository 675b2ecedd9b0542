//! JSON text → wire bytes, in one pass and without a message in between.
//!
//! The reader walks the text once and appends fields as they come; order does not matter on the wire. A nested message
//! reserves one byte for its length and is moved up only if it turns out longer. Which fields of the open message were
//! seen is a bitset, by field number and therefore whatever the spelling, so duplicates, oneof clashes and collisions
//! with bound values cost one test each. Recursion is bounded by [`MAX_DEPTH`].
//!
//! Messages with a JSON form of their own are in `read_wkt.rs`, single values in `read_scalar.rs`.

use super::append;
use super::error::{Expected, MAX_NAME_BYTES, ReadError, ReadErrorKind, cut};
use super::inject::{Bound, BoundValue, write_bound};
use super::options::{Ignored, MAX_DEPTH, ReadOptions, UnknownFields};
use super::scan::{Result, Scanner, Str};
use crate::plan::{Cardinality, FieldIndex, FieldPlan, Kind, MsgId, MsgPlan, Wkt};
use crate::schema::Schema;
use crate::wire::{self, WireType, close_len, open_len};

/// Reads one JSON document as `message` and appends its wire bytes (no frame, no length) to `out`, with the fields of
/// `bound` that the document does not give itself.
///
/// `json` is the whole document; white space around it is fine. Allocates only to grow `out`, except for escaped keys,
/// maps, and messages of more than 64 fields.
///
/// # Errors
/// [`ReadError`]; `out` is then as it was.
pub fn parse_message(
    schema: &Schema,
    message: MsgId,
    json: &[u8],
    options: &ReadOptions,
    bound: Option<Bound<'_>>,
    out: &mut Vec<u8>,
) -> std::result::Result<Ignored, Box<ReadError>> {
    parse(schema, json, options, out, |reader| reader.message_body(message, bound, MAX_DEPTH))
}

/// Reads one JSON document as the value of a field of `message`, whatever its kind (`"hello"`, `[1,2]`, `{…}`), and
/// appends it with its tags to `out`. `null` leaves the field unset. `bound` is what is bound inside the field, if it is
/// a message.
///
/// # Errors
/// As [`parse_message`]; paths begin with the name of the field.
pub fn parse_field(
    schema: &Schema,
    message: MsgId,
    field: FieldIndex,
    json: &[u8],
    options: &ReadOptions,
    bound: Option<Bound<'_>>,
    out: &mut Vec<u8>,
) -> std::result::Result<Ignored, Box<ReadError>> {
    parse(schema, json, options, out, |reader| {
        let Some(plan) = schema.message(message).field(field) else {
            return Err(reader.scan.error(ReadErrorKind::UnknownField));
        };
        let name = schema.json_name(plan);
        if reader.field_is_null(plan)? {
            if let Some(bound) = bound.filter(|bound| !bound.is_empty()) {
                write_bound(schema, message, field, BoundValue::Message(bound), reader.out);
            }
            return Ok(());
        }
        if reader.unknown == UnknownFields::Report {
            reader.path.push(name);
        }
        reader.field_value(plan, bound, MAX_DEPTH).map_err(|error| error.within(name))
    })
}

fn parse<'a>(
    schema: &'a Schema,
    json: &'a [u8],
    options: &ReadOptions,
    out: &'a mut Vec<u8>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<()>,
) -> std::result::Result<Ignored, Box<ReadError>> {
    // One vectorised check of the whole text; everything behind it may copy string contents as they are.
    if simdutf8::basic::from_utf8(json).is_err() {
        let offset = simdutf8::compat::from_utf8(json).err().map_or(0, |error| error.valid_up_to());
        return Err(ReadError::new(ReadErrorKind::InvalidUtf8, offset));
    }
    let start = out.len();
    let mut reader = Reader {
        schema,
        scan: Scanner::new(json),
        out,
        unknown: options.unknown_fields,
        ignored: Ignored::default(),
        path: Vec::new(),
        bits: Vec::new(),
        ahead_left: json.len().saturating_mul(MAX_LOOK_AHEAD),
    };
    let result = read(&mut reader).and_then(|()| reader.scan.finish());
    match result {
        Ok(()) => Ok(reader.ignored),
        Err(error) => {
            reader.out.truncate(start);
            Err(error)
        }
    }
}

/// An `Any` whose `@type` comes late is looked through once before it is read, and so are those inside it. All that
/// looking ahead together may cover the text this many times; only nesting made for the purpose needs more.
const MAX_LOOK_AHEAD: usize = 16;

pub(super) struct Reader<'a> {
    pub(super) schema: &'a Schema,
    pub(super) scan: Scanner<'a>,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) unknown: UnknownFields,
    ignored: Ignored,
    /// Names of the fields that are open, kept only under [`UnknownFields::Report`].
    path: Vec<&'a str>,
    /// Words of open bitsets beyond the first one of each.
    bits: Vec<u64>,
    /// Bytes that may still be looked at ahead.
    pub(super) ahead_left: usize,
}

/// Which fields and oneofs of the open message were seen: bit `i` is field `i`, oneofs follow the fields.
struct Seen {
    first: u64,
    /// Where the other words are in [`Reader::bits`].
    base: usize,
}

impl<'a> Reader<'a> {
    /// Reads the content of a message, in whatever JSON form its type has.
    pub(super) fn message_body(&mut self, id: MsgId, bound: Option<Bound<'_>>, levels: u32) -> Result<()> {
        let plan = self.schema.message(id);
        match plan.wkt {
            Wkt::None => self.object(plan, id, bound, levels, None),
            Wkt::Any => self.any(levels),
            Wkt::Timestamp => self.timestamp(),
            Wkt::Duration => self.duration(),
            Wkt::FieldMask => self.field_mask(),
            Wkt::Struct => self.structure(levels),
            Wkt::Value => self.dynamic_value(levels),
            Wkt::ListValue => self.dynamic_list(levels),
            Wkt::Wrapper => self.wrapper(plan),
        }
    }

    /// Takes `null` if it means that `field` is unset, which it does for all but `Value` and `NullValue`.
    fn field_is_null(&mut self, field: &FieldPlan) -> Result<bool> {
        let null_is_a_value =
            field.cardinality == Cardinality::Singular && (field.wkt == Wkt::Value || field.is_null_value);
        if null_is_a_value { Ok(false) } else { self.scan.null() }
    }

    /// Reads an ordinary object. `skipped_key` is the `@type` of an `Any`, which is not a field.
    pub(super) fn object(
        &mut self,
        plan: &'a MsgPlan,
        id: MsgId,
        bound: Option<Bound<'_>>,
        levels: u32,
        skipped_key: Option<&[u8]>,
    ) -> Result<()> {
        let levels = self.descend(levels)?;
        if self.scan.peek() != b'{' {
            return Err(self.scan.mismatch(Expected::Object));
        }
        self.scan.advance(1);
        let mut seen = self.open_bits(plan);
        if !self.scan.take(b'}') {
            self.members(plan, id, bound, levels, skipped_key, &mut seen)?;
        }
        if let Some(bound) = bound {
            self.write_missing(plan, id, bound, &mut seen)?;
        }
        self.bits.truncate(seen.base);
        Ok(())
    }

    fn members(
        &mut self,
        plan: &'a MsgPlan,
        id: MsgId,
        bound: Option<Bound<'_>>,
        levels: u32,
        skipped_key: Option<&[u8]>,
        seen: &mut Seen,
    ) -> Result<()> {
        let mut skipped = false;
        // JSON mostly comes in the order of the schema, so the field after the last one is tried first.
        let mut hint = 0;
        loop {
            match self.key(plan, &mut hint)? {
                Ok(index) => {
                    let Some(field) = plan.fields.get(index) else { return Err(self.scan.unexpected()) };
                    if let Err(error) = self.member(plan, id, field, index, bound, levels, seen) {
                        return Err(error.within(self.schema.json_name(field)));
                    }
                }
                Err(key) => {
                    if skipped_key.is_some_and(|skip| key.equals(skip)) {
                        if std::mem::replace(&mut skipped, true) {
                            return Err(self.scan.error(ReadErrorKind::Duplicate));
                        }
                        self.scan.string(Expected::String)?;
                    } else {
                        self.unknown_key(key, levels)?;
                    }
                }
            }
            if !self.scan.take(b',') {
                return self.scan.demand(b'}');
            }
        }
    }

    /// Takes a key with its colon: the index of its field, or the key itself if no field has that name.
    #[inline]
    fn key(&mut self, plan: &'a MsgPlan, hint: &mut usize) -> Result<std::result::Result<usize, Str<'a>>> {
        self.scan.peek();
        if let Some(field) = plan.fields.get(*hint)
            && append::starts_with(self.scan.rest(), &self.schema.arena, field.json_key)
        {
            self.scan.advance(usize::from(field.json_key.len));
            *hint += 1;
            return Ok(Ok(*hint - 1));
        }
        let key = self.scan.key()?;
        let found = match key.plain() {
            Some(name) => plan.names.find(&self.schema.arena, name),
            None => plan.names.find(&self.schema.arena, key.decode(&mut Vec::new())),
        };
        Ok(match found.map(usize::from) {
            Some(index) => {
                *hint = index + 1;
                Ok(index)
            }
            None => Err(key),
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the state of one open message, used in this one place")]
    #[inline]
    fn member(
        &mut self,
        plan: &'a MsgPlan,
        id: MsgId,
        field: &'a FieldPlan,
        index: usize,
        bound: Option<Bound<'_>>,
        levels: u32,
        seen: &mut Seen,
    ) -> Result<()> {
        if self.mark(seen, index) {
            return Err(self.scan.error(ReadErrorKind::Duplicate));
        }
        let bound_value = match bound {
            Some(bound) => FieldIndex::try_from(index).ok().and_then(|index| bound.find(index)),
            None => None,
        };
        if self.field_is_null(field)? {
            // Unset by the body, so what is bound is the value.
            if let (Some(value), Ok(index)) = (bound_value, FieldIndex::try_from(index)) {
                self.mark_oneof(plan, field, seen)?;
                write_bound(self.schema, id, index, value, self.out);
            }
            return Ok(());
        }
        self.mark_oneof(plan, field, seen)?;
        let reports = self.unknown == UnknownFields::Report;
        if reports {
            self.path.push(self.schema.json_name(field));
        }
        match bound_value {
            None => self.field_value(field, None, levels)?,
            Some(BoundValue::Message(inner)) => self.field_value(field, Some(inner), levels)?,
            Some(BoundValue::Leaf(expected)) => {
                let start = self.out.len();
                self.field_value(field, None, levels)?;
                if self.out.get(start..) != Some(expected) {
                    return Err(self.scan.error(ReadErrorKind::BindingCollision));
                }
            }
        }
        if reports {
            self.path.pop();
        }
        Ok(())
    }

    #[inline]
    fn mark_oneof(&mut self, plan: &MsgPlan, field: &FieldPlan, seen: &mut Seen) -> Result<()> {
        if let Some(oneof) = field.oneof()
            && self.mark(seen, plan.fields.len() + usize::from(oneof))
        {
            return Err(self.scan.error(ReadErrorKind::OneofConflict));
        }
        Ok(())
    }

    /// Writes the bound fields that the body did not give.
    #[cold]
    fn write_missing(&mut self, plan: &'a MsgPlan, id: MsgId, bound: Bound<'_>, seen: &mut Seen) -> Result<()> {
        // Several leaves of one repeated field are all written, so fields are marked after the round.
        for (index, value) in bound.fields() {
            let Some(field) = plan.field(index) else { continue };
            if self.is_marked(seen, usize::from(index)) {
                continue;
            }
            self.mark_oneof(plan, field, seen).map_err(|error| error.within(self.schema.json_name(field)))?;
            write_bound(self.schema, id, index, value, self.out);
        }
        Ok(())
    }

    /// Reads the value of a field that is not null, tags included.
    #[inline]
    fn field_value(&mut self, field: &'a FieldPlan, bound: Option<Bound<'_>>, levels: u32) -> Result<()> {
        match field.cardinality {
            Cardinality::Singular if field.kind.is_message() => self.message_value(field, bound, levels),
            Cardinality::Singular => self.scalar(field, field.tag(), field.skips_zero()),
            Cardinality::Repeated => self.list(field, levels),
            Cardinality::Map => self.map(field, levels),
        }
    }

    /// Reads one message with its tag and length, or between group tags.
    fn message_value(&mut self, field: &'a FieldPlan, bound: Option<Bound<'_>>, levels: u32) -> Result<()> {
        self.out.extend_from_slice(field.tag());
        if field.kind == Kind::Group {
            self.message_body(MsgId(field.sub), bound, levels)?;
            wire::put_tag(self.out, field.number, WireType::EndGroup);
            return Ok(());
        }
        let open = open_len(self.out);
        self.message_body(MsgId(field.sub), bound, levels)?;
        close_len(self.out, open);
        Ok(())
    }

    fn list(&mut self, field: &'a FieldPlan, levels: u32) -> Result<()> {
        if self.scan.peek() != b'[' {
            return Err(self.scan.mismatch(Expected::Array));
        }
        self.scan.advance(1);
        if self.scan.take(b']') {
            return Ok(());
        }
        if !field.kind.is_packable() {
            return self.elements(field, levels);
        }
        let start = self.out.len();
        self.out.extend_from_slice(field.packed_tag());
        let open = open_len(self.out);
        let content = self.out.len();
        self.elements(field, levels)?;
        if self.out.len() == content {
            // Only names of enum values that are ignored.
            self.out.truncate(start);
        } else {
            close_len(self.out, open);
        }
        Ok(())
    }

    fn elements(&mut self, field: &'a FieldPlan, levels: u32) -> Result<()> {
        for index in 0usize.. {
            if let Err(error) = self.element(field, levels) {
                return Err(error.at_index(index));
            }
            if !self.scan.take(b',') {
                break;
            }
        }
        self.scan.demand(b']')
    }

    #[inline]
    fn element(&mut self, field: &'a FieldPlan, levels: u32) -> Result<()> {
        if self.scan.peek() == b'n' && !(field.wkt == Wkt::Value || field.is_null_value) {
            return Err(self.unexpected_null());
        }
        if field.kind.is_message() {
            return self.message_value(field, None, levels);
        }
        let tag = if field.kind.is_packable() { &[] } else { field.tag() };
        self.scalar(field, tag, false)
    }

    #[cold]
    fn unexpected_null(&mut self) -> Box<ReadError> {
        match self.scan.null() {
            Ok(_) => self.scan.error(ReadErrorKind::UnexpectedNull),
            Err(error) => error,
        }
    }

    fn map(&mut self, field: &'a FieldPlan, levels: u32) -> Result<()> {
        if self.scan.peek() != b'{' {
            return Err(self.scan.mismatch(Expected::Object));
        }
        self.scan.advance(1);
        if self.scan.take(b'}') {
            return Ok(());
        }
        let entry = self.schema.message(MsgId(field.sub));
        let [key_plan, value_plan, ..] = &*entry.fields else { return Err(self.scan.unexpected()) };
        let mut keys = super::keys::Keys::default();
        loop {
            self.map_entry(field, key_plan, value_plan, levels, &mut keys)?;
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

    fn map_entry(
        &mut self,
        field: &'a FieldPlan,
        key_plan: &'a FieldPlan,
        value_plan: &'a FieldPlan,
        levels: u32,
        keys: &mut super::keys::Keys,
    ) -> Result<()> {
        let start = self.out.len();
        self.out.extend_from_slice(field.tag());
        let open = open_len(self.out);
        let key_start = self.out.len();
        let before_key = self.scan;
        let key = self.scan.key()?;
        self.map_key(key_plan, key).map_err(|kind| before_key.error(kind))?;
        let value_start = self.out.len();
        if self.scan.peek() == b'n' && !(value_plan.wkt == Wkt::Value || value_plan.is_null_value) {
            return Err(self.unexpected_null());
        }
        if value_plan.kind.is_message() {
            self.message_value(value_plan, None, levels)?;
        } else {
            self.scalar(value_plan, value_plan.tag(), false)?;
        }
        if self.out.len() == value_start {
            // An enum name that is ignored: the entry goes with it.
            self.out.truncate(start);
            return Ok(());
        }
        // Closing moves the key if the length of the entry needs more than one byte.
        let key_at = start + field.tag().len() + wire::varint_len((self.out.len() - key_start) as u64);
        close_len(self.out, open);
        keys.push(key_at, value_start - key_start);
        Ok(())
    }

    /// Skips the value of a key that no field has, or refuses it.
    #[cold]
    pub(super) fn unknown_key(&mut self, key: Str<'_>, levels: u32) -> Result<()> {
        let mut scratch = Vec::new();
        let name = std::str::from_utf8(key.decode(&mut scratch)).unwrap_or_default();
        let name = cut(name, MAX_NAME_BYTES);
        if self.unknown == UnknownFields::Reject {
            return Err(self.scan.error(ReadErrorKind::UnknownField).within(name));
        }
        self.scan.skip_value(levels)?;
        self.report(Some(name));
        Ok(())
    }

    /// Remembers that something was ignored: a key of the open message, or the value of the open field.
    pub(super) fn report(&mut self, key: Option<&str>) {
        if self.unknown == UnknownFields::Report {
            let names: Vec<&str> = self.path.iter().copied().chain(key).collect();
            self.ignored.add(&names.join("."));
        }
    }

    /// One level down; what is left below.
    #[inline]
    pub(super) fn descend(&self, levels: u32) -> Result<u32> {
        levels.checked_sub(1).ok_or_else(|| self.scan.error(ReadErrorKind::TooDeep))
    }

    #[inline]
    fn open_bits(&mut self, plan: &MsgPlan) -> Seen {
        let base = self.bits.len();
        let count = plan.fields.len() + usize::from(plan.oneofs);
        if count > 64 {
            self.bits.resize(base + (count - 1) / 64, 0);
        }
        Seen { first: 0, base }
    }

    /// Sets a bit; true if it was set already.
    #[inline]
    fn mark(&mut self, seen: &mut Seen, bit: usize) -> bool {
        let mask = 1u64 << (bit % 64);
        let word = match (bit / 64).checked_sub(1) {
            None => Some(&mut seen.first),
            Some(at) => self.bits.get_mut(seen.base + at),
        };
        let Some(word) = word else { return false };
        let was_set = *word & mask != 0;
        *word |= mask;
        was_set
    }

    fn is_marked(&self, seen: &Seen, bit: usize) -> bool {
        let word = match (bit / 64).checked_sub(1) {
            None => Some(&seen.first),
            Some(at) => self.bits.get(seen.base + at),
        };
        word.is_some_and(|word| word & 1u64 << (bit % 64) != 0)
    }
}
