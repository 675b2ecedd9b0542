//! Coinbase: trades and tickers, from the feed of Coinbase Exchange.
//!
//! The Exchange feed and not the one of Advanced Trade, because it is public without a key, numbers the trades of each
//! product (`trade_id`, without gaps), and its heartbeats name the last of them each second: so a trade that was lost
//! is missed within a second, even if no other follows. `sequence` counts everything that happens to a product, orders
//! included, of which this channel tells only the trades; so it cannot show a loss here, and is not looked at.
//!
//! Source: <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels> (heartbeat, ticker, matches),
//! <https://docs.cdp.coinbase.com/exchange/websocket-feed> (subscribe within five seconds; unknown kinds are to be
//! ignored) and the REST call for the trades of a product in the same manual.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::binance::decimal;
use super::exchange::{Event, ExchangeSettings, Venue};
use super::trades::Trade;
use crate::net::Location;
use crate::tick::is_symbol;

const URL: &str = "wss://ws-feed.exchange.coinbase.com";
const REST_URL: &str = "https://api.exchange.coinbase.com";
const SYMBOLS: &[&str] = &["BTC-USD", "ETH-USD"];
const CHANNELS: &[&str] = &["matches", "ticker"];

/// How Coinbase speaks.
pub(super) struct Coinbase;

/// The defaults.
///
/// # Errors
/// Never, as a test shows.
pub(super) fn settings() -> Result<ExchangeSettings, String> {
    let mut settings = ExchangeSettings::new(URL, REST_URL, SYMBOLS, CHANNELS)?;
    // Heartbeats come every second, so five seconds without one are many.
    settings.limits.silence = Duration::from_secs(5);
    Ok(settings)
}

/// Fields of all messages that we read; which are there, `type` says. Nothing that trades need is copied.
#[derive(Deserialize)]
struct Message<'a> {
    r#type: Option<&'a str>,
    product_id: Option<&'a str>,
    trade_id: Option<u64>,
    last_trade_id: Option<u64>,
    price: Option<&'a str>,
    size: Option<&'a str>,
    side: Option<&'a str>,
    time: Option<&'a str>,
    message: Option<String>,
    reason: Option<String>,
    best_bid: Option<&'a str>,
    best_ask: Option<&'a str>,
    open_24h: Option<&'a str>,
    high_24h: Option<&'a str>,
    low_24h: Option<&'a str>,
    volume_24h: Option<&'a str>,
}

#[derive(Deserialize)]
struct Recent<'a> {
    trade_id: Option<u64>,
    price: Option<&'a str>,
    size: Option<&'a str>,
    side: Option<&'a str>,
    time: Option<&'a str>,
}

impl Venue for Coinbase {
    const MARKET: &'static str = "coinbase";

    fn subscriptions(&self, symbols: &BTreeSet<Arc<str>>, channels: &BTreeSet<&'static str>) -> Vec<String> {
        let products: Vec<&str> = symbols.iter().map(|symbol| &**symbol).collect();
        let channels: Vec<&str> = channels.iter().copied().chain(["heartbeat"]).collect();
        vec![serde_json::json!({"type": "subscribe", "product_ids": products, "channels": channels}).to_string()]
    }

    fn read(&self, text: &str) -> Result<Event, String> {
        let message: Message<'_> = serde_json::from_str(text).map_err(|error| format!("no message: {error}"))?;
        let symbol = || -> Result<Arc<str>, String> {
            let symbol = message.product_id.filter(|symbol| is_symbol(symbol)).ok_or("a message without a product")?;
            Ok(Arc::from(symbol))
        };
        let time = || message.time.and_then(|text| text.parse::<Timestamp>().ok());
        let price = || message.price.and_then(decimal);
        match message.r#type {
            // The newest trade before the subscription comes first, under a name of its own.
            Some("match" | "last_match") => Ok(Event::Trade(Trade {
                symbol: symbol()?,
                id: message.trade_id.ok_or("a trade without a number")?,
                price: price().ok_or("a trade without a price")?,
                size: message.size.and_then(decimal).ok_or("a trade without a size")?,
                at: time().ok_or("a trade without a time")?,
                bought: bought(message.side),
            })),
            Some("ticker") => {
                let told = [
                    ("bid", message.best_bid),
                    ("ask", message.best_ask),
                    ("open_24h", message.open_24h),
                    ("high_24h", message.high_24h),
                    ("low_24h", message.low_24h),
                    ("volume_24h", message.volume_24h),
                ];
                Ok(Event::Ticker {
                    symbol: symbol()?,
                    price: price().ok_or("a ticker without a price")?,
                    at: time().ok_or("a ticker without a time")?,
                    details: told
                        .into_iter()
                        .filter_map(|(name, text)| Some((name, decimal(text?)?.to_string())))
                        .collect(),
                })
            }
            Some("heartbeat") => {
                let last_trade_id = message.last_trade_id.ok_or("a heartbeat without a trade")?;
                Ok(Event::Heartbeat { symbol: symbol()?, last_trade_id })
            }
            Some("subscriptions") => Ok(Event::Subscribed),
            Some("error") => {
                let words = [message.message, message.reason].into_iter().flatten().collect::<Vec<_>>().join(": ");
                Ok(Event::Refused(words.chars().take(200).flat_map(char::escape_debug).collect()))
            }
            Some(_) => Ok(Event::Other),
            None => Err("a message without a type".to_owned()),
        }
    }

    fn recent(&self, rest: &Location, symbol: &str) -> Location {
        rest.below(["products", symbol, "trades"]).with("limit", "1000")
    }

    fn read_recent(&self, symbol: &Arc<str>, body: &[u8]) -> Result<Vec<Trade>, String> {
        let recent: Vec<Recent<'_>> =
            serde_json::from_slice(body).map_err(|error| format!("no list of trades: {error}"))?;
        let trades = recent.into_iter().filter_map(|trade| {
            Some(Trade {
                symbol: Arc::clone(symbol),
                id: trade.trade_id?,
                price: decimal(trade.price?)?,
                size: decimal(trade.size?)?,
                at: trade.time?.parse().ok()?,
                bought: bought(trade.side),
            })
        });
        Ok(trades.collect())
    }

    fn currency(symbol: &str) -> Option<&str> {
        symbol.rsplit_once('-').map(|(_, currency)| currency)
    }
}

