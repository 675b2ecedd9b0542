//! The text of one element of a feed, which may be plain, escaped HTML, or XHTML.

use super::vocabulary::Field;
use crate::news::canonical::bounded_link;
use crate::news::text::{RAW_MAX_BYTES, collapsed, decode, head, plain};

/// The text of an element, as it comes.
pub(super) struct Capture {
    pub(super) field: Field,
    /// Of the element.
    pub(super) depth: usize,
    raw: String,
    is_html: bool,
    /// A tag stands in the text, not only the escaped text of one.
    has_markup: bool,
}

impl Capture {
    pub(super) fn new(field: Field, depth: usize, is_html: bool) -> Self {
        Self { field, depth, raw: String::new(), is_html, has_markup: false }
    }

    /// As it stands in the document.
    pub(super) fn text(&self) -> &str {
        &self.raw
    }

    pub(super) fn push(&mut self, text: &str) {
        let room = RAW_MAX_BYTES.saturating_sub(self.raw.len());
        self.raw.push_str(head(text, room));
    }

    /// A tag inside of the text: it is XHTML, or HTML that somebody forgot to escape.
    pub(super) fn markup(&mut self, opening: &str, name: &str) {
        self.is_html = true;
        self.has_markup = true;
        [opening, name, ">"].iter().for_each(|part| self.push(part));
    }

    /// A character reference or entity. One that nobody knows stays as it is written.
    pub(super) fn reference(&mut self, name: &str) {
        // In markup of its own a reference must stay one, or `&lt;` would become markup as well.
        match decode(name).filter(|_| !self.has_markup) {
            Some(decoded) => self.push(&decoded),
            None => ["&", name, ";"].iter().for_each(|part| self.push(part)),
        }
    }

    /// As an article has it, at most `max_bytes` long; a link may be a little longer, to be seen to be too long.
    pub(super) fn plain(&self, max_bytes: usize) -> String {
        match self.field {
            Field::Link | Field::OriginalLink | Field::Guid => bounded_link(&self.raw).to_owned(),
            Field::Author => collapsed(name_of(&self.raw), max_bytes),
            _ if self.is_html => plain(&self.raw, max_bytes),
            _ => collapsed(&self.raw, max_bytes),
        }
    }
}

/// `desk@example.com (The Desk)` is The Desk, as RSS wants it.
fn name_of(author: &str) -> &str {
    let inside = author.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    inside.map_or(author, |(name, _)| name)
}
