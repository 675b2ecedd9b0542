//! Market data: what can be traded, what is offered, what was traded.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::json;

use super::answer::{Answer, digested, json_answer};
use super::input::{Conditions, Parameters, Segment};
use crate::backends::Backends;
use crate::exchange::{Side, Trade};
use crate::fault::Fault;
use crate::ids::TradeId;

/// Levels of each side.
const DEPTH_DEFAULT: usize = 20;
const DEPTH_MAX: usize = 100;

pub(super) fn routes() -> Router<Arc<Backends>> {
    Router::new()
        .route("/api/v1/market/symbols", get(symbols))
        .route("/api/v1/market/orderbook/{symbol}", get(order_book))
        .route("/api/v1/market/trades/{symbol}", get(trades))
        .route("/api/v1/market/ticker/{symbol}", get(ticker))
}

/// A trade as everybody may see it.
#[derive(Serialize)]
struct PublicTrade<'a> {
    id: TradeId,
    price: Decimal,
    quantity: Decimal,
    taker_side: &'a str,
    executed_at: Timestamp,
}

impl<'a> From<&'a Trade> for PublicTrade<'a> {
    fn from(trade: &'a Trade) -> Self {
        Self {
            id: trade.id,
            price: trade.price,
            quantity: trade.quantity,
            taker_side: trade.taker_side.as_str(),
            executed_at: trade.executed_at,
        }
    }
}

async fn symbols(State(backends): State<Arc<Backends>>, parameters: Parameters, seen: Conditions) -> Answer {
    parameters.only(&[])?;
    Ok(backends.exchange.read(|exchange| {
        let symbols: Vec<_> = exchange.markets().map(|market| &market.instrument).collect();
        digested(&json!({ "symbols": symbols }), &seen)
    }))
}

async fn order_book(State(backends): State<Arc<Backends>>, Segment(symbol): Segment, parameters: Parameters) -> Answer {
    let parameters = parameters.only(&["depth"])?;
    let depth = match parameters.text("depth") {
        "" => DEPTH_DEFAULT,
        text => text
            .parse()
            .ok()
            .filter(|depth| (1..=DEPTH_MAX).contains(depth))
            .ok_or_else(|| Fault::field("depth", format!("must be 1 to {DEPTH_MAX}")))?,
    };
    backends.exchange.read(|exchange| {
        let book = &exchange.market(&symbol)?.book;
        let body = json!({
            "symbol": symbol,
            "sequence": book.sequence(),
            "bids": book.depth(Side::Buy, depth),
            "asks": book.depth(Side::Sell, depth),
        });
        Ok(json_answer(StatusCode::OK, &body))
    })
}

async fn trades(State(backends): State<Arc<Backends>>, Segment(symbol): Segment, parameters: Parameters) -> Answer {
    let window = parameters.only(&["limit", "cursor"])?.window::<TradeId>()?;
    backends.exchange.read(|exchange| {
        let page = window.page(exchange.market(&symbol)?.trades(window.after), |trade| trade.id);
        let trades: Vec<PublicTrade<'_>> = page.items.into_iter().map(PublicTrade::from).collect();
        let body = json!({ "symbol": symbol, "trades": trades, "next_cursor": page.next });
        Ok(json_answer(StatusCode::OK, &body))
    })
}

async fn ticker(State(backends): State<Arc<Backends>>, Segment(symbol): Segment, parameters: Parameters) -> Answer {
    parameters.only(&[])?;
    backends.exchange.read(|exchange| Ok(json_answer(StatusCode::OK, &exchange.market(&symbol)?.ticker())))
}
