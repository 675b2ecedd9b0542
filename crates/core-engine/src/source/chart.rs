//! A chart of Yahoo Finance, as its endpoint `v8/finance/chart` answers: what it is of, and its candles.
//!
//! The endpoint has no manual; its shape is known from those who use it: `chart.result[0]` has `meta`, `timestamp` and
//! `indicators.quote[0]` with one array each of open, high, low, close and volume, where a minute without a trade is
//! null in all of them; else `chart.error` has `code` and `description`. Prices are single-precision numbers that were
//! widened, `230.10000610351562` for 230.10: where that is so, the shorter number is meant.
//!
//! Source: <https://github.com/ranaroussi/yfinance> (its history and its errors) and the issues of
//! <https://github.com/gadicc/yahoo-finance2>.

use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value as Json;

/// Candles of one chart; a day of minutes has some 390 to 1,440.
const CANDLES_MAX: usize = 20_000;
/// Sessions that one chart tells.
const SESSIONS_MAX: usize = 400;

/// A chart, with what could be read of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Chart {
    /// As the server writes it.
    pub(super) symbol: String,
    /// Name of the exchange's zone, as `America/New_York`.
    pub(super) zone: Option<Arc<str>>,
    pub(super) currency: Option<String>,
    /// Short and long name of the exchange, and kind of instrument.
    pub(super) market: Option<String>,
    pub(super) exchange: Option<String>,
    pub(super) instrument: Option<String>,
    /// When the exchange is or was open, as far as it is told.
    pub(super) sessions: Vec<(Timestamp, Timestamp)>,
    /// Oldest first.
    pub(super) candles: Vec<Candle>,
    /// The newest price and when it was paid.
    pub(super) newest: Option<(Decimal, Timestamp)>,
    /// Places without a price.
    pub(super) empty: u64,
    /// Places with a price that cannot be.
    pub(super) malformed: u64,
}

/// What happened in one interval; `low` ≤ `open`, `close` ≤ `high`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Candle {
    pub(super) start: Timestamp,
    pub(super) open: Decimal,
    pub(super) high: Decimal,
    pub(super) low: Decimal,
    pub(super) close: Decimal,
    pub(super) volume: Decimal,
}

/// Why there is no chart.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum NoChart {
    /// The server does not know the symbol.
    UnknownSymbol,
    /// Cookie or crumb are no longer good.
    Unauthorized,
    /// The server says why.
    Error(String),
    /// It is no chart at all.
    Malformed(String),
}

#[derive(Deserialize)]
struct Document {
    chart: Option<Body>,
    /// Some errors come under this name.
    finance: Option<Body>,
}

#[derive(Deserialize)]
struct Body {
    result: Option<Vec<Json>>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: Option<String>,
    description: Option<String>,
}

/// Reads a chart; a success as well as the body of an error.
///
/// # Errors
/// As [`NoChart`] tells.
pub(super) fn read(body: &[u8]) -> Result<Chart, NoChart> {
    let document: Document =
        serde_json::from_slice(body).map_err(|error| NoChart::Malformed(format!("no chart: {error}")))?;
    let body = document.chart.or(document.finance).ok_or_else(|| malformed("no chart in it"))?;
    if let Some(fault) = body.error {
        return Err(no_chart(&fault));
    }
    let result = body.result.unwrap_or_default();
    let chart = result.first().ok_or_else(|| malformed("neither a result nor an error"))?;
    let meta = chart.get("meta").ok_or_else(|| malformed("a chart without meta"))?;
    let text = |name: &str| meta.get(name).and_then(Json::as_str).filter(|text| text.len() <= 64).map(str::to_owned);
    let symbol = text("symbol").ok_or_else(|| malformed("a chart without a symbol"))?;
    let newest = meta.get("regularMarketPrice").and_then(decimal).zip(meta.get("regularMarketTime").and_then(time));
    let mut read = Chart {
        symbol,
        zone: text("exchangeTimezoneName").map(Arc::from),
        currency: text("currency"),
        market: text("exchangeName"),
        exchange: text("fullExchangeName"),
        instrument: text("instrumentType"),
        sessions: sessions(meta),
        candles: Vec::new(),
        newest,
        empty: 0,
        malformed: 0,
    };
    read.take_candles(chart);
    Ok(read)
}

