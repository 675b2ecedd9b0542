//! All readers of foreign market data under one roof, for tests that throw anything at them.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::binance::Binance;
use super::chart;
use super::coinbase::Coinbase;
use super::exchange::{Event, Venue};
use super::record::{Format, Records};
use super::trades::Trade;
use crate::fuzzing::{Market, Price};

/// What a reader made of a document: its prices, or why there are none.
pub(crate) fn read(market: Market, document: &[u8]) -> Result<Vec<Price>, String> {
    let symbol = Arc::from("A");
    let text = std::str::from_utf8(document).map_err(|error| error.to_string());
    match market {
        Market::YahooChart => match chart::read(document) {
            Ok(chart) => Ok(chart
                .candles
                .iter()
                .map(|candle| Price {
                    open: candle.open,
                    high: candle.high,
                    low: candle.low,
                    close: candle.close,
                    volume: candle.volume,
                    at: candle.start,
                })
                .collect()),
            Err(no_chart) => Err(format!("{no_chart:?}")),
        },
        Market::Binance => Binance.read(text?).map(|event| event_price(&event)),
        Market::Coinbase => Coinbase.read(text?).map(|event| event_price(&event)),
        Market::BinanceTrades => Binance.read_recent(&symbol, document).map(|trades| trade_prices(&trades)),
        Market::CoinbaseTrades => Coinbase.read_recent(&symbol, document).map(|trades| trade_prices(&trades)),
        Market::Csv => records(document, "a.csv"),
        Market::Ndjson => records(document, "a.ndjson"),
    }
}

fn records(document: &[u8], name: &str) -> Result<Vec<Price>, String> {
    let format = Format::of(name).unwrap_or(Format::Csv);
    let mut prices = Vec::new();
    for record in Records::new(document, format) {
        // A line that is no record costs itself alone.
        let Ok(tick) = record.map_err(|error| error.to_string())? else { continue };
        let (open, high, low) =
            tick.bar.map_or((tick.price, tick.price, tick.price), |bar| (bar.open, bar.high, bar.low));
        prices.push(Price { open, high, low, close: tick.price, volume: tick.volume, at: tick.timestamp });
    }
    Ok(prices)
}

fn event_price(event: &Event) -> Vec<Price> {
    match event {
        Event::Trade(trade) => trade_prices(std::slice::from_ref(trade)),
        Event::Ticker { price, at, .. } => {
            let price = *price;
            vec![Price { open: price, high: price, low: price, close: price, volume: Decimal::ZERO, at: *at }]
        }
        Event::Heartbeat { .. } | Event::Subscribed | Event::Refused(_) | Event::Other => Vec::new(),
    }
}

fn trade_prices(trades: &[Trade]) -> Vec<Price> {
    let price = |trade: &Trade| {
        let price = trade.price;
        Price { open: price, high: price, low: price, close: price, volume: trade.size, at: trade.at }
    };
    trades.iter().map(price).collect()
}
