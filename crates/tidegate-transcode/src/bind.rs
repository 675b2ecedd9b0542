//! Values from path and query on their way into the request message.
//!
//! A value is encoded as soon as it is read and then waits in a flat list, together with the field path that it belongs
//! to. Writing sorts the list by path, so that everything of one sub-message stands together, and finds what excludes
//! each other on the way: a scalar given twice, two members of one oneof. The body, where it goes into one field, takes
//! its place in the same list. Invariant: a typical request allocates nothing here.

pub(crate) mod leaf;

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::error::{Fault, RequestError, Stage};
use crate::faults::Faults;
use crate::json::{Ignored, Injection, InjectionFull, UnknownFields};
use crate::plan::{Cardinality, FieldIndex, FieldPlan, Kind, MsgId};
use crate::query;
use crate::rule::{self, PathFault, Step};
use crate::schema::Schema;
use crate::wire::{self, WireType};

/// How a query is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryOptions {
    /// What happens to a key that no field has.
    pub unknown: UnknownFields,
    /// Decoded keys that are passed over before anything else: those that authentication has used, and those that the
    /// route ignores.
    pub passed_over: Vec<String>,
    /// `+` stands for itself instead of a space.
    pub plus_is_literal: bool,
}

/// Room for the values of a small request, so that they are one allocation.
const FIRST_RESERVE: usize = 128;

/// Values waiting to be written, each with its field path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bindings {
    entries: SmallVec<[Entry; 8]>,
    steps: SmallVec<[Step; 16]>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Range of `steps`.
    path: (u32, u32),
    source: Stage,
    value: Value,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    /// Range of `bytes`: the value without tag and without length.
    Encoded(u32, u32),
    /// Whatever the body gives; the writer of [`Bindings::write`] appends the field.
    Body,
}

impl Bindings {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Encodes the value of a path variable.
    pub(crate) fn add_capture(&mut self, schema: &Schema, path: &[Step], name: &str, text: &str, faults: &mut Faults) {
        self.add(schema, path, name, text, Stage::Path, faults);
    }

    /// Encodes the value of a path variable whose field lies inside the body, for the reader of the body to write or to
    /// compare. `path` begins below the message that the body is. Nothing stays here but the memory that was needed.
    pub(crate) fn inject(
        &mut self,
        schema: &Schema,
        injection: &mut Injection,
        path: &[Step],
        (name, text): (&str, &str),
        faults: &mut Faults,
    ) {
        let Some(field) = path.last().and_then(|step| rule::field_at(schema, *step)) else {
            return;
        };
        self.reserve();
        let start = self.bytes.len();
        let encoded = leaf::encode(schema, field, text, &mut self.bytes);
        if let Err(leaf::LeafError::Bad(expected) | leaf::LeafError::NotText(expected)) = encoded {
            faults.add(Stage::Path, Fault::BadValue, name, expected);
            return;
        }
        let value = self.bytes.len();
        let copy = self.bytes.get(start..).map(SmallVec::<[u8; 64]>::from_slice).unwrap_or_default();
        write_leaf(field, &copy, &mut self.bytes);
        let fields: SmallVec<[FieldIndex; 8]> = path.iter().map(|step| step.field).collect();
        let inserted = injection.insert(&fields, self.bytes.get(value..).unwrap_or_default());
        self.bytes.truncate(start);
        if let Err(InjectionFull) = inserted {
            // Variables that exclude each other are refused when the binding is compiled.
            faults.add(Stage::Path, Fault::GivenTwice, name, "given twice");
        }
    }

    /// Puts the body at the field path; its bytes are written later.
    pub(crate) fn add_body(&mut self, path: &[Step]) {
        let path = self.keep_path(path);
        self.entries.push(Entry { path, source: Stage::Body, value: Value::Body });
    }

    /// Puts text, as it is, into the string field at the path.
    pub(crate) fn add_string(&mut self, path: &[Step], text: &str) {
        let path = self.keep_path(path);
        let start = self.mark();
        self.bytes.extend_from_slice(text.as_bytes());
        self.entries.push(Entry { path, source: Stage::Body, value: Value::Encoded(start, self.mark()) });
    }

    /// Whether something is bound at exactly this path.
    pub(crate) fn binds(&self, path: &[Step]) -> bool {
        self.entries.iter().any(|entry| self.path(entry) == path)
    }

    /// Reads a query into fields of `input`. Keys that name a field in `variables` are passed over, as the path wins;
    /// those that name the field of the body, or something below it, are refused whatever the policy for unknown keys.
    pub(crate) fn add_query(
        &mut self,
        schema: &Schema,
        target: &QueryTarget<'_>,
        query: &str,
        ignored: &mut Ignored,
        faults: &mut Faults,
    ) {
        for parameter in query::parameters(query, target.options.plus_is_literal) {
            let (key, value) = match parameter {
                Ok(pair) => pair,
                Err(fault) => {
                    faults.add_plain(Stage::Query, fault);
                    return;
                }
            };
            if target.options.passed_over.iter().any(|name| *name == key) {
                continue;
            }
            self.add_parameter(schema, target, (&key, &value), ignored, faults);
            if faults.is_full() {
                return;
            }
        }
    }

