//! A door for `fuzz/` and `tests/corpus.rs` to the readers of foreign documents, which are private otherwise. Not for
//! programs.

use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::news::article::{Article, Origin};
use crate::news::parse::{ParseError, Parsed, feed, news_api};

/// An article, as far as a property can be told of it.
#[derive(PartialEq, Debug)]
#[expect(missing_docs, reason = "they are those of the article")]
pub struct News {
    pub id: String,
    pub url: String,
    pub title: String,
    pub summary: String,
    pub publisher: String,
    pub author: String,
    pub language: String,
    pub published: Timestamp,
    pub sentiment: f64,
}

/// What a reader of news made of a document.
#[derive(PartialEq, Debug)]
pub enum NewsDocument {
    /// Its articles, and how many of its items are none, for whatever reason.
    Read(Vec<News>, u32),
    /// Why it was refused.
    Refused(String),
}

/// When documents are said to have been fetched: 28 November 2026, 12:00 UTC.
#[must_use]
pub fn fetched() -> Timestamp {
    Timestamp::constant(1_795_867_200, 0)
}

/// Reads an RSS or Atom feed.
#[must_use]
pub fn feed(document: &[u8], charset: Option<&str>) -> NewsDocument {
    shown(feed::parse(document, charset, &origin()))
}

/// Reads an answer of NewsAPI.org.
#[must_use]
pub fn news_api(document: &[u8]) -> NewsDocument {
    shown(news_api::parse(document, None, &origin()))
}

/// Whose market data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "they are the names of formats")]
pub enum Market {
    YahooChart,
    Binance,
    BinanceTrades,
    Coinbase,
    CoinbaseTrades,
    Csv,
    Ndjson,
}

/// A price or a candle.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(missing_docs, reason = "they are those of a candle")]
pub struct Price {
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    pub volume: Decimal,
    pub at: Timestamp,
}

/// Reads market data; a trade is a candle of one price.
///
/// # Errors
/// Why it was refused.
pub fn market(market: Market, document: &[u8]) -> Result<Vec<Price>, String> {
    crate::source::foreign::read(market, document)
}

fn origin() -> Origin {
    let base = url::Url::parse("https://origin.example/feeds/all.xml").ok();
    Origin { source_id: Arc::from("fuzz"), base, fetched: fetched() }
}

fn shown(read: Result<Parsed, ParseError>) -> NewsDocument {
    match read {
        Ok(parsed) => {
            let other = parsed.malformed.saturating_add(parsed.removed).saturating_add(parsed.skipped);
            NewsDocument::Read(parsed.articles.into_iter().map(News::from).collect(), other)
        }
        Err(error) => NewsDocument::Refused(error.to_string()),
    }
}

impl From<Article> for News {
    fn from(article: Article) -> Self {
        Self {
            id: article.id,
            url: article.url,
            title: article.title,
            summary: article.summary,
            publisher: article.publisher,
            author: article.author.unwrap_or_default(),
            language: article.language.unwrap_or_default(),
            published: article.published,
            sentiment: article.sentiment,
        }
    }
}
