//! News that nobody wrote, for an engine without a network: headlines about the simulated market, made of a seed, at a
//! steady pace. Everything about them says so: source, publisher, author, the first word of each title, and addresses
//! below `.invalid`, which lead nowhere (RFC 2606).
//!
//! They take the way of real news: each is an item of an RSS document, which the parser of feeds reads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::fault::SourceError;
use super::{Source, parse_duration, unknown_key};
use crate::feed::Feed;
use crate::news::article::Origin;
use crate::news::parse::feed;

const KEYS: &[&str] = &["every", "seed"];
/// How many there are at once at the start.
const FIRST: u64 = 12;
/// How far these lie apart.
const APART: Duration = Duration::from_secs(600);
const EVERY_MIN: Duration = Duration::from_millis(100);

/// Who or what the news are about.
const SUBJECTS: &[&str] = &["AAPL", "AMZN", "BTCUSDT", "ETHUSDT", "GOOGL", "MSFT", "SOLUSDT", "TSLA"];
/// What happens to it, and what is said of that.
const EVENTS: &[(&str, &str)] = &[
    ("rises after strong earnings", "Profit beats what analysts had expected, and the outlook improves."),
    ("falls as inflation surprises", "Interest rates may stay high for longer; investors fear a loss of growth."),
    ("is little changed before an interest rate decision", "Traders wait for the central bank."),
    ("gains on record volume", "Demand is strong, and the rally goes on."),
    ("slips after a weak forecast", "The company warns of lower revenue and a difficult quarter."),
    ("recovers from an early loss", "Buyers return in the afternoon; the market is optimistic."),
];

/// Settings of simulated news; the keys are the names of the fields.
#[derive(Clone, Debug)]
pub(crate) struct NewsSimulatorSettings {
    seed: u64,
    /// Between two of them.
    every: Duration,
}

impl Default for NewsSimulatorSettings {
    fn default() -> Self {
        Self { seed: 1, every: Duration::from_secs(30) }
    }
}

impl NewsSimulatorSettings {
    /// Changes one setting.
    ///
    /// # Errors
    /// What must hold, for people.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "seed" => self.seed = value.parse().map_err(|_| "must be a whole number of 0 or more".to_owned())?,
            "every" => {
                self.every = parse_duration(value)?;
                if self.every < EVERY_MIN {
                    return Err("must be at least 100ms".to_owned());
                }
            }
            _ => return Err(unknown_key(KEYS)),
        }
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct NewsSimulator {
    settings: NewsSimulatorSettings,
    /// None: it has no market data.
    symbols: BTreeSet<Arc<str>>,
    /// Behind a lock that nobody else takes, because `run` has a shared reference.
    state: Mutex<(fastrand::Rng, u64)>,
}

impl NewsSimulator {
    pub(super) fn new(settings: &NewsSimulatorSettings) -> Self {
        let random = fastrand::Rng::with_seed(settings.seed);
        Self { settings: settings.clone(), symbols: BTreeSet::new(), state: Mutex::new((random, 0)) }
    }

    /// The next `count` of them, the last one published now.
    fn tell(&self, count: u64, feed: &Feed) {
        let origin: Origin = feed.origin(None);
        let items: String = (0..count).rev().map(|back| self.item(origin.fetched, back)).collect();
        let document = format!(
            "<rss version=\"2.0\"><channel><title>simulator</title><language>en</language>{items}</channel></rss>"
        );
        match feed::parse(document.as_bytes(), Some("utf-8"), &origin) {
            Ok(parsed) => feed.articles(parsed),
            // We wrote it.
            Err(error) => tracing::error!(%error, "simulated news are no feed"),
        }
    }

    fn item(&self, now: Timestamp, back: u64) -> String {
        let (random, number) = &mut *self.state.lock();
        *number += 1;
        let subject = random.choice(SUBJECTS).copied().unwrap_or_default();
        let (event, summary) = random.choice(EVENTS).copied().unwrap_or_default();
        let age = APART.saturating_mul(u32::try_from(back).unwrap_or(u32::MAX));
        let published = now.checked_sub(age).unwrap_or(now);
        format!(
            "<item><title>Simulated no. {number}: {subject} {event}</title><description>{summary}</description>\
             <link>https://news.invalid/{seed}/{number}</link><author>simulator</author>\
             <pubDate>{date}</pubDate></item>",
            seed = self.settings.seed,
            date = published.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        )
    }
}

impl Source for NewsSimulator {
    fn symbols(&self) -> &BTreeSet<Arc<str>> {
        &self.symbols
    }

    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            self.tell(FIRST, feed);
            let mut ticks = interval(self.settings.every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                self.tell(1, feed);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::samples::feed;

    #[tokio::test(start_paused = true)]
    async fn some_are_there_at_once_and_others_follow() {
        let mut settings = NewsSimulatorSettings::default();
        settings.set("every", "2s").unwrap();
        let source = NewsSimulator::new(&settings);
        let feed = feed("news");
        let ended = tokio::time::timeout(Duration::from_secs(5), source.run(&feed)).await;
        assert!(ended.is_err(), "it does not end");
        assert_eq!(feed.books().received, FIRST + 2);
        assert!(settings.set("every", "0s").is_err() && settings.set("feeds", "x").is_err());
    }
}