    /// Appends everything as fields of one message, in the order of the field numbers. `body` appends the field of the
    /// body, tag included.
    pub(crate) fn write(
        &mut self,
        schema: &Schema,
        out: &mut Vec<u8>,
        body: &mut dyn FnMut(&mut Vec<u8>) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let steps = &self.steps;
        let key = |entry: &Entry| steps_at(steps, entry.path).iter().map(|step| step.field);
        // Within one message the order of indices is that of the numbers. The sort is stable: lists keep their order.
        self.entries.sort_by(|left, right| key(left).cmp(key(right)));
        Writer { bindings: self, schema, body }.level(&self.entries, 0, out)
    }

    fn add_parameter(
        &mut self,
        schema: &Schema,
        target: &QueryTarget<'_>,
        (key, value): (&Cow<'_, str>, &Cow<'_, str>),
        ignored: &mut Ignored,
        faults: &mut Faults,
    ) {
        let mut path: SmallVec<[Step; 8]> = SmallVec::new();
        match rule::follow(schema, target.input, key, |step| path.push(step)) {
            Ok(()) => {}
            Err(PathFault::Unknown { .. } | PathFault::TooLong) => {
                refuse_unknown(target.options.unknown, key, ignored, faults);
                return;
            }
            Err(fault) => {
                faults.add(Stage::Query, Fault::NotAParameter, key, path_text(fault));
                return;
            }
        }
        if target.variables.iter().any(|variable| **variable == *path) {
            return;
        }
        // Not merely unknown: passing it over would drop a value that the message has a place for.
        if target.body.is_some_and(|body| path.starts_with(body)) {
            faults.add(Stage::Query, Fault::NotAParameter, key, "belongs to the body");
            return;
        }
        self.add(schema, &path, key, value, Stage::Query, faults);
    }

    fn add(&mut self, schema: &Schema, path: &[Step], name: &str, text: &str, source: Stage, faults: &mut Faults) {
        let Some(field) = path.last().and_then(|step| rule::field_at(schema, *step)) else {
            return;
        };
        self.reserve();
        let start = self.mark();
        match leaf::encode(schema, field, text, &mut self.bytes) {
            Ok(()) => {
                let path = self.keep_path(path);
                self.entries.push(Entry { path, source, value: Value::Encoded(start, self.mark()) });
            }
            Err(leaf::LeafError::NotText(expected)) => faults.add(source, Fault::NotAParameter, name, expected),
            Err(leaf::LeafError::Bad(expected)) => faults.add(source, Fault::BadValue, name, expected),
        }
    }

    fn reserve(&mut self) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(FIRST_RESERVE);
        }
    }

    fn keep_path(&mut self, path: &[Step]) -> (u32, u32) {
        let start = self.steps.len();
        self.steps.extend_from_slice(path);
        (small(start), small(self.steps.len()))
    }

    fn mark(&self) -> u32 {
        small(self.bytes.len())
    }

    fn path(&self, entry: &Entry) -> &[Step] {
        steps_at(&self.steps, entry.path)
    }
}

/// What a query is read into.
pub(crate) struct QueryTarget<'a> {
    pub(crate) input: MsgId,
    pub(crate) options: &'a QueryOptions,
    /// Paths that the path template binds.
    pub(crate) variables: &'a [Box<[Step]>],
    /// The field of the body.
    pub(crate) body: Option<&'a [Step]>,
}

/// Handles every key of a query that no field may take, because the body is the whole message.
pub(crate) fn refuse_query(options: &QueryOptions, query: &str, ignored: &mut Ignored, faults: &mut Faults) {
    for parameter in query::parameters(query, options.plus_is_literal) {
        match parameter {
            Ok((key, _)) if options.passed_over.iter().any(|name| *name == key) => {}
            Ok((key, _)) => refuse_unknown(options.unknown, &key, ignored, faults),
            Err(fault) => {
                faults.add_plain(Stage::Query, fault);
                return;
            }
        }
    }
}

fn refuse_unknown(policy: UnknownFields, key: &str, ignored: &mut Ignored, faults: &mut Faults) {
    match policy {
        UnknownFields::Reject => faults.add(Stage::Query, Fault::UnknownParameter, key, "unknown parameter"),
        UnknownFields::Ignore => {}
        UnknownFields::Report => ignored.add(crate::error::cut(key)),
    }
}

