//! Answers of `/v2/everything` of NewsAPI.org, good and bad.
//!
//! The schema may drift: unknown members are passed over, and a known one that is `null`, absent or of another type
//! counts as absent, for one article at a time.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{ParseError, Parsed, Refusal, check_size};
use crate::news::article::{Draft, Flaw, NAME_MAX_BYTES, Origin, SUMMARY_MAX_BYTES, TITLE_MAX_BYTES};
use crate::news::canonical::bounded_link;
use crate::news::date::instant;
use crate::news::text::{collapsed, plain};

/// What stands in all fields of an article that was taken back.
const REMOVED: &str = "[Removed]";
const REMOVED_LINK: &str = "https://removed.com";
const EXPECTED: &str = "an answer of NewsAPI.org";

/// Reads an answer, whatever its HTTP status. `language` is what was asked for, if anything: the answer does not repeat
/// it.
///
/// # Errors
/// `Refused` with what the source says; otherwise, if the document is no such answer, too large, or does not parse to
/// its end.
pub(crate) fn parse(document: &[u8], language: Option<&str>, origin: &Origin) -> Result<Parsed, ParseError> {
    check_size(document)?;
    let text = String::from_utf8_lossy(document);
    let json = text.trim_start_matches('\u{feff}');
    if !json.trim_start().starts_with('{') {
        return Err(foreign("no JSON object"));
    }
    let mut answer = Answer {
        origin,
        language,
        parsed: Parsed::default(),
        status: None,
        refusal: [const { None }; 2],
        listed: false,
    };
    answer.parsed.damaged = matches!(text, std::borrow::Cow::Owned(_));
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = (&mut answer).deserialize(&mut reader).and_then(|()| reader.end());
    let count = answer.parsed.read();
    match read {
        Err(error) if error.is_eof() => Err(ParseError::Truncated { read: count }),
        Err(error) => Err(ParseError::Broken { problem: collapsed(&error.to_string(), NAME_MAX_BYTES), read: count }),
        Ok(()) => answer.finish(),
    }
}

/// What has been read of an answer. It is filled member by member, so that what was read is known wherever it breaks.
struct Answer<'a> {
    origin: &'a Origin,
    language: Option<&'a str>,
    parsed: Parsed,
    status: Option<String>,
    /// `code` and `message`.
    refusal: [Option<String>; 2],
    /// Whether there was a list of articles.
    listed: bool,
}

impl Answer<'_> {
    fn finish(self) -> Result<Parsed, ParseError> {
        let [code, message] = self.refusal;
        match (self.status.as_deref(), self.listed) {
            (Some("ok"), true) => Ok(self.parsed),
            (Some("ok"), false) => Err(foreign("an answer without a list of articles")),
            (Some("error"), _) => {
                let code = code.unwrap_or_else(|| "unexpectedError".to_owned());
                Err(ParseError::Refused { refusal: refusal(&code), code, message: message.unwrap_or_default() })
            }
            _ => Err(foreign("an object without a known status")),
        }
    }

    fn article(&mut self, item: &str) {
        if !self.parsed.admits() {
            return;
        }
        let Ok(Value::Object(item)) = serde_json::from_str(item) else {
            self.parsed.flaw(Flaw::NotAnItem);
            return;
        };
        let link = text(&item, "url");
        let title = text(&item, "title");
        if title == REMOVED || link.trim_end_matches('/') == REMOVED_LINK {
            self.parsed.removed = self.parsed.removed.saturating_add(1);
            return;
        }
        let summary = plain(text(&item, "description"), SUMMARY_MAX_BYTES);
        let publisher = item.get("source").and_then(|source| match source {
            Value::Object(source) => {
                Some(text(source, "name")).filter(|name| !name.is_empty()).or(Some(text(source, "id")))
            }
            Value::String(name) => Some(name),
            _ => None,
        });
        let draft = Draft {
            link: bounded_link(link).to_owned(),
            title: plain(title, TITLE_MAX_BYTES),
            summary: if summary.is_empty() { beginning(text(&item, "content")) } else { summary },
            publisher: plain(publisher.unwrap_or_default(), NAME_MAX_BYTES),
            author: plain(text(&item, "author"), NAME_MAX_BYTES),
            language: self.language.unwrap_or_default().to_owned(),
            published: instant(text(&item, "publishedAt")),
        };
        self.parsed.add(draft, self.origin, None);
    }
}

/// Source: the list of error codes of NewsAPI.org, and `maximumResultsReached`, which it also sends.
fn refusal(code: &str) -> Refusal {
    match code {
        "rateLimited" | "apiKeyExhausted" => Refusal::Throttled,
        "apiKeyDisabled" | "apiKeyInvalid" | "apiKeyMissing" => Refusal::Key,
        "parameterInvalid"
        | "parametersMissing"
        | "sourcesTooMany"
        | "sourceDoesNotExist"
        | "maximumResultsReached" => Refusal::Request,
        _ => Refusal::Unexpected,
    }
}

/// A text of an object; empty if it is anything else.
fn text<'v>(object: &'v Map<String, Value>, name: &str) -> &'v str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// `content` is the beginning of the article, and ends in `[+1234 chars]` if there is more.
fn beginning(content: &str) -> String {
    let cut = content.rsplit_once("[+").filter(|(_, rest)| rest.ends_with(" chars]")).map(|(beginning, _)| beginning);
    plain(cut.unwrap_or(content), SUMMARY_MAX_BYTES)
}

fn foreign(found: &str) -> ParseError {
    ParseError::Foreign { expected: EXPECTED, found: found.to_owned() }
}

impl<'de> DeserializeSeed<'de> for &mut Answer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Answer<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "articles" => members.next_value_seed(Articles(self))?,
                "status" => self.status = scalar(members.next_value()?),
                "code" => self.refusal[0] = scalar(members.next_value()?),
                "message" => self.refusal[1] = scalar(members.next_value()?),
                "totalResults" => {
                    self.parsed.total = serde_json::from_str(members.next_value::<&RawValue>()?.get()).ok()
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A short text; nothing if it is something else.
fn scalar(raw: &RawValue) -> Option<String> {
    serde_json::from_str::<String>(raw.get()).ok().map(|text| plain(&text, TITLE_MAX_BYTES))
}

/// The list of articles, each handed over as soon as it was read.
struct Articles<'s, 'a>(&'s mut Answer<'a>);

impl<'de> DeserializeSeed<'de> for Articles<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Articles<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of articles")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.0.listed {
            return Err(A::Error::custom("two lists of articles"));
        }
        while let Some(item) = items.next_element::<&RawValue>()? {
            self.0.article(item.get());
        }
        self.0.listed = true;
        Ok(())
    }

    /// As good as no list.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
