//! One article, whole and bounded, however much its source sent.

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use super::canonical::{BadUrl, canonical_url};
use super::sentiment;
use super::text::{collapsed, head};

/// Longest texts, in bytes; what is longer is cut between characters and ends in `…`.
pub(crate) const TITLE_MAX_BYTES: usize = 512;
pub(crate) const SUMMARY_MAX_BYTES: usize = 4096;
pub(crate) const NAME_MAX_BYTES: usize = 128;
/// Longest tag of a language; a longer text is no such tag.
const LANGUAGE_MAX_BYTES: usize = 35;
/// An article without a title gets the beginning of its summary for one.
const STAND_IN_MAX_BYTES: usize = 120;

/// An article as it is kept. Texts are plain: no markup, white space collapsed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Article {
    /// 32 hexadecimal digits, the same whenever the same URL is read.
    pub(crate) id: String,
    /// Canonical.
    pub(crate) url: String,
    /// Never empty.
    pub(crate) title: String,
    /// May be empty.
    pub(crate) summary: String,
    /// The source of the engine that brought it.
    pub(crate) source_id: Arc<str>,
    /// Who published it, or else the title of the feed; may be empty.
    pub(crate) publisher: String,
    pub(crate) author: Option<String>,
    /// Never later than `fetched`.
    pub(crate) published: Timestamp,
    /// Whether `published` is what the source said. If it said nothing, or a time to come, it is `fetched`.
    pub(crate) dated: bool,
    pub(crate) fetched: Timestamp,
    /// In lower case, such as `en-us`.
    pub(crate) language: Option<String>,
    /// Of title and summary, from -1 to 1; 0 for languages other than English, which the lexicon does not know.
    pub(crate) sentiment: f64,
}

/// What a parser read of one article. Texts are plain and bounded already; empty is as good as none.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Draft {
    /// As it stands in the document, perhaps relative.
    pub(super) link: String,
    pub(super) title: String,
    pub(super) summary: String,
    pub(super) publisher: String,
    pub(super) author: String,
    pub(super) language: String,
    pub(super) published: Option<Timestamp>,
}

/// Where a document came from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) source_id: Arc<str>,
    /// What relative links are relative to, unless the document says otherwise: its own address.
    pub(crate) base: Option<Url>,
    pub(crate) fetched: Timestamp,
}

/// Why an item of a document is no article.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    NoLink,
    BadLink(BadUrl),
    /// Neither title nor summary.
    NoText,
    /// Something else stands where an item should.
    NotAnItem,
}

impl Article {
    /// Completes a draft.
    ///
    /// # Errors
    /// If it has no link to the web, or no text at all.
    pub(super) fn new(draft: Draft, origin: &Origin, base: Option<&Url>) -> Result<Self, Flaw> {
        if draft.link.trim().is_empty() {
            return Err(Flaw::NoLink);
        }
        let url = canonical_url(&draft.link, base.or(origin.base.as_ref())).map_err(Flaw::BadLink)?;
        let title = match (draft.title.is_empty(), draft.summary.is_empty()) {
            (true, true) => return Err(Flaw::NoText),
            (true, false) => collapsed(&draft.summary, STAND_IN_MAX_BYTES),
            (false, _) => draft.title,
        };
        let told = draft.published.filter(|published| *published <= origin.fetched);
        let language = language(&draft.language);
        let english = language.as_deref().is_none_or(|tag| tag == "en" || tag.starts_with("en-"));
        let sentiment = if english { sentiment::of_article(&title, &draft.summary) } else { 0.0 };
        Ok(Self {
            id: id(&url),
            url,
            title,
            summary: draft.summary,
            source_id: Arc::clone(&origin.source_id),
            publisher: draft.publisher,
            author: Some(draft.author).filter(|author| !author.is_empty()),
            published: told.unwrap_or(origin.fetched),
            dated: told.is_some(),
            fetched: origin.fetched,
            language,
            sentiment,
        })
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = [self.id.len(), self.url.len(), self.title.len(), self.summary.len(), self.publisher.len()];
        let texts: usize = texts.iter().sum();
        size_of::<Self>() + texts + optional(&self.author) + optional(&self.language)
    }
}

