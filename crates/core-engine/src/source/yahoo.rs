//! Yahoo Finance: candles and prices of stocks, indices, currencies and funds, asked for symbol by symbol.
//!
//! Today's endpoint wants what a browser has: a name like a browser's, a cookie, and a crumb that belongs to it. The
//! cookie comes with any answer of its site, an error as well; the crumb from a page that wants the cookie. Both are
//! had before the first chart, kept, and had anew when the server no longer takes them. A crumb that reads `Too Many
//! Requests` is none.
//!
//! Source: <https://github.com/ranaroussi/yfinance/issues/2441> (a bad crumb),
//! <https://github.com/gadicc/yahoo-finance2/issues/764> (cookie and crumb),
//! <https://github.com/moneymanagerex/moneymanagerex/pull/7497> (the name of the browser).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt};
use http::header::{COOKIE, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use parking_lot::Mutex;
use rust_decimal::Decimal;

use super::chart::{self, Candle, Chart, NoChart};
use super::exchange::symbols;
use super::fault::{FetchError, SourceError, book};
use super::web::{CLIENT_PATIENCE, Got, ROUND_PATIENCE, WEB_KEYS, Web, WebSettings, whole};
use super::{Source, unknown_key};
use crate::feed::Feed;
use crate::ledger::{DropKind, ErrorKind};
use crate::market::interval::Interval;
use crate::net::guard::jittered;
use crate::net::{Guard, Location, NetError, Scheme};
use crate::tick::{Bar, Tick, Value};

const KEYS: &[&str] = &[
    "burst",
    "concurrency",
    "cookie_url",
    "interval",
    "max_body_bytes",
    "poll",
    "range",
    "requests_per_minute",
    "session",
    "symbols",
    "timeout",
    "url",
    "user_agent",
];
/// Those that say where the engine connects to, or as whom.
pub(super) const LOCATION_KEYS: &[&str] = &["cookie_url", "url", "user_agent"];

const URL: &str = "https://query1.finance.yahoo.com";
const COOKIE_URL: &str = "https://fc.yahoo.com";
/// Without a browser's name the answer is 429.
const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36";
const SYMBOLS: &[&str] = &["AAPL", "MSFT", "^GSPC"];
const SYMBOLS_MAX: usize = 500;
const CONCURRENCY_MAX: usize = 16;
const CRUMB_MAX_BYTES: usize = 64;
const COOKIE_MAX_BYTES: usize = 4_096;
const RANGES: &[&str] = &["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"];

/// Settings of Yahoo Finance; the keys are the names of the fields.
#[derive(Clone, Debug)]
pub(crate) struct YahooSettings {
    url: Location,
    cookie_url: Location,
    user_agent: HeaderValue,
    symbols: BTreeSet<String>,
    range: &'static str,
    interval: Interval,
    /// Charts that are asked for at once.
    concurrency: usize,
    /// Whether cookie and crumb are needed.
    session: bool,
    web: WebSettings,
}

impl YahooSettings {
    /// The defaults.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            url: Location::parse(URL, Scheme::Http)?,
            cookie_url: Location::parse(COOKIE_URL, Scheme::Http)?,
            user_agent: HeaderValue::from_static(BROWSER),
            symbols: SYMBOLS.iter().map(ToString::to_string).collect(),
            range: "1d",
            interval: Interval::Minute,
            concurrency: 4,
            session: true,
            web: WebSettings::new(120, Duration::from_secs(15)),
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
            "cookie_url" => self.cookie_url = Location::parse(value, Scheme::Http)?,
            "user_agent" => {
                self.user_agent = HeaderValue::from_str(value).map_err(|_| "must be visible letters".to_owned())?;
            }
            "symbols" => self.symbols = symbols(value, SYMBOLS_MAX)?,
            "range" => {
                let range = RANGES.iter().find(|range| **range == value);
                self.range = range.ok_or_else(|| format!("must be one of {}", RANGES.join(", ")))?;
            }
            "interval" => {
                self.interval = Interval::parse(value)
                    .filter(|interval| *interval != Interval::Second)
                    .ok_or_else(|| "must be 1m, 1h or 1d".to_owned())?;
            }
            "concurrency" => self.concurrency = whole(value, 1, CONCURRENCY_MAX)?,
            "session" => self.session = value.parse().map_err(|_| "must be true or false".to_owned())?,
            _ => return Err(unknown_key(KEYS)),
        }
        Ok(())
    }
}

