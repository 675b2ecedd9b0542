//! An exchange that streams over WebSocket: connect, subscribe, take in, and after a loss go on where it was.
//!
//! ```text
//!   dial ─► subscribe ─► trades … ─► loss ─┐
//!    ▲                     │               │ at once, as far as the guard allows;
//!    └─────────────────────┼───────────────┘ if it does not, the source is down
//!                          └─ a number was skipped: the trades between are asked for over HTTP, the rest is counted
//! ```
//! What an exchange says is read by its [`Venue`]; everything that costs time or memory is bounded here.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use parking_lot::Mutex;
use rust_decimal::Decimal;
use tokio::time::Instant;

use super::Source;
use super::fault::{SourceError, book};
use super::trades::{Place, Trade, TradeIds};
use super::web::{duration, watched, whole};
use crate::feed::Feed;
use crate::ledger::{DropKind, ErrorKind};
use crate::net::guard::jittered;
use crate::net::http::{Answer, Http, HttpLimits};
use crate::net::socket::{Heard, Socket, SocketLimits};
use crate::net::{Guard, GuardLimits, Location, NetError, Refusal};
use crate::tick::{Tick, is_symbol};

/// Keys that [`ExchangeSettings::set`] takes.
pub(super) const EXCHANGE_KEYS: &[&str] =
    &["channels", "max_message_bytes", "max_messages_per_second", "rest_url", "silence", "symbols", "timeout", "url"];
/// Those that say where the engine connects to.
pub(super) const LOCATION_KEYS: &[&str] = &["rest_url", "url"];

/// Symbols of one connection.
const SYMBOLS_MAX: usize = 200;
/// Messages in a row that say nothing to us before we think that we speak with somebody else.
const NONSENSE_MAX: u32 = 50;
/// A subscription is confirmed, or a trade comes, within this time.
const PAUSE_BETWEEN_COMMANDS: Duration = Duration::from_millis(250);
/// Asking for missing trades, while the stream waits.
const FILL_LIMITS: HttpLimits = HttpLimits {
    head: Duration::from_secs(2),
    progress: Duration::from_secs(2),
    total: Duration::from_secs(3),
    body_bytes: 1024 * 1024,
};
/// Requests for missing trades: five at once, then one each second.
const FILL_GUARD: GuardLimits = GuardLimits {
    per_request: Duration::from_secs(1),
    burst: 5,
    failures: 2,
    pause_first: Duration::from_secs(5),
    pause_last: Duration::from_secs(120),
};
/// Connections: three at once, then one every two seconds, as exchanges bound them by the minute.
pub(super) const DIAL_GUARD: GuardLimits = GuardLimits {
    per_request: Duration::from_secs(2),
    burst: 3,
    failures: 3,
    pause_first: Duration::from_secs(1),
    pause_last: Duration::from_secs(60),
};

/// Something that was streamed.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Event {
    Trade(Trade),
    /// The newest price, without a trade of its own, and what else is told.
    Ticker {
        symbol: Arc<str>,
        price: Decimal,
        at: jiff::Timestamp,
        details: Vec<(&'static str, String)>,
    },
    /// The newest trade of a symbol, to see whether one is missing.
    Heartbeat {
        symbol: Arc<str>,
        last_trade_id: u64,
    },
    /// A subscription is confirmed.
    Subscribed,
    /// The exchange does not do what we asked for.
    Refused(String),
    /// Of a kind that we did not ask for.
    Other,
}

/// How one exchange speaks. All of it is pure.
pub(super) trait Venue: Send + Sync + 'static {
    /// Its name in `additional_data`.
    const MARKET: &'static str;

    /// The texts that subscribe to everything.
    fn subscriptions(&self, symbols: &BTreeSet<Arc<str>>, channels: &BTreeSet<&'static str>) -> Vec<String>;

    /// Reads one message.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(&self, text: &str) -> Result<Event, String>;

    /// Where the newest trades of a symbol are.
    fn recent(&self, rest: &Location, symbol: &str) -> Location;

    /// Reads them, in any order.
    ///
    /// # Errors
    /// What is wrong with them.
    fn read_recent(&self, symbol: &Arc<str>, body: &[u8]) -> Result<Vec<Trade>, String>;

    /// The currency that a symbol is priced in.
    fn currency(symbol: &str) -> Option<&str>;
}

