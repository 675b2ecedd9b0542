//! Wire bytes → JSON text, in one walk and without a message in between.
//!
//! As long as field numbers do not go back, which is what every mainstream encoder produces, each field is printed when
//! it is met. What does not fit that (a field that comes again later, two members of a oneof, a map key twice) is only
//! noticed when text has been written already; then the whole answer is printed again by the slow path in
//! `write_slow.rs`, which indexes each message first. That happens at most once per answer, so a hostile order of fields
//! costs twice the time and not more.
//!
//! Every value is followed by a comma, and the bracket that closes takes the last one's place.
//!
//! Single values are in `write_scalar.rs`, messages with a JSON form of their own in `write_wkt.rs`.

use super::append;
use super::error::WriteError;
use super::keys::Keys;
use super::options::{MAX_DEPTH, WriteOptions};
use crate::plan::{Cardinality, FieldIndex, FieldPlan, Kind, MsgId, MsgPlan, Wkt};
use crate::schema::Schema;
use crate::wire::{Cursor, Malformed, WireType};

/// JSON may be this many times as long as the message, plus [`FREE_OUTPUT`]. With `emit_defaults` two bytes on the wire
/// can stand for thousands of bytes of zero values, and a backend must not be able to fill the memory with them.
const MAX_GROWTH: usize = 20;

/// So small messages may have as many default fields as they like.
const FREE_OUTPUT: usize = 8 * 1024 * 1024;

/// Prints the wire bytes of `message` (no frame) as JSON without any white space, appended to `out`.
///
/// Allocates to grow `out` only, as long as fields come in order. Unknown fields are skipped.
///
/// # Errors
/// [`WriteError`]; `out` is then as it was.
pub fn print_message(
    schema: &Schema,
    message: MsgId,
    wire: &[u8],
    options: &WriteOptions,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    // Keys and quotes make JSON about twice as long as the wire form.
    out.reserve(wire.len().saturating_mul(2).saturating_add(wire.len() / 5 + 2));
    print(schema, options, wire.len(), out, |writer| writer.message(message, wire, MAX_DEPTH))
}

/// Prints one field of `message` as a JSON document. An unset field prints `[]`, `{}` for a map or a message, its zero
/// value, or `null` for a well-known type that has no empty form.
///
/// # Errors
/// As [`print_message`].
pub fn print_field(
    schema: &Schema,
    message: MsgId,
    field: FieldIndex,
    wire: &[u8],
    options: &WriteOptions,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    out.reserve(wire.len().saturating_mul(2));
    print(schema, options, wire.len(), out, |writer| writer.single_field(message, field, wire))
}

fn print<'a>(
    schema: &'a Schema,
    options: &WriteOptions,
    wire_len: usize,
    out: &'a mut Vec<u8>,
    write: impl Fn(&mut Writer<'a>) -> Result<(), Stop>,
) -> Result<(), WriteError> {
    let start = out.len();
    let limit = start.saturating_add(MAX_GROWTH.saturating_mul(wire_len)).saturating_add(FREE_OUTPUT);
    let mut writer = Writer { schema, out, options: *options, slow: false, limit };
    let mut result = write(&mut writer);
    if matches!(result, Err(Stop::OutOfOrder)) {
        writer.out.truncate(start);
        writer.slow = true;
        result = write(&mut writer);
    }
    result.map_err(|stop| {
        writer.out.truncate(start);
        match stop {
            Stop::Failed(error) => error,
            // The slow path takes fields in any order.
            Stop::OutOfOrder => WriteError::Malformed,
        }
    })
}

/// Why printing stops.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    /// For good.
    Failed(WriteError),
    /// The walk met something that only the slow path can print.
    OutOfOrder,
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        Stop::Failed(error)
    }
}

impl From<Malformed> for Stop {
    fn from(Malformed: Malformed) -> Self {
        Stop::Failed(WriteError::Malformed)
    }
}

pub(super) struct Writer<'a> {
    pub(super) schema: &'a Schema,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) options: WriteOptions,
    pub(super) slow: bool,
    /// Length of `out` beyond which the answer is refused.
    limit: usize,
}

