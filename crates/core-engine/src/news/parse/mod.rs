//! Readers of what news sources send. Each takes a whole document and gives articles; a bad item costs itself alone.

pub(crate) mod feed;
pub(crate) mod news_api;

mod capture;
mod charset;
mod vocabulary;

use super::article::{Article, Draft, Flaw, Origin};
use url::Url;

/// Largest document.
pub(crate) const DOCUMENT_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Items of one document that are read; the others are counted.
pub(crate) const ITEMS_MAX: usize = 1000;

/// What a document held.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Parsed {
    /// In the order of the document.
    pub(crate) articles: Vec<Article>,
    /// Items that are no articles, and what was wrong with the first.
    pub(crate) malformed: u32,
    pub(crate) first_flaw: Option<Flaw>,
    /// Items that their publisher has taken back.
    pub(crate) removed: u32,
    /// Items beyond [`ITEMS_MAX`], which were not looked at.
    pub(crate) skipped: u32,
    /// How many articles the source has in all, if it says so.
    pub(crate) total: Option<u64>,
    /// Whether some bytes were no text in the encoding of the document.
    pub(crate) damaged: bool,
}

/// Why nothing was taken from a document.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("the document has {bytes} bytes, the most is {DOCUMENT_MAX_BYTES}")]
    TooLarge { bytes: usize },
    /// It may be sound, but it is something else.
    #[error("the document is not {expected}, but {found}")]
    Foreign { expected: &'static str, found: String },
    #[error("the document ends too early, after {read} whole items")]
    Truncated { read: u32 },
    #[error("the document is broken after {read} whole items: {problem}")]
    Broken { problem: String, read: u32 },
    /// The source says that it does not answer; what it says is its own text.
    #[error("the source refuses with {code}: {message}")]
    Refused { refusal: Refusal, code: String, message: String },
}

/// What a refusal by the source means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Later it will answer again.
    Throttled,
    /// The key is missing, wrong or disabled: only its owner can help.
    Key,
    /// It does not answer this request, now or later.
    Request,
    /// It failed itself, or says something new.
    Unexpected,
}

impl Parsed {
    /// Items that were looked at.
    fn read(&self) -> u32 {
        let articles = u32::try_from(self.articles.len()).unwrap_or(u32::MAX);
        articles.saturating_add(self.malformed).saturating_add(self.removed)
    }

    /// Whether another item is to be looked at; counts it if not.
    fn admits(&mut self) -> bool {
        let admits = (self.read() as usize) < ITEMS_MAX;
        if !admits {
            self.skipped = self.skipped.saturating_add(1);
        }
        admits
    }

    fn add(&mut self, draft: Draft, origin: &Origin, base: Option<&Url>) {
        match Article::new(draft, origin, base) {
            Ok(article) => self.articles.push(article),
            Err(flaw) => self.flaw(flaw),
        }
    }

    fn flaw(&mut self, flaw: Flaw) {
        self.malformed = self.malformed.saturating_add(1);
        self.first_flaw.get_or_insert(flaw);
    }
}

fn check_size(document: &[u8]) -> Result<(), ParseError> {
    if document.len() > DOCUMENT_MAX_BYTES {
        return Err(ParseError::TooLarge { bytes: document.len() });
    }
    Ok(())
}