/// The side is the maker's: who sold to the market, bought from it.
fn bought(side: Option<&str>) -> Option<bool> {
    match side? {
        "sell" => Some(true),
        "buy" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATCH: &str = r#"{"type":"match","trade_id":10,"sequence":50,"maker_order_id":"ac928c66","taker_order_id":
        "132fb6ae","time":"2014-11-07T08:19:27.028459Z","product_id":"BTC-USD","size":"5.23512","price":"400.23",
        "side":"sell"}"#;

    fn read(text: &str) -> Result<Event, String> {
        Coinbase.read(text)
    }

    #[test]
    fn a_match_is_read_whether_it_is_the_last_or_a_new_one() {
        let expected = Trade {
            symbol: Arc::from("BTC-USD"),
            id: 10,
            price: "400.23".parse().unwrap(),
            size: "5.23512".parse().unwrap(),
            at: "2014-11-07T08:19:27.028459Z".parse().unwrap(),
            bought: Some(true),
        };
        assert_eq!(read(MATCH), Ok(Event::Trade(expected.clone())));
        let last = MATCH.replace("\"match\"", "\"last_match\"").replace("sell", "buy");
        assert_eq!(read(&last), Ok(Event::Trade(Trade { bought: Some(false), ..expected })));
    }

    #[test]
    fn tickers_and_heartbeats_are_read() {
        let ticker = r#"{"type":"ticker","sequence":37475248783,"product_id":"ETH-USD","price":"1285.22",
            "open_24h":"1310.79","volume_24h":"245532.79","low_24h":"1280.52","high_24h":"1313.8","volume_30d":"97",
            "best_bid":"1285.04","best_bid_size":"0.46688654","best_ask":"1285.27","best_ask_size":"1.56637040",
            "side":"buy","time":"2022-10-19T23:28:22.061769Z","trade_id":370843401,"last_size":"11.4396987"}"#;
        let Ok(Event::Ticker { price, details, .. }) = read(ticker) else { panic!("it is a ticker") };
        assert_eq!((price.to_string().as_str(), details.len()), ("1285.22", 6));
        let heartbeat = r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD",
            "time":"2014-11-07T08:19:28.464459Z"}"#;
        assert_eq!(read(heartbeat), Ok(Event::Heartbeat { symbol: Arc::from("BTC-USD"), last_trade_id: 20 }));
    }

    #[test]
    fn errors_and_unknown_kinds_are_told_apart() {
        assert_eq!(read(r#"{"type":"subscriptions","channels":[]}"#), Ok(Event::Subscribed));
        assert_eq!(read(r#"{"type":"auction","product_id":"A"}"#), Ok(Event::Other));
        let error = r#"{"type":"error","message":"Failed to subscribe","reason":"A-B is not a valid product"}"#;
        assert_eq!(read(error), Ok(Event::Refused("Failed to subscribe: A-B is not a valid product".to_owned())));
    }

    #[test]
    fn what_is_missing_null_or_broken_is_named() {
        for (from, to, expected) in [
            (r#""trade_id":10,"#, "", "a trade without a number"),
            (r#""price":"400.23""#, r#""price":null"#, "a trade without a price"),
            (r#""size":"5.23512""#, r#""size":"""#, "a trade without a size"),
            (r#""time":"2014-11-07T08:19:27.028459Z""#, r#""time":"today""#, "a trade without a time"),
            (r#""product_id":"BTC-USD""#, r#""product_id":"""#, "a message without a product"),
            (r#""type":"match","#, "", "a message without a type"),
        ] {
            let text = MATCH.replace(from, to);
            assert_ne!(text, MATCH, "{from}");
            assert_eq!(read(&text).unwrap_err(), expected);
        }
        for end in 0..MATCH.len() {
            assert!(read(&MATCH[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn recent_trades_are_read() {
        let body = br#"[{"time":"2014-11-07T22:19:28.578544Z","trade_id":74,"price":"10.0","size":"0.01","side":"buy"},
            {"time":null,"trade_id":73,"price":"100.0","size":"0.01","side":"sell"}]"#;
        let trades = Coinbase.read_recent(&Arc::from("BTC-USD"), body).unwrap();
        assert_eq!(trades.iter().map(|trade| (trade.id, trade.bought)).collect::<Vec<_>>(), [(74, Some(false))]);
        assert!(Coinbase.read_recent(&Arc::from("A"), br#"{"message":"NotFound"}"#).is_err());
    }

    #[test]
    fn heartbeats_are_subscribed_to_as_well() {
        let settings = settings().unwrap();
        let symbols = settings.symbols.iter().map(|symbol| Arc::from(symbol.as_str())).collect();
        assert_eq!(
            Coinbase.subscriptions(&symbols, &settings.channels),
            [r#"{"channels":["matches","heartbeat"],"product_ids":["BTC-USD","ETH-USD"],"type":"subscribe"}"#]
        );
    }
}
