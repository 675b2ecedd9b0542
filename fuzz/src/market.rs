//! Properties of the core engine's readers of market data.

use core_engine::fuzzing::{self, Market, Price};

/// What a reason for a refusal may repeat of a document.
const REASON_MAX: usize = 4096;

/// Input: a chart of Yahoo Finance. Candles are in order of time and each holds together, or there are none and a
/// reason, and twice in the same way.
pub fn yahoo_chart(input: &[u8]) {
    let prices = check(Market::YahooChart, input);
    assert!(prices.is_sorted_by(|one, other| one.at < other.at), "{prices:?}");
}

/// Input: a message of an exchange, or its list of recent trades. As above, but for the order.
pub fn exchange(input: &[u8]) {
    for market in [Market::Binance, Market::BinanceTrades, Market::Coinbase, Market::CoinbaseTrades] {
        check(market, input);
    }
}

/// Input: a file to be replayed. As above, but a price may be negative, as some were.
pub fn replay(input: &[u8]) {
    for market in [Market::Csv, Market::Ndjson] {
        whole(market, input);
    }
}

fn check(market: Market, input: &[u8]) -> Vec<Price> {
    let prices = whole(market, input);
    assert!(prices.iter().all(|price| !price.low.is_sign_negative()), "{prices:?}");
    prices
}

fn whole(market: Market, input: &[u8]) -> Vec<Price> {
    let read = fuzzing::market(market, input);
    assert_eq!(read, fuzzing::market(market, input));
    match read {
        Err(reason) => {
            assert!(!reason.is_empty() && reason.len() <= REASON_MAX, "{reason}");
            Vec::new()
        }
        Ok(prices) => {
            assert!(prices.len() <= input.len());
            for price in &prices {
                let Price { open, high, low, close, volume, .. } = price;
                assert!(low <= open && low <= close && open <= high && close <= high, "{price:?}");
                assert!(volume.is_zero() || !volume.is_sign_negative(), "{price:?}");
            }
            prices
        }
    }
}
