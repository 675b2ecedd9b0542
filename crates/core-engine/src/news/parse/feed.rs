//! RSS 0.9x, 1.0 (RDF) and 2.0, and Atom 0.3 and 1.0, told apart by their root.
//!
//! One pass over the events of an XML reader, without a tree. Entities that a document defines are never expanded: an
//! unknown one stays as it is written. Depth, items, attributes, and the text of each field are bounded.

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::errors::SyntaxError;
use quick_xml::events::{BytesStart, Event};
use url::Url;

use super::capture::Capture;
use super::charset;
use super::vocabulary::{Field, Vocabulary};
use super::{ParseError, Parsed, check_size};
use crate::news::article::{Draft, NAME_MAX_BYTES, Origin, SUMMARY_MAX_BYTES, TITLE_MAX_BYTES};
use crate::news::canonical::URL_MAX_BYTES;
use crate::news::date::instant;
use crate::news::text::{collapsed, head};

/// Deepest nesting; feeds need ten levels, and markup inside of them a few more.
const DEPTH_MAX: usize = 64;
/// Attributes of one element that are looked at.
const ATTRIBUTES_MAX: usize = 32;
const EXPECTED: &str = "an RSS or Atom feed";

/// Reads a feed. `charset` is the parameter of the content type, if it has one.
///
/// # Errors
/// If the document is no feed, too large or deep, or does not parse to its end.
pub(crate) fn parse(document: &[u8], charset: Option<&str>, origin: &Origin) -> Result<Parsed, ParseError> {
    check_size(document)?;
    let (text, damaged) = charset::decode(document, charset);
    let mut reader = NsReader::from_str(text.trim_start());
    reader.config_mut().allow_dangling_amp = true;
    let mut feed = Feed::new(origin);
    feed.parsed.damaged = damaged;
    while !feed.closed {
        let (namespace, event) = match reader.read_resolved_event() {
            Ok((namespace, event)) => (Vocabulary::of(&namespace), event),
            Err(error) => return Err(feed.broken(&error, text.trim_start(), reader.error_position())),
        };
        match event {
            Event::Start(start) => feed.open(namespace, &start)?,
            Event::Empty(start) => {
                feed.open(namespace, &start)?;
                feed.close(start.local_name().as_ref());
            }
            Event::End(end) => feed.close(end.local_name().as_ref()),
            Event::Text(text) => feed.text(&text)?,
            Event::CData(text) => feed.text(&text)?,
            Event::GeneralRef(reference) => feed.reference(&reference),
            Event::Eof => return Err(feed.ends_early()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    Ok(feed.parsed)
}

/// How texts are written: in Atom their type says whether they are HTML, in RSS they always may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dialect {
    Rss,
    Atom,
}

/// Between which tags the reader is.
struct Feed<'o> {
    origin: &'o Origin,
    parsed: Parsed,
    /// Known once the root was seen.
    dialect: Option<Dialect>,
    /// Open elements.
    depth: usize,
    /// Depth of the element whose children describe the feed, while it is open and no other child is.
    channel: Option<usize>,
    item: Option<Item>,
    /// The field whose text is being read.
    capture: Option<Capture>,
    /// What the feed says of itself, for items that do not say it.
    title: String,
    language: String,
    base: Option<Url>,
    /// The root has ended.
    closed: bool,
}

/// The item that is open.
#[derive(Default)]
struct Item {
    /// Of its element.
    depth: usize,
    /// The child that is open: a group whose own children are fields.
    group: Option<Group>,
    /// Beyond the limit of items: read over.
    skipped: bool,
    draft: Draft,
    base: Option<Url>,
    content: String,
    link: String,
    /// What names the item, and the address that it is about: links if nothing else is one and they look like it.
    guid: String,
    about: String,
    creator: String,
    updated: Option<jiff::Timestamp>,
}

/// Children of items whose children are fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Group {
    Author,
    Source,
    Media,
}

impl<'o> Feed<'o> {
    fn new(origin: &'o Origin) -> Self {
        Self {
            origin,
            parsed: Parsed::default(),
            dialect: None,
            depth: 0,
            channel: None,
            item: None,
            capture: None,
            title: String::new(),
            language: String::new(),
            base: None,
            closed: false,
        }
    }