/// Settings of an exchange; the keys are the names of the fields.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeSettings {
    pub(super) url: Location,
    /// Where missing trades are asked for; without it they are counted only.
    pub(super) rest_url: Option<Location>,
    pub(super) symbols: BTreeSet<String>,
    pub(super) channels: BTreeSet<&'static str>,
    /// What may stand in `channels`.
    pub(super) known_channels: &'static [&'static str],
    pub(super) limits: SocketLimits,
    pub(super) max_messages_per_second: u32,
}

impl ExchangeSettings {
    /// # Errors
    /// If the built-in addresses are none, which a test rules out.
    pub(super) fn new(
        url: &str,
        rest_url: &str,
        symbols: &[&str],
        channels: &'static [&'static str],
    ) -> Result<Self, String> {
        Ok(Self {
            url: Location::parse(url, crate::net::Scheme::Socket)?,
            rest_url: Some(Location::parse(rest_url, crate::net::Scheme::Http)?),
            symbols: symbols.iter().map(ToString::to_string).collect(),
            channels: channels.iter().copied().take(1).collect(),
            known_channels: channels,
            limits: SocketLimits::default(),
            max_messages_per_second: 20_000,
        })
    }

    /// Changes one setting.
    ///
    /// # Errors
    /// What must hold, for people.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "url" => self.url = Location::parse(value, crate::net::Scheme::Socket)?,
            "rest_url" if value.is_empty() => self.rest_url = None,
            "rest_url" => self.rest_url = Some(Location::parse(value, crate::net::Scheme::Http)?),
            "symbols" => self.symbols = symbols(value, SYMBOLS_MAX)?,
            "channels" => {
                let known = self.known_channels;
                let chosen: Option<BTreeSet<_>> =
                    value.split(',').map(|name| known.iter().copied().find(|known| *known == name.trim())).collect();
                self.channels = chosen.ok_or_else(|| format!("must be some of {}", known.join(", ")))?;
            }
            "silence" => {
                self.limits.silence = duration(value, Duration::from_millis(100), Duration::from_secs(600))?;
            }
            "timeout" => {
                self.limits.handshake = duration(value, Duration::from_millis(10), Duration::from_secs(60))?;
            }
            "max_message_bytes" => self.limits.message_bytes = whole(value, 128, 16 * 1024 * 1024)?,
            "max_messages_per_second" => self.max_messages_per_second = whole(value, 1, 1_000_000)?,
            _ => return Err(super::unknown_key(EXCHANGE_KEYS)),
        }
        Ok(())
    }
}

/// Reads `BTCUSDT,ETHUSDT`.
pub(super) fn symbols(text: &str, max: usize) -> Result<BTreeSet<String>, String> {
    let symbols: BTreeSet<String> = text.split(',').map(|symbol| symbol.trim().to_owned()).collect();
    if symbols.len() > max || !symbols.iter().all(|symbol| is_symbol(symbol)) {
        return Err(format!("must be 1 to {max} symbols with commas between them"));
    }
    Ok(symbols)
}

/// An exchange at work.
pub(super) struct Exchange<V> {
    venue: V,
    settings: ExchangeSettings,
    symbols: BTreeSet<Arc<str>>,
    guard: Arc<Guard>,
    /// For missing trades; apart, because it may fail while the stream is well.
    fill: Http,
    fill_guard: Guard,
    ids: Mutex<TradeIds>,
    /// Facts of each symbol, told with every one of its trades: bought, sold, unknown.
    facts: std::collections::HashMap<Arc<str>, Facts>,
}

type Additional = Arc<std::collections::BTreeMap<String, String>>;

struct Facts {
    bought: Additional,
    sold: Additional,
    plain: Additional,
}

impl<V: Venue> Exchange<V> {
    /// # Errors
    /// If TLS cannot be set up.
    pub(super) fn new(venue: V, settings: &ExchangeSettings, guard: Arc<Guard>) -> Result<Self, SourceError> {
        guard.adopt(DIAL_GUARD);
        let symbols: BTreeSet<Arc<str>> = settings.symbols.iter().map(|symbol| Arc::from(symbol.as_str())).collect();
        let facts = symbols.iter().map(|symbol| (Arc::clone(symbol), facts::<V>(symbol))).collect();
        Ok(Self {
            venue,
            settings: settings.clone(),
            symbols,
            guard,
            fill: Http::new(FILL_LIMITS)?,
            fill_guard: Guard::new(FILL_GUARD),
            ids: Mutex::default(),
            facts,
        })
    }