/// Where the walk over one message is.
struct Walk {
    /// Fields below this index are done.
    next: usize,
    /// Oneofs of which a member was printed; only the first 64 are tracked.
    oneofs: u64,
    /// The list or map whose bracket is still open; it belongs to the field before `next`.
    open: Open,
    /// Where the key of the open list or map begins.
    key_start: usize,
    /// Keys of the open map.
    keys: Keys,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    List,
    Map,
}

impl<'a> Writer<'a> {
    /// Prints the content of a message, in whatever JSON form its type has.
    pub(super) fn message(&mut self, id: MsgId, wire: &[u8], levels: u32) -> Result<(), Stop> {
        let plan = self.schema.message(id);
        match plan.wkt {
            Wkt::None => {
                let levels = descend(levels)?;
                self.out.push(b'{');
                self.object_members(plan, wire, levels)?;
                self.close(b'}');
                if self.out.len() > self.limit { Err(WriteError::TooLarge.into()) } else { Ok(()) }
            }
            Wkt::Any => self.any(wire, levels),
            Wkt::Timestamp => self.timestamp(wire),
            Wkt::Duration => self.duration(wire),
            Wkt::FieldMask => self.field_mask(wire),
            Wkt::Struct => self.structure(plan, wire, levels),
            Wkt::Value => self.dynamic_value(wire, levels),
            Wkt::ListValue => self.dynamic_list(wire, levels),
            Wkt::Wrapper => self.wrapper(plan, wire),
        }
    }

    /// Prints the members of an object, each with a comma behind it. The brace is open already.
    pub(super) fn object_members(&mut self, plan: &'a MsgPlan, wire: &[u8], levels: u32) -> Result<(), Stop> {
        if self.slow {
            return self.indexed_members(plan, wire, levels);
        }
        self.walk(plan, &mut Cursor::new(wire), None, levels)
    }

    /// Prints the fields at `cursor`, up to the end or to the end tag of `group`.
    fn walk(
        &mut self,
        plan: &'a MsgPlan,
        cursor: &mut Cursor<'_>,
        group: Option<u32>,
        levels: u32,
    ) -> Result<(), Stop> {
        let mut walk = Walk { next: 0, oneofs: 0, open: Open::Nothing, key_start: 0, keys: Keys::default() };
        loop {
            if cursor.is_empty() {
                if group.is_some() {
                    return Err(Malformed.into());
                }
                break;
            }
            let (number, wire_type) = cursor.tag()?;
            if wire_type == WireType::EndGroup {
                if group != Some(number) {
                    return Err(Malformed.into());
                }
                break;
            }
            match find(plan, &walk, number) {
                Some((index, field)) if accepts(field, wire_type) => {
                    self.step(plan, &mut walk, index, field, wire_type, cursor, levels)?;
                }
                // A field of another wire type counts as unknown, as in every implementation.
                _ => cursor.skip(number, wire_type)?,
            }
        }
        self.close_open(&mut walk)?;
        if self.options.emit_defaults {
            self.defaults(plan.fields.get(walk.next..).unwrap_or_default());
        }
        Ok(())
    }

    /// Prints one occurrence of a field, whose tag was just read.
    #[allow(clippy::too_many_arguments, reason = "the state of one open message, used in this one place")]
    #[inline]
    fn step(
        &mut self,
        plan: &'a MsgPlan,
        walk: &mut Walk,
        index: usize,
        field: &'a FieldPlan,
        wire_type: WireType,
        cursor: &mut Cursor<'_>,
        levels: u32,
    ) -> Result<(), Stop> {
        if index >= walk.next {
            self.begin(plan, walk, index, field)?;
        } else if index + 1 != walk.next || walk.open == Open::Nothing {
            return Err(Stop::OutOfOrder);
        }
        match walk.open {
            Open::Nothing => self.singular(field, cursor, levels),
            Open::List => self.list_item(field, wire_type, cursor, levels),
            Open::Map => {
                let entry = cursor.len_prefixed()?;
                let key_start = self.out.len();
                if let Some(key_len) = self.map_entry(field, entry, levels)? {
                    walk.keys.push(key_start, key_len);
                }
                Ok(())
            }
        }
    }