/// Yahoo Finance at work.
pub(super) struct Yahoo {
    settings: YahooSettings,
    symbols: BTreeSet<Arc<str>>,
    web: Web,
    /// Cookie and crumb. Held while they are got, so that they are got once.
    session: tokio::sync::Mutex<Option<Session>>,
    /// The newest candle of each symbol that was taken in. Bounded by [`crate::source::SYMBOLS_MAX`].
    taken: Mutex<HashMap<Arc<str>, Candle>>,
}

#[derive(Clone, Debug)]
struct Session {
    cookie: HeaderValue,
    crumb: String,
}

impl Yahoo {
    /// # Errors
    /// If TLS cannot be set up.
    pub(super) fn new(settings: &YahooSettings, guard: Arc<Guard>) -> Result<Self, SourceError> {
        Ok(Self {
            symbols: settings.symbols.iter().map(|symbol| Arc::from(symbol.as_str())).collect(),
            web: Web::new(&settings.web, guard)?,
            settings: settings.clone(),
            session: tokio::sync::Mutex::default(),
            taken: Mutex::default(),
        })
    }

    /// The chart of one symbol, taken in.
    async fn chart(&self, symbol: &Arc<str>, feed: &Feed, patience: Duration) -> Result<(), FetchError> {
        // Once more with a new session if the old one is no longer taken.
        for attempt in 0..2 {
            let session = self.session(feed, patience).await?;
            let location = self.location(symbol, session.as_ref());
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, self.settings.user_agent.clone());
            if let Some(session) = session {
                headers.insert(COOKIE, session.cookie);
            }
            let read = match self.web.ask(&location, &headers, false, feed, patience).await {
                Ok(Got::Document { body, .. }) => chart::read(&body),
                Ok(Got::NotModified) => return Ok(()),
                // Errors of the API come with a body that says more than the status.
                Err(SourceError::Net(NetError::Status { status, body })) => match chart::read(&body) {
                    Err(NoChart::Malformed(_)) if status == 401 => Err(NoChart::Unauthorized),
                    Err(NoChart::Malformed(_)) | Ok(_) => return Err(NetError::Status { status, body }.into()),
                    Err(no_chart) => Err(no_chart),
                },
                Err(error) => return Err(error.into()),
            };
            match read {
                Ok(chart) => {
                    self.take(symbol, &chart, feed);
                    return Ok(());
                }
                Err(NoChart::UnknownSymbol) => return Err(FetchError::UnknownSymbol(Arc::clone(symbol))),
                Err(NoChart::Unauthorized) if attempt == 0 => *self.session.lock().await = None,
                Err(NoChart::Unauthorized) => break,
                Err(NoChart::Error(text)) => return Err(SourceError::Answer(text).into()),
                Err(NoChart::Malformed(text)) => return Err(SourceError::Malformed(text).into()),
            }
        }
        Err(SourceError::Answer("cookie and crumb are not taken".to_owned()).into())
    }

    fn location(&self, symbol: &str, session: Option<&Session>) -> Location {
        let location = self
            .settings
            .url
            .below(["v8", "finance", "chart", symbol])
            .with("range", self.settings.range)
            .with("interval", self.settings.interval.as_str())
            .with("includePrePost", "false");
        match session {
            Some(session) => location.with("crumb", &session.crumb),
            None => location,
        }
    }

    /// Cookie and crumb, if they are wanted.
    async fn session(&self, feed: &Feed, patience: Duration) -> Result<Option<Session>, SourceError> {
        if !self.settings.session {
            return Ok(None);
        }
        let mut session = self.session.lock().await;
        if session.is_none() {
            *session = Some(self.new_session(feed, patience).await?);
        }
        Ok(session.clone())
    }

    async fn new_session(&self, feed: &Feed, patience: Duration) -> Result<Session, SourceError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, self.settings.user_agent.clone());
        let answered = self.web.headers(&self.settings.cookie_url, &headers, feed, patience).await?;
        let cookie = cookie(&answered).ok_or_else(|| SourceError::Answer("no cookie".to_owned()))?;
        headers.insert(COOKIE, cookie.clone());
        let location = self.settings.url.below(["v1", "test", "getcrumb"]);
        let got = self.web.ask(&location, &headers, false, feed, patience).await?;
        let Got::Document { body, .. } = got else { return Err(SourceError::Answer("no crumb".to_owned())) };
        let crumb = crumb(&body).ok_or_else(|| SourceError::Answer("no crumb".to_owned()))?;
        Ok(Session { cookie, crumb })
    }

    /// Takes in what is new in a chart.
    fn take(&self, symbol: &Arc<str>, chart: &Chart, feed: &Feed) {
        feed.dropped(DropKind::Empty, chart.empty);
        if chart.malformed > 0 {
            feed.error(ErrorKind::MalformedRecord, format!("{} candles of {symbol} cannot be read", chart.malformed));
        }
        feed.tell_exchange(symbol, chart.zone.as_deref(), &chart.sessions);
        let additional = Arc::new(additional(chart));
        let known = self.taken.lock().get(symbol).copied();
        let new = chart.candles.iter().filter(|candle| {
            known.is_none_or(|known| candle.start > known.start || (candle.start == known.start && **candle != known))
        });
        let mut newest = known;
        for candle in new {
            feed.record(self.tick(symbol, candle, chart, &additional));
            newest = Some(*candle);
        }
        match newest {
            Some(newest) => {
                let mut taken = self.taken.lock();
                if taken.len() < super::SYMBOLS_MAX || taken.contains_key(symbol) {
                    taken.insert(Arc::clone(symbol), newest);
                }
            }
            // Before the first trade of a day there is no candle, but a price.
            None => {
                if let Some((price, at)) = chart.newest {
                    let zone = chart.zone.clone();
                    feed.record(tick(symbol, price, Decimal::ZERO, at, None, zone, &additional));
                }
            }
        }
    }

    fn tick(
        &self,
        symbol: &Arc<str>,
        candle: &Candle,
        chart: &Chart,
        additional: &Arc<BTreeMap<String, String>>,
    ) -> Tick {
        // The last place of a running day is no candle but the newest price, at the time of its trade.
        let width = self.settings.interval.width();
        let whole = width.is_none_or(|width| self.is_whole(candle, chart, width));
        let bar = whole.then_some(Bar {
            open: candle.open,
            high: candle.high,
            low: candle.low,
            interval: Some(self.settings.interval),
        });
        tick(symbol, candle.close, candle.volume, candle.start, bar, chart.zone.clone(), additional)
    }

    /// Whether a candle begins where candles of this width begin: counted from midnight or from the opening.
    fn is_whole(&self, candle: &Candle, chart: &Chart, width: i64) -> bool {
        let start = candle.start.as_second();
        start.rem_euclid(width) == 0
            || chart.sessions.iter().any(|(open, _)| (start - open.as_second()).rem_euclid(width) == 0)
    }
}