    /// One connection, from its first byte to its last, and what ended it.
    async fn session(&self, feed: &Feed) -> SourceError {
        let permit = loop {
            match self.guard.admit() {
                Ok(permit) => break permit,
                Err(Refusal::Rate(after)) => tokio::time::sleep(after).await,
                Err(refusal) => return SourceError::Refused(refusal),
            }
        };
        let mut permit = Some(permit);
        let error = match self.listen(feed, &mut permit).await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        if let Some(permit) = permit {
            match &error {
                SourceError::Net(error) => permit.failed(error),
                other => permit.failed(&NetError::Broken(other.to_string())),
            }
        }
        error
    }

    async fn listen(
        &self,
        feed: &Feed,
        permit: &mut Option<crate::net::guard::Permit<'_>>,
    ) -> Result<Infallible, SourceError> {
        let mut socket = watched(feed, Socket::dial(&self.settings.url, self.settings.limits)).await?;
        feed.heard();
        for (index, text) in self.venue.subscriptions(&self.symbols, &self.settings.channels).into_iter().enumerate() {
            if index > 0 {
                // Exchanges bound the commands of a second.
                tokio::time::sleep(PAUSE_BETWEEN_COMMANDS).await;
            }
            socket.send(text).await?;
        }
        let mut nonsense = 0;
        let mut flood = Flood::new(self.settings.max_messages_per_second);
        loop {
            let text = match socket.next().await? {
                Heard::Text(text) => text,
                Heard::Alive => {
                    feed.heard();
                    continue;
                }
            };
            if let Some(rest) = flood.count() {
                feed.error(ErrorKind::Flood, format!("more than {} messages a second", flood.max));
                tokio::time::sleep(rest).await;
            }
            match self.venue.read(&text) {
                Ok(Event::Refused(why)) => return Err(SourceError::Answer(why)),
                Ok(event) => {
                    nonsense = 0;
                    if let Some(permit) = permit.take() {
                        permit.succeeded();
                    }
                    self.take(event, feed).await;
                }
                Err(problem) => {
                    feed.error(ErrorKind::MalformedRecord, problem);
                    nonsense += 1;
                    if nonsense >= NONSENSE_MAX {
                        return Err(SourceError::Malformed(format!("{NONSENSE_MAX} messages in a row")));
                    }
                }
            }
        }
    }

    async fn take(&self, event: Event, feed: &Feed) {
        match event {
            Event::Trade(trade) => {
                let place = self.ids.lock().place(&trade.symbol, trade.id);
                match place {
                    Place::Old => return feed.dropped(DropKind::Duplicate, 1),
                    Place::Next => {}
                    Place::After { last, .. } => self.fill(&trade.symbol, last, trade.id, feed).await,
                }
                self.record(&trade, feed);
            }
            Event::Heartbeat { symbol, last_trade_id } => {
                feed.heard();
                let place = self.ids.lock().place(&symbol, last_trade_id);
                if let Place::After { last, .. } = place {
                    self.fill(&symbol, last, last_trade_id.saturating_add(1), feed).await;
                    let mut ids = self.ids.lock();
                    // What could not be had is counted once.
                    if ids.place(&symbol, last_trade_id) != Place::Old {
                        ids.taken(&symbol, last_trade_id);
                    }
                }
            }
            Event::Ticker { symbol, price, at, details } => {
                let Some(facts) = self.facts.get(&symbol) else { return };
                let mut additional = (*facts.plain).clone();
                additional.extend(details.into_iter().map(|(name, value)| (name.to_owned(), value)));
                feed.record(Tick {
                    symbol,
                    price,
                    volume: Decimal::ZERO,
                    timestamp: at,
                    bar: None,
                    zone: None,
                    additional: Arc::new(additional),
                });
            }
            Event::Subscribed | Event::Refused(_) | Event::Other => feed.heard(),
        }
    }

    fn record(&self, trade: &Trade, feed: &Feed) {
        let Some((symbol, facts)) = self.facts.get_key_value(&trade.symbol) else { return };
        self.ids.lock().taken(symbol, trade.id);
        let additional = match trade.bought {
            Some(true) => &facts.bought,
            Some(false) => &facts.sold,
            None => &facts.plain,
        };
        feed.record(Tick {
            symbol: Arc::clone(symbol),
            price: trade.price,
            volume: trade.size,
            timestamp: trade.at,
            bar: None,
            zone: None,
            additional: Arc::clone(additional),
        });
    }