impl Chart {
    fn take_candles(&mut self, chart: &Json) {
        let Some(times) = chart.get("timestamp").and_then(Json::as_array) else { return };
        let quote = chart.pointer("/indicators/quote/0");
        let column = |name: &str| quote.and_then(|quote| quote.get(name)?.as_array());
        let (open, high, low) = (column("open"), column("high"), column("low"));
        let (close, volume) = (column("close"), column("volume"));
        let cell = |column: Option<&Vec<Json>>, row: usize| column.and_then(|column| column.get(row).cloned());
        for (row, start) in times.iter().enumerate().take(CANDLES_MAX) {
            // A place without a close is empty, whatever else stands there.
            let Some(close) = cell(close, row).filter(|cell| !cell.is_null()) else {
                self.empty += 1;
                continue;
            };
            let price = |column| cell(column, row).as_ref().and_then(decimal);
            let candle = || {
                let close = decimal(&close)?;
                let (open, high, low) = (price(open)?, price(high)?, price(low)?);
                // Their sources are several, and the extremes may be behind by a trade.
                let (high, low) = (high.max(open).max(close), low.min(open).min(close));
                let volume = price(volume).unwrap_or_default();
                Some(Candle { start: time(start)?, open, high, low, close, volume })
            };
            match candle() {
                Some(candle) => self.candles.push(candle),
                None => self.malformed += 1,
            }
        }
        self.candles.sort_by_key(|candle| candle.start);
        self.candles.dedup_by_key(|candle| candle.start);
    }
}

fn malformed(problem: &str) -> NoChart {
    NoChart::Malformed(problem.to_owned())
}

fn no_chart(fault: &Fault) -> NoChart {
    let code = fault.code.as_deref().unwrap_or_default();
    match code {
        "Not Found" => NoChart::UnknownSymbol,
        "Unauthorized" => NoChart::Unauthorized,
        _ => {
            let text = format!("{code}: {}", fault.description.as_deref().unwrap_or_default());
            NoChart::Error(text.chars().take(200).flat_map(char::escape_debug).collect())
        }
    }
}

/// The sessions of the chart's days, and the one that is or comes next.
fn sessions(meta: &Json) -> Vec<(Timestamp, Timestamp)> {
    let mut sessions = Vec::new();
    // Without the hours before and after: a list of days, each a list of periods. With them: the regular ones by name.
    let periods = meta.get("tradingPeriods");
    let days = periods.and_then(|periods| periods.as_array().or_else(|| periods.get("regular")?.as_array()));
    for period in days.into_iter().flatten().filter_map(Json::as_array).flatten().take(SESSIONS_MAX) {
        sessions.extend(session(period));
    }
    sessions.extend(meta.pointer("/currentTradingPeriod/regular").and_then(session));
    sessions.sort_unstable();
    sessions.dedup();
    sessions
}

fn session(period: &Json) -> Option<(Timestamp, Timestamp)> {
    let (start, end) = (time(period.get("start")?)?, time(period.get("end")?)?);
    (start < end).then_some((start, end))
}

fn time(seconds: &Json) -> Option<Timestamp> {
    Timestamp::from_second(seconds.as_i64()?).ok()
}

