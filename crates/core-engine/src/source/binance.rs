//! Binance: trades and tickers of the spot market, from its combined streams.
//!
//! Trades are numbered without gaps, so a loss is seen by the next number, and the trades of the gap are asked for from
//! the REST API (the newest 1,000). A ticker carries no trade of its own: it gives a value of volume zero.
//!
//! Source: <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams> (combined streams, live
//! subscribing, `<symbol>@trade`, `<symbol>@ticker`; a ping every 20 s, a connection lives a day, five commands a
//! second) and <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints>
//! (recent trades list).

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;

use super::exchange::{Event, ExchangeSettings, Venue};
use super::trades::Trade;
use crate::net::Location;
use crate::tick::is_symbol;

/// Under this path, events come in an envelope that names their stream.
const URL: &str = "wss://stream.binance.com:9443/stream";
const REST_URL: &str = "https://api.binance.com";
const SYMBOLS: &[&str] = &["BTCUSDT", "ETHUSDT"];
const CHANNELS: &[&str] = &["trade", "ticker"];
/// Streams that one command names.
const PER_COMMAND: usize = 100;
/// What symbols end in, longest first: the currency that they are priced in.
const QUOTES: &[&str] =
    &["FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "USD"];

/// How Binance speaks.
pub(super) struct Binance;

/// The defaults.
///
/// # Errors
/// Never, as a test shows.
pub(super) fn settings() -> Result<ExchangeSettings, String> {
    ExchangeSettings::new(URL, REST_URL, SYMBOLS, CHANNELS)
}

/// What comes: an event in its envelope, or the answer to a command.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    id: Option<serde_json::Value>,
    error: Option<Fault>,
    code: Option<i64>,
    msg: Option<String>,
}

#[derive(Deserialize)]
struct Fault {
    code: Option<i64>,
    msg: Option<String>,
}

/// Fields of all events that we read; which are there, `e` says. Times are in milliseconds. Nothing is copied: symbols
/// and numbers have no letters that JSON escapes.
#[derive(Deserialize)]
struct Data<'a> {
    e: Option<&'a str>,
    #[serde(rename = "E")]
    event_time: Option<i64>,
    s: Option<&'a str>,
    t: Option<u64>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    #[serde(rename = "T")]
    trade_time: Option<i64>,
    m: Option<bool>,
    c: Option<&'a str>,
    b: Option<&'a str>,
    a: Option<&'a str>,
    h: Option<&'a str>,
    l: Option<&'a str>,
    v: Option<&'a str>,
    o: Option<&'a str>,
}

#[derive(Deserialize)]
struct Recent {
    id: Option<u64>,
    price: Option<String>,
    qty: Option<String>,
    time: Option<i64>,
    #[serde(rename = "isBuyerMaker")]
    is_buyer_maker: Option<bool>,
}

impl Venue for Binance {
    const MARKET: &'static str = "binance";

    fn subscriptions(&self, symbols: &BTreeSet<Arc<str>>, channels: &BTreeSet<&'static str>) -> Vec<String> {
        let names: Vec<String> = symbols
            .iter()
            .flat_map(|symbol| channels.iter().map(move |channel| format!("{}@{channel}", symbol.to_lowercase())))
            .collect();
        let commands = names.chunks(PER_COMMAND).zip(1..);
        commands
            .map(|(params, id)| serde_json::json!({"method": "SUBSCRIBE", "params": params, "id": id}).to_string())
            .collect()
    }

    fn read(&self, text: &str) -> Result<Event, String> {
        let message: Message = serde_json::from_str(text).map_err(|error| format!("no message: {error}"))?;
        if let Some(fault) = message.error {
            return Ok(Event::Refused(fault_text(fault.code, fault.msg)));
        }
        if message.code.is_some() {
            return Ok(Event::Refused(fault_text(message.code, message.msg)));
        }
        match (message.data, message.id) {
            (Some(data), _) => event(&data),
            (None, Some(_)) => Ok(Event::Subscribed),
            (None, None) => Err("a message without data".to_owned()),
        }
    }

    fn recent(&self, rest: &Location, symbol: &str) -> Location {
        rest.below(["api", "v3", "trades"]).with("symbol", symbol).with("limit", "1000")
    }

    fn read_recent(&self, symbol: &Arc<str>, body: &[u8]) -> Result<Vec<Trade>, String> {
        let recent: Vec<Recent> =
            serde_json::from_slice(body).map_err(|error| format!("no list of trades: {error}"))?;
        let trades = recent.into_iter().filter_map(|trade| {
            Some(Trade {
                symbol: Arc::clone(symbol),
                id: trade.id?,
                price: decimal(trade.price.as_deref()?)?,
                size: decimal(trade.qty.as_deref()?)?,
                at: Timestamp::from_millisecond(trade.time?).ok()?,
                bought: trade.is_buyer_maker.map(|maker| !maker),
            })
        });
        Ok(trades.collect())
    }

    fn currency(symbol: &str) -> Option<&str> {
        QUOTES.iter().find(|quote| symbol.len() > quote.len() && symbol.ends_with(**quote)).copied()
    }
}

