//! `Any` out of JSON.
//!
//! The type must be known before the other keys can be read, and it may come last. So the object is looked through for
//! `@type` first, unless that is the first key, and then read once. Looking ahead is bounded over the whole text, since
//! an `Any` within an `Any` within an `Any` would otherwise be looked through once per level.

use super::error::{Expected, ReadErrorKind};
use super::read::Reader;
use super::scan::Result;
use crate::any;
use crate::plan::{MsgId, Wkt};
use crate::wire::{close_len, open_len};

const TYPE_KEY: &[u8] = b"@type";
const VALUE_KEY: &[u8] = b"value";
const TYPE_URL: u8 = 0x0a;
const VALUE: u8 = 0x12;

impl Reader<'_> {
    pub(super) fn any(&mut self, levels: u32) -> Result<()> {
        let levels = self.descend(levels)?;
        if self.scan.peek() != b'{' {
            return Err(self.scan.mismatch(Expected::Object));
        }
        let Some(message) = self.any_type(levels)? else { return Ok(()) };
        let start = self.out.len();
        self.out.push(VALUE);
        let open = open_len(self.out);
        let content = self.out.len();
        let plan = self.schema.message(message);
        if plan.wkt == Wkt::None {
            // The object is that of the message, with one key more; it is on the same level.
            self.object(plan, message, None, levels + 1, Some(TYPE_KEY))?;
        } else {
            self.any_of_special(message, levels)?;
        }
        if self.out.len() == content {
            self.out.truncate(start);
        } else {
            close_len(self.out, open);
        }
        Ok(())
    }

    /// Finds `@type` ahead, appends the URL, and gives the message it names; `None` for an empty object, which is
    /// consumed.
    fn any_type(&mut self, levels: u32) -> Result<Option<MsgId>> {
        let mut ahead = self.scan;
        ahead.advance(1);
        if ahead.take(b'}') {
            self.scan = ahead;
            return Ok(None);
        }
        let mut first = ahead;
        let comes_first = first.key().is_ok_and(|key| key.equals(TYPE_KEY));
        let url = if comes_first {
            Some(first.string(Expected::String)?)
        } else {
            let (found, looked_at) = self.scan.find_string_member(TYPE_KEY, levels)?;
            self.ahead_left =
                self.ahead_left.checked_sub(looked_at).ok_or_else(|| self.scan.error(ReadErrorKind::TooDeep))?;
            found
        };
        let Some(url) = url else { return Err(self.scan.error(ReadErrorKind::AnyTypeMissing)) };
        let mut scratch = Vec::new();
        let text = std::str::from_utf8(url.decode(&mut scratch)).unwrap_or_default();
        let Some(name) = any::type_name(text) else { return Err(self.scan.error(ReadErrorKind::AnyTypeMissing)) };
        let Some(message) = self.schema.find_message(name) else {
            return Err(self.scan.error(ReadErrorKind::AnyTypeUnknown));
        };
        self.out.push(TYPE_URL);
        let open = open_len(self.out);
        self.out.extend_from_slice(text.as_bytes());
        close_len(self.out, open);
        Ok(Some(message))
    }

    /// An `Any` of a message with a JSON form of its own: that form is under the key `value`.
    fn any_of_special(&mut self, message: MsgId, levels: u32) -> Result<()> {
        self.scan.advance(1);
        let (mut has_type, mut has_value) = (false, false);
        loop {
            let key = self.scan.key()?;
            let slot = if key.equals(TYPE_KEY) {
                &mut has_type
            } else if key.equals(VALUE_KEY) {
                &mut has_value
            } else {
                self.unknown_key(key, levels)?;
                if !self.scan.take(b',') {
                    break;
                }
                continue;
            };
            if std::mem::replace(slot, true) {
                return Err(self.scan.error(ReadErrorKind::Duplicate));
            }
            if key.equals(VALUE_KEY) {
                let result = self.message_body(message, None, levels);
                result.map_err(|error| error.within("value"))?;
            } else {
                self.scan.string(Expected::String)?;
            }
            if !self.scan.take(b',') {
                break;
            }
        }
        self.scan.demand(b'}')?;
        if has_value { Ok(()) } else { Err(self.scan.error(ReadErrorKind::AnyValueMissing)) }
    }
}