/// A number of zero or more, without the digits that only widening has added.
fn decimal(number: &Json) -> Option<Decimal> {
    let wide = number.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "whether it is without loss is what is asked")]
    let narrow = wide as f32;
    // Reading a number may miss it by its last bit.
    let text = match (f64::from(narrow) - wide).abs() <= wide.abs() * 4.0 * f64::EPSILON {
        true => narrow.to_string(),
        false => wide.to_string(),
    };
    text.parse().ok().filter(|price: &Decimal| !price.is_sign_negative())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two days around the end of summer time in New York, the second a half day; prices as the server widens them.
    pub(super) fn sample() -> Json {
        serde_json::json!({"chart": {"result": [{
            "meta": {
                "currency": "USD", "symbol": "ACME", "exchangeName": "NMS", "fullExchangeName": "NasdaqGS",
                "instrumentType": "EQUITY", "regularMarketTime": 1_730_739_600, "gmtoffset": -18000, "timezone": "EST",
                "exchangeTimezoneName": "America/New_York", "regularMarketPrice": 230.100_006_103_515_62,
                "priceHint": 2, "somethingNew": {"x": []},
                "currentTradingPeriod": {"regular": {"timezone": "EST", "start": 1_730_730_600, "end": 1_730_743_200,
                    "gmtoffset": -18000}},
                "tradingPeriods": [[{"start": 1_730_467_800, "end": 1_730_491_200}], [{"start": 1_730_730_600,
                    "end": 1_730_743_200}], [{"start": null, "end": 5}], 7],
            },
            "timestamp": [1_730_467_800, 1_730_467_860, 1_730_467_920, 1_730_730_600],
            "indicators": {"quote": [{
                "open": [230.0, null, 229.990_005_493_164_06, 231],
                "high": [230.5, null, 230.0, 230.5],
                "low": [229.75, null, 229.5, 230.0],
                "close": [230.100_006_103_515_62, null, 229.5, 230.199_996_948_242_2],
                "volume": [1_204_300, null, null, 5],
            }]},
        }], "error": null}})
    }

    fn read_json(json: &Json) -> Result<Chart, NoChart> {
        read(json.to_string().as_bytes())
    }

    fn shown(candle: &Candle) -> String {
        let Candle { start, open, high, low, close, volume } = candle;
        format!("{start} {open} {high} {low} {close} {volume}")
    }

    #[test]
    fn a_chart_is_read_with_its_exchange_and_its_holes() {
        let chart = read_json(&sample()).unwrap();
        assert_eq!(chart.zone.as_deref(), Some("America/New_York"));
        assert_eq!((chart.currency.as_deref(), chart.market.as_deref()), (Some("USD"), Some("NMS")));
        assert_eq!((chart.empty, chart.malformed), (1, 0));
        let candles: Vec<_> = chart.candles.iter().map(shown).collect();
        assert_eq!(
            candles,
            [
                "2024-11-01T13:30:00Z 230 230.5 229.75 230.1 1204300",
                "2024-11-01T13:32:00Z 229.99 230 229.5 229.5 0",
                "2024-11-04T14:30:00Z 231 231 230 230.2 5",
            ]
        );
        // Half past nine in both, an hour apart in UTC; the second day ends at one in the afternoon.
        let zone = jiff::tz::TimeZone::get("America/New_York").unwrap();
        let local: Vec<_> = chart
            .sessions
            .iter()
            .map(|(open, close)| (open.to_zoned(zone.clone()).time(), close.to_zoned(zone.clone()).time()))
            .collect();
        let at = jiff::civil::Time::constant;
        assert_eq!(local, [(at(9, 30, 0, 0), at(16, 0, 0, 0)), (at(9, 30, 0, 0), at(13, 0, 0, 0))]);
    }

    #[test]
    fn errors_are_told_apart() {
        for (body, expected) in [
            (
                r#"{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}"#,
                NoChart::UnknownSymbol,
            ),
            (
                r#"{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}"#,
                NoChart::Unauthorized,
            ),
            (
                r#"{"chart":{"result":null,"error":{"code":"Unprocessable Entity","description":null}}}"#,
                NoChart::Error("Unprocessable Entity: ".to_owned()),
            ),
            (r#"{"chart":{"result":[],"error":null}}"#, malformed("neither a result nor an error")),
            (r#"{"chart":{"result":[{"meta":{}}]}}"#, malformed("a chart without a symbol")),
            ("{}", malformed("no chart in it")),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap_err(), expected, "{body}");
        }
        assert!(matches!(read(b"Too Many Requests\r\n"), Err(NoChart::Malformed(_))));
    }

    #[test]
    fn a_shape_that_drifts_loses_what_it_lost_and_nothing_else() {
        let drifted = |pointer: &str, value: Json| {
            let mut json = sample();
            *json.pointer_mut(pointer).unwrap() = value;
            let chart = read_json(&json).unwrap();
            (chart.candles.len(), chart.empty, chart.malformed)
        };
        assert_eq!(drifted("/chart/result/0/indicators/quote/0/volume", Json::Null), (3, 1, 0));
        assert_eq!(drifted("/chart/result/0/indicators/quote/0/high", serde_json::json!([1])), (1, 1, 2));
        assert_eq!(drifted("/chart/result/0/indicators/quote/0/open/0", "230".into()), (2, 1, 1));
        assert_eq!(drifted("/chart/result/0/indicators/quote/0/close/0", (-1).into()), (2, 1, 1));
        assert_eq!(drifted("/chart/result/0/indicators/quote/0/close/0", 1e300.into()), (2, 1, 1));
        assert_eq!(drifted("/chart/result/0/indicators/quote", serde_json::json!([])), (0, 4, 0));
        assert_eq!(drifted("/chart/result/0/timestamp", Json::Null), (0, 0, 0));
        assert_eq!(drifted("/chart/result/0/timestamp/0", "soon".into()), (2, 1, 1));
        assert_eq!(drifted("/chart/result/0/meta/tradingPeriods", Json::Null), (3, 1, 0));
    }

    #[test]
    fn a_truncated_chart_is_none() {
        let text = sample().to_string();
        for end in (0..text.len()).step_by(7) {
            assert!(matches!(read(&text.as_bytes()[..end]), Err(NoChart::Malformed(_))), "{end}");
        }
    }
}