fn event(data: &Data<'_>) -> Result<Event, String> {
    let kind = data.e.unwrap_or_default();
    if !matches!(kind, "trade" | "24hrTicker") {
        return Ok(Event::Other);
    }
    let symbol: Arc<str> = Arc::from(data.s.filter(|symbol| is_symbol(symbol)).ok_or("an event without a symbol")?);
    let time = |millis: Option<i64>| millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let number = |text: Option<&str>| text.and_then(decimal);
    if kind == "trade" {
        return Ok(Event::Trade(Trade {
            symbol,
            id: data.t.ok_or("a trade without a number")?,
            price: number(data.p).ok_or("a trade without a price")?,
            size: number(data.q).ok_or("a trade without a quantity")?,
            at: time(data.trade_time).ok_or("a trade without a time")?,
            bought: data.m.map(|maker| !maker),
        }));
    }
    let names = [("bid", data.b), ("ask", data.a), ("high_24h", data.h), ("low_24h", data.l), ("open_24h", data.o)];
    let told = names.into_iter().chain([("volume_24h", data.v)]);
    Ok(Event::Ticker {
        symbol,
        price: number(data.c).ok_or("a ticker without a price")?,
        at: time(data.event_time).ok_or("a ticker without a time")?,
        details: told.filter_map(|(name, text)| Some((name, decimal(text?)?.to_string()))).collect(),
    })
}

fn fault_text(code: Option<i64>, message: Option<String>) -> String {
    let message: String = message.unwrap_or_default().chars().take(100).flat_map(char::escape_debug).collect();
    format!("error {}: {message}", code.unwrap_or_default())
}

/// A number of zero or more.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    text.parse().ok().filter(|number: &Decimal| !number.is_sign_negative())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRADE: &str = r#"{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,
        "p":"0.00100000","q":"100","T":1672515782135,"m":true,"M":true,"new":{"a":[1]}}}"#;

    fn read(text: &str) -> Result<Event, String> {
        Binance.read(text)
    }

    #[test]
    fn a_trade_is_read() {
        let expected = Trade {
            symbol: Arc::from("BNBBTC"),
            id: 12_345,
            price: "0.00100000".parse().unwrap(),
            size: Decimal::from(100),
            at: "2022-12-31T19:43:02.135Z".parse().unwrap(),
            bought: Some(false),
        };
        assert_eq!(read(TRADE), Ok(Event::Trade(expected)));
    }

    #[test]
    fn a_ticker_is_read() {
        let text = r#"{"stream":"bnbbtc@ticker","data":{"e":"24hrTicker","E":1672515782136,"s":"BNBBTC","p":"0.0015",
            "P":"250.00","w":"0.0018","x":"0.0009","c":"0.0025","Q":"10","b":"0.0024","B":"10","a":null,"A":"100",
            "o":"0.0010","h":"0.0025","l":"x","v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}}"#;
        let Ok(Event::Ticker { symbol, price, details, .. }) = read(text) else { panic!("it is a ticker") };
        assert_eq!((&*symbol, price.to_string().as_str()), ("BNBBTC", "0.0025"));
        let shown: Vec<_> = details.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["bid=0.0024", "high_24h=0.0025", "open_24h=0.0010", "volume_24h=10000"]);
    }

    #[test]
    fn answers_to_commands_and_unknown_events_are_told_apart() {
        assert_eq!(read(r#"{"result":null,"id":1}"#), Ok(Event::Subscribed));
        assert_eq!(read(r#"{"stream":"a@depth","data":{"e":"depthUpdate"}}"#), Ok(Event::Other));
        assert_eq!(
            read(r#"{"code":2,"msg":"Invalid request: \"x\""}"#),
            Ok(Event::Refused("error 2: Invalid request: \\\"x\\\"".to_owned()))
        );
        let nested = r#"{"error":{"code":3,"msg":"Invalid JSON"},"id":null}"#;
        assert_eq!(read(nested), Ok(Event::Refused("error 3: Invalid JSON".to_owned())));
    }

    #[test]
    fn what_is_missing_null_or_broken_is_named() {
        for (from, to, expected) in [
            (r#""t":12345,"#, "", "a trade without a number"),
            (r#""p":"0.00100000""#, r#""p":null"#, "a trade without a price"),
            (r#""p":"0.00100000""#, r#""p":"-1""#, "a trade without a price"),
            (r#""q":"100""#, r#""q":"1e99""#, "a trade without a quantity"),
            (r#""T":1672515782135"#, r#""T":9223372036854775807"#, "a trade without a time"),
            (r#""s":"BNBBTC""#, r#""s":"a b""#, "an event without a symbol"),
            (r#"{"stream":"bnbbtc@trade","data":"#, "[", "no message"),
        ] {
            let text = TRADE.replace(from, to);
            assert_ne!(text, TRADE, "{from}");
            let problem = read(&text).unwrap_err();
            assert!(problem.starts_with(expected), "{problem}");
        }
        for end in 0..TRADE.len() {
            assert!(read(&TRADE[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn recent_trades_are_read_and_bad_ones_passed_over() {
        let body = br#"[{"id":28457,"price":"4.00000100","qty":"12.0","quoteQty":"48.0","time":1499865549590,
            "isBuyerMaker":true,"isBestMatch":true},{"id":28458,"price":null,"qty":"1","time":1}]"#;
        let trades = Binance.read_recent(&Arc::from("A"), body).unwrap();
        assert_eq!(trades.iter().map(|trade| trade.id).collect::<Vec<_>>(), [28_457]);
        assert!(Binance.read_recent(&Arc::from("A"), br#"{"code":-1003,"msg":"Too many"}"#).is_err());
    }

    #[test]
    fn everything_is_subscribed_to_in_lower_case() {
        let settings = settings().unwrap();
        let symbols = settings.symbols.iter().map(|symbol| Arc::from(symbol.as_str())).collect();
        assert_eq!(
            Binance.subscriptions(&symbols, &settings.channels),
            [r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@trade","ethusdt@trade"]}"#]
        );
        assert_eq!(Binance::currency("BTCUSDT"), Some("USDT"));
        assert_eq!(Binance::currency("ETHBTC"), Some("BTC"));
        assert_eq!(Binance::currency("BTC"), None);
    }
}