    fn open(&mut self, vocabulary: Vocabulary, start: &BytesStart<'_>) -> Result<(), ParseError> {
        let local = start.local_name();
        let name = local.as_ref();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let problem = format!("elements are nested more than {DEPTH_MAX} deep");
            return Err(ParseError::Broken { problem, read: self.parsed.read() });
        }
        if self.depth == 1 {
            return self.open_root(vocabulary, name, start);
        }
        if let Some(capture) = &mut self.capture {
            capture.markup("<", name);
            return Ok(());
        }
        if self.item.is_some() {
            self.open_field(vocabulary, name, start);
        } else if vocabulary == Vocabulary::Core && matches!(name, "item" | "entry") && self.depth <= 3 {
            self.open_item(start);
        } else if vocabulary == Vocabulary::Core && name == "channel" && self.depth == 2 {
            self.channel = Some(self.depth);
        } else if self.channel.is_some_and(|channel| channel + 1 == self.depth) {
            self.open_feed_field(vocabulary, name, start);
        }
        Ok(())
    }

    fn open_root(&mut self, vocabulary: Vocabulary, name: &str, start: &BytesStart<'_>) -> Result<(), ParseError> {
        self.dialect = match (vocabulary, name) {
            (Vocabulary::Core, "rss") | (Vocabulary::Rdf, "RDF") => Some(Dialect::Rss),
            (Vocabulary::Core, "feed") => Some(Dialect::Atom),
            _ => return Err(foreign(format!("<{}>", head(name, NAME_MAX_BYTES)))),
        };
        if self.dialect == Some(Dialect::Atom) {
            self.channel = Some(1);
        }
        self.base = self.resolved(attribute(start, "xml:base").as_deref());
        self.language = attribute(start, "xml:lang").unwrap_or_default();
        Ok(())
    }

    fn open_item(&mut self, start: &BytesStart<'_>) {
        let mut item = Item { depth: self.depth, skipped: !self.parsed.admits(), ..Item::default() };
        if !item.skipped {
            item.base = self.resolved(attribute(start, "xml:base").as_deref());
            item.draft.language = attribute(start, "xml:lang").unwrap_or_default();
            // In RSS 1.0 an item is known by the address that it is about.
            item.about = attribute(start, "rdf:about").unwrap_or_default();
        }
        self.item = Some(item);
    }

    fn open_field(&mut self, vocabulary: Vocabulary, name: &str, start: &BytesStart<'_>) {
        let depth = self.depth;
        let Some(item) = self.item.as_mut().filter(|item| !item.skipped) else { return };
        let field = match (item.group, depth.saturating_sub(item.depth)) {
            (_, 1) => {
                item.group = match (vocabulary, name) {
                    (Vocabulary::Core, "author") if self.dialect == Some(Dialect::Atom) => Some(Group::Author),
                    (Vocabulary::Core, "source") if self.dialect == Some(Dialect::Atom) => Some(Group::Source),
                    (Vocabulary::Media, "group") => Some(Group::Media),
                    _ => None,
                };
                if item.group.is_some() { None } else { vocabulary.field(name) }
            }
            (Some(Group::Author), 2) if name == "name" => Some(Field::Creator),
            (Some(Group::Source), 2) if name == "title" => Some(Field::Publisher),
            (Some(Group::Media), 2) => vocabulary.field(name).filter(|field| *field == Field::Content),
            _ => None,
        };
        match field {
            Some(Field::Link) => {
                if let Some(link) = attribute(start, "href") {
                    let relation = attribute(start, "rel");
                    if item.link.is_empty() && matches!(relation.as_deref(), None | Some("alternate")) {
                        item.link = link;
                    }
                } else {
                    self.capture(Field::Link, start);
                }
            }
            Some(Field::Guid) => {
                let is_link = attribute(start, "isPermaLink").is_none_or(|is| !is.eq_ignore_ascii_case("false"));
                if is_link {
                    self.capture(Field::Guid, start);
                }
            }
            Some(field) => self.capture(field, start),
            None => {}
        }
    }

    fn open_feed_field(&mut self, vocabulary: Vocabulary, name: &str, start: &BytesStart<'_>) {
        match vocabulary.field(name) {
            Some(Field::Link) if attribute(start, "href").is_some() => {}
            Some(field @ (Field::Title | Field::Link | Field::Language)) => self.capture(field, start),
            _ => {}
        }
    }

    fn capture(&mut self, field: Field, start: &BytesStart<'_>) {
        let is_html = match self.dialect {
            Some(Dialect::Atom) => attribute(start, "type").is_some_and(|kind| kind.contains("html")),
            Some(Dialect::Rss) | None => true,
        };
        self.capture = Some(Capture::new(field, self.depth, is_html));
    }

    fn close(&mut self, name: &str) {
        let depth = self.depth;
        self.depth = depth.saturating_sub(1);
        self.closed = depth <= 1;
        match self.capture.take_if(|capture| capture.depth >= depth) {
            Some(capture) if self.item.is_some() => self.store(&capture),
            Some(capture) => self.store_feed(&capture),
            None => {}
        }
        if let Some(capture) = &mut self.capture {
            capture.markup("</", name);
        }
        if let Some(item) = self.item.take_if(|item| item.depth >= depth) {
            self.close_item(item);
        }
        self.channel.take_if(|channel| *channel >= depth);
    }

    fn close_item(&mut self, item: Item) {
        if item.skipped {
            return;
        }
        let Item { mut draft, base, content, link, guid, about, creator, updated, .. } = item;
        let fallback = |text: &mut String, other: String| {
            if text.is_empty() {
                *text = other;
            }
        };
        fallback(&mut draft.summary, content);
        fallback(&mut draft.publisher, self.title.clone());
        fallback(&mut draft.language, self.language.clone());
        if !creator.is_empty() {
            draft.author = creator;
        }
        let named = [guid, about].into_iter().find(|link| link.starts_with("http")).unwrap_or_default();
        fallback(&mut draft.link, link);
        fallback(&mut draft.link, named);
        draft.published = draft.published.or(updated);
        self.parsed.add(draft, self.origin, base.as_ref().or(self.base.as_ref()));
    }

    /// Keeps the first text of each field that is not empty.
    fn store(&mut self, capture: &Capture) {
        let Some(item) = &mut self.item else { return };
        let (kept, max_bytes) = match capture.field {
            Field::Published => {
                item.draft.published = item.draft.published.or_else(|| instant(capture.text()));
                return;
            }
            Field::Updated => {
                item.updated = item.updated.or_else(|| instant(capture.text()));
                return;
            }
            Field::Title => (&mut item.draft.title, TITLE_MAX_BYTES),
            Field::Summary => (&mut item.draft.summary, SUMMARY_MAX_BYTES),
            Field::Content => (&mut item.content, SUMMARY_MAX_BYTES),
            Field::OriginalLink => (&mut item.draft.link, URL_MAX_BYTES),
            Field::Link => (&mut item.link, URL_MAX_BYTES),
            Field::Guid => (&mut item.guid, URL_MAX_BYTES),
            Field::Author => (&mut item.draft.author, NAME_MAX_BYTES),
            Field::Creator => (&mut item.creator, NAME_MAX_BYTES),
            Field::Publisher => (&mut item.draft.publisher, NAME_MAX_BYTES),
            Field::Language => (&mut item.draft.language, NAME_MAX_BYTES),
        };
        if kept.is_empty() {
            *kept = capture.plain(max_bytes);
        }
    }

    fn store_feed(&mut self, capture: &Capture) {
        let text = capture.plain(URL_MAX_BYTES);
        match capture.field {
            Field::Title if self.title.is_empty() => self.title = capture.plain(NAME_MAX_BYTES),
            Field::Language => self.language = text,
            Field::Link if self.base.is_none() => self.base = self.resolved(Some(&text)),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> Result<(), ParseError> {
        if self.dialect.is_none() && !text.trim().is_empty() {
            return Err(foreign("text".to_owned()));
        }
        if let Some(capture) = &mut self.capture {
            capture.push(text);
        }
        Ok(())
    }

    fn reference(&mut self, reference: &str) {
        if let Some(capture) = &mut self.capture {
            capture.reference(reference);
        }
    }

    /// A base against the one around it.
    fn resolved(&self, base: Option<&str>) -> Option<Url> {
        let text = base.map(str::trim).filter(|text| !text.is_empty() && text.len() <= URL_MAX_BYTES)?;
        let around = self.base.as_ref().or(self.origin.base.as_ref());
        let url = Url::options().base_url(around).parse(text).ok()?;
        matches!(url.scheme(), "http" | "https").then_some(url)
    }

    fn ends_early(&self) -> ParseError {
        match self.dialect {
            None => foreign("nothing".to_owned()),
            Some(_) => ParseError::Truncated { read: self.parsed.read() },
        }
    }

    fn broken(&self, error: &quick_xml::Error, text: &str, position: u64) -> ParseError {
        // `<!` and a wrong character, unless the text ends there. All other errors of syntax say that the document
        // ended inside of something.
        let is_wrong = matches!(error, quick_xml::Error::Syntax(SyntaxError::InvalidBangMarkup))
            && position.saturating_add(2) < text.len() as u64;
        match (error, self.dialect) {
            (error, None) => foreign(format!("unreadable: {}", shown(error))),
            (quick_xml::Error::Syntax(_), Some(_)) if !is_wrong => self.ends_early(),
            (error, Some(_)) => ParseError::Broken { problem: shown(error), read: self.parsed.read() },
        }
    }
}

/// The value of an attribute, by its name as it is written; prefixes of attributes are never renamed in practice.
fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = start.attributes();
    attributes.with_checks(false);
    let found = attributes.take(ATTRIBUTES_MAX).filter_map(Result::ok).find(|found| found.key.as_ref() == name)?;
    // One with an entity that nobody knows stays as it is written.
    let value = found.normalized_value(XmlVersion::Implicit1_0).unwrap_or(found.value);
    Some(value.into_owned()).filter(|value| !value.is_empty())
}

fn foreign(found: String) -> ParseError {
    ParseError::Foreign { expected: EXPECTED, found }
}

/// What the reader says, short: it repeats parts of the document.
fn shown(error: &quick_xml::Error) -> String {
    collapsed(&error.to_string(), NAME_MAX_BYTES)
}

#[cfg(test)]
mod tests;
