//! RSS and Atom feeds: each asked for in turn, and only for what is new.
//!
//! Every feed has a server of its own, so each has its own restraint: a feed that is down or asks for a pause keeps no
//! other from being read. The source is down when all of them are.
//!
//! Source: the formats are read by [`crate::news::parse::feed`]; conditional requests as in RFC 9110, section 13.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt};
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};

use super::fault::SourceError;
use super::web::{Got, ROUND_PATIENCE, WEB_KEYS, Web, WebSettings};
use super::{FieldFault, Source, unknown_key};
use crate::feed::Feed;
use crate::net::guard::jittered;
use crate::net::{Guard, Location, Scheme};
use crate::news::parse::feed;

const KEYS: &[&str] = &["burst", "feeds", "max_body_bytes", "poll", "requests_per_minute", "timeout", "user_agent"];
/// Those that say where the engine connects to.
pub(super) const LOCATION_KEYS: &[&str] = &["feeds", "user_agent"];
const FEEDS_MAX: usize = 200;
/// Feeds that are asked for at once.
const CONCURRENCY: usize = 4;
const AGENT: &str = concat!("core-engine/", env!("CARGO_PKG_VERSION"));
const ACCEPTED: &str = "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5";

/// Settings of feeds; the keys are the names of the fields.
#[derive(Clone, Debug)]
pub(crate) struct RssSettings {
    feeds: Vec<Location>,
    user_agent: HeaderValue,
    web: WebSettings,
}

impl Default for RssSettings {
    fn default() -> Self {
        Self {
            feeds: Vec::new(),
            user_agent: HeaderValue::from_static(AGENT),
            web: WebSettings::new(6, Duration::from_secs(300)),
        }
    }
}

impl RssSettings {
    /// Changes one setting.
    ///
    /// # Errors
    /// What must hold, for people.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if WEB_KEYS.contains(&key) {
            return self.web.set(key, value).unwrap_or_else(|| Err(unknown_key(KEYS)));
        }
        match key {
            "feeds" => {
                let feeds = value.split_whitespace().map(|url| Location::parse(url, Scheme::Http));
                self.feeds = feeds.collect::<Result<_, _>>()?;
                if !(1..=FEEDS_MAX).contains(&self.feeds.len()) {
                    return Err(format!("must be 1 to {FEEDS_MAX} URLs with spaces between them"));
                }
            }
            "user_agent" => {
                self.user_agent = HeaderValue::from_str(value).map_err(|_| "must be visible letters".to_owned())?;
            }
            _ => return Err(unknown_key(KEYS)),
        }
        Ok(())
    }

    /// # Errors
    /// If there are no feeds.
    pub(super) fn check_complete(&self) -> Result<(), FieldFault> {
        match self.feeds.is_empty() {
            false => Ok(()),
            true => {
                Err(FieldFault { field: "config.feeds".to_owned(), problem: "is needed: URLs of feeds".to_owned() })
            }
        }
    }
}

/// Feeds at work.
pub(super) struct Rss {
    settings: RssSettings,
    symbols: BTreeSet<Arc<str>>,
    headers: HeaderMap,
    /// In the order of the settings.
    feeds: Vec<Web>,
}

impl Rss {
    /// # Errors
    /// If TLS cannot be set up.
    pub(super) fn new(settings: &RssSettings) -> Result<Self, SourceError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, settings.user_agent.clone());
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let feeds = settings.feeds.iter().map(|_| Web::new(&settings.web, Arc::new(Guard::new(settings.web.guard))));
        Ok(Self {
            feeds: feeds.collect::<Result<_, _>>()?,
            settings: settings.clone(),
            symbols: BTreeSet::new(),
            headers,
        })
    }

    async fn ask(&self, web: &Web, location: &Location, feed: &Feed) -> Result<(), SourceError> {
        let got = web.ask(location, &self.headers, true, feed, ROUND_PATIENCE).await?;
        let Got::Document { headers, body } = got else { return Ok(()) };
        let origin = feed.origin(Some(location));
        let charset = charset(&headers);
        // A large document takes milliseconds, which other tasks of this thread should not wait for.
        let parsed = tokio::task::spawn_blocking(move || feed::parse(&body, charset.as_deref(), &origin))
            .await
            .map_err(|ended| SourceError::Malformed(ended.to_string()))?
            .map_err(|error| SourceError::Malformed(error.to_string()))?;
        feed.articles(parsed);
        web.remember(location, &headers);
        Ok(())
    }

    /// All feeds once; the error of the last one that failed, if all of them did.
    async fn round(&self, feed: &Feed) -> Result<(), SourceError> {
        let asked: Vec<_> = self
            .feeds
            .iter()
            .zip(&self.settings.feeds)
            .map(|(web, location)| async move { (location, self.ask(web, location, feed).await) }.boxed())
            .collect();
        let mut asked = stream::iter(asked).buffer_unordered(CONCURRENCY);
        let (mut works, mut failed) = (false, None);
        while let Some((location, outcome)) = asked.next().await {
            match outcome {
                Ok(()) => works = true,
                Err(error) => {
                    // One that is left alone was booked when it failed.
                    if !matches!(error, SourceError::Refused(_)) {
                        feed.error(error.kind(), format!("{location:?}: {error}"));
                    }
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if !works => Err(error),
            _ => Ok(()),
        }
    }
}

/// The encoding that the content type names.
fn charset(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset").then(|| value.to_owned())
    })
}

impl Source for Rss {
    fn symbols(&self) -> &BTreeSet<Arc<str>> {
        &self.symbols
    }

    fn runs_again(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            loop {
                self.round(feed).await?;
                tokio::time::sleep(jittered(self.settings.web.poll)).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_are_urls_with_spaces_between_them() {
        let mut settings = RssSettings::default();
        assert!(settings.check_complete().is_err());
        settings.set("feeds", "https://a.example/rss  http://b.example/atom?x=1,2").unwrap();
        assert_eq!(settings.feeds.len(), 2);
        assert!(settings.set("feeds", " ").is_err() && settings.set("feeds", "file:///etc/passwd").is_err());
    }

    #[test]
    fn the_encoding_is_a_parameter_of_the_type() {
        for (value, expected) in [
            ("application/rss+xml; charset=ISO-8859-1", Some("ISO-8859-1")),
            ("text/xml; v=1; Charset=\"utf-8\"", Some("utf-8")),
            ("text/xml", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(charset(&headers).as_deref(), expected, "{value}");
        }
    }
}