    /// Ends what was open, prints the defaults of the fields that are passed over, and opens a list or map.
    #[inline]
    fn begin(&mut self, plan: &'a MsgPlan, walk: &mut Walk, index: usize, field: &'a FieldPlan) -> Result<(), Stop> {
        self.close_open(walk)?;
        if self.options.emit_defaults {
            self.defaults(plan.fields.get(walk.next..index).unwrap_or_default());
        }
        walk.next = index + 1;
        if let Some(oneof) = field.oneof() {
            let mask = 1u64.checked_shl(u32::from(oneof)).unwrap_or(0);
            if mask == 0 || walk.oneofs & mask != 0 {
                return Err(Stop::OutOfOrder);
            }
            walk.oneofs |= mask;
        }
        match field.cardinality {
            Cardinality::Singular => {}
            Cardinality::Repeated => {
                walk.open = Open::List;
                walk.key_start = self.out.len();
                self.key(field);
                self.out.push(b'[');
            }
            Cardinality::Map => {
                walk.open = Open::Map;
                walk.key_start = self.out.len();
                self.key(field);
                self.out.push(b'{');
            }
        }
        Ok(())
    }

    #[inline]
    fn close_open(&mut self, walk: &mut Walk) -> Result<(), Stop> {
        match walk.open {
            Open::Nothing => return Ok(()),
            Open::List => self.close_collection(walk.key_start, b']'),
            Open::Map => {
                if walk.keys.has_duplicate(self.out) {
                    return Err(Stop::OutOfOrder);
                }
                walk.keys.clear();
                self.close_collection(walk.key_start, b'}');
            }
        }
        walk.open = Open::Nothing;
        Ok(())
    }

    /// Closes a list or map whose key was written at `key_start`. One that turned out empty is as good as unset.
    pub(super) fn close_collection(&mut self, key_start: usize, bracket: u8) {
        let is_empty = self.out.last() != Some(&b',');
        if is_empty && !self.options.emit_defaults {
            self.out.truncate(key_start);
            return;
        }
        self.close(bracket);
        self.out.push(b',');
    }

    /// Writes a closing bracket in place of the last comma, if there is one.
    #[inline]
    pub(super) fn close(&mut self, bracket: u8) {
        match self.out.last_mut() {
            Some(last) if *last == b',' => *last = bracket,
            _ => self.out.push(bracket),
        }
    }

    #[inline]
    pub(super) fn key(&mut self, field: &FieldPlan) {
        let key = if self.options.proto_names { field.proto_key } else { field.json_key };
        append::arena_text(&self.schema.arena, key, self.out);
    }

    /// Prints a singular field with key and comma; nothing for a zero that counts as unset.
    #[inline]
    fn singular(&mut self, field: &'a FieldPlan, cursor: &mut Cursor<'_>, levels: u32) -> Result<(), Stop> {
        if field.kind.is_message() {
            self.key(field);
            self.message_value(field, cursor, levels)?;
            self.out.push(b',');
            return Ok(());
        }
        self.scalar_member(field, cursor)
    }

    #[inline]
    pub(super) fn message_value(
        &mut self,
        field: &'a FieldPlan,
        cursor: &mut Cursor<'_>,
        levels: u32,
    ) -> Result<(), Stop> {
        let id = MsgId(field.sub);
        if field.kind == Kind::Message {
            let wire = cursor.len_prefixed()?;
            return self.message(id, wire, levels);
        }
        let plan = self.schema.message(id);
        if self.slow || plan.wkt != Wkt::None {
            let wire = cursor.group(field.number)?;
            return self.message(id, wire, levels);
        }
        // A group is printed while its end is looked for.
        let levels = descend(levels)?;
        self.out.push(b'{');
        self.walk(plan, cursor, Some(field.number), levels)?;
        self.close(b'}');
        Ok(())
    }