const fn path_text(fault: PathFault<'_>) -> &'static str {
    match fault {
        PathFault::ThroughScalar(_) => "leads through a field that is not a message",
        PathFault::ThroughList(_) => "leads through a list",
        PathFault::ThroughMap(_) => "maps cannot be given in a query",
        PathFault::Unknown { .. } | PathFault::TooLong => "unknown parameter",
    }
}

struct Writer<'a, 'b> {
    bindings: &'a Bindings,
    schema: &'a Schema,
    body: &'b mut dyn FnMut(&mut Vec<u8>) -> Result<(), RequestError>,
}

impl Writer<'_, '_> {
    /// Writes the fields of one message. All `entries` share the first `depth` steps.
    fn level(&mut self, entries: &[Entry], depth: usize, out: &mut Vec<u8>) -> Result<(), RequestError> {
        let mut oneofs: SmallVec<[u16; 4]> = SmallVec::new();
        let step = |writer: &Self, entry: &Entry| writer.bindings.path(entry).get(depth).copied();
        let same = |left: &Entry, right: &Entry| step(self, left) == step(self, right);
        let runs: SmallVec<[&[Entry]; 8]> = entries.chunk_by(same).collect();
        for run in runs {
            let Some(first) = run.first() else { continue };
            let Some(field) = step(self, first).and_then(|step| rule::field_at(self.schema, step)) else {
                continue;
            };
            if let Some(oneof) = field.oneof() {
                if oneofs.contains(&oneof) {
                    let members = entries.iter().filter(|entry| {
                        step(self, entry)
                            .and_then(|step| rule::field_at(self.schema, step))
                            .is_some_and(|field| field.oneof() == Some(oneof))
                    });
                    let message = "excludes another field that is given";
                    return Err(self.conflict(Fault::OneofGivenTwice, members, message));
                }
                oneofs.push(oneof);
            }
            self.run(run, depth, field, out)?;
        }
        Ok(())
    }

    /// Writes what is bound to one field, or below it.
    fn run(&mut self, run: &[Entry], depth: usize, field: &FieldPlan, out: &mut Vec<u8>) -> Result<(), RequestError> {
        let is_leaf = |entry: &Entry| self.bindings.path(entry).len() == depth.saturating_add(1);
        let leaves = run.iter().filter(|entry| is_leaf(entry)).count();
        if leaves == 0 {
            return self.message(run, depth, field, out);
        }
        let is_list = field.cardinality() == Cardinality::Repeated;
        if leaves != run.len() || (leaves > 1 && !is_list) {
            return Err(self.conflict(Fault::GivenTwice, run.iter(), "given twice"));
        }
        if let [Entry { value: Value::Body, .. }] = run {
            return (self.body)(out);
        }
        if is_list && field.kind().is_packable() {
            out.extend_from_slice(field.packed_tag());
            let open = wire::open_len(out);
            for entry in run {
                out.extend_from_slice(self.encoded(entry));
            }
            wire::close_len(out, open);
            return Ok(());
        }
        for entry in run {
            write_leaf(field, self.encoded(entry), out);
        }
        Ok(())
    }

    fn message(
        &mut self,
        run: &[Entry],
        depth: usize,
        field: &FieldPlan,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        out.extend_from_slice(field.tag());
        if field.kind() == Kind::Group {
            self.level(run, depth.saturating_add(1), out)?;
            wire::put_tag(out, field.number(), WireType::EndGroup);
            return Ok(());
        }
        let open = wire::open_len(out);
        self.level(run, depth.saturating_add(1), out)?;
        wire::close_len(out, open);
        Ok(())
    }

    fn encoded(&self, entry: &Entry) -> &[u8] {
        match entry.value {
            Value::Encoded(start, end) => self.bindings.bytes.get(start as usize..end as usize).unwrap_or_default(),
            Value::Body => &[],
        }
    }

    /// The error for `entries` that exclude each other. It blames one from the query if there is one, because path and
    /// body come first.
    #[cold]
    fn conflict<'e>(
        &self,
        fault: Fault,
        entries: impl DoubleEndedIterator<Item = &'e Entry> + Clone,
        message: &'static str,
    ) -> RequestError {
        let by_query = entries.clone().rfind(|entry| entry.source == Stage::Query);
        let Some(entry) = by_query.or(entries.last()) else {
            return RequestError::new(Stage::Query, fault);
        };
        let mut name = String::new();
        for step in self.bindings.path(entry) {
            let Some(field) = rule::field_at(self.schema, *step) else { continue };
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(self.schema.json_name(field));
        }
        RequestError::of_field(entry.source, fault, &name, message)
    }
}

/// Appends one field with tag and length; nothing for a zero that the wire leaves out.
fn write_leaf(field: &FieldPlan, value: &[u8], out: &mut Vec<u8>) {
    let is_length_delimited = field.kind().wire_type() == WireType::Len;
    let is_zero = match field.kind() {
        Kind::String | Kind::Bytes => value.is_empty(),
        Kind::Message | Kind::Group => false,
        _ => value.iter().all(|byte| *byte == 0),
    };
    if is_zero && field.skips_zero() {
        return;
    }
    out.extend_from_slice(field.tag());
    if is_length_delimited {
        wire::put_varint(out, value.len() as u64);
    }
    out.extend_from_slice(value);
    if field.kind() == Kind::Group {
        wire::put_tag(out, field.number(), WireType::EndGroup);
    }
}

fn steps_at(steps: &[Step], (start, end): (u32, u32)) -> &[Step] {
    steps.get(start as usize..end as usize).unwrap_or_default()
}

/// Positions in lists that a request of a few megabytes fills at most.
fn small(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