fn tick(
    symbol: &Arc<str>,
    price: Decimal,
    volume: Decimal,
    timestamp: Timestamp,
    bar: Option<Bar>,
    zone: Option<Arc<str>>,
    additional: &Arc<BTreeMap<String, String>>,
) -> Tick {
    Tick { symbol: Arc::clone(symbol), price, volume, timestamp, bar, zone, additional: Arc::clone(additional) }
}

fn additional(chart: &Chart) -> BTreeMap<String, String> {
    let pairs = [
        ("currency", &chart.currency),
        ("market", &chart.market),
        ("exchange", &chart.exchange),
        ("instrument", &chart.instrument),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))).collect()
}

/// The cookies of an answer, without their attributes, as one header.
fn cookie(headers: &HeaderMap) -> Option<HeaderValue> {
    let pairs: Vec<&str> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split(';').next().map(str::trim))
        .filter(|pair| pair.contains('='))
        .collect();
    let joined = pairs.join("; ");
    if joined.is_empty() || joined.len() > COOKIE_MAX_BYTES {
        return None;
    }
    let mut value = HeaderValue::from_str(&joined).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A crumb is one short word; pages and apologies are not.
fn crumb(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let word = (1..=CRUMB_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    (word && !text.starts_with(['<', '{'])).then(|| text.to_owned())
}

impl Source for Yahoo {
    fn symbols(&self) -> &BTreeSet<Arc<str>> {
        &self.symbols
    }

    fn runs_again(&self) -> bool {
        true
    }

    fn answers_any_symbol(&self) -> bool {
        true
    }

    fn fetch<'a>(
        &'a self,
        symbols: &'a [Arc<str>],
        feed: &'a Feed,
    ) -> BoxFuture<'a, Result<Vec<Arc<Value>>, FetchError>> {
        Box::pin(async move {
            let charts: Vec<_> =
                symbols.iter().map(|symbol| self.chart(symbol, feed, CLIENT_PATIENCE).boxed()).collect();
            let mut asked = stream::iter(charts).buffer_unordered(self.settings.concurrency);
            let mut failed = None;
            while let Some(outcome) = asked.next().await {
                match outcome {
                    Ok(()) => {}
                    Err(error @ FetchError::UnknownSymbol(_)) => return Err(error),
                    Err(FetchError::Source(error)) => {
                        book(feed, &error);
                        failed = Some(error);
                    }
                }
            }
            match failed {
                Some(error) => Err(error.into()),
                None => Ok(feed.newest(symbols)),
            }
        })
    }

    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            loop {
                let charts: Vec<_> =
                    self.symbols.iter().map(|symbol| self.chart(symbol, feed, ROUND_PATIENCE).boxed()).collect();
                let mut round = stream::iter(charts).buffer_unordered(self.settings.concurrency);
                // The newest is either why the source is down, or booked like the others.
                let mut failed = None;
                while let Some(outcome) = round.next().await {
                    match outcome {
                        Ok(()) => {}
                        Err(FetchError::UnknownSymbol(symbol)) => {
                            feed.error(ErrorKind::Refused, format!("{symbol} is unknown to the server"));
                        }
                        Err(FetchError::Source(SourceError::Refused(_))) => {}
                        Err(FetchError::Source(error)) => {
                            if let Some(earlier) = failed.replace(error) {
                                book(feed, &earlier);
                            }
                        }
                    }
                }
                drop(round);
                if let Some(pause) = self.web.pause() {
                    return Err(failed.unwrap_or(pause));
                }
                if let Some(error) = failed {
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
    fn the_defaults_are_good() {
        assert!(YahooSettings::new().is_ok());
    }

    #[test]
    fn cookies_are_joined_and_crumbs_are_words() {
        let mut headers = HeaderMap::new();
        for value in ["A3=d=AQ&S=x; Expires=Thu, 1 Jan 2099 00:00:00 GMT; Path=/; Secure", "A1=y", "broken"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(value));
        }
        assert_eq!(cookie(&headers).unwrap(), "A3=d=AQ&S=x; A1=y");
        assert_eq!(cookie(&HeaderMap::new()), None);
        for (body, expected) in
            [("Phb0wz/Vd.s6\n", Some("Phb0wz/Vd.s6")), ("Too Many Requests\r\n", None), ("<html>", None), ("", None)]
        {
            assert_eq!(crumb(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