/// The first half of the SHA-1 of the canonical URL: long enough that two URLs never share it by chance.
fn id(url: &str) -> String {
    let mut digits = sha1_smol::Sha1::from(url).digest().to_string();
    digits.truncate(32);
    digits
}

/// A tag such as `en-us`. `None` if the text is no tag.
fn language(text: &str) -> Option<String> {
    let tag = head(text.trim(), LANGUAGE_MAX_BYTES + 1).replace('_', "-").to_ascii_lowercase();
    let plain = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (plain && (2..=LANGUAGE_MAX_BYTES).contains(&tag.len())).then_some(tag)
}

#[cfg(test)]
pub(super) mod samples {
    //! Articles for tests.

    use super::{Arc, Article, Draft, Origin, Timestamp};

    /// 28 November 2026, 12:00 UTC, and some seconds.
    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_867_200 + second).unwrap()
    }

    /// An article that was published and fetched at `second`.
    pub(crate) fn article(source: &str, link: &str, title: &str, second: i64) -> Article {
        let origin = Origin { source_id: Arc::from(source), base: None, fetched: at(second) };
        let draft = Draft {
            link: format!("https://example.com/{link}"),
            title: title.to_owned(),
            published: Some(at(second)),
            ..Draft::default()
        };
        Article::new(draft, &origin, None).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::samples::at;
    use super::*;

    fn origin() -> Origin {
        Origin { source_id: Arc::from("s"), base: None, fetched: at(0) }
    }

    fn draft() -> Draft {
        Draft { link: "https://example.com/a#b".to_owned(), title: "Shares soar".to_owned(), ..Draft::default() }
    }

    #[test]
    fn a_draft_becomes_an_article() {
        let draft = Draft { language: "EN_us".to_owned(), published: Some(at(-60)), ..draft() };
        let article = Article::new(draft, &origin(), None).unwrap();
        assert_eq!(article.url, "https://example.com/a");
        assert_eq!(article.id, "c4ed1c218d14a0f15bba7044693ec4b0");
        assert_eq!((article.published, article.dated), (at(-60), true));
        assert_eq!(article.language.as_deref(), Some("en-us"));
        assert_eq!(article.author, None);
    }

    #[test]
    fn a_time_to_come_is_not_believed() {
        for published in [None, Some(at(1))] {
            let article = Article::new(Draft { published, ..draft() }, &origin(), None).unwrap();
            assert_eq!((article.published, article.dated), (at(0), false));
        }
    }

    #[test]
    fn the_summary_stands_in_for_a_title() {
        let draft = Draft { title: String::new(), summary: "word ".repeat(100).trim().to_owned(), ..draft() };
        let article = Article::new(draft, &origin(), None).unwrap();
        assert!(article.title.starts_with("word word") && article.title.ends_with('…'), "{}", article.title);
        assert!(article.title.len() <= STAND_IN_MAX_BYTES);
    }

    #[test]
    fn without_link_or_text_there_is_no_article() {
        let made = |draft| Article::new(draft, &origin(), None).map(|article| article.url);
        assert_eq!(made(Draft { link: " ".to_owned(), ..draft() }), Err(Flaw::NoLink));
        assert_eq!(made(Draft { link: "mailto:a@b".to_owned(), ..draft() }), Err(Flaw::BadLink(BadUrl::Scheme)));
        assert_eq!(made(Draft { title: String::new(), ..draft() }), Err(Flaw::NoText));
    }

    #[test]
    fn sentiment_is_told_for_english_alone() {
        let draft =
            |language: &str| Draft { title: "A great success".to_owned(), language: language.to_owned(), ..draft() };
        let sentiment = |language| Article::new(draft(language), &origin(), None).unwrap().sentiment;
        assert!(sentiment("") > 0.5 && sentiment("en") > 0.5 && sentiment("en-GB") > 0.5);
        assert!(sentiment("de").abs() < f64::EPSILON);
        assert!(sentiment("not a language") > 0.5);
    }
}
