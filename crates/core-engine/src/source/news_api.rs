//! NewsAPI.org: articles about some words, asked for when a client asks, and by itself if the settings name words.
//!
//! The key comes from the environment, never from the settings; it goes into a header, never into a URL, and is shown
//! nowhere. The free plan has a hundred requests a day, so nothing is asked for that nobody wants.
//!
//! Source: <https://newsapi.org/docs/endpoints/everything> (parameters, at most 500 letters of `q`, 100 articles of a
//! page), <https://newsapi.org/docs/authentication> (`X-Api-Key`) and <https://newsapi.org/docs/errors>. The answer is
//! read by [`crate::news::parse::news_api`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use super::fault::{FetchError, SourceError, book};
use super::web::{CLIENT_PATIENCE, Got, ROUND_PATIENCE, WEB_KEYS, Web, WebSettings, whole};
use super::{Source, unknown_key};
use crate::feed::Feed;
use crate::net::guard::jittered;
use crate::net::{Guard, Location, NetError, Scheme};
use crate::news::parse::{ParseError, news_api};

const KEYS: &[&str] = &[
    "burst",
    "hours_back",
    "key_env",
    "keywords",
    "language",
    "max_body_bytes",
    "page_size",
    "poll",
    "requests_per_minute",
    "timeout",
    "url",
];
/// Those that say where the engine connects to, and with which secret.
pub(super) const LOCATION_KEYS: &[&str] = &["key_env", "url"];
const URL: &str = "https://newsapi.org";
const KEY_ENV: &str = "NEWSAPI_KEY";
const AGENT: &str = concat!("core-engine/", env!("CARGO_PKG_VERSION"));
/// Longest `q`.
const QUERY_MAX_BYTES: usize = 500;
/// The languages that the interface knows.
const LANGUAGES: &[&str] = &["ar", "de", "en", "es", "fr", "he", "it", "nl", "no", "pt", "ru", "sv", "ud", "zh"];

/// Settings of NewsAPI.org; the keys are the names of the fields.
#[derive(Clone, Debug)]
pub(crate) struct NewsApiSettings {
    url: Location,
    /// The environment variable that holds the key.
    key_env: String,
    /// What is asked for by itself; nothing if it is empty.
    keywords: Vec<String>,
    hours_back: u32,
    language: &'static str,
    page_size: u32,
    web: WebSettings,
}

impl NewsApiSettings {
    /// The defaults.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            url: Location::parse(URL, Scheme::Http)?,
            key_env: KEY_ENV.to_owned(),
            keywords: Vec::new(),
            hours_back: 24,
            language: "en",
            page_size: 100,
            web: WebSettings::new(30, Duration::from_secs(1_800)),
        })
    }

    /// Changes one setting.
    ///
    /// # Errors
    /// What must hold, for people.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if WEB_KEYS.contains(&key) {
            return self.web.set(key, value).unwrap_or_else(|| Err(unknown_key(KEYS)));
        }
        match key {
            "url" => self.url = Location::parse(value, Scheme::Http)?,
            "key_env" => {
                let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                if value.is_empty() || value.len() > 64 || !value.bytes().all(good) {
                    return Err("must be the name of an environment variable".to_owned());
                }
                value.clone_into(&mut self.key_env);
            }
            "keywords" => {
                let keywords = value.split(',').map(str::trim).filter(|keyword| !keyword.is_empty());
                self.keywords = keywords.map(str::to_owned).collect();
                query(&self.keywords)?;
            }
            "hours_back" => self.hours_back = whole(value, 1, 720)?,
            "language" => {
                let known = LANGUAGES.iter().find(|known| **known == value);
                self.language = known.ok_or_else(|| format!("must be one of {}", LANGUAGES.join(", ")))?;
            }
            "page_size" => self.page_size = whole(value, 1, 100)?,
            _ => return Err(unknown_key(KEYS)),
        }
        Ok(())
    }
}

/// `"rate cut" OR inflation`.
fn query(keywords: &[String]) -> Result<String, String> {
    let terms: Vec<String> = keywords
        .iter()
        .map(|keyword| {
            // Quotes would end the phrase, and the rest be read as operators.
            let plain: String = keyword.chars().filter(|letter| *letter != '"' && !letter.is_control()).collect();
            format!("\"{plain}\"")
        })
        .collect();
    let query = terms.join(" OR ");
    match query.len() <= QUERY_MAX_BYTES {
        true => Ok(query),
        false => Err(format!("must be at most {QUERY_MAX_BYTES} bytes together")),
    }
}

