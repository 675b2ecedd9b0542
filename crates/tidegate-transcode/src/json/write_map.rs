//! Takes map entries apart.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::write::Stop;
use crate::plan::{FieldPlan, Kind};
use crate::wire::Cursor;

/// Key and value of one map entry as bytes of the wire, without tags.
pub(super) struct Entry<'a> {
    /// The last key, with its length if it has one; `None` if the entry has none, which means zero.
    pub(super) key: Option<&'a [u8]>,
    /// The last value; likewise.
    pub(super) value: Option<&'a [u8]>,
    /// All values if they are messages, which are merged and not replaced.
    messages: SmallVec<[&'a [u8]; 1]>,
}

/// Reads one entry; fields other than 1 and 2 and those of a wrong wire type are skipped.
pub(super) fn split<'a>(entry: &'a [u8], key: &FieldPlan, value: &FieldPlan) -> Result<Entry<'a>, Stop> {
    let mut found = Entry { key: None, value: None, messages: SmallVec::new() };
    let mut cursor = Cursor::new(entry);
    while !cursor.is_empty() {
        let (number, wire_type) = cursor.tag()?;
        let before = cursor.rest();
        cursor.skip(number, wire_type)?;
        let bytes = before.get(..before.len() - cursor.rest().len()).unwrap_or_default();
        if number == key.number && wire_type == key.kind.wire_type() {
            found.key = Some(bytes);
        } else if number == value.number && wire_type == value.kind.wire_type() {
            found.value = Some(bytes);
            if value.kind.is_message() {
                found.messages.push(bytes);
            }
        }
    }
    Ok(found)
}

impl<'a> Entry<'a> {
    /// The message that is the value, joined if it comes in pieces: joining encodings is merging messages.
    pub(super) fn message(&self, value: &FieldPlan) -> Result<Cow<'a, [u8]>, Stop> {
        let content = |bytes: &'a [u8]| match value.kind {
            Kind::Group => Cursor::new(bytes).group(value.number),
            _ => Cursor::new(bytes).len_prefixed(),
        };
        match *self.messages {
            [] => Ok(Cow::Borrowed(&[])),
            [single] => Ok(Cow::Borrowed(content(single)?)),
            ref several => {
                let mut joined = Vec::new();
                for piece in several {
                    joined.extend_from_slice(content(piece)?);
                }
                Ok(Cow::Owned(joined))
            }
        }
    }
}