    /// Asks for the trades between two numbers, takes in what there is, and books the rest as missing.
    async fn fill(&self, symbol: &Arc<str>, last: u64, next: u64, feed: &Feed) {
        let missing = next.saturating_sub(last).saturating_sub(1);
        let mut filled = 0;
        match self.recent(symbol, feed).await {
            Ok(mut trades) => {
                trades.sort_by_key(|trade| trade.id);
                for trade in trades {
                    let between = trade.id > last && trade.id < next;
                    if between && self.ids.lock().place(symbol, trade.id) != Place::Old {
                        self.record(&trade, feed);
                        filled += 1;
                    }
                }
            }
            Err(Some(error)) => book(feed, &error),
            Err(None) => {}
        }
        if filled < missing {
            let message = format!("{} trades of {symbol} after number {last} never came", missing - filled);
            feed.error(ErrorKind::MissingRecord, message);
        }
    }

    /// The newest trades; `Err(None)` if they cannot be asked for now, which is no fault.
    async fn recent(&self, symbol: &Arc<str>, feed: &Feed) -> Result<Vec<Trade>, Option<SourceError>> {
        let rest = self.settings.rest_url.as_ref().ok_or(None)?;
        let permit = self.fill_guard.admit().map_err(|_| None)?;
        let location = self.venue.recent(rest, symbol);
        let answer = permit.settle(watched(feed, self.fill.get(&location, &HeaderMap::new(), false)).await);
        match answer {
            Ok(Answer::Document { body, .. }) => {
                self.venue.read_recent(symbol, &body).map_err(|problem| Some(SourceError::Malformed(problem)))
            }
            Ok(Answer::NotModified) => Err(None),
            Err(error) => Err(Some(error.into())),
        }
    }
}

fn facts<V: Venue>(symbol: &str) -> Facts {
    let with = |side: Option<&str>| {
        let pairs = [("market", Some(V::MARKET)), ("currency", V::currency(symbol)), ("side", side)];
        let known = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        Arc::new(known.collect())
    };
    Facts { bought: with(Some("buy")), sold: with(Some("sell")), plain: with(None) }
}

impl<V: Venue> Source for Exchange<V> {
    fn symbols(&self) -> &BTreeSet<Arc<str>> {
        &self.symbols
    }

    fn runs_again(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, feed: &'a Feed) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            loop {
                let error = self.session(feed).await;
                if self.guard.refusal().is_some() || matches!(error, SourceError::Refused(_)) {
                    return Err(error);
                }
                // The connection was lost and may be had again: streams go on meanwhile.
                book(feed, &error);
                tracing::info!(source_id = %feed.source(), %error, "connection lost");
                tokio::time::sleep(jittered(Duration::from_millis(200))).await;
            }
        })
    }
}

/// Counts the messages of a second.
struct Flood {
    max: u32,
    since: Instant,
    count: u32,
}

impl Flood {
    const SPAN: Duration = Duration::from_secs(1);

    fn new(max: u32) -> Self {
        Self { max, since: Instant::now(), count: 0 }
    }

    /// Counts one. If it is one too many: how long nothing should be read, so that the sender has to wait.
    fn count(&mut self) -> Option<Duration> {
        self.count += 1;
        if self.count <= self.max {
            return None;
        }
        let passed = self.since.elapsed();
        let rest = Self::SPAN.checked_sub(passed).filter(|rest| !rest.is_zero());
        self.since = Instant::now() + rest.unwrap_or_default();
        self.count = 1;
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_slowed_down_and_a_steady_stream_is_not() {
        let mut flood = Flood::new(10);
        for _ in 0..50 {
            assert_eq!(flood.count(), None);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let mut flood = Flood::new(10);
        assert!((0..10).all(|_| flood.count().is_none()));
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(flood.count(), Some(Duration::from_millis(700)));
        tokio::time::advance(Duration::from_millis(700)).await;
        assert!((0..9).all(|_| flood.count().is_none()));
        assert_eq!(flood.count(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn symbols_are_plain_and_few() {
        assert_eq!(symbols("B, A,B", 2).unwrap().into_iter().collect::<Vec<_>>(), ["A", "B"]);
        assert!(symbols("A,B,C", 2).is_err() && symbols("", 2).is_err() && symbols("A B", 2).is_err());
    }
}