    /// Prints one element, or all elements of a packed run, each with its comma.
    #[inline]
    pub(super) fn list_item(
        &mut self,
        field: &'a FieldPlan,
        wire_type: WireType,
        cursor: &mut Cursor<'_>,
        levels: u32,
    ) -> Result<(), Stop> {
        if field.kind.is_message() {
            self.message_value(field, cursor, levels)?;
            self.out.push(b',');
            return Ok(());
        }
        if wire_type == WireType::Len && field.kind.is_packable() {
            let mut packed = Cursor::new(cursor.len_prefixed()?);
            return self.packed(field, &mut packed);
        }
        self.element(field, cursor)
    }

    /// Prints one map entry with its comma, and gives the length of its key with quotes. `None` if the entry does not
    /// count: its value is a name that a closed enum does not have.
    pub(super) fn map_entry(&mut self, field: &'a FieldPlan, entry: &[u8], levels: u32) -> Result<Option<usize>, Stop> {
        let [key_plan, value_plan, ..] = &*self.schema.message(MsgId(field.sub)).fields else {
            return Err(Malformed.into());
        };
        let parts = super::write_map::split(entry, key_plan, value_plan)?;
        let start = self.out.len();
        self.map_key(key_plan, parts.key)?;
        let key_len = self.out.len() - start;
        self.out.push(b':');
        let value_start = self.out.len();
        if value_plan.kind.is_message() {
            let wire = parts.message(value_plan)?;
            self.message(MsgId(value_plan.sub), &wire, levels)?;
            self.out.push(b',');
            return Ok(Some(key_len));
        }
        match parts.value {
            Some(value) => self.element(value_plan, &mut Cursor::new(value))?,
            None => {
                self.zero(value_plan);
                self.out.push(b',');
            }
        }
        if self.out.len() == value_start {
            self.out.truncate(start);
            return Ok(None);
        }
        Ok(Some(key_len))
    }

    /// Prints the fields that have no presence with their zero values.
    pub(super) fn defaults(&mut self, fields: &'a [FieldPlan]) {
        for field in fields {
            if field.presence {
                continue;
            }
            self.key(field);
            self.default_value(field);
            self.out.push(b',');
        }
    }

    /// Prints what an unset field is worth.
    pub(super) fn default_value(&mut self, field: &FieldPlan) {
        match (field.cardinality, field.wkt) {
            (Cardinality::Repeated, _) | (_, Wkt::ListValue) => self.out.extend_from_slice(b"[]"),
            (Cardinality::Map, _) | (_, Wkt::Struct | Wkt::Any) => self.out.extend_from_slice(b"{}"),
            (_, Wkt::FieldMask) => self.out.extend_from_slice(b"\"\""),
            (_, Wkt::Timestamp | Wkt::Duration | Wkt::Value | Wkt::Wrapper) => self.out.extend_from_slice(b"null"),
            (Cardinality::Singular, Wkt::None) => self.zero(field),
        }
    }
}

/// The field with `number`; the one that is expected next, or was just read, is found without a look-up.
#[inline]
fn find<'p>(plan: &'p MsgPlan, walk: &Walk, number: u32) -> Option<(usize, &'p FieldPlan)> {
    for index in [walk.next.wrapping_sub(1), walk.next] {
        if let Some(field) = plan.fields.get(index).filter(|field| field.number == number) {
            return Some((index, field));
        }
    }
    let index = plan.find_number(number)?;
    Some((usize::from(index), plan.field(index)?))
}

/// True if `wire_type` is right for the field: that of its kind, or the packed form of a repeated number.
#[inline]
pub(super) fn accepts(field: &FieldPlan, wire_type: WireType) -> bool {
    wire_type == field.kind.wire_type()
        || (wire_type == WireType::Len && field.cardinality == Cardinality::Repeated && field.kind.is_packable())
}

/// One level down; what is left below.
#[inline]
pub(super) fn descend(levels: u32) -> Result<u32, Stop> {
    levels.checked_sub(1).ok_or(Stop::Failed(WriteError::TooDeep))
}