/// NewsAPI.org at work.
pub(super) struct NewsApi {
    settings: NewsApiSettings,
    symbols: BTreeSet<Arc<str>>,
    headers: HeaderMap,
    web: Web,
}

impl NewsApi {
    /// # Errors
    /// If the environment has no key, or TLS cannot be set up.
    pub(super) fn new(settings: &NewsApiSettings, guard: Arc<Guard>) -> Result<Self, SourceError> {
        let no_key = || SourceError::NoKey { variable: settings.key_env.clone() };
        let key = std::env::var(&settings.key_env).ok().filter(|key| !key.is_empty()).ok_or_else(no_key)?;
        let mut key = HeaderValue::from_str(&key).map_err(|_| no_key())?;
        key.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert("x-api-key", key);
        Ok(Self { web: Web::new(&settings.web, guard)?, settings: settings.clone(), symbols: BTreeSet::new(), headers })
    }

    async fn ask(
        &self,
        keywords: &[String],
        since: Timestamp,
        feed: &Feed,
        patience: Duration,
    ) -> Result<(), SourceError> {
        let query = query(keywords).map_err(SourceError::Answer)?;
        let location = self
            .settings
            .url
            .below(["v2", "everything"])
            .with("q", &query)
            // Whole seconds, which is what the interface reads.
            .with("from", &Timestamp::from_second(since.as_second()).unwrap_or(since).to_string())
            .with("language", self.settings.language)
            .with("sortBy", "publishedAt")
            .with("pageSize", &self.settings.page_size.to_string());
        let body = match self.web.ask(&location, &self.headers, false, feed, patience).await {
            Ok(Got::Document { body, .. }) => body,
            Ok(Got::NotModified) => return Ok(()),
            // Its errors come with a body that says more than the status.
            Err(SourceError::Net(NetError::Status { status, body })) => {
                return Err(match news_api::parse(&body, None, &feed.origin(None)) {
                    Err(ParseError::Refused { code, message, .. }) => SourceError::Answer(format!("{code}: {message}")),
                    _ => NetError::Status { status, body }.into(),
                });
            }
            Err(error) => return Err(error),
        };
        let origin = feed.origin(None);
        let parsed = news_api::parse(&body, Some(self.settings.language), &origin)
            .map_err(|error| SourceError::Malformed(error.to_string()))?;
        feed.articles(parsed);
        Ok(())
    }
}

impl Source for NewsApi {
    fn symbols(&self) -> &BTreeSet<Arc<str>> {
        &self.symbols
    }

    fn runs_again(&self) -> bool {
        true
    }

    fn is_heard_first(&self) -> bool {
        !self.settings.keywords.is_empty()
    }

    fn fetch_news<'a>(
        &'a self,
        keywords: &'a [String],
        since: Timestamp,
        feed: &'a Feed,
    ) -> BoxFuture<'a, Result<(), FetchError>> {
        Box::pin(async move {
            self.ask(keywords, since, feed, CLIENT_PATIENCE).await.map_err(|error| {
                book(feed, &error);
                FetchError::Source(error)
            })
        })
    }

    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            if self.settings.keywords.is_empty() {
                return std::future::pending().await;
            }
            loop {
                let since = feed.clock().now() - SignedDuration::from_hours(i64::from(self.settings.hours_back));
                if let Err(error) = self.ask(&self.settings.keywords, since, feed, ROUND_PATIENCE).await {
                    if self.web.pause().is_some() {
                        return Err(error);
                    }
                    book(feed, &error);
                }
                tokio::time::sleep(jittered(self.settings.web.poll)).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_query_that_cannot_be_left() {
        let keywords = ["rate cut".to_owned(), "a\" AND \"b".to_owned()];
        assert_eq!(query(&keywords).unwrap(), "\"rate cut\" OR \"a AND b\"");
        assert!(query(&["x".repeat(500)]).is_err());
    }

    #[test]
    fn without_a_key_there_is_no_source() {
        let mut settings = NewsApiSettings::new().unwrap();
        settings.set("key_env", "A_VARIABLE_THAT_IS_NOT_SET").unwrap();
        let error = NewsApi::new(&settings, Arc::default()).err().unwrap();
        assert_eq!(error.to_string(), "the environment variable A_VARIABLE_THAT_IS_NOT_SET is not set");
    }
}
